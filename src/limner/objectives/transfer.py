"""Keeping, while a generator is adapted to a few images, the variety that its start had."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LEVELS, SMALLEST = 3, 4
"""Images are compared at so many resolutions, each half of the one before, but none whose side would be smaller."""


def resolutions(images: Tensor) -> list[Tensor]:
    """``images (n, c, h, w)`` at up to three resolutions, the finest first: each is the means over 2×2 of the former.

    >>> [level.shape[-1] for level in resolutions(torch.zeros(1, 1, 28, 28))]
    [28, 14, 7]
    """
    levels = [images]
    while len(levels) < LEVELS and all(side % 2 == 0 and side >= 2 * SMALLEST for side in levels[-1].shape[-2:]):
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return levels


def distance_consistency(images: Tensor, reference: Tensor) -> Tensor:
    """How differently two generators place the images of the same latents among each other, a scalar from 0.

    The cross-domain consistency of Ojha et al. 2021 (eq. 1 and 2), Σ_levels mean over i of KL(yᵢ ‖ yᵢ′) with

        yᵢ = softmax over j ≠ i of cos(fᵢ, fⱼ), and yᵢ′ the same of the ``reference``.

    Theirs are features of the generator's layers; here f is the image at several :func:`resolutions`, less the mean of
    the batch: without that, what all images share (paper, ink, a background) makes all cosines about 1.

    images     of the generator that is adapted, ``(n, c, h, w)``, n at least 3; reference: of its start

    >>> images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> float(distance_consistency(images, images)), bool(distance_consistency(images, images.flip(0)) > 0)
    (0.0, True)
    """
    apart = [
        (own.exp() * (own - other)).sum(1).mean()
        for own, other in zip(map(_placed, resolutions(images)), map(_placed, resolutions(reference)), strict=True)
    ]
    return torch.stack(apart).sum()


def _placed(images: Tensor) -> Tensor:
    """The logarithm of yᵢ, a row for each image, ``(n, n − 1)``."""
    centred = images.flatten(1) - images.flatten(1).mean(0)
    directions = centred * (centred.square().sum(1, keepdim=True) + 1e-12).rsqrt()
    count = images.shape[0]
    cosines = (directions @ directions.T).flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)
    return functional.log_softmax(cosines, 1)
