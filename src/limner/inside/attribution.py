"""Which latent dimension changes what: by how much, and where in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from limner.inside.latents import decoded, drawn, in_turn, refuse_maps
from limner.inside.paths import spread
from limner.metrics.features import extractor as extractor_of

if TYPE_CHECKING:
    from limner.engine import Run


class Attribution(NamedTuple):
    """What each latent dimension changes.

    pixels    ``(d,)``: mean absolute change of intensities in [0, 1]
    features  ``(d,)``: mean absolute change of frozen features, over their mean size; ``None`` where not asked for
    maps      ``(d, h, w)``: the change of pixels, place by place; its mean is ``pixels``
    order     ``(d,)``: the dimensions, those that change most pixels first
    """

    pixels: Tensor
    features: Tensor | None
    maps: Tensor
    order: Tensor


def attribution(run: Run, count: int = 16, *, extractor: str | None = None, seed: int = 0) -> Attribution:
    """What each latent dimension changes, by central differences at one standard deviation to either side.

    For dimension i: the mean over ``count`` latents z of |G(z + σᵢeᵢ) − G(z − σᵢeᵢ)| / 2, in pixels and, where an
    ``extractor`` is named (see :func:`limner.metrics.extractor`), in its features. σᵢ is the dimension's standard
    deviation among the run's own latents. Raises :class:`LimnerError` where the run has no latents, or these are
    maps.

    >>> import limner
    >>> from limner.learners import create
    >>> gan = create("gan", (1, 16, 16), latents=3, width=4)
    >>> run = limner.Run(gan, "dots", "", limner.Strategy(), 0, gan.init(seed=0))
    >>> found = attribution(run, count=2)
    >>> found.maps.shape, sorted(found.order.tolist())
    (torch.Size([3, 16, 16]), [0, 1, 2])
    """
    refuse_maps(run)
    latents, labels = drawn(run, count, seed), in_turn(run, count)
    frozen = None if extractor is None else extractor_of(extractor)
    maps, features = [], []
    for step in torch.diag(spread(run)):
        images = [decoded(run, latents + way * step, labels) for way in (1, -1)]
        maps.append((images[0] - images[1]).abs().mean((0, 1)) / 2)
        if frozen is not None:
            with torch.no_grad():
                above, below = (frozen.features(each) for each in images)
            size = (above.abs().mean() + below.abs().mean()).clamp(min=1e-12)
            features.append((above - below).abs().mean() / size)
    change = torch.stack(maps)
    pixels = change.mean((1, 2))
    return Attribution(
        pixels, torch.stack(features) if features else None, change, pixels.argsort(descending=True, stable=True)
    )
