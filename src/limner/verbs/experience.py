"""Meta-training in the plain sense: go through a family of tasks, try strategies on each, remember what came of it."""

from __future__ import annotations

import multiprocessing
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.errors import LimnerError
from limner.seeds import derive, generator
from limner.spaces import ESTIMATOR
from limner.verbs import budget as budgets
from limner.verbs import directories
from limner.verbs.budget import Budget
from limner.verbs.trials import Asked, subject_of

if TYPE_CHECKING:
    from limner.memory import Memory

TASKS, RUNS = 10, 10
"""Tasks of a family, and strategies tried on each, where no other number is asked for."""

WAYS = 5
"""Classes in a task to classify."""

SHARES = (0.2, 0.35, 0.5)
"""Of a table's rows, what its tasks learn from, in turn."""

APART = ";"
"""Between the data specs of a family, and between degradations."""

SUMMARY = "experience.json"

WHOLE, BEGUN, WAITING, HELD, FAILED = "done", "begun", "waiting", "elsewhere", "failed"


class Plan(NamedTuple):
    """All that makes an experience, apart from how long it takes and who does it."""

    learner: str
    family: str
    tasks: int
    runs: int
    shots: int | None
    ways: int
    degradation: str | None
    start: str
    each: Budget
    options: dict[str, Any]
    fields: dict[str, Any]
    adviser: str
    sampler: str
    seed: int

    @property
    def called(self) -> str:
        """What the names of its runs begin with."""
        from limner.memory.schema import content_id

        said = {name: value for name, value in self._asdict().items() if name not in ("tasks", "runs")}
        return f"experience-{content_id(said)[:10]}-"


@dataclass
class Experience:
    """What an experience came to.

    rows   one for each task: its name, runs so far, scores of the default and of the best, ``state`` (``done``,
           ``begun``, ``waiting``, ``failed`` with the ``reason``, or ``elsewhere``: another process is at it)
    state  ``finished``, or ``stopped`` (by hand, by the budget or by a process that died: the same command with
           --resume goes on)
    """

    directory: Path
    learner: str
    family: str
    adviser: str
    metric: str
    rows: list[dict[str, Any]]
    seconds: float
    workers: int
    state: str = "finished"
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return {**vars(self), "directory": str(self.directory)}


def experience(
    learner: str,
    family: str,
    *,
    tasks: int = TASKS,
    runs: int = RUNS,
    shots: int | None = None,
    ways: int = WAYS,
    degradation: str | None = None,
    start: str = "scratch",
    budget: str | None = None,
    each: str | None = None,
    adviser: str = "search",
    sampler: str = "tpe",
    options: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    workers: int = 1,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    resume: bool = False,
    progress: bool = False,
) -> Experience:
    """Go through ``tasks`` tasks of a family and try ``runs`` strategies on each; all of it is kept in the memory.

    family   data specs, with ``;`` between several. Of images with classes each task is one class (to classify, as many
             as ``ways``), taken from the training classes alone (see ``limner.tasks.Family``); of tables it is a sample
             of the rows; of images to restore it is one of the ``degradation``s, which have ``;`` between them, too
    budget   a time, as ``30m``, after which no further run begins; ``each``: of one run, as ``200steps`` or ``30s``
    adviser  who proposes the strategies, after the default (see ``limner.advisers``)
    workers  processes that share the work. Each run is claimed in the memory before it begins, so that none is done
             twice, and processes of other machines with the same memory can help by the same command
    resume   go on with the same experience, which the memory knows

    Raises :class:`LimnerError` for what cannot be done, and where the same experience is in the memory already and
    ``resume`` is not given.
    """
    from limner.advisers import check
    from limner.memory import Memory
    from limner.memory.labels import META_LABEL
    from limner.memory.past import runs_called
    from limner.memory.schema import plain

    check(adviser)
    for name, count in (("tasks", tasks), ("runs", runs), ("workers", workers)):
        if count < 1:
            raise LimnerError(f"--{name} {count} does nothing; give 1 or more")
    seconds = _seconds(budget)
    limits = budgets.parse(each)
    plan = Plan(
        learner, family, tasks, runs, shots, ways, degradation, start, limits, dict(options or {}), dict(fields or {}),
        adviser, sampler, seed,
    )  # fmt: skip
    pieces = pieces_of(plan)
    begun = time.time()
    place = out or Path("runs") / plan.called.strip("-")
    directory = directories.claim(place, "meta-train", force or resume)
    with Memory.open(memory) as remembered:
        goal = subject_of(pieces[0], remembered, False).task.goal  # a mistake is told before anything is done
        if not resume and (known := runs_called(remembered, plan.called)):
            raise LimnerError(
                f"the memory knows this experience, of {len(known)} runs so far; add --resume to go on with it, or "
                "give another --seed"
            )
    directories.begin(directory, {"verb": "experience", "memory": memory, **plain(plan._asdict())})
    until = None if seconds is None else begun + seconds
    stopped, notes = _done(plan, memory, until, workers, progress)
    with Memory.open(memory) as remembered:
        metric = META_LABEL[goal]
        rows = [_row(piece, place, plan, remembered, metric) for place, piece in enumerate(pieces)]
        for row, piece in zip(rows, pieces, strict=True):
            if row["state"] == WAITING and not stopped and (until is None or time.time() < until):
                row |= _why_not(piece, remembered)
    whole = all(row["state"] in (WHOLE, FAILED) for row in rows)
    made = Experience(
        directory, learner, family, adviser, metric, rows, time.time() - begun, workers,
        "stopped" if stopped or not whole else "finished", notes,
    )  # fmt: skip
    directories.write_json(directory / SUMMARY, plain(made.to_json()))
    if all(row["state"] == FAILED for row in rows):
        raise LimnerError(f"none of the {len(rows)} tasks of {family} could be tried: {rows[0]['reason']}")
    return made


