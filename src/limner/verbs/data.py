"""What a data spec gives, before anything is learned from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks import ImageSet, load
from limner.tasks import describe as tell
from limner.tasks.convert import fitting
from limner.tasks.spec import parse


class Description(NamedTuple):
    """The images that a spec gives, what there is to say about them, and the picture, if one was drawn."""

    images: ImageSet
    record: dict[str, Any]
    picture: Path | None


def describe(spec: str, *, out: str | Path | None = None, seed: int = 0, force: bool = False) -> Description:
    """Load ``spec`` and say what it holds; with ``out``, draw up to 64 of its images, chosen by ``seed``, as a PNG.

    Raises :class:`LimnerError` where the spec cannot be loaded, or ``out`` exists and ``force`` is not given.

    >>> describe("digits").record["images"]
    1797
    """
    path = None if out is None else claim_png(Path(out), force)
    images = load(spec)
    side = images.shape[1]
    record = tell(images) | {"chosen": parse(spec).options.get("classes")}
    if fitting(side) != side:
        record["notes"].append(
            f"no learner takes {side}×{side} pixels (a side from 16 to 128 that is a multiple of 4): "
            f"write size={fitting(side)}"
        )
    if path is not None:
        from limner.reports.figures import grid

        chosen = torch.randperm(len(images), generator=generator(seed, "preview"))[:64].sort().values
        save_picture(grid(images.images[chosen], columns=8, scale=max(1, 96 // images.shape[2])), path)
    return Description(images, record, path)


def claim_png(path: Path, force: bool) -> Path:
    """``path``, checked to be a PNG's name where nothing is yet, or with ``force`` only a PNG."""
    if path.suffix.lower() != ".png":
        raise LimnerError(f"{path} does not end in .png; the picture is a PNG")
    if path.exists() and not force:
        raise LimnerError(f"{path} exists already; choose another --out, or add --force to replace it")
    if path.exists() and not (path.is_file() and path.read_bytes()[:4] == b"\x89PNG"):
        raise LimnerError(f"{path} is not a PNG, so --force does not replace it; choose another --out")
    return path


def save_picture(picture: Any, path: Path) -> None:
    """Write a PIL image as a PNG, whole or not at all."""
    import io

    from limner.model_file import write_atomically

    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
