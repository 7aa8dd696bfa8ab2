"""The search for the strategy of one task: the default, what did best on similar tasks, then a sampler's turns."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.spaces import ESTIMATOR, spelt
from limner.types import Score
from limner.verbs import budget as budgets
from limner.verbs import directories
from limner.verbs.budget import Budget
from limner.verbs.searching import Going, Tried
from limner.verbs.trials import Asked, subject_of

if TYPE_CHECKING:
    from limner.estimators import Fitted

RUNS = 20
"""Runs of a search that is given no budget."""

SHARE = 10
"""Of a budget in time, each run may take one part in so many."""

LEAST_SECONDS = 5.0
"""What each fit of an estimator may take at the least, where only the budget in time limits it."""

HELD = "paused"
"""In a search's directory: where paused runs are held."""

WINNER = "winner.json"
"""In a search's directory: the learner and strategy of the best run (of the default, where the best one does no better
than it on what no search has seen), the step that it was kept at where that is not its end, and of an estimator its
recipe."""


@dataclass
class Tuned:
    """What a search came to.

    goal, metric, better  what was wanted, the score it went by, and whether ``lower`` or ``higher`` is better
    trials   all runs, in their order; ``winner`` is the number of the best
    test     the metric of ``default`` and ``winner`` on the part that the search never saw
    knobs    the space, a row for each knob
    use      the command that uses the winner, or the default where that is to be kept (``keeps_default``)
    state    ``finished``, or ``stopped`` (by hand: --resume goes on)
    """

    id: str
    directory: Path
    task: str
    learner: str
    goal: str
    metric: str
    better: str
    extractor: str
    sampler: str
    adviser: str
    trials: list[Tried]
    winner: int
    test: dict[str, Score]
    held: dict[str, int]
    knobs: list[dict[str, str]]
    default: dict[str, Any]
    command: str
    use: str
    state: str = "finished"
    notes: list[str] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """The page that shows it."""
        return self.directory / "index.html"

    @property
    def best(self) -> Tried:
        """The winner."""
        return self.trials[self.winner]

    @property
    def advised(self) -> Tried:
        """What the search's directory stands for: the winner, or the default where that is to be kept."""
        return self.trials[0] if self.keeps_default else self.best

    @property
    def keeps_default(self) -> bool:
        """Whether the winner does no better than the default on what no search has seen."""
        if self.winner == 0 or "default" not in self.test:
            return False
        default, winner = self.test["default"].value, self.test["winner"].value
        return winner <= default if self.better == "higher" else winner >= default

    def told(self, trial: Tried) -> str:
        """What a trial's values change of the default, in words."""
        changed = [
            f"{name}={spelt(value)}" for name, value in trial.values.items() if self.default.get(name, ...) != value
        ]
        return ", ".join(changed) or "the default"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        record = {name: value for name, value in vars(self).items() if name not in ("trials", "test", "directory")}
        trials = [asdict(trial) for trial in self.trials]
        test = {name: asdict(score) for name, score in self.test.items()}
        return {**record, "directory": str(self.directory), "page": str(self.page), "trials": trials, "test": test}


