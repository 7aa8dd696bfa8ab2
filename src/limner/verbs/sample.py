"""New images from a run, as files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from limner.errors import LimnerError
from limner.verbs import directories
from limner.verbs.load import load


class Written(NamedTuple):
    """Where the images are: their directory, the picture of them all, and one PNG each."""

    directory: Path
    picture: Path
    images: list[Path]


def sample(
    model: str,
    *,
    count: int = 16,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
) -> Written:
    """Draw ``count`` new images from a run directory, or a run or model of the memory, and write them as PNG files.

    ``out`` (``None``: a new directory in ``runs``) gets ``0000.png``… and ``grid.png``. The same ``seed`` gives the
    same images. Raises :class:`LimnerError` where there is no such model, it makes no images, or ``out`` exists.
    """
    from limner.reports.figures import grid

    if count < 1:
        raise LimnerError(f"{count} images cannot be drawn; give a --count of 1 or more")
    directory = directories.claim(out, f"{Path(model.replace(':', '-')).name}-samples", force)
    run = load(model, memory=memory)
    if "sample" not in run.learner.answers:
        raise LimnerError(f"{model} is a {run.learner.kind}, which makes no images; give a run of a vae or a gan")
    images = run.sample(count, seed=seed)
    directories.begin(directory, {"verb": "sample", "model": model, "count": count, "seed": seed})
    digits = max(4, len(str(count - 1)))
    paths = [directory / f"{index:0{digits}d}.png" for index in range(count)]
    for path, image in zip(paths, images, strict=True):
        grid(image[None], columns=1, scale=1).save(path)
    picture = directory / "grid.png"
    side = images.shape[-1]
    grid(images, columns=min(8, count), scale=max(1, 96 // side)).save(picture)
    return Written(directory, picture, paths)
