"""Networks from image to image, and the critic of patches that judges them; no BatchNorm.

All of them take images in [−1, 1] of any side from 16 that is a multiple of 4, and leave [−1, 1] by a tanh.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError
from limner.networks.convolutional import groups

SMALLEST, LARGEST = 16, 256


def check_sides(image_shape: tuple[int, int, int]) -> None:
    """Raises :class:`LimnerError` unless images of this (channels, height, width) can be translated."""
    channels, height, width = image_shape
    if channels not in (1, 3) or height != width or not SMALLEST <= height <= LARGEST or height % 4:
        raise LimnerError(
            f"images of shape {image_shape} cannot be translated; give square images, grey or colour, with a side from "
            f"{SMALLEST} to {LARGEST} that is a multiple of 4, for example size=64"
        )


class UNet(nn.Module):
    """Images ``(n, inputs, s, s)`` to ``(n, outputs, s, s)``: the U-Net of pix2pix (Isola et al. 2017, section 6.1.1).

    Strided 4×4 convolutions down to a side of 4 (or the first odd one), transposed ones back up, and at each side what
    was there on the way down beside what comes up. Channels double at each halving, at most eight-fold. GroupNorm
    stands in for BatchNorm, and no dropout: its noise moves the paper's results little (their section 5.2).

    >>> UNet(1, 3, 28, width=4)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 3, 28, 28])
    """

    def __init__(self, inputs: int, outputs: int, side: int, width: int) -> None:
        super().__init__()
        halvings = 0
        while side % 2 == 0 and side > 4:
            side //= 2
            halvings += 1
        widths = [width * min(2**level, 8) for level in range(halvings)]
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 4, stride=2, padding=1),
                _norm(after) if 0 < level < halvings - 1 else nn.Identity(),
            )
            for level, (before, after) in enumerate(zip([inputs, *widths], widths, strict=False))
        )
        above = [outputs, *widths][:halvings]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(own if level == halvings - 1 else 2 * own, up, 4, stride=2, padding=1)
            for level, (own, up) in reversed(list(enumerate(zip(widths, above, strict=True))))
        )
        self.norms = nn.ModuleList(_norm(up) for up in reversed(above[1:]))

    def forward(self, images: Tensor) -> Tensor:
        """``(n, inputs, s, s)`` to ``(n, outputs, s, s)``."""
        kept: list[Tensor] = []
        maps = images
        for layer in self.down:
            maps = layer(functional.silu(maps) if kept else maps)
            kept.append(maps)
        maps = kept.pop()
        for layer, norm in zip(self.up, self.norms, strict=False):
            maps = torch.cat([norm(layer(functional.silu(maps))), kept.pop()], 1)
        return torch.tanh(self.up[-1](functional.silu(maps)))


class Residual(nn.Module):
    """Images ``(n, inputs, s, s)`` to ``(n, outputs, s, s)``: the network of CycleGAN (Zhu et al. 2017, section 7.2).

    A 7×7 convolution, strided ones, residual blocks, and back up. From 128 pixels as in the paper, with two strides and
    six blocks (nine from 256 pixels); below, one stride and four blocks; below 48, two blocks at full size. So a pixel
    depends on a part of the image, as it does in the paper. InstanceNorm becomes GroupNorm, which does not take all
    contrast from the maps; borders are zeros.

    >>> Residual(3, 1, 16, width=4)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(self, inputs: int, outputs: int, side: int, width: int) -> None:
        super().__init__()
        strides, blocks = (0, 2) if side < 48 else (1, 4) if side < 128 else (2, 6) if side < 256 else (2, 9)
        widths = [width * 2**level for level in range(strides + 1)]
        layers: list[nn.Module] = [nn.Conv2d(inputs, width, 7, padding=3), _norm(width), nn.SiLU()]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), _norm(after), nn.SiLU()]
        layers += [_Block(widths[-1]) for _ in range(blocks)]
        for before, after in pairwise(reversed(widths)):
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), _norm(after), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, outputs, 7, padding=3))

    def forward(self, images: Tensor) -> Tensor:
        """``(n, inputs, s, s)`` to ``(n, outputs, s, s)``."""
        return torch.tanh(self.body(images))


class PatchCritic(nn.Module):
    """Scores ``(n, a, b)`` of overlapping patches of images ``(n, channels, s, s)`` (Isola et al. 2017, section 6.1.2).

    Strided 4×4 convolutions, two plain ones after them: patches of 70 pixels with three strides (from 128 pixels), of
    34 with two (from 48), of 16 with one.

    >>> PatchCritic(4, 28, width=4)(torch.zeros(2, 4, 28, 28)).shape
    torch.Size([2, 12, 12])
    """

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        strides = 1 if side < 48 else 2 if side < 128 else 3
        layers: list[nn.Module] = []
        before = channels
        for level in range(strides + 1):
            after = width * 2**level
            layers.append(nn.Conv2d(before, after, 4, stride=2 if level < strides else 1, padding=1))
            layers += [_norm(after), nn.SiLU()] if level else [nn.SiLU()]
            before = after
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(before, 1, 4, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, channels, s, s)`` to ``(n, a, b)``."""
        return self.head(self.body(images))[:, 0]  # type: ignore[no-any-return]


class _Block(nn.Module):
    """x + norm(conv(silu(norm(conv(x))))) (He et al. 2016, as Johnson et al. 2016 use it)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), _norm(width), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), _norm(width),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.body(maps)  # type: ignore[no-any-return]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups(channels), channels)


TRANSLATORS: dict[str, Callable[[int, int, int, int], nn.Module]] = {"unet": UNet, "residual": Residual}
"""Every network from image to image by its word: a function of input channels, output channels, side and width."""
