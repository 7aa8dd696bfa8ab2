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

REPORT = "degraded.csv"


class Degraded(NamedTuple):
    """Where the copies are: their directory, one PNG each, what was done to each, and what could not be read."""

    directory: Path
    degradation: str
    images: list[Path]
    report: Path
    notes: tuple[str, ...]


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
    force: bool = False,
    progress: bool = False,
) -> Degraded:
    """Write a damaged copy of each image of ``spec``, as a PNG under its own name. The images are only read.

    spec         a folder or zip archive, of which each image keeps its size, or any data spec with its options
    degradation  as text (:mod:`limner.degradations.text`); ranges and choices are drawn for each image
    seed         gives, with an image's name, what is drawn for it: the same whatever other images there are

    ``out`` (``None``: a new directory in ``runs``) gets the images, in the sub-folders that they had, and
    ``degraded.csv``: for each image what was done to it, as a text that does it again. Files hold bytes, so that
    intensities are clipped and rounded, as by ``+quantise(8)``.

    Raises :class:`LimnerError` where the text is wrong, does not go with the images, or ``out`` exists; nothing is
    left behind then.
    """
    from limner.degradations import parse
    from limner.verbs.line import listeners
    from limner.verbs.translate import png_names

    damage = parse(degradation)
    directory = directories.claim(out, f"{Path(spec.replace(':', '-')).name}-degraded", force)
    originals = originals_of(spec)
    names = png_names([original.name for original in originals])
    directories.begin(directory, {"verb": "degrade", "spec": spec, "degradation": str(damage), "seed": seed})
    told = listeners(progress, "degrading")
    for listener in told:
        listener.on_start(len(originals), 0.0)
    rows: list[tuple[object, ...]] = []
    notes: list[str] = []
    state = "failed"
    try:
        for done, (original, name) in enumerate(zip(originals, names, strict=True), start=1):
            row = _write(original, directory / name, damage, seed, notes)
            rows += [] if row is None else [(original.name, name, *row)]
            for listener in told:
                listener.on_step(done, {})
        if not rows:
            raise LimnerError(f"{spec} holds no image that can be used: {notes[0]}")
        state = "finished"
    except BaseException:
        shutil.rmtree(directory)
        raise
    finally:
        for listener in told:
            listener.on_end(state)
    report = directory / REPORT
    report.write_bytes(_table([("image", "file", "width", "height", "degradation"), *rows]))
    return Degraded(directory, str(damage), [directory / str(row[1]) for row in rows], report, tuple(notes))


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


def _write(
    original: Original, path: Path, damage: Degradation, seed: int, notes: list[str]
) -> tuple[int, int, str] | None:
    """Damage one image and write it; width, height and what was done, or ``None`` where it cannot be read."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(as_bytes(made), columns=1).save(path)
    return made.shape[3], made.shape[2], str(settled)


def _table(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
