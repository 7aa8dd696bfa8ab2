"""A classifier that learns from two domains at once: a source with many labels, and a target with few."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError
from limner.learners.checks import check_words
from limner.networks import Encoder, Template
from limner.objectives.transfer import (
    correlation_alignment,
    domain_confusion,
    kernel_discrepancy,
    mean_over,
    rising,
    weighed_by_uncertainty,
)
from limner.types import Batch, Draws, Loss, Params, Request

ALIGNMENTS = {"correlation": correlation_alignment, "kernel": kernel_discrepancy}
"""What features of both domains are compared by, where that is a formula; ``adversarial`` learns it."""

HIDDEN = 64
"""Units of the discriminator's hidden layer."""


class _Network(nn.Module):
    """Named as the ``plain`` classifier's, so that parameters can be carried over by name."""

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, source_classes: int, features: int, width: int, own: bool
    ) -> None:
        super().__init__()
        self.encoder = Encoder(image_shape, features, width)
        self.scale = nn.LayerNorm(features)
        self.head = nn.Linear(features, classes)
        if own:
            self.source_head = nn.Linear(features, source_classes)

    def embed(self, images: Tensor) -> Tensor:
        return functional.silu(self.scale(self.encoder(2 * images - 1)))

    def forward(self, embedded: Tensor) -> Tensor:
        return self.head(embedded)  # type: ignore[no-any-return]

    def of_source(self, embedded: Tensor) -> Tensor:
        return self.source_head(embedded)  # type: ignore[no-any-return]


