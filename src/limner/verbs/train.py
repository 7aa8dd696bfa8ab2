"""Training with a strategy by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.config import Strategy
from limner.errors import LimnerError
from limner.verbs import directories, restoration, translation
from limner.verbs.budget import unused
from limner.verbs.classes import told_apart, with_classes
from limner.verbs.line import Order, asked_strategy, carry_out, find_start, learner_of, prepare

if TYPE_CHECKING:
    from limner.engine import Run


def train(
    learner: str,
    spec: str,
    *,
    shots: int | None = None,
    degradation: str | None = None,
    start: str = "scratch",
    budget: str | None = None,
    options: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Run:
    """Train ``learner`` on ``shots`` images of ``spec``, or on four fifths of them all, by a strategy of your own.

    ``options`` are the learner's, ``fields`` the strategy's (see :class:`limner.Strategy`); those left open are the
    portfolio's for that learner: of a restorer a small U-Net, in bfloat16 where the processor has it. A restorer learns
    from pairs, ``A => B``, or from clean images that ``degradation`` damages anew at every step. A ``budget`` in time
    alone is all used. ``start`` is ``scratch`` or a model, whose network the learner then takes. For the rest see
    :func:`limner.adapt`.
    """
    from limner.learners import create, describe
    from limner.memory import Memory
    from limner.memory.portfolio import entries, goals_of, learners, options_of

    given_fields, limits = asked_strategy(fields, budget)
    if not goals_of(learner):
        raise LimnerError(f"there is no learner {learner!r} to train on images; there are: {', '.join(learners())}")
    goal = goals_of(learner)[0]
    usual = [entry.strategy for entry in entries(goal, learner) if entry.adapted == (start != "scratch")]
    strategy = (usual or [Strategy()])[0].replace(start=start, **given_fields).within(*limits)
    spec, found_out = restoration.given(goal, spec, degradation)
    directory = directories.claim(out, f"{learner}-{spec}", force, start)
    prepared = prepare(spec, shots, seed, goal)
    shape = prepared.task.support.shape
    with Memory.open(memory) as remembered:
        begun = find_start(strategy.start, remembered, shape)
        if begun is None:
            if goal == "translate":
                _, given_sides = translation.defaults(prepared.images, learner)
                options = given_sides | (options or {})
            if goal == "classify":
                options = told_apart(options, prepared.task, spec)
            if goal == "generate":
                options = with_classes(options, prepared.task, spec)
            network = create(learner, shape, **options_of(learner, options))
        else:
            if (kind := begun.learner_description["kind"]) != learner:
                raise LimnerError(f"the start {start} is a {kind}, not a {learner}; train that, or choose another")
            network = learner_of(begun, start, options, prepared.task)
        order = Order(
            verb="train",
            goal=goal,
            spec=spec,
            shots=shots,
            seed=seed,
            learner=describe(network),
            strategy=strategy,
            memory=memory,
            advice=(*found_out, *unused(limits, strategy)),
        )
        return carry_out(order, prepared, network, begun, directory, remembered, progress=progress)
