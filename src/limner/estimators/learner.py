"""The smaller protocol of learners without gradients, and scikit-learn's estimators behind it.

A fitted estimator is never written as it lies in memory: such files hold code. It is kept by its recipe (class,
options, sha256 of what it learned from, seed), and fitted again where it is used.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

from limner.errors import LimnerError
from limner.estimators.catalogue import Kind, estimator_class
from limner.seeds import derive
from limner.tasks.image_set import ImageSet
from limner.tasks.spec import nearest
from limner.tasks.tables import Table

Data = ImageSet | Table

PREPARED = {"scaling": "none", "features": "pixels"}
"""Options that are not the class's own: how what it sees is prepared; ``features`` is of images only."""


@dataclass(frozen=True)
class Fitted:
    """What a black box has learned.

    answer   an array of inputs to classes, numbers or clusters, one for each row
    inputs   what is learned from or judged on, to such an array
    recipe   what makes it again, as plain JSON
    support  what was learned from
    notes    what a reader must know about the fitting
    """

    answer: Callable[[Any], Any]
    inputs: Callable[[Data], Any]
    recipe: dict[str, Any]
    support: Data
    notes: tuple[str, ...] = ()

    def predict(self, data: Data) -> Any:
        """A class's number, a value or a cluster for each row of a table, or each image; an array ``(n,)``.

        Raises :class:`LimnerError` where the estimator cannot answer for them.
        """
        try:
            return self.answer(self.inputs(data))
        except (ValueError, TypeError, ArithmeticError) as refusal:
            first = str(refusal).strip().splitlines()[0].rstrip(".")
            raise LimnerError(f"{self.recipe['class']} cannot answer for {data.name} ({first})") from refusal


@runtime_checkable
class BlackBox(Protocol):
    """A base learner of which only this is asked: learn from a support set, then answer. It has no gradients.

    kind     its name; ``options`` its keyword arguments, plain JSON
    goal     ``classify``, ``regress`` or ``cluster``
    """

    kind: str
    goal: str
    options: dict[str, Any]

    def fit(self, support: Data, seed: int) -> Fitted:
        """What it learns from the support set; the same for the same seed."""


