"""What a memory is still to be told: it went away while a run went on, so the run is kept on this machine meanwhile."""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.model_file import write_atomically

if TYPE_CHECKING:
    from limner.memory.database import Location


class Unreachable(LimnerError):
    """The server of a memory, or the store of its artifacts, does not answer. What was made is kept until it does."""


@dataclass(frozen=True)
class Parcel:
    """One thing to be told: plain JSON, and beside it a model's file, if there is one."""

    path: Path

    @property
    def _weights(self) -> Path:
        return self.path.with_suffix(".safetensors")

    def read(self) -> tuple[dict[str, Any], bytes | None]:
        """What is to be told, and the model's file."""
        told = json.loads(self.path.read_text(encoding="utf-8"))
        return told, self._weights.read_bytes() if told.get("model") and self._weights.exists() else None

    def write(self, told: dict[str, Any], data: bytes | None) -> None:
        """Keep both; the weights first, for a parcel is there when its JSON is."""
        if data is not None:
            write_atomically(self._weights, data)
        write_atomically(self.path, json.dumps(told).encode())

    def set_aside(self) -> Path:
        """Keep it, but try no more: the memory cannot take it. Where it is now."""
        return self.path.rename(self.path.with_suffix(".refused"))

    def remove(self) -> None:
        """Let it go: the memory knows."""
        self.path.unlink(missing_ok=True)
        self._weights.unlink(missing_ok=True)


class Undelivered:
    """The parcels for one memory: ``undelivered/MEMORY/…`` in the user's data folder."""

    def __init__(self, location: Location) -> None:
        from platformdirs import user_data_path

        named = f"{location.url.render_as_string()} {location.schema}"
        self.folder = user_data_path("limner") / "undelivered" / hashlib.sha256(named.encode()).hexdigest()[:12]

    def keep(self, told: dict[str, Any], data: bytes | None) -> Path:
        """Keep a parcel; the path of its JSON."""
        parcel = Parcel(self.folder / f"{secrets.token_hex(6)}.json")
        parcel.write(told, data)
        return parcel.path

    def waiting(self) -> list[Parcel]:
        """The parcels, the oldest first."""
        found: list[tuple[float, Path]] = []
        for path in self.folder.glob("*.json"):
            with suppress(FileNotFoundError):  # another process has just delivered it
                found.append((path.stat().st_mtime, path))
        return [Parcel(path) for _, path in sorted(found)]
