"""Variational objectives (Kingma & Welling 2014): all in nats for one image, averaged over the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ (μ² + σ² − log σ² − 1), averaged over the batch (appendix B).

    ``mean`` and ``log_variance`` are ``(n, d)``; returns a scalar, at least 0.

    >>> kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).item()
    0.0
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = μ + σ·ε with ε standard normal of the same shape (section 2.4)."""
    return mean + (0.5 * log_variance).exp() * noise


def bernoulli_nll(logits: Tensor, images: Tensor) -> Tensor:
    """−log p(x) for pixels as independent Bernoulli variables, summed over pixels, averaged over the batch.

    ``images`` in [0, 1] of the logits' shape ``(n, c, h, w)``. Grey values between count as expectations.

    >>> bernoulli_nll(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item()  # 4 log 2
    2.7725887298583984
    """
    return functional.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def gaussian_nll(mean: Tensor, log_variance: Tensor, images: Tensor) -> Tensor:
    """−log N(x; μ, σ²) with one variance for all pixels, summed over pixels, averaged over the batch.

    ½ Σ ((x − μ)² / σ² + log σ² + log 2π). A learned σ finds the right weight of reconstruction against KL by itself
    (σ-VAE: Rybkin, Daniilidis & Levine 2021, eq. 5). ``log_variance`` is a scalar tensor.
    """
    pixels = images[0].numel()
    squared = (images - mean).square().sum() / len(images)
    return 0.5 * (squared * torch.exp(-log_variance) + pixels * (log_variance + math.log(2 * math.pi)))
