"""What is looked at before a training begins: whether learner, task, strategy and start fit each other."""

from __future__ import annotations

import hashlib

import torch

from limner.config import Strategy
from limner.engine.augment import CATALOGUE, MOVES
from limner.engine.step import owned
from limner.errors import LimnerError
from limner.learners import Learner
from limner.tasks import Alone, Pairs, Task, TwoSided
from limner.types import FITTED, Params


def check(learner: Learner, task: Task, strategy: Strategy) -> None:
    """Raises :class:`LimnerError` where the task's images or the strategy's names do not fit the learner.

    >>> import torch
    >>> from limner.learners import create
    >>> from limner.tasks import ImageSet, Task
    >>> large = ImageSet(torch.zeros(2, 1, 32, 32, dtype=torch.uint8), name="large")
    >>> check(create("vae", (1, 16, 16), latents=2, width=4), Task("generate", "large", large, None), Strategy())
    Traceback (most recent call last):
    ...
    limner.errors.LimnerError: the vae works on images of shape (1, 16, 16), but those of large have (1, 32, 32); \
load them with size=16,colour=grey or make the learner for (1, 32, 32)
    """
    _check_sides(learner, task, strategy)
    for images in (task.support, task.query):
        if images is not None and images.shape != tuple(learner.image_shape):
            channels, height, _ = learner.image_shape
            raise LimnerError(
                f"the {learner.kind} works on images of shape {tuple(learner.image_shape)}, but those of {images.name} "
                f"have {images.shape}; load them with size={height},colour={'grey' if channels == 1 else 'rgb'} or "
                f"make the learner for {images.shape}"
            )
    if not len(task.support):
        raise LimnerError(f"{task.name} has no images to learn from; give at least 1")
    for player in strategy.player_rates:
        if player not in learner.players:
            raise LimnerError(
                f"the {learner.kind} has no player {player!r} to give a rate of its own; it has: "
                f"{', '.join(learner.players)}"
            )
    for name in strategy.augmentation:
        if name not in CATALOGUE:
            raise LimnerError(f"there is no augmentation {name!r}; there are: {', '.join(CATALOGUE)}")
    unpenalised = learner.options.get("objective") == "wasserstein-clipping" or not learner.options.get("gamma")
    if "strengthen-r1" in strategy.guard and unpenalised:
        raise LimnerError(
            f"the guard cannot strengthen-r1: the {learner.kind} has no gradient penalty; give it one and a gamma "
            "above 0, or leave that word out of the strategy's guard"
        )
    if "raise-augmentation" in strategy.guard and learner.options.get("augment", "none") == "none":
        raise LimnerError(
            f"the guard cannot raise-augmentation: the {learner.kind} has no augmentation of its own; set its option "
            "augment, or leave that word out of the strategy's guard"
        )


def _check_sides(learner: Learner, task: Task, strategy: Strategy) -> None:
    """Raises :class:`LimnerError` where a learner of pairs or of two sets does not get them, or another one does."""
    support = task.support
    restores = "restore" in learner.answers
    two_sided = restores or "translate" in learner.answers
    if two_sided != isinstance(support, TwoSided):
        right = "damaged and clean images" if restores else "inputs and targets" if two_sided else "images of one set"
        raise LimnerError(f"the {learner.kind} learns from {right}; {task.name} does not give them")
    if not isinstance(support, TwoSided):
        return
    if learner.kind == "pix2pix" and not isinstance(support, Pairs):
        raise LimnerError(
            f"a pix2pix learns from pairs, but the {len(support.inputs):,} images of {support.inputs.name} and the "
            f"{len(support.targets):,} of {support.targets.name} are none; use the learner cycle, or give --pairs"
        )
    if restores and not isinstance(support, (Pairs, Alone)):
        raise LimnerError(
            f"a restorer learns from pairs, damaged and clean, or from damaged images alone; {task.name} gives neither"
        )
    wanted = (learner.options.get("input_channels", learner.image_shape[0]), *learner.image_shape[1:])
    inputs = support.select(torch.arange(1)).inputs
    if inputs.shape != wanted:
        raise LimnerError(
            f"the {learner.kind} makes images from inputs of shape {wanted}, but those of {inputs.name} have "
            f"{inputs.shape}; load them with size={wanted[1]},colour={'grey' if wanted[0] == 1 else 'rgb'}"
        )
    for name in strategy.augmentation:
        if name in CATALOGUE and name not in MOVES:
            raise LimnerError(
                f"the augmentation {name} cannot be done alike to an input and its target; right would be: "
                f"{', '.join(MOVES)}"
            )


def fitting_start(learner: Learner, start: Params | None, seed: int, strategy: Strategy) -> Params:
    """The parameters to begin from: ``start``, or fresh ones where it is ``None``, without what was fitted.

    They come in the learner's own order and type: sums over all parameters depend on the order in the last bit.
    Raises :class:`LimnerError` for names or shapes that do not fit, and frozen names that do not exist or leave nothing
    to learn; of no start where no steps are to be taken.
    """
    fresh = learner.init(seed)
    for name in strategy.frozen:
        if not any(own.startswith(name) for own in fresh):
            raise LimnerError(
                f"no parameter begins with {name!r}, so it cannot be frozen; there are: {', '.join(fresh)}"
            )
    for player in learner.players:
        if strategy.frozen and not owned(fresh, player, strategy.frozen):
            raise LimnerError(
                f"the strategy freezes every parameter of the {player}, so it could learn nothing; freeze fewer, or "
                "give it the rate 0 in player_rates"
            )
    if start is None:
        if not strategy.steps:
            raise LimnerError(
                f"no steps from scratch would learn nothing: a {learner.kind} needs a start for that, or steps to "
                "take; give --start, or a budget such as 500steps"
            )
        return fresh
    for name, value in fresh.items():
        found = tuple(start[name].shape) if name in start else None
        if found != tuple(value.shape):
            told = "lacks it" if found is None else f"has it with shape {found}"
            raise LimnerError(
                f"the start does not fit the {learner.kind}: parameter {name} has shape {tuple(value.shape)}, but the "
                f"start {told}; use a start made for {learner.kind} {learner.options} at {learner.image_shape}"
            )
    if extra := sorted(name for name in start if name not in fresh and not name.startswith(FITTED)):
        raise LimnerError(
            f"the start does not fit the {learner.kind}: it also holds {extra[0]}, which is not part of it"
        )
    return {name: start[name].detach().to(value) for name, value in fresh.items()}


def digest(params: Params) -> str:
    """The sha256 of all names and values: whether a resumed run was begun from the same parameters.

    >>> import torch
    >>> digest({"net.a": torch.ones(2)}) == digest({"net.a": torch.ones(2)}), len(digest({}))
    (True, 64)
    """
    found = hashlib.sha256()
    for name, value in params.items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
