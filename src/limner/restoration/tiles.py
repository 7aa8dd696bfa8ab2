"""Images of any size through a restorer, tile by tile, with no visible seam and memory that does not grow with them.

A restorer that tells its ``reach`` (an attribute: how many pixels away, at most, anything counts for a pixel) is given
that many more on all sides, of which nothing is kept: the tiles then equal the whole image. Of others a margin is left
out that suffices for most. Tiles overlap, and where they do, weights go smoothly from one to the next. They begin at
multiples of :data:`STEP`, so that what a network divides into squares stays where it was. Beyond the border of the
image nothing is added: a restorer sees borders as it would in the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from limner.degradations import Convolution, Identity, Linear, Mask
from limner.degradations.base import shape_of
from limner.degradations.linear import Composed
from limner.errors import LimnerError
from limner.restoration.base import Knowledge, Restorer
from limner.seeds import generator as seeded

TILE = 512
"""The side of a tile, with all that overlaps, in pixels of the damaged image."""

OVERLAP = 32
"""How many pixels neighbouring tiles share where no reach is told, and how many of a tile's border are left out."""

STEP = 16
"""Tiles begin at multiples of it."""


class Span(NamedTuple):
    """A tile along one axis: from where to where, and how much each of its pixels counts."""

    start: int
    stop: int
    weights: Tensor


class Box(NamedTuple):
    """A part of an image: its first row and column, and how many of them."""

    top: int
    left: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """That part of ``(n, c, h, w)``; a view."""
        return images[..., self.top : self.top + self.height, self.left : self.left + self.width]


def reach_of(restorer: Restorer) -> int | None:
    """How far the restorer looks, in pixels, or ``None`` where it does not tell."""
    reach = getattr(restorer, "reach", None)
    return None if reach is None else int(reach)


