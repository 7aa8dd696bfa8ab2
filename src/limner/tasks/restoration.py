"""Tasks to restore, from a data spec: what there is of damaged and of clean images, and what the damage is.

    folder:clean under gaussian(5..50)                    clean images, damaged anew whenever one is learned from
    folder:damaged => folder:clean                        pairs; so are folder:both,pairs=left-right
    folder:damaged ~> folder:clean under gaussian(5..50)  clean images as in the first line; damage as the others have
    folder:damaged alone under gaussian(5..50)            damaged images only, with what their damage is taken for

Images keep their own scale: patches are cut from them.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from limner.degradations import Chain, Degradation, parse
from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.degraded import Unrounded, enlarged
from limner.tasks.image_set import ImageSet
from limner.tasks.pair_spec import PAIRED, UNPAIRED, is_two_sided, sides
from limner.tasks.pairs import Alone, Pairs, TwoSided
from limner.tasks.pictures import Pictures, patches, pictures
from limner.tasks.task import Task

UNDER, ALONE = " under ", " alone"

GREY = 0.25
"""The share of looks at images in colour that are at grey copies."""

LEARNED_ALONE = ("gaussian", "poisson", "poisson_gaussian", "speckle", "salt_and_pepper", "quantise", "clip")
"""What damaged images alone teach to take away: no pixel of it tells of another's."""


class Damaged(Pairs):
    """Clean images and how they are damaged: pairs without end, for each look at an image damages it anew.

    ``inputs`` are the images damaged once, always the same, for whoever wants to see or judge some; :meth:`again` is
    what is learned from. A grey image among colours is damaged as the grey one that it is, alike in all channels, and
    of images in colour every fourth look is at a grey copy: what learns from both mends both.

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
        """Pairs of these images, some of them in grey, with damage drawn from ``random``."""
        clean = self.targets
        if self._takes_grey:
            chosen = torch.rand(len(clean), generator=random)[:, None, None, None] < GREY
            grey = clean.images.float().mean(1, keepdim=True).round().to(torch.uint8)
            mixed = torch.where(chosen, grey, clean.images)
            clean = ImageSet(mixed, clean.name, licence=clean.licence, names=clean.names)
        return Pairs(self._damaged(clean, random), clean, self.name)

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
        if self._takes_grey:
            grey = (clean.images == clean.images[:, :1]).flatten(1).all(1)
            if bool(grey.any()):
                damaged[grey] = self.degradation(clean.images[grey, :1].float() / 255, random)
        return Unrounded(enlarged(damaged, clean.shape[1]), self.name)

    @cached_property
    def _takes_grey(self) -> bool:
        """Whether these are images in colour under a degradation that grey ones can have too: a mosaic, none can."""
        if self.targets.shape[0] != 3:
            return False
        try:
            self.degradation(self.targets.images[:1, :1].float() / 255, generator(0, "grey"))
        except LimnerError:
            return False
        return True


class Rehearsed(Pairs):
    """Pairs, beside which ``others`` are learned from at each step, so that what a start knew of them is not forgotten.

    That is rehearsal (Robins 1995). The pairs themselves are ``own``, and so are all that is told or judged of them;
    only :meth:`again`, what is learned from, has both.

    share  of others in each step, from 0 to below 1; at least one pair is an own one

    >>> own = ImageSet(torch.full((8, 1, 16, 16), 200, dtype=torch.uint8), "own")
    >>> others = Damaged(ImageSet(torch.zeros(4, 1, 16, 16, dtype=torch.uint8), "others"), parse("gaussian(5)"))
    >>> mixed = Rehearsed(Pairs(own, own), others, 0.75).again(torch.Generator().manual_seed(0))
    >>> len(mixed), int((mixed.images.flatten(1)[:, 0] == 200).sum())
    (8, 2)
    """

    own: Pairs
    others: Damaged
    share: float

    def __init__(self, own: Pairs, others: Damaged, share: float) -> None:
        super().__init__(own.inputs, own.targets, own.name)
        for name, value in (("own", own), ("others", others), ("share", share)):
            object.__setattr__(self, name, value)

    def select(self, indices: Tensor, name: str | None = None) -> Rehearsed:
        """The own pairs at ``indices`` (int64 or bool), with all others."""
        return Rehearsed(self.own.select(indices, name), self.others, self.share)

    def again(self, random: torch.Generator) -> Pairs:
        """As many pairs as these, of which a share are others, damaged anew; which ones is drawn from ``random``."""
        kept = torch.randperm(len(self), generator=random)[: max(1, round((1 - self.share) * len(self)))]
        drawn = torch.randint(len(self.others), (len(self) - len(kept),), generator=random)
        own = self.own.select(kept)
        if not len(drawn):
            return own
        others = self.others.select(drawn).again(random)
        damaged, clean = (
            torch.cat([getattr(pairs, side).floats() for pairs in (own, others)]) for side in ("inputs", "targets")
        )
        return Pairs(Unrounded(damaged, self.name), Unrounded(clean, self.name), self.name)


class Materials(NamedTuple):
    """What there is to learn to restore from: the data specs of clean and of damaged images, and the damage as text.

    Any of them can be empty; ``paired`` are damaged images and clean ones that belong together.

    >>> Materials.of("folder:noisy ~> folder:clean under gaussian(25.0)")
    Materials(clean='folder:clean', damaged='folder:noisy', degradation='gaussian(25)', paired=False)
    """

    clean: str = ""
    damaged: str = ""
    degradation: str = ""
    paired: bool = False

    @classmethod
    def of(cls, spec: str) -> Materials:
        """The spec taken apart. Raises :class:`LimnerError` where the degradation's text is wrong."""
        data, _, told = spec.rpartition(UNDER) if UNDER in spec else (spec, "", "")
        degradation = str(parse(told)) if told else ""
        if is_two_sided(data):
            found = sides(data)
            return cls(found.targets, found.inputs, degradation, found.paired)
        if data.endswith(ALONE):
            return cls(damaged=data.removesuffix(ALONE), degradation=degradation)
        return cls(clean=data, degradation=degradation)

    @property
    def spec(self) -> str:
        """The inverse of :meth:`of`."""
        if self.clean and self.damaged:
            data = f"{self.damaged}{PAIRED if self.paired else UNPAIRED}{self.clean}"
        else:
            data = self.clean or f"{self.damaged}{ALONE}"
        return f"{data}{UNDER}{self.degradation}" if self.degradation else data


