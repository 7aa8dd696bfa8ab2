"""What ties a target to its source: features that look alike in both, losses weighed against each other, and, while a
generator is adapted to a few images, the variety that its start had.

Features of both domains come as one tensor ``(n, d)``, and ``source`` and ``target`` ``(n,)`` say with ones and zeros
which rows are whose: so a batch may hold any number of either, and all of it can be vectorised over tasks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

LEVELS, SMALLEST = 3, 4
"""Images are compared at so many resolutions, each half of the one before, but none whose side would be smaller."""


STEEPNESS = 10.0
"""γ of :func:`rising`, "not optimised" in the paper."""

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The kernels' widths, in parts of the mean squared distance, whose mean :func:`kernel_discrepancy` takes."""


def rising(progress: Tensor) -> Tensor:
    """How much a second objective weighs after a share ``progress`` from 0 to 1 of the training: from 0 to nearly 1.

    λ_p = 2 / (1 + exp(−γ·p)) − 1 (Ganin et al. 2016, section 5.2.2), γ = 10, so that features that tell nothing yet do
    not have to look alike.

    >>> [round(float(rising(torch.tensor(place))), 3) for place in (0.0, 0.1, 0.5, 1.0)]
    [0.0, 0.462, 0.987, 1.0]
    """
    return 2 * torch.sigmoid(STEEPNESS * progress) - 1


