"""Content-addressed weights: one safetensors file for each model, named by the sha256 of its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from limner.errors import LimnerError
from limner.model_file import write_atomically


class Artifacts:
    """A folder of content-addressed files: ``ab/abcdef….safetensors``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     artifacts = Artifacts(Path(folder))
    ...     sha256 = artifacts.put(b"content")
    ...     artifacts.get(sha256)
    b'content'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the artifact lies, or would lie."""
        return self.folder / sha256[:2] / f"{sha256}.safetensors"

    def put(self, data: bytes) -> str:
        """Keep the bytes and return their sha256. A whole copy that is there already is left alone."""
        sha256 = hashlib.sha256(data).hexdigest()
        if self.problem(sha256):
            write_atomically(self.path(sha256), data)
        return sha256

    def get(self, sha256: str) -> bytes:
        """The bytes, verified. Raises :class:`LimnerError` where the file is missing or damaged."""
        if problem := self.problem(sha256):
            raise LimnerError(f"{problem}; {remedy(sha256)}")
        return self.path(sha256).read_bytes()

    def problem(self, sha256: str) -> str:
        """What is wrong with the artifact, in a few words; empty where it is whole."""
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError:
            return f"the artifact of model {sha256[:12]} is missing ({self.path(sha256)})"
        except OSError as told:
            return f"the artifact of model {sha256[:12]} cannot be read ({told.strerror}: {self.path(sha256)})"
        if hashlib.sha256(data).hexdigest() != sha256:
            return f"the artifact of model {sha256[:12]} is damaged: its content has changed ({self.path(sha256)})"
        return ""

    def remove(self, sha256: str) -> None:
        """Delete the file, if it is there."""
        self.path(sha256).unlink(missing_ok=True)

    def all(self) -> list[str]:
        """The sha256 in the names of all files."""
        return sorted(path.stem for path in self.folder.glob("??/*.safetensors"))


def remedy(sha256: str) -> str:
    """What to do about a missing or damaged artifact, as the end of a sentence."""
    short = sha256[:12]
    return f"bring it back with limner memory import FILE, or let it go with limner memory forget {short}"
