"""Data specs with two sides: where the inputs come from, where the targets, and whether they are pairs.

``A => B`` are pairs, ``A ~> B`` are none; ``A,pairs=left-right`` are images that hold both side by side, the input on
the left, and ``A,pairs=right-left`` with the input on the right.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import torch

from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.image_set import ImageSet
from limner.tasks.load import load
from limner.tasks.pairs import Domains, Pairs, TwoSided
from limner.tasks.spec import Spec, parse
from limner.tasks.task import Task, split

PAIRED, UNPAIRED = " => ", " ~> "
BESIDE = ("left-right", "right-left")
_BESIDE_OPTION = re.compile(r",pairs=([^,]*)")


class Sides(NamedTuple):
    """A two-sided spec taken apart: the specs of inputs and targets, and whether they are pairs."""

    inputs: str
    targets: str
    paired: bool


def is_two_sided(spec: str) -> bool:
    """Whether ``spec`` says where inputs and targets come from.

    >>> is_two_sided("folder:a => folder:b"), is_two_sided("zip:x.zip,pairs=left-right"), is_two_sided("folder:a")
    (True, True, False)
    """
    return PAIRED in spec or UNPAIRED in spec or _BESIDE_OPTION.search(spec) is not None


def sides(spec: str) -> Sides:
    """A two-sided spec taken apart. Raises :class:`LimnerError` for one that is not.

    >>> sides("zip:x.zip,pairs=right-left,size=64")
    Sides(inputs='zip:x.zip,size=64,part=right', targets='zip:x.zip,size=64,part=left', paired=True)
    """
    for arrow, paired in ((PAIRED, True), (UNPAIRED, False)):
        inputs, found, targets = spec.partition(arrow)
        if found:
            return Sides(inputs.strip(), targets.strip(), paired)
    beside = _BESIDE_OPTION.search(spec)
    if beside is None:
        raise LimnerError(
            f"{spec} has one side only; give inputs and targets, or one set with both side by side: "
            f"{spec},pairs=left-right"
        )
    if beside[1] not in BESIDE:
        raise LimnerError(f"pairs={beside[1]} cannot be used in {spec!r}; right would be: {' or '.join(BESIDE)}")
    alone = _BESIDE_OPTION.sub("", spec)
    first, second = (f"{alone},part={part}" for part in beside[1].split("-"))
    return Sides(first, second, True)


def join(inputs: str, targets: str | None = None, paired: bool | None = None) -> tuple[str, str]:
    """The two-sided spec of ``inputs`` and ``targets``, and a sentence that says whether they are pairs, and why.

    paired  ``None``: pairs where both are files of the same names, or neither has names and there are as many of both

    Raises :class:`LimnerError` where a side cannot be loaded, or what is to be paired cannot be.
    """
    if targets is None:
        found = sides(inputs)
        if paired is False and found.paired:
            return f"{found.inputs}{UNPAIRED}{found.targets}", "learned without pairs, as asked"
        load_sides(inputs)
        return inputs, ""
    for spec in (inputs, targets):
        if is_two_sided(spec):
            raise LimnerError(f"{spec} gives inputs and targets by itself; leave the other data out")
    first, second = _both(inputs, targets)
    counts = f"{len(first):,} and {len(second):,} images"
    if paired is None:
        if first.names and second.names:
            paired = sorted(_stems(first)) == sorted(_stems(second))
            common = len(set(_stems(first)) & set(_stems(second)))
            why = "of the same names" if paired else f"of {common or 'no'} common name{'' if common == 1 else 's'}"
        else:
            paired, common = len(first) == len(second), 0
            why = "as many of both, in the same order" if paired else "not as many of both"
        told = f"{counts}, {why}, so taken {'as pairs' if paired else 'as no pairs'}"
        if paired:
            told += " (--no-pairs learns without)"
        elif common or len(first) == len(second):
            told += f" (--pairs matches {'those of a common name' if common else 'them in their order'})"
    else:
        told = f"{counts}, taken {'as pairs' if paired else 'as no pairs'}, as asked"
    spec = f"{inputs}{PAIRED if paired else UNPAIRED}{targets}"
    if paired:
        told += "".join(f"; {note}" for note in _matched(first, second, spec).notes[len(first.notes + second.notes) :])
    return spec, told


def load_sides(spec: str) -> TwoSided:
    """The :class:`Pairs` or :class:`Domains` that a two-sided spec names.

    Pairs are matched by their files' names without endings, or where they have none, by their order. Where only one
    side says its ``size``, the other is brought to it. Raises :class:`LimnerError` where that cannot be.
    """
    found = sides(spec)
    inputs, targets = _both(found.inputs, found.targets)
    return _matched(inputs, targets, spec) if found.paired else Domains(inputs, targets, spec)


def _both(inputs: str, targets: str) -> tuple[ImageSet, ImageSet]:
    specs = [parse(inputs), parse(targets)]
    sizes = [spec.options.get("size") for spec in specs]
    given = next((size for size in sizes if size is not None), None)
    loaded = []
    for text, spec, size in zip((inputs, targets), specs, sizes, strict=True):
        extra: dict[str, Any] = {} if size is not None or given is None else {"size": given}
        loaded.append(replace(load(text, **extra), name=_called(spec, text)))
    return loaded[0], loaded[1]


def _called(spec: Spec, text: str) -> str:
    return text if spec.path else str(spec)


def _matched(inputs: ImageSet, targets: ImageSet, name: str) -> Pairs:
    if not (inputs.names and targets.names):
        return Pairs(inputs, targets, name)
    first = {stem: place for place, stem in enumerate(_stems(inputs))}
    second = {stem: place for place, stem in enumerate(_stems(targets))}
    if len(first) < len(inputs) or len(second) < len(targets):
        twice = inputs if len(first) < len(inputs) else targets
        raise LimnerError(f"{twice.name} has two files of one name but for the ending; pairs are matched by it")
    common = [stem for stem in first if stem in second]
    if not common:
        if len(inputs) != len(targets):
            raise LimnerError(
                f"none of the {len(inputs):,} files of {inputs.name} has the name of one of the {len(targets):,} of "
                f"{targets.name}, so they are no pairs; name them alike, or learn without pairs: --no-pairs"
            )
        made = Pairs(inputs, targets, name)
        return _noted(made, "no file names are shared, so files are matched by the order of their names")
    made = Pairs(
        inputs.select(torch.tensor([first[stem] for stem in common])),
        targets.select(torch.tensor([second[stem] for stem in common])),
        name,
    )
    left = len(inputs) + len(targets) - 2 * len(common)
    return made if not left else _noted(made, f"{left:,} files without a partner of the same name are left out")


def _noted(pairs: Pairs, note: str) -> Pairs:
    object.__setattr__(pairs, "notes", (*pairs.notes, note))
    return pairs


def _stems(images: ImageSet) -> list[str]:
    """The files' names without their endings."""
    return [str(PurePosixPath(name).with_suffix("")) for name in images.names]


