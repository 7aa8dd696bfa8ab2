"""What a translator makes of inputs held back, and how near that is to what it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from limner.types import Params, Scores

if TYPE_CHECKING:
    from limner.learners import Learner
    from limner.tasks import ImageSet, Task, TwoSided


def defaults(images: ImageSet, learner: str | None) -> tuple[str, dict[str, Any]]:
    """The learner for these two sides, unless one was asked for, and the options of it that follow from them."""
    from limner.tasks import Domains, Pairs, TwoSided

    assert isinstance(images, TwoSided)
    if learner == "pix2pix" and isinstance(images, Domains):
        Pairs(images.inputs, images.targets)  # tells the counts, where these are why there are no pairs
    usual = "pix2pix" if isinstance(images, Pairs) else "cycle"
    return learner or usual, {"input_channels": images.inputs.shape[0]}


def made_of(learner: Learner, params: Params, images: ImageSet) -> Tensor:
    """The translations of ``images``, uint8 ``(n, c, h, w)``."""
    from limner.engine.pictures import translated_bytes

    return translated_bytes(learner, params, images.floats())


def scored(
    learner: Learner, params: Params, query: TwoSided, support: ImageSet | None, seed: int, bootstraps: int = 200
) -> Scores:
    """Translations of the query's inputs against its targets: as a set, and of pairs also one by one."""
    from limner.metrics import evaluate, fidelity
    from limner.tasks import Pairs

    made = made_of(learner, params, query.inputs)
    found = evaluate(made, query.targets, support, seed=seed, bootstraps=bootstraps)
    if not isinstance(query, Pairs):
        return found
    return replace(found, values=fidelity.scores(made, query.targets.images, seed) | found.values)


def translations(learner: Learner, params: Params, task: Task) -> tuple[TwoSided, Tensor]:
    """The two-sided images to show: those held back, or else those learned from, and what is made of the inputs."""
    from limner.tasks import TwoSided

    shown = task.query or task.support
    assert isinstance(shown, TwoSided)
    return shown, made_of(learner, params, shown.inputs)
