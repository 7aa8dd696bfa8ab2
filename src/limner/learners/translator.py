"""What the translators share: their networks and games by word, and how they answer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.checks import check_words
from limner.networks import Template
from limner.networks.translators import TRANSLATORS
from limner.objectives.adversarial import OBJECTIVES, Objective
from limner.types import Params, Request

GAMES = ("non-saturating", "least-squares", "hinge")
"""The objectives that score patches one by one; the others pair images or penalise slopes."""

_TOGETHER = 64


def game_of(kind: str, objective: str) -> Objective:
    """The objective of that word. Raises :class:`LimnerError`, naming the words, for another."""
    check_words(kind, objective=(objective, GAMES))
    return OBJECTIVES[objective]


def network_of(kind: str, prefix: str, network: str, inputs: int, outputs: int, side: int, width: int) -> Template:
    """The network of that word as a template. Raises :class:`LimnerError`, naming the words, for another."""
    check_words(kind, network=(network, TRANSLATORS))
    if inputs not in (1, 3):
        raise LimnerError(f"a {kind} takes inputs of 1 channel (grey) or 3 (colour), not {inputs}")
    return Template(prefix, lambda: TRANSLATORS[network](inputs, outputs, side, width))


def answered(kind: str, ways: Mapping[str, Template], params: Params, request: Request) -> Tensor:
    """The images of a request through the generator that it asks for, in [0, 1], without gradients."""
    if request.what not in ways or request.images is None:
        told = " or ".join(f"ask it to {way}" for way in ways)
        raise LimnerError(f"a {kind} cannot answer {request.what!r}; give it images, {told}")
    with torch.no_grad():
        parts = [(ways[request.what](params, 2 * part - 1) + 1) / 2 for part in torch.split(request.images, _TOGETHER)]
    return torch.cat(parts)
