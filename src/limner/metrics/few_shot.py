"""Scores for learning from few images: are the samples as varied as real images, and are they more than copies?"""

from __future__ import annotations

import math

from torch import Tensor

from limner.errors import LimnerError
from limner.metrics.distribution import check, distances, off_diagonal_mean


def diversity(samples: Tensor, real: Tensor) -> float:
    r"""The mean distance between two samples over the mean distance between two real images, in features.

    1: as varied as real images; 0: one image again and again; above 1: more varied than real, e.g. by noise.

    samples, real: ``(n, d)`` and ``(m, d)``, at least 2 rows each. Raises :class:`LimnerError` for other shapes, or
    where all real images are equal.

    >>> import torch
    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> diversity(x, 2 * x), diversity(torch.ones(3, 1), x)
    (0.5, 0.0)
    """
    check(samples, real, 2)
    spread = float(off_diagonal_mean(distances(real, real)))
    if not spread > 0:
        raise LimnerError(
            "the real images are all equal, so diversity has nothing to be held against; give varied images"
        )
    return float(off_diagonal_mean(distances(samples, samples))) / spread


def nearest_training_ratio(samples: Tensor, real: Tensor, support: Tensor) -> float:
    r"""How near the samples lie to what was learned from, against how near other real images do:

    .. math:: \frac{\mathrm{mean}_i \min_s \|x_i - s\|}{\mathrm{mean}_j \min_s \|y_j - s\|}

    with x the samples, y held-out real images and s the support images, in features. 0: copies; under 1: nearer than
    real images lie; 1: as near as those; above 1: further away.

    All ``(·, d)``, at least one row each. Raises :class:`LimnerError` for other shapes, or where every held-out image
    is also among the support images.

    >>> import torch
    >>> support = torch.tensor([[0.0], [10.0]])
    >>> nearest_training_ratio(support, torch.tensor([[1.0], [7.0]]), support)
    0.0
    """
    check(samples, support, 1)
    check(real, support, 1)
    usual = float(nearest(real, support).mean())
    if not usual > 0:
        raise LimnerError("every held-out image is also a support image; hold back images that were not learned from")
    return float(nearest(samples, support).mean()) / usual


def nearest_shot_ratio(samples: Tensor, support: Tensor) -> float:
    r"""The same where no other real images are known: against how near the support images lie to each other, each left
    out once:

    .. math:: \frac{\mathrm{mean}_i \min_s \|x_i - s\|}{\mathrm{mean}_s \min_{t \ne s} \|s - t\|}

    Each of them has one image fewer to lie near to than a sample has, so this is a little smaller than
    :func:`nearest_training_ratio`.

    samples, support: ``(n, d)``, n from 1, and ``(s, d)``, s from 2. Raises :class:`LimnerError` for other shapes, or
    where all support images are equal.

    >>> import torch
    >>> nearest_shot_ratio(torch.tensor([[1.0], [8.0]]), torch.tensor([[0.0], [6.0]]))
    0.25
    """
    check(support, support, 2)
    check(samples, support, 1)
    usual = float(among(support).mean())
    if not usual > 0:
        raise LimnerError("the support images are all equal, so nothing tells copies from likeness; give varied images")
    return float(nearest(samples, support).mean()) / usual


def among(features: Tensor) -> Tensor:
    """The distance of each row to the nearest other one, ``(n,)``; at least two rows.

    >>> import torch
    >>> among(torch.tensor([[1.0], [0.0], [5.0]])).tolist()
    [1.0, 1.0, 4.0]
    """
    found = distances(features, features)
    return found.fill_diagonal_(math.inf).min(dim=1).values


def nearest(features: Tensor, support: Tensor) -> Tensor:
    """The distance of each row to its nearest support image, ``(n,)``.

    >>> import torch
    >>> nearest(torch.tensor([[1.0]]), torch.tensor([[0.0], [5.0]])).item()
    1.0
    """
    return distances(features, support).min(dim=1).values
