"""The goal to restore: what a restorer makes of damaged images held back, and how near that is to the clean ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from limner.errors import LimnerError
from limner.types import Params, Scores

if TYPE_CHECKING:
    from limner.learners import Learner
    from limner.tasks import Task, TwoSided

JUDGED = 100
"""Patches that a restorer is judged on, at most."""


def given(goal: str, spec: str, degradation: str | None) -> str:
    """The data spec of images to restore, damaged by ``degradation`` or pairs; for another goal ``spec`` itself.

    Raises :class:`LimnerError` where the two do not go together, or with the goal.
    """
    if goal == "restore":
        from limner.tasks.restoration import under

        return under(spec, degradation)
    if degradation is not None:
        raise LimnerError(f"to {goal} takes images as they are, so leave the degradation {degradation} out")
    return spec


def fitted(description: dict[str, Any], shape: tuple[int, int, int]) -> dict[str, Any]:
    """The description of a start's learner for images of ``shape``: a restorer takes them of any size."""
    return {**description, "image_shape": list(shape)} if description["kind"] == "restorer" else description


def scored(learner: Learner, params: Params, query: TwoSided, learned: int, seed: int) -> Scores:
    """What is made of the query's damaged images against its clean ones: error, PSNR and SSIM.

    A note tells the scores of the damaged images themselves, which a restorer has to pass.
    """
    from limner.engine.pictures import translated_bytes
    from limner.metrics import fidelity

    truth = query.targets.images
    damaged = fidelity.scores(query.inputs.images, truth, seed)
    told = f"PSNR {damaged['psnr'].value:.2f} dB, SSIM {damaged['ssim'].value:.3f}"
    return Scores(
        values=fidelity.scores(translated_bytes(learner, params, query.inputs.floats()), truth, seed),
        extractor="pixels",
        samples=len(truth),
        query=len(truth),
        support=learned,
        seed=seed,
        notes=(f"the damaged images themselves, clipped to what a file holds, have {told}",),
    )


def restored(learner: Learner, params: Params, task: Task) -> tuple[TwoSided, Tensor]:
    """The pairs to show, held back or else learned from, and what is made of the damaged ones."""
    import torch

    from limner.engine.pictures import translated_bytes
    from limner.tasks import TwoSided

    shown = task.query or task.support
    assert isinstance(shown, TwoSided)
    some = shown.select(torch.arange(min(len(shown), JUDGED)))
    return some, translated_bytes(learner, params, some.inputs.floats())
