"""Built-in ``sprites``: small coloured things that never were, each kind a class, drawn from random fields.

A kind is a silhouette, a few colours and how they lie, a light and a ground. Its images vary all of that a little, and
turn, scale and move it. Nothing is taken from anywhere, so what learns from sprites has a clean licence, and meets many
kinds: sprites are there to learn to learn from, not to be pretty.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from limner.seeds import generator
from limner.tasks.arrays import Array, ArraySource, drawn
from limner.tasks.spec import Spec

KINDS, COLOURS = 200, 4
"""How many kinds there are where no one says, and the colours of each."""

GRID = 12
"""Values along a side of the finest field; a kind of lower frequency uses a part of them."""

GROUNDS = ("flat", "gradient", "texture", "two")
"""What lies behind a thing: one colour, one that fades, one that is mottled, two that meet."""


class Kind(NamedTuple):
    """What the images of a kind have in common; see :func:`kind_of` for ranges."""

    mirrored: bool
    frequency: Tensor
    fields: Tensor
    palette: Tensor
    squareness: float
    aspect: float
    roughness: float
    variation: float
    tint: float
    stripes: float
    contrast: float
    outline: float
    light: float
    ground: str
    ground_colours: Tensor
    ground_varies: bool


def open_sprites(spec: Spec) -> ArraySource:
    """``kinds`` kinds (:data:`KINDS`) of ``per_class`` images each (20), ``size`` (32) pixels wide, by ``seed`` (0)."""
    options = spec.options
    size, per_class, seed = options.get("size", 32), options.get("per_class", 20), options.get("seed", 0)
    names = tuple(f"sprite {place:04d}" for place in range(options.get("kinds", KINDS)))
    return drawn(spec, names, per_class, size, lambda place: draw(seed, place, per_class, size))


def draw(seed: int, index: int, count: int, size: int) -> Array:
    """``count`` images of the kind ``index``, uint8 ``(count, size, size, 3)``; the same for any other number of kinds.

    >>> draw(seed=0, index=3, count=2, size=16).shape
    (2, 16, 16, 3)
    """
    random = generator(seed, "sprites", index)
    kind = kind_of(random)
    side = 2 * size  # drawn twice as large and averaged: smooth edges
    fields = torch.lerp(kind.fields, torch.randn(count, COLOURS + 1, GRID, GRID, generator=random), kind.variation)
    places = _places(count, side, random)
    x, y = places.unbind(-1)
    within = torch.stack([x.abs() if kind.mirrored else x, y], -1)

    radius = ((x.abs() / kind.aspect) ** kind.squareness + y.abs() ** kind.squareness) ** (1 / kind.squareness)
    values = [_sampled(fields[:, k : k + 1], within, float(kind.frequency[k])) for k in range(COLOURS + 1)]
    height = 0.75 - radius + kind.roughness * values[0]
    thing = torch.sigmoid(height * side / 4)
    edge = torch.exp(-((height * side / 6) ** 2)) * kind.outline

    wave = torch.sin(kind.stripes * (y + 0.3 * values[0]) * math.pi)
    drawn = torch.stack([value + (wave if k == 1 and kind.stripes else 0) for k, value in enumerate(values[1:])], 1)
    shares = torch.softmax(kind.contrast * drawn, 1)
    palette = (kind.palette + kind.tint * torch.randn(count, COLOURS, 3, generator=random)).clamp(0, 1)
    painted = torch.einsum("nkhw,nkc->nchw", shares, palette)
    lit = 1 + kind.light * (-0.6 * y - 0.4 * x)
    painted = painted * lit[:, None] * (1 - edge[:, None])

    behind = _ground(kind, count, side, random)
    image = torch.lerp(behind, painted, thing[:, None])
    brightness = 1 + 0.12 * torch.randn(count, 1, 1, 1, generator=random)
    small = functional.avg_pool2d((image * brightness).clamp(0, 1), 2)
    result: Array = small.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return result


def kind_of(random: torch.Generator) -> Kind:
    """A kind drawn by ``random``."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=random))

    def likely(chance: float) -> bool:
        return uniform(0, 1) < chance

    hue = uniform(0, 1)
    hues = [hue + (0.5 if likely(0.25) else 0.0) + uniform(-0.12, 0.12) for _ in range(COLOURS)]
    colours = [_colour(one, uniform(0, 1) ** 0.7, uniform(0.1, 1)) for one in hues]
    grey = likely(0.15)
    grounds = [_colour(uniform(0, 1), uniform(0, 0.6), uniform(0, 1)) for _ in range(2)]
    if likely(0.4):
        grounds = [torch.full((3,), 0.0 if likely(0.5) else 1.0)] * 2
    return Kind(
        mirrored=likely(0.6),
        frequency=torch.tensor([uniform(0.2, 1.0) for _ in range(COLOURS + 1)]),
        fields=torch.randn(COLOURS + 1, GRID, GRID, generator=random),
        palette=torch.stack(colours).mean(1, keepdim=True).expand(-1, 3) if grey else torch.stack(colours),
        squareness=uniform(1.2, 5.0),
        aspect=uniform(0.45, 1.2),
        roughness=uniform(0.0, 0.5),
        variation=uniform(0.05, 0.6),
        tint=uniform(0.02, 0.2),
        stripes=uniform(2, 9) if likely(0.3) else 0.0,
        contrast=uniform(1, 9),
        outline=uniform(0.3, 1.0) if likely(0.5) else 0.0,
        light=uniform(0.0, 0.6),
        ground=GROUNDS[int(uniform(0, len(GROUNDS)))],
        ground_colours=torch.stack(grounds),
        ground_varies=likely(0.3),
    )


