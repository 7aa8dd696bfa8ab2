"""A small U-Net that knows the time: what flow matching learns a velocity with, in minutes of a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.networks.convolutional import check_shape, groups
from limner.networks.critic import one_hot


def time_features(times: Tensor, count: int) -> Tensor:
    """Sines and cosines of ``times (n,)`` in [0, 1] at ``count/2`` rates from 1 to 1000, ``(n, count)``.

    Vaswani et al. 2017, section 3.5, as diffusion models take them.

    >>> time_features(torch.zeros(2), 4).tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """
    half = count // 2
    rates = torch.exp(math.log(1000) * torch.arange(half, device=times.device, dtype=times.dtype) / max(half - 1, 1))
    angles = times[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class TimedBlock(nn.Module):
    """Two 3×3 convolutions with GroupNorm around a skip; the time scales and shifts between them, ``(n, c, s, s)``.

    The second convolution begins at zero, so that the block begins as its skip.
    """

    def __init__(self, before: int, after: int, known: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(groups(before), before)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.told = nn.Linear(known, 2 * after)
        self.second_norm = nn.GroupNorm(groups(after), after)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        nn.init.zeros_(self.second.weight)

    def forward(self, maps: Tensor, known: Tensor) -> Tensor:
        """``maps (n, before, s, s)`` and what is known, ``(n, known)``, to ``(n, after, s, s)``."""
        scale, shift = self.told(known)[:, :, None, None].chunk(2, dim=1)
        inner = self.first(functional.silu(self.first_norm(maps)))
        inner = self.second(functional.silu(self.second_norm(inner) * (1 + scale) + shift))
        return self.skip(maps) + inner  # type: ignore[no-any-return]


class TimedUNet(nn.Module):
    """Images ``(n, c, s, s)``, times ``(n,)`` and labels ``(n,)`` to maps of the images' shape, unbounded.

    Ronneberger, Fischer & Brox 2015, as small as serves: 2×2 (from 64 pixels on 4×4) pixels are folded into one place
    first, as most of the work of a U-Net lies at full resolution; then two sides, s/2 with ``width`` channels and s/4
    with twice as many, a block each on the way down, two at the bottom, and a block each on the way up beside what
    was kept on the way down.

    >>> TimedUNet((3, 32, 32), width=8)(torch.zeros(2, 3, 32, 32), torch.zeros(2), None).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int, classes: int = 1) -> None:
        super().__init__()
        check_shape(image_shape)
        channels, side, _ = image_shape
        self.fold = 4 if side >= 64 and side % 8 == 0 else 2
        self.width, self.classes = width, classes
        known = 2 * width
        self.time = nn.Sequential(nn.Linear(2 * width, known), nn.SiLU(), nn.Linear(known, known))
        if classes > 1:
            self.label = nn.Linear(classes, known, bias=False)
        self.stem = nn.Conv2d(channels * self.fold**2, width, 3, padding=1)
        self.down = TimedBlock(width, width, known)
        self.shrink = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.bottom = nn.ModuleList([TimedBlock(2 * width, 2 * width, known) for _ in range(3)])
        self.grow = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.up = nn.ModuleList([TimedBlock(2 * width, width, known), TimedBlock(width, width, known)])
        self.head = nn.Sequential(
            nn.GroupNorm(groups(width), width), nn.SiLU(), nn.Conv2d(width, channels * self.fold**2, 3, padding=1)
        )

    def forward(self, images: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        """``(n, c, s, s)``; ``labels`` are ``None`` for a network without classes."""
        known = self.time(time_features(times, 2 * self.width))
        if labels is not None:
            known = known + self.label(one_hot(labels, self.classes, known))
        return self.carried(images, functional.silu(known))

    def carried(self, images: Tensor, known: Tensor, looks: Sequence[Callable[[Tensor], Tensor]] = ()) -> Tensor:
        """The way down and up with what is ``known (n, 2·width)``; ``looks`` go behind the blocks at the bottom, one
        each, where there are any."""
        kept = self.down(self.stem(functional.pixel_unshuffle(images, self.fold)), known)
        maps = self.shrink(kept)
        for place, block in enumerate(self.bottom):
            maps = block(maps, known)
            if looks:
                maps = looks[place](maps)
        maps = torch.cat([self.grow(maps), kept], 1)
        for block in self.up:
            maps = block(maps, known)
        return functional.pixel_shuffle(self.head(maps), self.fold)
