"""Learners beyond the contract: what they learn on small known problems, their samplers, and mistakes."""

import pytest
import torch

from limner.config import Strategy
from limner.engine import fit
from limner.errors import LimnerError
from limner.learners import create
from limner.learners.latents import LatentMixture
from limner.tasks import ImageSet, Task
from limner.types import Request

SHAPE = (1, 16, 16)


def bars(count, seed=0):
    """Images of one vertical bar each, at a random place."""
    random = torch.Generator().manual_seed(seed)
    images = torch.zeros(count, *SHAPE, dtype=torch.uint8)
    for image in images:
        image[0, :, int(torch.randint(2, 14, (), generator=random))] = 255
    return ImageSet(images, "bars")


@pytest.mark.parametrize(("kind", "steps"), [("vae", 150), ("gan", 200)])
def test_a_generator_learns_where_the_ink_is(kind, steps):
    task = Task("generate", "bars", bars(64), bars(32, seed=1))
    strategy = Strategy(steps=steps, batch=16, learning_rate=4e-3, betas=(0.5, 0.99))
    run = fit(create(kind, SHAPE, latents=4, width=8), task, strategy)
    samples = run.sample(64).float() / 255
    columns = samples.mean((0, 1, 2))
    assert float(columns[2:14].mean()) == pytest.approx(1 / 12, abs=0.04)
    assert float(columns[[0, 15]].mean()) < 0.05
    assert float(samples.std(0).mean()) > 0.05


def test_a_classifier_learns_classes():
    images = torch.zeros(40, *SHAPE, dtype=torch.uint8)
    labels = torch.arange(40) % 2
    images[labels == 1, :, 4:12, 4:12] = 255
    known = ImageSet(images, "squares", labels, ("empty", "square"))
    learner = create("classifier", SHAPE, classes=2, width=4)
    run = fit(learner, Task("classify", "squares", known, known), Strategy(steps=30, batch=8))
    logits = learner.predict(run.params, Request("logits", images=known.floats()), torch.Generator())
    assert torch.equal(logits.argmax(1), labels)
    features = learner.predict(run.params, Request("features", images=known.floats()), torch.Generator())
    assert features.shape == (40, 64)


def test_the_mixture_finds_its_clusters():
    random = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-4.0, 0.0], [4.0, 0.0]]).repeat_interleave(200, 0)
    means = centres + 0.1 * torch.randn(400, 2, generator=random)
    mixture = LatentMixture.fit(means, torch.full((400, 2), 0.01), random)
    draws = mixture.place(torch.randn(1000, 2, generator=random), random)
    assert float((draws[:, 0].abs() - 4).abs().mean()) < 0.3
    assert 0.4 < float((draws[:, 0] > 0).float().mean()) < 0.6


def test_few_latents_give_one_gaussian_shrunk_to_the_prior():
    far = LatentMixture.fit(torch.full((5, 1), 7.0), torch.full((5, 1), 1e-8), torch.Generator())
    assert float(far.means) == pytest.approx(5.0)  # 5 images at 7 and 2 pseudo-images at 0
    assert far.weights.tolist() == [1.0]


def test_the_class_prior_samples_where_the_shots_lie():
    vae = create("vae", SHAPE, latents=2, width=4, prior="class")
    params, batch = vae.init(0), {"images": bars(5).floats()}
    done = vae.finish(params, batch, torch.Generator())
    mean = vae.predict(params, Request("features", images=batch["images"]), torch.Generator())
    between = within = 0.5
    assert torch.allclose(done["fitted.mixture_means"][0], between * mean.sum(0) / (5 * between + within), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: create("diffusion", SHAPE), "vae, gan, classifier"),
        (lambda: create("vae", SHAPE, depth=3), "no option 'depth'"),
        (lambda: create("vae", (1, 8, 8)), "multiple of 4"),
        (lambda: create("gan", (1, 30, 30)), "multiple of 4"),
        (lambda: create("vae", (4, 32, 32)), "grey or colour"),
        (lambda: create("vae", SHAPE, likelihood="poisson"), "bernoulli, gaussian"),
        (lambda: create("vae", SHAPE, prior="flow"), "normal, class"),
        (lambda: create("vae", SHAPE, sampler="best"), "prior, mixture"),
        (lambda: create("classifier", SHAPE, classes=1), "at least 2 classes"),
    ],
)
def test_what_cannot_be_built_is_told(make, told):
    with pytest.raises(LimnerError, match=told):
        make()


@pytest.mark.parametrize("kind", ["vae", "gan", "classifier"])
def test_what_cannot_be_answered_is_told(kind):
    learner = create(kind, SHAPE)
    what = "sample" if kind == "classifier" else "logits"
    with pytest.raises(LimnerError, match="cannot answer"):
        learner.predict(learner.init(0), Request(what, count=1), torch.Generator())


@pytest.mark.parametrize("side", [16, 20, 28, 32, 44, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_side_fits(side, channels):
    for kind in ("vae", "gan"):
        learner = create(kind, (channels, side, side), width=4, latents=2)
        images = learner.predict(learner.init(0), Request("sample", count=2), torch.Generator())
        assert images.shape == (2, channels, side, side)
