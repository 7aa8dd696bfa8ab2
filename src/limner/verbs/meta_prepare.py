"""What a meta-training's configuration is about, loaded: its family, its learner, what it begins from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import LimnerError
from limner.verbs.meta_configuration import Configuration

if TYPE_CHECKING:
    from limner.learners import Learner
    from limner.memory import Memory
    from limner.tasks import DegradationFamily, Family, SinusoidFamily
    from limner.types import Params


class Prepared(NamedTuple):
    """A configuration with nothing left open, and what it is about, loaded."""

    asked: Configuration
    family: Family | SinusoidFamily | DegradationFamily
    learner: Learner
    begun: Params | None
    parent: str | None
    notes: tuple[str, ...] = ()

    def counted(self) -> list[str]:
        """How many classes each split has, in words; nothing where tasks are no classes."""
        from limner.tasks import Family

        if not isinstance(self.family, Family):
            return []
        counts = {split: len(classes) for split, classes in self.family.classes.items()}
        return [
            f"{counts['train']} classes to learn from, {counts['validation']} to validate on, "
            f"{counts['test']} never seen"
        ]


def prepare(asked: Configuration, remembered: Memory | None) -> Prepared:
    """Load the family and the start, and make the learner for its images.

    Raises :class:`LimnerError` where they do not go together.
    """
    from limner.learners import create, for_classes, rebuild
    from limner.meta.checks import check
    from limner.tasks import Family, family_of
    from limner.verbs.line import find_start
    from limner.verbs.restoration import fitted

    family = family_of(
        asked.family,
        asked.goal,
        shots=asked.shots,
        queries=asked.queries,
        ways=asked.ways or 0,
        seed=asked.seed,
        turns=asked.turns,
        degradation=asked.degradation,
        alone=asked.alone,
    )
    shape = family.images.shape if isinstance(family, Family) else family.image_shape
    model = None if remembered is None else find_start(asked.start, remembered, shape)
    if model is None:
        learner = create(asked.learner, shape, **asked.options)
        check(learner, asked.plan, 1)
        return Prepared(asked.replaced(options=learner.options), family, learner, None, None)
    learner = rebuild(fitted(model.learner_description, shape))
    if learner.kind != asked.learner:
        raise LimnerError(
            f"the start {asked.start} is a {learner.kind}, not a {asked.learner}; give another, or name that learner"
        )
    if asked.ways is not None:
        described = for_classes(model.learner_description, asked.ways)
        if described is None:
            raise LimnerError(
                f"the start {asked.start} tells {learner.options['classes']} classes apart, not {asked.ways}; "
                f"give --ways {learner.options['classes']}, or another start"
            )
        learner = rebuild(described)
    for name, value in asked.options.items():
        if learner.options.get(name) != value:
            raise LimnerError(
                f"the start {asked.start} fixes the learner's options ({learner.options}), so {name} cannot be "
                f"{value!r}; leave --option out, or begin with --start scratch"
            )
    check(learner, asked.plan, 1)
    shipped = asked.start.startswith("shipped:")
    settled = asked.replaced(options=learner.options, start=asked.start if shipped else model.sha256)
    begun, notes = _with_rates(model.params, model.rates, model.metadata.get("plan"), asked)
    return Prepared(settled, family, learner, begun, None if shipped else model.sha256, notes)


def _with_rates(
    params: Params, rates: Params | None, plan: dict[str, Any] | None, asked: Configuration
) -> tuple[Params, tuple[str, ...]]:
    """A start's parameters, with its learned step sizes where they are learned on in the same way."""
    from limner.model_file import RATES

    if not rates:
        return params, ()
    alike = ("algorithm", "inner_steps")
    if plan is not None and all(plan.get(name) == getattr(asked.plan, name) for name in alike):
        return params | {RATES + name: value for name, value in rates.items()}, ()
    return params, (f"the step sizes that the start {asked.start[:12]} learned are left out: its plan was another",)
