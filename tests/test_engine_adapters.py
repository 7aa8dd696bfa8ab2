"""Adapting a start by few numbers, and keeping its variety: oracles, exact beginnings, exact resumes, refusals."""

import pytest
import torch
from torch.nn import functional

from limner.config import Strategy
from limner.engine import Run, fit
from limner.engine.adapters import Adapted, adapting, early_layers
from limner.engine.session import Opening
from limner.errors import LimnerError
from limner.learners import create
from limner.learners.gan import NETWORKS
from limner.objectives.transfer import distance_consistency
from limner.seeds import generator
from limner.tasks import ImageSet, Task
from limner.testing import StopAt, gradient_is_right, loss_is_pure, tiny_batch

SHAPE = (1, 16, 16)
GAN = create("gan", SHAPE, latents=3, width=4)
START = GAN.init(5)
UPDATES = ("modulation", "low-rank")


def images(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8), "noise")


TASK = Task("generate", "noise", images(5), images(6, seed=1), source="noise")
STRATEGY = Strategy(steps=12, batch=3, ema=0.9, clip=5.0, evaluate_every=5, rank=2, preserve=2.0)


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def moved(params, scale=0.3):
    """Every number somewhere else."""
    random = generator(1, "moved")
    return {name: value + scale * torch.randn(value.shape, generator=random) for name, value in params.items()}


class Moved(Adapted):
    """Adapted, and already somewhere: where it begins, half of its numbers have no gradient."""

    def init(self, seed):
        return moved(super().init(seed), 0.1)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("kind", ["gan", "vae", "vae-gan", "flow", "vq-vae", "classifier"])
def test_it_begins_as_the_start_and_changes_fewer_numbers(kind, update):
    options = {"latents": 3} if kind in ("gan", "vae", "vae-gan") else {"classes": 2}
    learner = create(kind, SHAPE, width=8, **options)
    start = learner.init(5)
    small = Adapted(learner, start, Strategy(update=update, rank=2))
    begun = small.init(0)
    assert list(small.merged(begun)) == list(start)
    assert same(small.merged(begun), start)
    assert same(small.init(0), small.init(0))

    def count(params):
        return sum(value.numel() for name, value in params.items() if not name.startswith("critic."))

    assert count(begun) < 0.65 * count(start)
    assert {name for name in begun if name.startswith("critic.")} == {n for n in start if n.startswith("critic.")}


def test_low_rank_is_a_narrow_layer_beside_the_layer():
    """W + B·A of a transposed convolution: into few channels by a 1×1 convolution, out by a transposed one."""
    small = Adapted(GAN, START, Strategy(update="low-rank", rank=2))
    params = moved(small.init(0))
    name = next(name for name, value in START.items() if value.ndim == 4 and "generator.body.4" in name)
    weight, down, up = START[name], params[f"{name}.down"], params[f"{name}.up"]
    maps = torch.randn(2, len(weight), 5, 5, generator=generator(0))
    found = functional.conv_transpose2d(maps, small.merged(params)[name], stride=2, padding=1)
    narrow = torch.einsum("nihw,ir->nrhw", maps, up)
    beside = functional.conv_transpose2d(narrow, down.view(2, *weight.shape[1:]), stride=2, padding=1)
    expected = functional.conv_transpose2d(maps, weight, stride=2, padding=1) + beside
    assert torch.allclose(found, expected, atol=1e-5)
    for name, value in small.merged(params).items():
        if f"{name}.up" in params:
            change = (value - START[name]).flatten(1)
            assert torch.linalg.matrix_rank(change, rtol=1e-4) == 2, name


