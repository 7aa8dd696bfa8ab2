"""Which of several is best at a score, where their intervals allow to say so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from limner.reports import words
from limner.types import Score, Scores


def compared(scored: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """A row for each score: its name and meaning, a cell for each arm, and which arms are best.

    An arm is ``best`` alone only where its interval does not touch any other's; otherwise all whose intervals touch
    that of the best value are ``level``. Where an interval is missing, nothing is marked. What real images score is the
    row's where it is the same for all arms, else each cell's own.

    >>> one = Scores({"coverage": Score(0.9, 0.8, 1.0)}, "pixels", 9, 9, 5)
    >>> other = Scores({"coverage": Score(0.4, 0.3, 0.5)}, "pixels", 9, 9, 5)
    >>> [cell["mark"] for cell in compared({"one": one, "other": other})[0]["cells"]]
    ['best', '']
    """
    rows = []
    for name in dict.fromkeys(metric for scores in scored.values() for metric in scores.values):
        found = {arm: scores.values[name] for arm, scores in scored.items() if name in scores.values}
        better, meaning = words.MEANINGS.get(name, ("", ""))
        marks = _marks(better, found)
        floors = {arm: words.short_number(score.floor) for arm, score in found.items() if score.floor is not None}
        shared = len(set(floors.values())) == 1
        cells = []
        for arm in scored:
            value, interval, _ = words.shown(found[arm]) if arm in found else ("–", "", "")
            reading = words.reading(name, found[arm]) if arm in found else ""
            own = "" if shared else floors.get(arm, "")
            cells.append(
                {"value": value, "interval": interval, "mark": marks.get(arm, ""), "reading": reading, "floor": own}
            )
        rows.append(
            {
                "name": words.label(name), "meaning": meaning, "better": words.ARROWS.get(better, ""), "cells": cells,
                "floor": next(iter(floors.values())) if shared else "",
            }
        )  # fmt: skip
    return rows


def _marks(better: str, found: Mapping[str, Score]) -> dict[str, str]:
    if len(found) < 2 or not better or any(score.low is None or score.high is None for score in found.values()):
        return {}

    def loss(score: Score) -> float:
        if better.startswith("near"):
            return abs(score.value - (1.0 if score.floor is None else score.floor))
        return score.value if better == "lower" else -score.value

    best = min(found, key=lambda arm: loss(found[arm]))
    level = [arm for arm in found if _touch(found[arm], found[best])]
    return {best: "best"} if level == [best] else dict.fromkeys(level, "level")


def _touch(one: Score, other: Score) -> bool:
    ends = [-math.inf if end is None else end for end in (one.low, one.high, other.low, other.high)]
    return ends[0] <= ends[3] and ends[2] <= ends[1]


def verdict(scored: Mapping[str, Scores], metric: str = "kernel_distance") -> str:
    """Which arm comes closest to the real images, in a sentence, as far as intervals allow; empty where they do not.

    >>> def with_score(*score):
    ...     return Scores({"kernel_distance": Score(*score)}, "pixels", 9, 9, 5)
    >>> verdict({"one": with_score(0.3, 0.1, 0.5), "two": with_score(0.4, 0.2, 0.6)})
    'By kernel distance, “one” and “two” cannot be told apart: their intervals touch.'
    """
    found = {arm: scores.values[metric] for arm, scores in scored.items() if metric in scores.values}
    marks = _marks(words.MEANINGS[metric][0], found)
    named = [f"“{arm}”" for arm in sorted(marks, key=lambda arm: found[arm].value)]
    name = words.label(metric).lower()
    if not named or len(found) < len(scored):
        return ""
    if len(named) == 1:
        return f"By {name}, {named[0]} comes closest to the real images; its interval touches no other."
    return f"By {name}, {', '.join(named[:-1])} and {named[-1]} cannot be told apart: their intervals touch."
