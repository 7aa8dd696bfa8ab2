"""Content-addressed weights: one safetensors file for each model, named by the sha256 of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from limner.errors import LimnerError
from limner.memory.undelivered import Unreachable
from limner.model_file import write_atomically

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""What is to be installed for a kind of store that fsspec reaches through another package."""


CHANGED = ("mtime", "LastModified", "updated", "created")
"""What the various stores call the time of a file's last change."""


def placed(place: str) -> Path | str:
    """A folder as a path; a URL of fsspec, other than ``file://``, as it is.

    >>> placed("file:///srv/weights"), placed("s3://bucket/weights")
    (PosixPath('/srv/weights'), 's3://bucket/weights')
    """
    if place.startswith("file://"):
        return Path(place.removeprefix("file://"))
    return place if "://" in place else Path(place)


class Found(NamedTuple):
    """A file among the artifacts: its name below their place, and when it last changed (``None`` = not known)."""

    name: str
    changed: float | None


class Store(Protocol):
    """Where files lie. Whatever goes wrong is an ``OSError``."""

    def where(self, name: str) -> Path | str:
        """The whole path or URL."""

    def read(self, name: str) -> bytes:
        """The content."""

    def write(self, name: str, data: bytes) -> None:
        """Keep the content."""

    def remove(self, name: str) -> None:
        """Delete the file, if it is there."""

    def files(self) -> Iterator[Found]:
        """All files, and links."""


class Folder:
    """Files in a folder of this machine, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def where(self, name: str) -> Path:
        """The whole path."""
        return self.folder / name

    def read(self, name: str) -> bytes:
        """The content."""
        return self.where(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Keep the content."""
        write_atomically(self.where(name), data)

    def remove(self, name: str) -> None:
        """Delete the file, if it is there."""
        self.where(name).unlink(missing_ok=True)

    def files(self) -> Iterator[Found]:
        """All files, and links; those that another process removes meanwhile are left out."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_symlink() or not path.is_dir():
                try:
                    changed = path.lstat().st_mtime
                except FileNotFoundError:
                    continue
                yield Found(path.relative_to(self.folder).as_posix(), changed)


class Remote:
    """Files at a URL that fsspec knows, for example ``s3://bucket/weights`` or ``memory://weights``.

    A file that was written in part only is found out by its hash when it is read, and written anew by the next
    :meth:`Artifacts.put`.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        self._kind = url.partition("://")[0]
        try:
            self._system, self._root = fsspec.core.url_to_fs(self.url)
        except ImportError as problem:
            package = PACKAGES.get(self._kind)
            remedy = f"install it with: pip install {package}" if package else "install what fsspec asks for"
            raise LimnerError(f"artifacts at {url} need a further package ({problem}); {remedy}") from problem
        except ValueError as problem:
            raise LimnerError(
                f"artifacts cannot lie at {url} ({problem}); give a folder, s3://… or gs://…"
            ) from problem

    def where(self, name: str) -> str:
        """The whole URL."""
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes:
        """The content."""
        return bytes(self._done("cat_file", f"{self._root}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Keep the content."""
        path = f"{self._root}/{name}"
        if self._kind not in PACKAGES:  # those know no folders, and would make a bucket
            self._done("makedirs", path.rpartition("/")[0], exist_ok=True)
        self._done("pipe_file", path, data)

    def remove(self, name: str) -> None:
        """Delete the file, if it is there."""
        try:
            self._done("rm_file", f"{self._root}/{name}")
        except FileNotFoundError:
            return

    def files(self) -> Iterator[Found]:
        """All files."""
        self._system.invalidate_cache()
        try:
            found = self._done("find", self._root, detail=True)
        except FileNotFoundError:
            return
        for path, about in sorted(found.items()):
            changed = next((about[key] for key in CHANGED if key in about), None)
            yield Found(path.removeprefix(self._root).lstrip("/"), _seconds(changed))

    def _done(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """What the file system answers. Whatever a client of a store raises is an ``OSError``, as files raise."""
        try:
            return getattr(self._system, verb)(*arguments, **options)
        except OSError:
            raise
        except Exception as problem:  # each client has its own: a bucket that is not there, rights, a network
            raise OSError(0, f"{type(problem).__name__}: {problem}".splitlines()[0]) from problem


def _seconds(changed: Any) -> float | None:
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    if isinstance(changed, datetime):
        return (changed if changed.tzinfo else changed.replace(tzinfo=UTC)).timestamp()
    return None if changed is None else float(changed)


class Artifacts:
    """Content-addressed files, ``ab/abcdef….safetensors``, in a folder or at a URL of fsspec.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     artifacts = Artifacts(Path(folder))
    ...     sha256 = artifacts.put(b"content")
    ...     artifacts.get(sha256)
    b'content'
    """

    def __init__(self, place: Path | str) -> None:
        self.place = place
        self.store: Store = Folder(place) if isinstance(place, Path) else Remote(place)

    def path(self, sha256: str) -> Any:
        """Where the artifact lies, or would lie: a path, or a URL."""
        return self.store.where(_name(sha256))

    def put(self, data: bytes) -> str:
        """Keep the bytes and return their sha256. A whole copy that is there already is left alone.

        Raises :class:`Unreachable` where a remote store refuses them.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if self.problem(sha256):
            try:
                self.store.write(_name(sha256), data)
            except OSError as told:
                raise Unreachable(
                    f"the artifact {self.path(sha256)} could not be written ({_said(told)}); check the store and your "
                    "rights there"
                ) from told
        return sha256

    def get(self, sha256: str) -> bytes:
        """The bytes, verified. Raises :class:`LimnerError` where the file is missing or damaged."""
        data, problem = self._read(sha256)
        if problem:
            raise LimnerError(f"{problem}; {remedy(sha256)}")
        return data

    def problem(self, sha256: str) -> str:
        """What is wrong with the artifact, in a few words; empty where it is whole."""
        return self._read(sha256)[1]

    def _read(self, sha256: str) -> tuple[bytes, str]:
        """The bytes, and what is wrong with them."""
        where = self.path(sha256)
        try:
            data = self.store.read(_name(sha256))
        except FileNotFoundError:
            return b"", f"the artifact of model {sha256[:12]} is missing ({where})"
        except OSError as told:
            return b"", f"the artifact of model {sha256[:12]} cannot be read ({_said(told)}: {where})"
        if hashlib.sha256(data).hexdigest() != sha256:
            return b"", f"the artifact of model {sha256[:12]} is damaged: its content has changed ({where})"
        return data, ""

    def has(self, sha256: str) -> bool:
        """Whether a file of that name is there, whole or not."""
        try:
            self.store.read(_name(sha256))
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def remove(self, sha256: str) -> None:
        """Delete the file, if it is there. Raises :class:`LimnerError` where the store does not let it go."""
        try:
            self.store.remove(_name(sha256))
        except OSError as told:
            raise LimnerError(
                f"the artifact {self.path(sha256)} could not be deleted ({_said(told)}); delete it by hand"
            ) from told

    def all(self) -> list[str]:
        """The sha256 in the names of all files that lie where an artifact would."""
        stems = ((found.name, found.name.rpartition("/")[2].partition(".")[0]) for found in self.store.files())
        return sorted(stem for name, stem in stems if name == _name(stem))


def _name(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}.safetensors"


def _said(told: OSError) -> str:
    return told.strerror or str(told) or type(told).__name__


def remedy(sha256: str) -> str:
    """What to do about a missing or damaged artifact, as the end of a sentence."""
    short = sha256[:12]
    return f"bring it back with limner memory import FILE, or let it go with limner memory forget {short}"
