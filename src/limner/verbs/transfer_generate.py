"""Transfer of a generator: one way, on one draw of target images."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.config import Strategy
from limner.errors import LimnerError
from limner.seeds import derive
from limner.types import Scores
from limner.verbs.line import HELD_BACK, JUDGED
from limner.verbs.transfer_classify import Source
from limner.verbs.transfer_ways import Carried, Way, carry

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.tasks import ImageSet, Task


class Generated(NamedTuple):
    """What came of one way: the run, its scores on the images held back, and what was carried over."""

    run: Run
    scores: Scores
    carried: Carried | None
    seconds: float
    notes: tuple[str, ...] = ()


def drawn(images: ImageSet, shots: int, seed: int) -> Task:
    """``shots`` images, drawn by ``seed``, to learn from, and others to be judged on.

    Raises :class:`LimnerError` where none is left to be judged on.
    """
    from limner.tasks import split

    task = split(images, shots, seed, min(max(len(images) - shots, 0), HELD_BACK))
    if task.query is None:
        raise LimnerError(f"{images.name} has {len(images)} images, and {shots} shots leave none to be judged on; "
                          "give more images, or fewer shots")  # fmt: skip
    return task


def usual(learner: str, adapted: bool) -> Strategy:
    """How the adviser's portfolio trains such a learner. Raises :class:`LimnerError` where it has no such learner."""
    from limner.memory.portfolio import entries

    fit = [
        entry.strategy for entry in entries("generate", learner) if entry.adapted == adapted and entry.strategy.steps
    ]
    if not fit:
        raise LimnerError(f"the learner {learner} cannot be transferred to generate; use vae, gan or set-vae")
    return fit[0].replace(evaluate_every=0)


def generated(way: Way, source: Source, task: Task, fields: dict[str, Any], seed: int) -> Generated:
    """Transfer by ``way``, and score 200 samples; no image of the query is looked at until then.

    Raises :class:`LimnerError` where the way does not fit the source.
    """
    from limner.engine import fit
    from limner.learners.layered import Layered
    from limner.metrics import evaluate

    begun, learner = time.perf_counter(), source.learner
    adapted = way.carries != "nothing"
    strategy = usual(learner.kind, adapted).replace(**dict(way.strategy)).replace(**fields)
    if way.how == "none":
        strategy = strategy.replace(steps=0)
    own = {name: value for name, value in source.params.items() if name in learner.init(0)}
    carried = carry(own, learner, seed, way.carries)
    start = carried.params if adapted else None
    alone = replace(task, query=None)
    if way.decay == 1:
        run = fit(learner, alone, strategy, seed=seed, start=start)
    else:
        layered = Layered(learner, carried.params, way.decay, strategy.optimiser)
        run = fit(layered, alone, strategy, seed=seed, start=start)
        run = replace(run, learner=learner, params=layered.merged(run.params))
    if run.state == "stopped":
        raise KeyboardInterrupt
    if run.state == "failed":
        raise LimnerError(f"the way {way.name} could not be trained: {'; '.join(run.notes)}")
    assert task.query is not None
    samples = run.sample(JUDGED, seed=derive(seed, "scores"))
    scores = evaluate(samples, task.query, task.support, seed=seed, bootstraps=0)
    return Generated(run, scores, carried, time.perf_counter() - begun, tuple(run.notes))
