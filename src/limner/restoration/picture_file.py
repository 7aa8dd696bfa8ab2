"""Image files read whole: any size, 8 and 16 bits or floats, with alpha, EXIF and colour profile."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from limner.tasks.convert import Unusable
from limner.tasks.files import FORMATS, MOST_PIXELS, UNREADABLE

if TYPE_CHECKING:
    from PIL.Image import Exif
    from PIL.ImageFile import ImageFile

Array = np.ndarray[Any, Any]

CONTAINERS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
"""Endings of files that lose nothing, and what is written under them; others become PNG."""

REFUSED = {
    "CMYK": "it is in CMYK, the inks of a press; convert it to RGB first",
    "LAB": "it is in Lab colours; convert it to RGB first",
    "HSV": "it is in HSV colours; convert it to RGB first",
}
KEPT_TAGS = (270, 271, 272, 274, 305, 306, 315, 33432)
"""TIFF tags that describe a picture and not its file: from the description and the camera to the copyright."""

ORIENTATION, PLANAR, RESOLUTION_UNIT, PROFILE, SUB_DIRECTORIES = 274, 284, 296, 34675, (34665, 34853)
LOWEST, HIGHEST = -1.0, 2.0
"""Between which floating-point intensities, nominally in [0, 1], may lie."""


@dataclass(frozen=True)
class Picture:
    """What a file holds, upright.

    values       intensities ``(h, w, c)``, c 1 or 3: uint8, uint16, float32 or float64
    alpha        opacity ``(h, w)`` of the same type; ``None``: there is none
    orientation  EXIF's: how it lies in the file
    exif, profile, resolution  as the file has them
    notes        what a reader must know, each the end of a sentence that begins with the file's name
    """

    values: Array
    alpha: Array | None = None
    orientation: int = 1
    exif: bytes = b""
    profile: bytes = b""
    resolution: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def full(self) -> float:
        """The stored number that is full intensity."""
        return 1.0 if self.values.dtype.kind == "f" else float(np.iinfo(self.values.dtype).max)

    def images(self) -> Tensor:
        """The intensities as float32 ``(1, c, h, w)``, of whole numbers in [0, 1]; what is not finite is 0."""
        values = self.values.transpose(2, 0, 1)[None].astype(np.float32)
        if self.values.dtype.kind == "f":
            return torch.from_numpy(np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0))
        return torch.from_numpy(values).div_(self.full)

    def seen(self) -> Tensor | None:
        """1 where a pixel is finite in all channels, float32 ``(1, 1, h, w)``; ``None`` where all are."""
        finite = np.isfinite(self.values).all(2)
        return None if finite.all() else torch.from_numpy(finite.astype(np.float32))[None, None]


def target_name(name: str) -> str:
    """What the mended picture is called: the same, with the ending .png where the format would lose something.

    >>> target_name("in/a.tiff"), target_name("in/b.jpg")
    ('in/a.tiff', 'in/b.png')
    """
    path = PurePosixPath(name)
    return name if path.suffix.lower() in CONTAINERS else str(path.with_suffix(".png"))


def read(file: IO[bytes]) -> Picture:
    """The picture in a file that is open for reading. Of several pages the first, with a note.

    Raises :class:`Unusable` where it is none, is damaged, in colours that cannot be mended, or out of range.
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image: Any = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
            except UnidentifiedImageError:
                file.seek(0)
                if file.read(4)[:2] not in (b"II", b"MM"):
                    raise Unusable("it is not an image") from None
                return _deep_tiff(file, None, notes)
            if image.width * image.height > MOST_PIXELS:
                raise Unusable(f"it has more than {MOST_PIXELS // 10**6} million pixels; cut it into parts")
            if (pages := getattr(image, "n_frames", 1)) > 1:
                notes.append(f"has {pages} pages or frames; only the first is restored")
            if image.mode in REFUSED:
                raise Unusable(REFUSED[image.mode])
            return _decoded(file, image, notes)
    except Image.DecompressionBombError:
        raise Unusable(f"it has more than {MOST_PIXELS // 10**6} million pixels; cut it into parts") from None
    except MemoryError:
        raise Unusable("it is too large for the memory; cut it into parts") from None
    except UNREADABLE as error:
        raise Unusable(f"it is damaged ({(str(error) or type(error).__name__).splitlines()[0][:100]})") from error


