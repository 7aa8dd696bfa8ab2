"""What speaks for a strategy: runs on similar tasks that were about as long, what they reached, and what they beat."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from limner.config import Strategy
from limner.memory.schema import content_id

LIKE_LENGTH = 2.0
"""A run tells what to expect of one that is at most so many times as long, or as short."""

PRIOR = 0.5
"""How much the order of the portfolio weighs, against 1 for the experience of one identical task."""

BUDGET_FIELDS = ("steps", "seconds", "evaluate_every")
"""What does not make two strategies different ones: how long, and how often judged."""


@dataclass(frozen=True)
class Trial:
    """A run in the past: what was tried on which task, how many steps it took, and its score."""

    run: str
    task: str
    task_name: str
    similarity: float
    learner: dict[str, Any]
    strategy: Strategy
    configuration: str
    steps: int
    score: float
    extractor: str


@dataclass
class Candidate:
    """Something to propose, with what speaks for it.

    name     what the portfolio calls it
    planned  the steps that it would take here; ``None`` where that cannot be known
    length   what is to be said of how many steps a budget in time is
    trials   runs in the past with this learner and strategy, the most similar task first
    """

    learner: dict[str, Any]
    strategy: Strategy
    prior: float
    source: str
    reason: str
    name: str = ""
    evidence: tuple[str, ...] = ()
    trials: list[Trial] = field(default_factory=list)
    planned: int | None = None
    length: str = ""
    value: float = 0.0

    @cached_property
    def configuration(self) -> str:
        """What it is, whatever its budget (see :func:`configuration`)."""
        return configuration(self.learner, self.strategy)

    @property
    def like(self) -> list[Trial]:
        """The trials that were about as long as this would be: what they reached can be expected."""
        if (planned := self.planned) is None:
            return []
        return [t for t in self.trials if max(t.steps, planned) <= LIKE_LENGTH * min(t.steps, planned)]

    @property
    def expected(self) -> float | None:
        """The mean score of the like trials on the nearest one's features, weighted by similarity."""
        near = [trial for trial in self.like if trial.extractor == self.like[0].extractor]
        weight = math.fsum(trial.similarity for trial in near)
        return math.fsum(trial.similarity * trial.score for trial in near) / weight if near else None


@dataclass(frozen=True)
class Worth:
    """What a configuration did on a task: its mean score, and of how many others tried there it beat how many."""

    score: float
    beaten: float
    others: int

    @property
    def share(self) -> float:
        """The share of the others that it beat, ties half; one half where there are none."""
        return self.beaten / self.others if self.others else 0.5


Worths = dict[tuple[str, str], Worth]
"""By configuration and task."""


def configuration(learner: dict[str, Any], strategy: Strategy) -> str:
    """An id of a learner with a strategy, whatever its budget.

    >>> vae = {"kind": "vae", "image_shape": [1, 28, 28], "options": {}}
    >>> configuration(vae, Strategy(steps=10)) == configuration(vae, Strategy(steps=20))
    True
    """
    kept = {name: value for name, value in strategy.to_json().items() if name not in BUDGET_FIELDS}
    return content_id([learner, kept])


def worths(trials: list[Trial], higher_is_better: bool) -> Worths:
    """What each configuration did on each task. Only scores on the same features are compared."""
    scores: dict[tuple[str, str], dict[str, list[float]]] = {}
    for trial in trials:
        scores.setdefault((trial.task, trial.extractor), {}).setdefault(trial.configuration, []).append(trial.score)
    found: Worths = {}
    for (task, _), tried in scores.items():
        means = {name: math.fsum(values) / len(values) for name, values in tried.items()}
        for name, mine in means.items():
            others = [mean for other, mean in means.items() if other != name]
            beaten = sum(0.5 if mean == mine else float((mine > mean) == higher_is_better) for mean in others)
            if (name, task) not in found or len(others) > found[name, task].others:
                found[name, task] = Worth(mine, beaten, len(others))
    return found


def as_tried(item: Candidate, better: str) -> list[Candidate]:
    """The candidate at the length of its best run on each task, none of which is about what it is planned for.

    better  ``lower`` or ``higher``
    """
    sign = 1.0 if better == "lower" else -1.0
    lengths: dict[tuple[str, str], int] = {}
    for trial in sorted(item.trials, key=lambda trial: sign * trial.score):
        lengths.setdefault((trial.task, trial.extractor), trial.steps)
    return [
        replace(item, strategy=item.strategy.within(steps, None), prior=0.4, source="neighbour", reason="", name="",
                planned=steps)
        for steps in dict.fromkeys(lengths.values())
    ]  # fmt: skip


def judge(item: Candidate, known: Worths, metric: str, better: str) -> None:
    """Give the candidate its value and, where experience tells of it, the reason and its evidence.

    metric  the score's name in words; ``better``: ``lower`` or ``higher``
    """
    name = item.configuration
    tasks = {trial.task: trial for trial in reversed(item.like)}
    weight = math.fsum(trial.similarity for trial in tasks.values())
    gain = math.fsum(trial.similarity * known[name, task].share for task, trial in tasks.items())
    item.value = (gain + PRIOR * item.prior) / (weight + PRIOR)
    told = item.like or item.trials[:1]
    item.evidence = tuple(dict.fromkeys((*item.evidence, *(part for t in told for part in (t.task, t.run)))))
    if not item.like:
        if item.trials:
            item.reason = "; ".join(filter(None, (item.reason, _of_another_length(item, metric))))
        return
    worth = known[name, item.like[0].task]
    words = _reached(item.like[0], worth, metric, better)
    if len(tasks) > 1:
        words += f"; it was tried on {_sets(len(tasks) - 1)} like these as well"
    if item.source == "neighbour" or worth.share > 0.5:
        if item.source != "default":
            item.source = "neighbour"
        item.reason = words
    else:
        item.reason = f"{item.reason}; {words}"


def _a(metric: str) -> str:
    return f"{'an' if metric[0] in 'aeiou' else 'a'} {metric}"


def _reached(nearest: Trial, worth: Worth, metric: str, better: str) -> str:
    told = f"on {nearest.task_name}, {_alike(nearest)} these images, it reached {_a(metric)} of {worth.score:.3g}"
    told += f" ({better} is better)"
    if not worth.others:
        return f"{told}, but nothing else was tried there at its length to compare it with"
    rivals = "the one other way" if worth.others == 1 else f"the {worth.others} other ways"
    if worth.beaten == worth.others:
        return f"{told}, better than {rivals} tried there"
    if worth.beaten == 0:
        return f"{told}, worse than {rivals} tried there"
    if worth.others == 1:
        return f"{told}, the same as {rivals} tried there"
    return f"{told}, better than {math.floor(worth.beaten)} of {rivals} tried there"


def _of_another_length(item: Candidate, metric: str) -> str:
    nearest = item.trials[0]
    length = f"{nearest.steps:,} step{'s' if nearest.steps != 1 else ''}"
    planned = "a time limit" if item.planned is None else f"{item.planned:,}"
    return (
        f"on {nearest.task_name}, {_alike(nearest)} these images, it reached {_a(metric)} of {nearest.score:.3g} in "
        f"{length}, which does not tell what to expect of {planned} here"
    )


def _alike(trial: Trial) -> str:
    return "much like" if trial.similarity >= 0.7 else "somewhat like" if trial.similarity >= 0.3 else "a little like"


def _sets(count: int) -> str:
    return "one other set of images" if count == 1 else f"{count} other sets of images"
