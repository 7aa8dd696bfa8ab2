"""Stripes: rows or columns that carry an offset of their own, found in an image alone and taken away."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.restoration.base import Knowledge, check
from limner.restoration.noise import CLEAN, Array

DIRECTIONS = ("rows", "columns")

PARTS, PAIRS = 4, ((0, 2), (0, 3), (1, 3))
"""An image is cut across its stripes into so many parts; pairs of them that do not touch share the stripes alone."""

CERTAIN, MOSTLY = 5.0, 0.2
"""Stripes are told from noise where their variance is so many times its own error, and from what a picture shows where
it is such a part of what neighbouring lines differ by in all parts (of stripes alone it is half)."""

NARROWEST, LONGEST, WIDEST = 32, 1400, 2048
"""The shortest side in which they are looked for; how many lines, from the middle, tell whether there are any; and of
how many pixels, spread over a line, its offset is measured."""


DRIFT = 1.5 / 255
"""What neighbouring lines of a photograph differ by, at the most of most; chosen on those of Set12."""


class Stripes(NamedTuple):
    """Stripes that were found: the standard deviation of their offsets, of intensities in [0, 1], and which lines."""

    level: float
    direction: str


class _Steps(NamedTuple):
    """What neighbouring lines differ by: variances of the stripes, of what else all parts share, and of what a part has
    of its own; ``error``: the standard error of the first."""

    stripes: float
    drift: float
    own: float
    error: float


def find(values: Array, seen: Array) -> Stripes | None:
    """The stripes of ``(c, h, w)`` where ``seen``, ``(1 or c, h, w)``; of rows or columns the surer, ``None`` for none.

    In the picture a line differs little from the next one and more from the one after that, by a random walk of step
    variance τ²; stripes of variance σ² differ as much from either. What two far parts of the image have in common of
    these steps, V₁ from the next line and V₂ from the second, tells both, whatever the noise of single pixels:

        V₁ = 2σ² + τ²,   V₂ = 2σ² + 2τ²

    A part's step is the mean of the middle half of its pixels' steps. Variances are of medians of magnitudes, so
    that edges along the lines count for little.
    """
    grey, whole = _grey(values, seen)
    found = []
    for direction in DIRECTIONS:
        lines = _turned(grey, direction), _turned(whole, direction)
        if min(grey.shape) < NARROWEST:
            continue
        first = max(0, len(lines[0]) - LONGEST) // 2
        steps = _steps(*(part[first : first + LONGEST] for part in lines))
        known = max(steps.stripes, 0.0)
        if known > max(CLEAN**2, CERTAIN * steps.error) and known > MOSTLY * (2 * known + steps.drift):
            found.append((known / max(steps.error, 1e-12), Stripes(sqrt(known), direction)))
    return max(found)[1] if found else None


def offsets(values: Array, seen: Array, stripes: Stripes) -> Array:
    """The offset of each row ``(h, 1)`` or column ``(1, w)`` of ``(c, h, w)``; 0 where a line has no whole pixel.

    The likeliest s, given the steps d from line to line: those that are least in Σ s²/σ² + Σ ρ((d − Δs)/τ), where ρ,
    Cauchy's, lets an edge that runs along all of a line be no stripe, and τ is :data:`DRIFT` and what noise adds.
    """
    from scipy.linalg import solveh_banded

    grey, whole = (_turned(part, stripes.direction) for part in _grey(values, seen))
    steps = _steps(grey, whole)
    stride = -(-grey.shape[1] // WIDEST)
    step, known = _middle(_differences(grey[:, ::stride], whole[:, ::stride], 1))
    spread = DRIFT**2 + steps.own / PARTS
    weights = known.astype(np.float64)
    made: Array = np.zeros(len(grey))
    for _ in range(8):
        pull = weights * stripes.level**2 / spread
        bands = np.zeros((2, len(grey)))
        bands[1] = 1
        bands[1, :-1] += pull
        bands[1, 1:] += pull
        bands[0, 1:] = -pull
        given = np.zeros(len(grey))
        given[1:] += pull * step
        given[:-1] -= pull * step
        made = solveh_banded(bands, given)
        weights = known / (1 + (step - np.diff(made)) ** 2 / (4 * spread))
    return made[:, None] if stripes.direction == "rows" else made[None]


def without(images: Tensor, stripes: Stripes, seen: Tensor | None = None) -> Tensor:
    """``images``, ``(n, c, h, w)``, less the offsets of their lines; ``seen`` is 0 where pixels are known lost."""
    made = []
    for image in images:
        values = image.double().cpu().numpy()
        whole = np.ones((1, *values.shape[1:]), bool) if seen is None else seen[0].cpu().numpy() > 0
        made.append(image - torch.from_numpy(offsets(values, whole, stripes)).to(image))
    return torch.stack(made)


@dataclass(frozen=True)
class Destriping:
    """Rows or columns freed of offsets of their own (:func:`find`, :func:`offsets`); all else stays as it is.

    ``direction`` is ``rows``, ``columns``, or ``auto``: as is found, and where nothing is, images stay as they are.

    >>> ramp = torch.linspace(0.3, 0.7, 64).expand(1, 1, 64, 64)
    >>> striped = ramp + 0.1 * torch.randn(1, 1, 64, 1, generator=torch.Generator().manual_seed(0))
    >>> float((Destriping().restore(striped, Knowledge(), torch.Generator()) - ramp).std()) < 0.02
    True
    """

    direction: str = "auto"
    name = "destriping"

    def __post_init__(self) -> None:
        if self.direction not in ("auto", *DIRECTIONS):
            raise LimnerError(f"stripes cannot run along {self.direction!r}; direction is rows, columns or auto")

    def handles(self, knowledge: Knowledge) -> str:
        """Stripes alone."""
        if knowledge.operator is not None:
            return "destriping takes away stripes alone, not blur; use plug-and-play, before which they are taken away"
        return ""

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """Each image less its offsets; nothing is random."""
        check(self, images, knowledge)
        return torch.cat([self._one(image[None], knowledge.mask) for image in images])

    def _one(self, image: Tensor, mask: Tensor | None) -> Tensor:
        values = image[0].double().cpu().numpy()
        whole = np.ones((1, *values.shape[1:]), bool) if mask is None else mask[0].cpu().numpy() > 0
        stripes = find(values, whole)
        if self.direction != "auto":
            steps = _steps(*(_turned(part, self.direction) for part in _grey(values, whole)))
            stripes = Stripes(sqrt(max(steps.stripes, 0.0)), self.direction)
        return image.clone() if stripes is None else without(image, stripes, mask)


def _grey(values: Array, seen: Array) -> tuple[Array, Array]:
    """The mean of the channels, and where no channel of a pixel is lost, black or white: clipping hides offsets."""
    whole = seen & (values > 0.5 / 255) & (values < 254.5 / 255)
    return values.mean(0), np.min(whole, axis=0)


def _turned(plane: Array, direction: str) -> Array:
    """``(h, w)`` with its stripes as rows."""
    return plane if direction == "rows" else plane.T


def _differences(lines: Array, whole: Array, apart: int) -> Array:
    """Each line less the one so many before it; not a number where either has no whole pixel."""
    known: Array = np.where(whole, lines, np.nan)
    return known[apart:] - known[:-apart]


def _middle(values: Array) -> tuple[Array, Array]:
    """The mean of the middle half of each row's numbers, and whether it has any; 0 where it has none."""
    ordered = np.sort(values, axis=1)  # what is no number comes last
    count = np.isfinite(ordered).sum(1, keepdims=True)
    ranks = np.arange(values.shape[1])[None]
    inside = (ranks >= count // 4) & (ranks < count - count // 4)
    total = np.where(inside, np.nan_to_num(ordered), 0.0).sum(1)
    return total / np.maximum(inside.sum(1), 1), count[:, 0] > 0


def _variance(values: Array) -> float:
    """Of the normal distribution whose magnitudes have the same median."""
    return (1.4826 * float(np.median(np.abs(values)))) ** 2


def _steps(lines: Array, whole: Array) -> _Steps:
    """What :func:`find` goes by, the median over pairs of parts."""
    width = max(1, lines.shape[1] // PARTS)
    means = []
    for apart in (1, 2):
        apart_by = _differences(lines, whole, apart)
        means.append([_middle(apart_by[:, part * width : (part + 1) * width])[0] for part in range(PARTS)])
    told = []
    for first, second in PAIRS:
        next_line, after = (
            (_variance(parts[first] + parts[second]) - _variance(parts[first] - parts[second])) / 4 for parts in means
        )
        told.append((next_line, after, _variance(means[0][first] - means[0][second]) / 2))
    next_line, after, own = np.median(told, 0)
    return _Steps(float(2 * next_line - after) / 2, float(after - next_line), float(own), float(own) / sqrt(len(lines)))
