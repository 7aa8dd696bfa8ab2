"""Which image learned from each sample is nearest to, so that a reader can see copies with their own eyes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 16
"""Images are compared at so many pixels a side at most: a shift by one pixel of the original weighs little then."""


class Nearest(NamedTuple):
    """For each image the place of the nearest other one, and the distance: int64 ``(n,)`` and float ``(n,)``."""

    place: Tensor
    distance: Tensor


def nearest(images: Tensor, others: Tensor) -> Nearest:
    """The nearest of ``others`` to each of ``images``: root mean squared difference of intensities in [0, 1].

    images, others  uint8 ``(n, c, h, w)`` and ``(m, c, h, w)`` of one size; averaged down to 16 × 16 before

    >>> black, white = torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    >>> nearest(white, torch.cat([black, white]))
    Nearest(place=tensor([1]), distance=tensor([0.]))
    """
    first, second = _small(images), _small(others)
    distances = torch.stack([((second - one) ** 2).mean(dim=1).sqrt() for one in first])
    found = distances.min(dim=1)
    return Nearest(found.indices, found.values)


def _small(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    return adaptive_avg_pool2d(images.float() / 255, (min(height, SIDE), min(width, SIDE))).flatten(1)
