"""The adviser that predicts: a small network from (task, strategy) to score and cost, learned from the memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.advisers.base import Adviser, Case, Proposal
from limner.advisers.history import PastTask
from limner.advisers.lists import nearest
from limner.memory.fingerprints import SCALES, Fingerprint
from limner.seeds import derive, generator
from limner.types import Params

MEMBERS, WIDTH = 5, 32
"""Networks in the ensemble, and hidden units in each of two layers."""

STEPS, RATE, DECAY = 150, 2e-2, 1e-4
"""How the ensemble learns: steps, their size at first, and the share of squared weights in the loss."""

TASKS, RUNS = 20, 60
"""The past tasks and the runs of each that are learned from, at most."""

POOL = 256
"""Strategies drawn at random among which the best acquisition is looked for."""

OWN = 3.0
"""How much a run on the task itself weighs, against one of an identical task."""

LEAST = 3
"""Runs, of this or related tasks, below which nothing is predicted."""

NOISE = 0.1
"""The standard deviation that a prediction has at the least, in those of a task's scores."""


class Predicted(NamedTuple):
    """Of strategies: mean and deviation of the standardised score (higher is better), and log seconds; each (n,)."""

    mean: Tensor
    deviation: Tensor
    log_seconds: Tensor


class Rows(NamedTuple):
    """The runs on a past task: their strategies encoded, ``(n, width)``, and their standardised scores (higher is
    better) and log seconds, ``(n, 2)``."""

    task: PastTask
    encoded: Tensor
    targets: Tensor


class Described(NamedTuple):
    """What this task is like, ``(d,)``, and each of the past tasks of ``rows``, ``(tasks, d)``: numbers of which a
    difference of about 1 is a large one. ``remark``: see ``Adviser.remark``."""

    mine: Tensor
    theirs: Tensor
    rows: list[Rows]
    remark: str = ""


