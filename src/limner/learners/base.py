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


@runtime_checkable
class ClosedForm(Protocol):
    """A learner that adapts by what ``finish`` fits to a support set, differentiably, in place of gradient steps.

    closed_form  the algorithm that learns a start for that (:data:`limner.meta.plan.ALGORITHMS`); empty where its
                 options leave nothing to fit
    """

    closed_form: str


@runtime_checkable
class Decoding(Protocol):
    """A learner that makes images from latents of ``options["latents"]`` numbers."""

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents ``(n, latents)`` to images ``(n, c, h, w)`` in [0, 1]; can be differentiated. Of the classes
        ``labels (n,)``, or of all in turn, where there are some."""


@runtime_checkable
class Coded(Protocol):
    """A learner whose images come from maps of discrete codes, drawn by a network of its own."""

    code_shape: tuple[int, int]

    def draw_latents(self, params: Params, count: int, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """``count`` latents ``(count, numbers)`` as for its samples, of the classes ``labels``, or of all in turn."""

    def decode_codes(self, params: Params, codes: Tensor) -> Tensor:
        """Which code stands at each place, int64 ``(n, *code_shape)``, to images ``(n, c, h, w)`` in [0, 1]."""


@runtime_checkable
class Constrained(Protocol):
    """A learner some of whose parameters are held to a set, such as the clipped weights of a Wasserstein critic."""

    def constrain(self, params: Params) -> Params:
        """``params`` with all that left the set brought back to it; pure and differentiable."""


@runtime_checkable
class Remembering(Protocol):
    """A learner whose losses look at what earlier steps made, such as an image pool.

    A loss is pure, so what is remembered is part of the training's state: the engine adds it to the next batch, and
    keeps it in checkpoints.
    """

    def remember(self, params: Params, batch: Batch, draws: Draws) -> Batch:
        """What the next step's batch shall hold besides its images, after a step on ``batch``; pure."""


@runtime_checkable
class StraightThrough(Protocol):
    """A learner whose loss stops gradients on purpose, such as the straight-through estimator of a discrete choice.

    What autograd gives for it is no derivative of its loss, but that of the loss with some quantities held: those are
    what the contract suite holds too when it compares with finite differences. Its gradients agree among the ways
    that tasks are gone through; a finite difference of what it learns has no meaning.
    """

    def held(self, params: Params, batch: Batch) -> Draws:
        """What no gradient passes through, at ``params``; where ``draws`` has these, ``loss`` takes them from there."""
