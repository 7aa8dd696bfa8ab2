"""The whole line in pieces: load and split, find the start, fit, judge, remember, report. Every verb uses these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.config import Strategy
from limner.errors import LimnerError
from limner.seeds import derive, generator
from limner.types import Params, Scores
from limner.verbs import budget as budgets
from limner.verbs import classes, classify, directories, hub, restoration, starts, translation, warnings
from limner.verbs.budget import Budget
from limner.verbs.fields import typed
from limner.verbs.goals import check_goal
from limner.verbs.opening import opening

if TYPE_CHECKING:
    from torch import Tensor

    from limner.engine import Run
    from limner.learners import Learner
    from limner.memory import Memory, StoredModel
    from limner.tasks import ImageSet, Task

JUDGED = 200
"""Samples that a run is judged by, as it goes and at its end: scores of fewer would be other scores."""

HELD_BACK = 300
"""Images to be judged on, and images learned from to be held against, at most: scores cost the square of it."""


class Prepared(NamedTuple):
    """A task, and the image set that it was split from."""

    task: Task
    images: ImageSet


@dataclass(frozen=True)
class Order:
    """What is to be done: everything that rebuilds a run, as plain data.

    verb      ``adapt`` or ``train``
    spec      the data spec; ``shots``, ``seed`` and ``goal`` make the task of it
    learner   what ``limner.learners.rebuild`` takes
    strategy  how it learns
    memory    where the memory lies (``None``: the default place)
    advice    why this strategy, in sentences
    run       the run's id in the memory, once it has begun
    """

    verb: str
    goal: str
    spec: str
    shots: int | None
    seed: int
    learner: dict[str, Any]
    strategy: Strategy
    memory: str | None = None
    advice: tuple[str, ...] = ()
    run: str = ""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return {**vars(self), "strategy": self.strategy.to_json(), "advice": list(self.advice)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Order:
        """The inverse of :meth:`to_json`; what else is in ``record`` is left aside.

        Raises :class:`LimnerError` where ``record`` is damaged.
        """
        try:
            known = {name: record[name] for name in cls.__dataclass_fields__}
            strategy, advice = Strategy.from_json(record["strategy"]), tuple(record["advice"])
        except (KeyError, TypeError, AttributeError) as damage:
            raise LimnerError(
                f"the {directories.REQUEST} of this run is damaged and no longer tells what was asked; begin a new run"
            ) from damage
        return cls(**known | {"strategy": strategy, "advice": advice})


def prepare(spec: str, shots: int | None, seed: int, goal: str = "generate") -> Prepared:
    """Load ``spec`` and split it into ``shots`` images to learn from and the rest to be judged on.

    Without ``shots`` a fifth is held back, or none where there are fewer than 10 images.
    Raises :class:`LimnerError` where the spec cannot be loaded or has too few images.
    """
    from limner.tasks import check_shots, load, load_sides, restoration_task, split, split_sides

    check_goal(goal)
    if shots is not None:
        check_shots(shots)
    if goal == "restore":
        made = Prepared(*restoration_task(spec, shots, seed, restoration.JUDGED))
        warnings.of_one_intensity(made.task)  # raises where all are
        return made
    if goal == "translate":
        both = load_sides(spec)
        return Prepared(split_sides(both, shots, seed, HELD_BACK, spec), both)
    images = load(spec)
    if shots is None:
        shots = len(images) - (len(images) // 5 if len(images) >= 10 else 0)
    queries = min(max(len(images) - shots, 0), HELD_BACK)
    return Prepared(split(images, shots, seed, queries=queries, goal=goal, source=spec), images)


def task_of(run: str) -> Task:
    """The task of the run in the directory ``run``, its images loaded again.

    Raises :class:`LimnerError` where that is not told there, or the images can no longer be loaded.
    """
    path = Path(run)
    if not directories.wrote(path):
        raise LimnerError(f"{run} does not tell what it learned from")
    asked = directories.request_of(path)
    if not {"spec", "shots", "seed", "goal"} <= set(asked):
        raise LimnerError(f"{run} does not tell what it learned from")
    return prepare(asked["spec"], asked["shots"], asked["seed"], asked["goal"]).task


def find_start(reference: str, memory: Memory, image_shape: tuple[int, int, int]) -> StoredModel | None:
    """The model that ``reference`` names, or ``None`` for ``scratch``.

    Raises :class:`LimnerError` where there is none, or its network does not fit images of ``image_shape``.
    """
    if reference == "scratch":
        return None
    called = starts.in_directory(reference)
    try:
        model = hub.start(called, memory) if called.startswith(hub.PREFIX) else memory.get_model(called)
    except LimnerError:
        if not reference.startswith(hub.PREFIX):
            starts.refuse_unknown(reference, memory)
        raise
    shape = tuple(model.learner_description["image_shape"])
    if model.learner_description["kind"] == "regressor" and shape != tuple(image_shape):
        raise LimnerError(
            f"the start {reference} is a regressor, which learned functions of numbers: no image can be put through "
            "it; give the start of a classifier or a prototypical network, or go on from this one by limner meta-train"
        )
    if model.learner_description["kind"] == "restorer" and shape[0] in (image_shape[0], 3):
        return model if shape[0] == image_shape[0] else restoration.in_grey(model)  # it takes images of any size
    if shape != tuple(image_shape):
        raise LimnerError(
            f"the start {reference} was made for images of {_size(shape)}, but these are {_size(image_shape)}; "
            f"load them with size={shape[1]},colour={'grey' if shape[0] == 1 else 'rgb'}, or start from scratch"
        )
    return model


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[2]} {'grey' if shape[0] == 1 else 'colour'} pixels"


def asked_strategy(fields: dict[str, Any] | None, budget: str | None) -> tuple[dict[str, Any], Budget]:
    """The fields of a strategy that were asked for, with the right types, and the budget, which may be among them.

    Raises :class:`LimnerError` for a field that does not exist or cannot be so, and where both say when to end.
    """
    limits = budgets.parse(budget)
    given = typed(fields or {}, Strategy().to_json(), "strategy")
    for name in ("steps", "seconds"):
        if name in given and budget is not None:
            raise LimnerError(
                f"the budget {budget} and {name}={given[name]} both say when to end; give one of them "
                "(a time and a number of steps together are --budget 2m,500steps)"
            )
    Strategy().replace(**given)  # a mistake is told before anything is done
    steps, seconds = given.pop("steps", None), given.pop("seconds", None)
    return given, limits if budget is not None else Budget(steps, seconds or None)


def learner_of(begun: StoredModel, start: str, options: dict[str, Any] | None, task: Task) -> Learner:
    """The learner of a start, for the classes of ``task``. Raises :class:`LimnerError` where it is none for them, or
    ``options`` ask for another than it is."""
    from limner.learners import rebuild

    description = classes.of_start(begun.learner_description, task, start)
    network = rebuild(restoration.fitted(description, task.support.shape, options))
    its = {"head": 0, **network.options}  # of which a restorer without one says nothing
    if any(its.get(name) != value for name, value in (options or {}).items()):
        raise LimnerError(
            f"the start {start} fixes the learner's options ({network.options}); leave --option out, or begin with "
            "--start scratch"
        )
    return network


def judge_of(learner: Learner, task: Task, seed: int) -> Callable[[Params], dict[str, float]] | None:
    """What scores parameters on the query set as a run goes, or how near samples come to the shots where none is."""
    from limner.engine.run import sample_bytes
    from limner.learners import batch_of
    from limner.metrics import evaluate
    from limner.tasks import TwoSided

    query = task.query
    if query is None:
        return warnings.watch(learner, task, seed)
    if task.goal == "classify":
        shown = batch_of(task.support)

        def right(params: Params) -> dict[str, float]:
            return classify.classified(learner, learner.finish(params, shown, generator(seed, "finish")), query)

        return right
    if task.goal == "restore":
        assert isinstance(query, TwoSided)
        return lambda params: restoration.scored(
            learner, restoration.finished(learner, params, task, seed), query, len(task.support), seed
        ).plain()
    if isinstance(query, TwoSided) and isinstance(task.support, TwoSided):
        known = some_of(task.support.targets, seed)
        return lambda params: translation.scored(learner, params, query, known, seed, bootstraps=0).plain()
    support, few = batch_of(task.support), some_of(task.support, seed)

    def judge(params: Params) -> dict[str, float]:
        finished = learner.finish(params, support, generator(seed, "finish"))
        samples = sample_bytes(learner, finished, JUDGED, derive(seed, "scores"))
        return evaluate(samples, query, few, seed=seed, bootstraps=0).plain()

    return judge


def carry_out(
    order: Order,
    prepared: Prepared,
    learner: Learner,
    start: StoredModel | None,
    directory: Path,
    memory: Memory,
    *,
    resume: bool = False,
    progress: bool = False,
) -> Run:
    """Fit, judge, remember and report; the run, with its directory complete.

    A run that Ctrl-C stopped comes back with ``state == "stopped"``, saved so that it can be resumed.
    """
    from limner.engine import fit

    task = prepared.task
    learned = restoration.rehearsed(task, start, order.strategy, order.seed)
    if not resume:
        order = _begun(order, prepared, directory, memory)
    minded, heard = warnings.beforehand(task, memory), listeners(progress)
    for listener in heard:
        for warning in minded:
            listener.on_note(f"warning: {warning}")
    first, told = None, ""
    if start is not None and order.verb == "adapt":
        first, told = opening(start, learner, order.strategy, order.seed)
    elif start is not None and start.rates:
        told = "training began from the start's parameters alone; limner adapt also uses the step sizes it learned"
    try:
        run = fit(
            learner,
            learned,
            order.strategy,
            seed=order.seed,
            start=None if start is None else start.params,
            judge=judge_of(learner, task, order.seed),
            directory=directory,
            listeners=heard,
            resume=resume,
            features=warnings.features_of(task).__call__ if order.strategy.early_stopping else None,
            opening=first,
        )
        run.id = order.run
        if classes.is_conditional(run):
            run.task[classes.NAMES] = list(prepared.images.class_names)
        run.notes[:0] = [note for note in prepared.images.notes if note not in run.notes]
        if task.goal == "restore":
            minded += restoration.keep_the_best(run, task, None if start is None else start.params)
        run.lineage.update(run=order.run, directory=str(directory), verb=order.verb, advice=list(order.advice))
        if start is not None:
            run.lineage["start"] = start.sha256
            run.notes += [told] if told else []
        run.save(directory)
        if run.state != "stopped":
            minded += judged_and_minded(run, task, listeners(progress, "judging"), start)
        run.warnings = minded
    except BaseException as trouble:
        told = str(trouble) if isinstance(trouble, LimnerError) else f"{type(trouble).__name__}: {trouble}"
        memory.fail_run(order.run, told)
        raise
    memory.finish_run(order.run, run, run.scores, directory)
    run.save(directory)
    if run.state != "stopped":
        report(run, task, directory)
    return run


def _begun(order: Order, prepared: Prepared, directory: Path, memory: Memory) -> Order:
    from limner.memory import fingerprint

    there = directories.run_of(str(directory))
    if any(run["id"] == there for run in memory.runs(state="running")):
        raise LimnerError(f"{directory} is where the run {there} is just being made; choose another --out")
    directories.begin(directory, order.to_json())  # first: nothing is remembered of a run that has no place
    task = prepared.task
    known = None if order.advice else fingerprint(task)  # the adviser took it already
    sha256 = memory.add_task(task, known, parent=prepared.images)
    name = directory.name
    run = memory.begin_run(sha256, order.learner, order.strategy, order.seed, name, directory=directory)
    order = replace(order, run=run)
    directories.begin(directory, order.to_json())
    return order


def listeners(progress: bool, label: str = "training") -> tuple[Any, ...]:
    """What shows a run as it goes, on standard error."""
    from limner.engine import ProgressBar

    return (ProgressBar(label),) if progress else ()


def judged_and_minded(run: Run, task: Task, heard: tuple[Any, ...] = (), start: StoredModel | None = None) -> list[str]:
    """Give the run its scores, and tell what to mind of its samples, or of a restorer beside its ``start``; Ctrl-C cuts
    that short, with a note in the run. Those who listen hear what it is about."""

    def tell(sentence: str) -> None:
        for listener in heard:
            listener.on_note(sentence)

    try:
        made = None
        if task.goal == "generate" and (task.query is not None or run.state != "failed"):
            made = run.sample(JUDGED, seed=derive(run.seed, "scores"))
        if task.goal == "restore":
            run.notes += restoration.tried(run, tell)
        if task.query is not None:
            tell(f"scores on {len(task.query):,} {'patches' if task.goal == 'restore' else 'images'} held back")
        run.scores = judged(run, task, made)
        if task.goal == "restore" and start is not None:
            return restoration.beside_the_start(run, task, start.params)
        return [] if made is None else warnings.afterwards(run, task, some_of(task.support, run.seed), made)
    except KeyboardInterrupt:
        run.notes.append("scoring was stopped by hand; limner evaluate scores the run again")
        return []


def judged(run: Run, task: Task, made: Tensor | None, bootstraps: int = 200) -> Scores | None:
    """The run's scores on the images held back, where it generates by what it has ``made``; ``None``, with a note in
    the run, where none are held back. Without ``bootstraps`` scores have no intervals, and take less time."""
    from limner.metrics import evaluate
    from limner.tasks import TwoSided

    if task.query is None:
        remedy = "give --shots to hold some back" if len(task.support) > 1 else "give more images"
        run.notes.append(f"every image was learned from, so none was left to judge on; {remedy}")
        return None
    if task.goal == "classify":
        return classify.scored(run, task.query, len(task.support))
    if task.goal == "restore":
        assert isinstance(task.query, TwoSided)
        return restoration.scored(run.learner, run.params, task.query, len(task.support), run.seed)
    learned = task.support.targets if isinstance(task.support, TwoSided) else task.support
    support = some_of(learned, run.seed)
    if len(support) < len(learned):
        run.notes.append(
            f"copying and floors are measured on {len(support):,} of the {len(learned):,} images learned from"
        )
    if isinstance(task.query, TwoSided):
        return translation.scored(run.learner, run.params, task.query, support, run.seed, bootstraps)
    assert made is not None  # of all goals only to generate is left
    return evaluate(made, task.query, support, seed=run.seed, bootstraps=bootstraps)


def some_of(images: ImageSet, seed: int) -> ImageSet:
    """The images, or where they are very many, as many as scores can be measured on, chosen by ``seed``."""
    if len(images) <= HELD_BACK:
        return images
    return images.select(torch.randperm(len(images), generator=generator(seed, "some"))[:HELD_BACK])


def report(run: Run, task: Task, directory: Path) -> Path:
    """Write the page and the model card of a finished run; the page."""
    from limner.inside import has_latents
    from limner.reports import card, inside, page

    card.write(directory, run, run.scores)
    if task.goal == "classify":
        wrong = None if task.query is None else classify.mistakes(run, task.query)
        return page.write_run(directory, run, run.scores, task.support, task.query, None, mistakes=wrong)
    if task.goal == "translate":
        shown, made = translation.translations(run.learner, run.params, task)
        return page.write_run(directory, run, run.scores, task.support, task.query, made, translated=shown)
    if task.goal == "restore":
        shown, made = restoration.restored(run.learner, run.params, task)
        return page.write_run(directory, run, run.scores, task.support, task.query, made, restored=shown)
    samples = run.sample(64, seed=run.seed)
    panels = inside.of_run(run, run.seed) if has_latents(run.learner) else []
    return page.write_run(directory, run, run.scores, task.support, task.query, samples, inside=panels)
