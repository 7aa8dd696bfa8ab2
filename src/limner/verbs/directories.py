"""Directories that Limner writes: never over what is there, unless told to and unless Limner wrote that too."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from limner.errors import LimnerError

REQUEST = "request.json"
"""In every directory that Limner writes: what was asked, and so the sign that Limner wrote it."""


def claim(out: str | Path | None, stem: str, force: bool = False, *read: str) -> Path:
    """The directory to write to, checked and not yet touched: ``out``, or the first free ``runs/STEM[-N]``.

    Raises :class:`LimnerError` where something is there already, unless ``force`` is given and Limner wrote it; and
    where it holds what is to be ``read``, by its path.
    """
    if out is None:
        plain = re.sub(r"[^\w.=+-]+", "-", Path(stem).name if os.sep in stem else stem).strip("-.")[:60] or "run"
        names = (f"{plain}-{number}" if number > 1 else plain for number in range(1, 100_000))
        return next(path for path in (Path("runs") / name for name in names) if not path.exists())
    path = Path(out)
    for known in read:
        if Path(known).exists() and Path(known).resolve().is_relative_to(path.resolve()):
            raise LimnerError(f"{path} holds {known}, which is read, so it is not replaced; choose another --out")
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return path
    if not force:
        raise LimnerError(f"{path} exists already; choose another --out, or add --force to replace it")
    if not wrote(path):
        raise LimnerError(f"{path} was not written by Limner, so --force does not replace it; choose another --out")
    return path


def wrote(path: Path) -> bool:
    """Whether Limner wrote the directory ``path``."""
    try:
        told = json.loads((path / REQUEST).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and "limner" in told


def begin(path: Path, request: dict[str, Any]) -> Path:
    """Make the claimed directory, emptied of what an earlier run of Limner left there, with ``request`` in it."""
    from importlib.metadata import version

    try:
        if path.exists() and wrote(path):
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / REQUEST, {"limner": version("limner"), **request})
    except OSError as problem:
        raise LimnerError(
            f"{path} cannot be written ({str(problem.strerror).lower()}); choose another place with --out"
        ) from problem
    return path


def abandon(path: Path) -> None:
    """Remove a directory that was begun and in which nothing came to be but the request."""
    (path / REQUEST).unlink(missing_ok=True)
    if not any(path.iterdir()):
        path.rmdir()


def request_of(path: Path) -> dict[str, Any]:
    """What was asked when the directory was begun. Raises :class:`LimnerError` where Limner did not write it."""
    if not wrote(path):
        raise LimnerError(f"{path} is not a directory that Limner wrote; give one that holds a {REQUEST}")
    found: dict[str, Any] = json.loads((path / REQUEST).read_text())
    return found


def verb_of(path: Path) -> str:
    """What was done in the directory; empty where Limner did not write it."""
    return str(request_of(path).get("verb", "")) if wrote(path) else ""


def run_of(reference: str) -> str:
    """The id of the run whose directory ``reference`` is; ``reference`` itself where it is no directory of a run."""
    return str(request_of(Path(reference)).get("run") or reference) if wrote(Path(reference)) else reference


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write ``record`` to ``path`` as JSON, whole or not at all."""
    from limner.model_file import write_atomically

    write_atomically(path, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
