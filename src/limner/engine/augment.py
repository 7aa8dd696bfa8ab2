"""Augmentations of a training batch: pure functions of images in [0, 1] and a generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import LimnerError
from limner.types import Batch

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def augment(images: Tensor, names: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """``images (n, c, h, w)`` through the named augmentations in turn, each image with its own random numbers.

    The same generator state gives the same result. Raises :class:`LimnerError` for an unknown name.

    >>> augment(torch.ones(2, 1, 8, 8), ("flip",), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 8, 8])
    """
    for name in names:
        if name not in CATALOGUE:
            raise LimnerError(f"there is no augmentation {name!r}; there are: {', '.join(CATALOGUE)}")
        images = CATALOGUE[name][0](images, generator)
    return images


MOVES = ("shift", "affine", "flip", "turn", "elastic")
"""Augmentations that only move pixels, which can be done alike to an image and to what it is made from."""


def augmented(batch: Batch, names: tuple[str, ...], generator: torch.Generator) -> Batch:
    """The batch with its ``images`` augmented, and its ``inputs``, where there are such images, moved alike; of damaged
    images alone those.

    >>> both = {"images": torch.rand(2, 1, 8, 8), "inputs": torch.zeros(2, 3, 8, 8)}
    >>> augmented(both, ("flip",), torch.Generator().manual_seed(0))["inputs"].shape
    torch.Size([2, 3, 8, 8])
    """
    if "images" not in batch:
        return {**batch, "inputs": augment(batch["inputs"], names, generator)}
    images = batch["images"]
    if "inputs" not in batch:
        return {**batch, "images": augment(images, names, generator)}
    together = augment(torch.cat([images, batch["inputs"]], 1), names, generator)
    return {**batch, "images": together[:, : images.shape[1]], "inputs": together[:, images.shape[1] :]}


def _uniform(count: int, reach: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator, device=generator.device) * 2 - 1) * reach


def _moved(images: Tensor, matrices: Tensor) -> Tensor:
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Moves each image by whole pixels, up to 8% of its side; the border is repeated."""
    count, _, height, width = images.shape
    reach = max(1, round(0.08 * min(height, width)))
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    down, right = (torch.randint(2 * reach + 1, (count, 1), generator=generator) for _ in range(2))
    rows = (torch.arange(height) + down)[:, None, :, None]
    columns = (torch.arange(width) + right)[:, None, None, :]
    picked = torch.arange(count)[:, None, None, None]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return padded[picked, channels, rows, columns]


def affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """A small turn (±8°), scale and shear (±10%) and shift (±6% of the side); the border is repeated."""
    count = len(images)
    angle = _uniform(count, 8.0, generator) * math.pi / 180
    across, down = 1 + _uniform(count, 0.1, generator), 1 + _uniform(count, 0.1, generator)
    shear = _uniform(count, 0.1, generator)
    right, low = _uniform(count, 0.12, generator), _uniform(count, 0.12, generator)
    top = torch.stack([across * angle.cos(), shear - angle.sin(), right], 1)
    bottom = torch.stack([angle.sin(), down * angle.cos(), low], 1)
    return _moved(images, torch.stack([top, bottom], 1))


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors every other image, by chance, left to right."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def turn(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turns each square image by a multiple of 90° and mirrors every other one, by chance: one of eight ways.

    Raises :class:`LimnerError` for images that are not square.
    """
    if images.shape[2] != images.shape[3]:
        raise LimnerError(f"images of {images.shape[3]}×{images.shape[2]} cannot be turned in place; use flip")
    chosen = torch.randint(8, (len(images), 1, 1, 1), generator=generator)
    images = torch.where(chosen >= 4, images.flip(3), images)
    images = torch.where(chosen % 4 >= 2, images.flip(2, 3), images)
    return torch.where(chosen % 2 == 1, images.transpose(2, 3), images)


def colour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Changes brightness (±15%) and contrast (±20%)."""
    brightness = _uniform(len(images), 0.15, generator)[:, None, None, None]
    contrast = 1 + _uniform(len(images), 0.2, generator)[:, None, None, None]
    middle = images.mean((1, 2, 3), keepdim=True)
    return ((images - middle) * contrast + middle + brightness).clamp(0, 1)


def elastic(images: Tensor, generator: torch.Generator) -> Tensor:
    """Bends each image smoothly (Simard et al. 2003): random moves of up to 5% of the side at 4×4 places, in between
    by cubic interpolation; the border is repeated.
    """
    count, _, height, width = images.shape
    coarse = _uniform(count * 32, 0.1, generator).view(count, 2, 4, 4)
    moves = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    still = torch.eye(2, 3).expand(count, 2, 3)
    grid = functional.affine_grid(still, list(images.shape), align_corners=False) + moves.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False).clamp(0, 1)


def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """Covers a square of half the side with the image's mean colour (DeVries & Taylor 2017); it may reach over the
    border. For classifiers: a generator learns to draw the squares too.
    """
    count, _, height, width = images.shape
    side = min(height, width) // 2
    middle_down, middle_right = (torch.randint(length, (count, 1), generator=generator) for length in (height, width))
    down = (torch.arange(height) - middle_down + side // 2).div(side, rounding_mode="floor") == 0
    right = (torch.arange(width) - middle_right + side // 2).div(side, rounding_mode="floor") == 0
    covered = (down[:, :, None] & right[:, None, :])[:, None]
    return torch.where(covered, images.mean((2, 3), keepdim=True), images)


CATALOGUE: dict[str, tuple[Augmentation, str]] = {
    "shift": (shift, "moves by whole pixels, up to 8% of the side"),
    "affine": (affine, "small turns, scales, shears and shifts"),
    "flip": (flip, "mirrors half of the images left to right"),
    "turn": (turn, "turns by multiples of 90° and mirrors"),
    "colour": (colour, "small changes of brightness and contrast"),
    "elastic": (elastic, "smooth bends, by up to 5% of the side"),
    "cutout": (cutout, "covers a square of half the side; for classifiers"),
}
"""Every augmentation by name, with one line that explains it."""
