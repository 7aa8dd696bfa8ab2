"""What is tuned: a learner or an estimator on one task, tried under values of its space."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import torch

from limner.config import ENDLESS, Strategy
from limner.errors import LimnerError
from limner.seeds import derive, generator
from limner.spaces import ESTIMATOR, Space, space_of
from limner.tasks.tables import Table, is_table, load_table, split_table
from limner.types import Cost, CurvePoint, Params, Scores
from limner.verbs import black_box, restoration, translation
from limner.verbs.budget import Budget
from limner.verbs.classes import told_apart, with_classes
from limner.verbs.limited import Limited
from limner.verbs.rungs import Ended, Rungs, Worse, given_up

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.engine.held_out import Limits
    from limner.learners import Learner
    from limner.memory import Fingerprint, Memory
    from limner.tasks import ImageSet, Task

RUNGS = 4
"""How often a run of steps is looked at on its way, the end included."""

BOOTSTRAPS = 200
"""Resamples behind the intervals of the default and the winner; a search's own runs have none, as it reads none."""

LEAST_HELD = 8
"""Images or rows held back, at the least: half for the search, half that it never sees."""


@dataclass
class Outcome:
    """What came of a run, as the memory takes it: a black box's, which has no parameters."""

    params: Params = field(default_factory=dict)
    state: str = "finished"
    scores: Scores | None = None
    cost: Cost = field(default_factory=Cost)
    curve: list[CurvePoint] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lineage: dict[str, Any] = field(default_factory=dict)


class Asked(NamedTuple):
    """What a search was asked for: all that makes it, apart from its budget and its sampler."""

    spec: str
    learner: str
    shots: int | None
    degradation: str | None
    start: str
    each: Budget
    options: dict[str, Any]
    fields: dict[str, Any]
    seed: int


class Way(NamedTuple):
    """How far a run is taken now.

    place  where its state is held while it is paused
    rung   the rung that it goes to, from 1; ``None``: to its end. 0: no further, what it has come to is what it made
    """

    place: Path
    rung: int | None


class Subject(Protocol):
    """A learner on a task, to be tried under values of its space.

    rungs   the parts of a run after which it can be looked at and paused; 1: only whole runs
    task    support to learn from and the half of what is held back that the search may look at; ``test`` has the other
    images  what the task was taken from
    """

    kind: str
    space: Space
    rungs: int
    task: Task
    test: Task
    images: ImageSet

    def described(self, values: dict[str, Any]) -> tuple[dict[str, Any], Strategy]:
        """The learner's description and the strategy, as the memory keeps them."""

    def values(self, options: dict[str, Any], strategy: Strategy) -> dict[str, Any]:
        """The values in the space of a run with these; may be out of range, or not all of them."""

    def fingerprint(self) -> Fingerprint:
        """What the task looks like."""

    def attempt(self, values: dict[str, Any], worse: Worse, label: str, way: Way | None = None) -> Run | Outcome:
        """Try the values, or go on where ``way`` holds a paused run of them: what came of it, with its scores.

        A run that is not at its end comes back ``paused``, or ``stopped`` by hand, its lineage telling at which step
        (``paused``), where it is held (``held``) and the rung that it was to go to (``to``).
        """

    def examine(self, record: dict[str, Any], memory: Memory) -> Outcome:
        """What the run of a ``record`` of the memory made, scored on the part that no search has seen."""


def subject_of(asked: Asked, memory: Memory, progress: bool) -> Subject:
    """What is to be tuned. Raises :class:`LimnerError` where data and learner do not go together."""
    from limner.memory.portfolio import goals_of
    from limner.restoration.catalogue import CATALOGUE as RESTORERS

    if asked.learner.startswith(ESTIMATOR):
        return BlackBoxes(asked)
    if asked.learner in RESTORERS:
        raise LimnerError(
            f"{asked.learner} restores images as they are and learns from none, so it is not tuned; its options are "
            "given to limner restore"
        )
    if goals_of(asked.learner) and is_table(asked.spec):
        raise LimnerError(
            f"{asked.spec} is a table, which the {asked.learner} cannot learn from; give an estimator, for example "
            "estimator:sklearn.tree.DecisionTreeClassifier"
        )
    return Networks(asked, memory, progress)