class _Weights(nn.Module):
    """The two log-variances that weigh source against target, where that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variances = nn.Parameter(torch.zeros(2))

    def forward(self) -> Tensor:
        return self.log_variances


class TwoDomains:
    """A classifier of the target, helped by a source: L = L_source + λ·L_target + w·A.

    The L are cross-entropies, each over the images of its domain in the batch, A says how unlike the features of the
    domains are. A label below ``source_classes`` is a class of the source; the next ``classes`` are those of the
    target; what is larger still is a target image whose class is not known, which only A looks at.

    classes         of the target; ``source_classes`` of the source
    heads           ``own`` (each domain has classes of its own), or ``shared`` (the same classes, in one order)
    alignment       A: ``none``; ``correlation`` (CORAL, Sun & Saenko 2016); ``kernel`` (maximum mean discrepancy, Long
                    et al. 2015); ``adversarial`` (Ganin et al. 2016): a second player, the discriminator, learns to
                    tell the domains apart by the features, and A is its loss, negative. Each player's own step in its
                    own parameters is what gradient reversal does in one
    weight          w; ``schedule`` ``rising`` (by Ganin's λ_p over ``steps`` steps) or ``constant``
    balance         how λ comes about: ``given`` (``target``), ``rising`` (the same schedule times ``target``), or
                    ``learned`` (with the parameters, by both losses' uncertainty: Kendall, Gal & Cipolla 2018;
                    ``target`` is not used)
    features, width as of the classifier

    Which of the steps it is comes with the batch, as ``taken``; without it, none was taken yet.

    >>> learner = TwoDomains((1, 16, 16), classes=2, source_classes=3, features=4, width=4, alignment="adversarial")
    >>> request = Request("logits", images=torch.zeros(5, 1, 16, 16))
    >>> learner.players, learner.predict(learner.init(seed=0), request, torch.Generator()).shape
    (('discriminator', 'net'), torch.Size([5, 2]))
    """

    kind = "two-domains"
    answers = ("logits", "features")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int = 10,
        source_classes: int = 10,
        features: int = 64,
        width: int = 16,
        heads: str = "own",
        alignment: str = "none",
        weight: float = 1.0,
        schedule: str = "rising",
        balance: str = "given",
        target: float = 1.0,
        steps: int = 500,
    ) -> None:
        check_words(
            "two-domains learner",
            heads=(heads, ("own", "shared")),
            alignment=(alignment, ("none", *ALIGNMENTS, "adversarial")),
            schedule=(schedule, ("rising", "constant")),
            balance=(balance, ("given", "rising", "learned")),
        )
        if min(classes, source_classes) < 2:
            raise LimnerError("a two-domains learner needs at least 2 classes in each domain; give labelled images")
        if heads == "shared" and classes != source_classes:
            raise LimnerError(
                f"two domains of {source_classes} and {classes} classes cannot share a head; give both the same "
                "classes, or heads=own"
            )
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "classes": classes, "source_classes": source_classes, "features": features, "width": width, "heads": heads,
            "alignment": alignment, "weight": weight, "schedule": schedule, "balance": balance, "target": target,
            "steps": steps,
        }  # fmt: skip
        own = heads == "own"
        self._net = Template("net", lambda: _Network(image_shape, classes, source_classes, features, width, own))
        self._weights = Template("net.balance", _Weights)
        self._discriminator = Template(
            "discriminator",
            lambda: nn.Sequential(nn.Linear(features, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1), nn.Flatten(0)),
        )
        self.players: tuple[str, ...] = ("discriminator", "net") if alignment == "adversarial" else ("net",)

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``, and ``discriminator.*`` where there is one."""
        params = self._net.init(seed)
        if self.options["balance"] == "learned":
            params |= self._weights.init(seed)
        return self._discriminator.init(seed) | params if "discriminator" in self.players else params

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Nothing random happens in a step."""
        return {}

    def remember(self, params: Params, batch: Batch, draws: Draws) -> Batch:
        """How many steps were ``taken``, which the schedules go by."""
        return {"taken": self._taken(batch) + 1}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """Of the net: L; of the discriminator: how badly it tells the domains apart. In nats."""
        if "labels" not in batch:
            raise LimnerError("a two-domains learner learns from labels; give images with classes")
        labels, source_classes = batch["labels"], self.options["source_classes"]
        embedded = self.embed(params, batch["images"])
        source = (labels < source_classes).to(embedded.dtype)
        target = 1 - source
        if player == "discriminator":
            logits = self._discriminator(params, embedded)
            told = mean_over(((logits > 0).to(target) == target).to(target), torch.ones_like(target))
            confusion = domain_confusion(logits, source, target)
            return Loss(confusion, {"domain_cross_entropy": confusion, "domain_accuracy": told})
        known = (labels < source_classes + self.options["classes"]).to(embedded.dtype) * target
        logits = self._net(params, embedded)
        of_source = logits if self.options["heads"] == "shared" else self._net(params, embedded, method="of_source")
        losses = torch.stack(
            [
                _cross_entropy(of_source, labels, source),
                _cross_entropy(logits, labels - source_classes, known),
            ]
        )
        progress = (self._taken(batch) / self.options["steps"]).clamp(max=1).to(losses)
        value, balance = self._weighed(params, losses, progress)
        apart = self._apart(params, embedded, source, target)
        weight = self.options["weight"] * (rising(progress) if self.options["schedule"] == "rising" else 1)
        right = (logits.argmax(1) == labels - source_classes).to(embedded.dtype)
        terms = {
            "source_cross_entropy": losses[0], "target_cross_entropy": losses[1],
            "target_accuracy": mean_over(right, known), "target_weight": balance, "apart": apart,
        }  # fmt: skip
        return Loss(value + weight * apart, terms)

    def _weighed(self, params: Params, losses: Tensor, progress: Tensor) -> tuple[Tensor, Tensor]:
        """Both cross-entropies together, and λ."""
        if self.options["balance"] == "learned":
            log_variances = self._weights(params)
            return weighed_by_uncertainty(losses, log_variances), (log_variances[0] - log_variances[1]).exp()
        share = rising(progress) if self.options["balance"] == "rising" else torch.ones_like(progress)
        weight = self.options["target"] * share
        return losses[0] + weight * losses[1], weight

    def _apart(self, params: Params, embedded: Tensor, source: Tensor, target: Tensor) -> Tensor:
        alignment = self.options["alignment"]
        if alignment == "none":
            return torch.zeros_like(embedded[0, 0])
        if alignment == "adversarial":
            return -domain_confusion(self._discriminator(params, embedded), source, target)
        return ALIGNMENTS[alignment](embedded, source, target)

    def _taken(self, batch: Batch) -> Tensor:
        return batch["taken"] if "taken" in batch else torch.zeros((), device=batch["images"].device)

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """``logits`` ``(n, classes)`` of the target's classes, or ``features`` ``(n, features)``; no gradients."""
        if request.images is None or request.what not in self.answers:
            raise LimnerError(
                f"a two-domains learner cannot answer {request.what!r}; give it images, ask for logits or features"
            )
        with torch.no_grad():
            embedded = torch.cat([self.embed(params, part) for part in torch.split(request.images, 512)])
            return embedded if request.what == "features" else self._net(params, embedded)

    def embed(self, params: Params, images: Tensor) -> Tensor:
        """The features ``(n, features)`` of ``images`` in [0, 1]; can be differentiated."""
        return self._net(params, images, method="embed")  # type: ignore[no-any-return]

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params


def _cross_entropy(logits: Tensor, labels: Tensor, share: Tensor) -> Tensor:
    """The mean cross-entropy of those rows that ``share`` marks; the labels of others may be anything."""
    within = labels.clamp(min=0, max=logits.shape[1] - 1)
    return mean_over(functional.cross_entropy(logits, within, reduction="none"), share)
