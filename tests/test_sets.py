"""Learners that read a set: their code against attention written out, and that they learn what a set is of."""

import json

import pytest
import torch

from limner.cli.main import main
from limner.config import Strategy
from limner.engine import Run, fit
from limner.errors import LimnerError
from limner.learners import create
from limner.learners.sets import CODE
from limner.meta import MetaPlan, learn
from limner.meta.recipes import recipe
from limner.networks.modulated import ModulatedDecoder
from limner.networks.set_encoder import SetEncoder, random_contexts
from limner.objectives.variational import class_predictive, kl_to_normal
from limner.seeds import generator
from limner.tasks import Family, ImageSet, Task
from limner.testing import tiny_batch
from limner.types import Request

SHAPE = (1, 16, 16)
SMALL = {"set-vae": {"latents": 3, "width": 4, "code": 8}, "set-flow": {"width": 4, "code": 8, "integration_steps": 2}}
EVERY = [(kind, pooling) for kind in SMALL for pooling in ("mean", "attention")]


def made(kind, shape=SHAPE, **options):
    return create(kind, shape, **SMALL[kind] | options)


def finished(learner, images, seed=0):
    return learner.finish(learner.init(seed), {"images": images}, generator(0))


def samples(learner, params, count=3):
    return learner.predict(params, Request("sample", count=count), generator(1))


@pytest.mark.parametrize(("kind", "pooling"), EVERY)
def test_the_order_of_a_set_says_nothing(kind, pooling):
    learner, images = made(kind, pooling=pooling), tiny_batch(SHAPE, count=7)["images"]
    orders = torch.arange(7), torch.tensor([3, 6, 0, 5, 1, 4, 2])
    here, turned = (finished(learner, images[order]) for order in orders)
    assert (here[CODE] - turned[CODE]).abs().max() < 1e-6
    assert (samples(learner, here) - samples(learner, turned)).abs().max() < 1e-5
    other = finished(learner, 1 - images)
    assert (here[CODE] - other[CODE]).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "pooling"), EVERY)
def test_any_number_of_shots_and_shots_that_are_alike(kind, pooling):
    learner, images = made(kind, pooling=pooling), tiny_batch(SHAPE, count=300)["images"]
    alike = images[:1].expand(4, -1, -1, -1)
    for shots in (images[:1], images[:2], images[:5], images, alike):
        found = samples(learner, finished(learner, shots))
        assert found.shape == (3, *SHAPE)
        assert bool(((found >= 0) & (found <= 1)).all())
    for shots in (images[:1], alike):
        batch = {"images": shots}
        value = learner.loss("net", learner.init(0), batch, learner.draw(batch, generator(0))).value
        assert torch.isfinite(value)


def test_codes_of_parts_are_those_of_the_whole(monkeypatch):
    learner, images = made("set-vae"), tiny_batch(SHAPE, count=7)["images"]
    whole = finished(learner, images)
    monkeypatch.setattr("limner.learners.sets._TOGETHER", 3)
    parts = finished(learner, images)
    assert all(torch.allclose(whole[name], value, atol=1e-6) for name, value in parts.items())


def test_pooling_by_attention_is_attention_over_all_places_of_the_set():
    encoder = SetEncoder(SHAPE, width=4, code=8, pooling="attention").double()
    seen = encoder.body(tiny_batch(SHAPE, count=5)["images"].double())
    context = torch.tensor([[0.0, 1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]]).double()
    for row in context:
        maps = seen[row > 0].unflatten(1, (encoder.channels, -1)).transpose(1, 2).flatten(0, 1)
        places = encoder.place.repeat(int(row.sum()), 1)
        keys, values = encoder.keys(maps) + places, encoder.values(maps) + places
        heads = []
        for head in range(encoder.heads):
            own = slice(2 * head, 2 * head + 2)
            scores = encoder.queries[:, own] @ keys[:, own].T / 2**0.5
            heads.append(scores.softmax(1) @ values[:, own])
        pooled = torch.cat(heads, 1) + encoder.amount(1 / row.sum().view(1, 1))
        expected = torch.nn.functional.silu(encoder.mix(pooled))
        assert torch.allclose(encoder.pool(encoder.found(seen), row[None])[0], expected, atol=1e-12)


