"""Tasks to restore, from a data spec: clean images ``under`` a degradation, or pairs, damaged and clean.

``folder:clean under gaussian(5..50)`` are clean images, damaged anew whenever one is learned from;
``folder:damaged => folder:clean`` are pairs. Images keep their own scale: patches are cut from them.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import PurePosixPath

import torch
from torch import Tensor

from limner.degradations import Degradation, parse
from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.degraded import Unrounded, enlarged
from limner.tasks.image_set import ImageSet
from limner.tasks.pair_spec import is_two_sided, sides
from limner.tasks.pairs import Pairs
from limner.tasks.pictures import Pictures, patches, pictures
from limner.tasks.task import Task

UNDER = " under "


class Damaged(Pairs):
    """Clean images and how they are damaged: pairs without end, for each look at an image damages it anew.

    ``inputs`` are the images damaged once, always the same, for whoever wants to see or judge some; :meth:`again` is
    what is learned from.

    Raises :class:`LimnerError` where the degradation does not go with the images.

    >>> grey = ImageSet(torch.full((4, 1, 16, 16), 128, dtype=torch.uint8), "grey")
    >>> damaged = Damaged(grey, parse("gaussian(25)"))
    >>> random = torch.Generator().manual_seed(0)
    >>> first, second = damaged.again(random), damaged.again(random)
    >>> bool((first.inputs.floats() == second.inputs.floats()).any()), round(first.inputs.floats().std().item() * 255)
    (False, 26)
    """

    degradation: Degradation
    seed: int

    def __init__(self, clean: ImageSet, degradation: Degradation, seed: int = 0, name: str = "") -> None:
        if not len(clean):
            raise LimnerError(f"{clean.name} gives no images to damage; give at least 1")
        ImageSet.__init__(
            self, clean.images, name or f"{clean.name}{UNDER}{degradation}", licence=clean.licence, notes=clean.notes
        )
        object.__setattr__(self, "targets", clean)
        object.__setattr__(self, "degradation", degradation)
        object.__setattr__(self, "seed", seed)
        self._damaged(clean.select(torch.arange(1)), generator(seed, "damage"))  # a mistake is told at once

    @cached_property
    def inputs(self) -> ImageSet:  # type: ignore[override]
        """The images damaged, once and for all."""
        return self._damaged(self.targets, generator(self.seed, "damage"))

    def again(self, random: torch.Generator) -> Pairs:
        """Pairs of these images, with damage drawn from ``random``."""
        return Pairs(self._damaged(self.targets, random), self.targets, self.name)

    def select(self, indices: Tensor, name: str | None = None) -> Damaged:
        """The images at ``indices`` (int64 or bool)."""
        return Damaged(self.targets.select(indices), self.degradation, self.seed, name or self.name)

    @cached_property
    def sha256(self) -> str:
        """Identity of the clean images and of what is done to them."""
        parts = (type(self).__name__, self.targets.sha256, str(self.degradation), str(self.seed))
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()

    def _damaged(self, clean: ImageSet, random: torch.Generator) -> ImageSet:
        damaged = self.degradation(clean.floats(), random)
        if damaged.shape[1] != clean.shape[0]:
            raise LimnerError(f"{self.degradation} changes the colours of {clean.name}; give images in grey or colour")
        return Unrounded(enlarged(damaged, clean.shape[1]), self.name)


def under(data: str, degradation: str | None) -> str:
    """The spec of the images of ``data`` under a degradation, or of pairs where there is none.

    Raises :class:`LimnerError` where both say what the damage is, or neither, or the degradation's text is wrong.

    >>> under("folder:clean", "gaussian(25.0)"), under("folder:noisy => folder:clean", None)
    ('folder:clean under gaussian(25)', 'folder:noisy => folder:clean')
    """
    if is_two_sided(data):
        if degradation is not None:
            raise LimnerError(f"{data} are pairs, which show the damage by themselves; leave the degradation out")
        if not sides(data).paired:
            raise LimnerError(
                f"{data} are no pairs, and to restore is learned from pairs; write DAMAGED{' => '}CLEAN for images of "
                "the same names, or give clean images and --degradation"
            )
        return data
    if UNDER in data:
        data, _, told = data.rpartition(UNDER)
        if degradation is not None and str(parse(degradation)) != str(parse(told)):
            raise LimnerError(f"{told} and {degradation} both say what the damage is; give one of them")
        degradation = told
    if degradation is None:
        raise LimnerError(
            f"{data} alone does not show what the damage is; say how clean images get damaged, as in "
            f'--degradation "gaussian(5..50)", or give pairs: "{data} => folder:clean"'
        )
    return f"{data}{UNDER}{parse(degradation)}"


def restoration_task(spec: str, shots: int | None, seed: int, most: int) -> tuple[Task, Pairs]:
    """The task of a spec as :func:`under` gives it, and all its pairs of patches: ``shots`` images to learn from (all
    patches of each), and at most ``most`` patches of the others to be judged on.

    Without ``shots`` a fifth of the images is held back, or none of fewer than 10. Damage of what is held back is
    drawn once, by ``seed``. Raises :class:`LimnerError` where the spec cannot be loaded or has too few images.
    """
    whole, places, count = _pairs(spec, seed) if is_two_sided(spec) else _damaged(spec, seed)
    shots = count - (count // 5 if count >= 10 else 0) if shots is None else shots
    if not 1 <= shots <= count:
        raise LimnerError(
            f"{spec} has {count:,} {'image' if count == 1 else 'images'} to learn from, so {shots:,} shots cannot be "
            f"taken; give from 1 to {count:,}"
        )
    order = torch.unique(places)[torch.randperm(count, generator=generator(seed, "split"))]
    learned = torch.isin(places, order[:shots])
    held = (~learned).nonzero().flatten()
    held = held[torch.randperm(len(held), generator=generator(seed, "held back"))[:most]]
    query = whole.select(held) if len(held) else None
    if isinstance(query, Damaged):
        query = query.again(generator(seed, "query"))
    name = f"{spec}, {shots:,} {'image' if shots == 1 else 'images'}"
    return Task("restore", name, whole.select(learned), query, seed, spec), whole


def _damaged(spec: str, seed: int) -> tuple[Pairs, Tensor, int]:
    data, _, told = spec.rpartition(UNDER)
    if not data:
        raise LimnerError(f"{spec} does not say what the damage is; write DATA{UNDER}DEGRADATION, or pairs")
    found = pictures(data)
    clean, places = patches(found, found.patch())
    return Damaged(clean, parse(told), seed, spec), places, len(torch.unique(places))


def _pairs(spec: str, seed: int) -> tuple[Pairs, Tensor, int]:
    first, second, _ = sides(spec)
    damaged, clean = pictures(first), pictures(second)
    pairs = _matched(damaged, clean)
    channels = max(damaged.images[0].shape[0], clean.images[0].shape[0])
    size = damaged.size or clean.size or min(damaged.patch(), clean.patch())
    chosen = (
        side._replace(
            images=[side.images[row[place]] for row in pairs], names=[side.names[row[place]] for row in pairs]
        )
        for place, side in enumerate((damaged, clean))
    )
    (inputs, places), (targets, _) = (patches(side.coloured(channels), size) for side in chosen)
    return Pairs(inputs, targets, spec), places, len(torch.unique(places))


def _matched(damaged: Pictures, clean: Pictures) -> list[tuple[int, int]]:
    """Places of damaged images and of the clean ones they belong to: by the files' names without endings, or where none
    is shared, by their order. Raises :class:`LimnerError`, saying which, where sizes differ.
    """
    stems = [[str(PurePosixPath(name).with_suffix("")) for name in side.names] for side in (damaged, clean)]
    known = {stem: place for place, stem in enumerate(stems[1])}
    rows = [(place, known[stem]) for place, stem in enumerate(stems[0]) if stem in known]
    if not rows or len(set(stems[0])) < len(stems[0]) or len(known) < len(stems[1]):
        if len(damaged.images) != len(clean.images):
            raise LimnerError(
                f"{len(damaged.images):,} images of {damaged.name} and {len(clean.images):,} of {clean.name} are no "
                "pairs, for they share no names; name them alike, or give as many of both"
            )
        rows = [(place, place) for place in range(len(damaged.images))]
    elif len(rows) < max(len(damaged.images), len(clean.images)):
        side, other = (damaged, clean) if len(rows) < len(damaged.images) else (clean, damaged)
        matched = {row[0 if side is damaged else 1] for row in rows}
        missing = [name for place, name in enumerate(side.names) if place not in matched]
        more = f", nor have {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise LimnerError(
            f"{missing[0]} of {side.name} has no partner of that name in {other.name}{more}; name pairs alike, or take "
            "the others out"
        )
    for first, second in rows:
        one, two = damaged.images[first], clean.images[second]
        if one.shape[1:] != two.shape[1:]:
            raise LimnerError(
                f"{damaged.names[first]} of {damaged.name} has {one.shape[2]}×{one.shape[1]} pixels, but "
                f"{clean.names[second]} of {clean.name} has {two.shape[2]}×{two.shape[1]}; pairs must be of one size"
            )
    return rows
