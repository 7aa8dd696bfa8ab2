"""The adviser that searches: what did best on like tasks, then one of Optuna's samplers, warmed by their runs."""

from __future__ import annotations

import numpy as np

from limner.advisers.base import Adviser, Case, Proposal, Told, runs_here
from limner.advisers.history import Regrets
from limner.advisers.lists import nearest
from limner.spaces.search import Search, Trial

LIKE = 0.3
"""Tasks less similar than this lend no strategy: the past of unrelated tasks harms."""

THE_SAME = 0.7
"""Tasks from this similarity on lend the sampler all their runs."""

LENT = 60
"""The largest number of runs that is lent."""


class Sampled(Adviser):
    """The default and the best of like tasks, then a sampler of ``limner.spaces.search``.

    Runs of tasks that are much alike are lent to the sampler as if they had been made here. Their scores are moved by
    what the runs made here are above or below what those tasks would have scored with the same values.
    """

    name = "search"

    def __init__(self, case: Case, sampler: str = "tpe") -> None:
        super().__init__(case)
        self.search = Search(case.space, sampler, case.seed, case.higher)
        self._first = nearest(case, LIKE)
        self._lenders = [task for task in case.past if task.similarity >= THE_SAME]
        self._lent = False
        self._asked: Trial | None = None

    def _next(self, left: float | None, seconds: float | None) -> Proposal | None:
        if (first := self._new(self._first)) is not None:
            return first
        for _ in range(len(self.told) + 1):  # the sampler does not know what others have tried
            trial = self.search.propose(len(self.told))
            if trial is None:
                return None
            if self._is_new(trial.values):
                self._asked = trial
                reason = f"What the sampler {self.search.sampler} makes of {runs_here(len(self.told))}"
                lenders = tuple(task.sha256 for task in self._lenders)
                return Proposal(trial.values, self.search.sampler, f"{reason}{self._by_lent}.", None, lenders)
            self.search.observe(trial, None)
        return None

    @property
    def _by_lent(self) -> str:
        lent = sum(len(task.runs) for task in self._lenders)
        return f" and {min(lent, LENT)} on tasks much like this one" if lent else ""

    def observe(self, told: Told) -> None:
        """What came of a run: the sampler's own, or another's."""
        asked, self._asked = self._asked, None
        super().observe(told)
        if asked is not None and asked.values == told.values:
            self.search.observe(asked, told.score, told.whole, told.rungs)
        else:
            if asked is not None:
                self.search.observe(asked, None)
            self.search.recall(told.values, told.score, told.rungs, told.whole)
        if not self._lent and self._new(self._first) is None:
            self._lend()

    def _lend(self) -> None:
        """Tell the sampler, once, of the runs on tasks much alike."""
        self._lent, lent = True, 0
        for task, shift in zip(self._lenders, self._shifts(), strict=True):
            for run in task.runs[: LENT - lent]:
                if not self.search.tried(run.values):
                    self.search.recall(run.values, run.score + shift, {})
                    lent += 1

    def _shifts(self) -> list[float]:
        """By how much scores here are above those of each lender, of the same values; 0 where no run tells."""
        if not (self._lenders and self.whole):
            return [0.0] * len(self._lenders)
        regrets = Regrets(self.case.space, self._lenders, self.case.higher).of([told.values for told, _ in self.whole])
        here, found = np.array([score for _, score in self.whole]), []
        for task, behind in zip(self._lenders, regrets.T, strict=True):
            best, middle = task.best(self.case.higher).score, float(np.median([run.score for run in task.runs]))
            found.append(float(np.mean(here - (best - behind * (best - middle)))))
        return found
