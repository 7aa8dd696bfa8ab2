"""How near images come to the very images that they should be, one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.seeds import generator
from limner.types import Score

_LEAST_SQUARE = 1e-10
_RESAMPLES = 1000


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


def scores(images: Tensor, truth: Tensor, seed: int = 0) -> dict[str, Score]:
    """``absolute_error`` and ``psnr``: means over the images, with the 95% interval of their bootstrap (Efron 1979)."""
    found = {}
    for name, values in (
        ("absolute_error", absolute_errors(images, truth)),
        ("psnr", signal_to_noise(images, truth)),
    ):
        random = generator(seed, "fidelity", name)
        drawn = torch.randint(len(values), (_RESAMPLES, len(values)), generator=random)
        low, high = values[drawn].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
        single = len(values) == 1
        found[name] = Score(float(values.mean()), None if single else low, None if single else high)
    return found


def _differences(images: Tensor, truth: Tensor) -> Tensor:
    if images.shape != truth.shape:
        raise LimnerError(
            f"images of shape {tuple(images.shape)} cannot be held against others of shape {tuple(truth.shape)}; "
            "give as many of both, of one size and colour"
        )
    return (images.float() - truth.float()) / 255
