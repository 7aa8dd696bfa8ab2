"""The inner loop: the engine's own step on one task, and what of a start takes part in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from limner.engine.optimisers import named
from limner.engine.step import States, init_states, owned, step
from limner.learners.base import Learner
from limner.meta.plan import MetaPlan
from limner.model_file import RATES
from limner.types import Batch, Draws, Params


class Episode(NamedTuple):
    """A task as tensors: the inner batches and draws with a leading axis of inner steps, the query batch and draws."""

    inner: Batch
    inner_draws: Draws
    query: Batch
    query_draws: Draws


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to; one that stands alone in its player is a layer of its own.

    >>> layer_of("net.encoder.body.0.weight"), layer_of("net.log_variance")
    ('net.encoder.body.0', 'net.log_variance')
    """
    return name.rpartition(".")[0] if name.count(".") > 1 else name


def head_of(learner: Learner, params: Params) -> tuple[str, ...]:
    """The last layer of each player, in the order in which the learner defines them."""
    return tuple(layer_of(list(owned(params, player))[-1]) for player in learner.players)


def frozen_in(learner: Learner, plan: MetaPlan, params: Params) -> tuple[str, ...]:
    """What stays as it is in the inner loop: all but the heads (ANIL), the heads (BOIL), or nothing."""
    heads = head_of(learner, params)
    if plan.traits.adapts == "body":
        return heads
    if plan.traits.adapts == "head":
        return tuple(name for name in params if not name.startswith((*heads, RATES)))
    return ()


def with_rates(learner: Learner, plan: MetaPlan, params: Params) -> Params:
    """The start's parameters, and under ``rates.*`` the step sizes that the algorithm learns: at first all are 1.

    One for each number (Meta-SGD, Li et al. 2017, algorithm 1), or for each layer and inner step (MAML++).
    """
    frozen = frozen_in(learner, plan, params)
    found = dict(params)
    for player in learner.players:
        for name, value in owned(params, player, frozen).items():
            if plan.traits.rates == "parameter":
                found.setdefault(RATES + name, torch.ones_like(value))
            elif plan.traits.rates == "layer and step":
                found.setdefault(RATES + layer_of(name), value.new_ones(max(plan.inner_steps, 1)))
    return found


def rates_at(plan: MetaPlan, start: Params, names: Params, index: int) -> Params | None:
    """The factors on the step size of each parameter in ``names`` at inner step ``index``; ``None`` where all are 1.

    An adaptation longer than the one that was learned goes on with the last step's.
    """
    if plan.traits.rates == "parameter":
        return {name: start[RATES + name] for name in names if RATES + name in start}
    if plan.traits.rates == "layer and step":
        layers = {name: RATES + layer_of(name) for name in names}
        return {name: start[key][min(index, len(start[key]) - 1)] for name, key in layers.items() if key in start}
    return None


class Inner:
    """The inner loop of one task, step by step. ``trail`` goes through it; ``turn`` is one step of it.

    second_order    gradients can be differentiated again
    differentiable  updates stay in the graph, gradients need not
    functional      ``torch.func`` throughout, so that ``vmap`` over tasks works
    """

    def __init__(
        self,
        learner: Learner,
        plan: MetaPlan,
        start: Params,
        episode: Episode,
        *,
        second_order: bool = False,
        differentiable: bool = False,
        functional: bool = False,
    ) -> None:
        self.learner, self.plan, self.start, self.episode = learner, plan, start, episode
        self.second_order, self.differentiable, self.functional = second_order, differentiable, functional
        self.optimiser = named(plan.inner_optimiser, plan.inner_betas)
        self.frozen = frozen_in(learner, plan, start)
        self.anchor = plan.proximal / 2 if plan.traits.outer == "implicit" else 0.0

    def states(self) -> States:
        """Fresh optimiser states."""
        return init_states(self.learner, self.optimiser, self.start, self.frozen)

    def turn(self, index: int, params: Params, states: States) -> tuple[Params, States]:
        """Inner step ``index`` from ``params``."""
        result = step(
            self.learner,
            self.optimiser,
            params,
            states,
            {name: value[index] for name, value in self.episode.inner.items()},
            {name: value[index] for name, value in self.episode.inner_draws.items()},
            self.plan.inner_rate,
            player_rates=self.plan.player_rates,
            rates=rates_at(self.plan, params, self.start, index),
            frozen=self.frozen,
            anchor=self.anchor,
            start=self.start,
            create_graph=self.second_order,
            differentiable=self.differentiable,
            functional=self.functional,
            measure=False,
        )
        return result.params, result.states

    def trail(self) -> Iterator[Params]:
        """The parameters after each inner step."""
        params, states = self.start, self.states()
        for index in range(self.plan.inner_steps):
            params, states = self.turn(index, params, states)
            yield params


def adapt(learner: Learner, plan: MetaPlan, start: Params, episode: Episode, *, functional: bool = False) -> Params:
    """The start after ``plan.inner_steps`` engine steps on the episode's inner batches, without a graph.

    Of an algorithm with a closed form it is that: ``learner.finish`` on the support.
    """
    if plan.traits.outer == "closed form":
        return closed_form(learner, start, episode)
    adapted = start
    for adapted in Inner(learner, plan, start, episode, functional=functional).trail():  # noqa: B007
        pass
    return adapted


def closed_form(learner: Learner, start: Params, episode: Episode) -> Params:
    """The start with what the learner fits to the support in closed form."""
    support = {name: value[0] for name, value in episode.inner.items()}
    return learner.finish(start, support, torch.Generator())
