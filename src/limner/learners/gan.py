"""The generative adversarial network: both players side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.networks import Decoder, Encoder, Template
from limner.objectives.adversarial import relativistic_critic, relativistic_generator, scores_and_penalties
from limner.types import Batch, Draws, Loss, Params, Request


class GAN:
    """Relativistic GAN with R1 and R2 (R3GAN, Huang et al. 2024), networks of DCGAN's size without BatchNorm.

    The critic minimises E softplus(−(D(x) − D(G(z)))) + γ/2·(R1 + R2), the generator E softplus(−(D(G(z)) − D(x))).

    latents  dimensions of z ~ N(0, 1)
    width    channels at full resolution; doubled at each halving, at most four-fold
    gamma    γ, the weight of the two gradient penalties

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
        self, image_shape: tuple[int, int, int], latents: int = 32, width: int = 16, gamma: float = 1.0
    ) -> None:
        self.image_shape = image_shape
        self.options: dict[str, Any] = {"latents": latents, "width": width, "gamma": gamma}
        self._generator = Template("generator", lambda: Decoder(image_shape, latents, width))
        self._critic = Template("critic", lambda: Encoder(image_shape, 1, width, normalised=False))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``critic.*`` and ``generator.*``."""
        return {**self._critic.init(seed), **self._generator.init(seed)}

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """``critic_latents`` and ``generator_latents``: z for each player's turn, ``(n, latents)``."""
        shape = (len(batch["images"]), self.options["latents"])
        return {
            f"{player}_latents": torch.randn(shape, generator=generator, device=generator.device)
            for player in self.players
        }

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The player's side of the game; the critic's terms hold ``adversarial``, ``r1`` and ``r2``."""

        def critic(images: Tensor) -> Tensor:
            return self._critic(params, 2 * images - 1)[:, 0]  # type: ignore[no-any-return]

        real = batch["images"]
        fake = self.decode(params, draws[f"{player}_latents"])
        if player == "generator":
            adversarial = relativistic_generator(critic(real), critic(fake))
            return Loss(adversarial, {"adversarial": adversarial})
        scores, penalties = scores_and_penalties(critic, torch.cat([real, fake]))
        adversarial = relativistic_critic(*scores.chunk(2))
        r1, r2 = (part.mean() for part in penalties.chunk(2))
        value = adversarial + 0.5 * self.options["gamma"] * (r1 + r2)
        return Loss(value, {"adversarial": adversarial, "r1": r1, "r2": r2})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, without gradients."""
        if request.what != "sample":
            raise LimnerError(f"a GAN cannot answer {request.what!r}; ask it for samples")
        shape = (request.count, self.options["latents"])
        latents = torch.randn(shape, generator=generator, device=generator.device)
        with torch.no_grad():
            images = [self.decode(params, part) for part in torch.split(latents, 256) if len(part)]
        return torch.cat(images) if images else torch.empty(0, *self.image_shape)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images G(z) in [0, 1], ``(n, c, h, w)``, of ``latents (n, latents)``; can be differentiated."""
        if latents.shape[-1] != self.options["latents"]:
            raise LimnerError(
                f"this GAN's latents have {self.options['latents']} numbers, not {latents.shape[-1]}; give (n, latents)"
            )
        return torch.sigmoid(self._generator(params, latents))
