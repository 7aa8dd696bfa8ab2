"""The network whose shape alone is the prior of Deep Image Prior: from fixed noise to an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SKIPPED = 4
"""Channels that are kept of each scale on the way down."""


class Layer(nn.Module):
    """A 3×3 convolution, the image's own normalisation and a leaky ReLU; the border is mirrored."""

    def __init__(self, before: int, after: int, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, size, stride, padding=size // 2, padding_mode="reflect")
        self.norm = nn.GroupNorm(after, after)

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, before, h, w)`` to ``(n, after, h/stride, w/stride)``."""
        return functional.leaky_relu(self.norm(self.convolution(maps)), 0.2)


class Hourglass(nn.Module):
    """The encoder and decoder of Ulyanov, Vedaldi & Lempitsky 2018 (their figure 21), with as many scales as asked for.

    Noise ``(n, noise, h, w)`` of sides that are multiples of 2 to the number of scales, to images in [0, 1]. Each map
    is normalised by itself, which for the one image that there is is what their BatchNorm does.

    >>> Hourglass(1, width=4, scales=2, noise=3)(torch.rand(1, 3, 16, 24)).shape
    torch.Size([1, 1, 16, 24])
    """

    def __init__(self, channels: int, width: int, scales: int, noise: int) -> None:
        super().__init__()
        befores = [noise, *[width] * (scales - 1)]
        self.kept = nn.ModuleList(Layer(before, SKIPPED, size=1) for before in befores)
        self.down = nn.ModuleList(
            nn.Sequential(Layer(before, width, stride=2), Layer(width, width)) for before in befores
        )
        self.up = nn.ModuleList(
            nn.Sequential(Layer(width + SKIPPED, width), Layer(width, width, size=1)) for _ in befores
        )
        self.head = nn.Conv2d(width, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """The image."""
        beside = []
        for keep, down in zip(self.kept, self.down, strict=True):
            beside.append(keep(maps))
            maps = down(maps)
        for up in self.up:
            maps = functional.interpolate(maps, scale_factor=2, mode="bilinear")
            maps = up(torch.cat([maps, beside.pop()], 1))
        return torch.sigmoid(self.head(maps))
