"""Objectives against closed forms, torch.distributions and Monte Carlo."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from limner.objectives.adversarial import relativistic_critic, relativistic_generator, scores_and_penalties
from limner.objectives.variational import (
    bernoulli_nll,
    class_predictive,
    gaussian_nll,
    kl_to_normal,
    kl_to_standard_normal,
    reparameterise,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_kl_equals_that_of_torch_distributions():
    mean, log_variance = draw(5, 3), draw(5, 3, seed=1)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
    assert torch.allclose(kl_to_standard_normal(mean, log_variance), expected)
    centre, variance = draw(5, 3, seed=2), draw(5, 3, seed=3).exp()
    expected = kl_divergence(posterior, Normal(centre, variance.sqrt())).sum(1).mean()
    assert torch.allclose(kl_to_normal(mean, log_variance, centre, variance), expected)


def test_likelihoods_equal_those_of_torch_distributions():
    logits, images = draw(4, 1, 5, 5), draw(4, 1, 5, 5, seed=1).sigmoid().round()
    expected = -Bernoulli(logits=logits).log_prob(images).sum((1, 2, 3)).mean()
    assert torch.allclose(bernoulli_nll(logits, images), expected)
    log_variance = torch.tensor(-1.3, dtype=torch.float64)
    expected = -Normal(logits, (0.5 * log_variance).exp()).log_prob(images).sum((1, 2, 3)).mean()
    assert torch.allclose(gaussian_nll(logits, log_variance, images), expected)


def test_the_best_learned_variance_is_the_mean_squared_error():
    mean, images = draw(6, 1, 4, 4), draw(6, 1, 4, 4, seed=1)
    log_variance = (images - mean).square().mean().log().requires_grad_()
    (slope,) = torch.autograd.grad(gaussian_nll(mean, log_variance, images), log_variance)
    assert abs(float(slope)) < 1e-9


def test_reparameterised_draws_have_the_moments_asked_for():
    mean, log_variance = torch.tensor([[2.0]]), torch.tensor([[math.log(0.25)]])
    noise = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0))
    draws = reparameterise(mean, log_variance, noise)
    assert float(draws.mean()) == pytest.approx(2.0, abs=0.01)
    assert float(draws.std()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_class_predictive_is_the_conditional_of_the_joint_normal(count):
    """z₁…zₙ, z of one class are jointly normal: covariance b everywhere, b + w on the diagonal."""
    between, within = 0.7, 0.4
    joint = torch.full((count + 1, count + 1), between, dtype=torch.float64) + within * torch.eye(count + 1)
    seen = draw(count)
    known, cross = joint[:count, :count], joint[count, :count]
    solved = torch.linalg.solve(known, cross) if count else cross
    mean, variance = class_predictive(
        seen.sum()[None], count, torch.tensor([between]).double(), torch.tensor([within]).double()
    )
    assert torch.allclose(mean, (solved * seen).sum()[None])
    assert torch.allclose(variance, (joint[count, count] - solved @ cross)[None])


def test_class_predictive_matches_simulation():
    between, within, count = 1.5, 0.5, 4
    draws = MultivariateNormal(torch.zeros(5), between * torch.ones(5, 5) + within * torch.eye(5))
    torch.manual_seed(0)
    images = draws.sample((200_000,))
    mean, variance = class_predictive(
        images[:, :count].sum(1, keepdim=True), count, torch.tensor([between]), torch.tensor([within])
    )
    left = images[:, count:] - mean
    assert float(left.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(left.var()) == pytest.approx(float(variance), rel=0.02)


def test_relativistic_losses_are_mirror_images():
    real, fake = draw(7), draw(7, seed=1)
    assert torch.equal(relativistic_critic(real, fake), relativistic_generator(fake, real))
    expected = -torch.nn.functional.logsigmoid(real - fake).mean()
    assert torch.allclose(relativistic_critic(real, fake), expected)
    assert float(relativistic_critic(real + 50, fake)) < 1e-6


def test_penalty_of_a_known_critic():
    """D(x) = Σ a·x² has slope 2a·x."""
    weights, images = draw(1, 1, 3, 3), draw(4, 1, 3, 3, seed=1)
    scores, penalties = scores_and_penalties(lambda x: (weights * x.square()).sum((1, 2, 3)), images)
    assert torch.allclose(scores, (weights * images.square()).sum((1, 2, 3)))
    assert torch.allclose(penalties, (2 * weights * images).square().sum((1, 2, 3)))
