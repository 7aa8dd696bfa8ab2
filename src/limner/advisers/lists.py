"""Advisers that go through a list: the default alone, chance, a portfolio, and what did best on the nearest tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from limner.advisers.base import Adviser, Case, Proposal, key
from limner.advisers.history import PastTask, Regrets
from limner.seeds import derive

NEAREST = 5
"""Past tasks whose best strategy is taken, at most."""

OF_EACH = 3
"""Strategies of each past task that can have a place in the portfolio."""

PORTFOLIO = 10
"""The places of the portfolio."""

PRIOR = 0.5
"""How much it weighs, against one identical task, that a strategy of which nothing is known is middling."""

DEFAULT = 0.7
"""The regret of the default before anything is known, where that of all else is 1."""


class Default(Adviser):
    """Always the default: what the others are measured by."""

    name = "default"

    def _next(self, left: float | None, seconds: float | None) -> Proposal | None:
        return self._new([Proposal(self.case.space.default, "default", "The default, whatever was done before.")])


class Random(Adviser):
    """The default, then values drawn at random (Bergstra and Bengio 2012); the past is not looked at."""

    name = "random"

    def _next(self, left: float | None, seconds: float | None) -> Proposal | None:
        first = Proposal(self.case.space.default, "default", "The default, before anything is drawn at random.")
        return self._new([first]) or self._chance("Drawn at random over the whole space.")


class Portfolio(Adviser):
    """A list that covers the past: each next strategy is what the ones before it leave the most to gain by.

    Greedily, as in Auto-sklearn 2.0 (Feurer et al. 2022, algorithm 1): the next is argmin over c of
    Σ_t min(R(best so far, t), R(c, t)), with R the regret (:class:`~limner.advisers.history.Regrets`). The list is the
    same for every task, apart from which past tasks have a say: the related ones, or all where none is.
    """

    name = "portfolio"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.list = portfolio(case)

    def _next(self, left: float | None, seconds: float | None) -> Proposal | None:
        return self._new(self.list) or self._chance("Drawn at random, as all of the portfolio has been tried.")


class Nearest(Adviser):
    """What did best on the most similar tasks, ordered by what it would do on all of them; the default is one of it.

    Then the neighbours, in the space, of the best so far.
    """

    name = "nearest"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.list = nearest(case)

    def _next(self, left: float | None, seconds: float | None) -> Proposal | None:
        return self._new(self.list) or self._new(self._nearby()) or self._chance("Drawn at random.")

    def _nearby(self) -> Iterator[Proposal]:
        """What differs in one knob from the best so far, in a shuffled order."""
        best = self.best
        if best is None:
            return
        around = self.case.space.neighbours(best.values)
        order = np.random.default_rng(derive(self.case.seed, "nearby", key(best.values)) % 2**32).permutation(
            len(around)
        )
        for place in order:
            yield Proposal(around[place], "nearby", "One knob away from the best so far.", best.score)


def portfolio(case: Case) -> list[Proposal]:
    """The greedy list over the related tasks, or over all where none is related; see :class:`Portfolio`."""
    tasks = case.related or case.past
    if not tasks:
        return [_default_of(case)]
    sign = -1.0 if case.higher else 1.0
    values = {key(case.space.default): case.space.default}
    for task in tasks:
        for run in sorted(task.runs, key=lambda run: sign * run.score)[:OF_EACH]:
            values.setdefault(key(run.values), run.values)
    candidates = list(values.values())
    of_each = Regrets(case.space, tasks, case.higher).of(candidates)
    covered = np.full(len(tasks), np.inf)
    found: list[Proposal] = []
    left = list(range(len(candidates)))
    while left and len(found) < PORTFOLIO:
        chosen = min(left, key=lambda place: (float(np.minimum(covered, of_each[place]).sum()), place))
        gained = np.flatnonzero(of_each[chosen] < covered)
        left.remove(chosen)
        covered = np.minimum(covered, of_each[chosen])
        if candidates[chosen] == case.space.default:
            found.append(_default_of(case))
            continue
        reason = f"Place {len(found) + 1} of a portfolio over {_tasks(len(tasks))}: " + (
            f"with those before it, the most is gained by it, on {_tasks(len(gained))} of these."
            if len(gained)
            else "those before it cover them, and it did best on one of these."
        )
        evidence = tuple(tasks[place].sha256 for place in gained)
        found.append(Proposal(candidates[chosen], "portfolio", reason, None, evidence))
    return found


def nearest(case: Case, least: float = 0.0, most: int = NEAREST) -> list[Proposal]:
    """The best strategies of at most ``most`` related tasks, at least ``least`` similar, and the default, best first.

    They are ordered by (Σ_t s_t R(c, t) + P·p) / (Σ_t s_t + P): s the similarities, R the regrets, P = PRIOR, and p the
    regret that is assumed before anything is known.
    """
    tasks = [task for task in case.related if task.similarity >= least][:most]
    default = _default_of(case)
    if not tasks:
        return [default]
    likeness = np.array([task.similarity for task in tasks])
    found = {key(default.values): default}
    for task in tasks:
        best = task.best(case.higher)
        found.setdefault(key(best.values), _of_past(best.values, task, best.score, best.run))
    proposals = list(found.values())
    known = Regrets(case.space, case.related, case.higher)
    regrets = known.of([proposal.values for proposal in proposals])[:, : len(tasks)]  # the most similar are first
    prior = np.array([DEFAULT if proposal is default else 1.0 for proposal in proposals])
    worth = (regrets @ likeness + PRIOR * prior) / (likeness.sum() + PRIOR)
    return [proposals[place] for place in np.argsort(worth, kind="stable")]


def _of_past(values: dict[str, Any], task: PastTask, score: float, run: str) -> Proposal:
    reason = f"The best of {task.name} (similarity {task.similarity:.2f}; there it reached {score:.4g})."
    return Proposal(values, "past", reason, score, (task.sha256, run))


def _default_of(case: Case) -> Proposal:
    told = "always among what is tried" if case.related else "nothing that was done before is like this task"
    return Proposal(case.space.default, "default", f"The default: {told}.")


def _tasks(count: int) -> str:
    return "one task" if count == 1 else f"{count} tasks"
