"""The step and the optimisers: against torch.optim, against hand-made updates, and their invariants."""

import sys

import pytest
import torch

from limner.config import Strategy
from limner.degradations import parse
from limner.engine import fit
from limner.engine.optimisers import create, named
from limner.engine.step import gradients, has_bfloat16, init_states, owned, step
from limner.errors import LimnerError
from limner.learners import create as create_learner
from limner.tasks import Damaged, ImageSet, Task
from limner.testing import tiny_batch
from limner.types import Loss


class Quadratic:
    """Two players, each with one number: a lowers (a − b)², b lowers (b − 3)²."""

    kind, players, image_shape, options = "quadratic", ("a", "b"), (1, 16, 16), {}

    def init(self, seed):
        return {"a.x": torch.tensor(0.0), "b.x": torch.tensor(1.0)}

    def draw(self, batch, generator):
        return {}

    def loss(self, player, params, batch, draws):
        gap = params["a.x"] - params["b.x"] if player == "a" else params["b.x"] - 3
        return Loss(gap**2, {"gap": gap})


@pytest.mark.parametrize(
    ("name", "betas", "make"),
    [
        ("sgd", (0.9, 0.999), lambda values: torch.optim.SGD(values, 0.05)),
        ("momentum", (0.8, 0.999), lambda values: torch.optim.SGD(values, 0.05, momentum=0.8)),
        ("adam", (0.9, 0.99), lambda values: torch.optim.Adam(values, 0.05, betas=(0.9, 0.99))),
        ("adam", (0.0, 0.9), lambda values: torch.optim.Adam(values, 0.05, betas=(0.0, 0.9))),
    ],
)
def test_optimisers_equal_those_of_torch(name, betas, make):
    target = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    theirs = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    reference = make([theirs])
    ours, optimiser = {"net.w": torch.zeros(2, 3, dtype=torch.float64)}, named(name, betas)
    state = optimiser.init(ours)
    for _ in range(20):
        reference.zero_grad()
        ((theirs - target) ** 4).sum().backward()
        reference.step()
        gradient = {"net.w": 4 * (ours["net.w"] - target) ** 3}
        ours, state = optimiser.update(ours, gradient, state, 0.05, None)
    assert torch.allclose(ours["net.w"], theirs.detach(), rtol=1e-7, atol=1e-12)


def test_players_move_in_turn_and_see_each_other():
    learner, optimiser = Quadratic(), named("sgd")
    params = learner.init(0)
    result = step(learner, optimiser, params, init_states(learner, optimiser, params), {}, {}, 0.25)
    assert float(result.params["a.x"]) == pytest.approx(0.5)  # 0 − 0.25·2·(0 − 1)
    assert float(result.params["b.x"]) == pytest.approx(2.0)  # 1 − 0.25·2·(1 − 3)
    assert float(params["a.x"]) == 0.0
    assert float(result.losses["b"].value) == 4.0


def test_player_rates_clip_and_anchor():
    learner, optimiser = Quadratic(), named("sgd")
    params = learner.init(0)
    states = init_states(learner, optimiser, params)
    slow = step(learner, optimiser, params, states, {}, {}, 0.25, player_rates={"b": 0.5})
    assert float(slow.params["b.x"]) == pytest.approx(1.5)
    clipped = step(learner, optimiser, params, states, {}, {}, 1.0, clip=0.1)
    assert float(clipped.params["a.x"]) == pytest.approx(0.1)
    moved = {"a.x": torch.tensor(5.0), "b.x": torch.tensor(1.0)}
    anchored = step(learner, optimiser, moved, states, {}, {}, 0.1, anchor=0.5, start=params)
    assert float(anchored.params["a.x"]) == pytest.approx(5 - 0.1 * (8 + 5))  # (a − b)² and 0.5·(a − 0)²


def test_frozen_parameters_stay():
    learner = create_learner("vae", (1, 16, 16), latents=2, width=4)
    params, batch = learner.init(0), tiny_batch((1, 16, 16))
    optimiser = create(Strategy())
    frozen = ("net.encoder.",)
    states = init_states(learner, optimiser, params, frozen)
    draws = learner.draw(batch, torch.Generator().manual_seed(0))
    result = step(learner, optimiser, params, states, batch, draws, 0.1, frozen=frozen)
    for name, value in params.items():
        assert torch.equal(value, result.params[name]) == (name.startswith("net.encoder.") or value.ndim == 0), name


def test_learned_rates_scale_each_parameter():
    optimiser = named("sgd")
    params = {"net.a": torch.ones(2), "net.b": torch.ones(2)}
    gradient = {name: torch.ones(2) for name in params}
    rates = {"net.a": torch.tensor([0.0, 1.0]), "net.b": torch.tensor([2.0, 3.0])}
    moved = optimiser.update(params, gradient, optimiser.init(params), 0.1, rates).params
    assert torch.allclose(moved["net.a"], torch.tensor([1.0, 0.9]))
    assert torch.allclose(moved["net.b"], torch.tensor([0.8, 0.7]))


def test_gradient_of_one_player_only():
    learner = create_learner("gan", (1, 16, 16), latents=2, width=4)
    params, batch = learner.init(0), tiny_batch((1, 16, 16))
    draws = learner.draw(batch, torch.Generator().manual_seed(0))
    for player in learner.players:
        found, loss = gradients(learner, player, params, batch, draws)
        assert set(found) == set(owned(params, player))
        assert not loss.value.requires_grad


def test_unknown_optimiser_is_told():
    with pytest.raises(LimnerError, match="sgd, momentum, adam"):
        named("lion")


