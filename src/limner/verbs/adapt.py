"""The whole line: load, look, ask the adviser, fit, judge, remember, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.verbs import directories, restoration, translation
from limner.verbs.budget import unused
from limner.verbs.classes import told_apart, with_classes
from limner.verbs.goals import check_learner
from limner.verbs.line import Order, asked_strategy, carry_out, find_start, learner_of, prepare

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.memory import Recommendation


def adapt(
    spec: str | None,
    *,
    shots: int | None = None,
    goal: str = "generate",
    degradation: str | None = None,
    damaged: str | None = None,
    start: str = "auto",
    budget: str | None = None,
    learner: str | None = None,
    strategy: str | None = None,
    options: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Run:
    """Learn to make images like those of ``spec`` from ``shots`` of them, by the strategy that the adviser thinks best.

    start    ``auto`` (as advised), ``scratch``, or a model: its sha256, its name, its run, or ``shipped:NAME``
    budget   ``60s``, ``2m`` (all of which is used), ``500steps``, ``2m,500steps``; ``None`` = as advised
    learner  ``vae`` or ``gan``; ``None`` = as advised. ``options`` of it and ``fields`` of the strategy go first
    strategy a strategy by its name, as :func:`limner.memory.portfolio.names` lists them (``None`` = as advised)
    goal     ``generate``, ``classify``, or ``translate``, whose ``spec`` has two sides: ``A => B`` for pairs,
             ``A ~> B`` for none, or ``A,pairs=left-right`` for images that hold both side by side
             To ``restore``, ``A => B`` are damaged images and clean ones, or ``spec`` are clean ones, which
             ``degradation`` damages (:mod:`limner.degradations.text`). ``damaged`` images that belong to none of them
             show the degradation, unless it is told; without ``spec`` they are all there is to learn from
    out      the run directory (``None``: a new one in ``runs``), with ``report.html`` in it
    memory   where the memory lies (``None``: in the user's data folder)

    Returns the run: ``run.sample(16)``, ``run.scores``, ``run.lineage["directory"]``. Stopped by Ctrl-C it is saved,
    with ``run.state == "stopped"``, and :func:`limner.resume` goes on with it.
    Raises :class:`LimnerError` where something given cannot be used; then nothing was written.
    """
    from limner.learners import create, describe
    from limner.memory import Adviser, Memory
    from limner.memory.portfolio import options_over

    given_fields, limits = asked_strategy(fields, budget)
    advised = start == "auto" and learner is None and strategy is None  # else it is the user's choice that is followed
    check_learner(learner, goal)
    check_strategy(strategy, goal)
    spec, found_out = restoration.given(goal, spec, degradation, damaged)
    directory = directories.claim(out, spec, force, start)
    prepared = prepare(spec, shots, seed, goal)
    shape = prepared.task.support.shape
    if goal == "translate":
        learner, given_sides = translation.defaults(prepared.images, learner)
        options = given_sides | (options or {})
    if goal == "classify":
        options = told_apart(options, prepared.task, spec)
    with Memory.open(memory) as remembered:
        given = None if start in ("auto", "scratch") else find_start(start, remembered, shape)
        if given is not None:
            kind = given.learner_description["kind"]
            if learner not in (None, kind):
                raise LimnerError(
                    f"the start {start} is a {kind}, not a {learner}; leave --learner out or choose another"
                )
            learner = kind
        remembered.add_task(prepared.task, parent=prepared.images)
        adviser = Adviser(remembered)
        found = adviser.recommend(
            prepared.task,
            budget_seconds=limits.seconds,
            learner=learner,
            budget_steps=limits.steps,
            start=given,
        )
        reference = start if given is None or start.startswith("shipped:") else given.sha256
        advice = choose(called(found, strategy, start), reference, learner)
        how = advice.strategy if reference == "auto" else advice.strategy.replace(start=reference)
        begun = given if given is not None else find_start(how.start, remembered, shape)
        how = restoration.as_learned(how, begun, prepared.task, limits).replace(**given_fields)
        if begun is None:
            if goal == "generate":
                options = with_classes(options, prepared.task, spec)
            network = create(advice.learner, shape, **options_over(advice.options, options))
        else:
            head = {name: value for name, value in advice.options.items() if name == "head"}
            network = learner_of(begun, how.start if given is None else start, head | (options or {}), prepared.task)
        order = Order(
            verb="adapt",
            goal=goal,
            spec=spec,
            shots=shots,
            seed=seed,
            learner=describe(network),
            strategy=how,
            memory=memory,
            advice=(*found_out, advice.reason, *unused(limits, how)),
        )
        run = carry_out(order, prepared, network, begun, directory, remembered, progress=progress)
        if advised:
            adviser.observe(advice.id, run.lineage["run"])
        return run


def check_strategy(strategy: str | None, goal: str) -> None:
    """Raises :class:`LimnerError`, naming them, where no strategy for the goal is called ``strategy``."""
    from limner.memory.portfolio import names

    if strategy is not None and strategy not in names(goal):
        raise LimnerError(f"there is no strategy {strategy!r} to {goal} with; there are: {', '.join(names(goal))}")


def called(found: list[Recommendation], name: str | None, start: str) -> list[Recommendation]:
    """Those of the advice that are called ``name`` and go with ``start`` (all where no ``name`` is asked for).

    Raises :class:`LimnerError` where none is.
    """
    if name is None:
        return found
    named = [advice for advice in found if name == advice.name]
    if named and start != "auto":
        named = [advice for advice in named if (advice.strategy.start == "scratch") == (start == "scratch")]
        if not named:
            raise LimnerError(f"the strategy {name} does not begin from {start}; leave --start or --strategy out")
    if not named:
        ways = ", ".join(dict.fromkeys(advice.name for advice in found if advice.name))
        raise LimnerError(
            f"the strategy {name} cannot be used here, for want of a start or learner that it goes with; "
            f"there are: {ways}"
        )
    return named


def choose(found: list[Recommendation], start: str, learner: str | None) -> Recommendation:
    """The best advice for what was asked: from ``scratch`` the best that begins there, else the best from that start,
    or from any where there is none.

    Raises :class:`LimnerError` where there is none.
    """
    if not found:
        raise LimnerError(
            f"there is no advice for the learner {learner!r}; use limner train for a strategy of your own"
        )
    if start == "auto":
        return found[0]
    alike = [advice for advice in found if (advice.strategy.start == "scratch") == (start == "scratch")]
    same = [advice for advice in found if advice.strategy.start == start]
    return (same or alike or found)[0]
