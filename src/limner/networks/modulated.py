"""A decoder that what is known of a set modulates, feature by feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.networks.convolutional import check_shape, groups, scale_weights, widths_of


class ModulatedDecoder(nn.Module):
    """Latents ``(n, latents)`` and what is known, ``(n, known)``, to image maps ``(n, c, s, s)``, unbounded.

    Both stand side by side before the linear map to the smallest side; behind each normalisation both also scale and
    shift every channel (feature-wise linear modulation, Perez et al. 2018, eq. 1). Else it is as
    :class:`~limner.networks.convolutional.Decoder`. It begins as one that knows nothing but the latents.

    >>> ModulatedDecoder((3, 32, 32), latents=4, known=6, width=8)(torch.zeros(2, 4), torch.zeros(2, 6)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, image_shape: tuple[int, int, int], latents: int, known: int, width: int) -> None:
        super().__init__()
        check_shape(image_shape)
        widths = widths_of(image_shape, width)[::-1]
        self.small = (widths[0], *[image_shape[1] // 2 ** len(widths)] * 2)
        inputs, told = latents + known, 4 * width
        self.tail = nn.Linear(inputs, self.small[0] * self.small[1] * self.small[2])
        with torch.no_grad():
            self.tail.weight[:, latents:] = 0
        self.told = nn.Linear(inputs, told)
        self.mix = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(groups(before), before) for before in widths)
        self.modulate = nn.ModuleList(nn.Linear(told, 2 * before) for before in widths)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
            for before, after in zip(widths, [*widths[1:], image_shape[0]], strict=True)
        )
        scale_weights([self.mix, *self.grow[:-1]])
        for layer in self.modulate:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, latents: Tensor, known: Tensor) -> Tensor:
        """``(n, latents)`` and ``(n, known)`` to ``(n, c, s, s)``."""
        inputs = torch.cat([latents, known], 1)
        told = functional.silu(self.told(inputs))
        maps = self.mix(functional.silu(self.tail(inputs).unflatten(1, self.small)))
        for norm, modulate, grow in zip(self.norms, self.modulate, self.grow, strict=True):
            scale, shift = modulate(told)[:, :, None, None].chunk(2, dim=1)
            maps = grow(functional.silu(norm(maps) * (1 + scale) + shift))
        return maps  # type: ignore[no-any-return]