@pytest.mark.parametrize("functional", [False, True])
def test_a_player_that_is_wholly_frozen_only_watches(functional):
    learner = create_learner("gan", (1, 16, 16), latents=2, width=4)
    params, batch, optimiser, frozen = learner.init(0), tiny_batch((1, 16, 16)), named("adam"), ("critic.",)
    draws = learner.draw(batch, torch.Generator().manual_seed(0))
    states = init_states(learner, optimiser, params, frozen)
    result = step(learner, optimiser, params, states, batch, draws, 0.1, frozen=frozen, clip=1.0, functional=functional)
    assert all(torch.equal(value, result.params[name]) for name, value in owned(params, "critic").items())
    assert any(not torch.equal(value, result.params[name]) for name, value in owned(params, "generator").items())
    assert float(result.norms["critic"]) == 0


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_quick_update_is_the_plain_one_and_changes_nothing_in_place(name, kind):
    random = torch.Generator().manual_seed(0)
    optimiser = named(name, (0.8, 0.95))
    params = {"net.a": torch.randn(3, 4, 2, 2, generator=random, dtype=kind), "net.b": torch.randn((), dtype=kind),
              "net.c": torch.randn(5, 3, generator=random, dtype=kind).T}  # fmt: skip
    plain, quick = (params, optimiser.init(params)), (params, optimiser.init(params))
    for turn in range(8):
        gradients = {n: torch.randn(v.shape, generator=random, dtype=kind) for n, v in params.items()}
        gradients["net.a"] = torch.tensor(0.1 * turn, dtype=kind).expand(3, 4, 2, 2)  # as of a sum: of no stride
        gradients["net.c"] = gradients["net.c"].T.contiguous().T
        before = [value.clone() for value in (*quick[0].values(), *quick[1].mean.values(), *quick[1].square.values())]
        held = (*quick[0].values(), *quick[1].mean.values(), *quick[1].square.values())
        plain = optimiser.update(plain[0], gradients, plain[1], 0.01, None)
        quick = optimiser.quick(quick[0], gradients, quick[1], 0.01, None)
        assert all(torch.equal(was, now) for was, now in zip(before, held, strict=True))
    for one, other in ((plain.params, quick.params), (plain.state.mean, quick.state.mean)):
        for key in one:
            assert torch.allclose(one[key], other[key], rtol=1e-5 if kind == torch.float32 else 1e-12, atol=1e-6), key
    assert plain.state.updates == quick.state.updates == 8


def test_a_step_that_is_not_differentiated_takes_the_quick_way_to_the_same_place():
    learner = create_learner("gan", (1, 16, 16), latents=2, width=4)
    batch, optimiser = {"images": tiny_batch((1, 16, 16))["images"].double()}, named("adam", (0.5, 0.9))
    ends = []
    for functional in (False, True):
        params = {name: value.double() for name, value in learner.init(0).items()}
        states = init_states(learner, optimiser, params)
        for seed in range(3):
            draws = learner.draw(batch, torch.Generator().manual_seed(seed))
            draws = {name: value.double() for name, value in draws.items()}
            found = step(learner, optimiser, params, states, batch, draws, 1e-3, clip=0.5, functional=functional)
            params, states = found.params, found.states
        ends.append(found)
    for name, value in ends[0].params.items():
        assert torch.allclose(value, ends[1].params[name], rtol=1e-7, atol=1e-8), name


@pytest.mark.parametrize("kind", ["vae", "gan", "flow", "restorer"])
def test_networks_can_compute_in_bfloat16_while_parameters_and_losses_stay_exact(kind):
    clean = ImageSet(torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8), "random")
    restores = kind == "restorer"
    images = Damaged(clean, parse("gaussian(25)")) if restores else clean
    task = Task("restore" if restores else "generate", "few", images, None)
    learner = create_learner(kind, (1, 16, 16), width=4)
    exact, fast = (
        fit(learner, task, Strategy(steps=2, batch=0, precision=word, guard=("none",)), seed=0)
        for word in ("float32", "bfloat16")
    )
    assert fast.state == "finished"
    assert all(value.dtype == torch.float32 and bool(value.isfinite().all()) for value in fast.params.values())
    assert any(not torch.equal(exact.params[name], fast.params[name]) for name in exact.params)
    for name, value in exact.curve[0].values.items():
        if name.endswith(" loss"):
            assert fast.curve[0].values[name] == pytest.approx(value, rel=0.05, abs=0.02)


@pytest.mark.parametrize("has", [True, False])
def test_auto_precision_is_bfloat16_where_the_machine_has_it_and_the_run_says_which(monkeypatch, has):
    monkeypatch.setattr(sys.modules["limner.engine.step"], "has_bfloat16", lambda device: has)
    task = Task("generate", "few", ImageSet(torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8), "random"), None)
    learner = create_learner("vae", (1, 16, 16), width=4)
    runs = {
        word: fit(learner, task, Strategy(steps=1, batch=0, precision=word), seed=0)
        for word in ("auto", "float32", "bfloat16")
    }
    like, unlike = ("bfloat16", "float32") if has else ("float32", "bfloat16")
    same = {word: [torch.equal(runs["auto"].params[name], value) for name, value in runs[word].params.items()]
            for word in (like, unlike)}  # fmt: skip
    assert all(same[like])
    assert not all(same[unlike])
    assert [note.startswith(f"networks computed in {like}") for note in runs["auto"].notes] == [True]
    assert runs["float32"].notes == []
    assert ["only imitates bfloat16" in note for note in runs["bfloat16"].notes] == ([] if has else [True])


def test_a_machine_that_does_not_tell_what_it_has_counts_as_one_without_bfloat16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16.__wrapped__("cpu")
    assert not has_bfloat16.__wrapped__("mps")
