"""Adapting a start by few numbers, and without losing its variety: what ``Strategy.update``, ``rank`` and ``preserve``
ask for, as a learner around the learner, so that steps, guard and checkpoints need not know of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limner.config import Strategy
from limner.errors import LimnerError
from limner.learners import Learner
from limner.learners.base import Constrained, Decoding, Remembering
from limner.objectives.transfer import distance_consistency
from limner.seeds import generator as seeded
from limner.types import FITTED, Batch, Draws, Loss, Params, Request

PRESERVED = 8
"""How many latents' images are compared at each step where ``preserve`` has a weight."""

CRITIC = "critic"
"""The player whose parameters are never adapters. A critic must come to tell other images from others than those of
its start, with whatever it has; it makes no images, so it cannot copy any. What holds it back is freezing its early
layers (:func:`early_layers`)."""


def adapting(learner: Learner, start: Params | None, strategy: Strategy) -> Learner:
    """What is trained: ``learner`` itself, or around it what the strategy's ``update`` and ``preserve`` ask for.

    start  in the learner's own names and order; ``None`` = the strategy begins from scratch

    Raises :class:`LimnerError` where there is no start to adapt, or no decoder whose images could be compared.
    """
    if strategy.update == "full" and not strategy.preserve:
        return learner
    asked = "preserve" if strategy.preserve else f"update={strategy.update}"
    if start is None:
        raise LimnerError(
            f"{asked} holds on to a start, but this strategy begins from scratch; give a start, or leave it out"
        )
    if strategy.preserve and (not isinstance(learner, Decoding) or not isinstance(learner.options.get("latents"), int)):
        raise LimnerError(
            f"preserve compares the images of latents, which the {learner.kind} does not have; use a vae or a gan, or "
            "leave it out"
        )
    return Adapted(learner, start, strategy)


