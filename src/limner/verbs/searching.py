"""A search as it goes: what has been tried, what is next, and what the memory is told of it."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.advisers.base import Proposal, Told
from limner.config import ENDLESS, Strategy
from limner.errors import LimnerError
from limner.memory.liveness import Claimed
from limner.types import Score, Scores
from limner.verbs.holding import Holding, kept_at
from limner.verbs.rungs import GIVEN_UP, rungs_of
from limner.verbs.trials import Subject, Way

if TYPE_CHECKING:
    from limner.advisers.history import PastTask
    from limner.engine import Run
    from limner.memory import Memory
    from limner.spaces.search import Search
    from limner.verbs.trials import Outcome

STOPPED = "stopped by hand"
"""Why a run failed that is tried anew when its search goes on."""

GONE = "what it had come to is no longer where it was held, so it cannot go on"
"""Why a paused run failed."""


@dataclass(frozen=True)
class Tried:
    """One run of a search. ``values`` are those of the space; ``score`` is ``None`` where it could not be scored.

    source  ``default``, ``past`` (the best of a similar task), or the sampler's or adviser's name
    ended_early  the step whose parameters it was left with, where that is not its end; 0 where it is
    state  as the memory keeps it; ``paused``: not at its end yet, at ``steps``
    """

    number: int
    run: str
    source: str
    values: dict[str, Any]
    score: float | None
    low: float | None
    high: float | None
    steps: int
    seconds: float
    ended_early: int
    state: str
    reason: str


class Going:
    """A search of a ``subject`` by ``metric``; its runs in the memory have names that begin with ``called``.

    adviser  who proposes (see ``limner.advisers``); ``sampler``: of the adviser ``search``
    held     where paused runs are held, if the adviser is to go from rung to rung; ``None``: there are only whole runs
    """

    def __init__(
        self,
        memory: Memory,
        subject: Subject,
        called: str,
        metric: str,
        higher: bool,
        sampler: str = "tpe",
        progress: bool = False,
        adviser: str = "search",
        held: Path | None = None,
    ) -> None:
        from limner.advisers import adviser as made
        from limner.advisers.base import Case
        from limner.memory.thumbnails import thumbnails
        from limner.spaces.search import Search

        self.memory, self.subject, self.called = memory, subject, called
        self.metric, self.higher, self.progress = metric, higher, progress
        self.held = Holding(held) if held is not None and subject.rungs > 1 else None
        self.rungs = 1 if self.held is None else subject.rungs
        seed = subject.task.seed
        self.search: Search = Search(subject.space, "random", seed, higher)  # knows which run is hopeless
        self.trials: list[Tried] = []
        self._on_way: dict[int, dict[int, float]] = {}  # by number, the scores at the rungs
        self._interrupted: Proposal | None = None
        self.notes: list[str] = []
        self._begun, self._before = time.monotonic(), 0.0
        self.described = subject.fingerprint()
        self.task = memory.add_task(subject.task, self.described, parent=subject.images)
        shown = thumbnails(getattr(subject.task.support, "images", None))
        case = Case(subject.space, higher, seed, self.described, self._past(), shown, self.rungs)
        self.adviser = made(adviser, case, sampler)
        self.notes += [self.adviser.remark] if self.adviser.remark else []

    def _past(self) -> tuple[PastTask, ...]:
        """What other tasks have seen of the same learner, begun and about as long as here."""
        from limner.advisers.history import past_tasks

        subject = self.subject
        usual = subject.described(subject.space.default)[1]

        def read(options: dict[str, Any], strategy: Strategy) -> dict[str, Any]:
            alike = (strategy.start == "scratch") == (usual.start == "scratch")
            return subject.values(options, strategy) if alike else {}

        steps = usual.steps if 0 < usual.steps < ENDLESS else None
        return past_tasks(
            self.memory, subject.task.goal, self.described, subject.kind, subject.space, read, steps=steps,
            but=self.called, curves=self.rungs > 1,
        )  # fmt: skip

    def recall(self, resume: bool) -> bool:
        """Take up what the memory knows of this very search; whether it knows it."""
        from limner.memory.past import runs_called

        found = [(record, self._known(record)) for record in runs_called(self.memory, self.called)]
        known = [(record, state) for record, state in found if state]
        if known and not resume:
            raise LimnerError(
                f"the memory knows this search, of {len(known)} runs so far; add --resume to go on with it, or give "
                "another --seed"
            )
        for record, state in known:
            cut_short = record["state"] != "paused"
            if state == "gone":
                self.memory.fail_run(record["id"], GONE)
            record |= {"state": "failed", "reason": GONE} if state == "gone" else {"state": state}
            strategy = Strategy.from_json(record["strategy"])
            values = self.subject.values(record["learner"]["options"], strategy)
            source = record["name"].removeprefix(self.called).partition("-")[2]
            tried = self._tried(len(self.trials), record["id"], source, values, record)
            rungs = self._rungs_of(record["curve"], strategy)
            if tried.state != "paused":
                self.search.recall(values, tried.score, rungs, not tried.ended_early)
            else:
                seen = max(rungs, default=0)
                to = seen + 1 if cut_short and source != "default" else record["lineage"].get("to")
                if to is None or to > seen:  # what was interrupted comes first
                    self._interrupted = Proposal(values, source, "It was interrupted.", rung=to)
            self._keep(tried, rungs)
        return bool(found)

    def _known(self, record: dict[str, Any]) -> str:
        """The state of a run of this search as it is taken up: ``paused`` where it can go on, ``gone`` where it could
        have, and empty where it counts for nothing and is tried anew."""
        state = str(record["state"])
        if state in ("finished", "collapsed") or (state == "failed" and record["reason"] != STOPPED):
            return state
        if self.held is None or state == "running":
            return ""
        if self.held.has(self.held.place(record["id"], record["lineage"])):
            return "paused"
        return "gone" if "paused" in (record["lineage"] or {}) else ""

    def _rungs_of(self, curve: list[dict[str, Any]], strategy: Strategy) -> dict[int, float]:
        """The scores at the rungs, of a curve as the memory keeps it."""
        if self.rungs == 1:
            return rungs_of(curve, self.metric)
        from limner.advisers.rungs import at_rungs, looks

        return at_rungs(looks(curve, self.metric, strategy), self.rungs)

    def _keep(self, tried: Tried, rungs: dict[int, float]) -> None:
        """Take up what came of a run, or of a part of one, and tell the adviser."""
        self.trials[tried.number : tried.number + 1] = [tried]
        self._on_way[tried.number] = rungs
        paused = tried.state == "paused"
        whole = not tried.ended_early and not paused
        self.adviser.observe(Told(tried.values, tried.score, tried.seconds, whole, rungs, paused))

    def _taken(self) -> int:
        """The rungs that were taken; a whole run, or one that failed, has all of them."""
        return sum(
            max(self._on_way[trial.number], default=0)
            if self.rungs > 1 and (trial.state == "paused" or trial.ended_early)
            else self.rungs
            for trial in self.trials
        )

    def go(self, runs: int | None, seconds: float | None) -> str:
        """Try until the budget is spent; how it ended: ``finished``, ``stopped``, or ``claimed`` by another process.

        Runs that are paused then are given up: each is kept as one of fewer steps, and can be the best.
        """
        self._begun, self._before = time.monotonic(), math.fsum(trial.seconds for trial in self.trials)
        try:
            while (proposal := self._next(runs, seconds)) is not None:
                if not self._try(proposal):
                    return "stopped"
            for paused in [trial for trial in self.trials if trial.state == "paused"]:
                if not self._try(Proposal(paused.values, paused.source, GIVEN_UP, rung=0)):
                    return "stopped"
            if self.held is not None:
                self.held.close()
                whole = f"{self._taken() / self.rungs:g} whole ones"
                self.notes.append(f"the {len(self.trials)} runs took as many steps together as {whole}")
        except Claimed:
            return "claimed"
        return "finished"

    def _next(self, runs: int | None, seconds: float | None) -> Proposal | None:
        """What to try now; ``None`` where the budget is spent, or nothing is left to propose."""
        left = None if runs is None else runs - self._taken() / self.rungs
        time_left = None if seconds is None else seconds - self._spent()
        if (left is not None and left <= 0) or (time_left is not None and time_left <= 0 and self.trials):
            return None
        found = self._proposed(left, time_left)
        if found is None:
            self.notes.append("every strategy that there is to propose has been tried")
        return found

    def _spent(self) -> float:
        """Seconds since the search began, and of the runs that were taken up."""
        return self._before + time.monotonic() - self._begun

    def _proposed(self, left: float | None, seconds: float | None) -> Proposal | None:
        """The default first, for all else is measured by it; then what the adviser says."""
        if self._interrupted is not None:
            first, self._interrupted = self._interrupted, None
            return first
        if not self.trials:
            return Proposal(self.subject.space.default, "default", "The default, which all else is measured by.")
        found = self.adviser.propose(left, seconds)
        if found is not None and found.source == "past":
            told = found.reason[0].lower() + found.reason[1:].rstrip(".")
            self.notes.append(f"tried early: {told}")
        return found

    def _try(self, proposal: Proposal) -> bool:
        """Carry a proposal out and remember it; whether to go on. Raises :class:`Claimed` where another does it."""
        from limner.memory.recording import points_of

        paused = [trial for trial in self.trials if trial.state == "paused" and trial.values == proposal.values]
        number, source = (paused[0].number, paused[0].source) if paused else (len(self.trials), proposal.source)
        trial = self.search.propose(number, proposal.values, source)
        assert trial is not None  # given values are always a trial
        learner, strategy = self.subject.described(trial.values)
        claims = f"{self.called}{number:03}"
        place: Path | None = None
        if paused:
            record = self.memory.resume_run(paused[0].run, claims)
            assert self.held is not None  # else nothing would be paused
            run, place = record["id"], self.held.place(record["id"], record["lineage"])
            if proposal.rung != 0:
                self.held.secure(place, self._on_way[number], self.higher)
        else:
            run = self._begun_run(proposal, learner, strategy, claims)
            if self.held is not None:
                place = self.held.place(run)
        rungs: dict[int, float] = {}

        def worse(rung: int, at: float) -> bool:
            rungs[rung] = at
            return self.rungs == 1 and self.search.hopeless(trial, rung, at)

        made: Run | Outcome | None = None
        state, reason, by_hand = "failed", "", False
        try:
            way = None if place is None else Way(place, proposal.rung)
            made = self.subject.attempt(trial.values, worse, f"run {number + 1}", way)
            by_hand = made.state == "stopped"
            if by_hand and "paused" not in made.lineage:
                raise KeyboardInterrupt
            made.state = state = "paused" if by_hand else made.state
            if place is not None and state != "paused":
                self._at_its_best(made, trial.values, number, place)
                state = made.state
        except KeyboardInterrupt:
            self.memory.fail_run(run, STOPPED)
            self.search.observe(trial, None)
            return False
        except LimnerError as mistake:
            reason = str(mistake)
            self.memory.fail_run(run, reason)
        except BaseException as trouble:
            self.memory.fail_run(run, f"{type(trouble).__name__}: {trouble}")
            raise
        else:
            made.lineage.update(search=self.called.strip("-"), source=source)
            self.memory.finish_run(run, made, made.scores if state == "finished" else None)
        record = {"state": state, "reason": reason, "scores": {}, "seconds": 0.0, "steps": 0, "lineage": {}}
        if made is not None:
            values = {} if made.scores is None else {name: asdict(s) for name, s in made.scores.values.items()}
            record |= {
                "scores": values, "seconds": made.cost.seconds, "steps": made.cost.steps, "lineage": made.lineage
            }  # fmt: skip
            if self.rungs > 1:
                rungs = self._rungs_of(points_of(made.curve), strategy)
        tried = self._tried(number, run, source, trial.values, record)
        self.search.observe(trial, tried.score, not tried.ended_early)
        self._keep(tried, rungs)
        if self.held is not None and place is not None and state != "paused":
            self.held.release(place)
        if self.progress:
            self._tell(tried)
        if by_hand:
            return False
        return all(self._try(Proposal(values, source, GIVEN_UP, rung=0)) for values in proposal.drops)

    def _at_its_best(self, made: Run | Outcome, values: dict[str, Any], number: int, place: Path) -> None:
        """Take a run that has ended back to the rung that it went on from, if it scored better there."""
        copied = None if self.held is None else self.held.secured(place)
        if copied is None:
            return
        rung, copy = copied
        sign = 1.0 if self.higher else -1.0
        found = None if made.state != "finished" or made.scores is None else made.scores.values.get(self.metric)
        if found is None or not sign * found.value >= sign * self._on_way[number][rung]:
            before = self.subject.attempt(values, lambda rung, at: False, f"run {number + 1}", Way(copy, 0))
            kept_at(made, before)

    def _begun_run(self, proposal: Proposal, learner: dict[str, Any], strategy: Strategy, claims: str) -> str:
        """Begin a run of what was proposed, and keep why; its id."""
        name = f"{claims}-{proposal.source}"
        run = self.memory.begin_run(self.task, learner, strategy, self.subject.task.seed, name, claims=claims)
        said = self.memory.advise(
            self.task, learner, strategy, source="default" if proposal.source == "default" else self.adviser.name,
            reason=proposal.reason, expected=proposal.expected, evidence=proposal.evidence,
        )  # fmt: skip
        self.memory.observe(said, run)
        return run

    def _tried(self, number: int, run: str, source: str, values: dict[str, Any], record: dict[str, Any]) -> Tried:
        found = record["scores"].get(self.metric) if record["state"] == "finished" else None
        score = None if found is None or not math.isfinite(found["value"]) else float(found["value"])
        low, high = (None, None) if found is None else (found["low"], found["high"])
        lineage = record["lineage"] or {}
        return Tried(
            number, run, source, values, score, low, high, record["steps"], record["seconds"],
            int(lineage.get("ended_early", 0)), record["state"], record["reason"] or lineage.get("why", ""),
        )  # fmt: skip

    def _tell(self, tried: Tried) -> None:
        rungs = self._on_way[tried.number]
        score = rungs.get(max(rungs, default=0), tried.score) if tried.state == "paused" else tried.score
        shown = "no score" if score is None else f"{self.metric.replace('_', ' ')} {score:.4g}"
        if tried.state == "paused":
            shown += f" (paused, {max(rungs, default=0)} of {self.rungs})"
        elif tried.ended_early:
            shown += f" (kept as at step {tried.ended_early:,})" if tried.reason else " (ended early)"
        elif tried.reason:
            shown += f" ({tried.reason})"
        best = self._best(on_way=True)
        so_far = "" if best is None else f"; best {self._height(self.trials[best]):.4g}, of run {best + 1}"
        print(f"tune: run {tried.number + 1}, {tried.source}: {shown}{so_far}", file=sys.stderr, flush=True)

    def _height(self, trial: Tried) -> float | None:
        """The score of a run; of a paused one the best at a rung, which it can still be taken back to."""
        if trial.state != "paused":
            return trial.score
        return (max if self.higher else min)(self._on_way[trial.number].values(), default=None)

    def _best(self, on_way: bool = False) -> int | None:
        """The number of the best run, whole or ended early, of equal ones the first; ``on_way``: paused ones too."""
        among = [(trial, self._height(trial)) for trial in self.trials if on_way or trial.state != "paused"]
        sign = -1.0 if self.higher else 1.0
        found = [(sign * score, trial.number) for trial, score in among if score is not None]
        return min(found)[1] if found else None

    def winner(self) -> int:
        """The number of the best run that has ended, at its end or before; of equal ones the first."""
        best, with_paused = self._best(), self._best(on_way=True)
        if best is None:
            why = next((trial.reason for trial in self.trials if trial.reason), "it was stopped before the first ended")
            raise LimnerError(f"none of the {len(self.trials)} runs of this search could be scored: {why}")
        if with_paused is not None and self.trials[with_paused].state == "paused":
            told = f"{self.metric.replace('_', ' ')} {self._height(self.trials[with_paused]):.4g}"
            self.notes.append(f"run {with_paused + 1}, which is paused, was the best so far ({told}); --resume ends it")
        return best

    def record(self, number: int) -> dict[str, Any]:
        """What the memory knows of the run of that number."""
        from limner.memory.past import runs_called

        trial = self.trials[number]
        return next(record for record in runs_called(self.memory, self.called) if record["id"] == trial.run)

    def examined(self, winner: int, called: str) -> tuple[dict[str, Score], Scores]:
        """The scores of default and winner on what no search has seen, each kept as a run on a task of its own."""
        from limner.memory.past import runs_called

        task = self.memory.add_task(self.subject.test, parent=self.subject.images)
        default = self.trials[0]
        wanted = {"default": default} if default.score is not None and not default.ended_early else {}
        wanted["winner"] = self.trials[winner]
        found: dict[str, Scores] = {}
        for name, trial in wanted.items():
            record = self.record(trial.number)
            made = self.subject.examine(record, self.memory)
            assert made.scores is not None  # the half held back is never empty
            found[name] = made.scores
            if not any(run["state"] == "finished" for run in runs_called(self.memory, called + trial.run)):
                strategy = Strategy.from_json(record["strategy"])
                run = self.memory.begin_run(task, record["learner"], strategy, record["seed"], called + trial.run)
                made.lineage.update(search=self.called.strip("-"), of=trial.run)
                self.memory.finish_run(run, made, made.scores)
        return {name: scores.values[self.metric] for name, scores in found.items()}, found["winner"]
