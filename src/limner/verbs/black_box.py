"""How well a black box answers on what was held back: its goal's score, with an interval."""

from __future__ import annotations

from typing import Any

import numpy as np

from limner.errors import LimnerError
from limner.estimators import Data, Fitted, wanted_of
from limner.seeds import derive
from limner.types import Score, Scores
from limner.verbs.classify import wilson

BOOTSTRAPS = 200
LEAST = 2


def scored(fitted: Fitted, goal: str, query: Data, support: int, seed: int, bootstraps: int = BOOTSTRAPS) -> Scores:
    """The scores on ``query``; ``support``: how many rows were learned from.

    classify  ``accuracy``, the share of rows in their own class, with Wilson's interval
    regress   ``r2`` = 1 − Σ(y − ŷ)² / Σ(y − ȳ)², 1 = exact, 0 = as good as the mean; and ``rmse``, √ mean (y − ŷ)²
    cluster   ``adjusted_rand`` index of clusters and classes (Hubert & Arabie 1985, eq. 5): 1 = the same, 0 = chance

    The last two with the percentile interval of ``bootstraps`` resamples of the rows, or with none. Raises
    :class:`LimnerError` where ``query`` has fewer than 2 rows, or none of what is to be judged by.
    """
    if len(query) < LEAST:
        raise LimnerError(f"{query.name} holds {len(query)} rows to judge by; hold back {LEAST} or more")
    wanted, given = wanted_of(query, goal), np.asarray(fitted.predict(query))
    values: dict[str, Score]
    if goal == "classify":
        share = float(np.mean(given == wanted))
        values = {"accuracy": Score(share, *wilson(share, len(query)))}
    elif goal == "regress":
        values = {"r2": _between(determined, wanted, given, seed, bootstraps)}
        values["rmse"] = _between(error, wanted, given, seed, bootstraps)
    else:
        values = {"adjusted_rand": _between(rand_index, wanted, given, seed, bootstraps)}
    return Scores(values, "its own answers", 0, len(query), support, seed, fitted.notes)


def determined(wanted: Any, given: Any) -> float:
    """R², the share of the variance that is foretold.

    >>> determined(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])), determined(np.array([0.0, 2.0]), np.ones(2))
    (1.0, 0.0)
    """
    spread = float(np.sum((wanted - np.mean(wanted)) ** 2))
    return 1.0 - float(np.sum((wanted - given) ** 2)) / spread if spread > 0 else float("nan")


def error(wanted: Any, given: Any) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((wanted - given) ** 2)))


def rand_index(wanted: Any, given: Any) -> float:
    """The adjusted Rand index."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(wanted, given))


def _between(measure: Any, wanted: Any, given: Any, seed: int, bootstraps: int) -> Score:
    """The measure with its 95% percentile interval over rows drawn with replacement."""
    if not bootstraps:
        return Score(measure(wanted, given))
    random = np.random.default_rng(derive(seed, "bootstrap") % 2**32)
    drawn = [random.integers(0, len(wanted), len(wanted)) for _ in range(bootstraps)]
    found = np.array([measure(wanted[rows], given[rows]) for rows in drawn])
    low, high = np.nanpercentile(found, [2.5, 97.5]) if np.isfinite(found).any() else (None, None)
    return Score(measure(wanted, given), None if low is None else float(low), None if high is None else float(high))
