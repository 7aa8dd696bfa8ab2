"""A small style-modulated generator after StyleGAN2 (Karras et al. 2020), without noise inputs: all variety is in z."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.networks.convolutional import check_shape, scale_weights, widths_of


class ModulatedConvolution(nn.Module):
    """A 3×3 convolution whose input channels each style scales, demodulated (Karras et al. 2020, eq. 1 and 3).

    With style s the weights of an image are w'ᵢⱼₖ = sᵢ·wᵢⱼₖ, divided by √(Σᵢₖ w'ᵢⱼₖ² + ε) for each output channel j.
    Scaling the maps before and after one shared convolution gives the same without weights for each image, so it can be
    vectorised and differentiated again. Maps ``(n, before, h, w)`` and styles ``(n, style)`` to ``(n, after, h, w)``.

    >>> ModulatedConvolution(4, 8, style=5)(torch.ones(2, 4, 6, 6), torch.zeros(2, 5)).shape
    torch.Size([2, 8, 6, 6])
    """

    def __init__(self, before: int, after: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, 3, 3) / (3 * before**0.5))
        self.bias = nn.Parameter(torch.zeros(after))
        self.scale = nn.Linear(style, before)
        nn.init.ones_(self.scale.bias)

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """``(n, before, h, w)`` and ``(n, style)`` to ``(n, after, h, w)``."""
        scale: Tensor = self.scale(style)
        norms = (scale.square() @ self.weight.square().sum((2, 3)).T + 1e-8).rsqrt()
        maps = functional.conv2d(maps * scale[:, :, None, None], self.weight, padding=1)
        return maps * norms[:, :, None, None] + self.bias[:, None, None]


class StyleGenerator(nn.Module):
    """Latents ``(n, inputs)`` to image maps ``(n, c, s, s)``, unbounded.

    Two layers map z, scaled to unit mean square, to a style; from a learned constant at the smallest side, two
    modulated convolutions at each side draw with it; what each side adds to the image is summed, doubled side by side
    (the skip connections of StyleGAN2, section 4.1).

    >>> StyleGenerator((3, 32, 32), inputs=4, width=8)(torch.zeros(2, 4)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, image_shape: tuple[int, int, int], inputs: int, width: int) -> None:
        super().__init__()
        check_shape(image_shape)
        widths = [*widths_of(image_shape, width)[::-1], width]
        side, style = image_shape[1] // 2 ** (len(widths) - 1), 4 * width
        layers: list[nn.Module] = [nn.Linear(inputs, style), nn.SiLU(), nn.Linear(style, style), nn.SiLU()]
        scale_weights(layers)
        self.mapping = nn.Sequential(*layers)
        self.constant = nn.Parameter(torch.randn(widths[0], side, side))
        pairs = zip([widths[0], *widths[:-1]], widths, strict=True)
        self.first, self.second, self.image = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for before, after in pairs:
            self.first.append(ModulatedConvolution(before, after, style))
            self.second.append(ModulatedConvolution(after, after, style))
            self.image.append(nn.Conv2d(after, image_shape[0], 1))

    def forward(self, latents: Tensor) -> Tensor:
        """``(n, inputs)`` to ``(n, c, s, s)``."""
        style = self.mapping(latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt())
        maps = self.constant.expand(latents.shape[0], *self.constant.shape)
        image: Tensor | None = None
        for first, second, to_image in zip(self.first, self.second, self.image, strict=True):
            if image is not None:
                maps, image = _doubled(maps), _doubled(image)
            maps = functional.silu(second(functional.silu(first(maps, style)), style))
            image = to_image(maps) if image is None else image + to_image(maps)
        assert image is not None  # there is at least one side
        return image


def _doubled(maps: Tensor) -> Tensor:
    """Twice the side, by linear interpolation: ``(n, c, h, w)`` to ``(n, c, 2h, 2w)``."""
    return functional.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)
