"""The VAE-GAN: its two sides against their parts, and mistakes."""

import pytest
import torch

from limner.errors import LimnerError
from limner.learners import create
from limner.objectives.variational import kl_to_standard_normal
from limner.seeds import generator
from limner.testing import tiny_batch
from limner.types import Request

SHAPE = (1, 16, 16)


@pytest.mark.parametrize("where", ["features", "pixels"])
def test_the_loss_is_the_sum_of_its_weighted_parts(where):
    learner = create("vae-gan", SHAPE, latents=2, width=4, reconstruction=where, beta=3.0, adversarial=0.5)
    params, batch = learner.init(0), tiny_batch(SHAPE)
    draws = learner.draw(batch, generator(0))
    found = learner.loss("net", params, batch, draws)
    terms = found.terms
    assert torch.allclose(found.value, terms["reconstruction"] + 3 * terms["kl"] + 0.5 * terms["adversarial"])
    assert torch.allclose(terms["kl"], kl_to_standard_normal(*learner.encode(params, batch["images"])))
    critic = learner.loss("critic", params, batch, draws).terms
    assert torch.allclose(terms["adversarial"], critic["adversarial"], atol=0.5)  # near log 2 before any training


def test_a_critic_that_sees_no_pixels_makes_the_feature_error_zero():
    learner = create("vae-gan", SHAPE, latents=2, width=4)
    params, batch = learner.init(0), tiny_batch(SHAPE)
    blind = {name: torch.zeros_like(value) if name.startswith("critic.") else value for name, value in params.items()}
    draws = learner.draw(batch, generator(0))
    assert float(learner.loss("net", params, batch, draws).terms["reconstruction"]) > 0
    terms = learner.loss("net", blind, batch, draws).terms
    assert float(terms["reconstruction"]) == 0
    assert float(terms["adversarial"]) == pytest.approx(0.6931, abs=1e-4)


def test_mistakes_are_told():
    with pytest.raises(LimnerError, match="features, pixels"):
        create("vae-gan", SHAPE, reconstruction="edges")
    with pytest.raises(LimnerError, match="prior, mixture, flow"):
        create("vae-gan", SHAPE, sampler="best")
    learner = create("vae-gan", SHAPE, latents=2, width=4)
    params = learner.init(0)
    with pytest.raises(LimnerError, match="2 numbers, not 3"):
        learner.decode(params, torch.zeros(1, 3))
    with pytest.raises(LimnerError, match="without classes"):
        learner.decode(params, torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(LimnerError, match="cannot answer"):
        learner.predict(params, Request("logits", count=1), generator(0))
