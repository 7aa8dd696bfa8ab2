"""A start in plain words and scores, for people who meet meta-learning for the first time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from limner.reports.words import OPTIMISERS, label
from limner.types import Score, Scores

if TYPE_CHECKING:
    from limner.meta import MetaPlan, Start, Trajectory

ALGORITHMS = {
    "reptile": "Reptile, which moves the start towards where adaptation ends",
    "fomaml": "first-order MAML, which moves the start along the gradient found at the end of adaptation",
    "maml": "MAML, which differentiates through every step of adaptation",
    "anil": "ANIL: MAML in which only the last layer adapts",
    "boil": "BOIL: MAML in which all but the last layer adapts",
    "meta-sgd": "Meta-SGD: MAML that also learns a step size for every single parameter",
    "maml++": "MAML++: MAML that also learns a step size for each layer and step, and counts the loss after every step",
    "imaml": "implicit MAML, which needs only where adaptation ends, not how it came there",
    "prototypical": "prototypical networks, which know a class by the mean of its images' embeddings",
    "ridge": "differentiating through the ridge regression that fits a last layer to each task",
}
"""What each algorithm is, as the end of "learned by"."""

CLOSED_FORMS = {
    "prototypical": ("prototypes", "the mean embedding of each class"),
    "ridge": ("ridge regression", "a last linear layer fitted by ridge regression"),
}
"""Those that adapt in closed form: by what, and what that is."""

GOALS = {
    "generate": "make new images of a class from a few of them",
    "classify": "tell a few new classes apart",
    "cluster": "sort images of a few new classes",
    "restore": "restore images of a new damage from a few pairs",
    "regress": "follow a new function from a few of its points",
}


def headline(values: list[str]) -> str | None:
    """The one value of a trajectory that tells best how a start does; ``None`` in a game, whose losses rank nothing.

    >>> headline(["net query loss", "net accuracy"]), headline(["critic query loss", "generator query loss"])
    ('net accuracy', None)
    """
    if len({name.partition(" ")[0] for name in values}) != 1:
        return None
    for ending in ("accuracy", "psnr", "squared_error", "query loss"):
        found = [name for name in values if name.endswith(ending)]
        if found:
            return found[0]
    return None


def value_label(name: str, values: Iterable[str]) -> str:
    """A value of a trajectory as a reader sees it; its player is told only where there are several.

    >>> value_label("net query loss", ["net query loss"]), value_label("critic gap", ["critic gap", "generator loss"])
    ('Query loss', 'Critic gap')
    """
    alone = len({other.partition(" ")[0] for other in values}) == 1
    return label(name.partition(" ")[2] if alone else name)


def chosen(values: Mapping[str, list[list[float]]]) -> list[str]:
    """The headline and each player's query loss, or one of them where they are the same numbers."""
    first = headline(list(values))
    names = [*([first] if first else []), *(name for name in values if name.endswith("query loss"))]
    return [name for place, name in enumerate(names) if all(values[name] != values[other] for other in names[:place])]


def scores_of(made: Start, seen: Trajectory, shots: int, queries: int) -> Scores | None:
    """The headline after as many inner steps as the start was learned for, with its interval over unseen tasks."""
    name = headline(list(seen.values))
    if name is None:
        return None
    steps = seen.mean(name)
    mean, reach = steps[min(steps_learned(made.plan), len(steps) - 1)]
    score = Score(mean, mean - reach, mean + reach)
    tasks = len(seen.values[name])
    metric = name.partition(" ")[2].replace(" ", "_")
    return Scores({metric: score}, f"adaptation to {tasks} {seen.split} tasks", tasks, queries, shots, 0)


def steps_learned(plan: MetaPlan) -> int:
    """How many steps of adaptation the start was learned for; a closed form is one."""
    return 1 if plan.traits.outer == "closed form" else plan.inner_steps


def tasks_in_words(goal: str, ways: int | None, shots: int, queries: int) -> str:
    """What a task is.

    >>> tasks_in_words("classify", 5, 1, 15)
    '5 classes, 1 image of each to learn from and 15 to be judged on'
    """
    what = {"regress": "point", "restore": "pair"}.get(goal, "image")
    first = {"regress": "a sine wave", "generate": "one class", "restore": "one degradation"}.get(
        goal, f"{ways} classes"
    )
    each = " of each" if ways is not None else ""
    return f"{first}, {shots} {what}{'' if shots == 1 else 's'}{each} to learn from and {queries} to be judged on"


def adaptation_in_words(plan: MetaPlan) -> str:
    """The inner loop in one sentence.

    >>> from limner.meta import MetaPlan
    >>> adaptation_in_words(MetaPlan("maml", inner_optimiser="sgd", inner_rate=0.4, inner_steps=1))
    '1 step of gradient descent at rate 0.4'
    """
    if plan.traits.outer == "closed form":
        return f"{CLOSED_FORMS[plan.algorithm][1]}; no steps"
    steps = f"{plan.inner_steps} step{'' if plan.inner_steps == 1 else 's'}"
    batch = f", each on {plan.inner_batch} images" if plan.inner_batch else ""
    factors = {"parameter": ", times a factor learned for each parameter"}
    factors["layer and step"] = ", times a factor learned for each layer and step"
    part = {"head": ", of the last layer alone", "body": ", of all but the last layer"}.get(plan.traits.adapts, "")
    return (
        f"{steps} of {OPTIMISERS[plan.inner_optimiser]} at rate {plan.inner_rate:g}{batch}{part}"
        f"{factors.get(plan.traits.rates, '')}"
    )


def outer_in_words(plan: MetaPlan) -> str:
    """The outer loop in one sentence."""
    second = "with second derivatives" if plan.traits.second_order else "without second derivatives"
    tasks = f"{plan.tasks} task{'' if plan.tasks == 1 else 's'} a step, gone through by {plan.execution}"
    return f"{tasks}; {OPTIMISERS[plan.optimiser]} at rate {plan.rate:g}, {second}"
