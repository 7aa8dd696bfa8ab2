"""Runs of steps on their way: how one is watched, ended early, or given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from limner.config import ENDLESS
from limner.engine.events import Listener
from limner.types import CurvePoint, Params

if TYPE_CHECKING:
    from limner.engine import Run

GIVEN_UP = "others promised more for their seconds"
"""Why a paused run is not gone on with."""

Worse = Callable[[int, float], bool]
"""Whether a run, at a rung (from 1) and with that score there, is to end early."""


def given_up(run: Run) -> Run:
    """A paused run that is not gone on with, as one of fewer steps."""
    steps, of = run.cost.steps, run.strategy.steps
    run.state = "finished"
    run.notes.append(f"given up at step {steps:,}{f' of {of:,}' if of < ENDLESS else ''}: {GIVEN_UP}")
    run.lineage |= {"ended_early": steps, "why": GIVEN_UP}
    return run


class Ended(Exception):
    """A run is not worth going on with; ``params`` are what it had come to."""

    def __init__(self, step: int, params: Params) -> None:
        super().__init__(f"ended at step {step}")
        self.step, self.params = step, params


class Rungs(Listener):
    """Looks at a run's score at each evaluation, and ends it where it is worse than others were there."""

    def __init__(self, metric: str, steps: int, worse: Worse) -> None:
        self.metric, self.steps, self.worse = metric, steps, worse
        self.points: list[CurvePoint] = []
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self._begun

    def on_evaluate(self, step: int, values: dict[str, float], params: Params) -> None:
        """Notes the scores; raises where the run is to end."""
        self.points.append(CurvePoint(step, self.seconds, dict(values)))
        if self.metric not in values or self.steps >= ENDLESS:
            return
        if self.worse(len(self.points), values[self.metric]) and step < self.steps:
            raise Ended(step, params)


def rungs_of(curve: Sequence[dict[str, Any]], metric: str) -> dict[int, float]:
    """The scores at the rungs, of a curve as the memory keeps it.

    >>> rungs_of([{"step": 1, "values": {"loss": 3.0}}, {"step": 2, "values": {"psnr": 20.0}}], "psnr")
    {1: 20.0}
    """
    found = [point["values"][metric] for point in curve if metric in point["values"]]
    return {place: float(value) for place, value in enumerate(found, start=1)}
