"""The VAE-GAN: an autoencoder whose decoder is also a generator, and whose errors a critic can measure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from limner.errors import LimnerError
from limner.learners.checks import check_latents, check_words
from limner.learners.labels import decoded_labels
from limner.learners.latents import SAMPLERS, check_sampler, sampler_of
from limner.networks import Decoder, Encoder, Template
from limner.networks.convolutional import Body
from limner.objectives.adversarial import (
    relativistic_critic,
    relativistic_generator,
    score_terms,
    scores_and_penalties,
)
from limner.objectives.variational import kl_to_standard_normal, reparameterise
from limner.types import Batch, Draws, Loss, Params, Request


class _Autoencoder(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], latents: int, width: int) -> None:
        super().__init__()
        self.encoder = Encoder(image_shape, 2 * latents, width)
        self.decoder = Decoder(image_shape, latents, width)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(2 * images - 1).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)

    def decode(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(latents))


class _Critic(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.body = Body(image_shape, width)
        self.head = nn.Linear(self.body.features, 1)

    def look(self, images: Tensor) -> Tensor:
        return self.body(2 * images - 1)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.look(images))[:, 0]  # type: ignore[no-any-return]


class VAEGAN:
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

    >>> model = VAEGAN((1, 16, 16), latents=2, width=4)
    >>> model.predict(model.init(seed=0), Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 16, 16])
    """

    kind = "vae-gan"
    players = ("critic", "net")
    answers = ("sample", "reconstruct", "features")

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
    ) -> None:
        check_words("VAE-GAN", reconstruction=(reconstruction, ("features", "pixels")), sampler=(sampler, SAMPLERS))
        check_sampler(sampler, latents)
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "latents": latents, "width": width, "reconstruction": reconstruction, "beta": beta,
            "adversarial": adversarial, "gamma": gamma, "sampler": sampler
        }  # fmt: skip
        self._net = Template("net", lambda: _Autoencoder(image_shape, latents, width))
        self._critic = Template("critic", lambda: _Critic(image_shape, width))

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
        real = batch["images"]
        mean, log_variance = self.encode(params, real)
        latents = torch.cat([reparameterise(mean, log_variance, draws[f"{player}_noise"]), draws[f"{player}_latents"]])
        made = self.decode(params, latents)
        if player == "critic":
            return self._critic_loss(params, real, made, batch.get("penalty", 1.0))
        real_scores = self._critic(params, real)
        adversarial = relativistic_generator(torch.cat([real_scores, real_scores]), self._critic(params, made))
        reconstruction, kl = self._apart(params, real, made[: len(real)]), kl_to_standard_normal(mean, log_variance)
        value = reconstruction + self.options["beta"] * kl + self.options["adversarial"] * adversarial
        return Loss(value, {"reconstruction": reconstruction, "kl": kl, "adversarial": adversarial})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, reconstructions or features (posterior means), without gradients."""
        with torch.no_grad():
            if request.what == "sample":
                shape = (request.count, self.options["latents"])
                noise = torch.randn(shape, generator=generator, device=generator.device)
                return self._show(params, sampler_of(params).place(noise, generator))
            if request.images is None or request.what not in self.answers:
                raise LimnerError(f"a VAE-GAN cannot answer {request.what!r} here; ask it for samples, or give images")
            mean, _ = self.encode(params, request.images)
            return mean if request.what == "features" else self._show(params, mean)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Fits the sampler to the posterior of the batch: keys ``fitted.*``; nothing for ``sampler="prior"``."""
        if self.options["sampler"] == "prior":
            return params
        with torch.no_grad():
            found = [self.encode(params, part) for part in torch.split(batch["images"], 256)]
        means, log_variances = (torch.cat(parts) for parts in zip(*found, strict=True))
        return {**params, **SAMPLERS[self.options["sampler"]](means, log_variances.exp(), generator)}

    def encode(self, params: Params, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), ``(n, latents)`` each, of ``images`` in [0, 1]; can be differentiated."""
        found: tuple[Tensor, Tensor] = self._net(params, images, method="encode")
        return found

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(n, c, h, w)`` in [0, 1] of ``latents (n, latents)``; can be differentiated. It has no classes."""
        check_latents("VAE-GAN", latents, self.options["latents"])
        decoded_labels(latents, labels, 1, "VAE-GAN")
        return self._net(params, latents, method="decode")  # type: ignore[no-any-return]

    def _critic_loss(self, params: Params, real: Tensor, made: Tensor, factor: Tensor | float) -> Loss:
        def critic(images: Tensor) -> Tensor:
            return self._critic(params, images)  # type: ignore[no-any-return]

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

    def _show(self, params: Params, latents: Tensor) -> Tensor:
        images = [self.decode(params, part) for part in torch.split(latents, 256)]
        return torch.cat(images) if images else torch.empty(0, *self.image_shape)