def _decoded(file: IO[bytes], image: ImageFile, notes: list[str]) -> Picture:
    raw = (
        str(image.tile[0].args if isinstance(image.tile[0].args, str) else image.tile[0].args[0]) if image.tile else ""
    )
    exif, orientation = _exif(image)
    separate = image.format == "TIFF" and image.tag_v2.get(PLANAR) == 2  # type: ignore[attr-defined]
    if separate or (image.format == "TIFF" and image.mode == "I"):
        return _deep_tiff(file, image, notes)
    if ";16" in raw and image.mode in ("RGB", "RGBA"):
        values = _sixteen_bits(file, image, raw)
        if values is None:
            return _deep_tiff(file, image, notes)
    else:
        values = _plain(image, notes)
    if image.format == "TIFF":  # Pillow has turned it already
        values = turned(values, orientation, back=True)
    return _picture(values, orientation, exif, image, notes)


def _plain(image: ImageFile, notes: list[str]) -> Array:
    """The pixels, ``(h, w, 1 to 4)``, of a picture that Pillow decodes whole."""
    if image.mode == "P":
        notes.append("had a palette, and has full colour now")
    if image.mode == "1":
        notes.append("was black and white alone, and is grey now")
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
    elif image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise Unusable(f"its intensities run from {values.min()} to {values.max()}; scale them to 16 bits")
        values = values.astype(np.uint16)
    elif image.mode == "F":
        values = np.array(image)
    else:
        grey = image.mode in ("1", "L", "LA", "La")
        clear = image.has_transparency_data
        values = np.array(image.convert(("LA" if clear else "L") if grey else ("RGBA" if clear else "RGB")))
    return values if values.ndim == 3 else values[..., None]


def _sixteen_bits(file: IO[bytes], image: ImageFile, raw: str) -> Array | None:
    """16-bit colour, of which Pillow's decoders give 8 bits at a time: the upper byte, then the lower one.

    ``None`` where its channels lie in another way than those of RGB, one after the other.
    """
    from PIL import Image as images

    bands, _, order = raw.partition(";")
    native = "16L" if np.little_endian else "16B"
    other = {"16L": "16B", "16B": "16L", "16N": "16B" if native == "16L" else "16L"}.get(order)
    if other is None or bands not in ("RGB", "RGBA", "RGBX", "LA"):
        return None
    if bands == "LA":  # both bytes of both channels are four bytes
        image.tile = [tile._replace(args="RGBA") for tile in image.tile or []]
        four = np.array(image).astype(np.uint16)
        return four[..., ::2] * 256 + four[..., 1::2]
    upper = np.array(image).astype(np.uint16)
    file.seek(0)
    again: Any = images.open(file, formats=[str(image.format)])
    again.tile = [
        tile._replace(args=f"{bands};{other}" if isinstance(tile.args, str) else (f"{bands};{other}", *tile.args[1:]))
        for tile in again.tile
    ]
    values: Array = upper * 256 + np.asarray(again)
    return values[..., :3] if bands == "RGBX" else values


def _deep_tiff(file: IO[bytes], image: ImageFile | None, notes: list[str]) -> Picture:
    """TIFF of channels that Pillow cannot hold: floats in colour, planes, 32-bit whole numbers."""
    import tifffile

    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            if len(tiff.pages) > 1 and not notes:
                notes.append(f"has {len(tiff.pages)} pages or frames; only the first is restored")
            page = tiff.pages.first
            if page.imagewidth * page.imagelength > MOST_PIXELS:
                raise Unusable(f"it has more than {MOST_PIXELS // 10**6} million pixels; cut it into parts")
            values = page.asarray()
            planes = values.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
            tags = {tag.code: tag.value for tag in page.tags}
    except (tifffile.TiffFileError, IndexError) as error:
        raise Unusable(f"it is damaged ({error})") from error
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise Unusable("its compression cannot be read; save it uncompressed, or as deflate") from error
        raise
    values = values[..., None] if values.ndim == 2 else values.transpose(1, 2, 0) if planes else values
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
        if values.min() < 0 or values.max() > 65535:
            raise Unusable(f"its intensities run from {values.min()} to {values.max()}; scale them to 16 bits")
        values = values.astype(np.uint16)
    if values.ndim != 3 or values.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise Unusable(f"it holds {values.dtype} of shape {values.shape}; save it as 8 or 16 bits, or floats")
    values = values.astype(np.float32) if values.dtype == np.float16 else values
    made = _picture(np.ascontiguousarray(values), int(tags.get(ORIENTATION, 1)), b"", image, notes)
    if image is not None:
        return replace(made, exif=_exif(image)[0])
    dots = (tags[282], tags[283]) if tags.get(RESOLUTION_UNIT) == 2 and {282, 283} <= tags.keys() else None
    return replace(
        made,
        exif=_kept(tags).tobytes(),
        profile=bytes(tags.get(PROFILE, b"")),
        resolution=None if dots is None else tuple(first / second for first, second in dots),
    )