def _colour(hue: float, saturation: float, value: float) -> Tensor:
    """Red, green and blue in [0, 1], ``(3,)``, by the cosine form of hue, saturation and value."""
    turns = torch.tensor([0.0, 1 / 3, 2 / 3])
    pure = (0.5 + 0.75 * torch.cos(2 * math.pi * (hue - turns))).clamp(0, 1)
    return value * (1 - saturation + saturation * pure)


def _places(count: int, side: int, random: torch.Generator) -> Tensor:
    """Where in the thing each pixel lies, ``(count, side, side, 2)``, where the thing fills about [−1, 1]²."""
    angle = 0.2 * torch.randn(count, generator=random)
    scale = 0.75 + 0.3 * torch.rand(count, 2, generator=random).mean(1, keepdim=True).expand(-1, 2)
    scale = scale * (1 + 0.06 * torch.randn(count, 2, generator=random))
    shift = 0.08 * torch.randn(count, 2, 1, generator=random)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(count, 2, 2)
    matrix = turn / scale[:, :, None]
    return functional.affine_grid(torch.cat([matrix, matrix @ shift], 2), [count, 1, side, side], align_corners=False)


def _sampled(field: Tensor, places: Tensor, frequency: float) -> Tensor:
    """The field ``(n, 1, GRID, GRID)`` at ``places (n, h, w, 2)``, smooth; a part ``frequency`` of it fills [−1, 1]."""
    found = functional.grid_sample(field, places * frequency, "bicubic", "reflection", align_corners=False)
    return found[:, 0]


def _ground(kind: Kind, count: int, side: int, random: torch.Generator) -> Tensor:
    """What lies behind the thing, ``(count, 3, side, side)``."""
    colours = kind.ground_colours[None].expand(count, -1, -1)
    if kind.ground_varies:
        colours = (colours + 0.25 * torch.randn(count, 2, 3, generator=random)).clamp(0, 1)
    down = torch.linspace(0, 1, side).view(1, 1, side, 1).expand(count, 1, side, side)
    mottled = functional.interpolate(
        torch.rand(count, 1, GRID, GRID, generator=random), size=(side, side), mode="bilinear", align_corners=False
    )
    horizon = torch.sigmoid(side * (down - 0.5 - 0.3 * torch.rand(count, 1, 1, 1, generator=random)))
    share = {"flat": torch.zeros_like(down), "gradient": down, "texture": mottled, "two": horizon}[kind.ground]
    return torch.lerp(colours[:, 0, :, None, None], colours[:, 1, :, None, None], share)