class Adapted:
    """A learner whose parameters are a start with something small laid over it. It is a learner itself.

    Each weight W of two or more axes, of a player other than the critic, is read as a matrix of its first axis by all
    others: of a linear map (outputs, inputs), of a convolution (outputs, inputs·k²), of a transposed convolution
    (inputs, outputs·k²). What is trained in its stead, by ``strategy.update``:

    low-rank    W + B·A with ``W.up`` = B (rows, rank), zero at first, and ``W.down`` = A (rank, columns), normal with
                variance 1/rank, so that a step of Adam on B changes each number of W about as much as one on W would
                (Hu et al. 2022, section 4.1; the variance after Kalajdzievski 2023). A weight that is not larger
                than its B and A together is trained itself
    modulation  W ⊙ (1 + r)(1 + c)ᵀ over its first two axes, with ``W.rows`` = r and ``W.columns`` = c zero at first:
                channels are strengthened and weakened, none is mixed anew (Zhao, Cong & Carin 2020, AdaFM, which has
                one such number for each kernel; Shahbazi et al. 2021, cGANTransfer, one for each channel)
    full        nothing: W itself

    Biases, gains and scalars are trained themselves. Names begin with the parameter's own, so that what is ``frozen``
    by prefix stays frozen. With ``strategy.preserve`` the losses of those players get, times it,
    :func:`limner.objectives.transfer.distance_consistency` to the start's images of the same latents.

    >>> from limner.learners import create
    >>> gan = create("gan", (1, 16, 16), latents=3, width=4)
    >>> start = gan.init(0)
    >>> small = Adapted(gan, start, Strategy(update="low-rank", rank=1))
    >>> all(torch.equal(value, start[name]) for name, value in small.merged(small.init(0)).items())
    True
    >>> [name for name in small.init(0) if name.startswith("generator.tail")]
    ['generator.tail.weight.up', 'generator.tail.weight.down', 'generator.tail.bias']
    """

    def __init__(self, learner: Learner, start: Params, strategy: Strategy) -> None:
        self.learner, self.start = learner, start
        self.kind, self.players, self.answers = learner.kind, learner.players, learner.answers
        self.image_shape, self.options = learner.image_shape, learner.options
        self._preserve = strategy.preserve
        self._rank = strategy.rank
        self._parts = {name: self._update_of(name, value, strategy.update) for name, value in start.items()}

    def _update_of(self, name: str, value: Tensor, update: str) -> str:
        if value.ndim < 2 or name.startswith(CRITIC + "."):
            return "full"
        rows, columns = _matrix_shape(value)
        return "full" if update == "low-rank" and self._rank * (rows + columns) >= rows * columns else update

    def init(self, seed: int) -> Params:
        """What is trained, so that :meth:`merged` is the start."""
        random = seeded(seed, "adapters")
        params: Params = {}
        for name, value in self.start.items():
            if self._parts[name] == "low-rank":
                rows, columns = _matrix_shape(value)
                down = torch.randn(self._rank, columns, generator=random).to(value) / self._rank**0.5
                params |= {f"{name}.up": value.new_zeros(rows, self._rank), f"{name}.down": down}
            elif self._parts[name] == "modulation":
                params |= {
                    f"{name}.rows": value.new_zeros(len(value)),
                    f"{name}.columns": value.new_zeros(value.shape[1]),
                }
            else:
                params[name] = value
        return params

    def merged(self, params: Params) -> Params:
        """The learner's own parameters, in its own order, and what was fitted; can be differentiated."""
        whole = {name: self._merged(name, value, params) for name, value in self.start.items()}
        return whole | {name: value for name, value in params.items() if name.startswith(FITTED)}

    def _merged(self, name: str, value: Tensor, params: Params) -> Tensor:
        if self._parts[name] == "low-rank":
            return value + (params[f"{name}.up"] @ params[f"{name}.down"]).view(value.shape)
        if self._parts[name] == "modulation":
            ones = (1,) * (value.ndim - 2)
            columns = (1 + params[f"{name}.columns"]).view(1, -1, *ones)
            return value * (1 + params[f"{name}.rows"]).view(-1, 1, *ones) * columns
        return params[name]

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """The learner's own draws; with ``preserve`` also ``preserved (8, latents)``, z ~ N(0, 1)."""
        draws = self.learner.draw(batch, generator)
        if self._preserve:
            shape = (PRESERVED, self.options["latents"])
            draws["preserved"] = torch.randn(shape, generator=generator, device=generator.device)
        return draws

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The learner's own loss at the merged parameters; with ``preserve`` also that, as the term ``preserve``."""
        whole = self.merged(params)
        found = self.learner.loss(player, whole, batch, draws)
        if not self._preserve or player == CRITIC:
            return found
        assert isinstance(self.learner, Decoding)
        with torch.no_grad():
            reference = self.learner.decode(self.start, draws["preserved"])
        apart = distance_consistency(self.learner.decode(whole, draws["preserved"]), reference)
        return Loss(found.value + self._preserve * apart, {**found.terms, "preserve": apart})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """The learner's own answer."""
        return self.learner.predict(self.merged(params), request, generator)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """``params`` with what the learner fits."""
        whole = self.learner.finish(self.merged(params), batch, generator)
        return {**params, **{name: value for name, value in whole.items() if name.startswith(FITTED)}}

    def constrain(self, params: Params) -> Params:
        """``params`` with those of the critic, the only player that is ever constrained, as the learner wants them."""
        return self.learner.constrain(params) if isinstance(self.learner, Constrained) else params

    def remember(self, params: Params, batch: Batch, draws: Draws) -> Batch:
        """What the learner remembers."""
        return self.learner.remember(self.merged(params), batch, draws) if isinstance(self.learner, Remembering) else {}


def _matrix_shape(value: Tensor) -> tuple[int, int]:
    return len(value), value[0].numel()


def early_layers(learner: Learner, count: int = 2, player: str = CRITIC) -> tuple[str, ...]:
    """What to freeze, so that the first ``count`` layers of a ``player``'s body stay as they are: a strategy's
    ``frozen``. With the critic's this is FreezeD (Mo, Cho & Shin 2020, section 3).

    Names are in the order of the layers, from the image on. Raises :class:`LimnerError` for a player without a body, or
    whose body has fewer layers.

    >>> from limner.learners import create
    >>> early_layers(create("gan", (1, 28, 28), width=4))
    ('critic.body.0.', 'critic.body.2.')
    """
    body = f"{player}.body."
    names = [name for name in learner.init(0) if name.startswith(body)]
    layers = list(dict.fromkeys(body + name.removeprefix(body).split(".")[0] + "." for name in names))
    if not 1 <= count <= len(layers):
        raise LimnerError(
            f"the {learner.kind} has {len(layers) or 'no'} layers in {player}.body, so {count} of them cannot be "
            "frozen; choose a gan, and as many as it has"
        )
    return tuple(layers[:count])
