"""Built-in ``leaves``: patches of scenes in which things hide each other, drawn at random, each scene a class.

Leaves that fall one over the other, of sizes r with density in proportion to r⁻³, have edges, flat regions and
statistics that do not change with scale, much as photographs do (Lee, Mumford & Huang 2001, section 3). A denoiser that
learned from them alone comes near to one that learned from photographs (Achddou, Gousseau & Ladjal 2021). Nothing is
taken from anywhere, so what learns from leaves has a clean licence.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from limner.seeds import derive
from limner.tasks.arrays import Array, ArraySource, drawn
from limner.tasks.spec import Spec

SCENES, FINER = 200, 2
"""How many scenes there are where no one says, and how much finer they are drawn."""


class Scene(NamedTuple):
    """What the patches of a scene have in common.

    light, spread  mean and standard deviation of the leaves' brightness, in [0, 1]
    chroma         standard deviation of colour about grey, and ``tint``, its mean, of red, green and blue
    leaves         how many fall on a patch, one over the other
    smallest       radius of the smallest leaves, in pixels
    round_share    share of ellipses; the others are rectangles
    textured       share of leaves with a texture, and ``depth``, how strong it is
    soft           width of the blur over all, in pixels
    """

    light: float
    spread: float
    chroma: float
    tint: Array
    leaves: int
    smallest: float
    round_share: float
    textured: float
    depth: float
    soft: float


def open_leaves(spec: Spec) -> ArraySource:
    """``kinds`` scenes (:data:`SCENES`) of ``per_class`` patches each (10), ``size`` (64) pixels wide, by ``seed``."""
    options = spec.options
    size, per_class, seed = options.get("size", 64), options.get("per_class", 10), options.get("seed", 0)

    def of_scene(place: int) -> Array:
        random = np.random.default_rng(derive(seed, "leaves", place))
        scene = scene_of(random)
        return np.stack([draw(scene, size, random) for _ in range(per_class)])

    names = tuple(f"scene {place + 1}" for place in range(options.get("kinds", SCENES)))
    return drawn(spec, names, per_class, size, of_scene)


def scene_of(random: np.random.Generator) -> Scene:
    """A scene at random."""
    return Scene(
        light=random.uniform(0.25, 0.7),
        spread=random.uniform(0.08, 0.3),
        chroma=random.choice([0.0, 0.05, 0.12]),
        tint=random.normal(0, 0.05, 3),
        leaves=round(10 ** random.uniform(1.2, 2.6)),
        smallest=10 ** random.uniform(-0.15, 0.9),
        round_share=random.uniform(),
        textured=random.uniform(0, 0.7),
        depth=random.uniform(0.02, 0.12),
        soft=random.choice([0.0, random.uniform(0.3, 1.0)]),
    )


def draw(scene: Scene, size: int, random: np.random.Generator) -> Array:
    """A patch of the scene, uint8 ``(size, size, 3)``.

    >>> draw(scene_of(np.random.default_rng(0)), 16, np.random.default_rng(1)).shape
    (16, 16, 3)
    """
    side = FINER * size
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    canvas = np.empty((side, side, 3), np.float32)
    _fill(canvas, scene, random, rows, columns)
    smallest, largest = FINER * scene.smallest, side / 2.0
    for share in random.uniform(size=scene.leaves):
        # the inverse of the distribution function of r⁻³ between the smallest and the largest radius
        radius = ((1 - share) * smallest**-2 + share * largest**-2) ** -0.5
        narrow = radius * random.uniform(0.3, 1.0)
        down, across = random.uniform(-radius, side + radius, 2)
        reach = 1.5 * radius
        top, left = max(0, int(down - reach)), max(0, int(across - reach))
        bottom, right = min(side, int(down + reach) + 2), min(side, int(across + reach) + 2)
        if top >= bottom or left >= right:
            continue
        angle = random.uniform(0, math.pi)
        above, beside = rows[top:bottom, left:right] - down, columns[top:bottom, left:right] - across
        along = (above * math.cos(angle) + beside * math.sin(angle)) / radius
        over = (beside * math.cos(angle) - above * math.sin(angle)) / narrow
        if random.uniform() < scene.round_share:
            covered = along**2 + over**2 <= 1
        else:
            covered = np.maximum(abs(along), abs(over)) <= 0.8
        leaf = np.empty((*covered.shape, 3), np.float32)
        _fill(leaf, scene, random, above, beside)
        part = canvas[top:bottom, left:right]
        part[covered] = leaf[covered]
    if scene.soft:
        from scipy.ndimage import gaussian_filter

        canvas = gaussian_filter(canvas, (FINER * scene.soft, FINER * scene.soft, 0))
    small = canvas.reshape(size, FINER, size, FINER, 3).mean((1, 3))
    made: Array = (small.clip(0, 1) * 255).round().astype(np.uint8)
    return made


def _fill(part: Array, scene: Scene, random: np.random.Generator, rows: Array, columns: Array) -> None:
    """A colour that fades in some direction, and for some leaves waves or grains over it."""
    light = (
        random.normal(scene.light, scene.spread) + random.normal(0, scene.chroma, 3) + scene.tint * bool(scene.chroma)
    )
    slope, angle = random.normal(0, 0.15), random.uniform(0, 2 * math.pi)
    way = (rows * math.cos(angle) + columns * math.sin(angle)) / len(part)
    shade = slope * way
    if random.uniform() < scene.textured:
        if random.uniform() < 0.5:
            waves = random.uniform(2, len(part) / 3 + 2)
            shade = shade + scene.depth * np.sin(waves * 2 * way + random.uniform(0, 6))
        else:
            shade = shade + _grains(part.shape[:2], random) * scene.depth
    part[...] = light + shade[..., None]


def _grains(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Random values with a standard deviation of about 1, each spread over a few pixels."""
    coarse = int(random.choice([2, 3, 4, 8]))
    rough = random.standard_normal([-(-length // coarse) + 1 for length in shape]).astype(np.float32)
    whole = np.kron(rough, np.ones((coarse, coarse), np.float32))
    down, across = random.integers(0, coarse, 2)
    part: Array = whole[down : down + shape[0], across : across + shape[1]]
    return part
