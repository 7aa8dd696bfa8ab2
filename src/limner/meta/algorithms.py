"""The meta-gradients, each as short as its paper's algorithm: Reptile, first-order MAML, MAML.

All take one episode, a task with its randomness already drawn, and work for any learner with any number of players.
The inner loop is the engine's own step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from limner.engine.optimisers import named
from limner.engine.step import gradients, init_states, owned, step
from limner.learners.base import Learner
from limner.meta.plan import MetaPlan
from limner.types import Batch, Draws, Params


class Episode(NamedTuple):
    """A task as tensors: the inner batches and draws with a leading axis of inner steps, the query batch and draws."""

    inner: Batch
    inner_draws: Draws
    query: Batch
    query_draws: Draws


class MetaGradient(NamedTuple):
    """A direction to descend in the start's parameters, and each player's query loss after adaptation."""

    gradient: Params
    losses: dict[str, Tensor]


def adapt(
    learner: Learner, plan: MetaPlan, start: Params, episode: Episode, *, second_order: bool, functional: bool
) -> Params:
    """The inner loop: ``plan.inner_steps`` engine steps from ``start`` on the episode's inner batches."""
    optimiser = named(plan.inner_optimiser, plan.inner_betas)
    params, states = start, init_states(learner, optimiser, start)
    for index in range(plan.inner_steps):
        params, states, _, _ = step(
            learner,
            optimiser,
            params,
            states,
            {name: value[index] for name, value in episode.inner.items()},
            {name: value[index] for name, value in episode.inner_draws.items()},
            plan.inner_rate,
            player_rates=plan.player_rates,
            create_graph=second_order,
            functional=functional,
        )
    return params


def meta_gradient(
    learner: Learner, plan: MetaPlan, start: Params, episode: Episode, *, functional: bool = False
) -> MetaGradient:
    """The meta-gradient of ``plan.algorithm`` at ``start`` for one episode.

    reptile  θ − θ′, with θ′ the adapted parameters (Nichol et al. 2018, algorithm 1)
    fomaml   ∇_{θ′} L(θ′; query) (Finn et al. 2017, section 5.2)
    maml     ∇_θ L(θ′(θ); query) (Finn et al. 2017, algorithm 1), through every inner step

    With several players each one's meta-loss is its own query loss, differentiated in its own part of the start.
    ``functional`` uses ``torch.func`` throughout, so that ``vmap`` over episodes works.
    """
    if plan.algorithm == "maml":
        return _maml(learner, plan, start, episode, functional)
    adapted = adapt(learner, plan, start, episode, second_order=False, functional=functional)
    found: Params = {}
    losses: dict[str, Tensor] = {}
    for player in learner.players:
        if plan.algorithm == "fomaml":
            own, loss = gradients(learner, player, adapted, episode.query, episode.query_draws, functional=functional)
            found |= own
        else:
            found |= {name: value - adapted[name] for name, value in owned(start, player).items()}
            with torch.no_grad():
                loss = learner.loss(player, adapted, episode.query, episode.query_draws)
        losses[player] = loss.value.detach()
    return MetaGradient(found, losses)


def _maml(learner: Learner, plan: MetaPlan, start: Params, episode: Episode, functional: bool) -> MetaGradient:
    def query_losses(moving: Params) -> dict[str, Tensor]:
        adapted = adapt(learner, plan, {**start, **moving}, episode, second_order=True, functional=functional)
        return {
            player: learner.loss(player, adapted, episode.query, episode.query_draws).value
            for player in learner.players
        }

    found: Params = {}
    if functional:
        losses: dict[str, Tensor] = {}
        for player in learner.players:

            def query_loss(moving: Params, player: str = player) -> tuple[Tensor, Tensor]:
                value = query_losses(moving)[player]
                return value, value

            own, losses[player] = torch.func.grad(query_loss, has_aux=True)(owned(start, player))
            found |= own
        return MetaGradient(found, losses)
    leaves = {name: value.detach().requires_grad_() for name, value in start.items()}
    with torch.enable_grad():
        losses = query_losses(leaves)
    for player in learner.players:
        own = owned(leaves, player)
        values = torch.autograd.grad(
            losses[player], list(own.values()), retain_graph=True, materialize_grads=True, allow_unused=True
        )
        found |= dict(zip(own, values, strict=True))
    return MetaGradient(found, {player: loss.detach() for player, loss in losses.items()})


def mean_gradient(
    learner: Learner, plan: MetaPlan, start: Params, episodes: list[Episode], execution: str
) -> MetaGradient:
    """The mean meta-gradient over the episodes, and the mean losses.

    ``loop`` goes through them one by one and frees each graph before the next; ``vmap`` does all at once (every
    episode must have the same shapes). Both give the same to rounding.
    """
    if execution == "vmap":
        stacked = torch.utils._pytree.tree_map(lambda *parts: torch.stack(parts), *episodes)
        each = torch.func.vmap(lambda episode: meta_gradient(learner, plan, start, episode, functional=True))(stacked)
        return MetaGradient(*({name: value.mean(0) for name, value in part.items()} for part in each))
    total: Params = {}
    losses: dict[str, Tensor] = {}
    for episode in episodes:
        one = meta_gradient(learner, plan, start, episode)
        for name, value in one.gradient.items():
            total[name] = total[name] + value if name in total else value
        for player, loss in one.losses.items():
            losses[player] = losses.get(player, 0.0) + loss / len(episodes)
    return MetaGradient({name: value / len(episodes) for name, value in total.items()}, losses)
