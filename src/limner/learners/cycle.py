"""Translation learned without pairs: two generators and two critics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.translator import answered, game_of, network_of
from limner.networks import Template
from limner.networks.translators import PatchCritic, check_sides
from limner.types import Batch, Draws, Loss, Params, Request

SIDES = ("targets", "inputs")


class Cycle:
    """Two image to image networks learned from two sets of images without pairs (CycleGAN, Zhu et al. 2017).

    With x an input, y a target, G: x → y and F: y → x, the generators together minimise (their eqs. 1 to 3, 5)

        adversarial(D_Y(G(x))) + adversarial(D_X(F(y)))
        + λ · (E ‖F(G(x)) − x‖₁ + E ‖G(F(y)) − y‖₁) + λ·ι · (E ‖G(y) − y‖₁ + E ‖F(x) − x‖₁)

    with the L1 norm the mean over pixels of images in [−1, 1]; the last term, the identity loss, is left out where one
    side is grey and the other colour. The critics, which score patches, minimise their own side of the ``objective``,
    halved; the fake images that they see are each, with probability ½, replaced by an earlier one.

    Those earlier fakes, the image pool (Shrivastava et al. 2017), cannot live in a loss, which is pure, nor among the
    parameters, for they are no model. They are part of the training's state: the engine keeps what :meth:`remember`
    returns, puts it into the next batch (``past targets``, ``past inputs``) and into checkpoints. Which fakes are
    replaced, and by which, is drawn in ``draw`` like all randomness. A batch without them (as in meta-learning's short
    inner loops) has no pool, and the critics see the present fakes.

    input_channels  of the inputs: 1 = grey, 3 = colour; ``image_shape`` is that of the targets
    width           channels at the first layer of all networks (64 in the paper)
    network         ``residual`` (the paper's) or ``unet``
    objective       ``least-squares`` (the paper's), ``non-saturating`` or ``hinge``
    fidelity        λ, the weight of the way there and back (10 in the paper, whose least squares lack LSGAN's ½: here
                    it weighs twice as much beside them)
    identity        ι, the weight of the identity loss relative to λ: 0.5 where the paper keeps a photograph's
                    colours, else 0
    pool            how many earlier fakes of each side are kept

    >>> translator = Cycle((1, 16, 16), input_channels=3, width=4)
    >>> request = Request("translate back", images=torch.zeros(2, 1, 16, 16))
    >>> translator.predict(translator.init(seed=0), request, torch.Generator()).shape
    torch.Size([2, 3, 16, 16])
    """

    kind = "cycle"
    players = ("critic", "generator")
    answers = ("translate", "translate back")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        input_channels: int = 3,
        width: int = 16,
        network: str = "residual",
        objective: str = "least-squares",
        fidelity: float = 10.0,
        identity: float = 0.0,
        pool: int = 50,
    ) -> None:
        check_sides(image_shape)
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "input_channels": input_channels, "width": width, "network": network, "objective": objective,
            "fidelity": fidelity, "identity": identity, "pool": pool,
        }  # fmt: skip
        outputs, side, _ = image_shape
        self._game = game_of(self.kind, objective)
        channels = {"targets": outputs, "inputs": input_channels}
        self._generators = {  # by the side that they lead to
            to: network_of(self.kind, f"generator.{to}", network, channels[of], channels[to], side, width)
            for to, of in (SIDES, SIDES[::-1])
        }
        self._critics = {
            to: Template(f"critic.{to}", lambda to=to: PatchCritic(channels[to], side, width)) for to in SIDES
        }

    def init(self, seed: int) -> Params:
        """Fresh parameters ``critic.targets.*``, ``critic.inputs.*``, and ``generator.*`` likewise (where to)."""
        params: Params = {}
        for template in (*self._critics.values(), *self._generators.values()):
            params |= template.init(seed)
        return params

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """For each side whose pool is full: ``swap …`` and ``place …`` ``(n,)``, whether a fake is replaced by an
        earlier one, and by which.
        """
        draws: Draws = {}
        count = len(batch["images"])
        for side in SIDES:
            if len(batch.get(f"past {side}", ())) == self.options["pool"]:
                draws[f"swap {side}"] = torch.rand(count, generator=generator, device=generator.device) < 0.5
                draws[f"place {side}"] = torch.randint(
                    self.options["pool"], (count,), generator=generator, device=generator.device
                )
        return draws

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The player's side; the generators' terms are ``adversarial``, ``cycle`` and ``identity``, the last two as
        mean absolute errors of images in [0, 1].
        """
        real = _reals(batch)
        fake = self._fakes(params, real)
        if player == "critic":
            return self._critic_loss(params, real, fake, batch, draws)
        adversarial = _sum(self._game.generator(self._critics[to](params, fake[to])) for to in SIDES)
        back = self._fakes(params, fake)
        cycle = _sum((back[to] - real[to]).abs().mean() for to in SIDES)
        value = adversarial + self.options["fidelity"] * cycle
        terms = {"adversarial": adversarial, "cycle": cycle / 4}
        if self.options["identity"] and real["inputs"].shape[1] == real["targets"].shape[1]:
            identity = _sum((self._generators[to](params, real[to]) - real[to]).abs().mean() for to in SIDES)
            value = value + self.options["fidelity"] * self.options["identity"] * identity
            terms["identity"] = identity / 4
        return Loss(value, terms)

    def remember(self, params: Params, batch: Batch, draws: Draws) -> Batch:
        """The pools after a step on ``batch``: ``past targets`` and ``past inputs``, in [−1, 1], at most ``pool`` each.

        They fill up first; from then on a fake that was replaced by an earlier one takes its place.
        """
        with torch.no_grad():
            fakes = self._fakes(params, _reals(batch))
        kept: Batch = {}
        for side, fake in fakes.items():
            past = batch.get(f"past {side}", fake[:0])
            if f"swap {side}" in draws:
                swap = draws[f"swap {side}"]
                kept[f"past {side}"] = past.index_copy(0, draws[f"place {side}"][swap], fake[swap])
            else:
                kept[f"past {side}"] = torch.cat([past, fake])[: self.options["pool"]]
        return kept

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """``translate`` inputs, or ``translate back`` targets, in [0, 1], without gradients."""
        ways = {"translate": self._generators["targets"], "translate back": self._generators["inputs"]}
        return answered(self.kind, ways, params, request)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params

    def _fakes(self, params: Params, images: Batch) -> Batch:
        """Both sides made from the other one."""
        return {to: self._generators[to](params, images[of]) for to, of in (SIDES, SIDES[::-1])}

    def _critic_loss(self, params: Params, real: Batch, fake: Batch, batch: Batch, draws: Draws) -> Loss:
        value: list[Tensor] = []
        terms: dict[str, Tensor] = {}
        for side in SIDES:
            seen = fake[side]
            if f"swap {side}" in draws:
                earlier = batch[f"past {side}"][draws[f"place {side}"]]
                seen = torch.where(draws[f"swap {side}"][:, None, None, None], earlier, seen)
            real_scores, fake_scores = (self._critics[side](params, images) for images in (real[side], seen))
            value.append(self._game.critic(real_scores, fake_scores) / 2)
            terms |= {f"real score of {side}": real_scores.mean(), f"fake score of {side}": fake_scores.mean()}
        return Loss(_sum(value), terms)


def _reals(batch: Batch) -> Batch:
    if "inputs" not in batch:
        raise LimnerError("a cycle learns from two sets of images; give inputs and targets")
    return {"targets": 2 * batch["images"] - 1, "inputs": 2 * batch["inputs"] - 1}


def _sum(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()
