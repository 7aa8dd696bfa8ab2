"""How near images come to the very images that they should be, one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.seeds import generator
from limner.types import Score

_LEAST_SQUARE = 1e-10
_RESAMPLES = 1000
_WINDOW, _SPREAD = 11, 1.5
_ROWS = 64


def absolute_errors(images: Tensor, truth: Tensor) -> Tensor:
    """The mean over pixels and channels of \\|x − y\\| for each image, ``(n,)``, of intensities in [0, 1].

    images, truth: uint8 ``(n, c, h, w)``. Raises :class:`LimnerError` for different shapes.

    >>> absolute_errors(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.full((1, 1, 8, 8), 51, dtype=torch.uint8))
    tensor([0.2000])
    """
    return _differences(images, truth).abs().mean((1, 2, 3))


def signal_to_noise(images: Tensor, truth: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each image in decibels, ``(n,)``: −10·log₁₀ of the mean squared error of
    intensities in [0, 1]; at most 100, which equal images have.

    images, truth: uint8 ``(n, c, h, w)``. Raises :class:`LimnerError` for different shapes.

    >>> black = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    >>> signal_to_noise(black, black + 255), signal_to_noise(black, black)
    (tensor([0.]), tensor([100.]))
    """
    squares = _differences(images, truth).square().mean((1, 2, 3))
    return -10 * squares.clamp(min=_LEAST_SQUARE).log10() + 0.0


def structural_similarities(images: Tensor, truth: Tensor) -> Tensor:
    """The structural similarity of each image, ``(n,)``: at most 1, which equal images have.

    Wang et al. 2004, eq. 13: means, variances and covariance under a Gaussian window of 11×11 pixels and standard
    deviation 1.5, K₁ = 0.01 and K₂ = 0.03; the mean over the places where the window lies in the image, and over
    channels. Of an image smaller than the window, that is as large as the image's sides allow.

    images, truth: uint8 ``(n, c, h, w)``. Raises :class:`LimnerError` for different shapes.

    >>> black = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    >>> structural_similarities(black, black), structural_similarities(black, black + 255) < 0.001
    (tensor([1.]), tensor([True]))
    """
    _differences(images, truth)
    count, channels, height, width = images.shape
    down, across = _window(height), _window(width)
    places = height - len(down) + 1
    total = torch.zeros(count, channels, dtype=torch.float64)
    for top in range(0, places, _ROWS):  # what is worked on stays in the processor's cache
        rows = slice(top, min(top + _ROWS, places) + len(down) - 1)
        similar = _similarity(images[:, :, rows].double() / 255, truth[:, :, rows].double() / 255, down, across)
        total += similar.sum((2, 3))
    return (total / (places * (width - len(across) + 1))).mean(1).float()


def _window(side: int) -> list[float]:
    """The weights of the Gaussian window along a side."""
    length = min(_WINDOW, side - (side + 1) % 2)
    places = torch.arange(length, dtype=torch.float64) - length // 2
    weights = (-places.square() / (2 * _SPREAD**2)).exp()
    found: list[float] = (weights / weights.sum()).tolist()
    return found


def _similarity(first: Tensor, second: Tensor, down: list[float], across: list[float]) -> Tensor:
    """The structural similarity at each place where the window of weights lies in the images."""

    def mean(values: Tensor) -> Tensor:
        for dimension, weights in ((2, down), (3, across)):
            length = values.shape[dimension] - len(weights) + 1
            parts = (values.narrow(dimension, start, length) for start in range(len(weights)))
            values = sum((weight * part for weight, part in zip(weights, parts, strict=True)), torch.zeros(()))
        return values

    means = mean(first), mean(second)
    variances = mean(first.square()) - means[0].square(), mean(second.square()) - means[1].square()
    together = mean(first * second) - means[0] * means[1]
    luminance = (2 * means[0] * means[1] + 0.01**2) / (means[0].square() + means[1].square() + 0.01**2)
    return luminance * (2 * together + 0.03**2) / (variances[0] + variances[1] + 0.03**2)


def scores(images: Tensor, truth: Tensor, seed: int = 0, of: Sequence[str] = ()) -> dict[str, Score]:
    """``absolute_error``, ``psnr`` and ``ssim``: means over the images, with the 95% interval of their bootstrap (Efron
    1979).

    of  where they are patches, the name of the picture that each was cut from. Patches of one picture are alike, so it
        is whole pictures that are drawn, with all their patches (Davison & Hinkley 1997, section 3.8); one picture
        gives no interval
    """
    found = {}
    places = {name: place for place, name in enumerate(dict.fromkeys(of))}
    belongs = torch.tensor([places[name] for name in of]) if of else torch.arange(len(images))
    pictures = len(places) or len(images)
    counts = torch.bincount(belongs, minlength=pictures)
    for name, values in (
        ("absolute_error", absolute_errors(images, truth)),
        ("psnr", signal_to_noise(images, truth)),
        ("ssim", structural_similarities(images, truth)),
    ):
        random = generator(seed, "fidelity", name)
        drawn = torch.randint(pictures, (_RESAMPLES, pictures), generator=random)
        sums = torch.zeros(pictures).index_add(0, belongs, values)
        means = sums[drawn].sum(1) / counts[drawn].sum(1)
        low, high = means.quantile(torch.tensor([0.025, 0.975])).tolist()
        found[name] = Score(float(values.mean()), None if pictures == 1 else low, None if pictures == 1 else high)
    return found


def _differences(images: Tensor, truth: Tensor) -> Tensor:
    if images.shape != truth.shape:
        raise LimnerError(
            f"images of shape {tuple(images.shape)} cannot be held against others of shape {tuple(truth.shape)}; "
            "give as many of both, of one size and colour"
        )
    return (images.float() - truth.float()) / 255