def test_modulation_scales_channels_in_and_out():
    small = Adapted(GAN, START, Strategy(update="modulation"))
    params = moved(small.init(0))
    name = next(name for name, value in START.items() if value.ndim == 4 and "generator.body.4" in name)
    into, out = 1 + params[f"{name}.rows"], 1 + params[f"{name}.columns"]
    maps = torch.randn(2, len(into), 5, 5, generator=generator(0))
    found = functional.conv_transpose2d(maps, small.merged(params)[name], stride=2, padding=1)
    scaled = functional.conv_transpose2d(maps * into[:, None, None], START[name], stride=2, padding=1)
    assert torch.allclose(found, scaled * out[:, None, None], atol=1e-5)


def test_a_weight_that_low_rank_would_not_make_smaller_is_trained_itself():
    whole = Adapted(GAN, START, Strategy(update="low-rank", rank=500))
    assert same(whole.init(0), START)


@pytest.mark.parametrize("update", [*UPDATES, "full"])
def test_adapted_learners_keep_the_contract(update):
    strategy = Strategy(update=update, rank=1, preserve=5.0)
    loss_is_pure(Moved(GAN, START, strategy), tiny_batch(SHAPE))
    doubles = {name: value.double() for name, value in START.items()}
    gradient_is_right(Moved(GAN, doubles, strategy), tiny_batch(SHAPE))


@pytest.mark.parametrize("update", [*UPDATES, "full"])
def test_a_stopped_adaptation_resumes_exactly_and_becomes_an_ordinary_run(update, tmp_path):
    strategy = STRATEGY.replace(update=update)
    seen = {}

    def judge(params):
        seen[len(seen)] = params
        return {"kernel_distance": 1.0 / len(seen)}

    whole = fit(GAN, TASK, strategy, seed=3, start=START, judge=judge)
    stopped = fit(GAN, TASK, strategy, seed=3, start=START, directory=tmp_path / "at", listeners=[StopAt(7)])
    assert (stopped.state, stopped.cost.steps) == ("stopped", 7)
    resumed = fit(GAN, TASK, strategy, seed=3, start=START, directory=tmp_path / "at", resume=True, judge=judge)
    assert same(whole.params, resumed.params)
    assert set(seen[0]) == set(whole.params) == set(whole.best) == set(START)
    assert same(whole.best, seen[2])
    assert any("generator preserve" in point.values for point in whole.curve)
    loaded = Run.load(whole.save(tmp_path / "run"))
    assert type(loaded.learner) is type(GAN)
    assert torch.equal(loaded.sample(3), whole.sample(3))
    for name, value in START.items():
        change = (whole.params[name] - value).flatten(1) if value.ndim > 1 else None
        if update == "low-rank" and name == "generator.body.1.weight":
            assert torch.linalg.matrix_rank(change, rtol=1e-4) <= 2
    assert any(not torch.equal(whole.params[n], START[n]) for n in START if n.startswith("generator.body."))
    assert any(not torch.equal(whole.params[n], START[n]) for n in START if n.startswith("critic.body."))


@pytest.mark.parametrize("update", UPDATES)
def test_a_vae_is_adapted_and_finished(update):
    vae = create("vae", SHAPE, latents=2, width=4)
    run = fit(vae, TASK, Strategy(steps=3, batch=3, update=update, rank=2, preserve=1.0), start=vae.init(2))
    assert any(name.startswith("fitted.") for name in run.params)
    assert run.sample(2).shape == (2, *SHAPE)


@pytest.mark.parametrize("update", UPDATES)
def test_what_is_frozen_stays(update):
    early = early_layers(GAN, 1)
    run = fit(GAN, TASK, STRATEGY.replace(update=update, frozen=(*early, "generator.tail")), start=START)
    for name in (name for name in START if name != "critic.head.bias"):  # which a relativistic critic has no use for
        held = name.startswith((*early, "generator.tail"))
        assert torch.equal(run.params[name], START[name]) == held, name


