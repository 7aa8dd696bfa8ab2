"""Runs looked at on their way: at the rungs, equal parts of a run's budget, and what is learned from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.config import ENDLESS, Strategy

Looks = tuple[tuple[float, float], ...]
"""The scores of a run on its way, each after the share of its budget that had been used: ``(share, score)``."""

FARTHEST = 3.0
"""The largest standardised score."""


def looks(curve: Sequence[Mapping[str, Any]], metric: str, strategy: Strategy) -> Looks:
    """The scores on the way, of a curve as the memory keeps it; shares are of steps, or of seconds where steps are no
    limit.

    >>> points = [{"step": 4, "values": {"loss": 3.0}}, {"step": 5, "values": {"psnr": 20.0}}]
    >>> looks(points, "psnr", Strategy(steps=20))
    ((0.25, 20.0),)
    """
    by_steps = strategy.steps < ENDLESS
    whole = float(strategy.steps if by_steps else strategy.seconds)
    found = [
        (float(point["step"] if by_steps else point["seconds"]), float(point["values"][metric]))
        for point in curve
        if metric in point["values"]
    ]
    return tuple((done / whole, score) for done, score in found if whole and math.isfinite(score))


def at_rungs(looked: Looks, rungs: int) -> dict[int, float]:
    """The score at each of the ``rungs`` (from 1) that a run has come to: of the first look at it or after it.

    >>> at_rungs(((0.25, 0.1), (0.6, 0.2)), 4)
    {1: 0.1, 2: 0.2}
    """
    found: dict[int, float] = {}
    for share, score in looked:
        for rung in range(1, min(rungs, math.floor(share * rungs + 1e-6)) + 1):
            found.setdefault(rung, score)
    return found


class Lessons(NamedTuple):
    """What runs teach of going from one rung to another: which run it is, what had been seen of it (see
    :func:`seen_of`), and what it gained on the last score seen (on 0 where none was); one row each."""

    runs: Tensor
    seen: Tensor
    gains: Tensor


def lessons(scores: Tensor) -> Lessons:
    """From runs' standardised scores at the rungs, ``(n, rungs)`` (not a number where unknown), every pair of a rung
    that was seen, or nothing, and a later one."""
    count, rungs = scores.shape
    known = scores.isfinite()
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for seen in range(rungs):
        for to in range(seen + 1, rungs + 1):
            of = known[:, to - 1] & (known[:, seen - 1] if seen else torch.ones(count, dtype=torch.bool))
            which = of.nonzero().flatten()
            full = torch.full((len(which),), 1)
            last = scores[which, seen - 1] if seen else torch.zeros(len(which))
            found.append((which, seen_of(scores[which], full * seen, full * to), scores[which, to - 1] - last))
    return Lessons(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def seen_of(scores: Tensor, seen: Tensor, to: Tensor) -> Tensor:
    """What the network is told of runs' ways so far: the rung that is asked about, those that were seen, the score at
    the last of them, and what it gained there; ``(n, 4)``, and ``(n, 0)`` where runs have one rung.

    scores  standardised, ``(n, rungs)``; ``seen``: how many rungs have been (0: none); ``to``: the one asked about

    >>> seen_of(torch.tensor([[0.5, 1.5, float("nan"), float("nan")]]), torch.tensor([2]), torch.tensor([3]))
    tensor([[0.7500, 0.5000, 1.5000, 1.0000]])
    """
    count, rungs = scores.shape
    if rungs == 1:
        return torch.empty(count, 0)
    padded = torch.cat([torch.zeros(count, 2), scores.nan_to_num(0.0)], dim=1)
    last = padded.gather(1, (seen + 1)[:, None])[:, 0]
    before = padded.gather(1, seen.clamp(min=1)[:, None])[:, 0]
    gained = torch.where(seen > 1, last - before, 0.0)
    return torch.stack([to / rungs, seen / rungs, last, gained], dim=1)


def standardised(scores: Tensor, centre: Tensor | None = None, spread: Tensor | None = None) -> Tensor:
    """Scores at the rungs, ``(n, rungs)``, less the ``centre`` and over the ``spread`` of each rung, ``(rungs,)``, by
    default their own mean and deviation there; 0 where they do not differ, not a number where unknown."""
    known = [known_of(column) if column.isfinite().any() else torch.zeros(1) for column in scores.T]
    centre = torch.stack([each.mean() for each in known]) if centre is None else centre
    spread = torch.stack([each.std(correction=0) for each in known]) if spread is None else spread
    flat = torch.zeros_like(scores).where(scores.isfinite(), scores)
    return torch.where(spread > 0, ((scores - centre) / spread).clamp(-FARTHEST, FARTHEST), flat)


def known_of(column: Tensor) -> Tensor:
    """Those of a rung's scores that are known."""
    return column[column.isfinite()]
