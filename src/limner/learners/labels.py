"""Which classes a conditional learner learns from, is asked for, and decodes."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.types import Batch, Request


def learned_labels(batch: Batch, classes: int, learner: str) -> Tensor | None:
    """The labels ``(n,)`` of a batch; ``None`` where there is but one class, so nothing depends on it.

    Raises :class:`LimnerError` where ``learner`` has classes and the batch has no labels.

    >>> learned_labels({"images": torch.zeros(2, 1, 16, 16)}, 1, "VAE")
    """
    if classes < 2:
        return None
    if "labels" not in batch:
        raise LimnerError(f"a {learner} with {classes} classes learns from labels; give images with classes")
    return batch["labels"]


def in_turn(count: int, classes: int, device: torch.device | None = None) -> Tensor | None:
    """All classes in turn, ``(count,)``; ``None`` where there is but one.

    >>> in_turn(4, 3).tolist()
    [0, 1, 2, 0]
    """
    return None if classes < 2 else torch.arange(count, device=device) % classes


def decoded_labels(latents: Tensor, labels: Tensor | None, classes: int, learner: str) -> Tensor | None:
    """The label of each of ``latents (n, latents)``, ``(n,)``: those given, or all classes in turn.

    Only shapes are looked at, no values, so that a decoder can be vectorised and exported; whoever takes labels from a
    user looks at their values (:func:`asked_labels`). Raises :class:`LimnerError` for labels where ``learner`` has no
    classes, or not one for each latent.

    >>> decoded_labels(torch.zeros(3, 8), None, 2, "VAE").tolist()
    [0, 1, 0]
    """
    if labels is None:
        return in_turn(latents.shape[0], classes, latents.device)
    _refuse_unasked(classes, learner)
    if labels.shape != latents.shape[:1]:
        raise LimnerError(f"a {learner} with classes decodes each latent by a label of its own; give (n,) labels")
    return labels


def asked_labels(request: Request, classes: int, learner: str, device: torch.device) -> Tensor | None:
    """The label of each sample asked for, ``(count,)``: those of the request, or all classes in turn.

    Raises :class:`LimnerError` for labels that the learner has no classes for, or not one for each sample.

    >>> asked_labels(Request("sample", count=4), 3, "VAE", torch.device("cpu")).tolist()
    [0, 1, 2, 0]
    """
    if request.labels is None:
        return in_turn(request.count, classes, device)
    _refuse_unasked(classes, learner)
    known = bool(((request.labels >= 0) & (request.labels < classes)).all())
    if len(request.labels) != request.count or not known:
        raise LimnerError(
            f"{request.count} images need as many labels, each from 0 to {classes - 1}, the {learner}'s classes"
        )
    return request.labels


def _refuse_unasked(classes: int, learner: str) -> None:
    if classes < 2:
        raise LimnerError(f"this {learner} was trained without classes, so it cannot be asked for one; leave them out")