def test_contexts_leave_an_image_out_and_have_every_size():
    random = generator(0)
    drawn = torch.stack([random_contexts(5, random) for _ in range(400)])
    assert not drawn.diagonal(dim1=1, dim2=2).any()
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    sizes = torch.bincount(drawn.sum(2).flatten().long(), minlength=6) / 2000
    assert sizes[0] == sizes[5] == 0
    assert (sizes[1:5] - 0.25).abs().max() < 0.04
    others = drawn.mean(0) + torch.eye(5) * 0.625  # a context of size k holds each other image with probability k/4
    assert (others - 0.625).abs().max() < 0.09
    assert random_contexts(1, random).tolist() == [[1.0]]


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_code_knows_its_context_alone(pooling):
    encoder = SetEncoder(SHAPE, width=4, code=8, pooling=pooling)
    images, context = tiny_batch(SHAPE, count=4)["images"].requires_grad_(), random_contexts(4, generator(2))
    codes = encoder.pool(encoder.found(encoder.body(images)), context)
    for row in range(4):
        (moved,) = torch.autograd.grad(codes[row].sum(), images, retain_graph=True)
        assert torch.equal(moved.flatten(1).abs().amax(1) > 0, context[row] > 0)


def test_a_set_vae_begins_as_a_vae_with_a_prior_for_the_class():
    learner, batch = made("set-vae"), tiny_batch(SHAPE, count=4)
    params, draws = learner.init(0), learner.draw(batch, generator(0))
    draws["context"] = 1 - torch.eye(4)
    mean, log_variance = learner._net(params, batch["images"], method="alone").chunk(2, 1)
    half = torch.full((3,), 0.5)
    expected = kl_to_normal(mean, log_variance, *class_predictive(mean.sum(0) - mean, 3, half, half))
    assert torch.allclose(learner.loss("net", params, batch, draws).terms["kl"], expected, atol=1e-5)
    params = finished(learner, batch["images"])
    centre, variance = class_predictive(mean.sum(0), 4, half, half)
    assert torch.allclose(params["fitted.mixture_means"][0], centre, atol=1e-5)
    assert torch.allclose(params["fitted.mixture_factors"][0], torch.diag(variance.sqrt()), atol=1e-5)


def test_the_decoder_begins_without_the_code_and_then_uses_it():
    decoder, latents = ModulatedDecoder(SHAPE, latents=2, known=3, width=4), torch.ones(1, 2)
    assert torch.equal(decoder(latents, torch.zeros(1, 3)), decoder(latents, torch.ones(1, 3)))
    known = torch.ones(1, 3)
    found = torch.autograd.grad(decoder(latents, known).square().sum(), decoder.tail.weight)[0]
    assert found[:, 2:].abs().max() > 0


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_shapes(kind, shape):
    learner = made(kind, shape, width=2)
    assert samples(learner, finished(learner, tiny_batch(shape, count=2)["images"]), 1).shape == (1, *shape)


@pytest.mark.parametrize("kind", SMALL)
def test_mistakes_are_told(kind):
    learner = made(kind)
    with pytest.raises(LimnerError, match=f"a {kind} makes images like those it is shown, and it was shown none yet"):
        samples(learner, learner.init(0))
    with pytest.raises(LimnerError, match=f"a {kind} has no pooling 'most'; it has: mean, attention"):
        made(kind, pooling="most")
    with pytest.raises(LimnerError, match=f"a {kind} cannot answer 'logits'"):
        learner.predict(finished(learner, torch.zeros(2, *SHAPE)), Request("logits"), generator(0))


def test_mistakes_of_a_set_vae_are_told():
    with pytest.raises(LimnerError, match="temperature cannot be 0"):
        made("set-vae", temperature=0.0)
    with pytest.raises(LimnerError, match="has no likelihood 'ink'"):
        made("set-vae", likelihood="ink")
    learner = made("set-vae")
    with pytest.raises(LimnerError, match="latents have 3 numbers"):
        learner.decode(finished(learner, torch.zeros(2, *SHAPE)), torch.zeros(1, 4))


