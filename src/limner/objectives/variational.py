"""Variational objectives (Kingma & Welling 2014): all in nats for one image, averaged over the batch.

A likelihood is a function of the decoder's maps, the log variance of a pixel and the images, all it needs to give
−log p(x|z): the table :data:`LIKELIHOODS` holds them by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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
    total: Tensor, count: int | Tensor, between_variance: Tensor, within_variance: Tensor
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


def logistic_nll(mean: Tensor, log_variance: Tensor, images: Tensor) -> Tensor:
    """−log P(x) for pixels of 256 levels under a logistic distribution cut into bins, averaged over the batch.

    P(x = k/255) = F((k + ½)/255) − F((k − ½)/255) with F(x) = sigmoid((x − μ)/s), where level 0 also takes all that
    lies below and level 255 all above (Kingma et al. 2016, section 4.1; Salimans et al. 2017, eq. 2). So it is a
    proper probability of what a file holds. The scale is s = √3·σ/π, so that σ² is the variance. Computed
    as sigmoid(a) − sigmoid(b) = sigmoid(a)·sigmoid(−b)·(1 − e^{b−a}), which loses no digits far from the mean.

    ``mean`` and ``images`` in [0, 1], ``(n, c, h, w)``; ``log_variance`` is a scalar tensor.

    >>> levels = torch.arange(256.0).view(256, 1, 1, 1) / 255
    >>> each = nll_of_each(logistic_nll, torch.full_like(levels, 0.3), torch.tensor(-4.0), levels)
    >>> round(torch.exp(-each).sum().item(), 4)
    1.0
    """
    levels = torch.round(images * 255) / 255
    scale = math.pi / math.sqrt(3) * torch.exp(-0.5 * log_variance)
    above, below = (scale * (levels - mean + half) for half in (0.5 / 255, -0.5 / 255))
    to_above = torch.where(levels < 1, functional.logsigmoid(above), 0.0)
    from_below = torch.where(levels > 0, functional.logsigmoid(-below), 0.0)
    inner = (levels > 0) & (levels < 1)
    width = torch.where(inner, torch.log(-torch.expm1(-scale / 255)), 0.0)
    return -(to_above + from_below + width).sum() / len(images)


Likelihood = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps ``(n, c, h, w)``, a pixel's log variance, images in [0, 1]: −log p(x|z), averaged over the batch."""

LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": lambda maps, log_variance, images: bernoulli_nll(maps, images),
    "gaussian": lambda maps, log_variance, images: gaussian_nll(torch.sigmoid(maps), log_variance, images),
    "logistic": lambda maps, log_variance, images: logistic_nll(torch.sigmoid(maps), log_variance, images),
}
"""−log p(x|z) by name, of maps that are not yet squashed into [0, 1]."""


def nll_of_each(likelihood: Likelihood, maps: Tensor, log_variance: Tensor, images: Tensor) -> Tensor:
    """−log p(x|z) of every image by itself, ``(n,)``, from a likelihood that averages over a batch.

    >>> nll_of_each(LIKELIHOODS["bernoulli"], torch.zeros(3, 1, 1, 1), torch.zeros(()), torch.ones(3, 1, 1, 1)).shape
    torch.Size([3])
    """

    def one(single: Tensor, image: Tensor) -> Tensor:
        return likelihood(single[None], log_variance, image[None])

    return torch.func.vmap(one)(maps, images)


def log_normal(latents: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(z; μ, σ²) summed over the last dimension, ``(…,)``.

    >>> round(log_normal(torch.zeros(1, 2), torch.zeros(2), torch.zeros(2)).item(), 4)  # −log 2π
    -1.8379
    """
    squared = (latents - mean).square() * torch.exp(-log_variance)
    return -0.5 * (squared + log_variance + math.log(2 * math.pi)).sum(-1)


def importance_bound(log_weights: Tensor) -> Tensor:
    """The importance-weighted bound of log p(x) for each image: log (1/K) Σₖ wₖ (Burda, Grosse & Salakhutdinov 2016).

    wₖ = p(x|zₖ)·p(zₖ) / q(zₖ|x) with zₖ ~ q(z|x) (eq. 8). With K = 1 it is the evidence lower bound; it never falls
    with K, and tends to log p(x) (theorem 1). ``log_weights`` is ``(K, n)``; returns ``(n,)``.

    >>> importance_bound(torch.tensor([[1.0, 0.0], [1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def mean_discrepancy(latents: Tensor, prior: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples, unbiased: 0 on average where both have one distribution.

    1/(n(n−1)) Σ_{i≠j} [k(zᵢ, zⱼ) + k(z̃ᵢ, z̃ⱼ)] − 2/n² Σᵢⱼ k(zᵢ, z̃ⱼ) with the inverse multiquadratic kernel
    k(z, z̃) = C / (C + ‖z − z̃‖²) and C = 2d, for a prior of variance 1 (Tolstikhin et al. 2018, algorithm 2 and
    section 4). ``latents`` and ``prior`` are ``(n, d)`` with n of at least 2; returns a scalar.

    >>> mean_discrepancy(torch.tensor([[0.0], [0.0]]), torch.tensor([[2.0], [2.0]])).item()  # 1 + 1 − 2·2/(2 + 4)
    1.3333332538604736
    """
    count, scale = len(latents), 2.0 * latents.shape[1]

    def kernel(left: Tensor, right: Tensor) -> Tensor:
        return scale / (scale + (left[:, None] - right[None]).square().sum(-1))

    def among(points: Tensor) -> Tensor:
        return (kernel(points, points).sum() - count) / max(count * (count - 1), 1)

    return among(latents) + among(prior) - 2 * kernel(latents, prior).mean()
