"""Flow matching against flows that are known, the U-Net, and mistakes."""

import math

import pytest
import torch

from limner.config import Strategy
from limner.engine import fit
from limner.errors import LimnerError
from limner.learners import create
from limner.networks.unet import TimedUNet, time_features
from limner.objectives.flow import between, flow_matching, integrate
from limner.seeds import generator
from limner.tasks import ImageSet, Task
from limner.testing import tiny_batch
from limner.types import Request

SHAPE = (1, 16, 16)


@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("heun", 2)])
def test_integrators_have_the_order_of_the_books(integrator, order):
    """dx/dt = t·x has the solution e^{1/2} at 1: half the step leaves 2^−order of the error."""

    def error(steps):
        found = integrate(lambda x, t: t[:, None] * x, torch.ones(1, 1).double(), integrator, steps)
        return abs(float(found) - math.exp(0.5))

    assert math.log2(error(32) / error(64)) == pytest.approx(order, abs=0.1)


def test_the_best_velocity_between_gaussians_carries_one_to_the_other():
    """For x₀ ~ N(0, 1), x₁ ~ N(m, s²): E[x₁ − x₀ | x_t = x] = m + (t·s² − (1 − t))·(x − t·m) / ((1 − t)² + t²·s²)."""
    mean, spread = 2.0, 0.5

    def best(points, times):
        times = times.view(-1, 1)
        variance = (1 - times) ** 2 + (times * spread) ** 2
        return mean + (times * spread**2 - (1 - times)) * (points - times * mean) / variance

    random = generator(0, "gaussians")
    noise, images = torch.randn(50_000, 1, generator=random), mean + spread * torch.randn(50_000, 1, generator=random)
    times = torch.rand(50_000, generator=random)
    carried = integrate(best, noise, "heun", 40)
    assert float(carried.mean()) == pytest.approx(mean, abs=0.01)
    assert float(carried.std()) == pytest.approx(spread, abs=0.01)
    least = float(flow_matching(best, noise, images, times))
    for factor in (0.9, 1.1):  # no other velocity has a smaller loss
        assert float(flow_matching(lambda x, t, f=factor: f * best(x, t), noise, images, times)) > least


def test_the_line_begins_at_the_noise_and_ends_at_the_image():
    noise, images = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    assert torch.equal(between(noise, images, torch.tensor([0.0, 1.0])).flatten(1)[:, 0], torch.tensor([0.0, 1.0]))


def test_times_spread_evenly_over_a_batch_and_are_uniform():
    flow = create("flow", SHAPE, width=2)
    drawn = [flow.draw(tiny_batch(SHAPE, count=8), generator(seed))["times"] for seed in range(200)]
    for times in drawn[:5]:
        assert torch.equal((times * 8).floor().sort().values, torch.arange(8.0))
    everything = torch.cat(drawn)
    assert 0 <= float(everything.min()) <= float(everything.max()) < 1
    assert float(everything.mean()) == pytest.approx(0.5, abs=0.01)
    assert len({tuple((times * 8).floor().tolist()) for times in drawn}) > 150  # in an order of their own each time


@pytest.mark.parametrize("side", [16, 20, 28, 44, 64, 128])
def test_the_u_net_keeps_every_shape(side):
    for channels in (1, 3):
        network = TimedUNet((channels, side, side), width=2)
        assert network(torch.zeros(2, channels, side, side), torch.rand(2), None).shape == (2, channels, side, side)


def test_times_that_differ_are_told_apart():
    features = time_features(torch.linspace(0, 1, 50), 32)
    apart = torch.cdist(features, features) + 10 * torch.eye(50)
    assert float(apart.min()) > 0.1


def test_a_flow_learns_what_each_class_looks_like():
    images = torch.zeros(40, *SHAPE, dtype=torch.uint8)
    labels = torch.arange(40) % 2
    images[labels == 1, :, 4:12, 4:12] = 255
    known = ImageSet(images, "squares", labels, ("empty", "square"))
    learner = create("flow", SHAPE, width=8, classes=2, integration_steps=6)
    run = fit(learner, Task("generate", "squares", known, known), Strategy(steps=60, batch=16, learning_rate=4e-3))
    samples = learner.predict(run.params, Request("sample", count=6), generator(0))
    middle = samples[:, :, 5:11, 5:11].mean((1, 2, 3))
    assert torch.equal((middle > 0.5).long(), torch.arange(6) % 2)


def test_mistakes_are_told():
    with pytest.raises(LimnerError, match="euler, heun"):
        create("flow", SHAPE, integrator="runge-kutta")
    flow = create("flow", SHAPE, width=2)
    with pytest.raises(LimnerError, match="ask it for samples"):
        flow.predict(flow.init(0), Request("reconstruct", images=torch.zeros(1, *SHAPE)), generator(0))
    conditional = create("flow", SHAPE, width=2, classes=2)
    batch = tiny_batch(SHAPE)
    with pytest.raises(LimnerError, match="learns from labels"):
        conditional.loss("net", conditional.init(0), batch, conditional.draw(batch, generator(0)))
