"""Meta-training in the plain sense: go through a family of tasks, try strategies on each, remember what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.verbs import budget as budgets
from limner.verbs import crew as crews
from limner.verbs import directories
from limner.verbs.budget import Budget
from limner.verbs.crew import Done
from limner.verbs.experience_family import Plan, pieces_of
from limner.verbs.experience_share import whole, worked
from limner.verbs.trials import Asked, subject_of

if TYPE_CHECKING:
    from limner.memory import Memory

TASKS, RUNS = 10, 10
"""Tasks of a family, and strategies tried on each, where no other number is asked for."""

WAYS = 5
"""Classes in a task to classify."""

SUMMARY = "experience.json"

WHOLE, BEGUN, WAITING, HELD, FAILED = "done", "begun", "waiting", "elsewhere", "failed"


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
    workers: int | None = None,
    on: str | None = None,
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
    workers  how many share the work (default: 1, and on Ray as many as it has processors). Each run is claimed in the
             memory before it begins, so that none is done twice, and processes of other machines with the same memory
             can help by the same command
    on       ``ray``: workers of a Ray that is started here; ``ray://HOST:PORT``: of a cluster, whose machines have the
             same data at the same paths, and a memory in PostgreSQL. Default: processes of this machine
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
        if count is not None and count < 1:
            raise LimnerError(f"--{name} {count} does nothing; give 1 or more")
    crews.check(on, memory)
    seconds = _seconds(budget)
    limits = budgets.parse(each)
    plan = Plan(
        learner, family, tasks, runs, shots, ways, degradation, start, limits, dict(options or {}), dict(fields or {}),
        adviser, sampler, seed,
    )  # fmt: skip
    pieces = pieces_of(plan)
    begun = time.time()
    place = Path(out or Path("runs") / plan.called.strip("-"))
    own = resume and directories.verb_of(place) == "experience"
    directory = directories.claim(place, "meta-train", force or own)
    with Memory.open(memory) as remembered:
        goal = subject_of(pieces[0], remembered, False).task.goal  # a mistake is told before anything is done
        if not resume and (known := runs_called(remembered, plan.called)):
            raise LimnerError(
                f"the memory knows this experience, of {len(known)} runs so far; go on with it by limner meta-train "
                "--resume and the directory that it wrote, or give another --seed"
            )
    until = None if seconds is None else begun + seconds
    with crews.hired(on, workers, memory, progress) as crew:
        directories.begin(directory, {"verb": "experience", "memory": memory, **plain(plan._asdict())})
        done = crew.work(partial(worked, plan, pieces, whole(memory), until, progress))
    stopped = done.stopped or any(share.stopped for share in done.results)
    with Memory.open(memory) as remembered:
        metric = META_LABEL[goal]
        rows = [_row(piece, place, plan, remembered, metric) for place, piece in enumerate(pieces)]
    for place, reason in {place: why for share in done.results for place, why in share.refused.items()}.items():
        if rows[place]["state"] == WAITING:
            rows[place] |= {"state": FAILED, "reason": reason}
    ended = not stopped and not done.lost and all(row["state"] in (WHOLE, FAILED) for row in rows)
    made = Experience(
        directory, learner, family, adviser, metric, rows, time.time() - begun, crew.workers,
        "finished" if ended else "stopped", [*crew.notes, *_lost(done)],
    )  # fmt: skip
    directories.write_json(directory / SUMMARY, plain(made.to_json()))
    if all(row["state"] == FAILED for row in rows):
        raise LimnerError(f"none of the {len(rows)} tasks of {family} could be tried: {rows[0]['reason']}")
    return made


def _lost(done: Done) -> list[str]:
    return [f"{sentence}; what it had begun is done anew by --resume" for sentence in done.lost]


def _row(asked: Asked, place: int, plan: Plan, memory: Memory, metric: str) -> dict[str, Any]:
    """What the memory knows of a task of the experience."""
    from limner.memory.labels import HIGHER_IS_BETTER
    from limner.memory.past import runs_called

    runs = runs_called(memory, f"{plan.called}{place:04}-")
    ended = [run for run in runs if run["state"] in ("finished", "collapsed", "failed")]
    scores = [
        (run["scores"][metric]["value"], run["name"].endswith("-default")) for run in ended if metric in run["scores"]
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
    workers: int | None = None,
    on: str | None = None,
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
        **asked, budget=budget, workers=workers, on=on, out=directory, memory=memory or told.get("memory"),
        resume=True, progress=progress,
    )  # fmt: skip
