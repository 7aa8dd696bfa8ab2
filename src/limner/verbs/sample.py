"""New images from a run, as files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from limner.errors import LimnerError
from limner.verbs import classes, directories
from limner.verbs.load import load

if TYPE_CHECKING:
    from limner.engine import Run

TOGETHER = 256
"""Images drawn at once, and shown in the picture, at most: so many are ever in memory."""

_BLOCK = 4096
"""Bytes that a small file takes on a disk."""


@dataclass(frozen=True)
class Written:
    """Where the images are: their directory, the picture of the first of them, and one PNG each, ``count`` in all."""

    directory: Path
    picture: Path
    count: int

    @property
    def images(self) -> list[Path]:
        """The path of each image."""
        return [self.directory / name for name in _names(self.count)]


def sample(
    model: str,
    *,
    count: int = 16,
    class_names: tuple[str, ...] = (),
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Written:
    """Draw ``count`` new images from a run directory, or a run or model of the memory, and write them as PNG files.

    ``out`` (``None``: a new directory in ``runs``) gets ``0000.png``… and ``grid.png`` with the first 256. Images are
    written as they are drawn, so that their number is bounded by the disk alone. Of a conditional run, ``class_names``
    chooses the classes, drawn in turn (none: all of them). The same ``seed`` and ``count`` give the same images.
    Raises :class:`LimnerError` where there is no such model or class, it makes no images, ``out`` exists, or the disk
    has no room.
    """
    from limner.engine.run import png
    from limner.reports.figures import grid
    from limner.verbs.line import listeners

    if count < 1:
        raise LimnerError(f"{count} images cannot be drawn; give a --count of 1 or more")
    directory = directories.claim(out, f"{Path(model.replace(':', '-')).name}-samples", force, model)
    run = load(model, memory=memory)
    if "sample" not in run.learner.answers:
        raise LimnerError(f"{model} is a {run.learner.kind}, which makes no images; give a run of a vae or a gan")
    places = classes.chosen(run, class_names)
    check_room(directory, count, run.learner.image_shape)
    request = {"verb": "sample", "model": model, "count": count, "seed": seed, "classes": list(class_names)}
    directories.begin(directory, request)
    names, done = iter(_names(count)), 0
    told = listeners(progress and count > TOGETHER, "drawing")
    for listener in told:
        listener.on_start(count, 0.0)
    picture = directory / "grid.png"
    try:
        for images in drawn(run, count, places, seed):
            for image in images:
                (directory / next(names)).write_bytes(png(image))
            if not done:
                grid(images, columns=_columns(len(images), places), scale=max(1, 96 // images.shape[-1])).save(picture)
            done += len(images)
            for listener in told:
                listener.on_step(done, {})
    finally:
        for listener in told:
            listener.on_end("finished" if done == count else "stopped")
    return Written(directory, picture, count)


def _names(count: int) -> Iterator[str]:
    digits = max(4, len(str(count - 1)))
    return (f"{index:0{digits}d}.png" for index in range(count))


def drawn(run: Run, count: int, places: list[int], seed: int) -> Iterator[Tensor]:
    """``count`` images of the classes at ``places`` in turn, uint8 ``(at most 256, c, h, w)`` at a time."""
    from limner.engine.run import as_bytes
    from limner.seeds import generator
    from limner.types import Request

    random = generator(seed, "samples")
    for first in range(0, count, TOGETHER):
        few = min(TOGETHER, count - first)
        request = Request("sample", count=few, labels=classes.labels_from(places, first, few))
        images = run.learner.predict(run.params, request, random)
        yield as_bytes(images)


def _columns(count: int, places: list[int]) -> int:
    """As many as there are classes, where these are few, so that each has a column; else 8."""
    return min(count, len(places) if 1 < len(places) <= 16 else 8)


def check_room(directory: Path, count: int, image_shape: tuple[int, int, int], option: str = "--count") -> None:
    """Raises :class:`LimnerError`, which names the ``option`` to lower, where the disk cannot take ``count`` images."""
    channels, height, width = image_shape
    needed = count * max(_BLOCK, channels * height * width // 2)
    there = next(place for place in (directory.absolute(), *directory.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise LimnerError(
            f"{count:,} images take about {needed / 1e9:,.1f} GB, but the disk of {there} has {free / 1e9:,.1f} GB "
            f"free; give a smaller {option} or another --out"
        )
