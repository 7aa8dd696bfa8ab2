"""The adviser that learns a distribution over strategies: φ* = argmax over φ of E over θ ~ P_φ of the score of θ."""

from __future__ import annotations

import math
import random
from typing import Any

from limner.advisers.base import TRIES, Adviser, Case, Proposal, Told, runs_here
from limner.seeds import derive
from limner.spaces import Knob

SPREAD, LEAST_SPREAD = 0.25, 0.05
"""The standard deviation of P_φ on a knob's range at first, and at the least."""

USUAL = 0.5
"""The probability of a choice's default at first."""

RATE = 0.3
"""How far one run of an advantage of one standard deviation moves φ."""

PRIOR = 0.5
"""How much the first P_φ weighs, against the best runs of one identical task."""

ELITE = 0.25
"""The share of a past task's runs that P_φ is drawn to."""

FARTHEST = 2.0
"""The largest advantage, in standard deviations."""


class Evolution(Adviser):
    """A distribution P_φ over the space's unit cube, moved after every run towards what scored above the baseline.

    Knobs are independent under P_φ: a number is normal with mean μ and deviation σ along its range (cut off at its
    ends), a choice is a softmax of logits. After a run with values x and score R, with the advantage
    A = (R − b)/s, b the mean of the scores before (the baseline) and s the deviation of all:

        logits ← logits + α·A·(1[x] − p),   μ ← μ + α·A·(x − μ),   σ ← σ·exp(α/2·A·((x − μ)²/σ² − 1))

    which is REINFORCE, Δφ = α (R − b) ∂ ln P_φ(x)/∂φ (Williams 1992, sections 4 to 6), for numbers with Williams's rate
    α·σ², which makes it the step of separable natural evolution strategies (Wierstra et al. 2014). Before the first run
    φ has the greatest likelihood of the best quarter of the runs on related tasks, weighted by similarity, with the
    default as the prior: one step of the cross-entropy method (Rubinstein 1999). The first proposal is the mode of P_φ.
    """

    name = "evolution"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.means: dict[str, float] = {}
        self.deviations: dict[str, float] = {}
        self.logits: dict[str, list[float]] = {}
        elite = [
            (task.similarity / len(best), run.values)
            for task in case.related
            for best in [_elite([(run.score, run) for run in task.runs], case.higher)]
            for run in best
        ]
        self._learned = len(elite)
        self._rests_on = tuple(task.sha256 for task in case.related)
        for knob in case.space.knobs:
            self._fit(knob, [(weight, values[knob.name]) for weight, values in elite if knob.name in values])

    def _fit(self, knob: Knob, seen: list[tuple[float, Any]]) -> None:
        """Give the knob its part of φ."""
        total = math.fsum(weight for weight, _ in seen) + PRIOR
        if knob.kind == "choice":
            share = [
                USUAL if word == knob.default else (1 - USUAL) / max(len(knob.words) - 1, 1) for word in knob.words
            ]
            mass = [PRIOR * each / math.fsum(share) for each in share]
            for weight, value in seen:
                mass[_index(knob, value)] += weight
            self.logits[knob.name] = [math.log(each / total) for each in mass]
            return
        usual = knob.place(knob.default)
        places = [(weight, knob.place(value)) for weight, value in seen]
        mean = (math.fsum(weight * place for weight, place in places) + PRIOR * usual) / total
        squares = math.fsum(weight * (place - mean) ** 2 for weight, place in places)
        squares += PRIOR * (SPREAD**2 + (usual - mean) ** 2)
        self.means[knob.name], self.deviations[knob.name] = mean, max(math.sqrt(squares / total), LEAST_SPREAD)

    def probabilities(self, name: str) -> list[float]:
        """The probabilities of a choice's words; positive, their sum is 1."""
        logits = self.logits[name]
        powers = [math.exp(logit - max(logits)) for logit in logits]
        return [power / math.fsum(powers) for power in powers]

    def _next(self, left: float | None, seconds: float | None) -> Proposal | None:
        mode = self._drawn(None)
        if (not self.told or left == 1) and self._is_new(mode):
            past = f"the best {self._learned} runs on related tasks" if self._learned else "the default"
            reason = f"The most likely strategy, after {runs_here(len(self.told))} and {past}."
            return Proposal(mode, "evolution", reason, None, self._rests_on)
        for again in range(TRIES):
            values = self._drawn(random.Random(derive(self.case.seed, "evolution", len(self.told), again)))
            if self._is_new(values):
                reason = f"Drawn from what was made likely by {runs_here(len(self.told))}."
                return Proposal(values, "evolution", reason, None, self._rests_on)
        return self._chance("Drawn at random, as all that is likely has been tried.")

    def _drawn(self, chance: random.Random | None) -> dict[str, Any]:
        """Values drawn from P_φ; without ``chance`` its mode."""
        space = self.case.space
        made: dict[str, Any] = {}
        for knob in space.knobs:
            if not space.active(knob, made):
                continue
            if knob.kind == "choice":
                shares = self.probabilities(knob.name)
                place = shares.index(max(shares))
                if chance is not None:
                    place = chance.choices(range(len(shares)), shares)[0]
                made[knob.name] = knob.words[place]
            else:
                noise = 0.0 if chance is None else chance.gauss(0.0, self.deviations[knob.name])
                made[knob.name] = knob.at(self.means[knob.name] + noise)
        return made

    def observe(self, told: Told) -> None:
        """Move φ by the run's advantage. A run without a score moves it as the worst so far would."""
        before = self._scores()
        super().observe(told)
        scores = self._scores()
        score = scores[-1] if len(scores) > len(before) else min(before, default=None)
        if score is None or not before:
            return
        baseline = math.fsum(before) / len(before)
        every = [*before, score]
        mean = math.fsum(every) / len(every)
        spread = math.sqrt(math.fsum((each - mean) ** 2 for each in every) / len(every))
        if spread > 0:
            self._move(told.values, max(-FARTHEST, min(FARTHEST, (score - baseline) / spread)))

    def _scores(self) -> list[float]:
        """The scores so far, the higher the better."""
        sign = 1.0 if self.case.higher else -1.0
        return [sign * score for _, score in self.whole]

    def _move(self, values: dict[str, Any], advantage: float) -> None:
        for knob in self.case.space.knobs:
            if knob.name not in values:
                continue
            step = RATE * advantage
            if knob.kind == "choice":
                chosen = _index(knob, values[knob.name])
                shares = self.probabilities(knob.name)
                self.logits[knob.name] = [
                    logit + step * ((place == chosen) - share)
                    for place, (logit, share) in enumerate(zip(self.logits[knob.name], shares, strict=True))
                ]
                continue
            mean, deviation = self.means[knob.name], self.deviations[knob.name]
            off = max(-3.0, min(3.0, (knob.place(values[knob.name]) - mean) / deviation))
            self.means[knob.name] = min(max(mean + step * off * deviation, 0.0), 1.0)
            changed = deviation * math.exp(step / 2 * (off**2 - 1))
            self.deviations[knob.name] = min(max(changed, LEAST_SPREAD), 1.0)


def _index(knob: Knob, value: Any) -> int:
    return int(knob.place(value) * len(knob.words))


def _elite(runs: list[tuple[float, Any]], higher: bool) -> list[Any]:
    """The best quarter of the runs, one at the least."""
    ordered = sorted(runs, key=lambda pair: -pair[0] if higher else pair[0])
    return [run for _, run in ordered[: max(1, round(ELITE * len(ordered)))]]
