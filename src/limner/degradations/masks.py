"""Masks of lost pixels with a shape: bool ``(n, 1, h, w)``, true where a pixel is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

    from limner.degradations.base import Shape

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def box_masks(counts: Tensor, sizes: Tensor, shape: Shape, generator: torch.Generator) -> Tensor:
    """``counts`` squares of ``sizes`` times the smaller side, wholly inside; those of 0 pixels are not there."""
    masks = torch.ones(shape[0], 1, *shape[2:], dtype=torch.bool)
    for mask, count, size in zip(masks, counts.int().tolist(), sizes.tolist(), strict=True):
        side = round(size * min(shape[2:]))
        for down, across in torch.rand(count, 2, generator=generator, dtype=torch.float64).tolist():
            top, left = int(down * (shape[2] - side + 1)), int(across * (shape[3] - side + 1))
            mask[0, top : top + side, left : left + side] = False
    return masks


def scratch_masks(counts: Tensor, thicknesses: Tensor, shape: Shape, generator: torch.Generator) -> Tensor:
    """``counts`` curves from one border to the opposite one, bent towards a random third point (quadratic Bézier)."""
    height, width = shape[2:]

    def draw(pen: ImageDraw, place: int) -> None:
        ends = torch.rand(int(counts[place]), 5, generator=generator, dtype=torch.float64).tolist()
        for turned, first, last, bend_along, bend_aside in ends:
            points = []
            for step in range(33):
                t = step / 32
                along = 2 * t * (1 - t) * bend_along + t * t
                aside = (1 - t) ** 2 * first + 2 * t * (1 - t) * bend_aside + t * t * last
                x, y = (along, aside) if turned < 0.5 else (aside, along)
                points.append((x * (width - 1), y * (height - 1)))
            pen.line(points, fill=0, width=int(thicknesses[place]), joint="curve")

    return _drawn(shape, draw)


def text_masks(sizes: Tensor, lines: Tensor, shape: Shape, generator: torch.Generator) -> Tensor:
    """``lines`` of random words in type of ``sizes`` pixels, at random heights, each as long as the image is wide."""
    from PIL import ImageFont

    height, width = shape[2:]

    def draw(pen: ImageDraw, place: int) -> None:
        size = int(sizes[place])
        font = ImageFont.load_default(size=size)
        for _ in range(int(lines[place])):
            number = 2 + 3 * width // size  # of letters: enough even of narrow ones
            drawn = torch.randint(len(LETTERS) + 10, (number,), generator=generator).tolist()
            words = "".join(LETTERS[letter] if letter < len(LETTERS) else " " for letter in drawn)
            left, top = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
            pen.text((-left * size, top * max(0, height - size)), words, fill=0, font=font)

    return _drawn(shape, draw)


def _drawn(shape: Shape, draw: Callable[[ImageDraw, int], None]) -> Tensor:
    """Masks drawn with a pen, hard-edged: what it touches by half or more is lost."""
    import numpy as np
    from PIL import Image, ImageDraw

    masks = []
    for place in range(shape[0]):
        canvas = Image.new("L", (shape[3], shape[2]), 255)
        draw(ImageDraw.Draw(canvas), place)
        masks.append(torch.from_numpy(np.array(canvas)) >= 128)
    return torch.stack(masks)[:, None]
