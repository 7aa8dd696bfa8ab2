"""What learners that read a set keep of it, so that a sample is one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.networks import Template
from limner.types import FITTED, Params

CODE = FITTED + "code"
"""The code of the support set, ``(tokens, code)``."""

_TOGETHER = 256
"""Images that are looked at at once, so that memory stays bounded."""


def together(images: Tensor) -> list[Tensor]:
    """The images in parts of at most 256, in order.

    >>> [len(part) for part in together(torch.zeros(300, 1))]
    [256, 44]
    """
    return [images[place : place + _TOGETHER] for place in range(0, len(images), _TOGETHER)]


def with_code(network: Template, params: Params, images: Tensor) -> Params:
    """``params`` with the code of the set of ``images (n, c, h, w)`` in [0, 1]; without gradients.

    The network's ``look`` says what is found in each image, its ``pool`` makes that a code.
    """
    with torch.no_grad():
        parts = [network(params, part, method="look") for part in together(images)]
        attended, values = (torch.cat(each, 2) for each in zip(*parts, strict=True))
        code = network(params, (attended, values), images.new_ones(1, len(images)), method="pool")
    return {**params, CODE: code[0]}


def kept_code(params: Params, count: int, learner: str) -> Tensor:
    """The code that :func:`with_code` kept, once for each of ``count`` images: ``(count, tokens, code)``.

    Raises :class:`LimnerError` where ``learner`` was not given a set yet.

    >>> kept_code({CODE: torch.zeros(1, 8)}, 3, "set-vae").shape
    torch.Size([3, 1, 8])
    """
    if CODE not in params:
        raise LimnerError(
            f"a {learner} makes images like those it is shown, and it was shown none yet; adapt it to some images first"
        )
    return params[CODE].expand(count, -1, -1)
