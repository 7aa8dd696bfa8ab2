"""A last linear layer fitted to pairs in closed form: ridge regression of what is still wrong on windows of maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

RIDGE = 1.0
"""λ: what the sum of squared weights costs, in squared intensities summed over pixels."""

_ROWS = 2**14


def window(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The linear layer: ``maps (n, k, h, w)`` under ``weight (c, k, s, s)`` of odd side, ``bias (c,)``, to
    ``(n, c, h, w)``, the border repeated."""
    return functional.conv2d(_bordered(maps, weight.shape[-1]), weight, bias)


def ridge(maps: Tensor, wanted: Tensor, side: int, strength: float = RIDGE) -> tuple[Tensor, Tensor]:
    """The weights (c, k, side, side) and biases (c,) of :func:`window` that bring ``maps`` nearest to ``wanted``.

    With a row of A for each pixel, what the window sees around it and a 1, and of b for what is wanted there:
    argmin over W of ‖A W − b‖² + λ ‖W‖² = (Aᵀ A + λ I)⁻¹ Aᵀ b (Bertinetto et al. 2019, "Meta-learning with
    differentiable closed-form solvers", eq. 4). The more pixels, the less λ counts. Can be differentiated.

    maps      ``(n, k, h, w)``
    wanted    ``(n, c, h, w)``
    strength  λ

    >>> maps = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> weight, bias = ridge(maps, 3 * maps + 2, 3, strength=1e-6)
    >>> round(weight[0, 0, 1, 1].item(), 2), round(bias.item(), 2), weight.shape
    (3.0, 2.0, torch.Size([1, 1, 3, 3]))
    """
    size = maps.shape[1] * side**2 + 1
    products = torch.eye(size, dtype=torch.float64, device=maps.device) * strength
    answers = products.new_zeros(size, wanted.shape[1])
    together = max(1, _ROWS // (maps.shape[2] * maps.shape[3]))
    for part, goal in zip(torch.split(maps, together), torch.split(wanted, together), strict=True):
        seen = functional.unfold(_bordered(part, side), side).transpose(1, 2).flatten(0, 1)
        rows = torch.cat([seen, seen.new_ones(len(seen), 1)], 1)
        products = products + (rows.T @ rows).double()
        answers = answers + (rows.T @ goal.movedim(1, -1).flatten(0, 2)).double()
    found = torch.linalg.solve(products, answers).to(maps)
    return found[:-1].T.reshape(wanted.shape[1], maps.shape[1], side, side), found[-1]


def _bordered(maps: Tensor, side: int) -> Tensor:
    return functional.pad(maps, (side // 2,) * 4, mode="replicate") if side > 1 else maps
