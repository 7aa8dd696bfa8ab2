"""Kernels of blurs, each nowhere negative and of sum 1: float64 ``(n, k, k)``, k = 2 · reach + 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError

LARGEST = 511


def gaussian_kernels(widths: Tensor, reach: int) -> Tensor:
    """exp(−|d|² / 2 w²), divided by its sum; for w = 0 the single middle pixel.

    >>> gaussian_kernels(torch.tensor([0.0, 1.0]), 1)[:, 1, 1]
    tensor([1.0000, 0.2042], dtype=torch.float64)
    """
    down, across = _grid(reach)
    squares = down**2 + across**2
    return _of_sum_one(torch.exp(-squares / (2 * widths.double().clamp_min(1e-3).view(-1, 1, 1) ** 2)))


def motion_kernels(lengths: Tensor, angles: Tensor, reach: int) -> Tensor:
    """A line of ``lengths`` pixels through the middle, a pixel wide, at ``angles`` in degrees from across to upwards.

    A pixel weighs what is left of 1 after its distance from the line, and at the line's ends after that from the end.

    >>> (motion_kernels(torch.tensor([3.0]), torch.tensor([90.0]), 2)[0] * 3).round().int().tolist()
    [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    """
    down, across = _grid(reach)
    turned = torch.deg2rad(angles.double()).view(-1, 1, 1)
    along = across * torch.cos(turned) - down * torch.sin(turned)
    aside = across * torch.sin(turned) + down * torch.cos(turned)
    end = (lengths.double().view(-1, 1, 1) + 1) / 2
    return _of_sum_one((1 - aside.abs()).clamp_min(0) * (end - along.abs()).clamp(0, 1))


def defocus_kernels(radii: Tensor, reach: int) -> Tensor:
    """A disc of ``radii``, its edge smooth over one pixel.

    >>> (defocus_kernels(torch.tensor([1.0]), 1)[0] * 100).round().int().tolist()
    [[3, 15, 3], [15, 30, 15], [3, 15, 3]]
    """
    down, across = _grid(reach)
    distances = torch.sqrt(down**2 + across**2)
    return _of_sum_one((radii.double().view(-1, 1, 1) + 0.5 - distances).clamp(0, 1))


def kernel_from(path: Path) -> Tensor:
    """The kernel in a file, ``(k, k)`` with k odd, divided by its sum.

    Zeros are put around one that is no such square; the middle of n weights is the one at place n // 2. A .npy file
    holds a 2-dimensional array; of any other file, an image, the intensities are taken.

    Raises :class:`LimnerError` where there is none, or it has no positive sum.
    """
    import numpy as np

    values = _weights(path)
    if values.ndim != 2 or values.dtype.kind not in "uifb" or not values.size or max(values.shape) > LARGEST:
        raise LimnerError(
            f"{path} holds {values.dtype} of shape {values.shape}; a kernel is numbers of shape (h, w), of 1 to "
            f"{LARGEST} each way, the same for all colours"
        )
    kernel = torch.from_numpy(values.astype(np.float64))
    if strange := int((~torch.isfinite(kernel)).sum()):
        raise LimnerError(f"the kernel in {path} has weights that are not finite ({strange}); mend them")
    total = float(kernel.sum())
    if total <= 0:
        raise LimnerError(f"the kernel in {path} has sum {total:g}; it must be positive, so that images stay as bright")
    side = max(kernel.shape) | 1
    above, left = (side // 2 - length // 2 for length in kernel.shape)
    around = (left, side - kernel.shape[1] - left, above, side - kernel.shape[0] - above)
    return torch.nn.functional.pad(kernel, around) / total


def remarks_on(path: Path) -> list[str]:
    """What is worth telling of the kernel in a file: that it has no middle, or that an image in colour was taken grey.

    Raises :class:`LimnerError` as :func:`kernel_from` does.
    """
    from PIL import Image

    kernel_from(path)
    height, width = _weights(path).shape
    told = []
    if not (height % 2 and width % 2):
        told.append(
            f"the kernel in {path} has {height}×{width} weights, and so no middle one: images move by half a pixel"
        )
    if path.suffix.lower() != ".npy":
        with Image.open(path) as image:
            if len(image.getbands()) > 1 or image.mode == "P":
                told.append(f"the kernel in {path} is an image in colour, of which the brightness was taken")
    return told


def _weights(path: Path) -> Any:
    """The numbers in a kernel's file, as they are. Raises :class:`LimnerError` where none can be read."""
    import numpy as np

    if not path.is_file():
        raise LimnerError(f"there is no kernel at {path}; give the path of a .npy array or an image")
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(image if image.mode[0] in "IF" else image.convert("L"))
    except (OSError, ValueError, EOFError):
        what = ".npy array of numbers" if path.suffix.lower() == ".npy" else "image"
        raise LimnerError(f"no kernel can be read from {path}, as it is no {what}; give one of these") from None


def _grid(reach: int) -> tuple[Tensor, Tensor]:
    """Distances from the middle downwards ``(k, 1)`` and across ``(k,)``."""
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    return steps.view(-1, 1), steps


def _of_sum_one(kernels: Tensor) -> Tensor:
    return kernels / kernels.sum((1, 2), keepdim=True)
