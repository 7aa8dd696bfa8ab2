"""Optimisers as pure pairs: ``init`` makes a state, ``update`` returns new parameters and a new state.

They work on the named parameters of one player, change nothing in place, and can be differentiated through, so the
same update is ordinary training and an inner loop of meta-learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from limner.config import Strategy
from limner.errors import LimnerError
from limner.types import Params


class OptimiserState(NamedTuple):
    """What an optimiser remembers: how many updates were made, and its running means (empty where it keeps none)."""

    updates: int
    mean: Params
    square: Params


class Updated(NamedTuple):
    """New parameters and the state to go on with."""

    params: Params
    state: OptimiserState


Update = Callable[[Params, Params, OptimiserState, float, Params | None], Updated]


@dataclass(frozen=True)
class Optimiser:
    """A named pair of pure functions.

    ``init(params) -> state`` and ``update(params, gradients, state, rate, rates) -> Updated``. ``rate`` is the step
    size; ``rates`` multiplies it parameter by parameter (learned step sizes, Meta-SGD), ``None`` for none.
    ``quick`` does the same in fewer passes over memory, where nothing is differentiated through it or vectorised.

    >>> sgd_optimiser = create(Strategy(optimiser="sgd"))
    >>> params = {"net.w": torch.tensor([1.0])}
    >>> state = sgd_optimiser.init(params)
    >>> sgd_optimiser.update(params, {"net.w": torch.tensor([2.0])}, state, 0.1, None).params["net.w"]
    tensor([0.8000])
    """

    name: str
    init: Callable[[Params], OptimiserState]
    update: Update
    quick: Update


def create(strategy: Strategy) -> Optimiser:
    """The optimiser that ``strategy`` names, with its decays."""
    return named(strategy.optimiser, strategy.betas)


def named(name: str, betas: tuple[float, float] = (0.9, 0.999)) -> Optimiser:
    """``sgd``, ``momentum`` (decay ``betas[0]``) or ``adam``. Raises :class:`LimnerError` for another name."""
    if name == "sgd":
        return Optimiser(name, _empty, _sgd, _sgd)
    if name == "momentum":
        return Optimiser(name, _with_mean, momentum := _momentum(betas[0]), momentum)
    if name == "adam":
        return Optimiser(name, _with_both, _adam(*betas), _quick_adam(*betas))
    raise LimnerError(f"there is no optimiser {name!r}; there are: sgd, momentum, adam")


def _empty(params: Params) -> OptimiserState:
    return OptimiserState(0, {}, {})


def _with_mean(params: Params) -> OptimiserState:
    return OptimiserState(0, {name: torch.zeros_like(value) for name, value in params.items()}, {})


def _with_both(params: Params) -> OptimiserState:
    return OptimiserState(0, _with_mean(params).mean, _with_mean(params).mean)


def _scaled(step: Tensor, name: str, rates: Params | None) -> Tensor:
    return step if rates is None else step * rates[name]


def _sgd(params: Params, gradients: Params, state: OptimiserState, rate: float, rates: Params | None) -> Updated:
    moved = {
        name: torch.sub(value, _scaled(gradients[name], name, rates), alpha=rate) for name, value in params.items()
    }
    return Updated(moved, OptimiserState(state.updates + 1, {}, {}))


def _momentum(decay: float) -> Update:
    def update(params: Params, gradients: Params, state: OptimiserState, rate: float, rates: Params | None) -> Updated:
        mean = {name: decay * state.mean[name] + gradients[name] for name in params}
        moved = {name: torch.sub(value, _scaled(mean[name], name, rates), alpha=rate) for name, value in params.items()}
        return Updated(moved, OptimiserState(state.updates + 1, mean, {}))

    return update


def _adam(decay: float, decay_square: float, epsilon: float = 1e-8) -> Update:
    """Adam (Kingma & Ba 2015, algorithm 1), with the two bias corrections folded into the step size and epsilon.

    θ ← θ − α·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε·√(1−β₂ᵗ))
    """

    def update(params: Params, gradients: Params, state: OptimiserState, rate: float, rates: Params | None) -> Updated:
        count = state.updates + 1
        correction = (1 - decay_square**count) ** 0.5
        size = rate * correction / (1 - decay**count)
        # A square root of exactly zero has an infinite derivative; where the update is differentiated through, a
        # tiny floor keeps 0 · ∞ out of the meta-gradient.
        floor = 1e-30 if torch.is_grad_enabled() else 0.0
        moved, mean, square = {}, {}, {}
        for name, value in params.items():
            gradient = gradients[name]
            mean[name] = torch.lerp(gradient, state.mean[name], decay)
            square[name] = torch.addcmul(state.square[name] * decay_square, gradient, gradient, value=1 - decay_square)
            root = (square[name] + floor).sqrt() if floor else square[name].sqrt()
            root = root + epsilon * correction
            step = _scaled(mean[name], name, rates)
            moved[name] = torch.addcdiv(value, step, root, value=-size)
        return Updated(moved, OptimiserState(count, mean, square))

    return update


def _quick_adam(decay: float, decay_square: float, epsilon: float = 1e-8) -> Update:
    """The same by PyTorch's fused kernel, which goes through memory once; it works in place, so on copies."""
    plainly = _adam(decay, decay_square, epsilon)

    def update(params: Params, gradients: Params, state: OptimiserState, rate: float, rates: Params | None) -> Updated:
        if rates is not None or not params:
            return plainly(params, gradients, state, rate, rates)
        with torch.no_grad():
            moved, mean, square = (
                # The kernel takes all to lie in memory one number after the other.
                {name: own[name].clone(memory_format=torch.contiguous_format) for name in params}
                for own in (params, state.mean, state.square)
            )
            known = [gradients[name].contiguous() for name in params]
            counts = list(torch.full((len(params),), float(state.updates + 1)).unbind())
            torch._fused_adam_(
                list(moved.values()), known, list(mean.values()), list(square.values()), [], counts, lr=rate,
                beta1=decay, beta2=decay_square, weight_decay=0.0, eps=epsilon, amsgrad=False, maximize=False,
            )  # fmt: skip
        return Updated(moved, OptimiserState(state.updates + 1, mean, square))

    return update
