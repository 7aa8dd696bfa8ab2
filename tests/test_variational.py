"""The variational family against models whose evidence is known exactly, and its samplers against known densities."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from limner.errors import LimnerError
from limner.learners import create
from limner.learners.latents import LatentFlow, LatentMixture, StandardNormal, sampler_of
from limner.objectives.variational import (
    LIKELIHOODS,
    gaussian_nll,
    importance_bound,
    kl_to_standard_normal,
    log_normal,
    logistic_nll,
    mean_discrepancy,
    nll_of_each,
    reparameterise,
)
from limner.seeds import generator
from limner.testing import tiny_batch
from limner.types import Request

SHAPE = (1, 16, 16)


class Linear:
    """x = W·z + σ·ε with orthogonal columns, so that the posterior is a Gaussian with diagonal covariance."""

    def __init__(self, pixels=6, latents=2, noise=0.4):
        random = generator(0, "linear")
        self.weights = torch.linalg.qr(torch.randn(pixels, latents, generator=random).double())[0]
        self.weights = self.weights * torch.tensor([1.3, 0.6]).double()[:latents]
        self.log_variance = torch.tensor(2 * math.log(noise)).double()
        covariance = self.weights @ self.weights.T + noise**2 * torch.eye(pixels)
        self.marginal = MultivariateNormal(torch.zeros(pixels).double(), covariance)
        precision = 1 + self.weights.square().sum(0) / noise**2
        self.gain = self.weights.T / noise**2 / precision[:, None]
        self.posterior_log_variance = -precision.log()

    def images(self, count=5):
        torch.manual_seed(0)
        return self.marginal.sample((count,))

    def log_weights(self, images, mean, log_variance, noise):
        latents = reparameterise(mean, log_variance, noise)
        seen = Normal(latents @ self.weights.T, (0.5 * self.log_variance).exp()).log_prob(images).sum(-1)
        zero = torch.zeros(2).double()
        return seen + log_normal(latents, zero, zero) - log_normal(latents, mean, log_variance)


def test_reconstruction_plus_kl_at_the_exact_posterior_is_the_evidence():
    """The expectation over ε is exact: the integrand is quadratic, so the mean over ε = ±1 in each dimension is it."""
    model, images = Linear(), Linear().images()
    mean = images @ model.gain.T
    log_variance = model.posterior_log_variance.expand_as(mean)
    signs = [torch.tensor(pair).double() for pair in itertools.product((-1.0, 1.0), repeat=2)]
    decoded = [reparameterise(mean, log_variance, sign) @ model.weights.T for sign in signs]
    reconstruction = torch.stack([gaussian_nll(maps, model.log_variance, images) for maps in decoded]).mean()
    bound = reconstruction + kl_to_standard_normal(mean, log_variance)
    assert torch.allclose(bound, -model.marginal.log_prob(images).mean())
    elsewhere = [reparameterise(mean + 0.3, log_variance, sign) @ model.weights.T for sign in signs]
    reconstruction = torch.stack([gaussian_nll(maps, model.log_variance, images) for maps in elsewhere]).mean()
    assert float(reconstruction + kl_to_standard_normal(mean + 0.3, log_variance)) > float(bound) + 0.1


def test_importance_weights_at_the_exact_posterior_do_not_vary():
    model, images = Linear(), Linear().images()
    mean = images @ model.gain.T
    noise = torch.randn(3, *mean.shape, generator=generator(1)).double()
    weights = model.log_weights(images, mean, model.posterior_log_variance, noise)
    assert torch.allclose(weights, model.marginal.log_prob(images).expand_as(weights))


def test_the_importance_bound_rises_with_its_samples_to_the_evidence():
    model, images = Linear(), Linear().images()
    mean, log_variance = images @ model.gain.T + 0.4, model.posterior_log_variance + 0.8
    noise = torch.randn(64, 2000, *mean.shape, generator=generator(2)).double()
    weights = model.log_weights(images, mean, log_variance, noise)
    bounds = [float(importance_bound(weights[:count]).mean()) for count in (1, 4, 16, 64)]
    evidence = float(model.marginal.log_prob(images).mean())
    assert bounds == sorted(bounds)
    assert bounds[0] < evidence - 0.3
    assert bounds[-1] == pytest.approx(evidence, abs=0.02)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_loss_is_reconstruction_plus_beta_times_kl(beta):
    plain, weighted = (create("vae", SHAPE, latents=3, width=4, beta=value) for value in (1.0, beta))
    params, batch = plain.init(0), tiny_batch(SHAPE)
    draws = plain.draw(batch, generator(0))
    terms, found = plain.loss("net", params, batch, draws).terms, weighted.loss("net", params, batch, draws)
    assert torch.equal(found.value, terms["reconstruction"] + beta * terms["kl"])
    mean, log_variance = plain.encode(params, batch["images"])
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
    assert torch.allclose(terms["kl"], expected)


def test_the_importance_loss_is_the_bound_of_the_weights_of_each_image():
    vae = create("vae", SHAPE, latents=3, width=4, objective="importance", importance_samples=1)
    params, batch, noise = vae.init(0), tiny_batch(SHAPE, count=2), torch.randn(3, 2, 3, generator=generator(0))

    def weight(sample, image):
        single = {"images": batch["images"][image : image + 1]}
        return -vae.loss("net", params, single, {"noise": noise[sample, image].view(1, 1, 3)}).value

    weights = torch.stack([torch.stack([weight(sample, image) for image in (0, 1)]) for sample in (0, 1, 2)])
    found = vae.loss("net", params, batch, {"noise": noise}).value
    assert torch.allclose(found, -importance_bound(weights).mean())
    draws = vae.draw(batch, generator(1))
    assert torch.allclose(
        vae.log_weights(params, batch, generator(1), 1).mean(), -vae.loss("net", params, batch, draws).value
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods_of_each_image_average_to_that_of_the_batch(likelihood):
    maps, images = torch.randn(3, 1, 4, 4, generator=generator(0)), tiny_batch((1, 4, 4), count=3)["images"]
    each = nll_of_each(LIKELIHOODS[likelihood], maps, torch.tensor(-1.0), images)
    assert torch.allclose(each.mean(), LIKELIHOODS[likelihood](maps, torch.tensor(-1.0), images))


@pytest.mark.parametrize("log_variance", [-9.0, -4.0, 1.0])
def test_the_discretised_logistic_is_a_probability_and_differences_of_its_distribution(log_variance):
    levels = (torch.arange(256.0).double() / 255).view(256, 1, 1, 1)
    mean, spread = torch.full_like(levels, 0.37), torch.tensor(log_variance).double()
    chances = torch.exp(-nll_of_each(logistic_nll, mean, spread, levels)).flatten()
    assert float(chances.sum()) == pytest.approx(1.0, abs=1e-12)
    scale = math.sqrt(3) / math.pi * math.exp(0.5 * log_variance)
    upper = torch.sigmoid((levels.flatten() + 0.5 / 255 - 0.37) / scale)
    assert torch.allclose(chances[1:-1], upper[1:-1] - upper[:-2], atol=1e-12)
    assert torch.allclose(chances[0], upper[0])
    assert torch.allclose(chances[-1], 1 - upper[-2])


def test_the_discretised_logistic_stays_finite_far_from_its_mean():
    image, mean = torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, 1, 1, 1, requires_grad=True)
    value = logistic_nll(mean, torch.tensor(-20.0), image)
    (slope,) = torch.autograd.grad(value, mean)
    assert math.isfinite(float(value.detach()))
    assert float(slope) < -1000  # and it still pulls the mean towards the image


def test_discrepancy_is_zero_for_one_distribution_and_grows_with_distance():
    random = generator(0, "points")
    same = torch.stack([
        mean_discrepancy(torch.randn(40, 3, generator=random), torch.randn(40, 3, generator=random)) for _ in range(300)
    ])  # fmt: skip
    assert abs(float(same.mean())) < 4 * float(same.std()) / math.sqrt(300)
    prior, latents = torch.randn(200, 3, generator=random), torch.randn(200, 3, generator=random)
    found = [float(mean_discrepancy(latents + shift, prior)) for shift in (0.0, 0.5, 1.0, 3.0)]
    assert found == sorted(found)
    assert float(mean_discrepancy(0.1 * latents, prior)) > 0.1  # shrunk latents differ too


def test_densities_of_the_samplers_are_those_of_torch_distributions():
    random = generator(0, "densities")
    points = torch.randn(7, 3, generator=random)
    assert torch.allclose(StandardNormal().log_density(points), Normal(0.0, 1.0).log_prob(points).sum(1))
    factors = torch.tril(torch.randn(2, 3, 3, generator=random)) + 2 * torch.eye(3)
    mixture = LatentMixture(torch.tensor([0.3, 0.7]), torch.randn(2, 3, generator=random), factors)
    parts = [MultivariateNormal(mixture.means[k], scale_tril=factors[k]).log_prob(points) for k in (0, 1)]
    expected = torch.logsumexp(torch.stack(parts, 1) + mixture.weights.log(), 1)
    assert torch.allclose(mixture.log_density(points), expected, atol=1e-5)


def test_the_flow_is_invertible_normalised_and_fits_what_no_gaussian_does():
    random = generator(0, "ring")
    angles, radii = 2 * math.pi * torch.rand(900, generator=random), 2 + 0.1 * torch.randn(900, generator=random)
    ring = torch.stack([radii * angles.cos(), radii * angles.sin()], 1)
    flow = LatentFlow.fit(ring, torch.full_like(ring, 1e-4), generator(1))
    again = LatentFlow.of(LatentFlow.fit(ring, torch.full_like(ring, 1e-4), generator(1)).to_params())
    noise = torch.randn(500, 2, generator=random)
    drawn = flow.place(noise, random)
    assert torch.equal(drawn, again.place(noise, random))  # the same seed fits the same flow, and it is stored whole
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda u: flow.place(u[None], random)[0], u) for u in noise[:5]]
    )
    expected = StandardNormal().log_density(noise[:5]) - torch.linalg.slogdet(jacobian)[1]
    assert torch.allclose(flow.log_density(drawn[:5]), expected, atol=1e-3)
    assert float(flow.log_density(ring).mean()) > float(flow.base.log_density(ring).mean()) + 0.5
    assert float((drawn.norm(dim=1) - 2).abs().median()) < 0.35  # the Gaussian of its moments: about 0.75
    lattice = torch.cartesian_prod(torch.linspace(-6, 6, 200), torch.linspace(-6, 6, 200))
    assert float(flow.log_density(lattice).exp().mean()) * 144 == pytest.approx(1.0, abs=0.02)


def test_a_flow_of_few_latents_is_the_shrunk_gaussian():
    means = torch.full((5, 2), 7.0)
    flow = LatentFlow.fit(means, torch.full((5, 2), 1e-8), generator(0))
    mixture = LatentMixture.fit(means, torch.full((5, 2), 1e-8), generator(0))
    assert torch.allclose(flow.log_density(means), mixture.log_density(means))


@pytest.mark.parametrize("sampler", ["prior", "mixture", "flow"])
def test_a_conditional_vae_decodes_and_samples_by_class(sampler):
    vae = create("vae", SHAPE, latents=2, width=4, classes=3, sampler=sampler)
    batch = tiny_batch(SHAPE, classes=3)
    params = vae.finish(vae.init(0), batch, generator(0))
    in_turn = vae.predict(params, Request("sample", count=4), generator(1))
    asked = vae.predict(params, Request("sample", count=4, labels=torch.tensor([0, 1, 2, 0])), generator(1))
    other = vae.predict(params, Request("sample", count=4, labels=torch.tensor([1, 1, 2, 0])), generator(1))
    assert torch.equal(in_turn, asked)
    assert [bool(torch.equal(one, two)) for one, two in zip(asked, other, strict=True)] == [False, True, True, True]
    assert (
        type(sampler_of(params)).__name__
        == {"prior": "StandardNormal", "mixture": "LatentMixture", "flow": "LatentFlow"}[sampler]
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"objective": "adversarial"}, "elbo, importance, wasserstein"),
        ({"objective": "importance", "beta": 2.0}, "has no β"),
        ({"prior": "class", "objective": "wasserstein"}, "objective=elbo"),
        ({"sampler": "flow", "latents": 1}, "latents=2 or more"),
        ({"likelihood": "poisson"}, "bernoulli, gaussian, logistic"),
    ],
)
def test_what_a_vae_cannot_be_is_told(options, told):
    with pytest.raises(LimnerError, match=told):
        create("vae", SHAPE, **options)


def test_labels_that_are_missing_wrong_or_too_many_are_told():
    conditional, plain = create("vae", SHAPE, width=4, classes=2), create("vae", SHAPE, width=4)
    params, batch = conditional.init(0), tiny_batch(SHAPE)
    with pytest.raises(LimnerError, match="learns from labels"):
        conditional.loss("net", params, batch, conditional.draw(batch, generator(0)))
    with pytest.raises(LimnerError, match="from 0 to 1"):
        conditional.predict(params, Request("sample", count=1, labels=torch.tensor([2])), generator(0))
    with pytest.raises(LimnerError, match="without classes"):
        plain.predict(plain.init(0), Request("sample", count=1, labels=torch.tensor([0])), generator(0))
    with pytest.raises(LimnerError, match="give labels"):
        conditional.predict(params, Request("reconstruct", images=batch["images"]), generator(0))
    with pytest.raises(LimnerError, match="16 numbers, not 5"):
        plain.decode(plain.init(0), torch.zeros(1, 5))