def _picture(values: Array, orientation: int, exif: bytes, image: ImageFile | None, notes: list[str]) -> Picture:
    if values.shape[2] not in (1, 2, 3, 4):
        raise Unusable(f"it has {values.shape[2]} channels; grey or colour is needed, with or without alpha")
    if values.dtype.kind == "f":
        _check_range(values, notes)
    values = turned(values, orientation)
    colours = values.shape[2] - (values.shape[2] + 1) % 2
    found = {} if image is None else image.info
    return Picture(
        np.ascontiguousarray(values[..., :colours]),
        np.ascontiguousarray(values[..., colours]) if colours < values.shape[2] else None,
        orientation,
        exif,
        bytes(found.get("icc_profile") or b""),
        (float(found["dpi"][0]), float(found["dpi"][1])) if "dpi" in found else None,
        tuple(notes),
    )


def _check_range(values: Array, notes: list[str]) -> None:
    finite = np.isfinite(values).all(2)
    lost = int((~finite).sum())
    if lost == finite.size:
        raise Unusable("none of its intensities is a finite number")
    if lost:
        notes.append(f"has {lost:,} pixels that are infinite or not a number: they count as missing")
    low, high = float(values[finite].min()), float(values[finite].max())
    if low < LOWEST or high > HIGHEST:
        raise Unusable(f"its floating-point intensities run from {low:.3g} to {high:.3g}; scale them to [0, 1]")


def turned(values: Array, orientation: int, back: bool = False) -> Array:
    """``(h, w, …)`` as it lies in the file, upright by EXIF's orientation; or ``back``.

    >>> turned(np.array([[1, 2]]), 6).tolist(), turned(turned(np.array([[1, 2]]), 6), 6, back=True).tolist()
    ([[1], [2]], [[1, 2]])
    """
    if back:
        orientation = {6: 8, 8: 6}.get(orientation, orientation)
    across = values.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else values
    return {
        2: across[:, ::-1], 3: across[::-1, ::-1], 4: across[::-1], 6: across[:, ::-1], 7: across[::-1, ::-1],
        8: across[::-1],
    }.get(orientation, across)  # fmt: skip


def _exif(image: ImageFile) -> tuple[bytes, int]:
    """What describes the picture, as EXIF has it, and its orientation."""
    found = image.getexif()
    orientation = int(found.get(ORIENTATION, 1))
    orientation = orientation if 1 <= orientation <= 8 else 1
    if image.format != "TIFF":
        return bytes(image.info.get("exif") or b""), orientation
    kept = _kept(found)
    for tag in SUB_DIRECTORIES:
        if inner := found.get_ifd(tag):
            kept.get_ifd(tag).update(inner)
    return (kept.tobytes() if len(kept) or any(kept.get_ifd(tag) for tag in SUB_DIRECTORIES) else b""), orientation


def _kept(found: Mapping[int, Any]) -> Exif:
    """The tags that describe a picture; not the shape of all pages, which tifffile writes as a description."""
    from PIL import Image as images

    kept = images.Exif()
    for tag in KEPT_TAGS:
        value = found.get(tag)
        if isinstance(value, str | int | float) and not str(value).startswith('{"shape":'):
            kept[tag] = value
    return kept
