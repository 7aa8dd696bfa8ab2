"""Meta-learning: the algorithms against their definitions, and the outer loop."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from limner.engine import Listener
from limner.engine.step import gradients
from limner.errors import LimnerError
from limner.learners import create
from limner.meta import Episode, MetaPlan, adapt, learn, meta_gradient
from limner.tasks import Family, ImageSet
from limner.testing import tiny_batch
from limner.types import Loss

SHAPE = (1, 16, 16)


def episode(learner, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    batch = {name: value.double() for name, value in tiny_batch(SHAPE).items()}
    draws = [learner.draw(batch, random) for _ in range(steps)]
    inner = {"images": torch.stack([batch["images"]] * steps)} if steps else {}
    stacked = {name: torch.stack([draw[name] for draw in draws]).double() for name in draws[0]} if draws else {}
    query = {"images": batch["images"].flip(0)}
    return Episode(inner, stacked, query, {name: value.double() for name, value in learner.draw(query, random).items()})


def doubles(params):
    return {name: value.double() for name, value in params.items()}


@pytest.mark.parametrize("kind", ["vae", "gan"])
@pytest.mark.parametrize("algorithm", ["maml", "fomaml"])
def test_without_inner_steps_it_is_plain_training_on_the_query(kind, algorithm):
    learner = create(kind, SHAPE, latents=2, width=4)
    params, task = doubles(learner.init(0)), episode(learner, 0)
    found = meta_gradient(learner, MetaPlan(algorithm=algorithm, inner_steps=0), params, task)
    for player in learner.players:
        expected, loss = gradients(learner, player, params, task.query, task.query_draws)
        assert torch.allclose(found.losses[player], loss.value)
        for name, value in expected.items():
            assert torch.allclose(found.gradient[name], value, rtol=1e-9, atol=1e-12), name


def test_reptile_with_one_step_is_joint_gradient_descent():
    learner = create("vae", SHAPE, latents=2, width=4)
    params, task = doubles(learner.init(0)), episode(learner, 1)
    plan = MetaPlan(algorithm="reptile", inner_steps=1, inner_rate=0.01, inner_optimiser="sgd")
    found = meta_gradient(learner, plan, params, task).gradient
    first = {name: value[0] for name, value in task.inner.items()}
    expected, _ = gradients(learner, "net", params, first, {name: value[0] for name, value in task.inner_draws.items()})
    for name, value in expected.items():
        assert torch.allclose(found[name] / 0.01, value, rtol=1e-6, atol=1e-9), name


class Line:
    """Loss w·mean(x): its gradient does not depend on w, so first and second order are the same."""

    kind, players, image_shape, options = "line", ("net",), SHAPE, {}

    def init(self, seed):
        return {"net.w": torch.tensor(0.5, dtype=torch.float64)}

    def draw(self, batch, generator):
        return {}

    def loss(self, player, params, batch, draws):
        return Loss(params["net.w"] * batch["images"].mean(), {})


class Parabola(Line):
    """Loss ½(w − mean(x))²: after k steps of rate r, w' − m = (1 − r)ᵏ(w − m), so the meta-gradient is known."""

    def loss(self, player, params, batch, draws):
        return Loss(0.5 * (params["net.w"] - batch["images"].mean()) ** 2, {})


def test_first_order_equals_second_order_where_gradients_are_constant():
    task = episode(Line(), 3)
    found = [
        meta_gradient(Line(), MetaPlan(algorithm=name, inner_steps=3, inner_optimiser="sgd"), Line().init(0), task)
        for name in ("maml", "fomaml")
    ]
    assert torch.equal(found[0].gradient["net.w"], found[1].gradient["net.w"])


@pytest.mark.parametrize("functional", [False, True])
def test_known_answers_on_a_parabola(functional):
    learner, task, steps, rate = Parabola(), episode(Parabola(), 4), 4, 0.3
    support, query = task.inner["images"][0].mean(), task.query["images"].mean()
    start = learner.init(0)
    after = support + (1 - rate) ** steps * (start["net.w"] - support)
    expected = {
        "maml": (1 - rate) ** steps * (after - query),
        "fomaml": after - query,
        "reptile": start["net.w"] - after,
    }
    for name, value in expected.items():
        plan = MetaPlan(algorithm=name, inner_steps=steps, inner_rate=rate, inner_optimiser="sgd")
        found = meta_gradient(learner, plan, start, task, functional=functional).gradient["net.w"]
        assert torch.allclose(found, value, rtol=1e-12), name


