"""The spaces of scikit-learn's common estimators; any other keeps its own defaults.

Ranges follow what auto-sklearn (Feurer et al. 2015) and the libraries' own manuals search; defaults are scikit-learn's.
"""

from __future__ import annotations

from typing import Any

from limner.spaces.knobs import Knob, Space


def _whole(name: str, default: int, low: int, high: int, **more: Any) -> Knob:
    return Knob(name, "int", default, low, high, log=True, **more)


def _number(name: str, default: float, low: float, high: float, **more: Any) -> Knob:
    return Knob(name, "float", default, low, high, log=True, **more)


def _choice(name: str, default: Any, *words: Any, **more: Any) -> Knob:
    return Knob(name, "choice", default, words=words, **more)


_DEPTH = _choice("max_depth", None, 2, 3, 4, 6, 8, 12, 16, 24, None)
_LEAF = _whole("min_samples_leaf", 1, 1, 50)
_SPLIT = _whole("min_samples_split", 2, 2, 50)
_SHARE = _choice("max_features", None, "sqrt", "log2", 0.25, 0.5, 0.75, None)
_PRUNING = Knob("ccp_alpha", "float", 0.0, 0.0, 0.05)
_CLASSES = _choice("class_weight", None, None, "balanced")
_PURITY = _choice("criterion", "gini", "gini", "entropy", "log_loss")
_ERROR = _choice("criterion", "squared_error", "squared_error", "friedman_mse", "absolute_error")
_TREES = _whole("n_estimators", 100, 10, 300)
_ROOT = _choice("max_features", "sqrt", "sqrt", "log2", 0.25, 0.5, 0.75, None)
_ALL = _choice("max_features", 1.0, "sqrt", "log2", 0.25, 0.5, 0.75, 1.0)
_BOOSTED = (
    _number("learning_rate", 0.1, 0.01, 1.0), _whole("max_iter", 100, 20, 300), _whole("max_leaf_nodes", 31, 4, 128),
    _whole("min_samples_leaf", 20, 2, 100), Knob("l2_regularization", "float", 0.0, 0.0, 10.0),
)  # fmt: skip
_GRADIENT = (
    _number("learning_rate", 0.1, 0.01, 1.0), _TREES, _whole("max_depth", 3, 1, 10), _LEAF,
    Knob("subsample", "float", 1.0, 0.4, 1.0), _SHARE,
)  # fmt: skip
_NEAREST = (
    _whole("n_neighbors", 5, 1, 50), _choice("weights", "uniform", "uniform", "distance"),
    Knob("p", "int", 2, 1, 2),
)  # fmt: skip
_MARGIN = (
    _number("C", 1.0, 1e-3, 1e3),
    _choice("kernel", "rbf", "linear", "poly", "rbf", "sigmoid"),
    _choice("gamma", "scale", "scale", "auto", 1e-4, 1e-3, 1e-2, 0.1, 1.0, when=("kernel", ("poly", "rbf", "sigmoid"))),
    Knob("degree", "int", 3, 2, 5, when=("kernel", ("poly",))),
)
_PERCEPTRON = (
    _choice("hidden_layer_sizes", (100,), (16,), (32,), (64,), (100,), (256,), (64, 64), (100, 100)),
    _choice("activation", "relu", "relu", "tanh", "logistic"), _number("alpha", 1e-4, 1e-6, 1.0),
    _number("learning_rate_init", 1e-3, 1e-4, 0.1), _whole("max_iter", 200, 50, 1000),
)  # fmt: skip

CURATED: dict[str, tuple[Knob, ...]] = {
    "sklearn.tree.DecisionTreeClassifier": (_PURITY, _DEPTH, _LEAF, _SPLIT, _SHARE, _PRUNING, _CLASSES),
    "sklearn.tree.DecisionTreeRegressor": (_ERROR, _DEPTH, _LEAF, _SPLIT, _SHARE, _PRUNING),
    "sklearn.ensemble.RandomForestClassifier": (_TREES, _PURITY, _DEPTH, _LEAF, _SPLIT, _ROOT, _CLASSES),
    "sklearn.ensemble.RandomForestRegressor": (_TREES, _DEPTH, _LEAF, _SPLIT, _ALL),
    "sklearn.ensemble.ExtraTreesClassifier": (_TREES, _PURITY, _DEPTH, _LEAF, _SPLIT, _ROOT, _CLASSES),
    "sklearn.ensemble.ExtraTreesRegressor": (_TREES, _DEPTH, _LEAF, _SPLIT, _ALL),
    "sklearn.ensemble.HistGradientBoostingClassifier": _BOOSTED,
    "sklearn.ensemble.HistGradientBoostingRegressor": _BOOSTED,
    "sklearn.ensemble.GradientBoostingClassifier": _GRADIENT,
    "sklearn.ensemble.GradientBoostingRegressor": _GRADIENT,
    "sklearn.neighbors.KNeighborsClassifier": _NEAREST,
    "sklearn.neighbors.KNeighborsRegressor": _NEAREST,
    "sklearn.svm.SVC": (*_MARGIN, _CLASSES),
    "sklearn.svm.SVR": (*_MARGIN, _number("epsilon", 0.1, 1e-3, 1.0)),
    "sklearn.linear_model.LogisticRegression": (_number("C", 1.0, 1e-4, 1e4), _CLASSES,
                                                _whole("max_iter", 100, 50, 1000)),
    "sklearn.linear_model.RidgeClassifier": (_number("alpha", 1.0, 1e-4, 1e4), _CLASSES),
    "sklearn.linear_model.Ridge": (_number("alpha", 1.0, 1e-4, 1e4),),
    "sklearn.linear_model.Lasso": (_number("alpha", 1.0, 1e-4, 1e2),),
    "sklearn.neural_network.MLPClassifier": _PERCEPTRON,
    "sklearn.neural_network.MLPRegressor": _PERCEPTRON,
    "sklearn.cluster.KMeans": (_whole("n_clusters", 8, 2, 64), _choice("init", "k-means++", "k-means++", "random"),
                               Knob("n_init", "choice", "auto", words=("auto", 3, 10))),
    "sklearn.mixture.GaussianMixture": (_whole("n_components", 1, 1, 64),
                                        _choice("covariance_type", "full", "full", "tied", "diag", "spherical"),
                                        _number("reg_covar", 1e-6, 1e-6, 0.1)),
}  # fmt: skip
"""By the class's dotted name, what of it is searched."""

SCALING = _choice("scaling", "none", "none", "standard")
"""Whether each column is first brought to mean 0 and deviation 1, as known from what is learned from."""

FEATURES = ("pixels", "glyph-net", "efficientnet-lite0")
"""Frozen features of images, by their extractor's name."""


def estimator_space(name: str, images: tuple[int, int, int] | None = None) -> Space:
    """What can be chosen about a scikit-learn estimator by its dotted name; of one that is not curated only how its
    inputs are prepared.

    images  the shape of the images whose features it is to see; ``None`` for tables

    >>> [knob.name for knob in estimator_space("sklearn.linear_model.Ridge").knobs]
    ['alpha', 'scaling']
    """
    knobs = [*CURATED.get(name, ()), SCALING]
    if images is not None:
        knobs.append(_choice("features", "pixels", "pixels", FEATURES[1 if images[0] == 1 else 2]))
    return Space(f"the estimator {name}", tuple(knobs))
