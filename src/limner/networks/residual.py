"""Residual networks (He et al. 2016) for both players of a GAN, of the size that a CPU trains.

The full side is left (or reached) by one strided convolution, so the residual blocks work on a quarter of the pixels.
Each block's last convolution begins at zero: at first a block is its shortcut alone, and signals keep their size
(Zhang, Dauphin & Ma 2019, Fixup; as in R3GAN).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from limner.networks.convolutional import check_shape, groups, scale_weights, widths_of


class Block(nn.Module):
    """``x + f(x)`` with f two 3×3 convolutions, each behind SiLU; ``(n, before, h, w)`` to ``(n, after, h, w)``.

    Where the channels change, the shortcut is a 1×1 convolution. ``normalised`` puts GroupNorm before each SiLU.

    >>> import torch
    >>> Block(4, 8)(torch.zeros(2, 4, 6, 6)).shape
    torch.Size([2, 8, 6, 6])
    """

    def __init__(self, before: int, after: int, *, normalised: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (before, after):
            if normalised:
                layers.append(nn.GroupNorm(groups(channels), channels))
            layers += [nn.SiLU(), nn.Conv2d(channels, after, 3, padding=1)]
        scale_weights(layers)
        nn.init.zeros_(layers[-1].weight)  # type: ignore[arg-type]
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Conv2d(before, after, 1, bias=False) if before != after else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, before, h, w)`` to ``(n, after, h, w)``."""
        return self.shortcut(maps) + self.body(maps)  # type: ignore[no-any-return]


class ResidualGenerator(nn.Module):
    """Latents ``(n, inputs)`` to image maps ``(n, c, s, s)``, unbounded: a linear map to the smallest side, a residual
    block at each side, sides doubled by repeating pixels, and a transposed convolution to the image.

    >>> import torch
    >>> ResidualGenerator((3, 32, 32), inputs=4, width=8)(torch.zeros(2, 4)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, image_shape: tuple[int, int, int], inputs: int, width: int) -> None:
        super().__init__()
        check_shape(image_shape)
        widths = widths_of(image_shape, width)[::-1]
        self.small = (widths[0], *[image_shape[1] // 2 ** len(widths)] * 2)
        self.tail = nn.Linear(inputs, self.small[0] * self.small[1] * self.small[2])
        layers: list[nn.Module] = [Block(widths[0], widths[0], normalised=True)]
        for before, after in pairwise(widths):
            layers += [nn.Upsample(scale_factor=2), Block(before, after, normalised=True)]
        last = widths[-1]
        image = nn.ConvTranspose2d(last, image_shape[0], 4, stride=2, padding=1)
        self.body = nn.Sequential(*layers, nn.GroupNorm(groups(last), last), nn.SiLU(), image)

    def forward(self, latents: Tensor) -> Tensor:
        """``(n, inputs)`` to ``(n, c, s, s)``."""
        return self.body(self.tail(latents).unflatten(1, self.small))  # type: ignore[no-any-return]


class ResidualBody(nn.Sequential):
    """Images ``(n, c, s, s)`` to features ``(n, features)``: a strided convolution, then a residual block at each side,
    sides halved by averaging; no normalisation, for the critic's penalties look at each image alone.

    >>> import torch
    >>> ResidualBody((1, 28, 28), width=8)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 784])
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int) -> None:
        check_shape(image_shape)
        widths = widths_of(image_shape, width)
        stem = nn.Conv2d(image_shape[0], widths[0], 4, stride=2, padding=1)
        scale_weights([stem])
        layers: list[nn.Module] = [stem]
        for before, after in pairwise(widths):
            layers += [Block(before, after), nn.AvgPool2d(2)]
        super().__init__(*layers, Block(widths[-1], widths[-1]), nn.SiLU(), nn.Flatten())
        self.features = widths[-1] * (image_shape[1] // 2 ** len(widths)) ** 2
