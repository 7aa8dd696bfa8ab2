"""What a transfer came to: means over repeats, differences from scratch and from the source alone, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from limner.types import Score

CLEAR = {"better than scratch": "a gain", "worse than scratch": "a loss", "no clear difference": "not clear"}
"""What each verdict calls a difference."""


@dataclass(frozen=True)
class Row:
    """One way, over all repeats.

    label    the way, and where there are several sources from which
    score    the mean over repeats; ``more`` what it is more than that of ``scratch`` and of ``source-only``, each with
             a 95% interval where one can be had
    verdict  ``better than scratch``, ``worse than scratch``, ``no clear difference``; of scratch itself nothing
    carried  what was carried over, in words; ``left`` the parameters that were not, and why
    """

    label: str
    way: str
    about: str
    source: str
    score: Score
    values: tuple[float, ...]
    more: dict[str, Score]
    verdict: str
    seconds: float
    carried: str = ""
    left: dict[str, str] | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return asdict(self) | {"values": list(self.values), "notes": list(self.notes)}


def mean(values: Sequence[float], right: Sequence[Tensor] | None = None) -> Score:
    """The mean over repeats with its 95% interval: Student's over repeats, or that of the images of one repeat (Wilson
    1927, the mean of each repeat's), whichever reaches further. Repeats share images, so more of them do not narrow it.

    right  whether each image was put in its class, a tensor a repeat; ``None`` where the score is no share

    >>> mean([0.5, 0.5, 0.5]), mean([0.5])
    (Score(value=0.5, low=0.5, high=0.5, floor=None), Score(value=0.5, low=None, high=None, floor=None))
    """
    from limner.verbs.classify import wilson

    of_images = [] if right is None else [wilson(float(each.double().mean()), len(each)) for each in right]
    return _within(values, of_images, 0.0)


def difference(
    first: Sequence[float],
    second: Sequence[float],
    right: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None,
) -> Score:
    """The mean of ``first − second`` over repeats of the same draws, with its 95% interval: Student's over repeats, or
    that of the images of one repeat (Bonett & Price 2012, the mean of each repeat's), whichever reaches further.

    >>> found = difference([0.6, 0.7], [0.5, 0.5])
    >>> round(found.value, 3), found.low < 0 < found.high
    (0.15, True)
    """
    from limner.metrics.gain import paired

    of_images = []
    for one, other in zip(*right, strict=True) if right is not None else ():
        found = paired(one, other, torch.zeros(len(one)), 2)
        of_images.append((found.low or 0.0, found.high or 0.0))
    apart = [one - other for one, other in zip(first, second, strict=True)]
    return _within(apart, of_images, -1.0)


def _within(values: Sequence[float], of_images: Sequence[tuple[float, float]], least: float) -> Score:
    """The mean, and the ends that are furthest from it; of shares, whose images are known, within ``least`` and 1."""
    value, ends = math.fsum(values) / len(values), []
    if len(values) > 1:
        ends += [value - _student(values), value + _student(values)]
    if of_images:
        ends += [math.fsum(side) / len(side) for side in zip(*of_images, strict=True)]
        ends = [min(max(end, least), 1.0) for end in ends]
    return Score(value, min(ends), max(ends)) if ends else Score(value)


def _student(values: Sequence[float]) -> float:
    from scipy.special import stdtrit

    middle = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values))
    return float(stdtrit(len(values) - 1, 0.975)) * spread


def verdict(more: Score, higher_is_better: bool) -> str:
    """What a difference from scratch says; one whose interval holds 0, or that has none, says nothing clear.

    >>> verdict(Score(0.1, 0.05, 0.2), True), verdict(Score(0.1, -0.1, 0.3), True)
    ('better than scratch', 'no clear difference')
    """
    if more.low is None or more.high is None or more.low <= 0 <= more.high:
        return "no clear difference"
    return "better than scratch" if (more.low > 0) == higher_is_better else "worse than scratch"


def summary(rows: Sequence[Row], metric: str) -> str:
    """The whole in a few plain sentences: the best way by its mean, and every negative transfer by name."""
    share = metric == "accuracy"
    learned = [row for row in rows if row.way not in ("scratch", "source-only")]
    scratch = next(row for row in rows if row.way == "scratch")
    if not learned:
        return f"From scratch {in_words(scratch.score, share)}; no way was tried."
    best = (max if share else min)(learned, key=lambda row: row.score.value)
    what = "accuracy" if share else metric.replace("_", " ")
    told = (
        f"Of the ways tried {best.label} comes out first: {what} {in_words(best.score, share)}, from scratch "
        f"{in_words(scratch.score, share)}. The difference of {in_words(best.more['scratch'], share, True)} is "
        f"{CLEAR[best.verdict]}."
    )
    if not any(row.verdict == "better than scratch" for row in learned):
        told += " No way is clearly better than scratch."
    elif len(learned) > 1:
        told += " Being first of several flatters it."
    worse = [row.label for row in rows if row.verdict == "worse than scratch" and row.way != "source-only"]
    if worse:
        told += f" Negative transfer: {', '.join(worse)} {'is' if len(worse) == 1 else 'are'} worse than scratch."
    return told


def in_words(score: Score, share: bool, signed: bool = False) -> str:
    """A score with its interval.

    >>> in_words(Score(0.512, 0.4, 0.6), True), in_words(Score(-0.1, -0.15, -0.05), True, signed=True)
    ('51.2% (40.0 to 60.0)', '−10.0 points (−15.0 to −5.0)')
    """
    unit, by = (" points" if signed else "%", 100) if share else ("", 1)

    def number(value: float) -> str:
        return (f"{by * value:.1f}" if share else f"{value:.3g}").replace("-", "−")

    ends = "" if score.low is None or score.high is None else f" ({number(score.low)} to {number(score.high)})"
    return f"{number(score.value)}{unit}{ends}"
