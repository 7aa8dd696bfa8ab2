"""The meta-gradients, each as short as its paper's algorithm.

All take one episode, a task with its randomness already drawn, and work for any learner with any number of players:
each player has its own meta-loss, its query loss after adaptation, differentiated in its own part of the start.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.engine.step import dot, gradients, owned
from limner.learners.base import Learner
from limner.meta.checks import refusals_told
from limner.meta.inner import Episode, Inner, adapt, closed_form, frozen_in
from limner.meta.plan import MetaPlan
from limner.meta.recompute import recomputed
from limner.model_file import RATES
from limner.types import Loss, Params


class MetaGradient(NamedTuple):
    """A direction to descend in the start (parameters, and ``rates.*`` where they are learned), and each player's
    query loss after adaptation; ``terms`` holds that loss's terms, by ``player term``."""

    gradient: Params
    losses: dict[str, Tensor]
    terms: dict[str, Tensor]


@refusals_told()
def meta_gradient(
    learner: Learner,
    plan: MetaPlan,
    start: Params,
    episode: Episode,
    *,
    functional: bool = False,
    progress: float = 1.0,
) -> MetaGradient:
    """The meta-gradient of ``plan.algorithm`` at ``start`` for one episode.

    reptile  θ − θ′, with θ′ the adapted parameters (Nichol et al. 2018, algorithm 1)
    fomaml   ∇_{θ′} L(θ′; query) (Finn et al. 2017, section 5.2)
    maml     ∇_θ L(θ′(θ); query) (Finn et al. 2017, algorithm 1), through every inner step. ANIL and BOIL: the same,
             where only the head, or only the body, moves from θ to θ′
    meta-sgd the same in θ and in the step sizes α of θ′ = θ − α ∘ ∇L (Li et al. 2017, equation 3)
    maml++   the same in θ and in a step size for each layer and step, of the weighted sum of the query losses after
             every step (Antoniou et al. 2019, equation 3); ``progress``, the share of the training that is over, sets
             the weights
    imaml    (I + H/λ)⁻¹ ∇_φ L(φ; query) at the φ that adaptation ends at, H the Hessian of the support loss there
             (Rajeswaran et al. 2019, equation 6), by conjugate gradients
    prototypical, ridge  ∇_θ of the query loss after a closed-form fit to the support (Snell et al. 2017, algorithm 1;
             Bertinetto et al. 2019, section 3.2)

    ``functional`` uses ``torch.func`` throughout, so that ``vmap`` over episodes works. Raises :class:`LimnerError` for
    an operation that cannot be differentiated twice where that is needed.
    """
    plan = plan.at(progress)
    traits = plan.traits
    if traits.outer == "displacement":
        return _displacement(learner, plan, start, episode, functional)
    if traits.outer == "implicit":
        return _implicit(learner, plan, start, episode, functional)
    if traits.outer == "closed form":
        fitted = partial(closed_form, learner, episode=episode)
        return _through(learner, start, episode, functional, lambda moving: [(1.0, fitted(moving))])
    weights = plan.step_weights(progress)
    if not traits.second_order and not traits.rates:
        return _first_order(learner, plan, start, episode, functional, weights)
    if plan.recompute and plan.inner_steps and not functional:
        return _told(*recomputed(learner, plan, start, episode, weights))

    def adapted(moving: Params) -> list[tuple[float, Params]]:
        inner = Inner(
            learner,
            plan,
            moving,
            episode,
            second_order=traits.second_order,
            differentiable=True,
            functional=functional,
        )
        return list(zip(weights, inner.trail(), strict=True)) if plan.inner_steps else [(1.0, moving)]

    return _through(learner, start, episode, functional, adapted)


def _displacement(learner: Learner, plan: MetaPlan, start: Params, episode: Episode, functional: bool) -> MetaGradient:
    adapted = adapt(learner, plan, start, episode, functional=functional)
    found = {name: value - adapted[name] for name, value in start.items()}
    with torch.no_grad():
        losses = _query_losses(learner, adapted, episode)
    return _told(found, losses)


def _first_order(
    learner: Learner, plan: MetaPlan, start: Params, episode: Episode, functional: bool, weights: list[float]
) -> MetaGradient:
    """The gradient at the adapted parameters, taken for the one at the start: dθ′/dθ ≈ 1."""
    trail = list(Inner(learner, plan, start, episode, functional=functional).trail()) or [start]
    found: Params = {}
    losses: dict[str, Loss] = {}
    for player in learner.players:
        for weight, adapted in zip(weights, trail, strict=True):
            if weight:
                own, losses[player] = gradients(
                    learner, player, adapted, episode.query, episode.query_draws, functional=functional
                )
                found |= {name: found.get(name, 0.0) + weight * value for name, value in own.items()}
    return _told(found, losses)