def squares(classes=4, each=8):
    """A class is a place of a bright square of 6×6 in the grid of 2×2; images of a class differ in brightness."""
    random = generator(0, "squares")
    images = torch.zeros(classes * each, *SHAPE)
    for index in range(len(images)):
        down, right = divmod(index // each, 2)
        light = 0.6 + 0.4 * torch.rand((), generator=random)
        images[index, 0, 8 * down : 8 * down + 6, 8 * right : 8 * right + 6] = light
    labels = torch.arange(classes).repeat_interleave(each)
    return ImageSet(images.mul(255).to(torch.uint8), "squares", labels, tuple(map(str, range(classes))))


def plan(steps):
    return MetaPlan(algorithm="fomaml", tasks=2, inner_steps=0, steps=steps, rate=5e-3, execution="loop", device="cpu")


def test_a_set_vae_learns_to_make_what_it_is_shown():
    family, learner = Family(squares(), shots=2, queries=6, seed=1, fractions=(1.0, 0.0, 0.0)), made("set-vae", width=8)
    start = learn(learner, family, plan(120)).params

    def shown(seed):
        tasks = [family.task("train", index, seed=seed) for index in range(4)]
        return tasks, [fit(learner, task, Strategy(steps=0), start=start) for task in tasks]

    tasks, runs = shown(seed=0)
    drawn = torch.stack([run.sample(16).float().mean((0, 1)).flatten() for run in runs])
    wanted = torch.stack([task.query.images.float().mean((0, 1)).flatten() for task in tasks])
    assert torch.cdist(drawn, wanted).argmin(1).tolist() == [0, 1, 2, 3]
    kept, again = (
        torch.stack([torch.cat([run.params[CODE].flatten(), run.params["fitted.mixture_means"][0]]) for run in found])
        for found in (runs, shown(seed=1)[1])
    )
    assert (kept - again).norm(dim=1).max() < torch.pdist(kept).min()  # other shots of a class, other classes


def test_a_set_flow_learns():
    family, learner = Family(squares(), shots=2, queries=6, seed=1, fractions=(1.0, 0.0, 0.0)), made("set-flow")
    batch = {"images": family.task("train", 0, seed=9).query.floats()}
    draws, fresh = learner.draw(batch, generator(0)), learner.init(0)
    before, after = (
        float(learner.loss("net", params, batch, draws).value)
        for params in (fresh, learn(learner, family, plan(40), start=fresh).params)
    )
    assert after < 0.7 * before


@pytest.mark.parametrize("kind", SMALL)
def test_steps_on_the_shots_refine_it(kind, tmp_path):
    learner, start = made(kind), made(kind).init(3)
    images = ImageSet(tiny_batch(SHAPE, count=4)["images"].mul(255).to(torch.uint8), "few")
    task = Task("generate", "few", images, None)
    run = fit(learner, task, Strategy(steps=2, batch=2), start=start)
    assert (run.state, run.cost.steps) == ("finished", 2)
    assert any(not torch.equal(run.params[name], value) for name, value in start.items())
    loaded = Run.load(run.save(tmp_path / "run"))
    assert torch.equal(loaded.params[CODE], run.params[CODE])
    assert torch.equal(loaded.sample(2), run.sample(2))


@pytest.mark.parametrize("kind", SMALL)
def test_it_is_meta_trained_without_inner_steps(kind, tmp_path, monkeypatch, capsys):
    assert recipe("fomaml", kind)["inner_steps"] == recipe("maml", kind)["inner_steps"] == 0
    assert recipe("reptile", kind).get("inner_steps", 5) > 0
    monkeypatch.chdir(tmp_path)
    options = [part for name, value in SMALL[kind].items() for part in ("--option", f"{name}={value}")]
    asked = ["meta-train", "fomaml", kind, "--family", "glyphs,size=16,characters=20,per_class=8", *options]
    few = ["--shots", "2", "--queries", "3", "--set", "validate_tasks=1", "--set", "tasks=1"]
    assert main([*asked, *few, "--budget", "1steps", "--out", "start.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["inner_steps"] == 0
