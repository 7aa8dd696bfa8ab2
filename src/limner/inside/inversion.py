"""From images back to latents: where a run would have to look to make an image that it was never asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from limner.engine.run import as_bytes
from limner.errors import LimnerError
from limner.inside.latents import Encoding, decoded, drawn, latent_learner
from limner.metrics.features import Extractor
from limner.metrics.features import extractor as extractor_of

if TYPE_CHECKING:
    from limner.engine import Run

CANDIDATES = 256
"""Random latents of which the best is the start, where no encoder tells one."""

FEATURE_WEIGHT = 0.1
"""What the distance in features weighs beside that in pixels."""


class Inversion(NamedTuple):
    """``latents (n, latents)``; what they give, ``images``, uint8 ``(n, c, h, w)``; ``error (n,)``, the root mean
    squared difference from the images asked for, in intensities; and ``first_error (n,)``, that of the start."""

    latents: Tensor
    images: Tensor
    error: Tensor
    first_error: Tensor


def invert(
    run: Run,
    images: Tensor,
    *,
    labels: Tensor | None = None,
    steps: int = 200,
    rate: float = 0.05,
    extractor: str | None = "pixels",
    seed: int = 0,
) -> Inversion:
    """The latents whose images come nearest to ``images``.

    Begins with the encoder's mean, or without an encoder with the best of 256 random latents, and goes on by Adam
    (Kingma & Ba 2015) on the mean squared difference of pixels plus 0.1·‖f(G(z)) − f(x)‖² / ‖f(x)‖², f the frozen
    features. What is kept of each image is the best latent on the way, so that none ends worse than it began.

    images     uint8, or floats in [0, 1], ``(n, c, h, w)`` of the run's shape
    labels     their classes ``(n,)``, which a run with classes needs
    extractor  ``glyph-net``, ``efficientnet-lite0``, or ``pixels``, which adds nothing to the pixels

    Raises :class:`LimnerError` where the run has no latents, or images or labels do not fit it.

    >>> import limner
    >>> from limner.learners import create
    >>> gan = create("gan", (1, 16, 16), latents=3, width=4)
    >>> run = limner.Run(gan, "dots", "", limner.Strategy(), 0, gan.init(seed=0))
    >>> found = invert(run, run.sample(2), steps=3)
    >>> found.latents.shape, bool((found.error <= found.first_error).all())
    (torch.Size([2, 3]), True)
    """
    learner = latent_learner(run)
    if steps < 0:
        raise LimnerError(f"a search cannot take {steps} steps; give 0 or more")
    wanted = images.float() / 255 if images.dtype == torch.uint8 else images
    _check_images(run, wanted, labels)
    frozen = None if extractor in (None, "pixels") else extractor_of(str(extractor))
    with torch.no_grad():
        sought = None if frozen is None else frozen.features(wanted)
    latents = _start(run, wanted, labels, seed)
    moving = latents.clone().requires_grad_()
    optimiser = torch.optim.Adam([moving], lr=rate)
    best, least = latents.clone(), torch.full((len(latents),), float("inf"))
    first = decoded(run, latents, labels)
    for step in range(steps + 1):
        with torch.enable_grad():
            value = _distance(learner.decode(run.params, moving, labels), wanted, frozen, sought)
        better = value.detach() < least
        best[better], least[better] = moving.detach()[better], value.detach()[better]
        if step < steps:
            (moving.grad,) = torch.autograd.grad(value.sum(), [moving])
            optimiser.step()
    made = decoded(run, best, labels)
    return Inversion(best, as_bytes(made), _apart(made, wanted), _apart(first, wanted))


def _distance(made: Tensor, wanted: Tensor, frozen: Extractor | None, sought: Tensor | None) -> Tensor:
    """What inversion makes small, ``(n,)``; ``sought``: the features of what is wanted."""
    pixels = (made - wanted).square().mean((1, 2, 3))
    if frozen is None or sought is None:
        return pixels
    apart = (frozen.features(made) - sought).square().sum(1) / sought.square().sum(1).clamp(min=1e-12)
    return pixels + FEATURE_WEIGHT * apart


def _apart(made: Tensor, wanted: Tensor) -> Tensor:
    return (made - wanted).square().mean((1, 2, 3)).sqrt()


def _start(run: Run, wanted: Tensor, labels: Tensor | None, seed: int) -> Tensor:
    """Latents ``(n, latents)`` to begin with."""
    if isinstance(run.learner, Encoding):
        with torch.no_grad():
            return run.learner.encode(run.params, wanted, labels)[0]
    candidates = drawn(run, CANDIDATES, seed)
    rows = []
    known: dict[int, Tensor] = {}
    for place, image in enumerate(wanted):
        label = -1 if labels is None else int(labels[place])
        if label not in known:
            known[label] = decoded(run, candidates, None if labels is None else torch.full((CANDIDATES,), label))
        rows.append(candidates[_apart(known[label], image[None]).argmin()])
    return torch.stack(rows)


def _check_images(run: Run, images: Tensor, labels: Tensor | None) -> None:
    shape = tuple(run.learner.image_shape)
    if images.ndim != 4 or not len(images) or tuple(images.shape[1:]) != shape:
        raise LimnerError(
            f"{run.task_name} makes images of shape {shape}, so images of shape {tuple(images.shape)} have no place "
            f"among its latents; load them with size={shape[1]},colour={'grey' if shape[0] == 1 else 'rgb'}"
        )
    classes = int(run.learner.options.get("classes", 1))
    fits = labels is not None and len(labels) == len(images) and bool(((labels >= 0) & (labels < classes)).all())
    if classes > 1 and not fits:
        raise LimnerError(
            f"{run.task_name} has {classes} classes, so each image needs the label of its own, from 0 to {classes - 1}"
        )
    if classes < 2 and labels is not None:
        raise LimnerError(f"{run.task_name} was learned without classes; leave labels out")
