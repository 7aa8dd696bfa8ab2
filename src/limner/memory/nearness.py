"""Distances from one fingerprint to very many at once: what ``Fingerprint.distance`` gives, by columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from limner.memory.fingerprints import SCALES, Fingerprint

REACH = 0.6
"""The fingerprint distance at which a past task counts e⁻¹ of what the same task would."""

UNRELATED = 0.05
"""A past task that is less similar than this counts nothing: unrelated experience harms more than it helps."""

Layout = tuple[tuple[str, tuple[str, ...]], ...]


def similarity(distance: float) -> float:
    """exp(−(distance / REACH)²): 1 for the same task, 0 for one infinitely far.

    >>> similarity(0.0), round(similarity(REACH), 3)
    (1.0, 0.368)
    """
    return math.exp(-((distance / REACH) ** 2))


def distances(one: Fingerprint, contents: Sequence[dict[str, Any]]) -> list[float]:
    """The distance from ``one`` to each fingerprint, given as what :meth:`Fingerprint.to_json` makes; n of n.

    Those with the same names of statistics are compared together, by the formula of :meth:`Fingerprint.distance`.

    >>> near, far = Fingerprint({"intensity": {"mean": 0.2}}), Fingerprint({"intensity": {"mean": 0.6}})
    >>> distances(near, [near.to_json(), far.to_json()]) == [0.0, near.distance(far)]
    True
    """
    together: dict[Layout, list[int]] = {}
    for place, content in enumerate(contents):
        statistics = content["statistics"]
        layout = (("features", (content["features"],)), *((group, tuple(statistics[group])) for group in statistics))
        together.setdefault(layout, []).append(place)
    found = np.full(len(contents), np.inf)
    for layout, places in together.items():
        found[places] = _alike(one, layout, [contents[place]["statistics"] for place in places])
    return [float(distance) for distance in found]


def _alike(one: Fingerprint, layout: Layout, theirs: Sequence[dict[str, dict[str, float]]]) -> Any:
    """The distances to fingerprints that have the same statistics; (n,)."""
    (_, (features,)), *groups = layout
    parts = []
    for group, names in groups:
        mine = one.statistics.get(group, {})
        shared = [place for place, name in enumerate(names) if name in mine]
        if not shared or (group == "features" and one.features != features):
            continue
        values = np.array([tuple(statistics[group].values()) for statistics in theirs])[:, shared]
        wanted = np.array([mine[names[place]] for place in shared])
        scales = np.array([SCALES[group][names[place]] for place in shared])
        parts.append((((values - wanted) / scales) ** 2).mean(axis=1))
    return np.sqrt(np.mean(parts, axis=0)) if parts else np.inf
