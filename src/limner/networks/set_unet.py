"""A small U-Net that knows the time and a set of images: what set-conditioned flow matching learns a velocity with."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.networks.convolutional import groups
from limner.networks.set_encoder import SetEncoder, SetReader
from limner.networks.unet import TimedUNet, time_features


class Look(nn.Module):
    """Places of maps ``(n, c, h, w)`` look at the tokens of a code, ``(n, tokens, code)``: attention around a skip.

    softmax(q·kᵀ/√d)·v with the queries from the places (Vaswani et al. 2017, eq. 1), by ``heads`` heads. What it adds
    begins at zero.
    """

    def __init__(self, channels: int, code: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups(channels), channels)
        self.queries, self.keys, self.values = nn.Linear(channels, code), nn.Linear(code, code), nn.Linear(code, code)
        self.out = nn.Linear(code, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, maps: Tensor, tokens: Tensor) -> Tensor:
        """``(n, c, h, w)``, as it came."""
        places = self.norm(maps).flatten(2).transpose(1, 2)
        queries, keys, values = (
            layer(given).unflatten(-1, (self.heads, -1))
            for layer, given in ((self.queries, places), (self.keys, tokens), (self.values, tokens))
        )
        weights = (torch.einsum("nphd,nthd->nhpt", queries, keys) / keys.shape[-1] ** 0.5).softmax(-1)
        taken = self.out(torch.einsum("nhpt,nthd->nphd", weights, values).flatten(2))
        found: Tensor = maps + taken.transpose(1, 2).reshape(maps.shape)
        return found


class SetUNet(TimedUNet):
    """As :class:`~limner.networks.unet.TimedUNet`, with the code of a set in place of labels.

    The code is added to what is known of the time, and where it has several tokens, every place of the coarsest side
    looks at them behind each block there (Giannone, Nielsen & Winther 2022, Few-Shot Diffusion Models, section 3).

    >>> network = SetUNet((1, 16, 16), width=4, tokens=2, code=8, heads=2)
    >>> network(torch.zeros(3, 1, 16, 16), torch.zeros(3), torch.zeros(3, 2, 8)).shape
    torch.Size([3, 1, 16, 16])
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int, tokens: int, code: int, heads: int) -> None:
        super().__init__(image_shape, width)
        self.told = nn.Linear(tokens * code, 2 * width)
        several = len(self.bottom) if tokens > 1 else 0
        self.looks = nn.ModuleList(Look(2 * width, code, heads) for _ in range(several))

    def forward(self, images: Tensor, times: Tensor, code: Tensor | None) -> Tensor:
        """``(n, c, s, s)`` of images, times ``(n,)`` and codes ``(n, tokens, code)``."""
        assert code is not None  # only a network without a set has none
        known = functional.silu(self.time(time_features(times, 2 * self.width)) + self.told(code.flatten(1)))
        return self.carried(images, known, [partial(look, tokens=code) for look in self.looks])


class SetVelocity(SetReader):
    """A :class:`SetEncoder` of half the width and a :class:`SetUNet`, ``encoder`` and ``velocity``."""

    def __init__(self, image_shape: tuple[int, int, int], width: int, code: int, pooling: str) -> None:
        super().__init__()
        self.encoder = SetEncoder(image_shape, max(width // 2, 1), code, pooling)
        self.velocity = SetUNet(image_shape, width, self.encoder.tokens, code, self.encoder.heads)

    def code(self, images: Tensor, context: Tensor) -> Tensor:
        """The code of each of the sets that ``context (sets, n)`` makes of the images: ``(sets, tokens, code)``."""
        return self.pool(self.look(images), context)

    def forward(self, points: Tensor, times: Tensor, code: Tensor) -> Tensor:
        """The velocity, ``(n, c, s, s)``."""
        return self.velocity(points, times, code)  # type: ignore[no-any-return]