def domain_confusion(logits: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """How badly a discriminator tells the domains apart, a scalar from 0, in nats; ln 2 where it cannot.

    The binary cross-entropy of Ganin et al. 2016 (equation 9), the mean of each domain's own mean, so that neither
    weighs more for having more images.

    logits  ``(n,)`` of an image coming from the target

    >>> float(domain_confusion(torch.zeros(3), torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])))
    0.6931471824645996
    """
    return (mean_over(functional.softplus(logits), source) + mean_over(functional.softplus(-logits), target)) / 2


def correlation_alignment(features: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """CORAL (Sun & Saenko 2016, equation 1): ‖C_S − C_T‖²_F / 4d², C the covariance of a domain's features; from 0.

    Covariances as in equations 2 and 3, over n − 1. A domain of fewer than two rows has none, and gives 0.

    >>> features = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    >>> both, first = torch.cat([features, features + 5]), torch.arange(12) < 6
    >>> round(float(correlation_alignment(both, first.float(), (~first).float())), 6)
    0.0
    """
    difference = covariance(features, source) - covariance(features, target)
    known = ((source.sum() > 1) & (target.sum() > 1)).to(features.dtype)
    return known * difference.square().sum() / (4 * features.shape[1] ** 2)


def covariance(features: Tensor, share: Tensor) -> Tensor:
    """The covariance ``(d, d)`` of the rows that ``share`` marks with one."""
    count = share.sum()
    middle = (share[:, None] * features).sum(0) / count.clamp(min=1)
    centred = share[:, None] * (features - middle)
    return centred.T @ centred / (count - 1).clamp(min=1)


def kernel_discrepancy(features: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The squared maximum mean discrepancy of the two domains' features, a scalar from 0 (Gretton et al. 2012, eq. 5).

    MMD² = E k(s, s′) + E k(t, t′) − 2·E k(s, t), over all pairs, with k(x, y) the mean of exp(−‖x − y‖² / (w·m)) over
    five widths w (several kernels, as Long et al. 2015, section 3, who learn their weights; here they are equal), m the
    mean squared distance of all pairs. m is differentiated too, so shrinking all features gains nothing. 0 where a
    domain has no rows.

    >>> features = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    >>> first = (torch.arange(6) < 3).float()
    >>> bool(kernel_discrepancy(features + 3 * first[:, None], first, 1 - first) > kernel_discrepancy(
    ...     features, first, 1 - first))
    True
    """
    squares = features.square().sum(1)
    distances = (squares[:, None] + squares[None] - 2 * features @ features.T).clamp(min=0)
    present = source + target
    pairs = present[:, None] * present[None]
    typical = (distances * pairs).sum() / pairs.sum().clamp(min=1) + 1e-12
    kernel = torch.stack([(-distances / (width * typical)).exp() for width in WIDTHS]).mean(0)
    signed = source / source.sum().clamp(min=1) - target / target.sum().clamp(min=1)
    known = ((source.sum() > 0) & (target.sum() > 0)).to(features.dtype)
    return known * (signed @ kernel @ signed)


def weighed_by_uncertainty(losses: Tensor, log_variances: Tensor) -> Tensor:
    """Σ exp(−sᵢ)·Lᵢ + sᵢ/2, a scalar: several cross-entropies with weights that are learned (Kendall, Gal & Cipolla
    2018, equation 10, with s = log σ²; the weight of the second against the first is exp(s₁ − s₂)).

    losses, log_variances  ``(k,)`` each

    At given losses the least is at sᵢ = log 2Lᵢ, so a loss that becomes small comes to weigh more.

    >>> losses = torch.tensor([0.5, 2.0])
    >>> float(weighed_by_uncertainty(losses, torch.zeros(2)))
    2.5
    """
    return ((-log_variances).exp() * losses + log_variances / 2).sum()


def mean_over(values: Tensor, share: Tensor) -> Tensor:
    """The mean of those ``values (n,)`` that ``share`` marks with one; 0 where there are none.

    >>> float(mean_over(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([1.0, 1.0, 0.0])))
    2.0
    """
    return (values * share).sum() / share.sum().clamp(min=1)


def falling_rates(names: list[str], axes: list[int], decay: float) -> dict[str, float]:
    """How large a part of the rate each parameter gets: 1 in the last layer, times ``decay`` in each one before.

    Discriminative fine-tuning, η^(l−1) = η^l · ``decay`` (Howard & Ruder 2018, section 3.2; theirs is 1/2.6).

    names  of one player's parameters, in the order of its layers; ``axes``: how many each has. A layer is what shares a
           module with a weight of two or more axes, and the norms that follow it

    >>> falling_rates(["net.0.weight", "net.0.bias", "net.1.weight", "net.2.weight"], [4, 1, 1, 2], 0.5)
    {'net.0.weight': 0.5, 'net.0.bias': 0.5, 'net.1.weight': 0.5, 'net.2.weight': 1.0}
    """
    layers, modules = [], []
    for name, count in zip(names, axes, strict=True):
        module = name.rpartition(".")[0]
        if count > 1 and module not in modules:
            modules.append(module)
        layers.append(max(len(modules) - 1, 0))
    return {name: math.pow(decay, max(layers) - layer) for name, layer in zip(names, layers, strict=True)}


def resolutions(images: Tensor) -> list[Tensor]:
    """``images (n, c, h, w)`` at up to three resolutions, the finest first: each is the means over 2×2 of the former.

    >>> [level.shape[-1] for level in resolutions(torch.zeros(1, 1, 28, 28))]
    [28, 14, 7]
    """
    levels = [images]
    while len(levels) < LEVELS and all(side % 2 == 0 and side >= 2 * SMALLEST for side in levels[-1].shape[-2:]):
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return levels


def distance_consistency(images: Tensor, reference: Tensor) -> Tensor:
    """How differently two generators place the images of the same latents among each other, a scalar from 0.

    The cross-domain consistency of Ojha et al. 2021 (eq. 1 and 2), Σ_levels mean over i of KL(yᵢ ‖ yᵢ′) with

        yᵢ = softmax over j ≠ i of cos(fᵢ, fⱼ), and yᵢ′ the same of the ``reference``.

    Theirs are features of the generator's layers; here f is the image at several :func:`resolutions`, less the mean of
    the batch: without that, what all images share (paper, ink, a background) makes all cosines about 1.

    images     of the generator that is adapted, ``(n, c, h, w)``, n at least 3; reference: of its start

    >>> images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> float(distance_consistency(images, images)), bool(distance_consistency(images, images.flip(0)) > 0)
    (0.0, True)
    """
    apart = [
        (own.exp() * (own - other)).sum(1).mean()
        for own, other in zip(map(_placed, resolutions(images)), map(_placed, resolutions(reference)), strict=True)
    ]
    return torch.stack(apart).sum()


def _placed(images: Tensor) -> Tensor:
    """The logarithm of yᵢ, a row for each image, ``(n, n − 1)``."""
    centred = images.flatten(1) - images.flatten(1).mean(0)
    directions = centred * (centred.square().sum(1, keepdim=True) + 1e-12).rsqrt()
    count = images.shape[0]
    cosines = (directions @ directions.T).flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)
    return functional.log_softmax(cosines, 1)
