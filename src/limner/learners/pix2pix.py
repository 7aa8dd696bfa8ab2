"""Translation learned from pairs: both players side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.translator import answered, game_of, network_of
from limner.networks import Template
from limner.networks.translators import PatchCritic, check_sides
from limner.objectives.adversarial import score_terms
from limner.types import Batch, Draws, Loss, Params, Request


class Pix2Pix:
    """An image to image network learned from pairs (pix2pix, Isola et al. 2017).

    With x an input, y its target, G the generator and D a critic that sees both and scores patches, the critic
    minimises its side of the ``objective`` on D(x, y) against D(x, G(x)), the generator (their eqs. 3 and 4)

        its own side on D(x, G(x)) + λ · E ‖y − G(x)‖₁,

    the L1 norm being the mean over pixels of images in [−1, 1]. The paper halves the critic's loss to slow it down, as
    here. It has no noise z: the paper's generator learned to ignore it.

    input_channels  of the inputs: 1 = grey, 3 = colour; ``image_shape`` is that of the targets
    width           channels at the first layer of both networks (64 in the paper)
    network         ``unet`` or ``residual``
    objective       ``non-saturating`` (the paper's), ``least-squares`` or ``hinge``
    fidelity        λ, the weight of the L1 norm

    >>> translator = Pix2Pix((3, 16, 16), input_channels=1, width=4)
    >>> request = Request("translate", images=torch.zeros(2, 1, 16, 16))
    >>> translator.predict(translator.init(seed=0), request, torch.Generator()).shape
    torch.Size([2, 3, 16, 16])
    """

    kind = "pix2pix"
    players = ("critic", "generator")
    answers = ("translate",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        input_channels: int = 3,
        width: int = 32,
        network: str = "unet",
        objective: str = "non-saturating",
        fidelity: float = 100.0,
    ) -> None:
        check_sides(image_shape)
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "input_channels": input_channels, "width": width, "network": network, "objective": objective,
            "fidelity": fidelity,
        }  # fmt: skip
        outputs, side, _ = image_shape
        self._game = game_of(self.kind, objective)
        self._generator = network_of(self.kind, "generator", network, input_channels, outputs, side, width)
        self._critic = Template("critic", lambda: PatchCritic(input_channels + outputs, side, width))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``critic.*`` and ``generator.*``."""
        return {**self._critic.init(seed), **self._generator.init(seed)}

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Nothing random happens in a step."""
        return {}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The player's side; the generator's terms are ``adversarial`` and ``absolute error`` (of images in [0, 1])."""
        if "inputs" not in batch:
            raise LimnerError("a pix2pix learns from pairs; give inputs and targets")
        inputs, real = 2 * batch["inputs"] - 1, 2 * batch["images"] - 1
        fake = self._generator(params, inputs)
        fake_scores = self._critic(params, torch.cat([inputs, fake], 1))
        if player == "generator":
            adversarial = self._game.generator(fake_scores)
            error = (real - fake).abs().mean()
            value = adversarial + self.options["fidelity"] * error
            return Loss(value, {"adversarial": adversarial, "absolute error": error / 2})
        real_scores = self._critic(params, torch.cat([inputs, real], 1))
        value = self._game.critic(real_scores, fake_scores) / 2
        return Loss(value, score_terms(real_scores, fake_scores))

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """``translate``: the images' translations, in [0, 1], without gradients."""
        return answered(self.kind, {"translate": self._generator}, params, request)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params
