"""How far the distribution of samples lies from that of real images, both given as features ``(n, d)``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from limner.errors import LimnerError

LARGEST_K = 5
"""The largest neighbourhood: Naeem et al.'s default."""


def check(features: Tensor, others: Tensor, least: int) -> None:
    """Raises :class:`LimnerError` unless both are ``(n, d)`` with the same d, and at least ``least`` rows."""
    if features.ndim != 2 or others.ndim != 2 or features.shape[1] != others.shape[1]:
        raise LimnerError(
            f"features of shapes {tuple(features.shape)} and {tuple(others.shape)} cannot be compared; "
            f"give two arrays (n, d) with the same d"
        )
    if min(len(features), len(others)) < least:
        raise LimnerError(
            f"{min(len(features), len(others))} images on one side are too few for this score; give at least {least}"
        )


def frechet_distance(samples: Tensor, real: Tensor) -> float:
    r"""The squared Fréchet distance between Gaussians fitted to the features (Heusel et al. 2017, eq. 6):

    .. math:: \|\mu_x - \mu_y\|^2 + \mathrm{tr}(\Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2})

    computed without a matrix root: with A, B the centred features over √(n−1), Σ = AᵀA and the last trace is the
    nuclear norm of A Bᵀ, exactly, also where n < d. Biased upwards, the more the fewer the images.

    samples, real: ``(n, d)`` and ``(m, d)``, n and m at least 2. Returns a number from 0. Raises :class:`LimnerError`
    for other shapes.

    >>> line = torch.arange(6.0)[:, None]
    >>> frechet_distance(line, line + 2)
    4.0
    """
    check(samples, real, 2)
    first, second = _root(samples), _root(real)
    shift = (samples.double().mean(0) - real.double().mean(0)).square().sum()
    shared = torch.linalg.svdvals(first @ second.T).sum()
    return max(float(shift + first.square().sum() + second.square().sum() - 2 * shared), 0.0)


def _root(features: Tensor) -> Tensor:
    """A matrix A of at most d rows with AᵀA the covariance of ``features`` (n, d)."""
    features = features.double()
    centred: Tensor = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    if len(centred) > centred.shape[1]:
        centred = torch.linalg.qr(centred, mode="r").R
    return centred


def kernel(features: Tensor, others: Tensor) -> Tensor:
    """The polynomial kernel (x·y/d + 1)³ of the kernel inception distance, ``(n, m)`` in double precision."""
    return (features.double() @ others.double().T / features.shape[1] + 1) ** 3


def kernel_distance(samples: Tensor, real: Tensor) -> float:
    r"""The unbiased squared maximum mean discrepancy (Gretton et al. 2012, eq. 3; Bińkowski et al. 2018, section 3):

    .. math:: \frac{1}{n(n-1)} \sum_{i \neq j} k(x_i, x_j) + \frac{1}{m(m-1)} \sum_{i \neq j} k(y_i, y_j)
              - \frac{2}{nm} \sum_{ij} k(x_i, y_j), \qquad k(x, y) = (x \cdot y / d + 1)^3

    Its expectation is 0 for equal distributions at every n, so single values may be below 0. Not multiplied by
    anything, over all images at once (no blocks). Only comparable within one extractor.

    samples, real: ``(n, d)`` and ``(m, d)``, n and m at least 2. Raises :class:`LimnerError` for other shapes.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> kernel_distance(x, x)  # 1 + 1 − 2·(1 + 1 + 1 + 8)/4
    -3.5
    """
    check(samples, real, 2)
    return discrepancy(kernel(samples, samples), kernel(real, real), kernel(samples, real))


def discrepancy(within: Tensor, among_real: Tensor, between: Tensor) -> float:
    """The unbiased squared discrepancy from the three kernel matrices ``(n, n)``, ``(m, m)``, ``(n, m)``."""
    return float(off_diagonal_mean(within) + off_diagonal_mean(among_real) - 2 * between.mean())


def off_diagonal_mean(matrix: Tensor) -> Tensor:
    """The mean of a square matrix without its diagonal."""
    count = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / (count * (count - 1))


class Neighbourhoods(NamedTuple):
    """Four shares and densities from nearest neighbours, with the k they were measured by."""

    precision: float
    recall: float
    density: float
    coverage: float
    k: int


def neighbours(samples: int, real: int) -> int:
    r"""The k for these sizes: the smallest with which other real images would cover at least 95%, at most 5.

    In the place of the samples, n other real images cover in expectation :math:`1 - \prod_{i=1}^{k} (m - i) / (n + m
    - i)` of m (Naeem et al. 2020, eq. 10, and their rule for k in section 3.3). A k that adapts keeps coverage near its
    ceiling at every size; a small one sees more, as it asks for nearer images. Where it changes, precision and density
    change with it, so these are compared between equal sizes only.

    >>> [neighbours(n, m) for n, m in ((64, 15), (15, 15), (1000, 1000), (2, 2), (5, 100))]
    [2, 4, 5, 1, 4]
    """
    most = min(LARGEST_K, samples - 1, real - 1)
    missed = 1.0
    for k in range(1, most + 1):
        missed *= (real - k) / (samples + real - k)
        if missed <= 0.05:
            return k
    return most


def precision_recall_density_coverage(samples: Tensor, real: Tensor, k: int | None = None) -> Neighbourhoods:
    r"""Scores from balls around every image that reach to its k-th nearest fellow.

    precision  share of samples in the ball of some real image; recall: share of real images in the ball of some sample
               (Kynkäänniemi et al. 2019, eqs. 1–2)
    density    mean over samples of the number of real balls that hold it, over k; coverage: share of real images whose
               ball holds a sample (Naeem et al. 2020, eqs. 5–6)

    samples, real: ``(n, d)`` and ``(m, d)``, at least 2 rows each; ``k``: :func:`neighbours` of the sizes unless given.
    Raises :class:`LimnerError` for other shapes, or a k that is not from 1 to the smaller count less one.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> precision_recall_density_coverage(x, x + 0.1, k=1)
    Neighbourhoods(precision=1.0, recall=1.0, density=1.75, coverage=1.0, k=1)
    """
    check(samples, real, 2)
    samples, real = samples.double(), real.double()
    return from_distances(distances(samples, samples), distances(real, real), distances(samples, real), k)


def from_distances(within: Tensor, among_real: Tensor, between: Tensor, k: int | None = None) -> Neighbourhoods:
    """The same from the three distance matrices ``(n, n)``, ``(m, m)``, ``(n, m)``."""
    most = min(between.shape) - 1
    k = neighbours(*between.shape) if k is None else k
    if not 1 <= k <= most:
        raise LimnerError(f"k = {k} neighbours cannot be found among {most + 1} images; give k from 1 to {most}")
    inside_real = between < _radii(among_real, k)
    inside_samples = between < _radii(within, k)[:, None]
    return Neighbourhoods(
        precision=inside_real.any(1).double().mean().item(),
        recall=inside_samples.any(0).double().mean().item(),
        density=inside_real.double().sum(1).mean().item() / k,
        coverage=inside_real.any(0).double().mean().item(),
        k=k,
    )


def _radii(square: Tensor, k: int) -> Tensor:
    """Each image's distance to its k-th nearest other; itself, at distance 0, comes first."""
    return square.topk(k + 1, dim=1, largest=False).values[:, k]


def distances(features: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances ``(n, m)``, exactly 0 between equal rows."""
    return torch.cdist(features.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist")
