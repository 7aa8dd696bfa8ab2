"""Denoising by total variation: the image nearest to the observed one that varies little."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limner.restoration.base import Knowledge, check, only_noise


@dataclass(frozen=True)
class TotalVariation:
    """argmin_u ½ ‖u − y‖² + w TV(u) (Rudin, Osher and Fatemi 1992), w = ``strength`` · σ.

    Solved in the dual (Chambolle 2004) by fast gradient projection (Beck and Teboulle 2009, section 4) until the
    duality gap is under 10⁻³ of the objective. In colour the gradients of all channels are measured together (Bresson
    and Chan 2008), so that edges coincide and colours keep to them.
    """

    strength: float = 0.8
    name = "total-variation"

    def handles(self, knowledge: Knowledge) -> str:
        """Noise of known strength, nothing else."""
        return only_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The minimiser; nothing is random."""
        check(self, images, knowledge)
        assert knowledge.noise is not None
        return minimise(images, self.strength * knowledge.noise)[0]


def gradient(images: Tensor) -> Tensor:
    """Forward differences down and across, ``(2, n, c, h, w)``, 0 in the last row and column."""
    found = images.new_zeros(2, *images.shape)
    found[0, :, :, :-1] = images.diff(dim=2)
    found[1, :, :, :, :-1] = images.diff(dim=3)
    return found


def divergence(field: Tensor) -> Tensor:
    """Minus the adjoint of :func:`gradient`: ⟨∇u, p⟩ = −⟨u, div p⟩. The field's last row and column do not count."""
    down, across = field[0, :, :, :-1], field[1, :, :, :, :-1]
    padded_down = torch.nn.functional.pad(down, (0, 0, 1, 1))
    padded_across = torch.nn.functional.pad(across, (1, 1))
    return padded_down.diff(dim=2) + padded_across.diff(dim=3)


def total_variation(images: Tensor) -> Tensor:
    """Σ over pixels of |∇u|, over both directions and all channels, ``(n,)``.

    >>> total_variation(torch.tensor([[[[0.0, 0.0], [3.0, 3.0]]]])).tolist()
    [6.0]
    """
    return _lengths(gradient(images)).flatten(1).sum(1)


def minimise(images: Tensor, weight: float, iterations: int = 200, tolerance: float = 1e-3) -> tuple[Tensor, Tensor]:
    """argmin_u ½ ‖u − y‖² + ``weight`` TV(u), and how far each image's objective is from its least at most.

    The second is the duality gap ``(n,)``: with |p| ≤ 1 and u = y + w div p it is w TV(u) + ⟨u, u − y⟩.

    >>> flat, gap = minimise(torch.tensor([[[[0.0, 1.0]]]]), 0.25)
    >>> [round(value, 3) for value in flat.flatten().tolist()], bool(gap < 1e-3)
    ([0.25, 0.75], True)
    """
    if weight == 0:
        return images.clone(), images.new_zeros(len(images))
    # differences do not see the mean, and without it gaps are not lost in rounding
    mean = images.mean((1, 2, 3), keepdim=True)
    centred = images - mean
    dual = images.new_zeros(2, *images.shape)
    ahead, momentum = dual, 1.0
    step = 1 / (8 * weight)
    clean, gap = centred, images.new_zeros(len(images))
    for iteration in range(iterations):
        moved = ahead + step * gradient(centred + weight * divergence(ahead))
        before, dual = dual, moved / _lengths(moved).clamp_min(1)
        if iteration % 10 == 9 or iteration == iterations - 1:
            clean = centred + weight * divergence(dual)
            variation = weight * total_variation(clean)
            gap = variation + (clean * (clean - centred)).flatten(1).sum(1)
            objective = variation + ((clean - centred) ** 2).flatten(1).sum(1) / 2
            if bool((gap <= tolerance * objective).all()):
                break
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = dual + (momentum - 1) / following * (dual - before)
        momentum = following
    return clean + mean, gap


def _lengths(field: Tensor) -> Tensor:
    """|p| of each pixel over directions and channels, ``(n, 1, h, w)``."""
    return torch.sqrt((field**2).sum((0, 2))).unsqueeze(1)
