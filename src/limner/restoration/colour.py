"""Colour for methods that know grey images only, and images for libraries that know arrays only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def opponent(images: Tensor) -> Tensor:
    """Red, green and blue as lightness, red against blue, and green against both; grey images as they are.

    The transform is orthonormal: noise that was white stays white and as strong. Most of what is seen is in the
    lightness, so structure found there is found better than in any channel (Dabov et al. 2007, on colour BM3D).

    >>> opponent(torch.ones(1, 3, 1, 1)).flatten().mul(1000).round().int().tolist()
    [1732, 0, 0]
    """
    return images if images.shape[1] == 1 else torch.matmul(_axes(images), images.flatten(2)).view_as(images)


def from_opponent(images: Tensor) -> Tensor:
    """The inverse of :func:`opponent`."""
    return images if images.shape[1] == 1 else torch.matmul(_axes(images).t(), images.flatten(2)).view_as(images)


def _axes(images: Tensor) -> Tensor:
    rows = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    return torch.nn.functional.normalize(rows).to(images)


def each_array(images: Tensor, function: Callable[[Any], Any]) -> Tensor:
    """What ``function`` makes of each image as a float64 array, ``(h, w)`` where grey, else ``(h, w, c)``."""
    made = []
    for image in images.double().cpu():
        array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).contiguous().numpy()
        found = torch.from_numpy(function(array))
        made.append(found[None] if len(image) == 1 else found.permute(2, 0, 1))
    return torch.stack(made).to(images)