def tune(
    spec: str,
    learner: str,
    *,
    shots: int | None = None,
    degradation: str | None = None,
    budget: str | None = None,
    each: str | None = None,
    sampler: str = "tpe",
    adviser: str = "search",
    rungs: bool = False,
    start: str = "scratch",
    options: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    resume: bool = False,
    progress: bool = False,
) -> Tuned:
    """Search the space of ``learner`` for the strategy that does best on ``spec``; what came of it.

    learner  one of Limner's, or ``estimator:`` and the dotted name of a scikit-learn class; then ``spec`` may be a
             table (``sklearn:wine``, ``csv:file.csv,target=column``)
    budget   ``20runs``, ``10m``, or both, whichever is first; time counts over all resumptions. A part of a run
             counts as that part
    each     the budget of one run of steps, as ``200steps`` or ``30s``; default: the portfolio's steps, and of a budget
             in time at most a tenth. A fit of an estimator that takes longer is ended, and has failed
    adviser  who proposes after the default: ``search`` (the best of like tasks, then a sampler), ``nearest``,
             ``portfolio``, ``evolution``, ``metann``, ``metacnn``, ``random`` or ``default``; see ``limner.advisers``.
    sampler  of ``search``: ``tpe``, ``cma-es``, ``gp`` or ``random``
    rungs    of the advisers ``metann`` and ``metacnn``: take runs of steps one part at a time, pause them, and go on
             with what promises most. Those still paused when the budget is spent are kept as they are, and can win
    options, fields  of the learner and of the strategy, held at these values; all else in the space is searched
    resume   go on with the same search, which the memory knows

    The first run is the default. Then comes what the adviser proposes, by ``search`` the best runs of the most similar
    tasks in the memory, where the measured likeness allows it, then what the sampler says. Runs of steps that are
    behind others on their way end early. Half of what is held back scores the runs; the default and the winner are
    scored on the other half at the end, which nothing was chosen by, and these two alone with intervals. All runs have
    one seed, so that what differs is the strategy.

    Every run is one of the memory; the memory is all that ``resume`` needs. Raises :class:`LimnerError` for what cannot
    be searched, and where the same search is in the memory already and neither ``resume`` nor another seed is given.
    """
    from limner.advisers import check, kind
    from limner.memory import Memory
    from limner.memory.database import shown
    from limner.memory.labels import HIGHER_IS_BETTER, META_LABEL
    from limner.memory.schema import content_id, plain
    from limner.reports import tuned

    check(adviser)
    if rungs and not kind(adviser).by_rungs:
        raise LimnerError(f"the adviser {adviser} proposes whole runs; leave --rungs out, or take --adviser metann")
    if rungs and learner.startswith(ESTIMATOR):
        raise LimnerError(f"{learner} takes no steps, so that a fit of it cannot be paused; leave --rungs out")
    if sampler != "tpe" and adviser != "search":
        raise LimnerError(f"the adviser {adviser} uses no sampler; leave --sampler out, or take --adviser search")
    runs, seconds = most(budget)
    one = budgets.parse(each)
    if each is None and seconds is not None and not learner.startswith(ESTIMATOR):
        one = Budget(None, seconds / SHARE)
    asked = Asked(spec, learner, shots, degradation, start, one, dict(options or {}), dict(fields or {}), seed)
    limited = asked
    if each is None and seconds is not None and learner.startswith(ESTIMATOR):  # the search is the same without it
        limited = asked._replace(each=Budget(None, max(seconds / SHARE, LEAST_SECONDS)))
    chosen = {"sampler": sampler, "adviser": adviser} | ({"rungs": True} if rungs else {})
    search_id = content_id({**asked._asdict(), "each": each, **chosen})[:10]
    place = Path(out or Path("runs") / f"tune-{search_id}")
    directory = directories.claim(place, "tune", force or (resume and _is_of(search_id, place)), start)
    with Memory.open(memory) as remembered:
        subject = subject_of(limited, remembered, progress)
        metric = META_LABEL[subject.task.goal]
        higher = metric in HIGHER_IS_BETTER
        going = Going(
            remembered, subject, f"tune-{search_id}-", metric, higher, sampler, progress, adviser,
            directory / HELD if rungs else None,
        )  # fmt: skip
        if not going.recall(resume) and resume:
            raise LimnerError(
                f"the memory at {remembered.location} knows no such search to go on with; check what is asked for, and "
                "--memory, or leave --resume out to begin it"
            )
        if not (resume and _is_of(search_id, directory)):  # what is paused is held there
            request = {"verb": "tune", "search": search_id, **chosen, **asked._asdict()}
            directories.begin(directory, request)
        kept = None if memory is None else shown(memory)
        command = _command(asked, {**chosen, "budget": budget, "each": each, "out": out, "memory": kept})
        state = going.go(runs, seconds)
        if state == "claimed":
            raise LimnerError("another process is at this search; wait until it is done, then go on with --resume")
        if state == "stopped" and all(trial.score is None for trial in going.trials):
            raise LimnerError(f"the search was stopped before a run of it had ended; go on with: {command} --resume")
        winner = going.winner()
        test, exams = going.examined(winner, f"tuned-{search_id}-")
        made = Tuned(
            id=search_id, directory=directory, task=subject.task.name, learner=learner, goal=subject.task.goal,
            metric=metric, better="higher" if higher else "lower", extractor=exams.extractor, sampler=sampler,
            adviser=adviser, trials=going.trials, winner=winner, test=test, knobs=subject.space.rows(),
            default=subject.space.default,
            held={"support": len(subject.task.support), "search": _count(subject.task), "test": _count(subject.test)},
            command=command, use=_use(subject.task.goal, spec, learner, directory, kept), state=state,
            notes=[*subject.images.notes, *going.notes],
        )  # fmt: skip
        record = going.record(made.advised.number)
    best = {name: record[name] for name in ("id", "learner", "strategy", "seed")} | {"values": made.advised.values}
    best |= {name: record["lineage"][name] for name in ("recipe", "ended_early") if name in record["lineage"]}
    directories.write_json(directory / WINNER, best)
    directories.write_json(directory / "tune.json", plain(made.to_json()))
    tuned.write(made)
    return made


