"""What adaptation does on tasks that were never learned from: losses after each inner step, and which layers move."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from limner.learners import Learner
from limner.meta.episodes import episode_of
from limner.meta.inner import Inner, closed_form, layer_of
from limner.meta.plan import MetaPlan
from limner.model_file import RATES
from limner.seeds import generator
from limner.tasks import TaskFamily
from limner.types import FITTED, Params


@dataclass(frozen=True)
class Trajectory:
    """Adaptation seen from outside, over many tasks.

    values  by ``player query loss`` and ``player term`` (such as ``net accuracy``): a row for each task, a column for
            the start and for each inner step after it
    moved   by layer: how far adaptation moves it, ‖θ′ − θ‖ / ‖θ‖, mean over tasks
    split   the classes that the tasks are of: ``validation`` or ``test``
    """

    values: dict[str, list[list[float]]]
    moved: dict[str, float] = field(default_factory=dict)
    split: str = "validation"

    def mean(self, name: str) -> list[tuple[float, float]]:
        """For each inner step the mean over tasks and the half-width of its 95% interval (1.96 standard errors).

        >>> Trajectory({"net query loss": [[4.0, 1.0], [2.0, 1.0]]}).mean("net query loss")
        [(3.0, 1.96), (1.0, 0.0)]
        """
        found = torch.tensor(self.values[name], dtype=torch.float64)
        spread = found.std(0) / math.sqrt(len(found)) if len(found) > 1 else torch.zeros(found.shape[1])
        return [
            (round(float(centre), 12), round(1.96 * float(error), 12))
            for centre, error in zip(found.mean(0), spread, strict=True)
        ]

    @property
    def tasks(self) -> int:
        """How many tasks were adapted to."""
        return len(next(iter(self.values.values())))

    def summary(self) -> dict[str, float]:
        """Each value before and after adaptation, mean over tasks."""
        told: dict[str, float] = {}
        for name in self.values:
            means = self.mean(name)
            told |= {f"{name} before": means[0][0], f"{name} after": means[-1][0]}
        return told

    def to_json(self) -> dict[str, Any]:
        """Means and half-widths for each inner step, as plain JSON."""
        steps = {name: [list(pair) for pair in self.mean(name)] for name in self.values}
        return {"split": self.split, "tasks": self.tasks, "steps": steps, "moved": self.moved}


class Kept(NamedTuple):
    """What is kept of a :class:`Trajectory`: by name of value the mean over tasks and its half-width, for each inner
    step; how many tasks there were, and of which classes."""

    values: dict[str, list[tuple[float, float]]]
    tasks: int
    split: str

    def mean(self, name: str) -> list[tuple[float, float]]:
        """As :meth:`Trajectory.mean`."""
        return self.values[name]

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Kept:
        """Of what :meth:`Trajectory.to_json` made.

        >>> Kept.from_json(Trajectory({"net query loss": [[4.0, 1.0], [2.0, 1.0]]}).to_json()).mean("net query loss")
        [(3.0, 1.96), (1.0, 0.0)]
        """
        values = {name: [(mean, reach) for mean, reach in steps] for name, steps in record["steps"].items()}
        return cls(values, record["tasks"], record["split"])


def trajectory(
    learner: Learner,
    plan: MetaPlan,
    start: Params,
    family: TaskFamily,
    split: str = "validation",
    *,
    tasks: int = 16,
    inner_steps: int | None = None,
    seed: int = 0,
) -> Trajectory:
    """Adapts the start to ``tasks`` tasks of ``split``, always the same with the same draws.

    ``inner_steps`` instead of the plan's; learned rates go on with the last step's. Tasks are taken as they are: with
    no augmentation and no turns, and adaptation sees the support alone.
    """
    steps = plan.inner_steps if inner_steps is None else inner_steps
    plan = replace(plan, turns=False, augmentation=(), inner_steps=steps)
    if plan.traits.outer == "displacement":
        plan = replace(plan, algorithm="fomaml")
    random = generator(seed, split)
    values: dict[str, list[list[float]]] = {}
    moved: dict[str, float] = {}
    for index in range(tasks):
        task = family.task(split, index % family.size(split), seed=seed + index)
        episode = episode_of(learner, plan, task, random)
        if plan.traits.outer == "closed form":
            trail = [start, closed_form(learner, start, episode)]
        else:
            trail = [start, *Inner(learner, plan, start, episode).trail()]
        for params in trail:
            for player in learner.players:
                with torch.no_grad():
                    loss = learner.loss(player, params, episode.query, episode.query_draws)
                told = {"query loss": loss.value} | loss.terms
                for name, value in told.items():
                    rows = values.setdefault(f"{player} {name}", [])
                    if params is start:
                        rows.append([])
                    rows[-1].append(float(value))
        for layer, share in _moved(start, trail[-1]).items():
            moved[layer] = moved.get(layer, 0.0) + share / tasks
    return Trajectory(values, moved, split)


def _moved(start: Params, adapted: Params) -> dict[str, float]:
    squares: dict[str, list[float]] = {}
    for name, value in start.items():
        if not name.startswith((RATES, FITTED)):
            here = squares.setdefault(layer_of(name), [0.0, 0.0])
            here[0] += float((adapted[name] - value).square().sum())
            here[1] += float(value.square().sum())
    return {layer: math.sqrt(change / size) if size else 0.0 for layer, (change, size) in squares.items()}
