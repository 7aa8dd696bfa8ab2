"""Small convolutional networks without BatchNorm: what a CPU trains in minutes, from 16 to 128 pixels.

All of them halve (or double) the side until it is at most 8 pixels, so a network fits any side that is a multiple
of 4. Weights are ordinary ``nn.Module`` parameters; learners use the modules as templates of pure functions.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from limner.errors import LimnerError

SMALLEST, LARGEST = 16, 128


def halvings(side: int) -> int:
    """How often ``side`` is halved until it is at most 8 (odd sides stop earlier).

    >>> [halvings(side) for side in (16, 28, 32, 64, 128)]
    [1, 2, 2, 3, 4]
    """
    count = 0
    while side > 8 and side % 2 == 0:
        side //= 2
        count += 1
    return count


def check_shape(image_shape: tuple[int, int, int]) -> None:
    """Raises :class:`LimnerError` unless the networks here can work on images of this (channels, height, width)."""
    channels, height, width = image_shape
    if channels not in (1, 3) or height != width or not SMALLEST <= height <= LARGEST or height % 4:
        raise LimnerError(
            f"images of shape {image_shape} do not fit the networks; give square images, grey or colour, with a side "
            f"from {SMALLEST} to {LARGEST} that is a multiple of 4, for example size=32"
        )


def groups(channels: int) -> int:
    """Groups for a GroupNorm over ``channels``: at most 8, and a divisor."""
    return next(count for count in (8, 4, 2, 1) if channels % count == 0)


def widths_of(image_shape: tuple[int, int, int], width: int) -> list[int]:
    """Channels after each halving, from the full image down: width, 2·width, 4·width… at most 4·width."""
    return [min(width * 2**level, 4 * width) for level in range(halvings(image_shape[1]))]


def scale_weights(layers: list[nn.Module]) -> None:
    """He initialisation (He et al. 2015, eq. 10) and zero biases, so that signals keep their size without BatchNorm."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class Body(nn.Sequential):
    """Images ``(n, c, s, s)`` to features ``(n, features)``: strided convolutions as in DCGAN (Radford, Metz &
    Chintala 2016), optionally with GroupNorm, and one more convolution at the smallest side.

    >>> import torch
    >>> body = Body((1, 28, 28), width=8)
    >>> body(torch.zeros(2, 1, 28, 28)).shape, body.features
    (torch.Size([2, 784]), 784)
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int, *, normalised: bool = False) -> None:
        check_shape(image_shape)
        widths = widths_of(image_shape, width)
        layers: list[nn.Module] = []
        for before, after in pairwise([image_shape[0], *widths]):
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
            if normalised:
                layers.append(nn.GroupNorm(groups(after), after))
            layers.append(nn.SiLU())
        layers += [nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.SiLU()]
        scale_weights(layers)
        super().__init__(*layers, nn.Flatten())
        self.features = widths[-1] * (image_shape[1] // 2 ** len(widths)) ** 2


class Encoder(nn.Module):
    """Images ``(n, c, s, s)`` to ``(n, outputs)``: a :class:`Body` and a linear map.

    >>> import torch
    >>> Encoder((1, 28, 28), outputs=10, width=8)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, image_shape: tuple[int, int, int], outputs: int, width: int, *, normalised: bool = True) -> None:
        super().__init__()
        self.body = Body(image_shape, width, normalised=normalised)
        self.head = nn.Linear(self.body.features, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, c, s, s)`` to ``(n, outputs)``."""
        return self.head(self.body(images))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Latents ``(n, latents)`` to image maps ``(n, c, s, s)``, unbounded: a linear map, a convolution at the smallest
    side, then transposed convolutions as in DCGAN.

    >>> import torch
    >>> Decoder((3, 32, 32), latents=4, width=8)(torch.zeros(2, 4)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, image_shape: tuple[int, int, int], latents: int, width: int, *, normalised: bool = True) -> None:
        super().__init__()
        check_shape(image_shape)
        widths = widths_of(image_shape, width)[::-1]
        self.side = image_shape[1] // 2 ** len(widths)
        self.deepest = widths[0]
        self.tail = nn.Linear(latents, widths[0] * self.side * self.side)
        layers: list[nn.Module] = [nn.SiLU(), nn.Conv2d(widths[0], widths[0], 3, padding=1)]
        for before, after in pairwise([*widths, image_shape[0]]):
            if normalised:
                layers.append(nn.GroupNorm(groups(before), before))
            layers += [nn.SiLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        scale_weights(layers[:-1])
        self.body = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """``(n, latents)`` to ``(n, c, s, s)``."""
        maps = self.tail(latents).unflatten(1, (self.deepest, self.side, self.side))
        return self.body(maps)  # type: ignore[no-any-return]
