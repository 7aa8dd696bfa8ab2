"""Differentiable augmentation (Zhao et al. 2020, DiffAugment): what the critic sees of real and generated images alike.

A generator learns from images changed in this way without learning to change them itself, as long as the changes fall
on both kinds alike and each leaves enough images as they were (Karras et al. 2020, ADA, section 2).
All randomness comes from outside, as numbers in [0, 1), so that a loss stays a pure function.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from limner.errors import LimnerError

DRAWN = 4
"""Random numbers for each image and transformation: whether it happens, and up to three of how."""


def colour(images: Tensor, how: Tensor) -> Tensor:
    """Brightness by ±½, saturation by a factor of 0 to 2, contrast by a factor of ½ to 1½; ``how`` is ``(n, 3)``.

    >>> colour(torch.full((1, 3, 2, 2), 0.5), torch.tensor([[0.75, 0.5, 0.5]]))[0, 0, 0]
    tensor([0.7500, 0.7500])
    """
    brightness, saturation, contrast = how[:, :, None, None, None].unbind(1)
    images = images + brightness - 0.5
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    middle = images.mean((1, 2, 3), keepdim=True)
    return (images - middle) * (contrast + 0.5) + middle


def translation(images: Tensor, how: Tensor) -> Tensor:
    """Moves by whole pixels, up to an eighth of the side; what is uncovered is mid-grey.

    >>> translation(torch.ones(1, 1, 8, 8), torch.tensor([[0.99, 0.5, 0.0]]))[0, 0, :, 0]
    tensor([1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 0.5000])
    """
    down, right = (_moves(side, chance) for side, chance in zip(images.shape[2:], how.unbind(1), strict=False))
    return down[:, None].to(images.dtype) @ (images - 0.5) @ right[:, None].to(images.dtype).mT + 0.5


def _moves(side: int, chance: Tensor) -> Tensor:
    """Matrices ``(n, side, side)`` that put pixel i + shift in place i, shift uniform in −side/8 … side/8."""
    reach = round(side / 8)
    shift = (chance * (2 * reach + 1)).floor() - reach
    places = torch.arange(side, device=chance.device)
    return places[None, None, :] == places[None, :, None] + shift[:, None, None]


def cutout(images: Tensor, how: Tensor) -> Tensor:
    """Covers a rectangle of half the sides, at any place, over the border too, with mid-grey.

    >>> float((cutout(torch.ones(1, 1, 8, 8), torch.full((1, 3), 0.5)) == 0.5).sum())
    16.0
    """
    rows, columns = (_covered(side, chance) for side, chance in zip(images.shape[2:], how.unbind(1), strict=False))
    hole = (rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(hole, torch.full_like(images, 0.5), images)


def _covered(side: int, chance: Tensor) -> Tensor:
    """Which places ``(n, side)`` lie in the half around the middle that ``chance`` names."""
    first = (chance * side).floor()[:, None] - side // 4
    places = torch.arange(side, device=chance.device)
    return (places >= first) & (places < first + side // 2)


TRANSFORMATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "colour": colour,
    "translation": translation,
    "cutout": cutout,
}
"""Every transformation by its word; each is a pure function of images and numbers in [0, 1), ``(n, 3)``."""


def words_of(augment: str) -> tuple[str, ...]:
    """The transformations that a word such as ``colour+translation`` names, none for ``none``.

    Raises :class:`LimnerError` for an unknown one.

    >>> words_of("colour+cutout"), words_of("none")
    (('colour', 'cutout'), ())
    """
    words = () if augment == "none" else tuple(augment.split("+"))
    for word in words:
        if word not in TRANSFORMATIONS:
            raise LimnerError(
                f"a GAN has no augmentation {word!r}; it has: none, or some of {', '.join(TRANSFORMATIONS)}, "
                "joined by +"
            )
    return words


def augmented(images: Tensor, words: tuple[str, ...], chances: Tensor, strength: Tensor | float = 1.0) -> Tensor:
    """``images (n, c, h, w)`` through the transformations, each of which happens to an image with probability
    ``strength``.

    ``chances``, uniform in [0, 1), is ``(n, words, 4)``. Differentiable in the images; with strength 0 the identity.

    >>> images = torch.rand(2, 1, 8, 8)
    >>> torch.equal(augmented(images, ("colour",), torch.rand(2, 1, DRAWN), strength=0.0), images)
    True
    """
    for place, word in enumerate(words):
        whether, how = chances[:, place, 0], chances[:, place, 1:]
        happens = (whether < strength)[:, None, None, None]
        images = torch.where(happens, TRANSFORMATIONS[word](images, how), images)
    return images
