"""A learner whose early layers move less than its late ones, as a learner around the learner."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.learners.base import Learner
from limner.objectives.transfer import falling_rates
from limner.types import Batch, Draws, Loss, Params, Request


class Layered:
    """``learner``, going on from ``start`` with discriminative rates (Howard & Ruder 2018, section 3.2).

    What is trained is φ; the learner's own parameters are θ = start + r ⊙ (φ − start), with r of each layer from
    :func:`limner.objectives.transfer.falling_rates`. A step of Adam does not depend on the scale of its gradient, so a
    step of φ at rate η is one of θ at rate r·η; plain and momentum descent do as much with √r, for they see r twice.

    optimiser  ``adam``, ``sgd`` or ``momentum``: the strategy's

    >>> from limner.learners.classifier import Classifier
    >>> plain = Classifier((1, 16, 16), classes=2, features=4, width=4)
    >>> start = plain.init(0)
    >>> layered = Layered(plain, start, decay=0.5)
    >>> moved = layered.merged({name: value + 1 for name, value in start.items()})
    >>> names = ("net.encoder.head.bias", "net.head.bias")
    >>> [round(float((moved[name] - start[name]).max()), 4) for name in names]
    [0.5, 1.0]
    """

    def __init__(self, learner: Learner, start: Params, decay: float, optimiser: str = "adam") -> None:
        self.learner, self.start = learner, start
        self.kind, self.players, self.answers = learner.kind, learner.players, learner.answers
        self.image_shape, self.options = learner.image_shape, learner.options
        self.rates: dict[str, float] = {}
        for player in learner.players:
            own = [name for name in learner.init(0) if name.startswith(player + ".")]
            found = falling_rates(own, [start[name].ndim for name in own], decay)
            self.rates |= {name: rate if optimiser == "adam" else rate**0.5 for name, rate in found.items()}

    def merged(self, params: Params) -> Params:
        """The learner's own parameters θ; can be differentiated."""
        return {
            name: self.start[name] + self.rates[name] * (value - self.start[name]) if name in self.rates else value
            for name, value in params.items()
        }

    def init(self, seed: int) -> Params:
        """The learner's own fresh parameters: their names, shapes and order."""
        return self.learner.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """The learner's own draws."""
        return self.learner.draw(batch, generator)

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The learner's own loss at θ."""
        return self.learner.loss(player, self.merged(params), batch, draws)

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """The learner's own answer at θ."""
        return self.learner.predict(self.merged(params), request, generator)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """φ with what the learner fits at θ."""
        whole = self.learner.finish(self.merged(params), batch, generator)
        return params | {name: value for name, value in whole.items() if name not in params}