class Ensemble:
    """Perceptrons that learn the same from different weights of the runs (the Bayesian bootstrap, Rubin 1981); how far
    they differ is how little is known (Lakshminarayanan et al. 2017)."""

    def __init__(self, inputs: int, seed: int) -> None:
        random = generator(seed, "metann")
        self.params: Params = {}
        for layer, (given, made) in enumerate([(inputs, WIDTH), (WIDTH, WIDTH), (WIDTH, 2)]):
            self.params[f"{layer}.weight"] = torch.randn(MEMBERS, given, made, generator=random) / math.sqrt(given)
            self.params[f"{layer}.bias"] = torch.zeros(MEMBERS, 1, made)
        self._random = random

    def __call__(self, inputs: Tensor, params: Params | None = None) -> Tensor:
        """``(n, inputs)`` to ``(members, n, 2)``: standardised score and log seconds."""
        params, values = params or self.params, inputs.expand(MEMBERS, -1, -1)
        for layer in range(3):
            values = values @ params[f"{layer}.weight"] + params[f"{layer}.bias"]
            values = torch.nn.functional.silu(values) if layer < 2 else values
        return values

    def learn(self, inputs: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Fit to ``targets``, ``(n, 2)``, of which each row counts as its weight."""
        from limner.engine.optimisers import named

        drawn = -torch.rand(MEMBERS, len(weights), generator=self._random).clamp(min=1e-6).log()
        counts = (drawn * weights)[..., None]
        counts = counts / counts.sum(1, keepdim=True)
        adam = named("adam")
        state = adam.init(self.params)
        for step in range(STEPS):
            free = {name: value.requires_grad_(True) for name, value in self.params.items()}
            loss = ((self(inputs, free) - targets) ** 2 * counts).sum()
            loss = loss + DECAY * sum((value**2).sum() for name, value in free.items() if "weight" in name)
            found = torch.autograd.grad(loss, list(free.values()))
            rate = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
            fixed = {name: value.detach() for name, value in free.items()}
            self.params, state = adam.quick(fixed, dict(zip(free, found, strict=True)), state, rate, None)


class MetaNN(Adviser):
    """Proposes what promises most for what it costs.

    An ensemble learns from the runs on related tasks to predict, of a task's fingerprint and an encoded strategy, the
    score (standardised on each task, so that tasks can be compared) and the logarithm of the seconds. Runs on the task
    itself are brought to the same scale by where the ensemble's prediction of them lies, and learned as well. The
    proposal has the largest expected improvement over the best so far (Jones et al. 1998, eq. 15),
    EI = (μ − y*)·Φ(u) + σ·φ(u) with u = (μ − y*)/σ, divided by the predicted seconds, as in Quick-Tune (Arango et al.
    2024); of the first and the last proposal, the largest predicted score alone.
    """

    name = "metann"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._sign = 1.0 if case.higher else -1.0
        found = self.described([self._rows(task) for task in case.related[:TASKS]])
        self.tasks = [each.task for each in found.rows]
        self.remark = found.remark
        self._mine = found.mine
        self._past = self._of_past(found)
        self._spread = self._usual_spread()
        self._first: Ensemble | None = None

    def _next(self, left: int | None) -> Proposal | None:
        own = self.whole
        past = 0 if self._past is None else len(self._past[0])
        if past + len(own) < LEAST:
            return self._chance("Drawn at random, as too little is known to predict from.")
        candidates = [values for values in self._candidates() if self._is_new(values)]
        if not candidates:
            return None
        ensemble, best, centre, spread = self._learned()
        found = self.predicted(ensemble, candidates)
        if not own or left == 1:
            place = int(found.mean.argmax())
            reason = "The largest predicted score"
        else:
            worth = expected_improvement(found.mean, found.deviation, best) / found.log_seconds.exp()
            place = int(worth.argmax())
            reason = "The largest expected improvement for the predicted seconds"
        expected = None if not own else self._sign * (centre + spread * float(found.mean[place]))
        reason += f", after {len(own)} runs here and {past} on {len(self.tasks)} related tasks."
        reason += f" {self.remark}" if self.remark else ""
        return Proposal(candidates[place], self.name, reason, expected, tuple(task.sha256 for task in self.tasks))

    def described(self, rows: list[Rows]) -> Described:
        """What tells this task and past ones apart: here, their fingerprints."""
        return fingerprints(self.case, rows)

    def predicted(self, ensemble: Ensemble, candidates: Sequence[dict[str, Any]]) -> Predicted:
        """What the ensemble foretells of the candidates on this task."""
        with torch.no_grad():
            made = ensemble(self._inputs(self._mine, self._encoded(candidates)))
        deviation = (made[..., 0].var(0, correction=0) + NOISE**2).sqrt()
        return Predicted(made[..., 0].mean(0), deviation, made[..., 1].mean(0))

    def _candidates(self) -> list[dict[str, Any]]:
        space = self.case.space
        found = [proposal.values for proposal in nearest(self.case, most=TASKS)]
        around = found[:2] if self.best is None else [self.best.values]
        found += [values for centre in around for values in space.neighbours(centre)]
        found += [space.sample(derive(self.case.seed, "pool", len(self.told), each)) for each in range(POOL)]
        return found

    def _encoded(self, values: Sequence[dict[str, Any]]) -> Tensor:
        """Strategies as numbers around 0: ``(n, width)``."""
        encoded = torch.tensor([self.case.space.encode(each) for each in values], dtype=torch.float32)
        return encoded.reshape(len(values), self.case.space.width) - 0.5

    def _inputs(self, task: Tensor, encoded: Tensor) -> Tensor:
        """How a task differs from this one, and strategies, in one row each: ``(n, inputs)``."""
        return torch.cat([(task - self._mine).clamp(-3, 3).expand(len(encoded), -1), encoded], dim=1)

    def _rows(self, task: PastTask) -> Rows:
        runs = task.runs[:RUNS]
        scores = self._sign * torch.tensor([run.score for run in runs], dtype=torch.float32)
        seconds = torch.tensor([max(run.seconds, 1e-3) for run in runs]).log()
        scale = scores.std(correction=0)
        standard = ((scores - scores.mean()) / scale).clamp(-3, 3) if scale > 0 else torch.zeros(len(runs))
        return Rows(task, self._encoded([run.values for run in runs]), torch.stack([standard, seconds], dim=1))

    def _of_past(self, found: Described) -> tuple[Tensor, Tensor, Tensor] | None:
        """Inputs, targets and weights of the runs on related tasks."""
        if not found.rows:
            return None
        inputs = [self._inputs(task, each.encoded) for task, each in zip(found.theirs, found.rows, strict=True)]
        weights = [torch.full((len(each.encoded),), each.task.similarity) for each in found.rows]
        return torch.cat(inputs), torch.cat([each.targets for each in found.rows]), torch.cat(weights)

    def _usual_spread(self) -> float:
        """The deviation of scores on a related task, the mean weighted by similarity; 0 where there is none."""
        weight = math.fsum(task.similarity for task in self.tasks)
        spreads = [torch.tensor([run.score for run in task.runs]).std(correction=0).item() for task in self.tasks]
        together = math.fsum(task.similarity * each for task, each in zip(self.tasks, spreads, strict=True))
        return together / weight if weight else 0.0

    def _learned(self) -> tuple[Ensemble, float, float, float]:
        """The ensemble, the best standardised score here (0: none yet), and centre and spread of scores here."""
        own = self.whole
        values = [told.values for told, _ in own]
        scores = self._sign * torch.tensor([score for _, score in own], dtype=torch.float32)
        if self._past is not None and self._first is None:
            self._first = Ensemble(self._past[0].shape[1], self.case.seed)
            self._first.learn(*self._past)
        if not own:
            assert self._first is not None  # below LEAST runs nothing is predicted
            return self._first, 0.0, 0.0, 1.0
        spread = self._spread or float(scores.std(correction=0)) or 1.0
        centre = float(scores.mean())
        if self._first is not None:
            centre -= spread * float(self.predicted(self._first, values).mean.mean())
        standard = ((scores - centre) / spread).clamp(-3, 3)
        seconds = torch.tensor([max(told.seconds, 1e-3) for told, _ in own]).log()
        parts = [
            (
                self._inputs(self._mine, self._encoded(values)),
                torch.stack([standard, seconds], dim=1),
                torch.full((len(own),), OWN),
            )
        ]
        parts += [] if self._past is None else [self._past]
        ensemble = Ensemble(parts[0][0].shape[1], self.case.seed)
        ensemble.learn(*(torch.cat([part[place] for part in parts]) for place in range(3)))
        return ensemble, float(standard.max()), centre, spread


def expected_improvement(mean: Tensor, deviation: Tensor, best: float) -> Tensor:
    """E max(y − best, 0) of normal y (Jones et al. 1998, eq. 15, for the largest); ``(n,)``, never negative.

    >>> expected_improvement(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 1e-6]), 0.0)
    tensor([0.3989, 5.0000])
    """
    off = (mean - best) / deviation
    below, density = torch.special.ndtr(off), (-(off**2) / 2).exp() / math.sqrt(2 * math.pi)
    worth: Tensor = (mean - best) * below + deviation * density
    return worth.clamp(min=0.0)


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
