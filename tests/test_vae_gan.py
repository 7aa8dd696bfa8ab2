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


def test_with_classes_every_side_is_told_the_label():
    learner = create("vae-gan", SHAPE, latents=2, width=4, classes=2)
    params, batch = learner.init(0), tiny_batch(SHAPE)
    count = len(batch["images"])
    draws = learner.draw(batch, generator(0))
    told = [learner.loss(p, params, batch | {"labels": torch.full((count,), k)}, draws).value for p in learner.players
            for k in (0, 1)]  # fmt: skip
    assert told[0] != told[1]
    assert told[2] != told[3]
    one, other = (learner.encode(params, batch["images"], torch.full((count,), label))[0] for label in (0, 1))
    assert not torch.allclose(one, other)
    latents = torch.zeros(2, 2)
    assert torch.equal(learner.decode(params, latents), learner.decode(params, latents, torch.tensor([0, 1])))
    asked = learner.predict(params, Request("sample", 4, labels=torch.ones(4, dtype=torch.int64)), generator(3))
    assert not torch.allclose(asked, learner.predict(params, Request("sample", 4), generator(3)))
    with pytest.raises(LimnerError, match="learns from labels"):
        learner.loss("net", params, {"images": batch["images"]}, draws)
    with pytest.raises(LimnerError, match="each from 0 to 1"):
        learner.predict(params, Request("sample", 1, labels=torch.tensor([2])), generator(0))


def test_its_critic_scores_by_projection():
    learner = create("vae-gan", SHAPE, latents=2, width=4, classes=3)
    params, images = learner.init(0), tiny_batch(SHAPE)["images"]
    labels = torch.arange(len(images)) % 3
    seen = learner._critic(params, images, method="look")
    score = seen @ params["critic.head.weight"][0] + params["critic.head.bias"]
    score = score + (seen @ params["critic.directions.weight"].T)[torch.arange(len(images)), labels]
    assert torch.allclose(learner._critic(params, images, labels, method="score"), score, atol=1e-6)
