"""Networks that tell the damage of an image: fully convolutional, so for images of any size, and without BatchNorm.

Each maps images ``(n, c, h, w)`` to R of the same shape, and further maps where it is asked for more ``outputs``; the
restored image is x − R(x). None looks farther than :func:`reach` pixels, so that large images can be restored in
overlapping tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError

SCALES = 3
"""At how many scales a U-Net or NAFNet works, each of half the side of the one before."""

WINDOW = 17
"""The side, in places, of what NAFNet's channel attention takes the mean of."""

_FIRST_DAMAGE = 0.1


class DnCNN(nn.Module):
    """A chain of 3×3 convolutions with ReLU between them (Zhang et al. 2017, section III.A: 17 of 64 channels).

    Their BatchNorm keeps the scale of maps through the depth, and ties the images of a batch together. Here weights are
    drawn so that the scale stays what it is (He et al. 2015, eq. 10), and the last layer's are a tenth of that, so
    that the network begins near R = 0, the image as it is.

    >>> DnCNN(1, width=4, depth=3)(torch.zeros(2, 1, 9, 11)).shape
    torch.Size([2, 1, 9, 11])
    """

    def __init__(
        self, channels: int, width: int, depth: int, inputs: int | None = None, outputs: int | None = None
    ) -> None:
        super().__init__()
        sides = [inputs or channels, *[width] * (depth - 1), outputs or channels]
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(sides))
        _he(self)
        _begin_small(self.layers[-1])

    def forward(self, images: Tensor) -> Tensor:
        """``(n, inputs, h, w)`` to ``(n, outputs, h, w)``."""
        for layer in self.layers[:-1]:
            images = functional.relu(layer(images))
        return self.layers[-1](images)  # type: ignore[no-any-return]


class FFDNet(nn.Module):
    """DnCNN at half the side: each 2×2 pixels are four channels of one place, and a map of the noise is one more.

    Zhang, Zuo & Zhang 2018, section III.B (15 layers of 64 channels for grey images, 12 of 96 for colour). They make
    the image itself; here too it is R, as of the others.

    >>> FFDNet(3, width=4, depth=3)(torch.zeros(2, 3, 8, 10), torch.full((2,), 0.1)).shape
    torch.Size([2, 3, 8, 10])
    """

    def __init__(self, channels: int, width: int, depth: int, outputs: int | None = None) -> None:
        super().__init__()
        self.body = DnCNN(4 * channels, width, depth, inputs=4 * channels + 1, outputs=4 * (outputs or channels))

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """``images (n, c, h, w)`` of even sides, and how strong their noise is, as :func:`joined` takes it."""
        folded = functional.pixel_unshuffle(images, 2)
        noise = noise if noise.ndim == 1 else functional.avg_pool2d(noise, 2)
        return functional.pixel_shuffle(self.body(joined(folded, noise)), 2)


def joined(maps: Tensor, noise: Tensor) -> Tensor:
    """``maps (n, c, h, w)`` with one more channel: each image's ``noise (n,)`` everywhere, or ``(n, 1, h, w)``."""
    noise = noise if noise.ndim == 4 else noise[:, None, None, None]
    return torch.cat([maps, noise.to(maps).expand(-1, 1, *maps.shape[2:])], 1)


