"""A small classifier; its penultimate layer gives the features that glyph-like images are scored in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError
from limner.learners.checks import check_words
from limner.networks import Conv4, Encoder, Template
from limner.types import Batch, Draws, Loss, Params, Request


class _Network(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], classes: int, features: int, width: int) -> None:
        super().__init__()
        self.encoder = Encoder(image_shape, features, width)
        self.scale = nn.LayerNorm(features)
        self.head = nn.Linear(features, classes)

    def embed(self, images: Tensor) -> Tensor:
        return functional.silu(self.scale(self.encoder(2 * images - 1)))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images))  # type: ignore[no-any-return]


class _Conv4Network(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], classes: int, width: int, normalisation: str) -> None:
        super().__init__()
        self.body = Conv4(image_shape, width, normalisation)
        self.head = nn.Linear(self.body.features, classes)

    def embed(self, images: Tensor) -> Tensor:
        return self.body(images)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))  # type: ignore[no-any-return]


class Classifier:
    """Convolutional classifier trained by cross-entropy: −log softmax(logits)[label], averaged over the batch.

    classes        number of classes
    features       width of the penultimate layer (``plain`` only)
    width          channels at full resolution; ``plain`` doubles them at each halving, at most four-fold
    network        ``plain``: strided convolutions with GroupNorm; ``conv4``: that of the few-shot literature
    normalisation  of ``conv4``: ``batch`` (by the batch at hand, as published: transductive) or ``group``

    >>> classifier = Classifier((1, 28, 28), classes=3, width=8)
    >>> request = Request("logits", images=torch.zeros(2, 1, 28, 28))
    >>> classifier.predict(classifier.init(seed=0), request, torch.Generator()).shape
    torch.Size([2, 3])
    """

    kind = "classifier"
    players = ("net",)
    answers = ("logits", "features")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int = 10,
        features: int = 64,
        width: int = 16,
        network: str = "plain",
        normalisation: str = "batch",
    ) -> None:
        check_words(
            "classifier", network=(network, ("plain", "conv4")), normalisation=(normalisation, ("batch", "group"))
        )
        if classes < 2:
            raise LimnerError(f"a classifier needs at least 2 classes, not {classes}; give labelled images")
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "classes": classes, "features": features, "width": width,
            "network": network, "normalisation": normalisation
        }  # fmt: skip

        def build() -> nn.Module:
            if network == "conv4":
                return _Conv4Network(image_shape, classes, width, normalisation)
            return _Network(image_shape, classes, features, width)

        self._net = Template("net", build)

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Nothing random happens in a step."""
        return {}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """Cross-entropy in nats; term ``accuracy``."""
        if "labels" not in batch:
            raise LimnerError("a classifier learns from labels; give images with classes")
        logits = self._net(params, batch["images"])
        value = functional.cross_entropy(logits, batch["labels"])
        accuracy = (logits.argmax(1) == batch["labels"]).to(value.dtype).mean()
        return Loss(value, {"cross_entropy": value, "accuracy": accuracy})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """``logits`` ``(n, classes)`` or ``features`` ``(n, features)`` of the images, without gradients."""
        if request.images is None or request.what not in ("logits", "features"):
            raise LimnerError(
                f"a classifier cannot answer {request.what!r}; give it images, ask for logits or features"
            )
        with torch.no_grad():
            answer = self.embed if request.what == "features" else self.classify
            return torch.cat([answer(params, part) for part in torch.split(request.images, 512)])

    def embed(self, params: Params, images: Tensor) -> Tensor:
        """The penultimate layer ``(n, features)`` of ``images`` in [0, 1]; can be differentiated."""
        return self._net(params, images, method="embed")  # type: ignore[no-any-return]

    def classify(self, params: Params, images: Tensor) -> Tensor:
        """The logits ``(n, classes)`` of ``images`` in [0, 1]; can be differentiated."""
        return self._net(params, images)  # type: ignore[no-any-return]

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params
