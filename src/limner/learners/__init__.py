"""Learners and their catalogue. A new learner is one file, one row here and one row in the contract test."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from limner.errors import LimnerError
from limner.learners.base import Learner
from limner.learners.classifier import Classifier
from limner.learners.cycle import Cycle
from limner.learners.flow import Flow
from limner.learners.gan import GAN
from limner.learners.imle import IMLE
from limner.learners.pix2pix import Pix2Pix
from limner.learners.prototypical import Prototypical
from limner.learners.regressor import Regressor
from limner.learners.restorer import Restorer
from limner.learners.set_flow import SetFlow
from limner.learners.set_vae import SetVAE
from limner.learners.two_domains import TwoDomains
from limner.learners.vae import VAE
from limner.learners.vae_gan import VAEGAN
from limner.learners.vq_vae import VQVAE
from limner.tasks.image_set import ImageSet
from limner.tasks.pairs import Alone, Domains, TwoSided
from limner.tasks.points import Points
from limner.types import Batch

CATALOGUE: dict[str, Any] = {
    learner.kind: learner
    for learner in (
        VAE,
        GAN,
        Classifier,
        Prototypical,
        Regressor,
        Pix2Pix,
        Cycle,
        Restorer,
        Flow,
        SetVAE,
        SetFlow,
        VQVAE,
        VAEGAN,
        IMLE,
        TwoDomains,
    )
}
"""Every learner by the name that the command line and the memory use."""

__all__ = [
    "CATALOGUE",
    "GAN",
    "IMLE",
    "VAE",
    "VAEGAN",
    "VQVAE",
    "Classifier",
    "Cycle",
    "Flow",
    "Learner",
    "Pix2Pix",
    "Prototypical",
    "Regressor",
    "Restorer",
    "SetFlow",
    "SetVAE",
    "TwoDomains",
    "batch_of",
    "create",
    "describe",
    "for_classes",
    "rebuild",
]


def create(kind: str, image_shape: tuple[int, int, int], **options: Any) -> Learner:
    """The learner ``kind`` for images of ``image_shape`` (channels, height, width).

    Raises :class:`LimnerError` for an unknown kind or option, or a shape that its networks cannot take.

    >>> create("vae", (1, 28, 28), latents=8).options["latents"]
    8
    """
    if kind not in CATALOGUE:
        raise LimnerError(f"there is no learner {kind!r}; there are: {', '.join(CATALOGUE)}")
    known = list(inspect.signature(CATALOGUE[kind]).parameters)[1:]
    for name in options:
        if name not in known:
            raise LimnerError(f"the learner {kind} has no option {name!r}; it has: {', '.join(known)}")
        _check_option(kind, name, options[name], inspect.signature(CATALOGUE[kind]).parameters[name].default)
    made: Learner = CATALOGUE[kind](tuple(image_shape), **options)
    return made


def _check_option(kind: str, name: str, value: Any, default: Any) -> None:
    """Raises :class:`LimnerError` unless ``value`` is of the kind of ``default``: a word, a count, a number."""
    if isinstance(default, str):
        right, fits = "a word", isinstance(value, str)
    elif isinstance(default, int):
        least = min(1, default)
        right = f"a whole number from {least}"
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
    else:
        right = "a number from 0"
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    if not fits:
        raise LimnerError(f"the {kind}'s option {name} cannot be {value!r}; give {right}, for example {default!r}")


def describe(learner: Learner) -> dict[str, Any]:
    """What rebuilds the learner, as plain JSON: kind, image_shape, options."""
    return {"kind": learner.kind, "image_shape": list(learner.image_shape), "options": dict(learner.options)}


def rebuild(description: dict[str, Any]) -> Learner:
    """The inverse of :func:`describe`.

    >>> describe(rebuild(describe(create("gan", (3, 32, 32), width=8))))["options"]["width"]
    8
    """
    return create(description["kind"], tuple(description["image_shape"]), **description["options"])


def for_classes(description: dict[str, Any], classes: int) -> dict[str, Any] | None:
    """The description of a start's learner for a task of so many classes; ``None`` where it was made for others.

    Prototypical networks take any number of classes; those that know no classes do not mind them.

    >>> described = describe(create("prototypical", (1, 16, 16), classes=5, width=4))
    >>> (for_classes(described, 7) or {})["options"]["classes"]
    7
    >>> for_classes(describe(create("classifier", (1, 16, 16), classes=5)), 7) is None
    True
    """
    options = description["options"]
    if description["kind"] == Prototypical.kind:
        return {**description, "options": {**options, "classes": classes}}
    return description if options.get("classes", 1) in (1, classes) else None


def batch_of(images: ImageSet | Points) -> Batch:
    """The whole image set as one batch: floats in [0, 1], labels where it has them. Of points: inputs and targets.

    Of pairs and of unpaired domains: the targets as ``images``, and ``inputs``; as many of both. Of damaged images
    alone: ``inputs``, and no ``images``.
    """
    if isinstance(images, Points):
        return {"inputs": images.inputs, "targets": images.targets}
    if isinstance(images, Alone):
        return {"inputs": images.inputs.floats()}
    if isinstance(images, TwoSided):
        if isinstance(images, Domains):
            images = images.select(torch.arange(len(images)))
        return {"inputs": images.inputs.floats(), "images": images.targets.floats()}
    batch = {"images": images.floats()}
    if images.labels is not None:
        batch["labels"] = images.labels
    return batch
