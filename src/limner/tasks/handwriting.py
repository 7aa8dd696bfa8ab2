"""Drawings that vary as those of many hands do: an affine map, a stroke width, an elastic deformation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CONTROL = 5
"""Control points of the elastic deformation along a side."""

NUMBERS = 7 + 2 * CONTROL * CONTROL
"""How many random numbers one drawing takes."""

ROTATION, SHEAR, ASPECT, ELASTIC = 0.21, 0.25, 0.16, 0.09
"""The largest rotation (radians), shear, logarithm of the aspect ratio, and displacement (of half a side)."""

THIN, THICK, GROWTH = 3.0, 6.5, (-1.0, 1.25)
"""The widths that strokes tend to, and how much they may shrink or grow on each side, in 64ths of a side."""

SMALLEST, LARGEST, DRIFT = 0.70, 0.84, 0.10
"""How much of half a side the ink takes before it is deformed, and how far it may move."""


def draw(masters: Tensor, random: Tensor, size: int) -> Tensor:
    r"""Vary each master picture by the random numbers of its row.

    With :math:`A = s\,R(\theta)\,\mathrm{shear}(k)\,\mathrm{diag}(e^{a}, e^{-a})`, shift :math:`t` and displacement
    :math:`d`, the drawing at point :math:`p` is the master at :math:`A^{-1}(p - t - d(p))`. The scale :math:`s` is such
    that the ink never leaves the picture. The displacement is a smooth random field (Simard, Steinkraus & Platt, "Best
    practices for convolutional neural networks", ICDAR 2003, section 2), here cubic between control points.

    :param masters: float ``(n, side, side)`` in [0, 1], ink 1, centred, its longer extent about two thirds of a side
    :param random: ``(n, NUMBERS)`` in [0, 1)
    :returns: uint8 ``(n, 1, size, size)``

    >>> drawing = draw(torch.ones(1, 8, 8), torch.full((1, NUMBERS), 0.5), 16)
    >>> drawing.shape, bool(drawing[0, 0, 0].any())
    (torch.Size([1, 1, 16, 16]), False)
    """
    count, side = len(masters), masters.shape[-1]
    inked = _stroke(masters[:, None], (THIN + (THICK - THIN) * random[:, 0]) * side / 64)
    half = _half_extents(inked[:, 0])
    signed = random.mul(2).sub(1)

    matrix = _matrix(signed[:, 1] * ROTATION, signed[:, 2] * SHEAR, signed[:, 3] * ASPECT)
    extent = (matrix.abs() @ half[:, :, None]).squeeze(2)  # of the ink's bounding box after the map
    wanted = SMALLEST + (LARGEST - SMALLEST) * random[:, 4]
    scale = wanted / extent.max(1).values
    room = (LARGEST - extent * scale[:, None]).clamp(0, DRIFT)
    shift = signed[:, 5:7] * room

    field = ELASTIC * signed[:, 7:NUMBERS].reshape(count, 2, CONTROL, CONTROL)
    displacement = functional.interpolate(field, size=(2 * size, 2 * size), mode="bicubic", align_corners=True)
    displacement = displacement.clamp(-ELASTIC, ELASTIC)
    inverse = torch.linalg.inv(matrix * scale[:, None, None])
    grid = functional.affine_grid(
        torch.cat([inverse, -(inverse @ shift[:, :, None])], dim=2), [count, 1, 2 * size, 2 * size], align_corners=False
    )
    grid = grid - torch.einsum("nij,njhw->nhwi", inverse, displacement)

    drawn = functional.grid_sample(inked, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return functional.avg_pool2d(drawn, 2).mul(1.2).clamp(0, 1).mul(255).round().to(torch.uint8)


def _half_extents(masters: Tensor) -> Tensor:
    """Half the width and half the height of the ink, ``(n, 2)``, where half a side is 1."""
    side = masters.shape[-1]
    places = torch.linspace(-1 + 1 / side, 1 - 1 / side, side)
    columns, rows = masters.amax(1) > 0, masters.amax(2) > 0
    extents = [(where * places.abs()).amax(1) + 1 / side for where in (columns, rows)]
    return torch.stack(extents, dim=1)


def _matrix(angle: Tensor, shear: Tensor, aspect: Tensor) -> Tensor:
    """Rotation times shear times aspect, ``(n, 2, 2)``."""
    cosine, sine = angle.cos(), angle.sin()
    rotation = torch.stack([cosine, -sine, sine, cosine], dim=1).reshape(-1, 2, 2)
    one, zero = torch.ones_like(shear), torch.zeros_like(shear)
    slant = torch.stack([one, shear, zero, one], dim=1).reshape(-1, 2, 2)
    stretch = torch.diag_embed(torch.stack([aspect.exp(), (-aspect).exp()], dim=1))
    return rotation @ slant @ stretch


def _stroke(pictures: Tensor, width: Tensor) -> Tensor:
    """Strokes brought towards ``width`` (n,) pixels, by at most the pixels of :data:`GROWTH`.

    The width that is there is about twice the ink over its rim of one pixel. Fractions of a pixel are mixed.
    """
    thinner = -functional.max_pool2d(-pictures, 3, 1, 1)
    ink = pictures.sum((1, 2, 3))
    there = 2 * ink / (ink - thinner.sum((1, 2, 3))).clamp(min=1e-6)
    change = ((width - there) / 2).clamp(*GROWTH) * pictures.shape[-1] / 64
    result, grown = pictures, pictures
    for step in range(max(0, int(change.max().ceil()))):
        wider = functional.max_pool2d(grown, 3, 1, 1)
        result = result + (change - step).clamp(0, 1)[:, None, None, None] * (wider - grown)
        grown = wider
    return result - (-change).clamp(0, 1)[:, None, None, None] * (pictures - thinner)
