"""Maps of tasks: their fingerprints, seen along the two directions in which they differ most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limner.memory.fingerprints import SCALES
from limner.reports.memory_facts import Best, Mapped
from limner.reports.words import label, short_number, title

WIDE, HIGH, EDGE, PICTURE = 960, 520, 34, 30
"""The map in its own units, its margin, and the side of a picture on it."""

NAMED = 12
"""Tasks on a map, up to which each has its name beside it."""

TABLE = "table"


@dataclass(frozen=True)
class Point:
    """A task on a map: its place, the number of its goal's colour, its picture (an address, or empty), its words;
    ``name`` where there is room for names."""

    x: float
    y: float
    colour: int
    picture: str
    words: str
    name: str


@dataclass(frozen=True)
class Map:
    """``told``: how much of how the tasks differ the map shows; ``goals``: by name, the number of a colour."""

    what: str
    points: list[Point]
    goals: dict[str, int]
    told: str
    wide: int = WIDE
    high: int = HIGH
    picture: int = PICTURE


def maps(tasks: Sequence[Mapped], best: dict[str, Best]) -> list[Map]:
    """One map of the tasks over images and one of those over tables, where there are such; most tasks first."""
    over: dict[str, list[Mapped]] = {"images": [], "tables": []}
    for task in tasks:
        over["tables" if TABLE in task.content["statistics"] else "images"].append(task)
    goals = {goal: place % 8 + 1 for place, goal in enumerate(sorted({task.goal for task in tasks}))}
    made = [_map(what, some, best, goals) for what, some in over.items() if some]
    return sorted(made, key=lambda one: -len(one.points))


def _map(what: str, tasks: Sequence[Mapped], best: dict[str, Best], goals: dict[str, int]) -> Map:
    places, told = projected(vectors([task.content for task in tasks]))
    at = fitted(places)
    order = sorted(range(len(tasks)), key=lambda place: (-_runs(best.get(tasks[place].sha256)), tasks[place].sha256))
    pictured: list[tuple[float, float]] = []
    points = []
    for place in order:  # the most tried have their picture; who lies too near is a dot
        task, (x, y) = tasks[place], at[place]
        picture = ""
        if task.strip and all(math.hypot(x - other, y - way) > PICTURE * 1.15 for other, way in pictured):
            pictured.append((x, y))
            picture = _first(task.strip)
        said, name = _words(task, best.get(task.sha256)), title(task.name) if len(tasks) <= NAMED else ""
        points.append(Point(round(x, 1), round(y, 1), goals[task.goal], picture, said, name))
    points.sort(key=lambda point: bool(point.picture), reverse=True)  # dots lie over pictures, to be reached
    mine = {goal: colour for goal, colour in goals.items() if any(task.goal == goal for task in tasks)}
    return Map(what, points, mine, told)


def _runs(one: Best | None) -> int:
    return 0 if one is None else one.runs


def _words(task: Mapped, one: Best | None) -> str:
    told = f"{title(task.name)} ({task.goal})"
    if one is None:
        return f"{told}\nno scored run yet"
    score = f"{label(one.metric)} {short_number(one.value)}"
    runs = "the one run" if one.runs == 1 else f"the best of {one.runs:,} runs"
    return f"{told}\n{score}, {runs}: {short_kind(one.kind)}, {one.told}"


def short_kind(kind: str) -> str:
    """A learner's name without the modules that an estimator lies in.

    >>> short_kind("estimator:sklearn.tree.DecisionTreeClassifier"), short_kind("vae")
    ('DecisionTreeClassifier', 'vae')
    """
    return kind.rpartition(".")[2] if kind.startswith("estimator:") else kind


def _first(strip: str) -> str:
    from limner.memory.thumbnails import pictures
    from limner.reports.page import data_uri

    return data_uri(pictures(strip)[0])


def vectors(contents: Sequence[dict[str, Any]]) -> Any:
    """Fingerprints as rows whose squared distances are those that tasks are compared by, times the groups; ``(n, d)``.

    Only the statistics that all have; those of features only where all have the same.
    """
    import numpy as np

    one = len({content["features"] for content in contents}) == 1
    kept = [
        {(group, name): value for group, values in content["statistics"].items() for name, value in values.items()}
        for content in contents
    ]
    names = sorted(set.intersection(*(set(each) for each in kept)))
    names = [(group, name) for group, name in names if one or group != "features"]
    size = {group: sum(other == group for other, _ in names) for group, _ in names}
    scales = np.array([SCALES[group][name] * math.sqrt(size[group]) for group, name in names])
    rows = np.array([[each[name] for name in names] for each in kept], dtype=float)
    return rows.reshape(len(kept), len(names)) / scales


def projected(rows: Any) -> tuple[Any, str]:
    """The rows along their two principal axes (Pearson 1901), ``(n, 2)``, and how much of the variance that shows.

    >>> places, told = projected([[0.0, 0.0], [4.0, 0.0], [2.0, 0.0]])
    >>> places.tolist(), told
    ([[-2.0, 0.0], [2.0, 0.0], [0.0, 0.0]], 'The two axes show 100% of how they differ.')
    """
    import numpy as np
    from sklearn.decomposition import PCA

    rows = np.asarray(rows, dtype=float)
    if len(rows) < 2 or not rows.shape[1] or not np.ptp(rows, axis=0).any():
        return np.zeros((len(rows), 2)), "" if len(rows) < 2 else "By their fingerprints they are all the same."
    axes = min(2, *rows.shape)
    found = PCA(axes, svd_solver="full").fit(rows)
    most = np.abs(found.components_).argmax(1)
    flat = found.transform(rows) * np.sign(found.components_[np.arange(axes), most])  # one of two mirrored ways
    share = float(found.explained_variance_ratio_.sum())
    return np.pad(flat, ((0, 0), (0, 2 - axes))), f"The two axes show {share:.0%} of how they differ."


def fitted(places: Any) -> list[tuple[float, float]]:
    """Places on the map: both axes on one scale, so that distances are seen, and in the middle."""
    import numpy as np

    low, high = places.min(0), places.max(0)
    room = np.array([WIDE - 2 * EDGE, HIGH - 2 * EDGE])
    spread = np.maximum(high - low, 1e-9)
    scale = float((room / spread).min()) if (high - low).max() > 1e-9 else 0.0
    moved = (places - (low + high) / 2) * scale
    return [(WIDE / 2 + float(x), HIGH / 2 - float(y)) for x, y in moved]
