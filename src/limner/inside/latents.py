"""The latents of a run: whether it has them, drawn as for its samples, and made into images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners import Learner
from limner.learners.base import Coded
from limner.learners.labels import in_turn as labels_in_turn
from limner.learners.latents import sampler_of
from limner.seeds import generator
from limner.types import Params

if TYPE_CHECKING:
    from limner.engine import Run

TOGETHER = 256
"""Latents that are made into images at once, so that memory stays bounded."""


@runtime_checkable
class Latent(Learner, Protocol):
    """A learner whose images come from latents: ``options["latents"]`` says of how many numbers. Where these lie in a
    map, such as noise of the images' shape or a code at each place, an attribute ``latent_shape`` tells its shape."""

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents ``(n, latents)``, maps of them flat, to images ``(n, c, h, w)`` in [0, 1]; can be differentiated."""


@runtime_checkable
class Encoding(Latent, Protocol):
    """One that also tells where images lie among its latents."""

    def encode(self, params: Params, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] to the mean and log variance of their latents, ``(n, latents)`` each."""


def latent_shape(learner: Learner) -> tuple[int, ...]:
    """The shape of a latent, ``(latents,)`` or that of a map; empty where the learner makes no images from any.

    >>> from limner.learners import create
    >>> [latent_shape(create(kind, (1, 16, 16), width=4)) for kind in ("vae", "flow", "classifier")]
    [(16,), (1, 16, 16), ()]
    """
    if not isinstance(learner, Latent):
        return ()
    length = learner.options.get("latents")
    return (length,) if isinstance(length, int) else tuple(getattr(learner, "latent_shape", ()))


def has_latents(learner: Learner) -> bool:
    """Whether the learner makes images from latents that can be moved through.

    >>> from limner.learners import create
    >>> has_latents(create("vae", (1, 16, 16), width=4)), has_latents(create("classifier", (1, 16, 16), width=4))
    (True, False)
    """
    return bool(latent_shape(learner))


def has_dimensions(learner: Learner) -> bool:
    """Whether its latents are lists of numbers, each of which may mean something, and not maps.

    >>> from limner.learners import create
    >>> has_dimensions(create("vae", (1, 16, 16), width=4)), has_dimensions(create("flow", (1, 16, 16), width=4))
    (True, False)
    """
    return len(latent_shape(learner)) == 1


def refuse_maps(run: Run) -> None:
    """Raises :class:`LimnerError` where the run's latents are maps, none of whose numbers means anything alone."""
    latent_learner(run)
    if not has_dimensions(run.learner):
        raise LimnerError(
            f"the latents of a {run.learner.kind} are maps of the shape {latent_shape(run.learner)}, so a single "
            "number of them changes next to nothing; look at ways between images and at real images found again"
        )


def latent_learner(run: Run) -> Latent:
    """The run's learner. Raises :class:`LimnerError` where it has no latents."""
    learner = run.learner
    if not isinstance(learner, Latent) or not has_latents(learner):
        raise LimnerError(
            f"{run.task_name} was learned by a {learner.kind}, which has no latents to look into; give a run of a "
            "learner that makes images from latents, such as a vae or a gan"
        )
    return learner


def drawn(run: Run, count: int, seed: int = 0, labels: Tensor | None = None) -> Tensor:
    """``count`` latents ``(count, latents)``, drawn as for its samples: z ~ N(0, 1), placed by what was fitted, or maps
    of codes, those of the classes ``labels (count,)``."""
    if count < 1:
        raise LimnerError(f"{count} latents cannot be drawn; ask for at least 1")
    learner, random = latent_learner(run), generator(seed, "inside")
    if isinstance(learner, Coded):
        return learner.draw_latents(run.params, count, labels, random)
    noise = torch.randn(count, math.prod(latent_shape(learner)), generator=random)
    return sampler_of(run.params).place(noise, random)


def decoded(run: Run, latents: Tensor, labels: Tensor | None = None) -> Tensor:
    """The images in [0, 1] of ``latents (n, latents)``, a few at a time, without gradients.

    ``labels (n,)`` are their classes where the run has some; ``None``: all classes in turn.
    Raises :class:`LimnerError` for latents of the wrong length.
    """
    learner = latent_learner(run)
    check(run, latents)
    classes = int(learner.options.get("classes", 1))
    labels = in_turn(run, len(latents)) if labels is None else labels
    if labels is not None and not bool(((labels >= 0) & (labels < classes)).all()):
        raise LimnerError(f"{run.task_name} has {classes} classes; give labels from 0 to {classes - 1}")
    with torch.no_grad():
        return torch.cat(
            [
                learner.decode(
                    run.params, latents[at : at + TOGETHER], None if labels is None else labels[at : at + TOGETHER]
                )
                for at in range(0, len(latents), TOGETHER)
            ]
        )


def in_turn(run: Run, count: int) -> Tensor | None:
    """The classes of ``count`` latents: all in turn, ``(count,)``; ``None`` for a run without classes."""
    return labels_in_turn(count, int(run.learner.options.get("classes", 1)))


def check(run: Run, latents: Tensor) -> None:
    """Raises :class:`LimnerError` unless these are latents of the run's learner, at least one."""
    length = math.prod(latent_shape(latent_learner(run)))
    if latents.ndim != 2 or not len(latents) or latents.shape[1] != length:
        raise LimnerError(
            f"the latents of {run.task_name} have the shape (n, {length}), n at least 1, "
            f"but these are of shape {tuple(latents.shape)}"
        )