class ResidualBlock(nn.Module):
    """x + W₂ ReLU(W₁ x), without normalisation (Lim et al. 2017, figure 2c); it begins near x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        _he(self)
        _begin_small(self.second)

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, width, h, w)`` to the same."""
        return maps + self.second(functional.relu(self.first(maps)))  # type: ignore[no-any-return]


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each place (Ba et al. 2016; Chen et al. 2022, section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, width, h, w)`` to the same."""
        centred = maps - maps.mean(1, keepdim=True)
        normed = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


class NAFBlock(nn.Module):
    """NAFNet's block: no activations, only products of channels (Chen et al. 2022, figure 3c and eqs. 3 to 6).

    Its channel attention takes means over a window of :data:`WINDOW` places instead of the whole map, as Chu et al.
    2022 (section 3.2) do afterwards: the same in training and in use, and in a tile as in the whole image.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = ChannelNorm(width), ChannelNorm(width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.near = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.attend = nn.Conv2d(width, width, 1)
        self.mix = nn.Conv2d(width, width, 1)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.join = nn.Conv2d(width, width, 1)
        _begin_small(self.mix)
        _begin_small(self.join)

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, width, h, w)`` to the same."""
        inner = _gate(self.near(self.widen(self.first_norm(maps))))
        maps = maps + self.mix(inner * self.attend(_local_mean(inner)))
        return maps + self.join(_gate(self.expand(self.second_norm(maps))))  # type: ignore[no-any-return]


class Scales(nn.Module):
    """Blocks at three scales, maps of the way down added on the way up (Ronneberger et al. 2015; added instead of
    joined, as NAFNet and DRUNet, Zhang et al. 2021, do). Channels double where the side halves.

    ``depth`` blocks in all: an eighth of them, or 1, at each stop on the way down and up, the others at the bottom.
    ``told``: a map of the noise's standard deviation is one more channel of the images (DRUNet).

    >>> Scales(1, width=2, depth=5, block=ResidualBlock)(torch.zeros(1, 1, 8, 12)).shape
    torch.Size([1, 1, 8, 12])
    """

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int,
        block: Callable[[int], nn.Module],
        told: bool = False,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        beside, bottom = _shared(depth)
        widths = [width * 2**scale for scale in range(SCALES)]
        self.stem = nn.Conv2d(channels + told, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Sequential(*[block(each) for _ in range(beside)]) for each in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(each, 2 * each, 2, stride=2) for each in widths[:-1])
        self.bottom = nn.Sequential(*[block(widths[-1]) for _ in range(bottom)])
        self.grow = nn.ModuleList(nn.Conv2d(2 * each, 4 * each, 1) for each in widths[:-1])
        self.up = nn.ModuleList(nn.Sequential(*[block(each) for _ in range(beside)]) for each in widths[:-1])
        self.head = nn.Conv2d(width, outputs or channels, 3, padding=1)
        _begin_small(self.head)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """``(n, c, h, w)`` of sides that are multiples of 4, and ``noise`` if it is told (:func:`joined`)."""
        maps, kept = self.stem(images if noise is None else joined(images, noise)), []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            kept.append(blocks(maps))
            maps = shrink(kept[-1])
        maps = self.bottom(maps)
        for blocks, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            maps = blocks(functional.pixel_shuffle(grow(maps), 2) + kept.pop())
        return self.head(maps)  # type: ignore[no-any-return]


NETWORKS: dict[str, tuple[int, int]] = {
    "dncnn": (1, 2), "ffdnet": (2, 2), "unet": (4, 5), "drunet": (4, 5), "nafnet": (4, 5)
}  # fmt: skip
"""Every network by its word: what the sides of its images are multiples of, and the least depth."""

TOLD = ("ffdnet", "drunet")
"""Those that are told how strong the noise is."""


def build(network: str, channels: int, width: int, depth: int, outputs: int | None = None) -> nn.Module:
    """The network of that word, of ``outputs`` maps (where it is not said, as many as ``channels``).

    Raises :class:`LimnerError` where it is too shallow to be one.

    >>> sum(value.numel() for value in build("dncnn", 1, 64, 17).parameters())
    555137
    """
    least = NETWORKS[network][1]
    if depth < least:
        raise LimnerError(f"the network {network} needs a depth of at least {least}, not {depth}")
    if network == "dncnn":
        return DnCNN(channels, width, depth, outputs=outputs)
    if network == "ffdnet":
        return FFDNet(channels, width, depth, outputs)
    return Scales(channels, width, depth, NAFBlock if network == "nafnet" else ResidualBlock, network in TOLD, outputs)


def reach(network: str, depth: int) -> int:
    """How many pixels to each side an output depends on, at most.

    >>> reach("dncnn", 17), reach("ffdnet", 15)
    (17, 31)
    """
    if network == "dncnn":
        return depth
    if network == "ffdnet":
        return 2 * depth + 1
    block = 1 + WINDOW // 2 if network == "nafnet" else 2
    beside, bottom = _shared(depth)
    farthest = 1 << (SCALES - 1)
    across = sum(2 * beside * block << scale for scale in range(SCALES - 1)) + bottom * block * farthest
    return across + 2 + farthest - 1  # stem and head; where in its 4×4 pixels a place of the bottom lies


def padded(images: Tensor, multiple: int) -> Tensor:
    """The images with their last rows and columns repeated until their sides are multiples of ``multiple``.

    >>> padded(torch.zeros(1, 1, 5, 8), 4).shape
    torch.Size([1, 1, 8, 8])
    """
    down, right = -images.shape[-2] % multiple, -images.shape[-1] % multiple
    return functional.pad(images, (0, right, 0, down), mode="replicate") if down or right else images


def _shared(depth: int) -> tuple[int, int]:
    """Blocks at each stop on the way down and up, and at the bottom."""
    beside = max(1, depth // 8)
    return beside, depth - 2 * (SCALES - 1) * beside


def _gate(maps: Tensor) -> Tensor:
    """SimpleGate: one half of the channels times the other (Chen et al. 2022, eq. 4)."""
    first, second = maps.chunk(2, 1)
    return first * second


def _local_mean(maps: Tensor) -> Tensor:
    """The mean over the window around each place, of those places that lie in the map."""
    half = WINDOW // 2
    rows = functional.avg_pool2d(maps, (WINDOW, 1), 1, (half, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, WINDOW), 1, (0, half), count_include_pad=False)


def _he(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _begin_small(layer: nn.Module) -> None:
    with torch.no_grad():
        for value in layer.parameters():
            value.mul_(_FIRST_DAMAGE)
