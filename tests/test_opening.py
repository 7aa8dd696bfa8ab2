"""Adapting as a start was meta-learned for: learned step sizes first, prototypes in closed form, what is refused."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

import limner
from limner.cli.main import main
from limner.engine import Listener
from limner.errors import LimnerError
from limner.learners import create, describe
from limner.memory import Memory
from limner.meta import MetaPlan, adapt
from limner.meta.episodes import episode_of
from limner.meta.inner import with_rates
from limner.model_file import RATES
from limner.seeds import generator
from limner.tasks import ImageSet, split
from limner.types import FITTED, Request
from limner.verbs.line import listeners, prepare

PACK = "npz:pack.npz,images=x,labels=y"
SHAPE = (1, 16, 16)
OPTIONS = {
    "classifier": {"classes": 3, "width": 4},
    "gan": {"latents": 2, "width": 4},
    "vae": {"latents": 2, "width": 4},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    kinds = random.integers(0, 256, (7, 16, 16))
    labels = np.arange(70) // 10
    pictures = np.clip(kinds[labels] + random.normal(0, 30, (70, 16, 16)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "pack.npz", x=pictures, y=labels)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMNER_MEMORY", str(tmp_path / "memory"))
    return tmp_path


def kept(name: str, kind: str, plan: MetaPlan, options: dict | None = None, spread: float = 0.5):
    """A start in the memory, whose step sizes are as various as learned ones; its learner and all its parameters."""
    learner = create(kind, SHAPE, **(OPTIONS[kind] if options is None else options))
    start = with_rates(learner, plan, learner.init(1))
    random = torch.Generator().manual_seed(5)
    start = {
        key: value * (1 + spread * torch.randn(value.shape, generator=random)) if key.startswith(RATES) else value
        for key, value in start.items()
    }
    rates = {key.removeprefix(RATES): value for key, value in start.items() if key.startswith(RATES)}
    params = {key: value for key, value in start.items() if not key.startswith(RATES)}
    with Memory.open() as memory:
        memory.put_model(params, describe(learner), role="start", name=name, rates=rates or None, plan=plan.to_json())
    return learner, start


def meta_adapted(learner, plan, start, goal, spec, shots, seed=0):
    task = prepare(spec, shots, seed, goal).task
    return adapt(learner, plan, start, episode_of(learner, plan, task, generator(seed, "opening")))


PLANS = [
    ("classifier", MetaPlan(algorithm="meta-sgd", inner_steps=3, inner_rate=0.05, inner_optimiser="sgd")),
    ("vae", MetaPlan(algorithm="maml++", inner_steps=3, inner_rate=0.01, inner_optimiser="adam", inner_batch=4)),
    ("gan", MetaPlan(algorithm="meta-sgd", inner_steps=2, inner_rate=0.01, player_rates={"critic": 0.5})),
    ("classifier", MetaPlan(algorithm="maml++", adapts="head", inner_steps=2, inner_rate=0.1, inner_optimiser="sgd")),
]


@pytest.mark.parametrize(("kind", "plan"), PLANS, ids=lambda value: getattr(value, "algorithm", value))
def test_as_many_steps_as_were_meta_learned_for_give_what_meta_adapt_gives(here, monkeypatch, kind, plan):
    monkeypatch.setattr("limner.verbs.line.report", lambda *_: None)
    monkeypatch.setattr("limner.verbs.line.judged_and_minded", lambda *_: [])
    monkeypatch.setattr("limner.verbs.line.judge_of", lambda *_: None)
    learner, start = kept("mine", kind, plan)
    goal = "classify" if kind == "classifier" else "generate"
    spec = f"{PACK},classes=1-3" if goal == "classify" else f"{PACK},classes=2"
    run = limner.adapt(spec, goal=goal, shots=6, start="mine", budget=f"{plan.inner_steps}steps", seed=2)
    right = meta_adapted(learner, plan, start, goal, spec, 6, seed=2)
    for name, value in run.params.items():
        if not name.startswith(FITTED):
            assert torch.equal(value, right[name]), name
    assert not any(name.startswith(RATES) for name in run.params)
    assert run.cost.steps == plan.inner_steps
    assert any("with the step sizes it learned; no others were asked for" in note for note in run.notes)


def test_fewer_steps_are_the_first_of_them_and_further_ones_go_on_from_there(here):
    plan = MetaPlan(algorithm="maml++", inner_steps=3, inner_rate=0.05, inner_optimiser="sgd")
    learner, start = kept("mine", "classifier", plan)
    spec = f"{PACK},classes=1-3"
    one = MetaPlan.from_json(plan.to_json() | {"inner_steps": 1})
    run = limner.adapt(spec, goal="classify", shots=6, start="mine", budget="1steps")
    right = meta_adapted(learner, one, start, "classify", spec, 6)
    assert all(torch.equal(value, right[name]) for name, value in run.params.items())
    assert any(note.startswith("the first step was") for note in run.notes)

    further = limner.adapt(spec, goal="classify", shots=6, start="mine", budget="4steps")
    begun = {
        name: value
        for name, value in meta_adapted(learner, plan, start, "classify", spec, 6).items()
        if not name.startswith(RATES)
    }
    batch = {"images": prepare(spec, 6, 0, "classify").task.support.floats()}
    batch["labels"] = prepare(spec, 6, 0, "classify").task.support.labels
    leaves = {name: value.requires_grad_() for name, value in begun.items()}
    loss = learner.loss("net", leaves, batch, {}).value
    gradient = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    for name, value in further.params.items():  # one ordinary step of gradient descent, with no factor on its size
        assert torch.allclose(value, begun[name] - 0.05 * gradient[name], rtol=1e-4, atol=1e-6), name
    assert further.cost.steps == 4


def test_an_ordinary_training_and_one_that_freezes_leave_the_step_sizes_out(here):
    plan = MetaPlan(algorithm="meta-sgd", inner_steps=1, inner_rate=0.05, inner_optimiser="sgd")
    _, start = kept("mine", "classifier", plan)
    spec = f"{PACK},classes=1-3"
    trained = limner.train("classifier", spec, shots=6, start="mine", budget="1steps")
    assert any("from the start's parameters alone" in note for note in trained.notes)
    some = limner.adapt(
        spec, goal="classify", shots=6, start="mine", budget="1steps", fields={"frozen": ["net.encoder"]}
    )
    assert any("were left out: they are for all layers" in note for note in some.notes)
    for name, value in some.params.items():
        assert torch.equal(value, start[name]) == name.startswith("net.encoder"), name


def test_step_sizes_that_lead_nowhere_are_told(here, capsys):
    plan = MetaPlan(algorithm="meta-sgd", inner_steps=3, inner_rate=1e4, inner_optimiser="sgd")
    kept("wild", "classifier", plan, spread=1e30)
    words = ["adapt", "classify", f"{PACK},classes=1-3", "--shots", "6", "--start", "wild", "--budget", "5steps"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "lead to numbers that are not finite" in told
    assert "limner train --start" in told


class Press(Listener):
    """Ctrl-C at the second step heard of."""

    heard = 0

    def on_step(self, step, values):
        self.heard += 1
        if self.heard == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_stopped_after_the_first_steps_it_goes_on_as_if_it_never_was(here, monkeypatch):
    plan = MetaPlan(algorithm="meta-sgd", inner_steps=2, inner_rate=0.05, inner_optimiser="sgd")
    kept("mine", "classifier", plan)
    asked = {"goal": "classify", "shots": 6, "start": "mine", "budget": "8steps"}
    whole = limner.adapt(f"{PACK},classes=1-3", **asked)
    monkeypatch.setattr("limner.verbs.line.listeners", lambda *_: (Press(),))
    part = limner.adapt(f"{PACK},classes=1-3", out="part", **asked)
    assert (part.state, part.cost.steps) == ("stopped", 4)
    monkeypatch.setattr("limner.verbs.line.listeners", listeners)
    again = limner.resume("part")
    assert (again.state, again.cost.steps) == ("finished", 8)
    assert all(torch.equal(value, whole.params[name]) for name, value in again.params.items())


def test_a_start_is_adapted_by_its_own_inner_loop_not_by_that_of_another(here):
    for name, rate in (("one", 0.03), ("two", 0.07)):
        kept(name, "classifier", MetaPlan(algorithm="maml", inner_rate=rate, inner_optimiser="sgd"), spread=rate)
    with Memory.open() as memory:
        first, second = memory.get_model("one"), memory.get_model("two")
    assert first.params.keys() == second.params.keys()
    for name, rate in (("one", 0.03), ("two", 0.07)):
        run = limner.adapt(f"{PACK},classes=1-3", goal="classify", shots=6, start=name, budget="1steps")
        assert (run.strategy.learning_rate, run.strategy.optimiser) == (rate, "sgd")


PROTOTYPES = MetaPlan(algorithm="prototypical")


@pytest.mark.parametrize("classes", [2, 6])
def test_prototypes_of_any_number_of_classes_are_fitted_without_a_step(here, classes):
    options = {"classes": 4, "width": 4, "normalisation": "group"}
    _, start = kept("mine", "prototypical", PROTOTYPES, options)
    spec = f"{PACK},classes=0-{classes - 1}"
    for asked in ("mine", "auto"):
        run = limner.adapt(spec, goal="classify", shots=3 * classes, start=asked, out=asked)
        assert (run.learner.kind, run.learner.options["classes"]) == ("prototypical", classes)
        assert (run.cost.steps, run.strategy.steps) == (0, 0)
        right = meta_adapted(run.learner, PROTOTYPES, start, "classify", spec, 3 * classes)
        assert all(torch.equal(value, right[name]) for name, value in run.params.items())
    task = prepare(spec, 3 * classes, 0, "classify").task
    embedded = run.learner.predict(run.params, features_of(task.query.floats()), generator(0))
    nearest = torch.cdist(embedded, run.params["fitted.prototypes"]).argmin(1)
    assert run.scores.values["accuracy"].value == pytest.approx(float((nearest == task.query.labels).float().mean()))
    assert run.curve[-1].values["accuracy"] == pytest.approx(run.scores.values["accuracy"].value)


def features_of(images):
    return Request("features", images=images)


def test_steps_asked_for_beside_prototypes_are_taken(here):
    _, start = kept("mine", "prototypical", PROTOTYPES, {"classes": 3, "width": 4, "normalisation": "group"})
    run = limner.adapt(f"{PACK},classes=1-3", goal="classify", shots=12, start="mine", budget="2steps")
    assert run.cost.steps == 2
    moved = next(iter(start))
    assert not torch.equal(run.params[moved], start[moved])


def test_an_image_alone_in_its_class_is_left_out_of_the_loss():
    learner = create("prototypical", SHAPE, classes=3, width=4, normalisation="group")
    params = learner.init(0)
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 2, 1, 1])
    embedded = learner.predict(params, features_of(images), generator(0))
    losses = []
    for place in (0, 1, 3, 4):
        others = [other for other in range(5) if other != place]
        means = [embedded[[other for other in others if labels[other] == kind]].mean(0) for kind in range(3)]
        scores = torch.stack([-(embedded[place] - mean).square().sum() for mean in means])
        losses.append(-scores.log_softmax(0)[labels[place]])
    found = learner.loss("net", params, {"images": images, "labels": labels}, {}).value
    assert float(found) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["classify", f"{PACK},classes=1-3", "--start", "sine"], "regressor, which learned functions of numbers"),
        (["generate", f"{PACK},classes=1", "--start", "sine"], "regressor, which learned functions of numbers"),
        (["classify", f"{PACK},classes=1-4", "--start", "three"], "the start three tells apart 3 classes, but"),
        (["generate", f"{PACK},classes=1", "--start", "three"], "it serves: classify"),
        (["classify", f"{PACK},classes=1", "--start", "any"], "does not have the classes"),
        (["classify", f"{PACK},classes=1-3", "--start", "any", "--shots", "2"], "3 classes, of which 2 shots"),
        (["classify", f"{PACK},classes=1-3", "-o", "classes=2"], "has 3 classes, not 2"),
    ],
)
def test_starts_that_cannot_be_adapted_to_the_images(here, capsys, words, hint):
    kept("three", "classifier", MetaPlan(algorithm="maml"))
    kept("any", "prototypical", PROTOTYPES, {"classes": 3, "width": 4})
    sine = create("regressor", (1, 1, 1))
    with Memory.open() as memory:
        memory.put_model(sine.init(0), describe(sine), role="start", name="sine", plan=MetaPlan().to_json())
    assert main(["adapt", *words, "--out", "made"]) == 2
    told = capsys.readouterr().err
    assert hint in told
    assert len(told.splitlines()) == 1
    assert not (here / "made").exists()


def test_the_shots_of_a_classification_hold_a_part_of_every_class():
    labels = torch.tensor([0] * 20 + [1] * 20 + [2] * 2)
    images = ImageSet(torch.arange(42, dtype=torch.uint8)[:, None, None, None].expand(42, 1, 16, 16).contiguous(),
                      "uneven", labels, ("a", "b", "c"))  # fmt: skip
    for seed, shots in ((0, 3), (1, 9), (2, 21)):
        task = split(images, shots, seed, goal="classify")
        counts = torch.bincount(task.support.labels, minlength=3)
        assert (len(task.support), len(task.query), int(counts.min() > 0)) == (shots, 42 - shots, 1)
        assert abs(int(counts[0]) - int(counts[1])) <= 1
        shown = torch.cat([task.support.images, task.query.images])[:, 0, 0, 0]
        assert torch.equal(shown.sort().values, torch.arange(42, dtype=torch.uint8))
    other = split(images, 9, 3, goal="classify")
    assert not torch.equal(other.support.images, split(images, 9, 1, goal="classify").support.images)
    with pytest.raises(LimnerError, match="give 3 shots or more"):
        split(images, 2, 0, goal="classify")


def test_no_steps_from_scratch_are_a_mistake_for_prototypes_too(here):
    with pytest.raises(LimnerError, match="needs a start"):
        limner.adapt(f"{PACK},classes=1-3", goal="classify", shots=6, start="scratch", learner="prototypical",
                     budget="0steps")  # fmt: skip
