"""Training: one learner, one task, one strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from limner.config import Strategy
from limner.engine import checkpoint, held_out
from limner.engine.adapters import adapting
from limner.engine.checks import check, fitting_start
from limner.engine.events import Listener, StopOnInterrupt
from limner.engine.held_out import Features, Limits
from limner.engine.run import Run
from limner.engine.session import Judge, Opening, Session
from limner.engine.step import precision_told
from limner.errors import LimnerError
from limner.learners import Learner
from limner.tasks import Task
from limner.types import Params


def fit(
    learner: Learner,
    task: Task,
    strategy: Strategy,
    *,
    seed: int = 0,
    start: Params | None = None,
    judge: Judge | None = None,
    directory: str | Path | None = None,
    listeners: Sequence[Listener] = (),
    resume: bool = False,
    opening: Opening | None = None,
    features: Features | None = None,
    until: Limits | None = None,
) -> Run:
    """Train ``learner`` on the task's support set under ``strategy``; the run.

    start      parameters to begin from (fresh ones where ``None``)
    judge      scores parameters, on the query set where there is one; called every ``strategy.evaluate_every`` steps
               and at the end. The learner's own loss on the query set is measured beside it
    directory  where a checkpoint and the curve are kept at the start, every 20 seconds and at a stop, and a grid of
               samples at each evaluation, as ``samples/step-000200.png`` (``None``: nowhere)
    resume     go on exactly where the checkpoint in ``directory`` is: a resumed run is the same, bit by bit, as one
               that was never stopped
    opening    what is done with the start in place of the first steps
    features   what ``strategy.early_stopping`` holds samples against shots in (see :mod:`limner.engine.held_out`), for
               example ``limner.metrics.extractor("glyph-net")``
    until      how far to go now: after so many steps, or seconds, of the strategy's the query set is looked at, a
               checkpoint is kept in ``directory``, and the run comes back with state ``paused``, to be gone on with by
               ``resume`` as if it had never paused

    Ctrl-C ends it after the current step with state ``stopped``. A step whose losses or gradients are not finite is
    never taken: training goes back to a sound state with half the rate and says so; if that does not help, the run ends
    with state ``failed`` and the last sound parameters. A game of several players is guarded as ``strategy.guard`` says
    (see :mod:`limner.engine.guard`); one of which nothing is left ends with state ``collapsed``. Raises
    :class:`LimnerError` for what cannot be trained.
    """
    place = None if directory is None else Path(directory)
    if resume and place is None:
        raise LimnerError("a run can only be resumed from a directory; give the one that holds its checkpoint")
    if until is not None and place is None:
        raise LimnerError("a run can only pause with a directory that holds its checkpoint; give one")
    check(learner, task, strategy)
    held_out.check(learner, strategy, features)
    if opening is not None and strategy.update != "full":
        raise LimnerError(f"an opening moves all layers, but update={strategy.update} does not; leave one out")
    begun = fitting_start(learner, start, seed, strategy)
    trained = adapting(learner, None if start is None else begun, strategy)
    session = Session(trained, task, strategy, seed, begun, judge, listeners, place, opening, until)
    if resume and place is not None:
        training = checkpoint.load(place, session.identity)
    else:
        if place is not None and (place / checkpoint.NAME).exists():
            raise LimnerError(f"{place} holds a run that was stopped; go on with resume=True, or choose another place")
        training = session.begin()
        session.guard.begin(training)
        session.save(training)  # a place that cannot be written to shows before the work, not after it
    if (note := precision_told(strategy.precision, begun)) and note not in training.notes:
        training.notes.append(note)
    session.tell("on_start", strategy.steps, strategy.seconds, training.step)
    ended = "failed"
    try:
        with StopOnInterrupt() as interrupt:
            if features is not None:
                session.decide(training, interrupt, features, start is not None)
            state = "stopped" if interrupt.asked else session.train(training, interrupt)
        if state in ("stopped", "paused"):
            session.save(training)
        else:
            state = session.guard.final(training) if state == "finished" else state
            session.evaluate(training)
            session.forget()
        run = session.run(training, state)
        ended = state
    finally:
        session.tell("on_end", ended)
    return run
