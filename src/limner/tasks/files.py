"""Images that are files: in folders, in zip archives, in the rows of a dataset."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple

from limner.errors import LimnerError
from limner.tasks.arrays import existing, stamp_of
from limner.tasks.convert import SMALLEST, Unusable
from limner.tasks.spec import Spec

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm",
    ".pnm", ".tga", ".jp2", ".j2k", ".avif", ".ico",
)  # fmt: skip
"""Files whose names end so are taken for images."""

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000", "AVIF", "ICO")
"""The only decoders that are tried: none of them starts another program."""

MOST_PIXELS, MOST_PIXELS_JPEG, MOST_BYTES = 100_000_000, 500_000_000, 512 * 2**20
"""Larger pictures are left out. A JPEG (not a progressive one) may have more pixels, as it is decoded at a fraction."""

REQUEST = "request.json"
"""In every folder that Limner writes; says so, and what was asked."""

RECORDS = (REQUEST, "degraded.csv", "restored.json", "augment.json", "report.html")
"""What Limner writes into folders of images beside the images."""

LONGEST_REQUEST = 2**20
"""Bytes of it that are read of an archive, at most."""

PICTURE, PICTURED = "grid.png", ("sample", "translate")
"""A picture of many of the images, and the verbs that write one beside them."""

UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, NotImplementedError,
    RuntimeError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What decoders raise for files that are not what they seem."""


class Item(NamedTuple):
    """One file: what it is called, its class, its length in bytes, and how to open it."""

    name: str
    label: str
    length: int
    open: Callable[[], IO[bytes]]


@dataclass
class FileSource:
    """Files that are taken for images.

    labelled  whether the items' labels are classes
    stamp     changes when a file does
    """

    items: list[Item]
    labelled: bool
    stamp: str
    licence: str = "unknown"
    notes: list[str] = field(default_factory=list)


def open_folder(spec: Spec) -> FileSource:
    """The image files in a folder and its sub-folders; the sub-folders, where there are any, are the classes."""
    root = Path(spec.path).expanduser()
    if not root.exists():
        raise LimnerError(f"{spec.path} does not exist; check the path")
    if not root.is_dir():
        raise LimnerError(f"{spec.path} is a file, not a folder; give the folder that it is in")
    items, stamps, others = [], [], 0
    for path in _walk(root):
        if path.suffix.lower() in EXTENSIONS:
            name = path.relative_to(root).as_posix()
            length = path.stat().st_size
            items.append(Item(name, _class_of(name), length, _opener(path)))
            stamps.append(f"{name} {stamp_of(path)}")
        else:
            others += 1
    return _source(spec, items, others, "\n".join(stamps))


