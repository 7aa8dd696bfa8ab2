"""A search as it goes: what has been tried, what is next, and what the memory is told of it."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from limner.advisers.base import Proposal, Told
from limner.config import ENDLESS, Strategy
from limner.errors import LimnerError
from limner.memory.liveness import Claimed
from limner.types import Score, Scores
from limner.verbs.trials import Subject, rungs_of

if TYPE_CHECKING:
    from limner.advisers.history import PastTask
    from limner.engine import Run
    from limner.memory import Memory
    from limner.spaces.search import Search
    from limner.verbs.trials import Outcome

STOPPED = "stopped by hand"
"""Why a run failed that is tried anew when its search goes on."""


@dataclass(frozen=True)
class Tried:
    """One run of a search. ``values`` are those of the space; ``score`` is ``None`` where it could not be scored.

    source  ``default``, ``past`` (the best of a similar task), or the sampler's or adviser's name
    ended_early  the step at which it was given up; 0 where it was not
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
    ) -> None:
        from limner.advisers import adviser as made
        from limner.advisers.base import Case
        from limner.memory.thumbnails import thumbnails
        from limner.spaces.search import Search

        self.memory, self.subject, self.called = memory, subject, called
        self.metric, self.higher, self.progress = metric, higher, progress
        seed = subject.task.seed
        self.search: Search = Search(subject.space, "random", seed, higher)  # knows which run is hopeless
        self.trials: list[Tried] = []
        self.notes: list[str] = []
        self.described = subject.fingerprint()
        self.task = memory.add_task(subject.task, self.described, parent=subject.images)
        shown = thumbnails(getattr(subject.task.support, "images", None))
        case = Case(subject.space, higher, seed, self.described, self._past(), shown)
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
            but=self.called,
        )  # fmt: skip

    def recall(self, resume: bool) -> None:
        """Take up what the memory knows of this very search."""
        from limner.memory.past import runs_called

        known = [
            record
            for record in runs_called(self.memory, self.called)
            if record["state"] in ("finished", "collapsed", "failed") and record["reason"] != STOPPED
        ]
        if known and not resume:
            raise LimnerError(
                f"the memory knows this search, of {len(known)} runs so far; add --resume to go on with it, or give "
                "another --seed"
            )
        for record in known:
            values = self.subject.values(record["learner"]["options"], Strategy.from_json(record["strategy"]))
            source = record["name"].removeprefix(self.called).partition("-")[2]
            tried = self._tried(len(self.trials), record["id"], source, values, record)
            rungs = rungs_of(record["curve"], self.metric)
            self.trials.append(tried)
            self.search.recall(values, tried.score, rungs, not tried.ended_early)
            self.adviser.observe(Told(values, tried.score, tried.seconds, not tried.ended_early, rungs))

    def go(self, runs: int | None, seconds: float | None) -> str:
        """Try until the budget is spent; how it ended: ``finished``, ``stopped``, or ``claimed`` by another process."""
        begun, before = time.monotonic(), math.fsum(trial.seconds for trial in self.trials)
        while runs is None or len(self.trials) < runs:
            spent = before + time.monotonic() - begun
            if seconds is not None and spent >= seconds and self.trials:
                break
            proposal = self._proposed(None if runs is None else runs - len(self.trials))
            if proposal is None:
                self.notes.append("every strategy that there is to propose has been tried")
                break
            try:
                if not self._try(proposal):
                    return "stopped"
            except Claimed:
                return "claimed"
        return "finished"

    def _proposed(self, left: int | None) -> Proposal | None:
        """The default first, for all else is measured by it; then what the adviser says."""
        if not self.trials:
            return Proposal(self.subject.space.default, "default", "The default, which all else is measured by.")
        found = self.adviser.propose(left)
        if found is not None and found.source == "past":
            told = found.reason[0].lower() + found.reason[1:].rstrip(".")
            self.notes.append(f"tried early: {told}")
        return found

    def _try(self, proposal: Proposal) -> bool:
        """Carry a proposal out and remember it; whether to go on. Raises :class:`Claimed` where another does it."""
        trial = self.search.propose(len(self.trials), proposal.values, proposal.source)
        assert trial is not None  # given values are always a trial
        learner, strategy = self.subject.described(trial.values)
        name = f"{self.called}{trial.number:03}-{trial.source}"
        run = self.memory.begin_run(
            self.task, learner, strategy, self.subject.task.seed, name, claims=f"{self.called}{trial.number:03}"
        )
        said = self.memory.advise(
            self.task, learner, strategy, source="default" if trial.source == "default" else self.adviser.name,
            reason=proposal.reason, expected=proposal.expected, evidence=proposal.evidence,
        )  # fmt: skip
        self.memory.observe(said, run)
        rungs: dict[int, float] = {}

        def worse(rung: int, at: float) -> bool:
            rungs[rung] = at
            return self.search.hopeless(trial, rung, at)

        made: Run | Outcome | None = None
        state, reason = "failed", ""
        try:
            made = self.subject.attempt(trial.values, worse, f"run {trial.number + 1}")
            state = made.state
            if state == "stopped":
                raise KeyboardInterrupt
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
            made.lineage.update(search=self.called.strip("-"), source=trial.source)
            self.memory.finish_run(run, made, made.scores if state == "finished" else None)
        record: dict[str, Any] = {
            "state": state, "reason": reason, "scores": {}, "seconds": 0.0, "steps": 0, "lineage": {}
        }  # fmt: skip
        if made is not None:
            values = {} if made.scores is None else {name: asdict(s) for name, s in made.scores.values.items()}
            record |= {
                "scores": values, "seconds": made.cost.seconds, "steps": made.cost.steps, "lineage": made.lineage
            }  # fmt: skip
        tried = self._tried(trial.number, run, trial.source, trial.values, record)
        self.trials.append(tried)
        self.search.observe(trial, tried.score, not tried.ended_early)
        self.adviser.observe(Told(trial.values, tried.score, tried.seconds, not tried.ended_early, rungs))
        if self.progress:
            self._tell(tried)
        return True

    def _tried(self, number: int, run: str, source: str, values: dict[str, Any], record: dict[str, Any]) -> Tried:
        found = record["scores"].get(self.metric) if record["state"] == "finished" else None
        score = None if found is None or not math.isfinite(found["value"]) else float(found["value"])
        low, high = (None, None) if found is None else (found["low"], found["high"])
        ended = int((record["lineage"] or {}).get("ended_early", 0))
        return Tried(
            number, run, source, values, score, low, high, record["steps"], record["seconds"], ended, record["state"],
            record["reason"],
        )  # fmt: skip

    def _tell(self, tried: Tried) -> None:
        shown = "no score" if tried.score is None else f"{self.metric.replace('_', ' ')} {tried.score:.4g}"
        shown += " (ended early)" if tried.ended_early else f" ({tried.reason})" if tried.reason else ""
        best = self._best()
        so_far = "" if best is None else f"; best {self.trials[best].score:.4g}, of run {best + 1}"
        print(f"tune: run {tried.number + 1}, {tried.source}: {shown}{so_far}", file=sys.stderr, flush=True)

    def _best(self) -> int | None:
        whole = [trial for trial in self.trials if trial.score is not None and not trial.ended_early]
        sign = -1.0 if self.higher else 1.0
        return min(whole, key=lambda trial: (sign * (trial.score or 0.0), trial.number)).number if whole else None

    def winner(self) -> int:
        """The number of the best run; of equal ones the first."""
        best = self._best()
        if best is None:
            why = next((trial.reason for trial in self.trials if trial.reason), "it was stopped before the first ended")
            raise LimnerError(f"none of the {len(self.trials)} runs of this search could be scored: {why}")
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
