"""Images that are arrays already: npz archives, IDX files, scikit-learn's digits."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from limner.errors import LimnerError
from limner.tasks.spec import Spec, nearest

Array = np.ndarray[Any, Any]
DRAWN = "drawn by Limner, Apache-2.0"
TOGETHER = 32 * 2**20
"""About how many bytes of an array are read at a time."""


@dataclass
class ArraySource:
    """Images as one array that is read part by part, with what is known of their classes.

    shape    of the array: ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``, c = 1, 3 or 4
    parts    yields the array in order, a few images at a time
    labels   a value for each image; ``names`` what the values are called, where the file says so
    groups   the group of each image; ``group_names`` likewise
    stamp    changes when the content of the file does
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: Callable[[], Iterator[Array]]
    labels: Array | None = None
    names: tuple[str, ...] = ()
    groups: Array | None = None
    group_names: tuple[str, ...] = ()
    licence: str = "unknown"
    stamp: str = ""
    notes: list[str] = field(default_factory=list)


def drawn(spec: Spec, names: tuple[str, ...], per_class: int, size: int, draw: Callable[[int], Array]) -> ArraySource:
    """Images in colour that Limner draws, ``per_class`` of each of the classes ``names``.

    ``draw(place)`` gives those of the class at a place, uint8 ``(per_class, size, size, 3)``.
    """
    kinds = len(names)
    return ArraySource(
        str(spec),
        (kinds * per_class, size, size, 3),
        np.dtype(np.uint8),
        lambda: (draw(place) for place in range(kinds)),
        labels=np.repeat(np.arange(kinds), per_class),
        names=names,
        licence=DRAWN,
    )


def open_npz(spec: Spec) -> ArraySource:
    """The arrays of an npz archive: images, and where named or plain to see, labels and groups.

    Raises :class:`LimnerError` for what is no archive, for arrays that are not there, and for pickled objects.
    """
    path = existing(spec.path)
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise LimnerError(f"{path} is not a NumPy archive; write it with numpy.savez") from None
    with archive:
        headers = {info.filename.removesuffix(".npy"): _header(archive, info) for info in archive.infolist()}
        arrays = {name: header for name, header in headers.items() if header is not None}
        if not arrays:
            raise LimnerError(f"{path} holds no arrays; write it with numpy.savez(path, images=…, labels=…)")
        chosen = _images_of(arrays, spec, path)
        shape, dtype = arrays[chosen]
        source = ArraySource(str(spec), shape, dtype, lambda: _npz_parts(path, chosen), stamp=stamp_of(path))
        vectors = {
            name: about[1]
            for name, about in arrays.items()
            if about[0] == shape[:1] and _is_label(about[1]) and name != chosen
        }
        named = spec.options.get("labels")
        label = named if named is not None else _guess_labels(chosen, vectors, archive, source.notes)
        if label not in (None, "none"):
            source.labels, source.names = _vector(archive, label, arrays, spec, "labels")
        if spec.options.get("groups"):
            source.groups, source.group_names = _vector(archive, spec.options["groups"], arrays, spec, "groups")
    return source


def existing(text: str) -> Path:
    """The path of a file that is there, or an error."""
    path = Path(text).expanduser()
    if not path.exists():
        raise LimnerError(f"{text} does not exist; check the path")
    if path.is_dir():
        raise LimnerError(f"{text} is a folder, not a file; read images in a folder with folder:{text}")
    return path


def stamp_of(path: Path) -> str:
    """Where a file is, how long, and when it was changed."""
    about = path.stat()
    return f"{path.resolve()} {about.st_size} {about.st_mtime_ns}"