def spans(length: int, tile: int, margin: int, shared: int) -> list[Span]:
    """The tiles along an axis, with float64 weights that add up to 1 at each pixel.

    Within the image a tile's outermost ``margin`` pixels count for nothing. Over the next ``shared`` ones, weights go
    from one tile to its neighbour as cos² and sin².

    Raises :class:`LimnerError` where a tile is too small to hold more than that.

    >>> [(span.start, span.stop, float(span.weights.sum())) for span in spans(100, 64, 10, 0)]
    [(0, 64, 42.0), (32, 96, 32.0), (64, 100, 26.0)]
    """
    if length <= tile:
        return [Span(0, length, torch.ones(length, dtype=torch.float64))]
    step = (tile - 2 * margin - shared) // STEP * STEP
    if step < STEP:
        raise LimnerError(
            f"a tile of {tile} pixels is too small, as {margin + shared} on each side go for seeing what lies around "
            f"it; give --tile {-(-(2 * margin + shared + STEP) // STEP) * STEP} or more, or --tile 0 for no tiles"
        )
    count = 1 + -(-(length - tile) // step)
    found = []
    for place in range(count):
        start, stop = place * step, min(place * step + tile, length)
        positions = torch.arange(start, stop, dtype=torch.float64) + 0.5 - margin
        weights = torch.ones(stop - start, dtype=torch.float64)
        if place > 0:
            weights = weights * _rise(positions - start, shared)
        if place < count - 1:
            weights = weights * (1 - _rise(positions - start - step, shared))
        found.append(Span(start, stop, weights))
    return found


def _rise(positions: Tensor, shared: int) -> Tensor:
    """0 before 0, 1 after ``shared``, sin² between."""
    if shared == 0:
        return (positions >= 0).double()
    return torch.sin((positions / shared).clamp(0, 1) * (pi / 2)).square()


def cropped(operator: Linear, box: Box) -> tuple[Linear, Box, int]:
    """What ``operator`` is for the part ``box`` of its results: the operator, the part of the images behind it, and how
    many times larger these are. What lies beyond the part counts as its boundary says, and so is not quite right there.

    Raises :class:`LimnerError` for an operator that has no parts.
    """
    count, channels = operator.shape[:2]
    if isinstance(operator, Composed):
        outer, between, first = cropped(operator.outer, box)
        inner, behind, second = cropped(operator.inner, between)
        return Composed(outer, inner), behind, first * second
    if isinstance(operator, Identity):
        return Identity((count, channels, box.height, box.width)), box, 1
    if isinstance(operator, Mask):
        return Mask(box.of(operator.mask), (count, channels, box.height, box.width)), box, 1
    if isinstance(operator, Convolution) and operator.boundary != "circular":
        step = operator.step
        top, left = step * box.top, step * box.left
        height, width = operator.shape[2:]
        behind = Box(top, left, min(step * box.height, height - top), min(step * box.width, width - left))
        part = (count, channels, behind.height, behind.width)
        return Convolution(operator.kernels, part, operator.boundary, step), behind, step
    raise LimnerError("this degradation cannot be undone in parts; give --tile 0 to restore images whole")


def _look(operator: Linear | None) -> int:
    """How far, in pixels of the damaged image, an operator's kernels and what they leave in a restored one reach."""
    if isinstance(operator, Composed):
        return _look(operator.outer) + _look(operator.inner)
    return -(-2 * operator.radius // operator.step) if isinstance(operator, Convolution) else 0


def margins(restorer: Restorer, knowledge: Knowledge) -> tuple[int, int]:
    """What of each tile counts for nothing, and what it shares with its neighbour, in pixels at each side."""
    reach = reach_of(restorer)
    return (max(OVERLAP, _look(knowledge.operator)), OVERLAP) if reach is None else (reach, STEP)


def count_of(restorer: Restorer, images: Tensor, knowledge: Knowledge, tile: int = TILE) -> int:
    """How many tiles :func:`restore` goes through."""
    if tile == 0:
        return 1
    around = margins(restorer, knowledge)
    return len(spans(images.shape[2], tile, *around)) * len(spans(images.shape[3], tile, *around))


def restore(
    restorer: Restorer,
    images: Tensor,
    knowledge: Knowledge,
    generator: torch.Generator,
    *,
    tile: int = TILE,
    on_tile: Callable[[], None] = lambda: None,
) -> Tensor:
    """What ``restorer`` makes of ``images``, ``(n, c, h, w)``, in tiles of ``tile`` pixels a side, 0 for none.

    An image that is no larger than a tile is restored whole. Besides the images there are in memory the result and what
    one tile takes. ``on_tile`` is called after each. Raises :class:`LimnerError` where a tile is too small, or as
    ``restorer`` does.
    """
    height, width = images.shape[2:]
    if tile == 0 or max(height, width) <= tile:
        whole = restorer.restore(images, knowledge, generator)
        on_tile()
        return whole
    around = margins(restorer, knowledge)
    base = int(torch.randint(2**62, (), generator=generator))
    made: Tensor | None = None
    for rows in spans(height, tile, *around):
        for columns in spans(width, tile, *around):
            box = Box(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
            known, behind, scale = _known(knowledge, box)
            part = restorer.restore(box.of(images), known, seeded(base, box.top, box.left))
            if part.shape[2:] != (behind.height, behind.width):
                raise LimnerError(
                    f"{restorer.name} changes the size of images by itself, so it cannot work in parts; give --tile 0"
                )
            if made is None:
                made = part.new_zeros((*part.shape[:2], *knowledge.clean_shape(shape_of(images))[2:]))
            down = rows.weights.repeat_interleave(scale)[: behind.height].to(part)
            across = columns.weights.repeat_interleave(scale)[: behind.width].to(part)
            behind.of(made).add_(part * down.view(-1, 1) * across)
            on_tile()
    assert made is not None
    return made


def _known(knowledge: Knowledge, box: Box) -> tuple[Knowledge, Box, int]:
    """What is known of a part of the damaged images, the part behind it, and how many times larger that is."""
    mask = None if knowledge.mask is None else box.of(knowledge.mask)
    if knowledge.operator is None:
        return replace(knowledge, mask=mask), box, 1
    operator, behind, scale = cropped(knowledge.operator, box)
    return replace(knowledge, operator=operator, mask=mask), behind, scale
