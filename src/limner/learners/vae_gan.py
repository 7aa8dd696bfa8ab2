"""The VAE-GAN: an autoencoder whose decoder is also a generator, and whose errors a critic can measure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limner.learners.autoencoder import Autoencoding
from limner.learners.checks import check_latents, check_words
from limner.learners.labels import decoded_labels, learned_labels
from limner.learners.latents import SAMPLERS, check_sampler
from limner.networks import Template
from limner.networks.autoencoder import Autoencoder
from limner.networks.convolutional import Body
from limner.networks.critic import Critic
from limner.objectives.adversarial import (
    relativistic_critic,
    relativistic_generator,
    score_terms,
    scores_and_penalties,
)
from limner.objectives.variational import kl_to_standard_normal, reparameterise
from limner.types import Batch, Draws, Loss, Params


class _Critic(Critic):
    def __init__(self, image_shape: tuple[int, int, int], width: int, classes: int) -> None:
        super().__init__(Body(image_shape, width), "projection" if classes > 1 else "none", classes)

    def look(self, images: Tensor) -> Tensor:
        return self.body(2 * images - 1)  # type: ignore[no-any-return]

    def score(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self(2 * images - 1, labels)[0]  # type: ignore[no-any-return]


class VAEGAN(Autoencoding):
    """A VAE and a GAN that share the decoder (VAE-GAN, Larsen et al. 2016), with the relativistic game of our GAN.

    The critic D compares real images with two kinds of made ones, reconstructions x̃ of them and samples x_p = G(z),
    z ~ N(0, 1), and minimises the mean over both of E softplus(−(D(x) − D(·))), and γ/2·(R1 + R2).
    The player ``net`` minimises

        ½‖φ(x) − φ(x̃)‖² + β·KL(q(z|x) ‖ N(0, 1)) + α·(the mean over both of E softplus(−(D(·) − D(x))))

    where φ is the critic's body (their eq. 7: an error in what the critic sees, not in pixels), or the pixels
    themselves over a variance of 0.1. Unlike theirs, the encoder too hears the critic: one loss trains one player.

    latents, width  as of the VAE
    reconstruction  ``features`` or ``pixels``: where the error is measured
    beta            β
    adversarial     α, the weight of the critic's word
    gamma           γ, the weight of the two gradient penalties
    sampler         ``prior``, ``mixture`` or ``flow``, as of the VAE
    classes         1, or how many: then encoder and decoder are given the label as the VAE's, and the critic by
                    projection, as the GAN's

    >>> from limner.types import Request
    >>> model = VAEGAN((1, 16, 16), latents=2, width=4)
    >>> model.predict(model.init(seed=0), Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 16, 16])
    """

    kind, name = "vae-gan", "VAE-GAN"
    players = ("critic", "net")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latents: int = 16,
        width: int = 16,
        reconstruction: str = "features",
        beta: float = 1.0,
        adversarial: float = 10.0,
        gamma: float = 1.0,
        sampler: str = "mixture",
        classes: int = 1,
    ) -> None:
        check_words("VAE-GAN", reconstruction=(reconstruction, ("features", "pixels")), sampler=(sampler, SAMPLERS))
        check_sampler(sampler, latents)
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "latents": latents, "width": width, "reconstruction": reconstruction, "beta": beta,
            "adversarial": adversarial, "gamma": gamma, "sampler": sampler, "classes": classes
        }  # fmt: skip
        self._net = Template("net", lambda: Autoencoder(image_shape, latents, width, classes))
        self._critic = Template("critic", lambda: _Critic(image_shape, width, classes))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``critic.*`` and ``net.*``."""
        return {**self._critic.init(seed), **self._net.init(seed)}

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """For each player's turn ``PLAYER_noise``, ε of the reparameterisation, and ``PLAYER_latents``, z of the
        samples, each ``(n, latents)``."""
        shape = (len(batch["images"]), self.options["latents"])
        return {
            f"{player}_{what}": torch.randn(shape, generator=generator, device=generator.device)
            for player in self.players
            for what in ("noise", "latents")
        }

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The player's side. Terms of ``critic``: ``adversarial``, ``r1``, ``r2`` and those of
        :func:`limner.objectives.adversarial.score_terms`; of ``net``: ``reconstruction``, ``kl`` and ``adversarial``.
        Where the batch has a ``penalty``, γ is that many times as large."""
        real, labels = batch["images"], learned_labels(batch, self.options["classes"], "VAE-GAN")
        twice = None if labels is None else labels.repeat(2)
        mean, log_variance = self.encode(params, real, labels)
        latents = torch.cat([reparameterise(mean, log_variance, draws[f"{player}_noise"]), draws[f"{player}_latents"]])
        made = self.decode(params, latents, twice)
        if player == "critic":
            return self._critic_loss(params, real, made, labels, batch.get("penalty", 1.0))
        real_scores = self._scored(params, real, labels)
        adversarial = relativistic_generator(torch.cat([real_scores, real_scores]), self._scored(params, made, twice))
        reconstruction, kl = self._apart(params, real, made[: len(real)]), kl_to_standard_normal(mean, log_variance)
        value = reconstruction + self.options["beta"] * kl + self.options["adversarial"] * adversarial
        return Loss(value, {"reconstruction": reconstruction, "kl": kl, "adversarial": adversarial})

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(n, c, h, w)`` in [0, 1] of ``latents (n, latents)``; can be differentiated.

        ``labels (n,)`` are their classes where it has some (``None``: all classes in turn).
        """
        check_latents("VAE-GAN", latents, self.options["latents"])
        labels = decoded_labels(latents, labels, self.options["classes"], "VAE-GAN")
        return torch.sigmoid(self._net(params, latents, labels, method="decode"))

    def _scored(self, params: Params, images: Tensor, labels: Tensor | None) -> Tensor:
        return self._critic(params, images, labels, method="score")  # type: ignore[no-any-return]

    def _critic_loss(
        self, params: Params, real: Tensor, made: Tensor, labels: Tensor | None, factor: Tensor | float
    ) -> Loss:
        def critic(images: Tensor) -> Tensor:
            return self._scored(params, images, None if labels is None else labels.repeat(3))

        scores, penalties = scores_and_penalties(critic, torch.cat([real, made]))
        real_scores, fake_scores = scores[: len(real)], scores[len(real) :]
        r1, r2 = penalties[: len(real)].mean(), penalties[len(real) :].mean()
        adversarial = relativistic_critic(torch.cat([real_scores, real_scores]), fake_scores)
        terms = {"adversarial": adversarial, "r1": r1, "r2": r2, **score_terms(real_scores, fake_scores)}
        return Loss(adversarial + 0.5 * self.options["gamma"] * factor * (r1 + r2), terms)

    def _apart(self, params: Params, real: Tensor, again: Tensor) -> Tensor:
        if self.options["reconstruction"] == "pixels":
            return 0.5 * (real - again).square().sum((1, 2, 3)).mean() / 0.1
        seen, remade = (self._critic(params, images, method="look") for images in (real, again))
        return 0.5 * (seen - remade).square().sum(1).mean()  # type: ignore[no-any-return]
