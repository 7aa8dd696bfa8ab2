"""Everything a run needs to go on exactly where it was, in one file that is either whole or not there."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.config import Strategy
from limner.engine.optimisers import OptimiserState
from limner.engine.step import States
from limner.errors import LimnerError
from limner.model_file import write_atomically
from limner.types import Batch, CurvePoint, Params

NAME = "checkpoint.safetensors"


class Sound(NamedTuple):
    """A state that losses and gradients have shown to be sound, to go back to."""

    step: int
    params: Params
    states: States
    average: Params


@dataclass
class Watched:
    """What the guard remembers of a training. All but ``best`` is plain JSON.

    best           the state whose samples were nearest to the images learned from, at ``best_distance``
    begun          diversity, spacing and distance of the start's samples
    usual          losses and gradient norms at the last looks that found nothing wrong
    troubled       looks in a row that found trouble; ``actions``: how often it acted
    stuck          of a player that the last look found without a gradient (empty: none)
    strength       of the learner's own augmentation; ``penalty``: factor on its gradient penalty
    """

    best: Sound | None = None
    best_distance: float = float("inf")
    begun: dict[str, float] = field(default_factory=dict)
    usual: dict[str, list[float]] = field(default_factory=dict)
    troubled: int = 0
    stuck: str = ""
    actions: int = 0
    strength: float = 0.0
    penalty: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """All but the best state."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "best"}


@dataclass
class Training:
    """The state of a training: all that changes from step to step. Parameters are never changed in place, so keeping
    a reference to them is a snapshot.

    average     exponential moving average of the parameters (empty where there is none)
    random      the generator that batches, augmentations and draws come from
    memory      what a learner remembers from step to step (see ``limner.learners.base.Remembering``)
    order       image indices still to come in this pass through the support set
    slowed      factor on the learning rate, halved at each roll-back
    sound       the state that a roll-back goes to (``None`` before the first step: the start)
    watched     what the guard of a game remembers
    best        parameters with the lowest ``best_score`` so far
    held_out    what held-out shots said of how many steps to take (``limner.engine.held_out.Decision``; empty: nothing)
    choices     what was chosen by measuring at the start and must stay the same after a resume
    id          of the run, the same after a resume
    """

    params: Params
    states: States
    average: Params
    random: torch.Generator
    order: Tensor
    step: int = 0
    seconds: float = 0.0
    slowed: float = 1.0
    rollbacks: int = 0
    sound: Sound | None = None
    watched: Watched = field(default_factory=Watched)
    best: Params = field(default_factory=dict)
    best_score: float = float("inf")
    curve: list[CurvePoint] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    held_out: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    memory: Batch = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(6))


def save(training: Training, identity: dict[str, Any], directory: Path) -> None:
    """Write the state to ``directory``; ``identity`` says which run it belongs to.

    Raises :class:`LimnerError` where the disk refuses; the former checkpoint stays whole.
    """
    from safetensors.torch import save as to_bytes

    tensors: dict[str, Tensor] = {"random": training.random.get_state(), "order": training.order}
    tensors |= _under("best/", training.best) | _under("memory/", training.memory)
    plain: dict[str, Any] = {
        "identity": identity,
        "names": list(training.params),
        "curve": [asdict(point) for point in training.curve],
        "watched": training.watched.to_json(),
        **{name: getattr(training, name) for name in _PLAIN},
    }
    now = Sound(training.step, training.params, training.states, training.average)
    for label, state in (("now", now), ("sound", training.sound), ("guard", training.watched.best)):
        if state is not None:
            updates = {player: own.updates for player, own in state.states.items()}
            plain[label] = {"step": state.step, "updates": updates}
            tensors |= _under(f"{label}/params/", state.params) | _under(f"{label}/average/", state.average)
            for player, own in state.states.items():
                tensors |= _under(f"{label}/{player}/mean/", own.mean)
                tensors |= _under(f"{label}/{player}/square/", own.square)
    owned = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    write_atomically(directory / NAME, to_bytes(owned, metadata={"training": json.dumps(plain)}))


_PLAIN = ("seconds", "slowed", "rollbacks", "best_score", "notes", "held_out", "choices", "id")


def _under(prefix: str, params: Params) -> Params:
    return {prefix + name: value for name, value in params.items()}


def load(directory: Path, identity: dict[str, Any]) -> Training:
    """The state that :func:`save` wrote.

    Raises :class:`LimnerError` where there is none, it is damaged, or it belongs to another run.
    """
    from safetensors import SafetensorError, safe_open

    path = directory / NAME
    if not path.exists():
        raise LimnerError(f"{directory} holds no {NAME}, so there is nothing to go on with; begin the run anew")
    try:
        with safe_open(path, "pt") as file:
            plain = json.loads(file.metadata()["training"])
            # Copies: a tensor in the file may begin at an odd place, and sums of such differ in the last bit.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise LimnerError(f"{path} is damaged; begin the run anew") from problem
    known = dict(plain["identity"])
    if "strategy" in known:  # a meta-training has a plan instead
        known["strategy"] = Strategy.from_json(known["strategy"]).to_json()  # with what strategies did not say then
    if known != identity:
        changed = sorted(name for name in identity if known.get(name) != identity[name])
        raise LimnerError(
            f"{path} belongs to another run: its {' and '.join(changed)} differ; resume with what it was begun with"
        )

    def under(prefix: str) -> Params:
        # In the order they had: sums over all parameters depend on it in the last bit.
        return {name: tensors[prefix + name] for name in plain["names"] if prefix + name in tensors}

    def state(label: str) -> Sound:
        states = {
            player: OptimiserState(updates, under(f"{label}/{player}/mean/"), under(f"{label}/{player}/square/"))
            for player, updates in plain[label]["updates"].items()
        }
        return Sound(plain[label]["step"], under(f"{label}/params/"), states, under(f"{label}/average/"))

    random = torch.Generator()
    random.set_state(tensors["random"])
    now = state("now")
    return Training(
        params=now.params,
        states=now.states,
        average=now.average,
        random=random,
        order=tensors["order"],
        step=now.step,
        sound=state("sound") if "sound" in plain else None,
        watched=Watched(state("guard") if "guard" in plain else None, **plain.get("watched", {})),
        best=under("best/"),
        memory={name.removeprefix("memory/"): tensors[name] for name in sorted(tensors) if name.startswith("memory/")},
        curve=[CurvePoint(**point) for point in plain["curve"]],
        **{name: plain[name] for name in _PLAIN if name in plain},  # what was not kept then is as at the start
    )


def remove(directory: Path) -> None:
    """Delete the checkpoint of a run that needs it no more."""
    (directory / NAME).unlink(missing_ok=True)
