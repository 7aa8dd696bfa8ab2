"""What a training shows of itself as it goes: a grid of samples, or of inputs above what is made of them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from limner.engine.run import as_bytes, grid_png, sample_bytes
from limner.learners import Learner, batch_of
from limner.seeds import generator
from limner.tasks import Pairs, Task, TwoSided
from limner.types import Batch, Params, Request

_SAMPLES, _EXAMPLES = 16, 8


def pictured(learner: Learner, params: Params, task: Task, few: Batch, seed: int) -> bytes | None:
    """A PNG of what the learner makes with ``params``, or ``None`` where it makes no images.

    Of a translator: inputs held back (or learned from, where none are), what it makes of them, and where they have one,
    what they should have become. ``few`` are images learned from, for what is fitted before.
    """
    samples, shown = "sample" in learner.answers, task.query or task.support
    if not samples and not ({"translate", "restore"} & set(learner.answers) and isinstance(shown, TwoSided)):
        return None
    finished = learner.finish(params, few, generator(seed, "finish"))
    if samples:
        return grid_png(sample_bytes(learner, finished, _SAMPLES, seed))
    assert isinstance(shown, TwoSided)
    some: TwoSided = shown.select(torch.arange(min(_EXAMPLES, len(shown))))
    made = translated_bytes(learner, finished, batch_of(some)["inputs"])
    rows = [some.inputs.images, made] + ([some.targets.images] if isinstance(shown, Pairs) else [])
    return grid_png(in_rows(rows), columns=len(some))


def translated_bytes(learner: Learner, params: Params, images: Tensor, back: bool = False) -> Tensor:
    """What is made of ``images`` (floats ``(n, c, h, w)``), uint8: targets, or with ``back`` inputs of targets."""
    forth: Literal["translate", "restore"] = "translate" if "translate" in learner.answers else "restore"
    request = Request("translate back" if back else forth, images=images)
    return as_bytes(learner.predict(params, request, generator(0, "translate")))


def in_rows(rows: list[Tensor]) -> Tensor:
    """Image sets of one length one after another, all in colour where one of them is.

    >>> in_rows([torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8)]).shape
    torch.Size([4, 3, 8, 8])
    """
    channels = max(images.shape[1] for images in rows)
    return torch.cat([images.expand(-1, channels, -1, -1) for images in rows])
