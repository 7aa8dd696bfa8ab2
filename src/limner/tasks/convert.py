"""Any picture, of any mode and size, as uint8 of one shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]

SMALLEST = 8
"""Images with a side under this many pixels say too little to be of use."""


class Unusable(Exception):
    """Why one picture cannot be used, in a few words; the others go on."""


def default_size(sizes: set[tuple[int, int]]) -> int:
    """The side to bring images to: their own where all are squares of one side that learners take, or else 32.

    >>> default_size({(28, 28)}), default_size({(28, 28), (30, 28)}), default_size({(30, 30)})
    (28, 32, 32)
    """
    width, height = next(iter(sizes), (0, 0))
    return width if len(sizes) == 1 and width == height and fitting(width) == width else 32


def fitting(side: int) -> int:
    """The side nearest to ``side`` that every learner takes: from 16 to 128, a multiple of 4.

    >>> fitting(8), fitting(28), fitting(50), fitting(300)
    (16, 28, 52, 128)
    """
    return min(max(4 * ((side + 2) // 4), 16), 128)


def is_grey(pixels: Array) -> bool:
    """Whether ``(…, 3)`` pixels have the same intensity in all channels."""
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


def halved(image: Image, part: str | None) -> Image:
    """The ``left`` or ``right`` half of a picture, or all of it for ``None``.

    >>> from PIL import Image
    >>> halved(Image.new("L", (41, 20)), "right").size
    (20, 20)
    """
    if part is None:
        return image
    half = image.width // 2
    left = 0 if part == "left" else image.width - half
    return image.crop((left, 0, left + half, image.height))


def whole(image: Image) -> Array:
    """A PIL image at its own size as uint8 ``(1 or 3, height, width)``, one channel where it is grey by its mode.

    Transparency is put on white; 16-bit intensities are divided by 257; floating-point ones must be in [0, 1].

    >>> from PIL import Image
    >>> whole(Image.new("LA", (40, 20), (0, 0))).shape
    (1, 20, 40)
    """
    from PIL import Image as images

    grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = images.alpha_composite(images.new("RGBA", image.size, "white"), image)
    pixels = np.array(_eight_bits(image).convert("L" if grey else "RGB"))
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def square(image: Image, size: int, fit: str, colour: str) -> Array:
    """A PIL image as uint8 ``(channels, size, size)``.

    Transparency is put on white; 16-bit intensities are divided by 257; floating-point ones must be in [0, 1].
    ``crop`` takes the middle, ``pad`` adds a border of the picture's own border colour (white where it is transparent),
    ``stretch`` ignores proportions.

    >>> from PIL import Image
    >>> square(Image.new("LA", (40, 20), (0, 0)), 16, "crop", "grey").min()
    np.uint8(255)
    """
    from PIL import Image as images
    from PIL import ImageOps

    clear = image.has_transparency_data
    image = _eight_bits(image)
    image = image.convert("RGBA") if clear else image if image.mode in ("L", "RGB") else image.convert("RGB")
    target = (size, size)
    if fit == "pad":
        scale = size / max(image.size)
        target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    border = None if fit != "pad" or clear else _border(image)
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != target:
        filter = images.Resampling.LANCZOS if max(image.size) > size else images.Resampling.BICUBIC
        image = image.resize(target, filter, reducing_gap=3)
    if clear:
        white = images.new("RGBA", image.size, "white")
        image = images.alpha_composite(white, image).convert("RGB")
    if image.size != (size, size):
        fill = border if border is not None else (255, 255, 255)
        image = ImageOps.pad(image, (size, size), color=fill)  # only pads: the longer side is right already
    pixels = np.asarray(image.convert("L" if colour == "grey" else "RGB"))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _border(image: Image) -> int | tuple[int, ...]:
    """The median colour of the outermost pixels."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    middle = np.median(edge, axis=0)
    return int(middle) if middle.ndim == 0 else tuple(int(value) for value in middle)


def _eight_bits(image: Image) -> Image:
    """The same image with 8 bits a channel."""
    from PIL import Image as images

    if image.mode == "1":
        return image.convert("L")
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if image.mode == "F":
        if wrong := int((~np.isfinite(values)).sum()):
            raise Unusable(f"{wrong:,} of its intensities are infinite or not a number; mend it or leave it out")
        if not (low >= 0 and high <= 1):
            raise Unusable(f"its floating-point intensities run from {low:.3g} to {high:.3g}; scale them to [0, 1]")
        return images.fromarray((values * 255).round().astype(np.uint8))
    if low < 0 or high > 65535:
        raise Unusable(f"its intensities run from {low:.0f} to {high:.0f}; scale them to 16 bits")
    return images.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def array_to_bytes(part: Array, what: str) -> Array:
    """Images ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)`` of any numbers as uint8 ``(n, h, w, 1 or 3)``.

    Floats must be in [0, 1]; 16-bit ones are divided by 257; wider whole numbers must be in 0…255; a fourth channel
    is transparency, on white.
    """
    from limner.errors import LimnerError

    if part.dtype.kind == "b":
        part = part.astype(np.uint8) * np.uint8(255)
    elif part.dtype.kind == "f":
        if not np.isfinite(part).all():
            raise LimnerError(f"{what}: some intensities are infinite or not a number; mend or leave out those images")
        if not (part.min() >= -1e-6 and part.max() <= 1 + 1e-6):
            raise LimnerError(
                f"{what}: floating-point intensities run from {part.min():.3g} to {part.max():.3g}; "
                f"scale them to [0, 1]"
            )
        part = (part.clip(0, 1) * 255).round().astype(np.uint8)
    elif part.dtype == np.uint16:
        part = ((part.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif part.dtype != np.uint8:
        if part.min() < 0 or part.max() > 255:
            raise LimnerError(
                f"{what}: intensities run from {part.min()} to {part.max()}; save them as uint8 from 0 to 255"
            )
        part = part.astype(np.uint8)
    if part.ndim == 3:
        return part[..., None]
    if part.shape[3] not in (1, 3, 4):
        part = part.transpose(0, 2, 3, 1)
    if part.shape[3] == 4:
        alpha = part[..., 3:].astype(np.uint32)
        part = ((part[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return part
