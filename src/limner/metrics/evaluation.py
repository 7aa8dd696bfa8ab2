"""All scores of one set of samples at once, each with its interval and its real-against-real floor."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.metrics import distribution
from limner.metrics.distribution import distances, kernel, off_diagonal_mean
from limner.metrics.features import choose
from limner.metrics.features import extractor as extractor_named
from limner.metrics.few_shot import nearest
from limner.seeds import generator
from limner.tasks.image_set import ImageSet
from limner.types import Score, Scores

HALVINGS = 32
"""How many random halves of the real images the floor is an average over."""

LEAST = 4
"""The fewest images of which a half says anything: sides for intervals, halves for floors."""

FEW = 25
"""Under so many images on a side the Fréchet distance is mostly bias."""

RANGES = dict.fromkeys(("precision", "recall", "coverage"), (0.0, 1.0)) | dict.fromkeys(
    ("frechet_distance", "density", "diversity", "nearest_training_ratio"), (0.0, math.inf)
)
"""Between which numbers a score can lie; the kernel distance has no bounds."""


@dataclass(frozen=True)
class Comparison:
    """Features of samples ``(n, d)``, held-out real images ``(m, d)`` and support images ``(s, d)`` or ``None``.

    What every score needs of them (distances, kernels) is computed once; scores of parts are taken from parts of it.
    """

    samples: Tensor
    real: Tensor
    support: Tensor | None = None

    @cached_property
    def _distances(self) -> Tensor:
        both = torch.cat([self.samples, self.real])
        return distances(both, both)

    @cached_property
    def _kernel(self) -> Tensor:
        both = torch.cat([self.samples, self.real])
        return kernel(both, both)

    @cached_property
    def _nearest(self) -> Tensor | None:
        return None if self.support is None else nearest(torch.cat([self.samples, self.real]), self.support)

    def scores(self, of_samples: Tensor | None = None, of_real: Tensor | None = None) -> dict[str, float]:
        """Every score that can be had, of all images or of those at the given indices on each side."""
        count = len(self.samples)
        first = torch.arange(count) if of_samples is None else of_samples
        second = (torch.arange(len(self.real)) if of_real is None else of_real) + count
        found: dict[str, float] = {}
        if len(first) > 1 and len(second) > 1:
            found["kernel_distance"] = distribution.discrepancy(*_blocks(self._kernel, first, second))
            found["frechet_distance"] = distribution.frechet_distance(self.samples[first], self.real[second - count])
            within, among_real, between = _blocks(self._distances, first, second)
            balls = distribution.from_distances(within, among_real, between)._asdict()
            found |= {name: balls[name] for name in ("precision", "recall", "density", "coverage")}
            spread = float(off_diagonal_mean(among_real))
            if spread > 0:
                found["diversity"] = float(off_diagonal_mean(within)) / spread
        if self._nearest is not None and float(self._nearest[second].mean()) > 0:
            found["nearest_training_ratio"] = float(self._nearest[first].mean() / self._nearest[second].mean())
        return found


def _blocks(square: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return square[first[:, None], first], square[second[:, None], second], square[first[:, None], second]


def evaluate(
    samples: Tensor,
    query: ImageSet,
    support: ImageSet | None,
    extractor: str | None = None,
    seed: int = 0,
    bootstraps: int = 200,
) -> Scores:
    """Score ``samples`` (uint8 ``(n, c, h, w)``) against real images that were not learned from.

    query       held-out real images; support: the images learned from, for the nearest-training ratio, or ``None``
    extractor   features to score in (see :func:`limner.metrics.extractor`); ``None`` = what fits the query images
    seed        of the resampling
    bootstraps  resamples behind the intervals; 0 = values alone, without intervals and floors, for use as training goes

    Interval: 95%, from the spread over random halves of samples and of query images, drawn without replacement (see
    :func:`intervals`); how the support was chosen is not part of it. Floor: see :func:`floors`. A score that cannot be
    measured is left out and a note says why. Raises :class:`LimnerError` for images of different shapes or none at all.

    >>> real = ImageSet(torch.randint(256, (12, 1, 16, 16), dtype=torch.uint8), "noise")
    >>> found = evaluate(real.images[:6], real.select(torch.arange(6, 12)), None, extractor="pixels", bootstraps=20)
    >>> found.samples, found.query, found.values["coverage"].floor is None
    (6, 6, True)
    """
    if bootstraps < 0:
        raise LimnerError(f"{bootstraps} bootstraps cannot be drawn; give 0 (no intervals) or more, for example 200")
    _check(samples, query, support)
    name = extractor or choose(query)
    comparison = Comparison(
        _features(name, samples),
        _features(name, query.images),
        _features(name, support.images) if support is not None and len(support) else None,
    )
    values = comparison.scores()
    ends = intervals(comparison, bootstraps, seed) if bootstraps else {}
    least = floors(comparison, seed) if bootstraps else {}
    scored = {
        metric: Score(value, *_within(metric, value, ends.get(metric), len(samples), len(query)), least.get(metric))
        for metric, value in values.items()
    }
    notes = _notes(comparison, values, bootstraps > 0)
    counts = (len(samples), len(query), 0 if support is None else len(support))
    return Scores(scored, name, *counts, seed, tuple(notes))


def intervals(comparison: Comparison, count: int, seed: int) -> dict[str, float]:
    """Half the width of each score's 95% interval, by the delete-half jackknife (Shao & Wu 1989).

    Each of ``count`` replicates scores a random half of the samples against a random half of the real images, drawn
    without replacement: for a statistic that is smooth in both distributions, its spread over halves equals its
    spread over fresh draws of the full size, since 1/(n/2) − 1/n = 1/n. Unlike the bootstrap it makes no duplicates,
    which would bias the kernel distance and all neighbours. The half-width is the replicates' deviation times
    Student's t quantile at one less than the smaller side. Nothing for sides of fewer than 4 images.
    """
    sizes = len(comparison.samples), len(comparison.real)
    if min(sizes) < LEAST or count < 2:
        return {}
    random = generator(seed, "metrics", "intervals")
    found: dict[str, list[float]] = {}
    for _ in range(count):
        halves = [torch.randperm(size, generator=random)[: size // 2] for size in sizes]
        for metric, value in comparison.scores(*halves).items():
            found.setdefault(metric, []).append(value)
    from scipy.special import stdtrit

    quantile = float(stdtrit(min(sizes) - 1, 0.975))
    return {metric: quantile * float(torch.tensor(drawn).std()) for metric, drawn in found.items() if len(drawn) > 1}


def floors(comparison: Comparison, seed: int) -> dict[str, float]:
    r"""What real images score against real images: the query (and support) images, split at random into two halves.

    The mean over splits. The kernel distance of two halves is 0 on average by construction, so its floor is the root
    mean square, brought from the halves' sizes to those of the comparison: without a difference in distribution its
    deviation is proportional to :math:`\sqrt{1/(n(n-1)) + 1/(m(m-1)) + 2/(nm)}` (Gretton et al. 2012, appendix B). A
    distance under it cannot be told from none. The nearest-training ratio's halves are of the query alone, both held
    against the support. Nothing where a half would have fewer than 4 images; no kernel distance where one side of the
    comparison is a single image.
    """
    random = generator(seed, "metrics", "floors")
    pool = comparison.real
    if comparison.support is not None:
        pool = torch.cat([pool, comparison.support])
    found = _halves(Comparison(pool, pool), random)
    floor = {name: _mean(values) for name, values in found.items()}
    if "kernel_distance" in found and min(len(comparison.samples), len(comparison.real)) > 1:
        half = len(pool) // 2
        here, there = _scatter(len(comparison.samples), len(comparison.real)), _scatter(half, len(pool) - half)
        floor["kernel_distance"] = math.sqrt(_mean([value**2 for value in found["kernel_distance"]])) * here / there
    ratios = _halves(Comparison(comparison.real, comparison.real, comparison.support), random)
    if "nearest_training_ratio" in ratios:
        floor["nearest_training_ratio"] = _mean(ratios["nearest_training_ratio"])
    return floor


def _halves(real: Comparison, random: torch.Generator) -> dict[str, list[float]]:
    """The scores of one random half of a set, compared with itself, against the other."""
    found: dict[str, list[float]] = {}
    if len(real.real) >= 2 * LEAST:
        for _ in range(HALVINGS):
            order = torch.randperm(len(real.real), generator=random)
            for name, value in real.scores(order[: len(order) // 2], order[len(order) // 2 :]).items():
                found.setdefault(name, []).append(value)
    return found


def _scatter(samples: int, real: int) -> float:
    """The deviation of the unbiased squared discrepancy under equal distributions, up to a factor."""
    return math.sqrt(1 / (samples * (samples - 1)) + 1 / (real * (real - 1)) + 2 / (samples * real))


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


SURE = 0.025
"""What lies beyond each end of a 95% interval."""


def _within(
    metric: str, value: float, half_width: float | None, samples: int, real: int
) -> tuple[float | None, float | None]:
    """Both ends of the interval, inside what the score can be.

    A share of 0 or 1 has halves that all agree, yet is not certain: there the exact end for none of n (or all of n)
    holds, 1 − 0.025^(1/n) away (Clopper & Pearson 1934), with n the images that it is a share of.
    """
    if half_width is None:
        return None, None
    low, high = RANGES.get(metric, (-math.inf, math.inf))
    if (low, high) == (0.0, 1.0) and value in (0.0, 1.0):
        half_width = max(half_width, 1 - SURE ** (1 / (samples if metric == "precision" else real)))
    return max(value - half_width, low), min(value + half_width, high)


def _check(samples: Tensor, query: ImageSet, support: ImageSet | None) -> None:
    if samples.dtype != torch.uint8 or samples.ndim != 4:
        raise LimnerError(
            f"samples are scored as uint8 images (n, channels, height, width); "
            f"these are {samples.dtype} of shape {tuple(samples.shape)}"
        )
    for count, what in ((len(samples), "samples"), (len(query), "query images")):
        if not count:
            raise LimnerError(f"there are no {what} to score; give at least 2, better {FEW} or more")
    for other in (query, support):
        if other is not None and tuple(samples.shape[1:]) != other.shape:
            raise LimnerError(
                f"samples of shape {tuple(samples.shape[1:])} cannot be held against {other.name} "
                f"of shape {other.shape}; load the images with the same size and colour"
            )


_KEPT: OrderedDict[tuple[str, tuple[int, ...], str], Tensor] = OrderedDict()
"""Features of the last images looked at: a run is judged against the same ones many times, and in the end once more."""


def _features(name: str, images: Tensor) -> Tensor:
    content = hashlib.sha256(images.contiguous().numpy().tobytes()).hexdigest()
    key = (name, tuple(images.shape), content)
    if key not in _KEPT:
        _KEPT[key] = extractor_named(name)(images).double()
    _KEPT.move_to_end(key)
    while len(_KEPT) > 8:
        _KEPT.popitem(last=False)
    return _KEPT[key]


def _notes(comparison: Comparison, values: dict[str, float], intervals_asked: bool) -> list[str]:
    """What the reader must know about these numbers, in plain words."""
    samples, real, support = len(comparison.samples), len(comparison.real), comparison.support
    notes = []
    if min(samples, real) < 2:
        notes.append("one image on a side has no distribution: only the nearest-training ratio could be measured")
    elif "diversity" not in values:
        notes.append("the query images are all equal, so diversity has nothing to be held against")
    if support is None:
        notes.append("the images learned from are not known here, so copying was not measured")
    elif "nearest_training_ratio" not in values:
        notes.append("every query image is also a support image, so copying could not be measured")
    if "frechet_distance" in values and min(samples, real) < FEW:
        notes.append(
            f"with {samples} samples against {real} images the Fréchet distance is mostly bias; "
            f"trust the kernel distance"
        )
    if intervals_asked and 2 <= min(samples, real) < LEAST:
        notes.append(f"fewer than {LEAST} images on a side: no intervals")
    pool = real + (0 if support is None else len(support))
    if intervals_asked and pool < 2 * LEAST:
        notes.append(f"{pool} real images are too few to be split in two, so there is no real-against-real floor")
    elif intervals_asked and "frechet_distance" in values:
        notes.append(
            f"floors are taken at {pool // 2} against {pool - pool // 2} real images, scores at {samples} against "
            f"{real}: the Fréchet distance, biased upwards the more the fewer the images, may fall below its floor"
        )
    return notes
