"""A small ensemble of networks that foretells score and cost, and what there is to gain by what it foretells."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from limner.seeds import generator
from limner.types import Params

MEMBERS, WIDTH = 5, 32
"""Networks in the ensemble, and hidden units in each of two layers."""

STEPS, RATE, DECAY = 150, 2e-2, 1e-4
"""How the ensemble learns: steps, their size at first, and the share of squared weights in the loss."""

NOISE = 0.1
"""The standard deviation that a prediction has at the least, in those of a task's scores."""


class Predicted(NamedTuple):
    """Of strategies: mean and deviation of the standardised score (higher is better), and log seconds; each (n,)."""

    mean: Tensor
    deviation: Tensor
    log_seconds: Tensor


class Ensemble:
    """Perceptrons that learn the same from different weights of the runs (the Bayesian bootstrap, Rubin 1981); how far
    they differ is how little is known (Lakshminarayanan et al. 2017)."""

    def __init__(self, inputs: int, seed: int) -> None:
        random = generator(seed, "metann")
        self.params: Params = {}
        for layer, (given, made) in enumerate([(inputs, WIDTH), (WIDTH, WIDTH), (WIDTH, 2)]):
            self.params[f"{layer}.weight"] = torch.randn(MEMBERS, given, made, generator=random) / math.sqrt(given)
            self.params[f"{layer}.bias"] = torch.zeros(MEMBERS, 1, made)
        self._random = random

    def __call__(self, inputs: Tensor, params: Params | None = None) -> Tensor:
        """``(n, inputs)`` to ``(members, n, 2)``: standardised score and log seconds."""
        params, values = params or self.params, inputs.expand(MEMBERS, -1, -1)
        for layer in range(3):
            values = values @ params[f"{layer}.weight"] + params[f"{layer}.bias"]
            values = torch.nn.functional.silu(values) if layer < 2 else values
        return values

    def predicted(self, inputs: Tensor) -> Predicted:
        """What the members foretell together of ``inputs``, ``(n, inputs)``."""
        with torch.no_grad():
            made = self(inputs)
        deviation = (made[..., 0].var(0, correction=0) + NOISE**2).sqrt()
        return Predicted(made[..., 0].mean(0), deviation, made[..., 1].mean(0))

    def learn(self, inputs: Tensor, targets: Tensor, weights: Tensor, runs: Tensor) -> None:
        """Fit to ``targets``, ``(n, 2)``, of which each row counts as its weight.

        runs  which run each row is of, ``(n,)``: rows of one run are drawn together, as they tell nearly the same
        """
        from limner.engine.optimisers import named

        drawn = -torch.rand(MEMBERS, int(runs.max()) + 1, generator=self._random).clamp(min=1e-6).log()
        counts = (drawn[:, runs] * weights)[..., None]
        counts = counts / counts.sum(1, keepdim=True)
        adam = named("adam")
        state = adam.init(self.params)
        for step in range(STEPS):
            free = {name: value.requires_grad_(True) for name, value in self.params.items()}
            loss = ((self(inputs, free) - targets) ** 2 * counts).sum()
            loss = loss + DECAY * sum((value**2).sum() for name, value in free.items() if "weight" in name)
            found = torch.autograd.grad(loss, list(free.values()))
            rate = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
            fixed = {name: value.detach() for name, value in free.items()}
            self.params, state = adam.quick(fixed, dict(zip(free, found, strict=True)), state, rate, None)


def expected_improvement(mean: Tensor, deviation: Tensor, best: Tensor | float) -> Tensor:
    """E max(y − best, 0) of normal y (Jones et al. 1998, eq. 15, for the largest); ``(n,)``, never negative.

    >>> expected_improvement(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 1e-6]), 0.0)
    tensor([0.3989, 5.0000])
    """
    off = (mean - best) / deviation
    below, density = torch.special.ndtr(off), (-(off**2) / 2).exp() / math.sqrt(2 * math.pi)
    worth: Tensor = (mean - best) * below + deviation * density
    return worth.clamp(min=0.0)
