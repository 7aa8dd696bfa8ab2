"""Images through a translator, as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from limner.errors import LimnerError
from limner.verbs import directories
from limner.verbs.load import load

if TYPE_CHECKING:
    from limner.tasks import ImageSet

TOGETHER = 64


class Translated(NamedTuple):
    """Where the images are: their directory, a picture of some of them, and one PNG each."""

    directory: Path
    picture: Path
    images: list[Path]


def translate(
    model: str,
    spec: str,
    *,
    back: bool = False,
    out: str | Path | None = None,
    memory: str | None = None,
    force: bool = False,
    progress: bool = False,
) -> Translated:
    """Translate the images of ``spec`` by a run of a translator, and write one PNG for each, under its own name.

    model  a run directory, or a run or model of the memory
    spec   a folder of images or any data spec; images are brought to the run's size. They are only read
    back   the other way, from targets to inputs, which a run of ``cycle`` learned too

    ``out`` (``None``: a new directory in ``runs``) gets the images, in the sub-folders that they had, and ``grid.png``,
    some of them above what became of them. Raises :class:`LimnerError` where the run is none of a translator, it
    knows no way back, or ``out`` exists.
    """
    from limner.engine.pictures import in_rows, translated_bytes
    from limner.reports.figures import grid
    from limner.tasks import load as data
    from limner.verbs.line import listeners

    directory = directories.claim(out, f"{Path(model.replace(':', '-')).name}-translated", force, model)
    run = load(model, memory=memory)
    learner = run.learner
    if "translate" not in learner.answers:
        raise LimnerError(f"{model} is a {learner.kind}, which translates nothing; give a run of adapt translate")
    if back and "translate back" not in learner.answers:
        raise LimnerError(f"{model} is a {learner.kind}, which knows no way back; leave --back out, or learn a cycle")
    channels = learner.image_shape[0] if back else learner.options["input_channels"]
    images = data(spec, size=learner.image_shape[1], colour="grey" if channels == 1 else "rgb")
    paths = [directory / name for name in output_names(images)]
    asked = {"verb": "translate", "model": model, "spec": spec, "back": back}
    directories.begin(directory, asked)
    told = listeners(progress, "translating")
    for listener in told:
        listener.on_start(len(images), 0.0)
    state, few = "failed", None
    try:
        for first in range(0, len(images), TOGETHER):
            part = images.images[first : first + TOGETHER]
            made = translated_bytes(learner, run.params, part.float() / 255, back)
            for path, image in zip(paths[first : first + TOGETHER], made, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                grid(image[None], columns=1).save(path)
            few = in_rows([part[:8], made[:8]]) if few is None else few
            for listener in told:
                listener.on_step(first + len(part), {})
        state = "finished"
    finally:
        for listener in told:
            listener.on_end(state)
    picture = directory / "grid.png"
    if few is not None:
        grid(few, columns=min(8, len(images)), scale=max(1, 96 // few.shape[-1])).save(picture)
    return Translated(directory, picture, paths)


def output_names(images: ImageSet) -> list[str]:
    """A PNG's name for each image: its own with that ending; with both endings where two would be called the same.

    Images that come from no files are numbered. ``grid.png`` is taken: an image called so becomes ``grid-1.png``.
    """
    if not images.names:
        digits = max(4, len(str(len(images) - 1)))
        return [f"{place:0{digits}d}.png" for place in range(len(images))]
    return png_names(images.names)


def png_names(names: Sequence[str]) -> list[str]:
    """The same names with the ending of a PNG, in place of their own where that leaves them different.

    >>> png_names(["a.jpg", "b.jpg", "b.bmp", "in/grid.png", "grid.png"])
    ['a.png', 'b.jpg.png', 'b.bmp.png', 'in/grid.png', 'grid-1.png']
    """
    plain = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    counts = Counter(plain)
    given = [f"{name}.png" if counts[short] > 1 else short for name, short in zip(names, plain, strict=True)]
    return ["grid-1.png" if name == "grid.png" else name for name in given]