def halves(task: Task) -> tuple[Task, Task]:
    """The task with half of its query set, and with the other half; by the task's seed.

    Raises :class:`LimnerError` where too little is held back.
    """
    count = 0 if task.query is None else len(task.query)
    if task.query is None or count < LEAST_HELD:
        raise LimnerError(
            f"{task.source} leaves {count} held back, but a search needs {LEAST_HELD} or more to be judged on, half of "
            "which it never sees; give fewer --shots, or more data"
        )
    order = torch.randperm(count, generator=generator(task.seed, "halves"))
    first, second = order[: (count + 1) // 2], order[(count + 1) // 2 :]
    unseen = replace(task, name=f"{task.name}, unseen", query=task.query.select(second))
    return replace(task, query=task.query.select(first)), unseen


class BlackBoxes:
    """A scikit-learn estimator on a table or on images."""

    rungs = 1

    def __init__(self, asked: Asked) -> None:
        from limner.estimators import estimator_class, wanted_of
        from limner.tasks import load, split

        kind = estimator_class(asked.learner.removeprefix(ESTIMATOR))
        refused = {
            "--set": asked.fields, "--each of steps": asked.each.steps is not None, "--start": asked.start != "scratch",
            "--degradation": asked.degradation,
        }  # fmt: skip
        for option, given in refused.items():
            if given:
                raise LimnerError(f"{kind.name} takes no steps, so leave {option} out; --option holds one of its own")
        self.kind, self.name, self.seed = asked.learner, kind.name, asked.seed
        self.limited = None if asked.each.seconds is None else Limited(asked, asked.each.seconds)
        if is_table(asked.spec):
            data: Any = load_table(asked.spec)
            whole = split_table(data, kind.goal, asked.shots, asked.seed, asked.spec)
        else:
            data = load(asked.spec)
            shots = asked.shots if asked.shots is not None else len(data) - len(data) // 5
            goal = "classify" if data.labels is not None else "generate"  # so that classes are shared out
            whole = replace(split(data, shots, asked.seed, goal=goal, source=asked.spec), goal=kind.goal)
        self.images = data
        self.task, self.test = halves(whole)
        shape = None if isinstance(data, Table) else data.shape
        whole_space = space_of(asked.learner, images=shape)
        known = [knob.name for knob in whole_space.knobs]
        self.space = whole_space.without({name: value for name, value in asked.options.items() if name in known})
        self.fixed = {"features": "pixels"} if shape is not None and "features" not in known else {}
        self.fixed |= asked.options
        self._estimator(self.space.default)  # a mistake is told before anything is done
        wanted_of(cast(Any, self.task.support), kind.goal)

    def _estimator(self, values: dict[str, Any]) -> Any:
        from limner.estimators import Estimator

        return Estimator(self.name, **{**self.fixed, **values})

    def described(self, values: dict[str, Any]) -> tuple[dict[str, Any], Strategy]:
        """The estimator with its options; a strategy of no steps."""
        shape = list(self.task.support.shape)
        return {"kind": self.kind, "image_shape": shape, "options": self._estimator(values).options}, Strategy(steps=0)

    def values(self, options: dict[str, Any], strategy: Strategy) -> dict[str, Any]:
        """The options that are knobs."""
        return {knob.name: knob.read(options[knob.name]) for knob in self.space.knobs if knob.name in options}

    def fingerprint(self) -> Fingerprint:
        """Of a table its own statistics, of images theirs."""
        from limner.memory import fingerprint
        from limner.memory.tables import table_fingerprint

        support: Any = self.task.support
        return table_fingerprint(support) if isinstance(support, Table) else fingerprint(self.task)

    def attempt(self, values: dict[str, Any], worse: Worse, label: str, way: Way | None = None) -> Outcome:
        """Fit and score, within the seconds that a fit may take; there is no way to end early, nor to pause."""
        if self.limited is not None:
            return self.limited.tried(values)
        return self._tried(self._estimator(values), self.task, bootstraps=0)

    def examine(self, record: dict[str, Any], memory: Memory) -> Outcome:
        """The same estimator, fitted again by its recipe."""
        from limner.estimators import Estimator

        return self._tried(Estimator(self.name, **record["learner"]["options"]), self.test)

    def _tried(self, estimator: Any, task: Task, bootstraps: int = BOOTSTRAPS) -> Outcome:
        begun = time.perf_counter()
        fitted = estimator.fit(task.support, self.seed)
        query = cast(Any, task.query)
        scores = black_box.scored(fitted, estimator.goal, query, len(task.support), self.seed, bootstraps)
        cost = Cost(time.perf_counter() - begun, 0, torch.get_num_threads())
        return Outcome(scores=scores, cost=cost, lineage={"recipe": fitted.recipe})


class Networks:
    """One of Limner's learners, from scratch or from a start."""

    def __init__(self, asked: Asked, memory: Memory, progress: bool) -> None:
        from limner.memory.portfolio import goals_of, learners
        from limner.spaces.learners import usual
        from limner.verbs.line import asked_strategy, find_start, learner_of, prepare

        if not (goals := goals_of(asked.learner)):
            raise LimnerError(
                f"there is no learner {asked.learner!r} to tune; there are: {', '.join(learners())}, and any of "
                "scikit-learn's, for example estimator:sklearn.tree.DecisionTreeClassifier"
            )
        given, _ = asked_strategy(asked.fields, None)
        if refused := [name for name in ("steps", "seconds", "start") if name in asked.fields]:
            raise LimnerError(f"{refused[0]} is no knob of a search; give --each 200steps or 30s, or --start")
        spec = restoration.given(goals[0], asked.spec, asked.degradation).spec
        prepared = prepare(spec, asked.shots, asked.seed, goals[0])
        self.kind, self.seed, self.progress, self.images = asked.learner, asked.seed, progress, prepared.images
        self.task, self.test = halves(prepared.task)
        self.begun = find_start(asked.start, memory, self.task.support.shape)
        adapted, fixed = self.begun is not None, dict(asked.options)
        if goals[0] == "translate":
            fixed = translation.defaults(prepared.images, asked.learner)[1] | fixed
        if goals[0] == "classify":
            fixed = told_apart(fixed, self.task, spec)
        if goals[0] == "generate":
            fixed = with_classes(fixed, self.task, spec)
        if self.begun is not None:
            if (kind := self.begun.learner_description["kind"]) != self.kind:
                raise LimnerError(
                    f"the start {asked.start} is a {kind}, not a {self.kind}; tune that, or choose another"
                )
            fixed = dict(learner_of(self.begun, asked.start, asked.options, self.task).options)
        self.fixed = fixed
        whole = space_of(asked.learner, adapted=adapted)
        known = [knob.name for knob in whole.knobs]
        pinned = {name: value for name, value in {**asked.options, **given}.items() if name in known}
        self.space = whole.without({} if adapted and not given else pinned)
        strategy = usual(self.kind, adapted).replace(start=asked.start, **given).within(*asked.each)
        every = max(1, strategy.steps // RUNGS) if strategy.steps < ENDLESS else strategy.evaluate_every
        self.strategy = strategy.replace(evaluate_every=every)
        self.rungs = max(1, math.ceil(strategy.steps / every)) if strategy.steps < ENDLESS else RUNGS
        self._learner(self.space.default)  # a mistake is told before anything is done

    def _options(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if self.space[name].of == "option"}

    def _learner(self, values: dict[str, Any]) -> Learner:
        from limner.learners import create

        return create(self.kind, self.task.support.shape, **{**self.fixed, **self._options(values)})

    def _strategy(self, values: dict[str, Any]) -> Strategy:
        fields = {name: value for name, value in values.items() if self.space[name].of == "strategy"}
        return self.strategy.replace(**fields)

    def described(self, values: dict[str, Any]) -> tuple[dict[str, Any], Strategy]:
        """The learner made of the values, and the strategy."""
        from limner.learners import describe

        return describe(self._learner(values)), self._strategy(values)

    def values(self, options: dict[str, Any], strategy: Strategy) -> dict[str, Any]:
        """Knobs among the learner's options and the strategy's fields."""
        from limner.spaces.learners import learner_values

        return learner_values(self.space, options, strategy)

    def fingerprint(self) -> Fingerprint:
        """Of the images to learn from."""
        from limner.memory import fingerprint

        return fingerprint(self.task)

    def attempt(self, values: dict[str, Any], worse: Worse, label: str, way: Way | None = None) -> Run | Outcome:
        """Train, looking at the query set on the way, and score what came of it."""
        from limner.engine import checkpoint, fit
        from limner.memory.labels import META_LABEL
        from limner.verbs.line import judge_of, listeners

        learner, strategy = self._learner(values), self._strategy(values)
        rungs = Rungs(META_LABEL[self.task.goal], strategy.steps, worse)
        start = None if self.begun is None else self.begun.params
        place, rung = way or (None, None)
        shown = listeners(self.progress, label) if rung != 0 else ()
        try:
            run = fit(
                learner, self.task, strategy, seed=self.seed, start=start,
                judge=judge_of(learner, self.task, self.seed), listeners=(*shown, rungs), directory=place,
                resume=place is not None and (place / checkpoint.NAME).exists(),
                until=None if rung is None else self._until(rung),
            )  # fmt: skip
        except Ended as ended:
            run = self._so_far(learner, strategy, rungs, ended)
        if run.state == "paused" and rung == 0:
            run = given_up(run)
        if place is not None and run.state in ("paused", "stopped"):
            lineage = {"paused": run.cost.steps, "held": str(place.absolute()), "to": rung}
            return Outcome(state=run.state, cost=run.cost, curve=run.curve, notes=run.notes, lineage=lineage)
        if run.state == "finished":
            run.scores = self._scored(run, self.task, bootstraps=0)
        return run

    def examine(self, record: dict[str, Any], memory: Memory) -> Outcome:
        """The parameters that the run made, from the memory."""
        from limner.learners import rebuild

        params = memory.get_model(record["model"]).params
        run = self._run(rebuild(record["learner"]), Strategy.from_json(record["strategy"]), params)
        cost = Cost(record["seconds"], record["steps"], record["threads"])
        return Outcome(params=params, scores=self._scored(run, self.test), cost=cost)

    def _until(self, rung: int) -> Limits:
        """The part of the budget that a rung is the end of: of steps, or of seconds where steps are no limit."""
        from limner.engine.held_out import Limits

        strategy = self.strategy
        if rung == 0 or strategy.steps < ENDLESS:
            return Limits(rung * strategy.evaluate_every, 0.0)
        return Limits(ENDLESS, strategy.seconds * rung / self.rungs)

    def _scored(self, run: Run, task: Task, bootstraps: int = BOOTSTRAPS) -> Scores | None:
        from limner.verbs.line import JUDGED, judged

        made = run.sample(JUDGED, seed=derive(run.seed, "scores")) if task.goal == "generate" else None
        return judged(run, task, made, bootstraps)

    def _so_far(self, learner: Learner, strategy: Strategy, rungs: Rungs, ended: Ended) -> Run:
        """The run that was ended early, as one of fewer steps."""
        from limner.learners import batch_of

        params = learner.finish(ended.params, batch_of(self.task.support), generator(self.seed, "finish"))
        run = self._run(learner, strategy, params)
        run.curve, run.cost = rungs.points, Cost(rungs.seconds, ended.step, torch.get_num_threads())
        run.notes = [
            f"ended early at step {ended.step:,} of {strategy.steps:,}: worse there than half of the runs before"
        ]
        run.lineage |= {"ended_early": ended.step}
        return run

    def _run(self, learner: Learner, strategy: Strategy, params: Params) -> Run:
        from limner.engine import Run

        return Run(learner, self.task.name, self.task.source, strategy, self.seed, params)