def test_adapting_changes_nothing_it_was_given():
    learner = create("gan", SHAPE, latents=2, width=4)
    params = doubles(learner.init(0))
    before = {name: value.clone() for name, value in params.items()}
    adapted = adapt(learner, MetaPlan(inner_steps=2), params, episode(learner, 2))
    assert all(torch.equal(before[name], params[name]) for name in before)
    assert any(not torch.equal(before[name], adapted[name]) for name in before)


def family(classes=10):
    """Classes of one grey each, with a little noise."""
    random = torch.Generator().manual_seed(0)
    greys = torch.linspace(20, 230, classes).repeat_interleave(8)[:, None, None, None]
    images = (greys + 5 * torch.randn(8 * classes, *SHAPE, generator=random)).clamp(0, 255).to(torch.uint8)
    names = tuple(f"grey {index}" for index in range(classes))
    return Family(ImageSet(images, "greys", torch.arange(classes).repeat_interleave(8), names), shots=4, queries=4)


VAE = create("vae", SHAPE, latents=2, width=4)
PLAN = MetaPlan(algorithm="fomaml", steps=60, tasks=2, inner_steps=2, validate_every=30, validate_tasks=2, rate=5e-3)


@pytest.mark.parametrize("algorithm", ["reptile", "fomaml", "maml"])
def test_a_learned_start_adapts_better_than_a_fresh_one(algorithm):
    plan = replace(PLAN, algorithm=algorithm, turns=True, augmentation=("shift",), inner_batch=3)
    start = learn(VAE, family(), plan, seed=1)
    fresh = learn(VAE, family(), replace(plan, steps=1, rate=1e-12), seed=1)
    name = "net query loss after"
    assert [point.step for point in start.curve] == [30, 60]
    assert start.curve[-1].values[name] < fresh.curve[-1].values[name] - 2
    assert start.cost.steps == 60
    assert start.family["shots"] == 4


def test_same_seed_same_start_and_vmap_agrees():
    plan = replace(
        PLAN,
        steps=3,
        validate_every=0,
        execution="loop",
        inner_optimiser="sgd",
        optimiser="sgd",
        inner_rate=1e-4,
        rate=1e-4,
    )
    first, second = (learn(VAE, family(), plan, seed=2) for _ in range(2))
    together = learn(VAE, family(), replace(plan, execution="vmap"), seed=2)
    for name, value in first.params.items():
        assert torch.equal(value, second.params[name])
        assert torch.allclose(value, together.params[name], rtol=1e-4, atol=1e-6), name


def test_begins_from_given_parameters_and_honours_seconds():
    given = VAE.init(9)
    start = learn(VAE, family(), replace(PLAN, steps=10**6, seconds=0.4, rate=1e-12), start=given)
    assert 0.4 <= start.cost.seconds < 10
    assert all(torch.allclose(value, given[name], atol=1e-6) for name, value in start.params.items())


def test_ctrl_c_keeps_what_was_learned():
    class Press(Listener):
        def on_step(self, step, values):
            if step == 5:
                os.kill(os.getpid(), signal.SIGINT)

    start = learn(VAE, family(), PLAN, listeners=[Press()])
    assert start.cost.steps == 5
    assert "stopped by hand after 5 outer steps" in start.notes[-1]


def test_no_finite_gradient_is_told():
    spoilt = {name: torch.full_like(value, float("nan")) for name, value in VAE.init(0).items()}
    with pytest.raises(LimnerError, match="no finite gradient"):
        learn(VAE, family(), PLAN, start=spoilt)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"algorithm": "magic"}, "reptile, fomaml, maml"),
        ({"execution": "pmap"}, "auto, loop, threads, vmap"),
        ({"recompute": True, "execution": "vmap"}, "loop or threads"),
        ({"multi_step_until": 2.0}, "share from 0 to 1"),
        ({"tasks": 0}, "tasks 0 cannot"),
        ({"inner_rate": 0.0}, "inner_rate"),
    ],
)
def test_a_plan_that_cannot_be_used_is_told(changes, told):
    with pytest.raises(LimnerError, match=told):
        MetaPlan(**changes)
    with pytest.raises(LimnerError, match="no field 'speed'"):
        MetaPlan.from_json({"speed": 3})


def test_a_plan_survives_json():
    plan = MetaPlan(algorithm="maml", inner_betas=(0.5, 0.9), augmentation=("flip",), player_rates={"critic": 2.0})
    assert MetaPlan.from_json(plan.to_json()) == plan


