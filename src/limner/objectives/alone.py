"""What damaged images alone teach a restorer, where noise is another in each pixel: no clean image is looked at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from limner.types import Draws

HIDDEN_EVERY = 3
"""One pixel in so many, of one row in so many, is hidden at a time, so that all its neighbours are seen."""

_AROUND = tuple((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if (down, across) != (0, 0))


def draw_hidden(images: Tensor, generator: torch.Generator) -> Draws:
    """Which pixels of ``images (n, c, h, w)`` to hide, and what to cover them with.

    ``hidden (n, 1, h, w)`` is 1 at a grid of pixels, at its own place in each image; ``neighbour (n, 8)`` is 1 at the
    one of the eight neighbours that covers them.

    >>> drawn = draw_hidden(torch.zeros(2, 1, 6, 9), torch.Generator().manual_seed(0))
    >>> drawn["hidden"].sum((1, 2, 3)).tolist(), drawn["neighbour"].sum(1).tolist()
    ([6.0, 6.0], [1.0, 1.0])
    """
    count, _, height, width = images.shape
    rows, columns = (torch.randint(HIDDEN_EVERY, (count, 1), generator=generator) for _ in range(2))
    down = torch.arange(height) % HIDDEN_EVERY == rows
    across = torch.arange(width) % HIDDEN_EVERY == columns
    chosen = torch.randint(len(_AROUND), (count,), generator=generator)
    return {
        "hidden": (down[:, :, None] & across[:, None, :]).float()[:, None],
        "neighbour": functional.one_hot(chosen, len(_AROUND)).float(),
    }


def hidden_pixels(restore: Callable[[Tensor], Tensor], images: Tensor, draws: Draws) -> Tensor:
    """How far hidden pixels are from what is told of them, ``(n, c, h, w)``, 0 where none was hidden.

    Noise2Void (Krull, Buchholz & Jug 2019, section 3.2): each hidden pixel is covered by one of its neighbours, drawn
    by chance, and the network asked for what was there. As it does not see that pixel's noise, of which no other
    pixel tells, the square of this has the mean of that to the clean image, and the noise's variance more. What covers
    a pixel is as noisy as the pixel was, so that the network learns to look at the others; the mean of the neighbours
    in its place would let it go on copying what it sees there, noise and all.
    """
    hidden = draws["hidden"].to(images)
    weights = draws["neighbour"].to(images)
    other = torch.zeros_like(images)
    for place, shift in enumerate(_AROUND):
        other = other + weights[:, place, None, None, None] * images.roll(shift, (2, 3))
    return (restore(images * (1 - hidden) + other * hidden) - images) * hidden


def around(images: Tensor) -> Tensor:
    """The mean of the eight neighbours of each pixel, those beyond the border from the other side.

    >>> around(torch.tensor([[[[1.0, 9.0, 3.0]]]])).tolist()
    [[[[4.75, 3.75, 4.5]]]]
    """
    return torch.stack([images.roll(shift, (2, 3)) for shift in _AROUND]).mean(0)