def test_early_layers_come_first_in_every_network():
    for network in NETWORKS:
        gan = create("gan", (1, 28, 28), width=4, network=network)
        first, second = early_layers(gan)
        assert early_layers(gan, 1) == (first,)
        names = [name for name in gan.init(0) if name.startswith("critic.")]
        early = [name for name in names if name.startswith((first, second))]
        assert names[: len(early)] == early
        assert 2 <= len(early) < len(names)
        fit(gan, Task("generate", "flat", ImageSet(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "flat"), None),
            Strategy(steps=1, batch=2, frozen=(first, second)))  # fmt: skip
    with pytest.raises(LimnerError, match="the gan has 2 layers in critic"):
        early_layers(GAN.__class__(SHAPE, width=4, network="residual"), 9)
    with pytest.raises(LimnerError, match="no layers"):
        early_layers(create("vae", SHAPE, width=4))


def test_consistency_against_its_formula():
    """Ojha et al. 2021, eq. 1 and 2, written out for one resolution."""
    random = generator(0)
    images, reference = (torch.rand(5, 1, 2, 3, generator=random, dtype=torch.float64) for _ in range(2))

    def row(of, i):
        flat = (of - of.mean(0)).flatten(1)
        others = [functional.cosine_similarity(flat[i], flat[j], dim=0) for j in range(5) if j != i]
        return torch.stack(others).softmax(0)

    expected = sum((row(images, i) * (row(images, i) / row(reference, i)).log()).sum() for i in range(5)) / 5
    assert float(distance_consistency(images, reference)) == pytest.approx(float(expected), rel=1e-9)


def test_consistency_is_none_for_what_only_scales_and_shifts_all_images():
    images = torch.rand(6, 1, 16, 16, generator=generator(0))
    assert float(distance_consistency(0.5 * images + 0.2, images)) == pytest.approx(0, abs=1e-6)
    same_again = images[:1].expand(6, -1, -1, -1)
    assert float(distance_consistency(same_again, images)) > 1e-4
    assert bool(torch.isfinite(distance_consistency(same_again, same_again)))


def test_preserve_holds_images_apart():
    """Trained onto one image, a generator keeps more of its start's variety with the penalty than without."""
    one = Task("generate", "one", images(1), None)

    def apart(weight):
        strategy = Strategy(steps=30, batch=0, learning_rate=1e-2, preserve=weight, guard=("none",))
        run = fit(GAN, one, strategy, start=START)
        latents = torch.randn(16, 3, generator=generator(0))
        return float(distance_consistency(GAN.decode(run.params, latents), GAN.decode(START, latents)))

    assert apart(1000.0) < 0.5 * apart(0.0)


@pytest.mark.parametrize(
    ("kind", "start", "changes", "told"),
    [
        ("gan", None, {"update": "low-rank"}, "update=low-rank holds on to a start"),
        ("gan", None, {"preserve": 1.0}, "preserve holds on to a start"),
        ("classifier", {}, {"preserve": 1.0}, "which the classifier does not have"),
        ("flow", {}, {"preserve": 1.0}, "which the flow does not have"),
    ],
)
def test_what_cannot_be_adapted_is_told(kind, start, changes, told):
    learner = create(kind, SHAPE, width=4)
    with pytest.raises(LimnerError, match=told):
        adapting(learner, start, Strategy(**changes))
    if start is None:
        with pytest.raises(LimnerError, match=told):
            fit(learner, TASK, Strategy(**changes))


def test_preserve_looks_at_the_start_also_after_an_opening():
    opening = Opening(1, lambda params, support: moved(params, 0.05))
    run = fit(GAN, TASK, STRATEGY.replace(steps=2, evaluate_every=0), start=START, opening=opening)
    assert run.curve[0].values["generator preserve"] > 0
    with pytest.raises(LimnerError, match="leave one out"):
        fit(GAN, TASK, STRATEGY.replace(update="modulation"), start=START, opening=opening)


def test_nothing_is_laid_over_what_is_trained_in_full():
    assert adapting(GAN, None, Strategy()) is GAN
    assert adapting(GAN, START, Strategy(anchor=1.0)) is GAN
