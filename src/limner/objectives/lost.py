"""Lost pixels: taken away in training for a network to learn to fill in, and filled in roughly for it to begin with."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from limner.degradations import Degradation, parse

LOST = 1.0
"""Noise as strong as the whole scale: nothing is known of a pixel that has it."""

KINDS = (
    "one_of(missing(0.05..0.95),missing(0.3..0.9),boxes(1..4,size=0.05..0.2),scratches(1..6,thickness=1..5),"
    "text(8..20,lines=1..4))"
)
_WINDOWS = (3, 7, 15, 31)
_FARTHER = 1e-4
_NOTHING = 1e-24
_HARMONIC, _BIHARMONIC = 5, 20
_STEP = 1.9 / 64
"""Of relaxation: below 2 over the largest eigenvalue of Δ², 64, so that it converges."""

REACH = _WINDOWS[-1] // 2 + _HARMONIC + 2 * _BIHARMONIC
"""How many pixels to each side :func:`filled` looks."""


def draw_lost(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which pixels of ``images (n, c, h, w)`` a training step takes away, bool ``(n, 1, h, w)``.

    Of each image by the chance ``share`` some are, as one of :data:`KINDS` takes them; of the others none.

    >>> drawn = draw_lost(torch.zeros(200, 1, 16, 16), 0.5, torch.Generator().manual_seed(0))
    >>> drawn.shape, 70 < int(drawn.flatten(1).any(1).sum()) < 110
    (torch.Size([200, 1, 16, 16]), True)
    """
    whole = torch.ones(len(images), 1, *images.shape[2:])
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < share
    return (_kinds()(whole, generator) < 0.5) & chosen


@cache
def _kinds() -> Degradation:
    return parse(KINDS)


def filled(images: Tensor, lost: Tensor) -> Tensor:
    """``images (n, c, h, w)`` whose ``lost (n, 1, h, w)`` pixels are filled in smoothly, about Δ²u = 0 in small holes.

    First each is the mean of those seen around it, the nearest deciding (normalised convolution, Knutsson & Westin
    1993, eq. 5, by boxes of up to 31 pixels a side; 0.5 where the largest sees nothing). Then some steps of relaxation,
    u ← u + Δu / 4 and u ← u − s Δ²u in what was lost, with the border repeated. Can be differentiated.

    >>> ramp = torch.linspace(0, 1, 9).expand(1, 1, 9, 9)
    >>> lost = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    >>> lost[..., 4, 4] = True
    >>> round(filled(torch.where(lost, 7, ramp), lost)[0, 0, 4, 4].item(), 3)
    0.5
    """
    made = torch.where(lost, _from_around(images, lost), images)
    for _ in range(_HARMONIC):
        made = torch.where(lost, made + _laplacian(made) / 4, made)
    for _ in range(_BIHARMONIC):
        made = torch.where(lost, made - _STEP * _laplacian(_laplacian(made)), made)
    return made


def _from_around(images: Tensor, lost: Tensor) -> Tensor:
    """The mean of what each box sees, a box weighing 10⁻⁴ of the next smaller one."""
    both = torch.cat([torch.where(lost, 0, images), (~lost).to(images)], 1)
    total = torch.zeros_like(both)
    for place, side in enumerate(_WINDOWS):
        rows = functional.avg_pool2d(both, (side, 1), 1, (side // 2, 0))
        total = total + _FARTHER**place * functional.avg_pool2d(rows, (1, side), 1, (0, side // 2))
    weight = total[:, -1:]
    return torch.where(weight > _NOTHING, total[:, :-1] / weight.clamp(min=_NOTHING), 0.5)


def _laplacian(images: Tensor) -> Tensor:
    around = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    beside = around[..., 1:-1, :-2] + around[..., 1:-1, 2:]
    return beside + around[..., :-2, 1:-1] + around[..., 2:, 1:-1] - 4 * images
