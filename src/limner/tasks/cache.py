"""Arrays on disk: what was decoded or drawn once is mapped from a file the next time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.errors import LimnerError


def directory() -> Path:
    """Where arrays are kept: ``LIMNER_CACHE``, or the platform's cache folder of the user."""
    if os.environ.get("LIMNER_CACHE"):
        return Path(os.environ["LIMNER_CACHE"]).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("limner", appauthor=False))


def key(*parts: Any) -> str:
    """The name under which an array is kept: sha256 of ``parts`` as JSON, shortened.

    >>> key("a", 1) == key("a", 1), key("a", 1) == key("a", 2)
    (True, False)
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def memory_limit(option: int | None = None) -> int:
    """Bytes above which images are mapped from a file: ``option``, ``LIMNER_MEMORY_LIMIT``, or a quarter of memory."""
    if option is not None:
        return option
    written = os.environ.get("LIMNER_MEMORY_LIMIT")
    if written:
        if not written.isdigit():
            raise LimnerError(f"LIMNER_MEMORY_LIMIT={written} is not a number of bytes; right would be: 2000000000")
        return int(written)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (AttributeError, ValueError, OSError):  # systems without sysconf
        return 2 * 2**30


def find(name: str) -> tuple[Tensor, dict[str, Any]] | None:
    """The mapped uint8 tensor kept under ``name`` and its record, or ``None`` where there is none that is whole."""
    array_path, record_path = directory() / f"{name}.bin", directory() / f"{name}.json"
    if not (array_path.exists() and record_path.exists()):
        return None
    record: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
    if array_path.stat().st_size != int(np.prod(record["shape"])):
        return None
    return _map(array_path, record["shape"]), record


def keep(name: str, parts: Iterable[np.ndarray[Any, Any]], record: dict[str, Any]) -> Tensor:
    """Write ``parts`` (uint8, of one shape but for the first dimension) one after another to a file and map it.

    The file appears whole or not at all; ``record`` is written beside it after the last part, so that whoever yields
    the parts may still fill it. Raises :class:`LimnerError` where the disk cannot take it.
    """
    home = directory()
    temporary = home / f".{name}-{os.getpid()}.part"
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = temporary.open("wb")
    except OSError as error:
        raise _no_room(home, error) from error
    try:
        count, shape = 0, (0,)
        with file:
            for part in parts:
                try:
                    file.write(np.ascontiguousarray(part).data)
                except OSError as error:
                    raise _no_room(home, error) from error
                count, shape = count + len(part), part.shape
        record["shape"] = [count, *shape[1:]]
        os.replace(temporary, home / f"{name}.bin")
        temporary.write_text(json.dumps(record), encoding="utf-8")
        os.replace(temporary, home / f"{name}.json")
    except OSError as error:
        raise _no_room(home, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return _map(home / f"{name}.bin", record["shape"])


def _map(path: Path, shape: list[int]) -> Tensor:
    """A tensor over the file; changes, if anybody makes any, stay in memory."""
    return torch.from_numpy(np.memmap(path, dtype=np.uint8, mode="c", shape=tuple(shape)))


def _no_room(home: Path, error: OSError) -> LimnerError:
    return LimnerError(
        f"cannot write to the cache {home} ({error.strerror or error}); free some space there, "
        f"or set LIMNER_CACHE to another folder"
    )
