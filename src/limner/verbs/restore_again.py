"""A restoration that goes on: what of it an earlier run of the same command has done, and how that is known again."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.verbs import directories
from limner.verbs.restore_asked import RECORD

if TYPE_CHECKING:
    from limner.restoration import Restorer
    from limner.tasks.files import Item
    from limner.types import Params


@dataclass
class Earlier:
    """What is in the directory already: of each image, by its name, what ``restored.json`` tells."""

    directory: Path
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    began: bool = False

    def made(self, item: Item, name: str, source: str) -> dict[str, Any] | None:
        """What is told of an image that is done: its bytes, of sha256 ``source``, are those restored then, and the file
        ``name`` is as it was written; ``None`` where it is to be restored."""
        told = self.images.get(item.name)
        path = self.directory / name
        if told is None or (told["file"], told["source_sha256"]) != (name, source) or not path.is_file():
            return None
        return told if sha256_of(path) == told["sha256"] else None


def place(out: str | Path | None, stem: str, request: dict[str, Any], force: bool) -> Earlier:
    """The directory to write to, not yet touched, and what the same ``request`` has done there before.

    Raises :class:`LimnerError` where something else is there, unless ``force`` is given and Limner wrote it.
    """
    path = None if out is None else Path(out)
    if path is None or force or not directories.wrote(path):
        return Earlier(directories.claim(out, stem, force))
    asked = directories.request_of(path)
    if asked != json.loads(json.dumps({"limner": version("limner"), **request})):
        raise LimnerError(
            f"{path} exists already, made by another command than this one; choose another --out, or add --force to "
            "replace it"
        )
    if not (path / RECORD).exists():
        return Earlier(path, began=True)
    try:
        told = json.loads((path / RECORD).read_text())["images"]
        images = {one["image"]: one for one in told if {"file", "source_sha256", "sha256"} <= one.keys()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise LimnerError(
            f"{path / RECORD} is damaged and no longer tells what is done; add --force to restore all anew"
        ) from None
    return Earlier(path, images, began=True)


def sha256_of(path: Path) -> str:
    """Of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def method_sha256(method: Restorer | None) -> str:
    """What tells a method from another of the same name: the weights of all networks that it may use, those that come
    with Limner among them; of ``auto`` (``None``) these alone."""
    from limner.engine.checks import digest
    from limner.restoration.shipped import DATA

    found = hashlib.sha256()
    for shipped in ("restorer", "denoiser"):
        found.update((DATA / f"{shipped}.safetensors").read_bytes())
    for params in _weights(method):
        found.update(digest(params).encode())
    return found.hexdigest()


def _weights(method: object) -> Iterator[Params]:
    """The parameters of a restorer that learned, of its prior, or of the generator that it searches."""
    params = getattr(method, "params", None)
    if params is not None:
        yield params
    for part in ("prior", "run"):
        if (inner := getattr(method, part, None)) is not None:
            yield from _weights(inner)


def peak() -> int | None:
    """The most memory that the process has had, in bytes; ``None`` where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