def pieces_of(plan: Plan) -> list[Asked]:
    """The tasks of the family, as searches; the same for the same plan, more tasks go on with the list."""
    specs = [part.strip() for part in plan.family.split(APART) if part.strip()]
    if not specs:
        raise LimnerError("a family needs data; give --family DATA")
    damages: list[str | None] = [part.strip() for part in (plan.degradation or "").split(APART) if part.strip()]
    damages = damages or [None]
    lists = [_tasks_of(spec, plan) for spec in specs]
    found = []
    for place in range(plan.tasks):
        of_spec = lists[place % len(lists)]
        turn = place // len(lists)
        if turn >= len(of_spec):
            continue
        spec, shots = of_spec[turn]
        found.append(
            Asked(
                spec,
                plan.learner,
                shots,
                damages[turn % len(damages)],
                plan.start,
                plan.each,
                plan.options,
                plan.fields,
                derive(plan.seed, "experience", place) % 2**31,
            )
        )
    if not found:
        raise LimnerError(f"{plan.family} has no classes to make tasks of; give data with more classes")
    return found


def _tasks_of(spec: str, plan: Plan) -> list[tuple[str, int | None]]:
    """The tasks of one data spec: spec and shots of each, in a shuffled order."""
    from limner.memory.portfolio import goals_of
    from limner.tasks import Family, load
    from limner.tasks.spec import parse
    from limner.tasks.tables import is_table, load_table

    if is_table(spec):
        if plan.shots is not None:
            return [(spec, plan.shots)] * plan.tasks
        rows = len(load_table(spec))
        return [(spec, max(2, int(SHARES[place % len(SHARES)] * rows))) for place in range(plan.tasks)]
    goal = (
        _goal_of_estimator(plan.learner)
        if plan.learner.startswith(ESTIMATOR)
        else next(iter(goals_of(plan.learner)), "")
    )
    if goal not in ("generate", "classify"):
        return [(spec, plan.shots)] * plan.tasks
    images = load(spec)
    if images.labels is None:
        return [(spec, plan.shots)] * plan.tasks
    places = Family(images, 1, 1, plan.seed, min_images=2).classes["train"]
    names = [name for place in places if _can_be_named(name := images.class_names[place])]
    random = generator(plan.seed, "experience", spec)
    if goal == "generate":
        order = torch.randperm(len(names), generator=random).tolist()
        return [(str(parse(spec, classes=names[place])), plan.shots) for place in order]
    if len(names) < plan.ways:
        raise LimnerError(f"{spec} has {len(names)} classes to learn from, too few for --ways {plan.ways}; give fewer")
    drawn = [torch.randperm(len(names), generator=random)[: plan.ways].tolist() for _ in range(plan.tasks)]
    return [(str(parse(spec, classes="+".join(names[place] for place in of_task))), plan.shots) for of_task in drawn]


def _goal_of_estimator(name: str) -> str:
    from limner.estimators import estimator_class

    return str(estimator_class(name.removeprefix(ESTIMATOR)).goal)


def _can_be_named(name: str) -> bool:
    """Whether a data spec can name the class."""
    return name.isdigit() or not (set(name) & set(",+*?[") or name.replace("-", "").isdigit())


def _done(plan: Plan, memory: str | None, until: float | None, workers: int, progress: bool) -> tuple[bool, list[str]]:
    """Do the work, by this process or by several; whether it was stopped, and what is to be said of it."""
    if workers == 1:
        return _work(plan, memory, until, 0, 1, progress), []
    context = multiprocessing.get_context("spawn")
    crew = [
        context.Process(
            target=_hired, args=(plan, memory, until, number, workers, progress), name=f"worker {number + 1}"
        )
        for number in range(workers)
    ]
    for worker in crew:
        worker.start()
    stopped = False
    while any(worker.is_alive() for worker in crew):
        try:
            for worker in crew:
                worker.join()
        except KeyboardInterrupt:  # the terminal has told the workers as well; they end their runs
            stopped = True
    lost = [worker for worker in crew if worker.exitcode not in (0, STOPPED)]
    stopped = stopped or any(worker.exitcode == STOPPED for worker in crew)
    return stopped or bool(lost), [
        f"{worker.name} ended with code {worker.exitcode}; what it had begun is done anew by --resume"
        for worker in lost
    ]


STOPPED = 130
"""How a worker ends that was stopped by hand."""


