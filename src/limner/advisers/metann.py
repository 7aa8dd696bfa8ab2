"""The adviser that predicts: a small network from (task, strategy, the curve so far) to score and cost, learned from
the memory. Where runs can be paused it goes from rung to rung, and says which run to go on with, or which to begin."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.advisers.base import Adviser, Case, Proposal, Told, runs_here
from limner.advisers.ensemble import Ensemble, Predicted, expected_improvement
from limner.advisers.history import PastTask
from limner.advisers.lists import nearest
from limner.advisers.rungs import FARTHEST, at_rungs, known_of, lessons, seen_of, standardised
from limner.memory.fingerprints import SCALES, Fingerprint
from limner.seeds import derive

TASKS, RUNS = 20, 60
"""The past tasks and the runs of each that are learned from, at most; of runs with several rungs fewer."""

POOL = 256
"""Strategies drawn at random among which the best acquisition is looked for."""

OWN = 3.0
"""How much a run on the task itself weighs, against one of an identical task."""

LEAST = 3
"""Runs, of this or related tasks, below which nothing is predicted."""

HELD = 8
"""Paused runs that are held, at the most."""

INSTANT = 1e-3
"""Seconds that a run takes at the least."""


class Rows(NamedTuple):
    """The runs on a past task: their strategies encoded, ``(n, width)``, their standardised scores (higher is better)
    and log seconds, ``(n, 2)``, and their scores at the rungs as they are, ``(n, rungs)``."""

    task: PastTask
    encoded: Tensor
    targets: Tensor
    scores: Tensor


class Described(NamedTuple):
    """What this task is like, ``(d,)``, and each of the past tasks of ``rows``, ``(tasks, d)``: numbers of which a
    difference of about 1 is a large one. ``remark``: see ``Adviser.remark``."""

    mine: Tensor
    theirs: Tensor
    rows: list[Rows]
    remark: str = ""


class Learned(NamedTuple):
    """What the runs so far teach: the ensemble, and the runs' standardised scores at the rungs, ``(n, rungs)``, with
    what they were brought to that scale by, ``(rungs,)``. ``best``: the best score of any run at any rung, as it is
    (the higher the better)."""

    ensemble: Ensemble
    own: Tensor
    best: float
    centre: Tensor
    spread: Tensor


class Ways(NamedTuple):
    """The ways there are to go on: new strategies, then paused runs; how many rungs each has ``seen``, ``(n,)``, and
    its standardised scores there, ``(n, rungs)``."""

    values: list[dict[str, Any]]
    paused: list[Told]
    seen: Tensor
    scores: Tensor


class MetaNN(Adviser):
    """Proposes what promises most for what it costs: whole runs, or one rung at a time.

    An ensemble learns from the runs on related tasks to predict, of a task's fingerprint, an encoded strategy and the
    scores at the rungs that it has come to, the score at a later rung and the logarithm of the seconds of a whole run.
    Scores are standardised for each task and rung, so that they can be compared. Runs on the task itself are brought to
    the same scale by where the ensemble's prediction of them lies, and learned as well. The proposal, one rung of a new
    strategy or the next one of a paused run i, has the largest

        a(i) = max over rungs b of EI(i, b) / c(i, b),   EI = (μ − y*)·Φ(u) + σ·φ(u),   u = (μ − y*)/σ

    with EI the expected improvement at rung b (Jones et al. 1998, eq. 15) over the best score y* of any run at any
    rung, and c the predicted seconds from where the run stands to b. Only rungs count that what is left of the budget
    allows: what cannot be had any more is worth nothing, and so the last of it goes to what was begun. Quick-Tune
    (Arango et al. 2024) divides by cost as well, but asks of the next rung alone. The first run is taken whole, for the
    rungs of all others are measured by it. Where runs have one rung only, there is nothing to pause, and all of this
    holds of whole runs.
    """

    name = "metann"
    by_rungs = True

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._sign = 1.0 if case.higher else -1.0
        found = self.described([self._rows(task) for task in case.related[:TASKS]])
        self.tasks = [each.task for each in found.rows]
        self.remark = found.remark
        self._mine = found.mine
        self._past_runs = sum(len(each.encoded) for each in found.rows)
        self._past = self._of_past(found)
        self._spread = self._usual_spread(found.rows)
        self._first: Ensemble | None = None

    def _next(self, left: float | None, seconds: float | None) -> Proposal | None:
        own, rungs = self._scored, self.case.rungs
        little = self._past_runs + len(own) < LEAST
        drawn = self._chance("Drawn at random, as too little is known to predict from.") if little else None
        if not own and self._past is None:
            return drawn
        fresh = [drawn.values] if drawn else [] if little else self._candidates()
        learned = self._learned()
        ways = self._ways([values for values in fresh if self._is_new(values)], learned)
        if not ways.values:
            return None
        end = self._foretold(learned, ways, torch.full_like(ways.seen, rungs))
        if not own:
            place, rung, reason = int(end.mean.argmax()), rungs, self._reason("The largest predicted score", 0)
        else:
            worth, at = self._worth(learned, ways, self._seconds_of_a_rung(ways, end), left, seconds)
            place = 0 if drawn else int(worth.argmax())
            rung = int(ways.seen[place]) + 1
            why = "The largest expected improvement for the predicted seconds"
            if rungs > 1:
                begun = ", going on with a paused run" if ways.seen[place] else ""
                why += f", to be had at rung {int(at[place])} of {rungs}{begun}"
            reason = drawn.reason if drawn else self._reason(why, len(own))
        expected = self._sign * float(learned.centre[-1] + learned.spread[-1] * end.mean[place]) if own else None
        evidence = tuple(task.sha256 for task in self.tasks)
        drops = self._dropped(ways, end.mean, place)
        to = rung if rung < rungs else None
        return Proposal(ways.values[place], self.name, reason, expected, evidence, to, drops)

    @property
    def _scored(self) -> list[Told]:
        """The runs here of which a score is known, at the end or on the way."""
        on_way = self.case.rungs > 1
        return [told for told in self.told if (told.whole and told.score is not None) or (on_way and told.rungs)]

    @property
    def best(self) -> Told | None:
        """The run with the best score so far, at its end or on its way; of equal ones the first."""
        return max(self._scored, key=self._height, default=None)

    def _height(self, told: Told) -> float:
        """The best score of a run, at its end or on its way; the higher the better."""
        return max(self._sign * score for score in (told.score, *told.rungs.values()) if score is not None)

    def _reason(self, why: str, own: int) -> str:
        reason = f"{why}, after {runs_here(own)} and {self._past_runs} on {len(self.tasks)} related tasks."
        return f"{reason} {self.remark}" if self.remark else reason

    def described(self, rows: list[Rows]) -> Described:
        """What tells this task and past ones apart: here, their fingerprints."""
        return fingerprints(self.case, rows)

    def predicted(self, ensemble: Ensemble, values: Sequence[dict[str, Any]], rung: int | None = None) -> Predicted:
        """What the ensemble foretells of strategies on this task at a rung (default: the end), when nothing is seen."""
        seen = torch.zeros(len(values), dtype=torch.long)
        nothing = torch.full((len(values), self.case.rungs), torch.nan)
        way = seen_of(nothing, seen, seen + (rung or self.case.rungs))
        return ensemble.predicted(self._inputs(self._mine, self._encoded(values), way))

    def _foretold(self, learned: Learned, ways: Ways, to: Tensor) -> Predicted:
        """Of each of the ways at the rung ``to``, ``(n,)``."""
        way = seen_of(ways.scores, ways.seen, to)
        gain = learned.ensemble.predicted(self._inputs(self._mine, self._encoded(ways.values), way))
        last = ways.scores.gather(1, (ways.seen - 1).clamp(min=0)[:, None])[:, 0]
        return gain._replace(mean=gain.mean + torch.where(ways.seen > 0, last, 0.0))

    def _ways(self, fresh: list[dict[str, Any]], learned: Learned) -> Ways:
        rungs, places = self.case.rungs, {id(told): place for place, told in enumerate(self._scored)}
        paused = [told for told in self.told if told.paused]
        nothing = torch.full((1, rungs), torch.nan)
        known = [learned.own[places[id(told)]][None] if id(told) in places else nothing for told in paused]
        scores = torch.cat([nothing.expand(len(fresh), -1), *known])
        seen = torch.tensor([0] * len(fresh) + [max(told.rungs, default=0) for told in paused])
        return Ways([*fresh, *(told.values for told in paused)], paused, seen, scores)

    def _seconds_of_a_rung(self, ways: Ways, end: Predicted) -> Tensor:
        """As predicted; of a paused run as measured, ``(n,)``."""
        found = end.log_seconds.exp() / self.case.rungs
        for place, told in enumerate(ways.paused, start=len(ways.values) - len(ways.paused)):
            if told.rungs:
                found[place] = max(told.seconds, INSTANT) / max(told.rungs)
        return found

    def _worth(
        self, learned: Learned, ways: Ways, each: Tensor, left: float | None, seconds: float | None
    ) -> tuple[Tensor, Tensor]:
        """The acquisition a of each of the ways, and the rung where it is had, ``(n,)`` each; see the class.

        each  seconds of a rung, ``(n,)``; ``left``, ``seconds``: the budget, see ``Adviser.propose``
        """
        room = self.case.rungs - ways.seen
        if left is not None:
            room = room.clamp(max=round(left * self.case.rungs))
        if seconds is not None:
            room = torch.minimum(room, (seconds / each).long())
        room = room.clamp(min=1)  # the next rung may be begun as long as anything is left
        rates: list[Tensor] = []
        for further in range(1, self.case.rungs + 1):
            to = (ways.seen + further).clamp(max=self.case.rungs)
            found, spread = self._foretold(learned, ways, to), learned.spread[to - 1]
            best = ((learned.best - learned.centre[to - 1]) / spread).clamp(max=FARTHEST)
            gain = spread * expected_improvement(found.mean, found.deviation, best)
            rates.append(torch.where(further <= room, gain / (further * each), -1.0))
        worth, place = torch.stack(rates).max(0)
        return worth, ways.seen + place + 1

    def _dropped(self, ways: Ways, ends: Tensor, chosen: int) -> tuple[dict[str, Any], ...]:
        """The paused runs that are held no longer: those predicted to end worst, where there are too many."""
        first = len(ways.values) - len(ways.paused)
        others = [place for place in range(first, len(ways.values)) if place != chosen]
        return tuple(ways.values[place] for place in sorted(others, key=lambda at: -float(ends[at]))[HELD:])

    @cached_property
    def _past_best(self) -> list[dict[str, Any]]:
        """What did best on the past tasks: the same for every proposal."""
        return [proposal.values for proposal in nearest(self.case, most=TASKS)]

    def _candidates(self) -> list[dict[str, Any]]:
        space = self.case.space
        found = list(self._past_best)
        around = found[:2] if self.best is None else [self.best.values]
        found += [values for centre in around for values in space.neighbours(centre)]
        found += [space.sample(derive(self.case.seed, "pool", len(self.told), each)) for each in range(POOL)]
        return found

    def _encoded(self, values: Sequence[dict[str, Any]]) -> Tensor:
        """Strategies as numbers around 0: ``(n, width)``."""
        encoded = torch.tensor([self.case.space.encode(each) for each in values], dtype=torch.float32)
        return encoded.reshape(len(values), self.case.space.width) - 0.5

    def _inputs(self, task: Tensor, encoded: Tensor, way: Tensor) -> Tensor:
        """How a task differs from this one, strategies, and what was seen of them, in a row each: ``(n, inputs)``."""
        return torch.cat([(task - self._mine).clamp(-3, 3).expand(len(encoded), -1), encoded, way], dim=1)

    def _rows(self, task: PastTask) -> Rows:
        rungs = self.case.rungs
        runs = task.runs[: RUNS // rungs]
        scores = self._scores([at_rungs(run.looks, rungs) | {rungs: run.score} for run in runs])
        seconds = torch.tensor([max(run.seconds, INSTANT) for run in runs]).log()
        standard = standardised(scores)[:, -1]
        return Rows(task, self._encoded([run.values for run in runs]), torch.stack([standard, seconds], dim=1), scores)

    def _scores(self, of_runs: Sequence[dict[int, float]]) -> Tensor:
        """Scores at the rungs, higher is better, not a number where there is none: ``(n, rungs)``."""
        every = range(1, self.case.rungs + 1)
        found = torch.tensor([[scores.get(rung, torch.nan) for rung in every] for scores in of_runs])
        return self._sign * found.reshape(len(of_runs), self.case.rungs)

    def _of_past(self, found: Described) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """What the runs on related tasks teach: inputs, targets, weights, and which run each row is of."""
        parts, begun = [], 0
        for task, each in zip(found.theirs, found.rows, strict=True):
            parts.append(
                self._taught(
                    task, each.encoded, standardised(each.scores), each.targets[:, 1], each.task.similarity, begun
                )
            )
            begun += len(each.encoded)
        return _joined(parts) if parts else None

    def _taught(
        self, task: Tensor, encoded: Tensor, scores: Tensor, log_seconds: Tensor, weight: float, begun: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The rows of the runs of one task, which are numbered from ``begun``; each run weighs the same."""
        runs, seen, gains = lessons(scores)
        inputs = self._inputs(task, encoded[runs], seen)
        weights = weight / torch.bincount(runs, minlength=len(encoded))[runs]
        return inputs, torch.stack([gains, log_seconds[runs]], dim=1), weights, begun + runs

    def _usual_spread(self, rows: list[Rows]) -> Tensor:
        """The deviation of scores at each rung of a related task, the mean weighted by similarity, ``(rungs,)``; 0
        where nothing is known."""
        found = torch.zeros(self.case.rungs)
        for rung in range(self.case.rungs):
            known = [(each.task.similarity, known_of(each.scores[:, rung])) for each in rows]
            weight = sum(similarity for similarity, scores in known if len(scores))
            together = sum(similarity * float(scores.std(correction=0)) for similarity, scores in known if len(scores))
            found[rung] = together / weight if weight else 0.0
        return found

    def _learned(self) -> Learned:
        own, rungs = self._scored, self.case.rungs
        values = [told.values for told in own]
        scores = self._scores(
            [dict(told.rungs) | ({rungs: told.score} if told.whole and told.score is not None else {}) for told in own]
        )
        if self._past is not None and self._first is None:
            self._first = Ensemble(self._past[0].shape[1], self.case.seed)
            self._first.learn(*self._past)
        if not own:
            assert self._first is not None  # where nothing at all is known, nothing is predicted
            return Learned(self._first, scores, 0.0, torch.zeros(rungs), torch.ones(rungs))
        centre, spread = self._scale(values, scores)
        standard = standardised(scores, centre, spread)
        shares = [1.0 if told.whole else max(told.rungs) / rungs for told in own]
        seconds = [max(told.seconds, INSTANT) / share for told, share in zip(own, shares, strict=True)]
        parts = [self._taught(self._mine, self._encoded(values), standard, torch.tensor(seconds).log(), OWN, 0)]
        if self._past is not None:
            inputs, targets, weights, runs = self._past
            parts.append((inputs, targets, weights, runs + len(own)))
        ensemble = Ensemble(parts[0][0].shape[1], self.case.seed)
        ensemble.learn(*_joined(parts))
        return Learned(ensemble, standard, max(map(self._height, own)), centre, spread)

    def _scale(self, values: Sequence[dict[str, Any]], scores: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and spread of the scores here at each rung, ``(rungs,)``: where the prediction of the runs here lies,
        and what is usual on related tasks; where there are none, of the runs here alone."""
        centre, spread = torch.zeros(self.case.rungs), torch.ones(self.case.rungs)
        for rung in range(self.case.rungs):
            here = known_of(scores[:, rung])
            own = float(here.std(correction=0)) if len(here) else 0.0
            spread[rung] = float(self._spread[rung]) or own or 1.0
            if len(here):
                centre[rung] = here.mean()
            if len(here) and self._first is not None:
                known = scores[:, rung].isfinite()
                centre[rung] -= spread[rung] * self.predicted(self._first, values, rung + 1).mean[known].mean()
        return centre, spread


def _joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs, targets, weights, runs = (torch.cat([part[place] for part in parts]) for place in range(4))
    return inputs, targets, weights, runs


def fingerprints(case: Case, rows: list[Rows], remark: str = "") -> Described:
    """The tasks by the statistics that all their fingerprints have."""
    prints = [case.fingerprint, *(each.task.fingerprint for each in rows)]
    names = _shared(prints)
    mine, *theirs = [_in_scales(one, names) for one in prints]
    return Described(mine, torch.stack(theirs) if theirs else torch.empty(0, len(names)), rows, remark)


def _shared(prints: Sequence[Fingerprint]) -> list[tuple[str, str]]:
    """The statistics that all have; those of features only where all have the same."""
    first = prints[0]
    names = {(group, name) for group, values in first.statistics.items() for name in values}
    if any(other.features != first.features for other in prints):
        names = {(group, name) for group, name in names if group != "features"}
    for other in prints[1:]:
        names &= {(group, name) for group, values in other.statistics.items() for name in values}
    return sorted(names)


def _in_scales(one: Fingerprint, names: Sequence[tuple[str, str]]) -> Tensor:
    """The statistics in units of their scales, so that a difference of 1 is one between kinds; ``(names,)``."""
    return torch.tensor([one.statistics[group][name] / SCALES[group][name] for group, name in names])
