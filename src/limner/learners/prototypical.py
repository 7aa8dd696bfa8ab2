"""Prototypical networks: classes known by the mean of their embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import LimnerError
from limner.networks import Conv4, Template
from limner.types import FITTED, Batch, Draws, Loss, Params, Request

PROTOTYPES = FITTED + "prototypes"


class Prototypical:
    """Prototypical network (Snell, Swersky & Zemel 2017): an image belongs to the class whose prototype is nearest.

    p(label = k | x) ∝ exp(−‖f(x) − c_k‖²), c_k the mean of f over the support images of class k (equations 1 and 2).
    ``finish`` makes the prototypes of a support set, ``fitted.prototypes`` ``(classes, features)``: no gradient is
    needed to learn a new task. Without them, as in ordinary training on one set of images, each image is judged by
    prototypes made of the others; one that is alone in its class is left out.

    classes        how many classes a task has at most; its network does not depend on it
    width          channels of the Conv4 embedding
    normalisation  ``batch`` (statistics of the batch at hand) or ``group``

    >>> network = Prototypical((1, 28, 28), classes=2, width=8)
    >>> support = {"images": torch.rand(4, 1, 28, 28), "labels": torch.tensor([0, 0, 1, 1])}
    >>> params = network.finish(network.init(seed=0), support, torch.Generator())
    >>> request = Request("logits", images=torch.rand(3, 1, 28, 28))
    >>> network.predict(params, request, torch.Generator()).shape
    torch.Size([3, 2])
    """

    kind = "prototypical"
    closed_form = "prototypical"
    players = ("net",)
    answers = ("features", "logits")

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int = 5, width: int = 32, normalisation: str = "batch"
    ) -> None:
        if normalisation not in ("batch", "group"):
            raise LimnerError(f"a prototypical network has no normalisation {normalisation!r}; it has: batch, group")
        self.image_shape = image_shape
        self.options: dict[str, Any] = {"classes": classes, "width": width, "normalisation": normalisation}
        self._net = Template("net", lambda: Conv4(image_shape, width, normalisation))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Nothing random happens in a step."""
        return {}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """Cross-entropy over −‖f(x) − c‖², in nats; term ``accuracy``."""
        if "labels" not in batch:
            raise LimnerError("a prototypical network learns from labels; give images with classes")
        embedded, labels = self._net(params, batch["images"]), batch["labels"]
        if PROTOTYPES in params:
            logits, known = _scores(embedded, params[PROTOTYPES][None]), torch.ones_like(embedded[:, 0])
        else:
            logits = _scores(embedded, self._prototypes_of_others(embedded, labels))
            known = ((labels[:, None] == labels[None]).sum(1) > 1).to(embedded.dtype)
        share = known / known.sum().clamp(min=1)
        value = (functional.cross_entropy(logits, labels, reduction="none") * share).sum()
        accuracy = ((logits.argmax(1) == labels) * share).sum()
        return Loss(value, {"cross_entropy": value, "accuracy": accuracy})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """``features`` ``(n, features)``, or, once there are prototypes, ``logits`` ``(n, classes)``; no gradients."""
        if request.images is None or request.what not in ("logits", "features"):
            raise LimnerError(
                f"a prototypical network cannot answer {request.what!r}; give it images, ask for logits or features"
            )
        with torch.no_grad():
            embedded = torch.cat([self._net(params, part) for part in torch.split(request.images, 512)])
        if request.what == "features":
            return embedded
        if PROTOTYPES not in params:
            raise LimnerError("a prototypical network has no classes yet; give it a support set through finish()")
        return _scores(embedded, params[PROTOTYPES][None])

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """``params`` with the prototypes of the classes in ``batch``; can be differentiated."""
        if "labels" not in batch:
            return params
        embedded = self._net(params, batch["images"])
        members = self._members(batch["labels"], embedded)
        return {**params, PROTOTYPES: _means(members @ embedded, members.sum(1, keepdim=True))}

    def _members(self, labels: Tensor, like: Tensor) -> Tensor:
        """Which image belongs to which class: ``(classes, n)``, ones and zeros."""
        places = torch.arange(self.options["classes"], device=labels.device)
        return (places[:, None] == labels[None]).to(like.dtype)

    def _prototypes_of_others(self, embedded: Tensor, labels: Tensor) -> Tensor:
        """For each image the prototypes of all others: ``(n, classes, features)``."""
        members = self._members(labels, embedded)
        own = members.T[:, :, None]
        return _means((members @ embedded)[None] - own * embedded[:, None], members.sum(1)[None, :, None] - own)


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Sums over counts; a class without images is put where nothing is near it."""
    return torch.where(counts > 0, sums / counts.clamp(min=1), 1e4)


def _scores(embedded: Tensor, prototypes: Tensor) -> Tensor:
    """−‖f(x) − c‖² for each image and prototype: ``(n, features)`` and ``(1 or n, classes, features)``."""
    return -(embedded[:, None] - prototypes).square().sum(2)
