"""A search over a space: Optuna's samplers, one proposal at a time. What was tried is told from outside, so that the
memory is the one record of it, and the sampler can be replaced."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limner.errors import LimnerError
from limner.seeds import derive
from limner.spaces.knobs import Knob, Space

SAMPLERS = ("tpe", "cma-es", "gp", "random")
"""Tree-structured Parzen estimators (Bergstra et al. 2011), covariance matrix adaptation (Hansen 2016), a Gaussian
process, and none."""

BEGUN_AT_RANDOM = 5
"""Trials before a sampler follows what it has seen."""

SOONEST = 4
"""A run is held against others, and may end early, once so many have been told whole."""

TRIES = 200
"""How often a proposal is drawn anew where it has been tried before."""


@dataclass
class Trial:
    """One proposal: its values, and where it came from (``default``, ``past`` or the sampler's name)."""

    number: int
    values: dict[str, Any]
    source: str
    asked: Any = field(default=None, repr=False)


class Search:
    """Proposes values of a space, and is told what came of them.

    sampler  one of :data:`SAMPLERS`; higher: whether a higher score is the better one; seed: the same seed and the same
             past give the same next proposal (CMA-ES begins its distribution anew in another process)

    Raises :class:`LimnerError` for a sampler that there is not.

    >>> space = Space("a line", (Knob("x", "float", 0.0, -1.0, 1.0),))
    >>> search = Search(space, "random", seed=0, higher=True)
    >>> first = search.propose(0, {"x": 0.5}, "default")
    >>> search.observe(first, 0.25)
    >>> first.values, -1 <= search.propose(1).values["x"] <= 1
    ({'x': 0.5}, True)
    """

    def __init__(self, space: Space, sampler: str, seed: int, higher: bool) -> None:
        if sampler not in SAMPLERS:
            raise LimnerError(f"there is no sampler {sampler!r}; there are: {', '.join(SAMPLERS)}")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.sampler, self.seed = space, sampler, seed
        self._study = optuna.create_study(
            direction="maximize" if higher else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=SOONEST, n_min_trials=SOONEST),
        )
        self._tried: set[str] = set()

    def propose(self, number: int, values: Mapping[str, Any] | None = None, source: str = "") -> Trial | None:
        """The trial of that number: of ``values`` where they are given, else as the sampler says.

        Where the space is so small that all of it seems to have been tried, ``None``.
        """
        self._study.sampler = self._made(derive(self.seed, "propose", number) % 2**32)
        asked, found = self._ask(values)
        for again in range(TRIES):
            if values is not None or _key(found) not in self._tried:
                self._tried.add(_key(found))
                return Trial(number, found, source or self.sampler, asked)
            self._forget(asked)
            asked, found = self._ask(self.space.sample(derive(self.seed, "again", number, again)))
        self._forget(asked)
        return None

    def tried(self, values: Mapping[str, Any]) -> bool:
        """Whether these values have been proposed or recalled."""
        return _key(values) in self._tried

    def hopeless(self, trial: Trial, rung: int, score: float) -> bool:
        """Whether a run whose score is ``score`` at ``rung`` (1, 2 …) is worse than half of those before it there."""
        if math.isfinite(score):
            trial.asked.report(score, rung)
        return bool(trial.asked.should_prune())

    def observe(
        self, trial: Trial, score: float | None, whole: bool = True, rungs: Mapping[int, float] | None = None
    ) -> None:
        """What came of a trial: its score, ``None`` where it failed; ``whole``: it was not ended early. ``rungs``: its
        scores on the way, where :meth:`hopeless` was not told them."""
        from optuna.trial import TrialState

        for rung, value in (rungs or {}).items():
            if math.isfinite(value):
                trial.asked.report(value, rung)
        if score is None or not math.isfinite(score):
            self._study.tell(trial.asked, state=TrialState.FAIL)
        elif whole:
            self._study.tell(trial.asked, score)
        else:
            self._study.tell(trial.asked, state=TrialState.PRUNED)

    def recall(
        self, values: Mapping[str, Any], score: float | None, rungs: Mapping[int, float], whole: bool = True
    ) -> None:
        """A trial of an earlier process: as :meth:`observe`, with its scores at the rungs."""
        from optuna.trial import TrialState, create_trial

        self._tried.add(_key(values))
        state = TrialState.COMPLETE if whole else TrialState.PRUNED
        if score is None or not math.isfinite(score):
            state = TrialState.FAIL
        params = {name: _told(self.space[name], value) for name, value in values.items()}
        self._study.add_trial(
            create_trial(
                state=state,
                value=score if state == TrialState.COMPLETE else None,
                params=params,
                distributions={name: _distribution(self.space[name]) for name in params},
                intermediate_values={rung: value for rung, value in rungs.items() if math.isfinite(value)},
            )
        )

    def _ask(self, values: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        if values is not None:
            self._study.enqueue_trial({name: _told(self.space[name], value) for name, value in values.items()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some samplers are called experimental
            asked = self._study.ask()
            made: dict[str, Any] = {}
            for knob in self.space.knobs:
                if self.space.active(knob, made):
                    made[knob.name] = _suggested(asked, knob)
        return asked, made

    def _forget(self, asked: Any) -> None:
        from optuna.trial import TrialState

        self._study.tell(asked, state=TrialState.FAIL)

    def _made(self, seed: int) -> Any:
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.sampler == "tpe":
                return optuna.samplers.TPESampler(n_startup_trials=BEGUN_AT_RANDOM, seed=seed)
            if self.sampler == "cma-es":
                return optuna.samplers.CmaEsSampler(n_startup_trials=1, seed=seed, warn_independent_sampling=False)
            if self.sampler == "gp":
                return optuna.samplers.GPSampler(n_startup_trials=BEGUN_AT_RANDOM, seed=seed)
            return optuna.samplers.RandomSampler(seed=seed)


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)


def _told(knob: Knob, value: Any) -> Any:
    """A value as Optuna holds it: the words of a choice as JSON."""
    return json.dumps(knob.read(value)) if knob.kind == "choice" else value


def _distribution(knob: Knob) -> Any:
    from optuna import distributions

    if knob.kind == "choice":
        return distributions.CategoricalDistribution([json.dumps(word) for word in knob.words])
    if knob.kind == "int":
        return distributions.IntDistribution(int(knob.low), int(knob.high), log=knob.log)
    return distributions.FloatDistribution(knob.low, knob.high, log=knob.log)


def _suggested(asked: Any, knob: Knob) -> Any:
    if knob.kind == "choice":
        return knob.read(json.loads(asked.suggest_categorical(knob.name, [json.dumps(word) for word in knob.words])))
    if knob.kind == "int":
        return asked.suggest_int(knob.name, int(knob.low), int(knob.high), log=knob.log)
    return float(asked.suggest_float(knob.name, knob.low, knob.high, log=knob.log))
