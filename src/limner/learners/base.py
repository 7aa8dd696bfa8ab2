"""The one core abstraction: a learner is a few pure functions over named parameters."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from limner.types import Batch, Draws, Loss, Params, Request


@runtime_checkable
class Learner(Protocol):
    """What every gradient learner offers. All methods are pure: they change nothing, and the same arguments give
    the same result. ``limner.testing`` holds the contract suite that every learner passes.

    kind         its name in the catalogue (``vae``, ``gan``, ``classifier``)
    players      the parties of its game, in the order in which they move; a player owns the keys ``player.*``
    answers      what ``predict`` can be asked for: ``sample``, ``reconstruct``, ``features``, ``logits``, ``values``
    image_shape  (channels, height, width) it works on
    options      the keyword arguments that rebuild it: plain JSON
    """

    kind: str
    players: tuple[str, ...]
    answers: tuple[str, ...]
    image_shape: tuple[int, int, int]
    options: dict[str, Any]

    def init(self, seed: int) -> Params:
        """Fresh parameters."""

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """ALL randomness of one training step on ``batch``, as tensors."""

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """What ``player`` minimises: a scalar (mean over the batch) and its named terms. No side effect."""

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Answer ``request``: images in [0, 1], logits or features."""

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """``params`` with what is fitted in closed form after training, under ``fitted.*`` (may be nothing)."""
