"""Damaged copies of images, as files."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from limner.errors import LimnerError
from limner.verbs import directories

if TYPE_CHECKING:
    from torch import Tensor

    from limner.degradations import Degradation
    from limner.degradations.base import Parameters

REPORT = "degraded.csv"

LOSING = ("missing", "boxes", "scratches", "text")
"""Degradations that lose whole pixels, of which masks tell."""


class Degraded(NamedTuple):
    """Where the copies are: their directory, one PNG each, what was done to each, what could not be read, and the masks
    of lost pixels, where they were asked for."""

    directory: Path
    degradation: str
    images: list[Path]
    report: Path
    notes: tuple[str, ...]
    masks: tuple[Path, ...] = ()


class Original(NamedTuple):
    """An image that is read when it is wanted: what it is called, and uint8 ``(c, h, w)``."""

    name: str
    read: Callable[[], Tensor]


def degrade(
    spec: str,
    degradation: str,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    masks: str | Path | None = None,
    force: bool = False,
    progress: bool = False,
) -> Degraded:
    """Write a damaged copy of each image of ``spec``, as a PNG under its own name. The images are only read.

    spec         a folder or zip archive, of which each image keeps its size, or any data spec with its options
    degradation  as text (:mod:`limner.degradations.text`); ranges and choices are drawn for each image
    seed         gives, with an image's name, what is drawn for it: the same whatever other images there are
    masks        a new directory, which gets of each image that lost pixels a mask under the name of its copy, black
                 where they are lost (``None``: none are written): what ``restore`` takes

    ``out`` (``None``: a new directory in ``runs``) gets the images, in the sub-folders that they had, and
    ``degraded.csv``: for each image what was done to it, as a text that does it again. Files hold bytes, so that
    intensities are clipped and rounded, as by ``+quantise(8)``.

    Raises :class:`LimnerError` where the text is wrong, does not go with the images, or ``out`` exists; nothing is
    left behind then.
    """
    from limner.degradations import parse
    from limner.degradations.operators import about_kernels
    from limner.verbs.line import listeners
    from limner.verbs.translate import png_names

    damage = parse(degradation)
    notes = about_kernels(damage)
    directory = directories.claim(out, f"{Path(spec.replace(':', '-')).name}-degraded", force)
    beside = None if masks is None else _place_of_masks(masks, damage, directory, force)
    originals = originals_of(spec)
    names = png_names([original.name for original in originals])
    asked = {"verb": "degrade", "spec": spec, "degradation": str(damage), "seed": seed}
    directories.begin(directory, asked)
    if beside is not None:
        directories.begin(beside, asked)
    told = listeners(progress, "degrading")
    for listener in told:
        listener.on_start(len(originals), 0.0)
    rows: list[tuple[object, ...]] = []
    hidden: list[Path] = []
    state = "failed"
    try:
        for done, (original, name) in enumerate(zip(originals, names, strict=True), start=1):
            mask = None if beside is None else beside / name
            row = _write(original, directory / name, mask, damage, seed, notes)
            hidden += [mask] if mask is not None and mask.exists() else []
            rows += [] if row is None else [(original.name, name, *row)]
            for listener in told:
                listener.on_step(done, {})
        if not rows:
            raise LimnerError(f"{spec} holds no image that can be used: {notes[-1]}")
        state = "finished"
    except BaseException:
        shutil.rmtree(directory)
        if beside is not None:
            shutil.rmtree(beside)
        raise
    finally:
        for listener in told:
            listener.on_end(state)
    report = directory / REPORT
    report.write_bytes(_table([("image", "file", "width", "height", "degradation"), *rows]))
    images = [directory / str(row[1]) for row in rows]
    return Degraded(directory, str(damage), images, report, tuple(notes), tuple(hidden))


def originals_of(spec: str) -> list[Original]:
    """The images of a data spec: those of a folder or archive as they are, others as ``load`` gives them."""
    from limner.tasks import load
    from limner.tasks.files import open_folder, open_zip, read
    from limner.tasks.spec import parse
    from limner.verbs.translate import output_names

    known = parse(spec)
    if known.kind in ("folder", "zip") and not known.options:
        source = (open_folder if known.kind == "folder" else open_zip)(known)
        return [Original(item.name, lambda item=item: _pixels(read(item, 1 << 30))) for item in source.items]  # type: ignore[misc]
    images = load(spec)
    names = images.names or output_names(images)
    return [Original(name, lambda place=place: images.images[place]) for place, name in enumerate(names)]  # type: ignore[misc]


def _pixels(image: object) -> Tensor:
    """A picture at its own size, uint8 ``(1 or 3, h, w)``, its transparency on white."""
    import torch

    from limner.tasks.convert import whole

    return torch.from_numpy(whole(image))  # type: ignore[arg-type]


def _place_of_masks(masks: str | Path, damage: Degradation, directory: Path, force: bool) -> Path:
    """The directory for masks, not yet touched. Raises :class:`LimnerError` where none could be written, something is
    there, or they would lie among the images."""
    if not any(f"{word}(" in str(damage) for word in LOSING):
        raise LimnerError(
            f"{damage} loses no pixels, so there are no masks to write; leave --masks out, or add one of "
            f"{', '.join(LOSING)}"
        )
    try:
        beside = directories.claim(masks, "masks", force)
    except LimnerError as mistake:
        raise LimnerError(str(mistake).replace("--out", "--masks")) from None
    if directory.resolve() in (beside.resolve(), *beside.resolve().parents):
        raise LimnerError(
            f"{beside} lies in {directory}, where masks would be taken for images; choose another --masks"
        )
    return beside


def _mask_of(damage: Degradation, parameters: Parameters, size: tuple[int, int]) -> Tensor | None:
    """What a settled degradation kept of pixels of ``size``, bool ``(1, 1, h, w)``; ``None`` where it lost none, or
    down-sampling came after."""
    from limner.degradations import Chain
    from limner.degradations.base import Stage, under

    if isinstance(damage, Chain):
        found = [_mask_of(part, under(parameters, place), size) for place, part in enumerate(damage.parts)]
        masks = [mask for mask in found if mask is not None]
        return None if not masks else masks[0] if len(masks) == 1 else _mask_of_all(masks)
    if not isinstance(damage, Stage) or damage.word not in LOSING or parameters["mask"].shape[2:] != size:
        return None
    return parameters["mask"]


def _mask_of_all(masks: list[Tensor]) -> Tensor:
    """Where all kept a pixel."""
    import torch

    return torch.stack(masks).all(0)


def _write(
    original: Original, path: Path, mask: Path | None, damage: Degradation, seed: int, notes: list[str]
) -> tuple[int, int, str] | None:
    """Damage one image and write it, and where pixels are lost their ``mask``; width, height and what was done, or
    ``None`` where it cannot be read."""
    from limner.engine.run import as_bytes
    from limner.reports.figures import grid
    from limner.seeds import generator
    from limner.tasks.convert import Unusable

    try:
        image = original.read()
    except Unusable as reason:
        notes.append(f"{original.name} is left out: {reason}")
        return None
    settled = damage.settle(generator(seed, "degrade", original.name))
    try:
        made = settled(image[None].float() / 255, generator(seed, "noise", original.name))
    except LimnerError as mistake:
        raise LimnerError(f"{original.name}: {mistake}") from mistake
    if mask is not None:
        drawn = settled.sample((1, *image.shape), generator(seed, "noise", original.name))  # as it was drawn above
        kept = _mask_of(settled, drawn, (made.shape[2], made.shape[3]))
        if kept is not None:
            mask.parent.mkdir(parents=True, exist_ok=True)
            grid(as_bytes(kept.float()), columns=1).save(mask)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(as_bytes(made), columns=1).save(path)
    return made.shape[3], made.shape[2], str(settled)


def _table(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