def open_idx(spec: Spec) -> ArraySource:
    """Images, and with the option ``labels`` their classes, from files in MNIST's IDX format, plain or gzipped."""
    path = existing(spec.path)
    shape, offset = _idx_header(path)
    if len(shape) not in (3, 4):
        raise LimnerError(f"{path} holds an array of shape {shape}, not images; give the file of images as the path")
    source = ArraySource(
        str(spec), shape, np.dtype(np.uint8), lambda: _idx_parts(path, shape, offset), stamp=stamp_of(path)
    )
    if spec.options.get("labels"):
        where = existing(spec.options["labels"])
        label_shape, label_offset = _idx_header(where)
        if label_shape != shape[:1]:
            raise LimnerError(
                f"{where} holds an array of shape {label_shape}, but {path} holds {shape[0]} images; "
                f"there must be one label for each image"
            )
        source.labels = np.concatenate(list(_idx_parts(where, label_shape, label_offset)))
    return source


def open_digits(spec: Spec) -> ArraySource:
    """scikit-learn's handwritten digits: 1,797 images of 8×8 pixels in 10 classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.clip(bunch.images * (255 / 16), 0, 255).round().astype(np.uint8)
    return ArraySource(
        str(spec),
        images.shape,
        images.dtype,
        lambda: iter([images]),
        labels=bunch.target,
        licence="CC BY 4.0 (UCI: Optical Recognition of Handwritten Digits)",
    )


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Shape and type of an array in the archive; ``None`` for what is no array."""
    if not info.filename.endswith(".npy"):
        return None
    with archive.open(info) as file:
        try:
            shape, fortran, dtype = _read_header(file)
        except ValueError:
            return None
    if fortran and len(shape) > 2:
        raise LimnerError(
            f"array {info.filename[:-4]!r} of {archive.filename} is in Fortran order; "
            f"save numpy.ascontiguousarray of it"
        )
    return shape, dtype


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _npz_parts(path: Path, name: str) -> Iterator[Array]:
    """An array of the archive, part by part, so that it need not fit in memory."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        shape, _, dtype = _read_header(file)
        yield from _read_parts(file, shape, dtype, f"array {name!r} of {path}")


def _read_parts(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Iterator[Array]:
    row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    together = max(1, TOGETHER // max(1, row))
    for start in range(0, shape[0], together):
        count = min(together, shape[0] - start)
        try:
            content = file.read(count * row)
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise LimnerError(f"{what} cannot be read ({error}); get the file again") from error
        if len(content) < count * row:
            raise LimnerError(f"{what} ends before its {shape[0]} rows do; get the file again")
        yield np.frombuffer(content, dtype).reshape(count, *shape[1:])


def _is_image(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    if dtype.kind not in "uifb" or len(shape) not in (3, 4) or shape[0] < 1:
        return False
    if len(shape) == 3:
        return min(shape[1:]) >= 8
    return (shape[3] in (1, 3, 4) and min(shape[1:3]) >= 8) or (shape[1] in (1, 3, 4) and min(shape[2:]) >= 8)


def _is_label(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "uiUSb"


def _images_of(arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]], spec: Spec, path: Path) -> str:
    """The name of the array of images: as the spec says, or the only one that can be."""
    held = ", ".join(f"{name} {shape}" for name, (shape, _) in arrays.items())
    named = spec.options.get("images")
    if named is not None:
        if named not in arrays:
            raise LimnerError(f"{path} has no array {named!r}{nearest(named, arrays)}; it holds: {held}")
        shape, dtype = arrays[named]
        if dtype.hasobject:
            raise _pickled(path, named)
        if shape and not shape[0]:
            raise LimnerError(f"array {named!r} of {path} holds no images; give one that does")
        if not _is_image(shape, dtype):
            raise LimnerError(
                f"array {named!r} of {path} has shape {shape} and type {dtype}; images are numbers of shape (n, h, w), "
                f"(n, h, w, c) or (n, c, h, w) with c = 1, 3 or 4, 8 pixels or more on a side"
            )
        return str(named)
    found = [name for name, (shape, dtype) in arrays.items() if _is_image(shape, dtype)]
    if len(found) == 1:
        return found[0]
    if found:
        raise LimnerError(
            f"{path} holds several arrays of images; say which, as in images={found[0]}: {', '.join(found)}"
        )
    pickled = [name for name, (_, dtype) in arrays.items() if dtype.hasobject]
    if pickled:
        raise _pickled(path, pickled[0])
    raise LimnerError(
        f"{path} holds no array of images of shape (n, h, w), (n, h, w, c) or (n, c, h, w); it holds: {held}"
    )


def _pickled(path: Path, name: str) -> LimnerError:
    return LimnerError(
        f"array {name!r} of {path} holds pickled Python objects, which can run code and are never loaded; "
        f"save plain numbers or strings instead"
    )


def _guess_labels(chosen: str, vectors: dict[str, Any], archive: zipfile.ZipFile, notes: list[str]) -> str | None:
    """The array of labels that goes with the images ``chosen``, where only one can be meant."""
    swaps = (("x", "y"), ("images", "labels"), ("image", "label"), ("images", "targets"), ("data", "labels"))
    partners = [
        name for word, other in swaps if chosen.endswith(word) and (name := chosen[: -len(word)] + other) in vectors
    ]
    found = partners[:1] or list(vectors)
    if len(found) > 1:
        notes.append(f"no classes: name one of the arrays {', '.join(found)} with labels=")
        return None
    if found and not partners:
        values = _read_vector(archive, found[0])
        if len(np.unique(values)) == len(values):
            notes.append(
                f"no classes: the values of {found[0]} are all different (labels={found[0]} takes them nevertheless)"
            )
            return None
    return found[0] if found else None


def _read_vector(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _vector(
    archive: zipfile.ZipFile,
    name: str,
    arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]],
    spec: Spec,
    option: str,
) -> tuple[Array, tuple[str, ...]]:
    """A value for each image, and what the values are called where there is an array ``name_names``."""
    if name not in arrays:
        raise LimnerError(f"{spec.path} has no array {name!r}{nearest(name, arrays)}; give one of: {', '.join(arrays)}")
    shape, dtype = arrays[name]
    if dtype.hasobject:
        raise _pickled(Path(spec.path), name)
    if len(shape) == 2 and shape[1] == 1:
        shape = shape[:1]
    if len(shape) != 1 or not _is_label(dtype):
        raise LimnerError(
            f"array {name!r} of {spec.path} has shape {shape} and type {dtype}; {option} are whole numbers or words, "
            f"one for each image"
        )
    values = _read_vector(archive, name).reshape(-1)
    names = arrays.get(f"{name}_names")
    if names is None or len(names[0]) != 1 or names[1].kind != "U" or values.dtype.kind not in "ui":
        return values, ()
    if values.min(initial=0) < 0 or values.max(initial=0) >= names[0][0]:
        return values, ()
    return values, tuple(_read_vector(archive, f"{name}_names").tolist())


def _idx_header(path: Path) -> tuple[tuple[int, ...], int]:
    """Shape of the array in an IDX file and where its bytes begin (http://yann.lecun.com/exdb/mnist)."""
    with _open_idx(path) as file:
        try:
            start = file.read(4)
            dimensions = start[3] if len(start) == 4 else 0
            sizes = file.read(4 * dimensions)
        except (OSError, EOFError) as error:
            raise LimnerError(f"{path} cannot be read ({error}); get the file again") from error
    if start[:2] != b"\0\0" or not 1 <= dimensions <= 4 or len(sizes) < 4 * dimensions:
        raise LimnerError(f"{path} is not an IDX file; give a file such as train-images-idx3-ubyte or its .gz")
    if start[2] != 8:
        raise LimnerError(f"{path} is an IDX file of another type than bytes; only unsigned bytes (type 8) hold images")
    return tuple(np.frombuffer(sizes, ">u4").astype(int).tolist()), 4 + 4 * dimensions


def _open_idx(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def _idx_parts(path: Path, shape: tuple[int, ...], offset: int) -> Iterator[Array]:
    with _open_idx(path) as file:
        file.read(offset)
        yield from _read_parts(file, shape, np.dtype(np.uint8), str(path))