class Estimator:
    """A scikit-learn classifier, regressor or clusterer, over tables and over images by their frozen features.

    Where values are missing, the median of their column takes their place, as known from the rows learned from. Options
    are the class's own, and ``scaling`` (``none`` or ``standard``) and, of images, ``features`` (an extractor of
    ``limner.metrics.features``). What is random takes its state from the seed.

    Raises :class:`LimnerError` for a name or an option that there is not.

    >>> import torch
    >>> table = Table(torch.tensor([[0.0], [1.0], [2.0], [3.0]]).double(), "small", labels=torch.tensor([0, 0, 1, 1]))
    >>> tree = Estimator("sklearn.tree.DecisionTreeClassifier", max_depth=1)
    >>> tree.fit(table, seed=0).predict(table).tolist()
    [0, 0, 1, 1]
    """

    def __init__(self, name: str, **options: Any) -> None:
        found: Kind = estimator_class(name)
        own = [option for option in inspect.signature(found.make).parameters if option != "random_state"]
        for option, value in options.items():
            if option not in (*own, *PREPARED):
                told = ", ".join((*own, *PREPARED))
                raise LimnerError(f"{name} has no option {option!r}{nearest(option, own)}; it has: {told}")
            if not _plain(value):
                raise LimnerError(f"{name}'s option {option} cannot be {value!r}; give a word, a number, true or false")
        if (scaling := options.get("scaling", "none")) not in ("none", "standard"):
            raise LimnerError(f"the scaling of {name} cannot be {scaling!r}; right would be none or standard")
        self.name, self.goal, self._make = found.name, found.goal, found.make
        self.kind = f"estimator:{found.name}"
        self.options: dict[str, Any] = {
            option: list(value) if isinstance(value, tuple) else value for option, value in options.items()
        }

    def fit(self, support: Data, seed: int) -> Fitted:
        """Learn from the table or images ``support``.

        Raises :class:`LimnerError` where these do not suit the estimator's goal, or it cannot learn from them.
        """
        features = str(self.options.get("features", PREPARED["features"]))

        def inputs(data: Data) -> Any:
            return data.inputs.numpy() if isinstance(data, Table) else _seen(data, features)

        known, wanted = inputs(support), wanted_of(support, self.goal)
        line = self._pipeline(isinstance(support, Table) or bool(np.isnan(known).any()), seed)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                line.fit(known) if self.goal == "cluster" else line.fit(known, wanted)
                answer = line.predict if hasattr(line, "predict") else _as_neighbours(line, known)
            except (ValueError, TypeError, ArithmeticError, np.linalg.LinAlgError) as refusal:
                first = str(refusal).strip().splitlines()[0].rstrip(".")
                raise LimnerError(
                    f"{self.name} cannot learn from {support.name} with these options ({first}); choose others"
                ) from refusal
        notes = dict.fromkeys(f"{self.name}: {str(entry.message).split('.')[0].strip()}" for entry in told)
        recipe = {"class": self.name, "options": self.options, "learned_from": support.sha256, "seed": seed}
        return Fitted(answer, inputs, recipe, support, tuple(notes))

    def _pipeline(self, gaps: bool, seed: int) -> Any:
        """What is fitted; ``gaps``: values may be missing, if only in rows that are judged later."""
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        own = {name: value for name, value in self.options.items() if name not in PREPARED}
        own = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
        if "random_state" in inspect.signature(self._make).parameters:
            own["random_state"] = derive(seed, "estimator") % 2**32
        before = [SimpleImputer(strategy="median", keep_empty_features=True)] if gaps else []
        before += [StandardScaler()] if self.options.get("scaling") == "standard" else []
        return make_pipeline(*before, self._make(**own))


def refit(recipe: Mapping[str, Any], support: Data) -> Fitted:
    """The fitted estimator of a recipe, made again from what it learned from.

    Raises :class:`LimnerError` where ``support`` is not, bit by bit, what it learned from.
    """
    if support.sha256 != recipe["learned_from"]:
        raise LimnerError(
            f"{support.name} is not what this {recipe['class']} learned from (sha256 {recipe['learned_from'][:12]}); "
            "give the same data, shots and seed"
        )
    return Estimator(recipe["class"], **recipe["options"]).fit(support, recipe["seed"])


def wanted_of(data: Data, goal: str) -> Any:
    """The classes (to classify, and to judge clusters by) or the numbers (to regress) of the rows, an array ``(n,)``.

    Raises :class:`LimnerError` where the data have none.
    """
    if goal == "regress":
        if not isinstance(data, Table) or data.values is None:
            raise LimnerError(f"{data.name} has no numbers to learn; a regressor needs a table whose target is numbers")
        return data.values.numpy()
    if data.labels is None:
        raise LimnerError(f"{data.name} has no classes; give images in one folder a class, or a table with a target")
    return data.labels.numpy()


@lru_cache(maxsize=8)
def _seen(images: ImageSet, features: str) -> Any:
    """Frozen features of the images, float64 ``(n, d)``; each set's are computed once."""
    from limner.metrics.features import extractor

    return extractor(features)(images.images).double().numpy()


def _as_neighbours(line: Any, known: Any) -> Callable[[Any], Any]:
    """For clusterers that cannot place new rows: each goes where the nearest row learned from is."""
    from sklearn.neighbors import KNeighborsClassifier

    nearest_row = KNeighborsClassifier(1).fit(np.nan_to_num(known), line[-1].labels_)
    return lambda rows: nearest_row.predict(np.nan_to_num(rows))


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_plain(part) for part in value)
    return value is None or isinstance(value, (str, int, float, bool))
