"""Deblurring where the operator is known: Tikhonov's and Wiener's filter, and Richardson and Lucy's iteration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limner.degradations.base import shape_of
from limner.restoration.base import Knowledge, check, needs_noise
from limner.restoration.solvers import convolution_of, residual, smooth

SMALLEST, LARGEST = 1e-8, 1e3
"""Between which the regulariser is looked for."""


@dataclass(frozen=True)
class Wiener:
    """argmin_x ‖A x − y‖² + w ‖∇x‖², Tikhonov's solution; with circular borders x̂ = H̄ ŷ / (|H|² + w |ω|²).

    That is Wiener's filter (1949) for images whose power falls as 1/|ω|², as that of photographs about does. The
    regulariser w comes from the noise by Morozov's discrepancy principle (1966): such that ‖A x − y‖ is what noise of
    the known strength leaves; found by bisection, for the residual grows with w. Without noise w is the smallest.

    regulariser  w where it is given, from 0: then the noise need not be known; 0: chosen from the noise

    Masks and other borders are solved exactly too, by conjugate gradients, preconditioned by the circular solution.
    """

    regulariser: float = 0.0
    name = "wiener"

    def handles(self, knowledge: Knowledge) -> str:
        """Everything linear, where noise or regulariser is known."""
        return "" if self.regulariser else needs_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The minimiser; nothing is random."""
        check(self, images, knowledge)
        if self.regulariser:
            weight = images.new_full((len(images), 1, 1, 1), self.regulariser)
            return smooth(images, knowledge, weight, beginning(images, knowledge))
        assert knowledge.noise is not None
        return discrepant(images, knowledge, knowledge.noise)[0]


def beginning(images: Tensor, knowledge: Knowledge) -> Tensor:
    """Even images of the clean shape, of the mean of what was seen in each channel: where iterations begin."""
    count, channels, height, width = knowledge.clean_shape(shape_of(images))
    mask = torch.ones_like(images) if knowledge.mask is None else knowledge.mask.to(images).expand_as(images)
    mean = (images * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp_min(1)
    return mean.expand(count, channels, height, width).clone()


def discrepant(images: Tensor, knowledge: Knowledge, noise: float) -> tuple[Tensor, Tensor]:
    """Tikhonov's solution whose residual is as strong as the noise, and its regulariser ``(n, 1, 1, 1)``."""
    convolution = convolution_of(knowledge)
    closed = knowledge.operator is None and knowledge.mask is None
    closed = closed or (convolution is not None and convolution.boundary == "circular" and convolution.step == 1)
    low = torch.full((len(images), 1, 1, 1), SMALLEST, dtype=images.dtype, device=images.device).log()
    high = torch.full_like(low, LARGEST).log()
    found = beginning(images, knowledge)
    if noise == 0:
        return smooth(images, knowledge, low.exp(), found), low.exp()
    for _ in range((40 if images.dtype == torch.float64 else 20) if closed else 10):
        middle = (low + high) / 2
        found = smooth(images, knowledge, middle.exp(), found)
        under = (residual(images, knowledge, found) < noise).view(-1, 1, 1, 1)
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    return smooth(images, knowledge, low.exp(), found), low.exp()


@dataclass(frozen=True)
class RichardsonLucy:
    """x ← x · Aᵀ(y / A x) / Aᵀ1 (Richardson 1972; Lucy 1974), the likeliest image under Poisson noise, step by step.

    It stays nowhere negative, and A x has the sum of y. As more steps bring out noise, each image stops where its
    residual is as strong as the noise, where that is known, and all after ``steps``. Intensities under 0 count as 0.
    The operator must have no negative entries, as blurs, masks and down-sampling have.
    """

    steps: int = 100
    name = "richardson-lucy"

    def handles(self, knowledge: Knowledge) -> str:
        """Blur, also with lost pixels."""
        if knowledge.operator is None:
            return f"{self.name} undoes a known blur, and none is known; tell its kernel or use a denoiser"
        return ""

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The image after the last step; nothing is random."""
        check(self, images, knowledge)
        linear = knowledge.linear(shape_of(images))
        seen = images.clamp_min(0)
        tiny = torch.finfo(images.dtype).tiny ** 0.5
        reach = linear.adjoint(torch.ones_like(images))
        clean = beginning(seen, knowledge).clamp_min(1e-3)
        noise = knowledge.noise or 0.0
        for _ in range(self.steps):
            going = residual(seen, knowledge, clean) > noise
            if not bool(going.any()):
                break
            ratio = seen / linear.forward(clean).clamp_min(tiny)
            moved = torch.where(reach > 0, clean * linear.adjoint(ratio) / reach.clamp_min(tiny), clean)
            clean = torch.where(going.view(-1, 1, 1, 1), moved.clamp_min(0), clean)
        return clean
