"""The vector-quantised autoencoder: its estimator, its codebook, and the causal network that learns its codes."""

import pytest
import torch

from limner.config import Strategy
from limner.engine import fit
from limner.engine.step import gradients
from limner.errors import LimnerError
from limner.learners import create
from limner.networks.causal import Causal
from limner.seeds import generator
from limner.tasks import ImageSet, Task
from limner.testing import tiny_batch
from limner.types import Request

SHAPE = (1, 16, 16)
TINY = {"codes": 6, "code_size": 3, "width": 4, "prior_width": 6}


def test_the_causal_network_sees_all_that_was_read_before_and_nothing_else():
    network = Causal(channels=1, outputs=1, width=4).double()
    maps = torch.randn(1, 1, 6, 6, generator=generator(0)).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x, None).flatten(), maps).view(36, 36)
    seen = jacobian != 0
    assert torch.equal(seen, torch.tril(torch.ones(36, 36, dtype=torch.bool), -1))


def test_codes_are_drawn_as_the_causal_network_says():
    """With logits that do not depend on the maps, each place is an independent draw from them."""
    learner = create("vq-vae", SHAPE, **TINY)
    params = {
        name: torch.zeros_like(value) if name.startswith("prior.") else value for name, value in learner.init(0).items()
    }
    chances = torch.tensor([0.5, 0.3, 0.2, 0.0, 0.0, 0.0])
    params["prior.head.3.bias"] = chances.clamp(min=1e-30).log()
    params["net.codebook"] = torch.randn(6, 3, generator=generator(0))
    drawn = learner.draw_latents(params, 100, None, generator(1))
    indices = torch.cdist(drawn.reshape(-1, 3), params["net.codebook"]).argmin(1)
    shares = torch.bincount(indices, minlength=6) / len(indices)
    assert torch.allclose(shares, chances, atol=0.02)


def test_the_gradient_passes_straight_through_from_code_to_place():
    learner = create("vq-vae", SHAPE, **TINY, commitment=0.0)
    params, batch = learner.init(0), tiny_batch(SHAPE)
    found, _ = gradients(learner, "net", params, batch, {})
    held = learner.held(params, batch)
    codes = held["held_codes"].requires_grad_()
    maps = learner._net(params, codes, method="decode")
    loss = learner._likelihood(maps, params["net.log_variance"], batch["images"])
    (slope,) = torch.autograd.grad(loss, codes)  # what the decoder wants of the codes…
    leaves = {
        name: value.requires_grad_() for name, value in params.items() if name.startswith(("net.head", "net.body"))
    }
    places = learner._net({**params, **leaves}, batch["images"], method="encode")
    expected = torch.autograd.grad(places, list(leaves.values()), slope)  # …is what the encoder is told
    for name, value in zip(leaves, expected, strict=True):
        assert torch.allclose(found[name], value, atol=1e-5)


def test_the_nearest_code_is_the_nearest():
    learner = create("vq-vae", SHAPE, **TINY)
    params, batch = learner.init(0), tiny_batch(SHAPE)
    held = learner.held(params, batch)
    expected = torch.cdist(held["held_places"].reshape(-1, 3), params["net.codebook"]).argmin(1)
    assert torch.equal(held["held_indices"].flatten(), expected)
    assert torch.equal(held["held_codes"], params["net.codebook"][held["held_indices"]])


def test_the_bound_counts_pixels_and_codes_once():
    learner = create("vq-vae", SHAPE, **TINY)
    params, batch = learner.init(0), tiny_batch(SHAPE)
    bound = learner.log_weights(params, batch, generator(0), 2)
    pixels = learner.loss("net", params, batch, {}).terms["reconstruction"]
    codes = learner.loss("prior", params, batch, {}).value
    assert bound.shape == (2, 4)
    assert torch.allclose(bound.mean(), -pixels - codes)


def test_a_collapsed_codebook_comes_back_into_use():
    """All codes but one begin far from every place, where plain vector quantisation would leave them."""
    learner = create("vq-vae", SHAPE, **TINY)
    images = ImageSet(torch.randint(0, 256, (16, *SHAPE), dtype=torch.uint8, generator=generator(0)), "noise")
    params = learner.init(0)
    params["net.codebook"] = torch.cat([params["net.codebook"][:1], 8 * params["net.codebook"][1:]])
    task, strategy = (
        Task("generate", "noise", images, images),
        Strategy(
            steps=60,
            batch=8,
            learning_rate=0.3,
            frozen=("net.body", "net.head", "net.decoder"),
            player_rates={"prior": 1e-3},
        ),
    )
    run = fit(learner, task, strategy, start=params)
    batch = {"images": images.floats()}
    before, after = (float(learner.loss("net", known, batch, {}).terms["perplexity"]) for known in (params, run.params))
    assert before == pytest.approx(1.0)
    assert after > 2.5


def test_mistakes_are_told():
    with pytest.raises(LimnerError, match="bernoulli, gaussian, logistic"):
        create("vq-vae", SHAPE, likelihood="poisson")
    with pytest.raises(LimnerError, match="2 codes"):
        create("vq-vae", SHAPE, codes=1)
    learner = create("vq-vae", SHAPE, **TINY)
    with pytest.raises(LimnerError, match="cannot answer"):
        learner.predict(learner.init(0), Request("logits", count=1), generator(0))
