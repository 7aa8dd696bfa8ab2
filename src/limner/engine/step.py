"""One step: every player in turn lowers its own loss. The same step is training, MAML's inner loop and Reptile's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from limner.engine.optimisers import Optimiser, OptimiserState
from limner.learners.base import Constrained, Learner
from limner.types import Batch, Draws, Loss, Params

States = dict[str, OptimiserState]
"""One optimiser state for each player."""

_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


class StepResult(NamedTuple):
    """Parameters and optimiser states after a step, each player's loss before it, and each gradient's norm."""

    params: Params
    states: States
    losses: dict[str, Loss]
    norms: dict[str, Tensor]


def owned(params: Params, player: str, frozen: tuple[str, ...] = ()) -> Params:
    """The parameters that ``player`` may change: its own, less those whose names begin with one of ``frozen``.

    >>> owned({"net.a": torch.ones(1), "net.b": torch.ones(1), "fitted.c": torch.ones(1)}, "net", ("net.b",)).keys()
    dict_keys(['net.a'])
    """
    prefix = player + "."
    return {
        name: value
        for name, value in params.items()
        if name.startswith(prefix) and not (frozen and name.startswith(frozen))
    }


def init_states(learner: Learner, optimiser: Optimiser, params: Params, frozen: tuple[str, ...] = ()) -> States:
    """Fresh optimiser states for all players."""
    return {player: optimiser.init(owned(params, player, frozen)) for player in learner.players}


def gradients(
    learner: Learner,
    player: str,
    params: Params,
    batch: Batch,
    draws: Draws,
    frozen: tuple[str, ...] = (),
    *,
    create_graph: bool = False,
    functional: bool = False,
) -> tuple[Params, Loss]:
    """The gradient of the player's loss in its own parameters, and the loss.

    With ``create_graph`` the gradient can itself be differentiated (second-order meta-learning). ``functional`` uses
    ``torch.func``, which ``vmap`` can vectorise; else ``torch.autograd``, which is faster alone. Both give the same.
    A player that is wholly frozen has no gradient, only a loss.
    """
    own = owned(params, player, frozen)
    if not own:
        with torch.no_grad():
            return {}, learner.loss(player, params, batch, draws)
    if functional:

        def value_of(moving: Params) -> tuple[Tensor, Loss]:
            loss = learner.loss(player, {**params, **moving}, batch, draws)
            return loss.value, loss

        found, loss = torch.func.grad(value_of, has_aux=True)(own)
        return (found if create_graph else {name: value.detach() for name, value in found.items()}), loss
    # A view is a new node of the graph: the derivative in it leaves out how the other players' parameters, moved in
    # their own turns, already depend on this player's. One that plays alone needs none.
    alone = len(learner.players) == 1
    own = {
        name: (value if alone else value.view_as(value))
        if create_graph and value.requires_grad
        else value.detach().requires_grad_()
        for name, value in own.items()
    }
    with torch.enable_grad():
        loss = learner.loss(player, {**params, **own}, batch, draws)
        found = torch.autograd.grad(
            loss.value, list(own.values()), create_graph=create_graph, materialize_grads=True, allow_unused=True
        )
    if not create_graph:
        loss = Loss(loss.value.detach(), {name: term.detach() for name, term in loss.terms.items()})
    return dict(zip(own, found, strict=True)), loss


@cache
def has_bfloat16(device: str) -> bool:
    """Whether the ``cpu`` or GPU (``cuda``) of this machine multiplies in bfloat16 by itself: others only imitate it,
    which gives the same and takes longer than float32. An older PyTorch that does not tell counts as no."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(told.get(name) for name in _BFLOAT16)


def precision(word: str, params: Params) -> AbstractContextManager[object]:
    """Within it networks compute as ``Strategy.precision`` says, on the device of ``params``; float32 is as ever, and
    ``auto`` is bfloat16 where the device has it (:func:`has_bfloat16`).

    >>> with precision("bfloat16", {"a": torch.ones(1)}):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    device = _device(params)
    if word == "float32" or (word == "auto" and not has_bfloat16(device)):
        return nullcontext()
    return torch.autocast(device, dtype=torch.bfloat16)


def precision_told(word: str, params: Params) -> str:
    """What to tell of it in a run's notes: what ``auto`` came to, or that bfloat16 is slow here; else nothing."""
    has = has_bfloat16(_device(params))
    if word == "auto":
        return "networks computed in " + ("bfloat16" if has else "float32, as this machine has no bfloat16 of its own")
    if word == "bfloat16" and not has:
        return "this machine only imitates bfloat16, which takes longer than float32; precision=auto would take that"
    return ""


def _device(params: Params) -> str:
    return next((value.device.type for value in params.values()), "cpu")


def dot(left: Params, right: Params) -> Tensor:
    """The sum of products over all numbers that the second names, a scalar tensor."""
    return torch.stack([(left[name] * value).sum() for name, value in right.items()]).sum()


def norm_of(found: Params) -> Tensor:
    """The Euclidean norm of all gradients together, a scalar tensor; 0 where there are none."""
    if not found:
        return torch.zeros(())
    return torch.stack([value.square().sum() for value in found.values()]).sum().sqrt()


def step(
    learner: Learner,
    optimiser: Optimiser,
    params: Params,
    states: States,
    batch: Batch,
    draws: Draws,
    rate: float,
    *,
    player_rates: dict[str, float] | None = None,
    rates: Params | None = None,
    frozen: tuple[str, ...] = (),
    clip: float = 0.0,
    anchor: float = 0.0,
    start: Params | None = None,
    create_graph: bool = False,
    differentiable: bool = False,
    functional: bool = False,
    measure: bool = True,
) -> StepResult:
    """One turn of every player, in the learner's order; each sees the others as they are at its turn.

    rate          step size, times ``player_rates[player]`` and, parameter by parameter, ``rates[name]``
    clip          a gradient whose norm is larger is scaled down to it (0 = never)
    anchor        weight w of w·‖θ − start‖², added to each player's loss (L2-SP, Li et al. 2018, eq. 2)
    create_graph  keep the graph, so that the result can be differentiated in ``params``; ``differentiable`` keeps only
                  that of the update, and takes the gradients for constants (first order)

    measure       whether to return the norms of the gradients, which takes a while with small networks

    What a player moved is then held to where a :class:`Constrained` learner wants it.

    Pure: ``params`` and ``states`` stay as they are. A non-finite loss shows in ``losses`` and ``norms``; whoever
    calls decides whether to keep the result.
    """
    losses: dict[str, Loss] = {}
    norms: dict[str, Tensor] = {}
    states = dict(states)
    constrained = learner if isinstance(learner, Constrained) else None
    move = optimiser.update if create_graph or differentiable or functional else optimiser.quick
    for player in learner.players:
        found, losses[player] = gradients(
            learner, player, params, batch, draws, frozen, create_graph=create_graph, functional=functional
        )
        if anchor and start is not None:
            found = {name: value + 2 * anchor * (params[name] - start[name]) for name, value in found.items()}
        if measure or clip:
            norms[player] = norm_of(found)
        if clip:
            scale = (clip / (norms[player] + 1e-12)).clamp(max=1.0)
            found = {name: value * scale for name, value in found.items()}
        own = {name: params[name] for name in found}
        player_rate = rate * (player_rates or {}).get(player, 1.0)
        with torch.set_grad_enabled(create_graph or differentiable):
            moved, states[player] = move(own, found, states[player], player_rate, rates)
            if constrained is not None:
                held = constrained.constrain({**params, **moved})
                moved = {name: held[name] for name in moved}
        params = {**params, **moved}
    return StepResult(params, states, losses, norms)