def most(budget: str | None) -> tuple[int | None, float | None]:
    """The largest number of runs and of seconds in a budget of a search.

    >>> most("20runs"), most("10m,5runs"), most(None)
    ((20, None), (5, 600.0), (20, None))
    """
    if budget is None:
        return RUNS, None
    runs, rest = None, []
    for part in budget.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*runs?\s*", part.lower())
        if found and runs is None and int(found[1]):
            runs = int(found[1])
        else:
            rest.append(part)
    try:
        limits = budgets.parse(",".join(rest)) if rest else Budget()
    except LimnerError:
        limits = Budget(steps=0)
    if limits.steps is not None:
        raise LimnerError(
            f"the budget {budget!r} of a search cannot be read; right would be 20runs, 10m or 10m,20runs (steps are of "
            "each run: --each 200steps)"
        )
    return runs, limits.seconds


def fitted(directory: str | Path) -> Fitted:
    """The winner of a search of estimators, fitted again by its recipe to what it learned from.

    Raises :class:`LimnerError` where the directory holds no such search, or its data have changed.
    """
    from limner.estimators import refit
    from limner.verbs.trials import BlackBoxes

    place = Path(directory)
    told = directories.request_of(place)
    if not of_estimator(place):
        raise LimnerError(f"{place} holds no search of an estimator; give the directory of one (limner tune)")
    asked = Asked(**{name: told[name] for name in Asked._fields} | {"each": Budget(*told["each"])})
    best = winner_of(place)
    try:
        support: Any = BlackBoxes(asked).task.support
    except LimnerError as mistake:
        raise LimnerError(
            f"the winner in {place} is fitted again to what it learned from, {asked.spec}, which cannot be read "
            f"({mistake}); put it back where it was"
        ) from mistake
    if support.sha256 != best["recipe"]["learned_from"]:
        raise LimnerError(f"{asked.spec}, what the winner in {place} learned from, has changed since; search again")
    return refit(best["recipe"], support)


def of_estimator(place: Path) -> bool:
    """Whether the directory is that of a search of an estimator."""
    return directories.verb_of(place) == "tune" and str(directories.request_of(place)["learner"]).startswith(ESTIMATOR)


def winner_of(place: Path) -> dict[str, Any]:
    """What is known of the winner in a search's directory. Raises :class:`LimnerError` where there is none yet."""
    if not (place / WINNER).exists():
        raise LimnerError(f"the search in {place} has no winner yet; go on with it by --resume")
    found: dict[str, Any] = json.loads((place / WINNER).read_text())
    return found


def _is_of(search: str, directory: Path) -> bool:
    """Whether the directory is that of the search."""
    return directories.wrote(directory) and directories.request_of(directory).get("search") == search


def _count(task: Any) -> int:
    return 0 if task.query is None else len(task.query)


def _command(asked: Asked, chosen: dict[str, Any]) -> str:
    """The command of the search, for a reader; ``chosen`` is what is no part of what was asked for."""
    words = ["limner", "tune", asked.spec, asked.learner]
    given = {name: getattr(asked, name) for name in ("shots", "degradation", "start")} | chosen
    usual = {"start": "scratch", "sampler": "tpe", "adviser": "search"}
    for name, value in given.items():
        if value is not None and value is not True and value != usual.get(name):
            words += [f"--{name}", str(value)]
    words += ["--rungs"] if chosen.get("rungs") else []
    for option, pairs in (("--option", asked.options), ("--set", asked.fields)):
        for name, value in pairs.items():
            words += [option, f"{name}={spelt(value)}"]
    words += ["--seed", str(asked.seed)] if asked.seed else []
    return shlex.join(words)


def _use(goal: str, spec: str, learner: str, directory: Path, memory: str | None) -> str:
    """The command that uses the winner."""
    from limner.tasks.tables import is_table

    if goal == "generate":
        words = ["sample", str(directory)]
    elif goal in ("translate", "restore"):
        words = [goal, str(directory), "folder:new-images" if goal == "translate" else "new-images"]
    else:
        words = ["predict", str(directory), "csv:new.csv" if is_table(spec) else "folder:new-images"]
    if memory is not None and not learner.startswith(ESTIMATOR):
        words += ["--memory", memory]
    return shlex.join(["limner", *words])