def test_a_stopped_meta_training_resumes_exactly(tmp_path):
    class Press(Listener):
        def on_step(self, step, values):
            if step == 7:
                os.kill(os.getpid(), signal.SIGINT)

    plan = replace(PLAN, algorithm="maml++", steps=14, validate_every=4, execution="loop", keep="last")
    whole = learn(VAE, family(), plan, seed=5)
    stopped = learn(VAE, family(), plan, seed=5, directory=tmp_path, listeners=[Press()])
    assert (stopped.state, stopped.cost.steps) == ("stopped", 7)
    with pytest.raises(LimnerError, match="go on with resume"):
        learn(VAE, family(), plan, seed=5, directory=tmp_path)
    with pytest.raises(LimnerError, match="its seed and start differ"):
        learn(VAE, family(), plan, seed=6, directory=tmp_path, resume=True)
    resumed = learn(VAE, family(), plan, seed=5, directory=tmp_path, resume=True)
    assert resumed.state == "finished"
    assert not list(tmp_path.iterdir())
    for name, value in whole.params.items():
        assert torch.equal(value, resumed.params[name]), name
    for name, value in whole.rates.items():
        assert torch.equal(value, resumed.rates[name]), name
    assert [point.step for point in resumed.curve] == [point.step for point in whole.curve] == [4, 8, 12, 14]
    assert resumed.curve[-1].values == whole.curve[-1].values


def test_the_best_start_on_held_out_classes_is_kept():
    """A rate that is far too large spoils what was learned; what is kept is from before."""
    plan = replace(PLAN, algorithm="fomaml", steps=40, validate_every=5, rate=5e-2, execution="loop")
    start = learn(VAE, family(), plan, seed=1)
    scores = {point.step: point.values["net query loss after"] for point in start.curve}
    best = min(scores, key=scores.get)
    assert start.trajectory.summary()["net query loss after"] == pytest.approx(scores[best])
    if best != 40:
        assert any(f"the start kept is that of step {best}" in note for note in start.notes)
    last = learn(VAE, family(), replace(plan, keep="last"), seed=1)
    assert last.trajectory.summary()["net query loss after"] == pytest.approx(scores[40])


def test_steps_without_a_finite_gradient_are_left_out_and_counted():
    class Spoilt(type(VAE)):
        """Not a number in the losses of some calls."""

        calls = 0

        def loss(self, player, params, batch, draws):
            self.calls += 1
            found = super().loss(player, params, batch, draws)
            return found._replace(value=found.value * float("nan")) if self.calls in (13, 200) else found

    learner = Spoilt(SHAPE, latents=2, width=4)
    plan = replace(PLAN, algorithm="fomaml", steps=8, validate_every=0, execution="loop")
    start = learn(learner, family(), plan, seed=1)
    assert any(note.startswith("1 outer steps gave no finite") for note in start.notes)
    assert all(torch.isfinite(value).all() for value in start.params.values())

    class LaterSpoilt(Spoilt):
        def loss(self, player, params, batch, draws):
            self.calls += 1
            found = super(Spoilt, self).loss(player, params, batch, draws)
            return found._replace(value=found.value * float("nan")) if self.calls > 20 else found

    failed = learn(LaterSpoilt(SHAPE, latents=2, width=4), family(), replace(plan, steps=50, validate_tasks=1), seed=1)
    assert failed.state == "failed"
    assert all(torch.isfinite(value).all() for value in failed.params.values())
    assert any("11 in a row" in note for note in failed.notes)


def test_n_way_and_sinusoid_families_are_learned():
    from limner.tasks import NWayFamily, SinusoidFamily

    n_way = NWayFamily(family(30).images, ways=3, shots=2, queries=3, turns=True)
    learner = create("prototypical", SHAPE, classes=3, width=4)
    plan = MetaPlan(algorithm="prototypical", steps=30, tasks=2, rate=1e-2, execution="loop", validate_tasks=20)
    start = learn(learner, n_way, plan)
    assert start.trajectory.summary()["net accuracy after"] > 0.6
    assert n_way.size("test") > 0
    wave = SinusoidFamily(shots=5, queries=5)
    plan = MetaPlan(
        algorithm="maml",
        steps=300,
        tasks=10,
        inner_steps=1,
        inner_rate=0.01,
        inner_optimiser="sgd",
        rate=5e-3,
        execution="vmap",
    )
    regressor = create("regressor", (1, 1, 1))
    learned = learn(regressor, wave, plan).trajectory.summary()["net query loss after"]
    assert learned < learn(regressor, wave, replace(plan, steps=1)).trajectory.summary()["net query loss after"]


def test_learners_and_algorithms_that_do_not_go_together_are_told():
    with pytest.raises(LimnerError, match="only they"):
        learn(VAE, family(), MetaPlan(algorithm="prototypical"))
    with pytest.raises(LimnerError, match="only they"):
        learn(create("prototypical", SHAPE), family(), MetaPlan(algorithm="maml"))
    with pytest.raises(LimnerError, match="does not fit"):
        learn(VAE, family(), PLAN, start=create("vae", SHAPE, latents=3, width=4).init(0))
