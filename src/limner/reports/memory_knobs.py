"""Which knobs of a learner matter: what a forest that foretells scores loses where a knob is shuffled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limner.config import ENDLESS
from limner.reports.memory_facts import Tried, space_for, values_of
from limner.reports.memory_map import short_kind

LEAST_RUNS = 30
"""Runs below which nothing is said of a learner's knobs."""

LEAST_HERE = 3
"""Runs that a task must have seen, for their scores to be put on a scale of their own."""

TREES, SHUFFLES, FOLDS = 60, 5, 2


@dataclass(frozen=True)
class Importance:
    """What each knob of a learner tells of scores; ``told``: of how much this is to be believed, in one sentence.

    knobs  name, mean and deviation of the loss in R²: the most important first; empty where nothing can be said
    """

    kind: str
    runs: int
    tasks: int
    knobs: list[tuple[str, float, float]]
    told: str


def importance(kind: str, runs: Sequence[Tried]) -> Importance:
    """Permutation importance (Breiman 2001, section 10; Fisher et al. 2019) of each knob that was varied.

    Scores are standardised on each task. A random forest learns from one half of the tasks (of the runs, where there
    is one task) to foretell those of the other, and the other way round; a knob's importance is by how much R² on what
    was not learned from falls where the knob's values are shuffled. Steps and start count as knobs where they vary.
    """
    import numpy as np

    kept, targets = _standardised(runs)
    tasks = len({one.task for one in kept})
    name = short_kind(kind)
    counted = f"{len(kept):,} {'run' if len(kept) == 1 else 'runs'} that can be compared"
    if len(kept) < LEAST_RUNS:
        return Importance(name, len(kept), tasks, [], f"{counted}: too few, {LEAST_RUNS} or more would tell.")
    names, columns = _columns(kind, kept)
    if not names:
        return Importance(name, len(kept), tasks, [], f"{counted}, all under the same strategy.")
    found, told = _shuffled(np.array(columns).T, np.array(targets), [one.task for one in kept])
    where = f"on {tasks:,} tasks" if tasks > 1 else "on one task"
    if told <= 0.02:
        words = (
            f"{counted} {where}: what was tried does not foretell how good it is, so no knob can be called important."
        )
        return Importance(name, len(kept), tasks, [], words)
    words = f"From {counted} {where}; the forest foretells {told:.0%} of how scores vary on what it has not seen."
    order = sorted(zip(names, found.mean(1), found.std(1), strict=True), key=lambda row: -row[1])
    return Importance(name, len(kept), tasks, [(one, float(mean), float(off)) for one, mean, off in order], words)


def _standardised(runs: Sequence[Tried]) -> tuple[list[Tried], list[float]]:
    """Runs on tasks that saw enough of them, with scores of mean 0 and deviation 1 on each; higher is better."""
    groups: dict[tuple[str, str], list[Tried]] = {}
    for one in runs:
        groups.setdefault((one.task, one.extractor), []).append(one)
    kept: list[Tried] = []
    targets: list[float] = []
    for group in groups.values():
        scores = [-one.worse for one in group]
        mean = math.fsum(scores) / len(scores)
        deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
        if len(group) >= LEAST_HERE and deviation > 0:
            kept += group
            targets += [min(max((score - mean) / deviation, -3.0), 3.0) for score in scores]
    return kept, targets


def _columns(kind: str, runs: Sequence[Tried]) -> tuple[list[str], list[list[float]]]:
    """For each knob that varies its place along its range, −1 where it plays no part or is out of range."""
    columns: dict[str, list[float]] = {}
    for row, one in enumerate(runs):
        space = space_for(kind, one.shape, one.options, one.strategy)
        values = values_of(space, one.options, one.strategy)
        placed = {name: space[name].place(value) for name, value in values.items() if space[name].holds(value)}
        steps = one.strategy.steps
        placed["steps"] = math.log(steps) if 0 < steps < ENDLESS else -1.0
        placed["start"] = float(one.strategy.start != "scratch")
        for name, place in placed.items():
            columns.setdefault(name, [-1.0] * len(runs))[row] = place
    varied = {name: column for name, column in columns.items() if len(set(column)) > 1}
    return [name.replace("_", " ") for name in varied], list(varied.values())


def _shuffled(inputs: Any, targets: Any, tasks: Sequence[str]) -> tuple[Any, float]:
    """For each column the losses in R², ``(columns, folds·shuffles)``, and the mean R² before."""
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GroupKFold, KFold

    several = len(set(tasks)) >= FOLDS
    halves = GroupKFold(FOLDS) if several else KFold(FOLDS, shuffle=True, random_state=0)
    losses, before = [], []
    for learned, held in halves.split(inputs, targets, tasks if several else None):
        forest = RandomForestRegressor(TREES, min_samples_leaf=3, random_state=0).fit(inputs[learned], targets[learned])
        found = permutation_importance(
            forest, inputs[held], targets[held], scoring="r2", n_repeats=SHUFFLES, random_state=0
        )
        losses.append(found.importances)
        before.append(r2_score(targets[held], forest.predict(inputs[held])))
    return np.concatenate(losses, axis=1), float(np.mean(before))
