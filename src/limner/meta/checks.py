"""What is looked at before a meta-training begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from limner.engine.step import dot, gradients, owned
from limner.errors import LimnerError
from limner.learners.base import ClosedForm, Learner
from limner.meta.inner import Episode, frozen_in
from limner.meta.plan import MetaPlan
from limner.types import Params


def check(learner: Learner, plan: MetaPlan, processes: int) -> None:
    """Raises :class:`LimnerError` where algorithm, learner and processes do not go together."""
    if not suits(learner, plan):
        raise LimnerError(
            f"the algorithm {plan.algorithm} does not go with the learner {learner.kind}: prototypical networks are "
            "learned by the algorithm prototypical, and only they; the algorithm ridge is for a restorer with a head "
            "(head=5)"
        )
    if plan.tasks < processes:
        raise LimnerError(f"{processes} processes cannot share {plan.tasks} tasks; give tasks={processes} or more")


def suits(learner: Learner, plan: MetaPlan) -> bool:
    """Whether the algorithm can learn a start of the learner: a closed form is the learner's own, and prototypical
    networks, which know no class before, have nothing that gradients could adapt."""
    own = learner.closed_form if isinstance(learner, ClosedForm) else ""
    return own == plan.algorithm if plan.traits.outer == "closed form" else own != "prototypical"


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turns torch's refusal to differentiate an operation twice into a :class:`LimnerError` that names it."""
    try:
        yield
    except RuntimeError as problem:  # NotImplementedError is one
        told = str(problem)
        if "derivative for" not in told and "double backward" not in told.lower():
            raise
        raise LimnerError(
            f"this learner's loss cannot be differentiated twice ({told.splitlines()[0]}); replace that operation, or "
            "leave second derivatives out with first_order=true"
        ) from problem


def check_twice(learner: Learner, plan: MetaPlan, start: Params, episode: Episode) -> None:
    """Raises :class:`LimnerError` where second derivatives are wanted and the loss silently has none.

    Along a random direction d, the derivative of the gradient by autograd is compared with a finite difference of
    gradients, in float64: an operation that hides its second derivative gives 0 for the first and not for the second.
    Operations that refuse say so themselves when they are differentiated.
    """
    if not (plan.traits.second_order and plan.inner_steps):
        return
    params = {name: value.double() for name, value in start.items()}
    batch, draws = (
        {name: value.double() if value.is_floating_point() else value for name, value in part.items()}
        for part in (episode.query, episode.query_draws)
    )
    random = torch.Generator().manual_seed(0)
    frozen = frozen_in(learner, plan, start)
    for player in learner.players:
        own = owned(params, player, frozen)
        direction = {
            name: torch.randn(value.shape, generator=random, dtype=value.dtype).to(value.device)
            for name, value in own.items()
        }

        def along(step: float, player: str = player, direction: Params = direction) -> Params:
            moved = {name: params[name] + step * value for name, value in direction.items()}
            return gradients(learner, player, {**params, **moved}, batch, draws, frozen)[0]

        ahead, behind = along(1e-6), along(-1e-6)
        measured = dot(ahead, direction) - dot(behind, direction)
        leaves = {name: value.clone().requires_grad_() for name, value in own.items()}
        found, loss = gradients(learner, player, {**params, **leaves}, batch, draws, frozen, create_graph=True)
        slope = dot(found, direction)
        curved = torch.zeros(())
        if slope.requires_grad:
            second = torch.autograd.grad(slope, list(leaves.values()), allow_unused=True, materialize_grads=True)
            curved = dot(dict(zip(leaves, second, strict=True)), direction)
        if float(measured.abs()) / 2e-6 > 1e-3 * (1 + float(slope.detach().abs())) and float(curved.abs()) == 0:
            raise LimnerError(
                f"the loss of {player} has no second derivative though its gradient changes "
                f"({_custom(loss.value) or 'one of its operations'} hides it); write that operation with ordinary "
                "tensor operations, or leave second derivatives out with first_order=true"
            )


def _custom(value: Tensor) -> str:
    """The name of an operation with a backward pass written by hand, where the loss has one."""
    nodes, seen = [value.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            return str(node.name()).removesuffix("Backward")
        nodes += [further for further, _ in node.next_functions]
    return ""
