"""A search as it goes: what has been tried, what is next, and what the memory is told of it."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from limner.config import Strategy
from limner.errors import LimnerError
from limner.types import Score, Scores
from limner.verbs.trials import Subject, rungs_of

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.memory import Memory
    from limner.spaces.search import Search, Trial
    from limner.verbs.trials import Outcome

STOPPED = "stopped by hand"
"""Why a run failed that is tried anew when its search goes on."""


@dataclass(frozen=True)
class Tried:
    """One run of a search. ``values`` are those of the space; ``score`` is ``None`` where it could not be scored.

    source  ``default``, ``past`` (the best of a similar task) or the sampler's name
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
    """A search of a ``subject`` by ``metric``; its runs in the memory have names that begin with ``called``."""

    def __init__(
        self, memory: Memory, subject: Subject, called: str, metric: str, higher: bool, sampler: str, progress: bool
    ) -> None:
        from limner.spaces.search import Search

        self.memory, self.subject, self.called = memory, subject, called
        self.metric, self.higher, self.progress = metric, higher, progress
        self.search: Search = Search(subject.space, sampler, subject.task.seed, higher)
        self.trials: list[Tried] = []
        self.notes: list[str] = []
        described = subject.fingerprint()
        self.task = memory.add_task(subject.task, described, parent=subject.images)
        self.described = described

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
            self.trials.append(tried)
            self.search.recall(values, tried.score, rungs_of(record["curve"], self.metric), not tried.ended_early)

    def go(self, runs: int | None, seconds: float | None) -> str:
        """Try until the budget is spent; how it ended."""
        begun, before = time.monotonic(), math.fsum(trial.seconds for trial in self.trials)
        waiting = self._first()
        while runs is None or len(self.trials) < runs:
            spent = before + time.monotonic() - begun
            if seconds is not None and spent >= seconds and self.trials:
                break
            values, source = waiting.pop(0) if waiting else (None, "")
            trial = self.search.propose(len(self.trials), values, source)
            if trial is None:
                self.notes.append("every strategy that the space holds seems to have been tried")
                break
            if not self._try(trial):
                return "stopped"
        return "finished"

    def _first(self) -> list[tuple[dict[str, Any] | None, str]]:
        """What is tried before the sampler has its turn: the default, and the best of similar tasks."""
        from limner.memory.past import best_of_similar

        space = self.subject.space
        found: list[tuple[dict[str, Any] | None, str]] = [(space.default, "default")]
        scratch = self.subject.described(space.default)[1].start == "scratch"
        for past in best_of_similar(
            self.memory, self.subject.task.goal, self.described, self.subject.kind, but=self.called
        ):
            values = self.subject.values(past.options, past.strategy)
            if (past.strategy.start == "scratch") != scratch or not space.holds(values):
                continue
            whole = space.validate(values)
            if all(whole != other for other, _ in found):
                found.append((whole, "past"))
                self.notes.append(
                    f"tried early: the best of {past.task_name} (similarity {past.similarity:.2f}; there "
                    f"{self.metric.replace('_', ' ')} {past.score:.4g})"
                )
        return [(values, source) for values, source in found if values is None or not self.search.tried(values)]

    def _try(self, trial: Trial) -> bool:
        """Carry a trial out and remember it; whether to go on."""
        learner, strategy = self.subject.described(trial.values)
        name = f"{self.called}{trial.number:03}-{trial.source}"
        run = self.memory.begin_run(self.task, learner, strategy, self.subject.task.seed, name)
        made: Run | Outcome | None = None
        state, reason = "failed", ""
        try:
            label = f"run {trial.number + 1}"
            made = self.subject.attempt(trial.values, lambda rung, at: self.search.hopeless(trial, rung, at), label)
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
            "state": state,
            "reason": reason,
            "scores": {},
            "seconds": 0.0,
            "steps": 0,
            "lineage": {},
        }
        if made is not None:
            values = {} if made.scores is None else {name: asdict(s) for name, s in made.scores.values.items()}
            record |= {
                "scores": values,
                "seconds": made.cost.seconds,
                "steps": made.cost.steps,
                "lineage": made.lineage,
            }
        tried = self._tried(trial.number, run, trial.source, trial.values, record)
        self.trials.append(tried)
        self.search.observe(trial, tried.score, not tried.ended_early)
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
