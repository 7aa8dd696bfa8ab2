"""Negative log likelihood against a linear Gaussian model, whose evidence is known exactly."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from limner.errors import LimnerError
from limner.learners import create
from limner.metrics.likelihood import Weighted, negative_log_likelihood
from limner.objectives.variational import gaussian_nll, log_normal, nll_of_each, reparameterise
from limner.seeds import generator
from limner.testing import tiny_batch


class LinearModel:
    """x = W·z + σ·ε with 2 latents and 8 pixels; q(z|x) is somewhat wrong on purpose."""

    def __init__(self):
        self.weights = torch.linalg.qr(torch.randn(8, 2, generator=generator(0)).double())[0] * 1.5
        self.log_variance = torch.tensor(math.log(0.25)).double()
        self.marginal = MultivariateNormal(torch.zeros(8).double(), self.weights @ self.weights.T + 0.25 * torch.eye(8))

    def log_weights(self, params, batch, generator, count):
        images, rows = batch["images"], []
        mean = images.flatten(1) @ self.weights / (1.5**2 + 0.25) + 0.1
        log_variance = torch.full_like(mean, math.log(0.25 / (1.5**2 + 0.25)) + 0.5)
        for _ in range(count):
            noise = torch.randn(mean.shape, generator=generator).double()
            latents = reparameterise(mean, log_variance, noise)
            maps = (latents @ self.weights.T).view(images.shape)
            zero = torch.zeros_like(mean)
            seen = -nll_of_each(gaussian_nll, maps, self.log_variance, images)
            rows.append(seen + log_normal(latents, zero, zero) - log_normal(latents, mean, log_variance))
        return torch.stack(rows)


def test_the_evidence_of_a_linear_model_is_found():
    model = LinearModel()
    torch.manual_seed(0)
    images = model.marginal.sample((150,))
    exact = float(-model.marginal.log_prob(images).mean())
    batch = {"images": images.view(150, 1, 2, 4)}
    loose, tight = (
        negative_log_likelihood(model, {}, batch, samples=count, likelihood="gaussian") for count in (1, 300)
    )
    assert tight.nats.value == pytest.approx(exact, abs=0.01)
    assert loose.nats.value > exact + 0.05
    assert tight.bits.value == pytest.approx(exact / (8 * math.log(2)) + 8, abs=0.01)
    assert tight.nats.low < exact < tight.nats.high
    assert tight == negative_log_likelihood(model, {}, batch, samples=300, likelihood="gaussian")


@pytest.mark.parametrize(
    ("kind", "options", "classes"),
    [
        ("vae", {"latents": 3, "width": 4}, 0),
        ("vae", {"latents": 3, "width": 4, "classes": 2, "likelihood": "logistic"}, 2),
        ("vae", {"latents": 3, "width": 4, "prior": "class"}, 0),
        ("vq-vae", {"codes": 5, "code_size": 3, "width": 4, "prior_width": 4}, 0),
    ],
)
def test_every_autoencoder_has_a_likelihood(kind, options, classes):
    learner, batch = create(kind, (1, 16, 16), **options), tiny_batch((1, 16, 16), classes)
    assert isinstance(learner, Weighted)
    params = learner.finish(learner.init(0), batch, generator(0))
    one, many = (
        negative_log_likelihood(learner, params, batch, samples=count, likelihood=learner.options["likelihood"])
        for count in (1, 50)
    )
    assert math.isfinite(many.nats.value)
    assert many.nats.value <= one.nats.value
    if learner.options["likelihood"] == "bernoulli":  # an untrained decoder knows little of ink and paper
        assert 0.8 < many.bits.value < 2.0


def test_others_have_none_and_nothing_cannot_be_measured():
    assert not isinstance(create("gan", (1, 16, 16), width=4), Weighted)
    with pytest.raises(LimnerError, match="at least 1"):
        negative_log_likelihood(LinearModel(), {}, {"images": torch.zeros(0, 1, 2, 4)})


def test_one_image_has_a_likelihood_without_an_interval():
    found = negative_log_likelihood(LinearModel(), {}, {"images": torch.zeros(1, 1, 2, 4).double()}, samples=3)
    assert math.isfinite(found.nats.value)
    assert found.nats.low is found.nats.high is found.bits.low is found.bits.high is None
    assert "nats for one image, " in found.told()