def open_zip(spec: Spec) -> FileSource:
    """The image files in a zip archive, read where they are: nothing is unpacked to the disk."""
    path = existing(spec.path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise LimnerError(f"{path} is not a whole zip archive ({error}); get or make it again") from None
    items, others = [], 0
    own = _records_in(archive)
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        place = _place_in(info)
        parts = [part for part in place.parts if part not in ("/", "..", ".")]
        if info.is_dir() or any(part.startswith(".") or part == "__MACOSX" for part in parts) or not parts:
            continue
        if place.name in own.get(place.parent, ()):
            continue
        name = "/".join(parts)
        if PurePosixPath(name).suffix.lower() in EXTENSIONS:
            items.append(Item(name, _class_of(name), info.file_size, _unzipper(archive, info)))
        else:
            others += 1
    return _source(spec, items, others, stamp_of(path))


def records(request: bytes) -> tuple[str, ...]:
    """The names of what Limner itself wrote beside images, by the ``request.json`` there; none where that is another's.

    >>> records(b'{"limner": "0.1", "verb": "sample"}')[-1], records(b'{"verb": "sample"}')
    ('grid.png', ())
    """
    try:
        told = json.loads(request)
    except (ValueError, RecursionError):
        return ()
    if not (isinstance(told, dict) and "limner" in told):
        return ()
    return (*RECORDS, PICTURE) if told.get("verb") in PICTURED else RECORDS


def size_of(item: Item) -> tuple[int, int]:
    """Width and height from the head of a file; raises :class:`Unusable`."""
    with _opened(item) as image:
        return image.size


def read(item: Item, around: int) -> Image:
    """The picture of a file, upright; a JPEG may come smaller, but not under ``around`` pixels a side.

    Raises :class:`Unusable` with the reason where there is none.
    """
    from PIL import ImageOps

    image = _opened(item)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.draft(None, (around, around))  # type: ignore[arg-type]
            image.load()
            return ImageOps.exif_transpose(image)
    except UNREADABLE as error:
        raise Unusable(f"it is damaged ({_reason(error)})") from error
    except MemoryError:
        raise Unusable("it is too large for the memory; make it smaller") from None


def _opened(item: Item) -> Image:
    """The image with only its head read, after all that can be refused from the head."""
    from PIL import Image, JpegImagePlugin, UnidentifiedImageError

    if item.length > MOST_BYTES:
        raise Unusable(f"it has {item.length / 2**20:.0f} MB; the most is {MOST_BYTES / 2**20:.0f}")
    if item.length == 0:
        raise Unusable("it is empty")
    Image.init()
    decoders = [name for name in FORMATS if name in Image.OPEN]  # some builds of Pillow lack some
    try:
        file = item.open()
        start = file.read(3)
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # JPEGs past the bomb check of Image.open: they are decoded at a fraction of their size
            image = (
                JpegImagePlugin.JpegImageFile(file) if start == b"\xff\xd8\xff" else Image.open(file, formats=decoders)
            )
    except UnidentifiedImageError:
        raise Unusable("it is not an image") from None
    except Image.DecompressionBombError:
        raise _too_large(MOST_PIXELS) from None
    except UNREADABLE as error:
        raise Unusable(f"it is damaged ({_reason(error)})") from error
    width, height = image.size
    partial = image.format == "JPEG" and "progressive" not in image.info
    most = MOST_PIXELS_JPEG if partial else MOST_PIXELS
    if width * height > most:
        raise _too_large(most)
    if min(width, height) < SMALLEST:
        raise Unusable(f"it has {width}×{height} pixels; the least is {SMALLEST} on a side")
    return image


def _too_large(most: int) -> Unusable:
    return Unusable(f"it has more than {most // 10**6} million pixels; make it smaller, or save it as a baseline JPEG")


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:100]


def _walk(root: Path) -> Iterator[Path]:
    """The files under a folder in the order of their names, also behind links; none that is hidden, or Limner's own."""
    seen = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name != "__MACOSX")
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        own = _records_of(Path(folder)) if REQUEST in names else ()
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and name not in own and path.is_file():
                yield path


def _records_of(folder: Path) -> tuple[str, ...]:
    try:
        return records((folder / REQUEST).read_bytes())
    except OSError:
        return ()


def _place_in(info: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(info.filename.replace("\\", "/"))


def _records_in(archive: zipfile.ZipFile) -> dict[PurePosixPath, tuple[str, ...]]:
    """The names of what Limner wrote, by the folder of an archive."""
    found = {}
    for info in archive.infolist():
        place = _place_in(info)
        if place.name == REQUEST and info.file_size < LONGEST_REQUEST:
            try:
                found[place.parent] = records(archive.read(info))
            except UNREADABLE:
                continue
    return found


def _class_of(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _unzipper(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    # ZipFile reads at most the length that the directory states, which was checked before
    return lambda: io.BytesIO(archive.read(info))


def _source(spec: Spec, items: list[Item], others: int, stamp: str) -> FileSource:
    if not items:
        found = f"; it holds {others:,} other {'file' if others == 1 else 'files'}" if others else ""
        raise LimnerError(f"{spec} holds no images{found}; give PNG, JPEG, WebP, TIFF, GIF, BMP or PPM files")
    labels = {item.label for item in items}
    source = FileSource(items, labels != {""}, stamp)
    if others:
        are = (
            "1 file that is no image by its name is"
            if others == 1
            else f"{others:,} files that are no images by name are"
        )
        source.notes.append(f"{are} left out")
    if source.labelled and "" in labels:
        source.items = [item._replace(label=item.label or ".") for item in items]
        source.notes.append("the images beside the sub-folders are the class '.'")
    return source