def _through(
    learner: Learner,
    start: Params,
    episode: Episode,
    functional: bool,
    adapted: Callable[[Params], list[tuple[float, Params]]],
) -> MetaGradient:
    """The gradient of the weighted query losses through whatever ``adapted`` did to the start."""

    def weighted(moving: Params) -> tuple[dict[str, Tensor], dict[str, Loss]]:
        totals: dict[str, Tensor] = {}
        losses: dict[str, Loss] = {}
        for weight, params in adapted(moving):
            if weight:
                losses = _query_losses(learner, params, episode)
                for player, loss in losses.items():
                    totals[player] = totals[player] + weight * loss.value if player in totals else weight * loss.value
        return totals, losses

    found: Params = {}
    if functional:
        told: tuple[Any, ...] = torch.func.vjp(weighted, start, has_aux=True)
        totals, pull, losses = told
        for player in learner.players:
            cotangent = {name: torch.full_like(value, float(name == player)) for name, value in totals.items()}
            (pulled,) = pull(cotangent)
            found |= {name: pulled[name] for name in parts_of(start, player)}
        return _told(found, losses)
    leaves = {name: value.detach().requires_grad_() for name, value in start.items()}
    with torch.enable_grad():
        totals, losses = weighted(leaves)
    for index, player in enumerate(learner.players):
        own = parts_of(leaves, player)
        values = torch.autograd.grad(
            totals[player],
            list(own.values()),
            retain_graph=index + 1 < len(learner.players),
            materialize_grads=True,
            allow_unused=True,
        )
        found |= dict(zip(own, values, strict=True))
    return _told(found, losses)


def _implicit(learner: Learner, plan: MetaPlan, start: Params, episode: Episode, functional: bool) -> MetaGradient:
    """Each player's (I + H/λ)⁻¹ g by conjugate gradients, H the Hessian of its support loss in its own parameters."""
    adapted = adapt(learner, plan, start, episode, functional=functional)
    frozen = frozen_in(learner, plan, start)
    support = {name: value[-1] for name, value in episode.inner.items()}
    draws = {name: value[-1] for name, value in episode.inner_draws.items()}
    found: Params = {}
    losses: dict[str, Loss] = {}
    for player in learner.players:
        right, losses[player] = gradients(
            learner, player, adapted, episode.query, episode.query_draws, frozen, functional=functional
        )

        def support_gradient(own: Params, player: str = player) -> Params:
            moving = {**adapted, **own}
            return gradients(learner, player, moving, support, draws, frozen, create_graph=True, functional=True)[0]

        def product(vector: Params, player: str = player) -> Params:
            own = {name: adapted[name] for name in vector}
            turned = torch.func.vjp(support_gradient, own)[1]
            (curved,) = turned(vector)
            return {name: value + curved[name] / plan.proximal for name, value in vector.items()}

        if plan.inner_steps:
            right = conjugate_gradients(product, right, plan.conjugate_steps)
        found |= {name: right.get(name, torch.zeros_like(value)) for name, value in owned(start, player).items()}
    return _told(found, losses)


def conjugate_gradients(product: Callable[[Params], Params], right: Params, steps: int) -> Params:
    """x with product(x) ≈ right, for a symmetric product (Hestenes & Stiefel 1952).

    It ends, with what was found until then, at a direction of no or negative curvature (Steihaug 1983).

    >>> double = lambda vector: {"x": 2 * vector["x"]}
    >>> conjugate_gradients(double, {"x": torch.tensor([2.0, 4.0])}, steps=1)["x"]
    tensor([1., 2.])
    """
    solution = {name: torch.zeros_like(value) for name, value in right.items()}
    residual = direction = right
    squared = dot(residual, residual)
    going = squared > 0
    for _ in range(steps):
        turned = product(direction)
        curvature = dot(direction, turned)
        going = going & (curvature > 0)
        length = torch.where(going, squared / torch.where(going, curvature, 1.0), 0.0)
        solution = {name: value + length * direction[name] for name, value in solution.items()}
        residual = {name: value - length * turned[name] for name, value in residual.items()}
        former, squared = squared, dot(residual, residual)
        going = going & (squared > 0)
        ratio = squared / torch.where(former > 0, former, 1.0)
        direction = {name: value + ratio * direction[name] for name, value in residual.items()}
    return solution


def parts_of(start: Params, player: str) -> Params:
    """What of a start answers to the player's meta-loss: its parameters and its learned step sizes."""
    return owned(start, player) | owned(start, RATES + player)


def _query_losses(learner: Learner, params: Params, episode: Episode) -> dict[str, Loss]:
    return {player: learner.loss(player, params, episode.query, episode.query_draws) for player in learner.players}


def _told(found: Params, losses: dict[str, Loss]) -> MetaGradient:
    terms = {f"{player} {name}": term.detach() for player, loss in losses.items() for name, term in loss.terms.items()}
    return MetaGradient(found, {player: loss.value.detach() for player, loss in losses.items()}, terms)
