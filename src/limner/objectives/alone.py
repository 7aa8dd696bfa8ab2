"""What damaged images alone teach a restorer, where noise is another in each pixel: no clean image is looked at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from limner.types import Draws

HIDDEN_EVERY = 3
"""One pixel in so many, of one row in so many, is hidden at a time, so that all its neighbours are seen."""


def draw_hidden(images: Tensor, generator: torch.Generator) -> Draws:
    """Which pixels of ``images (n, c, h, w)`` to hide: ``hidden (n, 1, h, w)``, 1 there, a grid at its own place each.

    >>> drawn = draw_hidden(torch.zeros(2, 1, 6, 9), torch.Generator().manual_seed(0))["hidden"]
    >>> drawn.shape, drawn.sum((1, 2, 3)).tolist()
    (torch.Size([2, 1, 6, 9]), [6.0, 6.0])
    """
    count, _, height, width = images.shape
    rows, columns = (torch.randint(HIDDEN_EVERY, (count, 1), generator=generator) for _ in range(2))
    down = torch.arange(height) % HIDDEN_EVERY == rows
    across = torch.arange(width) % HIDDEN_EVERY == columns
    return {"hidden": (down[:, :, None] & across[:, None, :]).float()[:, None]}


def around(images: Tensor) -> Tensor:
    """The mean of the eight neighbours of each pixel, of fewer at the border.

    >>> around(torch.tensor([[[[1.0, 9.0, 3.0]]]])).tolist()
    [[[[9.0, 2.0, 9.0]]]]
    """
    channels = images.shape[1]
    ring = images.new_ones(3, 3)
    ring = (ring - functional.pad(images.new_ones(1, 1), (1, 1, 1, 1))).expand(channels, 1, 3, 3)
    count = functional.conv2d(torch.ones_like(images), ring, padding=1, groups=channels)
    return functional.conv2d(images, ring, padding=1, groups=channels) / count.clamp(min=1)


def hidden_pixels(restore: Callable[[Tensor], Tensor], images: Tensor, draws: Draws) -> Tensor:
    """How far hidden pixels are from what was told of them, ``(n, c, h, w)``, 0 where none was hidden.

    Noise2Self (Batson & Royer 2019, section 3): each hidden pixel is covered by the mean of its neighbours, and the
    network asked for what was there. As it never sees that pixel's noise, which no other pixel tells of, the square of
    this has the mean of that to the clean image, but for the noise's variance.
    """
    hidden = draws["hidden"].to(images)
    covered = images * (1 - hidden) + around(images) * hidden
    return (restore(covered) - images) * hidden
