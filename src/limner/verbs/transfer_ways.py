"""The ways of transfer, as data, and what each carries over from the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import LimnerError
from limner.types import Params

if TYPE_CHECKING:
    from limner.learners import Learner

HEAD = "net.head."
"""Where a classifier keeps what belongs to its classes alone."""

FEATURES = "features:"
"""Begins the name of a way that puts a scikit-learn estimator on frozen features."""

HALVED = 1 / 2.6
"""The rate of a layer over that of the next, of discriminative fine-tuning (Howard & Ruder 2018, section 3.2)."""


@dataclass(frozen=True)
class Way:
    """One way to make use of a source.

    about     what it does, with its source in the literature
    how       ``steps`` (a classifier is trained), ``domains`` (on images of both, by the ``two-domains`` learner),
              ``estimator`` (something is fitted to frozen features) or ``none`` (nothing is learned from the target)
    carries   ``nothing``, ``body`` (what fits by name and shape, less what belongs to the source's own classes),
              ``fitting`` (what fits) or ``all``
    frozen    whether what was carried stays as it is
    decay     of the learning rate, from each layer to the one before it
    strategy  fields of the strategy; ``options`` those of the two-domains learner
    """

    name: str
    about: str
    how: str = "steps"
    carries: str = "body"
    frozen: bool = False
    decay: float = 1.0
    strategy: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


CLASSIFY: dict[str, Way] = {
    way.name: way
    for way in (
        Way("scratch", "learned from the target alone", carries="nothing"),
        Way("source-only", "the source as it is: classes by name, else by the mean features of the labelled images",
            "none", "all"),
        Way("partial", "all that fits by name and shape is carried over, the rest is new, and all goes on learning"),
        Way("full", "every parameter is carried over, the head included, and goes on learning", carries="all"),
        Way("head", "the features stay as they are; a new linear head learns", frozen=True),
        Way("logistic-regression", "the features stay as they are, under logistic regression", "estimator"),
        Way("discriminative", "early layers learn more slowly (Howard & Ruder 2018)", decay=HALVED),
        Way("anchored", "held to the source's parameters (L2-SP, Li et al. 2018)", strategy={"anchor": 0.01}),
        Way("joint", "learns from source and target together", "domains"),
        Way("joint-rising", "the same, the target's weight rising", "domains", options={"balance": "rising"}),
        Way("joint-learned", "the same, weights learned by uncertainty (Kendall et al. 2018)", "domains",
            options={"balance": "learned"}),
        Way("adversarial", "features that a discriminator cannot tell apart (DANN, Ganin et al. 2016)", "domains",
            options={"alignment": "adversarial", "weight": 0.1}),
        Way("correlation", "features with the same covariance (CORAL, Sun & Saenko 2016)", "domains",
            options={"alignment": "correlation", "weight": 1.0}),
        Way("kernel", "features with the same distribution by several kernels (MMD, Long et al. 2015)", "domains",
            options={"alignment": "kernel", "weight": 1.0}),
        Way("low-rank", "narrow matrices are added to the weights (Hu et al. 2022); the head begins by mean features",
            strategy={"update": "low-rank", "rank": 8}),
        Way("modulation", "channels are strengthened and weakened (Zhao, Cong & Carin 2020), likewise",
            strategy={"update": "modulation"}),
    )
}  # fmt: skip
"""Every way to classify, by name; those before ``partial`` are always shown, and ``partial`` is the default."""

GENERATE: dict[str, Way] = {
    way.name: way
    for way in (
        Way("scratch", "learned from the target alone", carries="nothing"),
        Way("source-only", "the source as it is", "none", "all"),
        Way("full", "every parameter is carried over and goes on learning", carries="all"),
        Way("anchored", "held to the source's parameters (L2-SP, Li et al. 2018)", carries="all",
            strategy={"anchor": 0.01}),
        Way("discriminative", "early layers learn more slowly (Howard & Ruder 2018)", carries="all", decay=HALVED),
        Way("low-rank", "narrow matrices are added to the weights (Hu et al. 2022)", carries="all",
            strategy={"update": "low-rank", "rank": 4}),
        Way("modulation", "channels are strengthened and weakened (Zhao, Cong & Carin 2020)", carries="all",
            strategy={"update": "modulation"}),
        Way("distance-preserving", "what was different stays different (Ojha et al. 2021)", carries="all",
            strategy={"preserve": 2.0}),
    )
}  # fmt: skip
"""Every way to generate, by name."""

WAYS = {"classify": CLASSIFY, "generate": GENERATE}
ALWAYS = ("scratch", "source-only")
"""What is always shown beside."""

DEFAULT = {"classify": "partial", "generate": "full"}
"""The way that is taken where nothing speaks for another."""


def way_of(name: str, goal: str) -> Way:
    """The way with that name, or ``features:CLASS`` of scikit-learn. Raises :class:`LimnerError`, naming the ways.

    >>> way_of("anchored", "classify").strategy["anchor"], way_of("features:sklearn.svm.SVC", "classify").how
    (0.01, 'estimator')
    """
    ways = WAYS[goal]
    if name in ways:
        return ways[name]
    if goal == "classify" and name.startswith(FEATURES):
        estimator_of(name)
        return Way(name, f"the features stay as they are, under {name.removeprefix(FEATURES)}", "estimator")
    more = f", {FEATURES}CLASS (of scikit-learn)" if goal == "classify" else ""
    raise LimnerError(f"there is no way {name!r} to transfer; to {goal} there are: {', '.join(ways)}{more}")


def estimator_of(name: str) -> Any:
    """The estimator class of a way. Raises :class:`LimnerError` where it is no classifier of scikit-learn."""
    from limner.estimators import estimator_class

    if name == "logistic-regression":
        name = f"{FEATURES}sklearn.linear_model.LogisticRegression"
    kind = estimator_class(name.removeprefix(FEATURES))
    if kind.goal != "classify":
        raise LimnerError(f"{kind.name} does not classify; give a classifier, such as sklearn.svm.SVC")
    return kind.make


class Carried(NamedTuple):
    """Parameters to begin with, the names of those that came from the source, and why others did not."""

    params: Params
    names: tuple[str, ...]
    left: dict[str, str]

    def told(self) -> str:
        """How much was carried over, in a few words."""
        whole = sum(value.numel() for value in self.params.values())
        if not self.names:
            return "nothing carried"
        count = sum(self.params[name].numel() for name in self.names)
        return f"{len(self.names)} of {len(self.params)} parameters carried ({100 * count / whole:.0f}% of the numbers)"


def carry(
    source: Params, learner: Learner, seed: int, carries: str, renamed: Mapping[str, str] | None = None
) -> Carried:
    """What ``learner`` begins with: of the source's parameters those that fit by name and shape, else fresh ones.

    carries  as of a :class:`Way`; with ``body`` the head of the classes is new and zero, so that it says nothing yet
    renamed  names of the learner's parameters to what they are called in the source

    Raises :class:`LimnerError` where nothing fits, or with ``all`` where something does not.

    >>> from limner.learners import create
    >>> letters = create("classifier", (1, 16, 16), classes=5, features=4, width=4)
    >>> found = carry(letters.init(0), create("classifier", (1, 16, 16), classes=3, features=4, width=4), 1, "body")
    >>> found.told(), list(found.left)
    ('10 of 12 parameters carried (99% of the numbers)', ['net.head.weight', 'net.head.bias'])
    """
    fresh = learner.init(seed)
    if carries == "nothing":
        return Carried(fresh, (), dict.fromkeys(fresh, "from scratch"))
    params, names, left = dict(fresh), [], {}
    for name, value in fresh.items():
        called = (renamed or {}).get(name, name)
        if carries == "body" and name.startswith(HEAD) and called == name:
            params[name], left[name] = value * 0, "belongs to the source's own classes; begins at zero"
        elif called not in source:
            left[name] = "the source has no such parameter"
        elif source[called].shape != value.shape:
            left[name] = f"has shape {tuple(value.shape)}, in the source {tuple(source[called].shape)}"
        else:
            params[name] = source[called].to(value)
            names.append(name)
    if not names or (carries == "all" and left):
        first = next(iter(left.items()))
        remedy = "transfer with partial" if names else "give a source of the same learner and width"
        raise LimnerError(
            f"{'not all' if names else 'nothing'} of the source can be carried over: {first[0]} {first[1]}; {remedy}"
        )
    return Carried(params, tuple(names), left)