def materials(data: str | None, degradation: str | None = None, damaged: str | None = None) -> Materials:
    """What ``data``, a spec as above or clean images, and beside it a degradation and ``damaged`` images are together.

    Where there are damaged images that are not of pairs, the degradation can be left out, for them to show it. Raises
    :class:`LimnerError` where two say the same thing, or nothing says what the damage is.

    >>> materials("folder:clean", "gaussian(25.0)").spec, materials(None, damaged="folder:noisy").spec
    ('folder:clean under gaussian(25)', 'folder:noisy alone')
    """
    found = Materials.of(data) if data is not None else Materials()
    if damaged is not None:
        if found.damaged or is_two_sided(damaged):
            told = data if found.damaged else damaged
            raise LimnerError(f"{told} gives damaged images by itself; leave the other damaged ones out")
        found = found._replace(damaged=damaged)
    if degradation is not None:
        told = str(parse(degradation))
        if found.degradation and found.degradation != told:
            raise LimnerError(f"{found.degradation} and {told} both say what the damage is; give one of them")
        found = found._replace(degradation=told)
    if found.paired:
        if found.degradation:
            raise LimnerError(f"{data} are pairs, which show the damage by themselves; leave the degradation out")
        return found
    if not found.damaged and not found.degradation:
        raise LimnerError(
            f"{data} alone does not show what the damage is; say how clean images get damaged, as in "
            f'--degradation "gaussian(5..50)", give pairs: "folder:damaged => {data}", or damaged images that are no '
            f"pairs: --damaged folder:damaged; where {data} is damaged and there is nothing else, say --damaged {data}"
        )
    if found.damaged and not found.clean:
        _check_alone(found)
    return found


def _check_alone(found: Materials) -> None:
    """Raises :class:`LimnerError` where damaged images alone cannot teach to take the degradation away."""
    whole = parse(found.degradation or "nothing")
    for stage in whole.parts if isinstance(whole, Chain) else (whole,):
        if (word := getattr(stage, "word", "")) and word not in LEARNED_ALONE:
            raise LimnerError(
                f"damaged images alone teach to take away noise that is another in each pixel, not {stage}; give clean "
                "images beside them, whatever they show, or use limner restore, which needs none"
            )


def restoration_task(spec: str, shots: int | None, seed: int, most: int) -> tuple[Task, TwoSided]:
    """The task of a spec as :func:`materials` gives it, and all its patches: ``shots`` images to learn from (all
    patches of each), and at most ``most`` patches of the others to be judged on.

    Without ``shots`` a fifth of the images is held back, or none of fewer than 10; of damaged images alone then a
    fifth of the patches. Damage of what is held back is drawn once, by ``seed``. Raises :class:`LimnerError` where the
    spec cannot be loaded or has too few images.
    """
    known = Materials.of(spec)
    whole, places, count = (
        _pairs(spec) if known.paired else _damaged(known, spec, seed) if known.clean else _alone(known, spec)
    )
    if shots is None and isinstance(whole, Alone) and count < 10:
        places, count = torch.arange(len(whole)), len(whole)
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


def _damaged(known: Materials, spec: str, seed: int) -> tuple[Pairs, Tensor, int]:
    if not known.degradation:
        raise LimnerError(f"{spec} does not say what the damage is; write DATA{UNDER}DEGRADATION, or pairs")
    found = pictures(known.clean)
    clean, places = patches(found, found.patch())
    return Damaged(clean, parse(known.degradation), seed, spec), places, len(torch.unique(places))


def _alone(known: Materials, spec: str) -> tuple[Alone, Tensor, int]:
    found = pictures(known.damaged)
    cut, places = patches(found, found.patch())
    return Alone(cut, spec), places, len(torch.unique(places))


def _pairs(spec: str) -> tuple[Pairs, Tensor, int]:
    first, second, _ = sides(spec)
    damaged, clean = pictures(first), pictures(second)
    pairs = _matched(damaged, clean)
    unlike = [(one, two) for first, second in pairs
              if _stem(one := damaged.names[first]) != _stem(two := clean.names[second])]  # fmt: skip
    if unlike:
        told = "names do not tell what belongs together, so the order makes the pairs: {} with {}, and so on"
        damaged = damaged._replace(notes=(*damaged.notes, told.format(*unlike[0])))
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


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _matched(damaged: Pictures, clean: Pictures) -> list[tuple[int, int]]:
    """Places of damaged images and of the clean ones they belong to: by the files' names without endings, or where none
    is shared, by their order. Raises :class:`LimnerError`, saying which, where sizes differ.
    """
    stems = [[_stem(name) for name in side.names] for side in (damaged, clean)]
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
        others = len(missing) - 1
        more = "" if not others else ", nor has 1 other" if others == 1 else f", nor have {others:,} others"
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
