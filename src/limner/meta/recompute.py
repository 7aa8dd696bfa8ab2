"""MAML's meta-gradient in the memory of one inner step: each step's graph is made again on the way back."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.engine.optimisers import OptimiserState
from limner.engine.step import States, owned
from limner.learners.base import Learner
from limner.meta.inner import Episode, Inner
from limner.meta.plan import MetaPlan
from limner.model_file import RATES
from limner.types import Loss, Params

Flat = dict[str, Tensor]
"""Parameters, and under ``mean/`` and ``square/`` the optimisers' running means."""


def recomputed(
    learner: Learner, plan: MetaPlan, start: Params, episode: Episode, weights: list[float]
) -> tuple[Params, dict[str, Loss]]:
    """The same gradient and last query losses as differentiating through the whole inner loop.

    Forward, only parameters and optimiser states are kept after each step. Backward, from the last step to the first,
    the step is made again from what was kept, with its graph, and each player's cotangent is pulled through it
    (gradient checkpointing, Griewank & Walther 2000, with a checkpoint at each step).
    """
    forward = Inner(learner, plan, start, episode)
    kept = [(start, forward.states())]
    for index in range(plan.inner_steps):
        kept.append(forward.turn(index, *kept[-1]))

    losses: dict[str, Loss] = {}
    cotangents: dict[str, Flat] = {player: {} for player in learner.players}
    for index in reversed(range(plan.inner_steps)):
        params, states = kept.pop()
        if weights[index]:
            leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
            found_losses = {}
            for player in learner.players:
                with torch.enable_grad():
                    loss = learner.loss(player, leaves, episode.query, episode.query_draws)
                found_losses[player] = loss
                values = _grad([loss.value], leaves, None, retain=False)
                _add(cotangents[player], {name: weights[index] * value for name, value in values.items()})
            losses = losses or found_losses
        before, states = kept[-1]
        leaves = _leaves(before, states)
        # A step asks its start for learned step sizes alone, and those never change in the loop.
        inner = Inner(
            learner,
            plan,
            {name: leaves[name] for name in before},
            episode,
            second_order=plan.traits.second_order,
            differentiable=True,
        )
        with torch.enable_grad():
            after = _flat(*inner.turn(index, *_unflat(leaves, before, states)))
        for place, player in enumerate(learner.players):
            pulled = {name: value for name, value in cotangents[player].items() if after[name].requires_grad}
            outputs, weights_of = [after[name] for name in pulled], list(pulled.values())
            cotangents[player] = _grad(outputs, leaves, weights_of, retain=place + 1 < len(learner.players))
    found: Params = {}
    for player in learner.players:
        for name in owned(start, player) | owned(start, RATES + player):
            found[name] = cotangents[player][name]
    return found, losses


def _flat(params: Params, states: States) -> Flat:
    flat = dict(params)
    for state in states.values():
        flat |= {"mean/" + name: value for name, value in state.mean.items()}
        flat |= {"square/" + name: value for name, value in state.square.items()}
    return flat


def _unflat(flat: Flat, params: Params, states: States) -> tuple[Params, States]:
    again = {
        player: OptimiserState(
            state.updates,
            {name: flat["mean/" + name] for name in state.mean},
            {name: flat["square/" + name] for name in state.square},
        )
        for player, state in states.items()
    }
    return {name: flat[name] for name in params}, again


def _leaves(params: Params, states: States) -> Flat:
    return {name: value.detach().requires_grad_() for name, value in _flat(params, states).items()}


def _grad(outputs: list[Tensor], leaves: Flat, cotangents: list[Tensor] | None, retain: bool) -> Flat:
    values = torch.autograd.grad(
        outputs, list(leaves.values()), cotangents, retain_graph=retain, materialize_grads=True, allow_unused=True
    )
    return dict(zip(leaves, values, strict=True))


def _add(total: Flat, more: Flat) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value
