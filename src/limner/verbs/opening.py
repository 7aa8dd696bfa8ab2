"""The first steps from a start that learned step sizes: those that it was meta-learned for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from limner.config import Strategy
from limner.errors import LimnerError
from limner.seeds import generator

if TYPE_CHECKING:
    from limner.engine.session import Opening
    from limner.learners import Learner
    from limner.model_file import StoredModel
    from limner.tasks import ImageSet
    from limner.types import Params

AT_ONCE = 256
"""Images in one of these steps at most, where the start took all there were: it learned from a handful."""


def opening(start: StoredModel, learner: Learner, strategy: Strategy, seed: int) -> tuple[Opening | None, str]:
    """The start's own inner loop in place of the strategy's first steps, as many as it was meta-learned with, and a
    note that says so; ``None``, with the reason, where its step sizes cannot be used.

    An adaptation of just these steps gives what :func:`limner.meta.adapt` does. Taking it raises :class:`LimnerError`
    where it leads to numbers that are not finite.
    """
    from limner.engine.session import Opening
    from limner.meta import MetaPlan
    from limner.meta.episodes import adapted
    from limner.model_file import RATES

    if not start.rates:
        return None, ""
    held = "its file does not tell for which steps" if start.metadata.get("plan") is None else ""
    if strategy.frozen or strategy.update != "full":
        held = "they are for all layers, of which the strategy moves only some"
    if held:
        return None, f"the step sizes that the start learned were left out: {held}"
    plan = MetaPlan.from_json(start.metadata["plan"])
    steps = min(plan.inner_steps, strategy.steps)
    plan = replace(plan, inner_steps=steps, inner_batch=plan.inner_batch or AT_ONCE)
    rates = {RATES + name: value for name, value in start.rates.items()}

    def take(params: Params, support: ImageSet) -> Params:
        found = adapted(learner, plan, {**params, **rates}, support, generator(seed, "opening"))
        if not all(bool(value.isfinite().all()) for value in found.values()):
            raise LimnerError(
                f"the step sizes that the start {start.sha256[:12]} learned lead to numbers that are not finite on "
                "these images; limner train --start begins from its parameters alone"
            )
        return found

    further = "ordinary training went on from there" if strategy.steps > steps else "no others were asked for"
    told = f"the first {steps} steps were" if steps != 1 else "the first step was"
    return Opening(steps, take), f"{told} as the start was meta-learned for, with the step sizes it learned; {further}"
