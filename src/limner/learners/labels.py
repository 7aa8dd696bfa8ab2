"""Which classes a conditional learner learns from and is asked for."""

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


def asked_labels(request: Request, classes: int, learner: str, device: torch.device) -> Tensor | None:
    """The label of each sample asked for, ``(count,)``: those of the request, or all classes in turn.

    Raises :class:`LimnerError` for labels that the learner has no classes for, or not one for each sample.

    >>> asked_labels(Request("sample", count=4), 3, "VAE", torch.device("cpu")).tolist()
    [0, 1, 2, 0]
    """
    if request.labels is None:
        return None if classes < 2 else torch.arange(request.count, device=device) % classes
    if classes < 2:
        raise LimnerError(f"this {learner} was trained without classes, so it cannot be asked for one; leave them out")
    known = bool(((request.labels >= 0) & (request.labels < classes)).all())
    if len(request.labels) != request.count or not known:
        raise LimnerError(
            f"{request.count} samples need as many labels, each from 0 to {classes - 1}, the {learner}'s classes"
        )
    return request.labels