def _hired(plan: Plan, memory: str | None, until: float | None, number: int, of: int, progress: bool) -> None:
    """A worker's process."""
    torch.set_num_threads(max(1, torch.get_num_threads() // of))
    try:
        sys.exit(STOPPED if _work(plan, memory, until, number, of, progress) else 0)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _work(plan: Plan, memory: str | None, until: float | None, number: int, of: int, progress: bool) -> bool:
    """Go through the tasks, a worker's own share first, and then what the others have left; whether it was stopped."""
    from limner.memory import Memory

    pieces = list(enumerate(pieces_of(plan)))
    mine = [piece for place, piece in enumerate(pieces) if place % of == number]
    others = [piece for place, piece in enumerate(pieces) if place % of != number]
    with Memory.open(memory) as remembered:
        for place, asked in [*mine, *others]:
            left = None if until is None else until - time.time()
            if left is not None and left <= 0:
                return False
            if progress:
                print(f"experience: task {place + 1} of {len(pieces)}, {asked.spec}", file=sys.stderr, flush=True)
            try:
                if _tried(plan, place, asked, remembered, left, progress) == "stopped":
                    return True
            except LimnerError as mistake:
                print(f"experience: task {place + 1}: {mistake}", file=sys.stderr, flush=True)
    return False


def _tried(plan: Plan, place: int, asked: Asked, memory: Memory, left: float | None, progress: bool) -> str:
    """Try strategies on one task, until there are enough of them; how that ended."""
    from limner.memory.labels import HIGHER_IS_BETTER, META_LABEL
    from limner.verbs.searching import Going

    subject = subject_of(asked, memory, False)
    metric = META_LABEL[subject.task.goal]
    higher = metric in HIGHER_IS_BETTER
    called = f"{plan.called}{place:04}-"
    going = Going(memory, subject, called, metric, higher, plan.sampler, progress, plan.adviser)
    going.recall(resume=True)
    if left is not None:
        left += sum(trial.seconds for trial in going.trials)
    return going.go(plan.runs, left)


def _row(asked: Asked, place: int, plan: Plan, memory: Memory, metric: str) -> dict[str, Any]:
    """What the memory knows of a task of the experience."""
    from limner.memory.labels import HIGHER_IS_BETTER
    from limner.memory.past import runs_called

    runs = runs_called(memory, f"{plan.called}{place:04}-")
    ended = [run for run in runs if run["state"] in ("finished", "collapsed", "failed")]
    scores = [
        (run["scores"][metric]["value"], run["name"].endswith("-default"))
        for run in ended
        if metric in run["scores"] and not run["lineage"].get("ended_early")
    ]
    choose = max if metric in HIGHER_IS_BETTER else min
    state, reason = (WHOLE if len(ended) >= plan.runs else BEGUN), ""
    if any(run["state"] == "running" for run in runs):
        state = HELD
    if not runs:
        state = WAITING
    elif not scores and state == WHOLE:
        state, reason = FAILED, next((run["reason"] for run in ended if run["reason"]), "it could not be scored")
    return {
        "task": asked.spec, "seed": asked.seed, "degradation": asked.degradation, "runs": len(ended),
        "default": next((score for score, usual in scores if usual), None),
        "best": choose((score for score, _ in scores), default=None),
        "seconds": sum(run["seconds"] for run in ended), "state": state, "reason": reason,
    }  # fmt: skip


def _why_not(asked: Asked, memory: Memory) -> dict[str, str]:
    """Why a task of the experience was never begun."""
    try:
        subject_of(asked, memory, False)
    except LimnerError as mistake:
        return {"state": FAILED, "reason": str(mistake)}
    return {}


def _seconds(budget: str | None) -> float | None:
    limits = budgets.parse(budget)
    if limits.steps is not None:
        raise LimnerError(
            f"the budget {budget} of an experience is a time; steps are of each run (--each 200steps), runs of each "
            "task (--runs 10)"
        )
    return limits.seconds


def resume(
    directory: str | Path,
    *,
    memory: str | None = None,
    budget: str | None = None,
    tasks: int | None = None,
    runs: int | None = None,
    workers: int = 1,
    progress: bool = False,
) -> Experience:
    """Go on with the experience that was begun in ``directory``, on to more ``tasks`` or ``runs`` where they are given.

    Raises :class:`LimnerError` where the directory holds none.
    """
    told = directories.request_of(Path(directory))
    if told.get("verb") != "experience":
        raise LimnerError(f"{directory} holds no experience; give the directory of one (limner meta-train experience)")
    plan = Plan(**{name: told[name] for name in Plan._fields} | {"each": Budget(*told["each"])})
    asked = plan._asdict()
    limits = asked.pop("each")
    parts = [f"{limits.steps}steps" if limits.steps is not None else "", f"{limits.seconds}s" if limits.seconds else ""]
    asked |= {"tasks": tasks or plan.tasks, "runs": runs or plan.runs, "each": ",".join(filter(None, parts)) or None}
    return experience(
        **asked, budget=budget, workers=workers, out=directory, memory=memory or told.get("memory"), resume=True,
        progress=progress,
    )  # fmt: skip
