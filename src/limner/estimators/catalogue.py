"""Which of scikit-learn's classes can be learned with, by their dotted names. Nothing else is ever imported."""

from __future__ import annotations

import difflib
import re
from importlib import import_module
from typing import Any, NamedTuple

from limner.errors import LimnerError

EXAMPLE = "sklearn.tree.DecisionTreeClassifier"

_CLOSED = {"tests", "conftest", "externals", "setup", "datasets"}
_ERRORS = (ImportError, AttributeError)


class Kind(NamedTuple):
    """A scikit-learn class, the dotted name that it was asked for by, and the goal that it serves."""

    name: str
    make: Any
    goal: str


def estimator_class(name: str) -> Kind:
    """The classifier, regressor or clusterer of scikit-learn with that dotted name.

    Clusterers are those that scikit-learn calls so, and mixtures, which give each row to a component.

    Raises :class:`LimnerError`, with near names, for one that there is not, that is of another sort, or that is made of
    other estimators.

    >>> estimator_class("sklearn.linear_model.Ridge").goal
    'regress'
    """
    parts = name.split(".")
    public = all(re.fullmatch(r"[A-Za-z]\w*", part) and part not in _CLOSED for part in parts)
    if parts[0] != "sklearn" or len(parts) < 3 or not public:
        raise LimnerError(f"{name!r} is no public class of scikit-learn; {_near(name)}")
    try:
        found = getattr(import_module(".".join(parts[:-1])), parts[-1])
    except _ERRORS:
        raise LimnerError(f"scikit-learn has no {name}; {_near(name)}") from None
    from sklearn.base import BaseEstimator

    if not (isinstance(found, type) and issubclass(found, BaseEstimator) and found.__module__.startswith("sklearn.")):
        raise LimnerError(f"{name} is no estimator of scikit-learn; {_near(name)}")
    try:
        made = found()
    except TypeError:
        raise LimnerError(
            f"{name} is made of other estimators, which a strategy cannot hold; give one that stands alone, such as "
            f"{EXAMPLE}"
        ) from None
    goal = _goal(made)
    if goal is None:
        raise LimnerError(f"{name} is no classifier, regressor or clusterer; {_near(name)}")
    return Kind(name, found, goal)


def _goal(made: Any) -> str | None:
    from sklearn.base import DensityMixin, is_classifier, is_clusterer, is_regressor

    if is_classifier(made):
        return "classify"
    if is_regressor(made):
        return "regress"
    if is_clusterer(made) or (isinstance(made, DensityMixin) and hasattr(made, "fit_predict")):
        return "cluster"
    return None


def _near(name: str) -> str:
    """The names nearest to one that cannot be used, as the end of a sentence."""
    from sklearn.utils import all_estimators

    known: dict[str, str] = {}
    for kind in ("classifier", "regressor", "cluster"):
        for title, made in all_estimators(kind):
            place = ".".join(part for part in made.__module__.split(".") if not part.startswith("_"))
            known[title.lower()] = f"{place}.{title}"
    word = name.rsplit(".", 1)[-1].lower()
    near = [known[title] for title in difflib.get_close_matches(word, known, n=3, cutoff=0.6)]
    return f"near it are: {', '.join(near)}" if near else f"right would be, for example, {EXAMPLE}"
