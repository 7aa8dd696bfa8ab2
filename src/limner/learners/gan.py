"""The generative adversarial network: every objective with every network and every conditioning, by options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError
from limner.learners.checks import check_latents, check_words
from limner.learners.labels import asked_labels, decoded_labels, learned_labels
from limner.networks import Decoder, Template
from limner.networks.convolutional import Body
from limner.networks.critic import Critic, one_hot
from limner.networks.mlp import PerceptronBody, PerceptronGenerator
from limner.networks.residual import ResidualBody, ResidualGenerator
from limner.networks.style import StyleGenerator
from limner.objectives.adversarial import OBJECTIVES, lecam_penalty, score_terms, scores_and_penalties, slope_penalty
from limner.objectives.augmentation import DRAWN, augmented, words_of
from limner.types import Batch, Draws, Loss, Params, Request


class Pair(NamedTuple):
    """The networks of both players: ``generator(image_shape, inputs, width)``, ``body(image_shape, width)``."""

    generator: Callable[[tuple[int, int, int], int, int], nn.Module]
    body: Callable[[tuple[int, int, int], int], nn.Module]


NETWORKS: dict[str, Pair] = {
    "dcgan": Pair(Decoder, Body),
    "mlp": Pair(PerceptronGenerator, PerceptronBody),
    "residual": Pair(ResidualGenerator, ResidualBody),
    "style": Pair(StyleGenerator, ResidualBody),
}
"""Every pair of networks by its word."""

CONDITIONINGS = ("none", "concatenation", "projection", "auxiliary")


class GAN:
    """Two players: a critic D that scores images, and a generator G that makes them from z ~ N(0, 1).

    By default relativistic with R1 and R2 (R3GAN, Huang et al. 2024): the critic minimises
    E softplus(−(D(x) − D(G(z)))) + γ/2·(R1 + R2), the generator E softplus(−(D(G(z)) − D(x))).

    latents       dimensions of z
    width         channels at full resolution; doubled at each halving, at most four-fold (of ``mlp``: 16 units each)
    gamma         γ, the weight of the objective's penalty on the critic's slope: γ/2 of R1, or of R1 + R2 where it is
                  relativistic; 10·γ of the Wasserstein penalty; ``wasserstein-clipping`` has none
    objective     relativistic, non-saturating, minimax, least-squares, hinge, wasserstein-penalty, wasserstein-clipping
    network       dcgan, mlp (which takes images of any shape, and points), residual, style
    conditioning  none; concatenation, projection or auxiliary: of which of the ``classes`` an image is to be, the
                  generator is told beside z, and the critic in the way that :class:`limner.networks.critic.Critic` says
    classes       how many there are (1 = no conditioning); labels come with the batch
    augment       none, or some of colour, translation, cutout, joined by +: differentiable augmentation of all that the
                  critic sees; where the batch has a ``strength``, each happens with that probability
    lecam         weight of :func:`limner.objectives.adversarial.lecam_penalty`, for few images

    The critic's parameters are named from the image on: a strategy with ``frozen=("critic.body.0",)`` keeps the first
    layer as it is, ``("critic.body",)`` all but the heads (Mo, Cho & Shin 2020, FreezeD).

    >>> gan = GAN((1, 28, 28), latents=4, width=8)
    >>> gan.players
    ('critic', 'generator')
    >>> gan.predict(gan.init(seed=0), Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 28, 28])
    """

    kind = "gan"
    players = ("critic", "generator")
    answers = ("sample",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latents: int = 32,
        width: int = 16,
        gamma: float = 1.0,
        objective: str = "relativistic",
        network: str = "dcgan",
        conditioning: str = "none",
        classes: int = 1,
        augment: str = "none",
        lecam: float = 0.0,
    ) -> None:
        check_words(
            "GAN",
            objective=(objective, OBJECTIVES),
            network=(network, NETWORKS),
            conditioning=(conditioning, CONDITIONINGS),
        )
        if conditioning == "none" and classes > 1:
            raise LimnerError(
                f"a GAN of {classes} classes must be told how to use them; give conditioning=concatenation, "
                "projection or auxiliary"
            )
        if conditioning != "none" and classes < 2:
            raise LimnerError(
                f"a GAN with conditioning={conditioning} needs at least 2 classes; give labelled images, or "
                "conditioning=none"
            )
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "latents": latents, "width": width, "gamma": gamma, "objective": objective, "network": network,
            "conditioning": conditioning, "classes": classes, "augment": augment, "lecam": lecam
        }  # fmt: skip
        self._objective, self._words = OBJECTIVES[objective], words_of(augment)
        self._penalty = self._objective.penalty if gamma else ""  # of no weight, it is not even computed
        pair, inputs = NETWORKS[network], latents + (classes if classes > 1 else 0)
        self._generator = Template("generator", lambda: pair.generator(image_shape, inputs, width))
        self._critic = Template("critic", lambda: Critic(pair.body(image_shape, width), conditioning, classes))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``critic.*`` and ``generator.*``."""
        critic, limit = self._critic.init(seed), self._objective.limit
        if limit:  # a little within it: on the limit itself clipping has no derivative
            critic = {name: value.clamp(-0.99 * limit, 0.99 * limit) for name, value in critic.items()}
        return {**critic, **self._generator.init(seed)}

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """For each player's turn z, ``PLAYER_latents (n, latents)``; with augmentation ``PLAYER_chances
        (2n, words, 4)``, for real and generated images; with a penalty between them, ``mix (n,)``."""
        count, device = len(batch["images"]), generator.device
        shape = (count, self.options["latents"])
        draws = {f"{player}_latents": torch.randn(shape, generator=generator, device=device) for player in self.players}
        if self._words:
            chances = (2 * count, len(self._words), DRAWN)
            for player in self.players:
                draws[f"{player}_chances"] = torch.rand(chances, generator=generator, device=device)
        if self._penalty == "between":
            draws["mix"] = torch.rand(count, generator=generator, device=device)
        return draws

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The player's side of the game.

        Terms of both ``adversarial``, with auxiliary conditioning ``classes`` (cross-entropy); of the critic
        ``r1``, ``r2`` or ``slope``, ``lecam`` as it has them, and those of
        :func:`limner.objectives.adversarial.score_terms`. Where the batch has a ``penalty``, γ is that many times as
        large.
        """
        labels = learned_labels(batch, self.options["classes"], "GAN")
        fake = self.decode(params, draws[f"{player}_latents"], labels)
        real, fake = self._seen(batch, draws, player, fake)
        if player == "generator":
            return self._generator_loss(params, real, fake, labels)
        return self._critic_loss(params, real, fake, labels, draws, batch.get("penalty", 1.0))

    def _generator_loss(self, params: Params, real: Tensor, fake: Tensor, labels: Tensor | None) -> Loss:
        scores, logits = self._scored(params, fake, labels)
        if self._objective.paired:
            value = self._objective.generator(self._scored(params, real, labels)[0], scores)
        else:
            value = self._objective.generator(scores)
        return self._with_classes(value, {"adversarial": value}, logits, labels)

    def _critic_loss(
        self, params: Params, real: Tensor, fake: Tensor, labels: Tensor | None, draws: Draws, factor: Tensor | float
    ) -> Loss:
        objective, twice = self._objective, None if labels is None else torch.cat([labels, labels])
        terms: dict[str, Tensor] = {}

        def score(images: Tensor) -> Tensor:
            return self._scored(params, images, twice if len(images) == 2 * len(real) else labels)[0]

        if self._penalty == "real and fake":
            scores, penalties = scores_and_penalties(score, torch.cat([real, fake]))
            real_scores, fake_scores = scores.chunk(2)
            r1, r2 = (part.mean() for part in penalties.chunk(2))
            penalty, terms = r1 + r2, {"r1": r1, "r2": r2}
        elif self._penalty == "real":
            real_scores, penalties = scores_and_penalties(score, real)
            fake_scores, penalty = score(fake), penalties.mean()
            terms = {"r1": penalty}
        else:
            real_scores, fake_scores = score(torch.cat([real, fake])).chunk(2)
            penalty = fake_scores.new_zeros(())
            if self._penalty == "between":
                penalty = slope_penalty(score, real, fake, draws["mix"])
                terms = {"slope": penalty}
        adversarial = objective.critic(real_scores, fake_scores)
        value = adversarial + objective.weight * self.options["gamma"] * factor * penalty
        if self.options["lecam"]:
            terms["lecam"] = lecam_penalty(real_scores, fake_scores)
            value = value + self.options["lecam"] * terms["lecam"]
        terms = {"adversarial": adversarial, **terms, **score_terms(real_scores, fake_scores)}
        if self.options["conditioning"] != "auxiliary":
            return Loss(value, terms)
        return self._with_classes(value, terms, self._scored(params, real, labels)[1], labels)

    def _with_classes(self, value: Tensor, terms: dict[str, Tensor], logits: Tensor, labels: Tensor | None) -> Loss:
        """With auxiliary conditioning the cross-entropy of the classes is added: of real images for the critic, of
        generated ones for the generator (Odena et al. 2017 also teach the critic by generated ones, which spreads what
        the generator gets wrong)."""
        if self.options["conditioning"] != "auxiliary" or labels is None:
            return Loss(value, terms)
        terms["classes"] = functional.cross_entropy(logits, labels)
        return Loss(value + terms["classes"], terms)

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, without gradients; of the classes ``request.labels``, or of all classes in turn."""
        if request.what != "sample":
            raise LimnerError(f"a GAN cannot answer {request.what!r}; ask it for samples")
        labels = asked_labels(request, self.options["classes"], "GAN", generator.device)
        shape = (request.count, self.options["latents"])
        latents = torch.randn(shape, generator=generator, device=generator.device)
        with torch.no_grad():
            images = [
                self.decode(params, latents[at : at + 256], None if labels is None else labels[at : at + 256])
                for at in range(0, request.count, 256)
            ]
        return torch.cat(images) if images else torch.empty(0, *self.image_shape)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params

    def constrain(self, params: Params) -> Params:
        """``params`` with the critic's clipped to the objective's limit (Arjovsky et al. 2017, algorithm 1), if any."""
        limit = self._objective.limit
        if not limit:
            return params
        return {
            name: value.clamp(-limit, limit) if name.startswith("critic.") else value for name, value in params.items()
        }

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images G(z) in [0, 1], ``(n, c, h, w)``, of ``latents (n, latents)``; can be differentiated.

        ``labels (n,)`` are their classes where the GAN has some (``None``: all classes in turn).
        """
        check_latents("GAN", latents, self.options["latents"])
        classes = self.options["classes"]
        labels = decoded_labels(latents, labels, classes, "GAN")
        if labels is not None:
            # The class weighs as much as z, whose squares sum up to the number of latents.
            chosen = one_hot(labels, classes, latents) * self.options["latents"] ** 0.5
            latents = torch.cat([latents, chosen], 1)
        return torch.sigmoid(self._generator(params, latents))

    def _seen(self, batch: Batch, draws: Draws, player: str, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Real and generated images as the critic sees them: augmented alike."""
        if not self._words:
            return batch["images"], fake
        both = torch.cat([batch["images"], fake])
        real, fake = augmented(both, self._words, draws[f"{player}_chances"], batch.get("strength", 1.0)).chunk(2)
        return real, fake

    def _scored(self, params: Params, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._critic(params, 2 * images - 1, labels)  # type: ignore[no-any-return]
