"""Pictures written as they were stored: their type, alpha, EXIF, colour profile and orientation."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from limner.restoration.picture_file import (
    CONTAINERS,
    KEPT_TAGS,
    ORIENTATION,
    SUB_DIRECTORIES,
    Array,
    Picture,
    turned,
)
from limner.tasks.convert import Unusable


def stored(picture: Picture, images: Tensor) -> Array:
    """``(1, c, h, w)`` as the picture's own type ``(h, w, c)``: whole numbers clipped and rounded, floats as they are.

    Values that did not change come back bit for bit.
    """
    values = images[0].permute(1, 2, 0).double().cpu().numpy()
    if picture.values.dtype.kind == "f":
        made = values.astype(picture.values.dtype)
        if made.shape == picture.values.shape:  # float64 went through float32
            same = picture.values.astype(np.float32) == made.astype(np.float32)
            made = np.where(same, picture.values, made)
        return made
    return (values * picture.full).round().clip(0, picture.full).astype(picture.values.dtype)


def write(path: Path, picture: Picture, images: Tensor) -> None:
    """Write ``images``, float ``(1, c, h, w)``, as ``picture`` was stored: its type, alpha, EXIF, profile, orientation.

    The format is by the name's ending (see :data:`CONTAINERS`). Where the size changed, alpha is resized.
    Raises :class:`Unusable` where the format cannot hold the type.
    """
    from limner.model_file import write_atomically

    container = CONTAINERS[path.suffix.lower()]
    values = stored(picture, images)
    if picture.alpha is not None:
        alpha = _resized(picture.alpha, values.shape[:2])
        values = np.concatenate([values, alpha[..., None]], 2)
    values = np.ascontiguousarray(turned(values, picture.orientation, back=True))
    if values.dtype.kind == "f" and container != "TIFF":
        raise Unusable(f"it holds floats, which {container} cannot; call it .tiff")
    if values.dtype == np.uint16 and container == "BMP":
        raise Unusable("it holds 16 bits, which BMP cannot; call it .png")
    if values.dtype == np.uint16 and container == "PNG":
        data = _png(values, picture)
    elif container == "TIFF" and (values.dtype == np.float64 or (values.dtype != np.uint8 and values.shape[2] > 1)):
        data = _tiff(values, picture)
    else:
        data = _by_pillow(values, picture, container)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)


def _resized(alpha: Array, size: tuple[int, int]) -> Array:
    from PIL import Image

    if alpha.shape == size:
        return alpha
    made = np.asarray(Image.fromarray(alpha.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC))
    if alpha.dtype.kind == "f":
        return made.astype(alpha.dtype)
    return made.round().clip(0, np.iinfo(alpha.dtype).max).astype(alpha.dtype)


def _by_pillow(values: Array, picture: Picture, container: str) -> bytes:
    from PIL import Image

    inner = Image.Exif()
    inner.load(picture.exif)
    # libtiff, which compresses, cannot write EXIF's sub-directories
    plain = container != "TIFF" or any(inner.get_ifd(tag) for tag in SUB_DIRECTORIES)
    told: dict[str, Any] = {} if plain else {"compression": "tiff_adobe_deflate"}
    if picture.exif and container != "BMP":
        told["exif"] = picture.exif
    if picture.profile and container != "BMP":
        told["icc_profile"] = picture.profile
    if picture.resolution is not None:
        told["dpi"] = picture.resolution
    file = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(file, container, **told)
    return file.getvalue()


def _tiff(values: Array, picture: Picture) -> bytes:
    import tifffile

    colour = values.shape[2] > 2
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        values if values.shape[2] > 1 else values[..., 0],
        photometric="rgb" if colour else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if picture.alpha is not None else None,
        compression="zlib",
        iccprofile=picture.profile or None,
        resolution=picture.resolution,
        resolutionunit="inch" if picture.resolution else None,
        metadata=None,
        software=False,
        extratags=_descriptions(picture),
    )
    return file.getvalue()


def _descriptions(picture: Picture) -> list[tuple[int, int, int, Any, bool]]:
    """EXIF's own words and its orientation as tags for tifffile; it cannot write EXIF's sub-directories."""
    from PIL import Image

    found = Image.Exif()
    found.load(picture.exif)
    words = [(tag, 2, 0, found[tag], True) for tag in KEPT_TAGS if isinstance(found.get(tag), str)]
    return [(ORIENTATION, 3, 1, picture.orientation, True), *words]


def _png(values: Array, picture: Picture) -> bytes:
    """16-bit PNG (W3C, Portable Network Graphics, third edition): each row less the one above it, deflated."""
    height, width, channels = values.shape
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    if picture.profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.profile)))
    if picture.resolution is not None:
        across, down = (round(side / 0.0254) for side in picture.resolution)
        chunks.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if picture.exif:
        chunks.append((b"eXIf", picture.exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
