"""Adversarial objectives: what the critic and the generator each minimise, from the critic's scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def relativistic_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Critic's side of the relativistic paired loss: E softplus(−(D(x) − D(G(z)))).

    Jolicoeur-Martineau 2019 (RpGAN); R3GAN (Huang et al. 2024), eq. 2, with f(t) = −log(1 + e^{−t}).
    ``real`` and ``fake`` are scores ``(n,)`` of paired images; returns a scalar, log 2 where they cannot be told apart.

    >>> round(relativistic_critic(torch.zeros(4), torch.zeros(4)).item(), 4)
    0.6931
    """
    return functional.softplus(fake - real).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Generator's side: E softplus(−(D(G(z)) − D(x))), the mirror image of the critic's."""
    return functional.softplus(real - fake).mean()


def scores_and_penalties(critic: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """The critic's scores D(x), and ‖∇ₓ D(x)‖² of each image, summed over pixels: R1 on real images, R2 on generated.

    Mescheder, Geiger & Nowozin 2018, eq. 9 and 10 (without their γ/2 and expectation). ``critic`` maps
    ``(n, c, h, w)`` to ``(n,)`` and treats images independently; both results are ``(n,)``. Nested
    ``torch.func.grad``, so it can be differentiated and vectorised again.

    >>> scores_and_penalties(lambda x: 3 * x.sum((1, 2, 3)), torch.ones(2, 1, 2, 2))  # 4 pixels, slope 3
    (tensor([12., 12.]), tensor([36., 36.]))
    """

    def summed(inputs: Tensor) -> tuple[Tensor, Tensor]:
        scores = critic(inputs)
        return scores.sum(), scores

    slopes, scores = torch.func.grad(summed, has_aux=True)(images)
    return scores, slopes.square().sum((1, 2, 3))
