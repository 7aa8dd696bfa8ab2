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


def kl_to_normal(mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(m, v)) = ½ Σ ((μ − m)²/v + σ²/v − log(σ²/v) − 1), averaged over the batch.

    All are ``(n, d)`` or broadcast to it; returns a scalar, at least 0.

    >>> kl_to_normal(torch.ones(2, 3), torch.zeros(2, 3), torch.ones(3), torch.ones(3)).item()
    0.0
    """
    ratio = log_variance.exp() / prior_variance
    return 0.5 * ((mean - prior_mean).square() / prior_variance + ratio - ratio.log() - 1).sum(1).mean()


def class_predictive(
    total: Tensor, count: int, between_variance: Tensor, within_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the next latent of a class lies, once ``count`` of its latents are known: mean and variance, ``(…, d)``.

    With c ~ N(0, b) the class's centre and z | c ~ N(c, w) (the normal–normal model, e.g. Gelman et al., *Bayesian Data
    Analysis*, section 2.5): z | z₁…zₙ ~ N(b·Σzᵢ / (n·b + w), w + b·w / (n·b + w)). ``total`` is Σzᵢ; with n = 0 this
    is the prior N(0, b + w).

    >>> mean, variance = class_predictive(torch.zeros(1), 0, torch.ones(1), torch.ones(1))
    >>> mean.item(), variance.item()
    (0.0, 2.0)
    """
    known = count * between_variance + within_variance
    return between_variance * total / known, within_variance + between_variance * within_variance / known


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