def split_sides(images: TwoSided, shots: int | None, seed: int, most: int, source: str) -> Task:
    """A task to make targets from inputs: ``shots`` pairs, or images of each side, to learn from, and at most ``most``
    of the others to be judged on.

    Without ``shots`` a fifth is held back, or none of fewer than 10. Of two sets without pairs each is split by itself.
    """
    if isinstance(images, Pairs):
        shots = _four_fifths(len(images)) if shots is None else shots
        queries = min(max(len(images) - shots, 0), most)
        made = split(images, shots, seed, queries=queries, goal="translate", source=source)
        return replace(made, name=made.name.replace("shot", "pair"))
    parts = []
    for side, one in (("inputs", images.inputs), ("targets", images.targets)):
        count = _four_fifths(len(one)) if shots is None else shots
        if not 1 <= count <= len(one):
            raise LimnerError(f"{one.name} has {len(one):,} images, so {count:,} of them cannot be learned from")
        order = torch.randperm(len(one), generator=generator(seed, "split", side))
        parts.append((one.select(order[:count]), one.select(order[count : count + most])))
    (learned_inputs, held_inputs), (learned_targets, held_targets) = parts
    support = Domains(learned_inputs, learned_targets, images.name)
    held = bool(len(held_inputs) and len(held_targets))
    return Task(
        goal="translate",
        name=f"{images.name}, {len(learned_inputs)} and {len(learned_targets)} images",
        support=support,
        query=Domains(held_inputs, held_targets, images.name) if held else None,
        seed=seed,
        source=source,
    )


def _four_fifths(count: int) -> int:
    return count - (count // 5 if count >= 10 else 0)
