"""Adversarial objectives: what the critic and the generator each minimise, from the critic's scores.

Scores are D(x) before any sigmoid, ``(n,)``; each loss is a scalar. Where a paper's discriminator is a probability, it
is σ(D(x)), and −log σ(t) = softplus(−t).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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


def classic_critic(real: Tensor, fake: Tensor) -> Tensor:
    """−E log σ(D(x)) − E log(1 − σ(D(G(z)))) (Goodfellow et al. 2014, eq. 1), log 4 where nothing can be told apart.

    >>> round(classic_critic(torch.zeros(4), torch.zeros(4)).item(), 4)
    1.3863
    """
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def minimax_generator(fake: Tensor) -> Tensor:
    """E log(1 − σ(D(G(z)))), the generator's side of the same game (Goodfellow et al. 2014, eq. 1).

    Its slope vanishes where the critic is sure, which is why the same paper recommends the non-saturating one.
    """
    return -functional.softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """−E log σ(D(G(z))) (Goodfellow et al. 2014, section 3)."""
    return functional.softplus(-fake).mean()


def least_squares_critic(real: Tensor, fake: Tensor) -> Tensor:
    """½ E (D(x) − 1)² + ½ E D(G(z))² (Mao et al. 2017, LSGAN, eq. 9)."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(fake: Tensor) -> Tensor:
    """½ E (D(G(z)) − 1)² (Mao et al. 2017, eq. 9)."""
    return 0.5 * (fake - 1).square().mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """E D(G(z)) − E D(x) (Arjovsky, Chintala & Bottou 2017, eq. 2): minus the distance, for a critic of slope 1."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """−E D(G(z)) (Arjovsky, Chintala & Bottou 2017, algorithm 1)."""
    return -fake.mean()


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))) (Lim & Ye 2017; Miyato et al. 2018, eq. 16).

    Its generator is :func:`wasserstein_generator` (Miyato et al. 2018, eq. 17).

    >>> hinge_critic(torch.tensor([2.0]), torch.tensor([0.5])).item()
    1.5
    """
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


class Objective(NamedTuple):
    """One game.

    critic     its loss, of the scores of real and of generated images
    generator  its loss, of the scores of generated images; of real and generated ones where it is ``paired``
    penalty    on what the critic's slope is held: ``real`` (R1), ``real and fake`` (R1 and R2), ``between`` (towards 1
               on straight lines from real to generated images) or nothing
    weight     of the penalty, where the learner's ``gamma`` is 1
    limit      every parameter of the critic is kept within ±limit (0 = free)
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[..., Tensor]
    penalty: str = "real"
    weight: float = 0.5
    limit: float = 0.0
    paired: bool = False


OBJECTIVES: dict[str, Objective] = {
    "relativistic": Objective(relativistic_critic, relativistic_generator, "real and fake", paired=True),
    "non-saturating": Objective(classic_critic, non_saturating_generator),
    "minimax": Objective(classic_critic, minimax_generator),
    "least-squares": Objective(least_squares_critic, least_squares_generator),
    "hinge": Objective(hinge_critic, wasserstein_generator),
    "wasserstein-penalty": Objective(wasserstein_critic, wasserstein_generator, "between", 10.0),
    "wasserstein-clipping": Objective(wasserstein_critic, wasserstein_generator, "", 0.0, limit=0.1),
}
"""Every objective by its word. The penalties are the papers' where they have one; else R1, for no network here has the
BatchNorm or spectral norm that those papers lean on. The limit is no paper's: theirs, 0.01, leaves these networks
hardly any slope."""


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


def slope_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E (‖∇D(x̂)‖ − 1)² at x̂ = ε·x + (1 − ε)·G(z) (Gulrajani et al. 2017, eq. 3, without λ); ``mix`` is ε, ``(n,)``.

    >>> images = torch.ones(2, 1, 2, 2)
    >>> slope_penalty(lambda x: x.sum((1, 2, 3)), images, images, torch.rand(2))  # slope 2 = the root of 4 pixels
    tensor(1.)
    """
    share = mix[:, None, None, None]
    _, squares = scores_and_penalties(critic, share * real + (1 - share) * fake)
    return ((squares + 1e-12).sqrt() - 1).square().mean()


def score_terms(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """What a critic's scores tell whoever watches a game.

    ``real score`` and ``fake score`` are their means; ``real sign`` is the mean sign of real images' scores from the
    middle of these two, for the level of most objectives' scores is arbitrary.

    >>> score_terms(torch.tensor([3.0, 5.0]), torch.tensor([-1.0]))["real sign"].item()
    1.0
    """
    real_mean, fake_mean = real.mean(), fake.mean()
    sign = (real - (real_mean + fake_mean) / 2).sign().mean()
    return {"real score": real_mean, "fake score": fake_mean, "real sign": sign}


def lecam_penalty(real: Tensor, fake: Tensor) -> Tensor:
    """E (D(x) − α_F)² + E (D(G(z)) − α_R)² with α the mean score of the other kind in this very batch.

    Tseng et al. 2021 (LeCam), eq. 5, whose α are moving averages over steps. A loss here remembers nothing, so its α
    are averages of decay 0, and are differentiated through like every score. It holds the scores together.

    >>> lecam_penalty(torch.ones(3), -torch.ones(3)).item()
    8.0
    """
    return (real - fake.mean()).square().mean() + (fake - real.mean()).square().mean()
