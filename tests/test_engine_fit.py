"""Training: budgets, exact resume after a stop and a kill, roll-back, starts that do not fit, run directories."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from limner.config import Strategy
from limner.engine import Listener, Run, fit
from limner.engine import checkpoint as checkpoints
from limner.errors import LimnerError
from limner.learners import create
from limner.tasks import ImageSet, Task

SHAPE = (1, 16, 16)
STRATEGY = Strategy(
    steps=12, batch=3, ema=0.9, schedule="cosine", warmup=2, augmentation=("shift", "flip"), evaluate_every=5, clip=5.0
)


def images(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8), "noise")


TASK = Task("generate", "noise", images(8), images(6, seed=1), source="noise")
VAE = create("vae", SHAPE, latents=2, width=4)


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


class StopAt(Listener):
    """Presses Ctrl-C once, after a given step."""

    def __init__(self, at):
        self.at = at

    def on_step(self, step, values):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_a_stopped_run_resumes_exactly(kind, tmp_path):
    learner = create(kind, SHAPE, latents=2, width=4)
    whole = fit(learner, TASK, STRATEGY, seed=3)
    stopped = fit(learner, TASK, STRATEGY, seed=3, directory=tmp_path, listeners=[StopAt(7)])
    assert (stopped.state, stopped.cost.steps) == ("stopped", 7)
    resumed = fit(learner, TASK, STRATEGY, seed=3, directory=tmp_path, resume=True)
    assert (resumed.state, resumed.cost.steps) == ("finished", 12)
    assert same(whole.params, resumed.params)
    assert same(whole.best, resumed.best)
    assert [point.values for point in whole.curve] == [point.values for point in resumed.curve]
    assert not (tmp_path / checkpoints.NAME).exists()


def test_a_killed_run_resumes_exactly(tmp_path):
    script = f"""
import sys; sys.path.insert(0, {str(os.path.dirname(__file__))!r})
from importlib import import_module
engine = import_module("limner.engine.fit")
engine._CHECKPOINT_SECONDS = 0.0
from test_engine_fit import VAE, TASK, STRATEGY
engine.fit(VAE, TASK, STRATEGY.replace(steps=100_000), seed=1, directory={str(tmp_path)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (tmp_path / checkpoints.NAME).exists():
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert process.poll() is None, "the training ended by itself"
        time.sleep(0.05)
    time.sleep(0.2)
    process.kill()
    process.wait()
    strategy = STRATEGY.replace(steps=100_000)
    reached = json.loads(_metadata(tmp_path)["training"])["step"]
    whole = fit(VAE, TASK, strategy, seed=1, listeners=[StopAt(reached + 3)])
    resumed = fit(VAE, TASK, strategy, seed=1, directory=tmp_path, resume=True, listeners=[StopAt(reached + 3)])
    assert reached > 0
    assert same(whole.params, resumed.params)


def _metadata(folder):
    from safetensors import safe_open

    with safe_open(folder / checkpoints.NAME, "pt") as file:
        return file.metadata()


def test_resume_refuses_another_run_and_damage(tmp_path):
    with pytest.raises(LimnerError, match="nothing to go on with"):
        fit(VAE, TASK, STRATEGY, directory=tmp_path, resume=True)
    fit(VAE, TASK, STRATEGY, seed=3, directory=tmp_path, listeners=[StopAt(2)])
    with pytest.raises(LimnerError, match="seed differ"):
        fit(VAE, TASK, STRATEGY, seed=4, directory=tmp_path, resume=True)
    path = tmp_path / checkpoints.NAME
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LimnerError, match="damaged"):
        fit(VAE, TASK, STRATEGY, seed=3, directory=tmp_path, resume=True)


def test_a_full_disk_keeps_the_former_checkpoint(tmp_path, monkeypatch):
    fit(VAE, TASK, STRATEGY, seed=3, directory=tmp_path, listeners=[StopAt(2)])
    before = (tmp_path / checkpoints.NAME).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("limner.model_file.os.fsync", full)
    with pytest.raises(LimnerError, match="No space left"):
        fit(VAE, TASK, STRATEGY, seed=3, directory=tmp_path, resume=True, listeners=[StopAt(5)])
    assert (tmp_path / checkpoints.NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints.NAME]


def test_a_loss_that_is_not_finite_is_rolled_back():
    class Spiked(type(VAE)):
        """Gives not-a-number once, at its fifth loss."""

        losses = 0

        def loss(self, player, params, batch, draws):
            self.losses += 1
            found = super().loss(player, params, batch, draws)
            return found._replace(value=found.value * float("nan")) if self.losses == 5 else found

    told = []

    class Hearing(Listener):
        def on_note(self, sentence):
            told.append(sentence)

    run = fit(Spiked(SHAPE, latents=2, width=4), TASK, Strategy(steps=6, batch=2), listeners=[Hearing()])
    assert (run.state, run.cost.steps) == ("finished", 6)
    assert len(run.notes) == 1
    assert told == run.notes
    assert "step 5" in told[0]
    assert "halved the learning rate" in told[0]
    assert run.curve[-2].values["learning rate"] == pytest.approx(5e-4)
    assert all(bool(torch.isfinite(value).all()) for value in run.params.values())


def test_budget_in_seconds_ends_a_run_and_its_schedule():
    run = fit(VAE, TASK, Strategy(steps=10**9, seconds=0.5, schedule="cosine", batch=2))
    assert 0.5 <= run.cost.seconds < 5
    assert run.cost.steps < 10**9
    none = fit(VAE, TASK, Strategy(steps=0))
    assert none.cost.steps == 0
    assert same({name: value for name, value in none.params.items() if name in VAE.init(0)}, VAE.init(0))


def test_average_is_used_for_predictions():
    plain = fit(VAE, TASK, Strategy(steps=5, batch=2), seed=2)
    averaged = fit(VAE, TASK, Strategy(steps=5, batch=2, ema=0.99), seed=2)
    assert not same(plain.params, averaged.params)


def test_a_whole_support_smaller_than_the_batch_is_taken_once():
    seen = []

    class Watching(type(VAE)):
        def loss(self, player, params, batch, draws):
            seen.append(len(batch["images"]))
            return super().loss(player, params, batch, draws)

    few = replace(TASK, support=images(5), query=None)
    fit(Watching(SHAPE, latents=2, width=4), few, Strategy(steps=2, batch=32))
    assert seen == [5, 5]
    seen.clear()
    fit(Watching(SHAPE, latents=2, width=4), few, Strategy(steps=2, batch=32, augmentation=("shift",)))
    assert seen == [32, 32]


def test_each_pass_shows_every_image_once():
    passes = []

    class Watching(type(VAE)):
        def loss(self, player, params, batch, draws):
            passes.append(batch["images"].mean((1, 2, 3)))
            return super().loss(player, params, batch, draws)

    fit(Watching(SHAPE, latents=2, width=4), replace(TASK, query=None), Strategy(steps=8, batch=2))
    first, second = torch.cat(passes[:4]), torch.cat(passes[4:])
    expected = TASK.support.floats().mean((1, 2, 3)).sort().values
    assert torch.equal(first.sort().values, expected)
    assert torch.equal(second.sort().values, expected)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (create("vae", SHAPE, latents=3, width=4), "has shape"),
        (create("gan", SHAPE, latents=2, width=4), "lacks it"),
        (create("vae", (1, 32, 32), latents=2, width=4), "has shape"),
    ],
)
def test_a_start_that_does_not_fit_is_told(start, told):
    with pytest.raises(LimnerError, match=told):
        fit(VAE, TASK, STRATEGY, start=start.init(0))


def test_frozen_names_must_exist_and_leave_something():
    with pytest.raises(LimnerError, match="cannot be frozen"):
        fit(VAE, TASK, STRATEGY.replace(frozen=("net.nothing",)))
    with pytest.raises(LimnerError, match="freezes every parameter"):
        fit(VAE, TASK, STRATEGY.replace(frozen=("net.",)))


def test_run_directory_comes_back_whole(tmp_path):
    run = fit(VAE, TASK, STRATEGY, seed=3)
    run.save(tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"run.json", "model.safetensors", "best.safetensors", "curve.csv", "samples"} <= names
    back = Run.load(tmp_path / "run")
    assert same(run.params, back.params)
    assert back.to_json() == run.to_json()
    assert [point.values.keys() for point in back.curve] == [point.values.keys() for point in run.curve]
    assert torch.equal(run.sample(3, seed=1), back.sample(3, seed=1))
    assert run.sample(3).shape == (3, *SHAPE)
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(LimnerError, match=r"model\.safetensors is missing"):
        Run.load(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(LimnerError, match="damaged"):
        Run.load(tmp_path / "run")
    with pytest.raises(LimnerError, match="at least 1"):
        run.sample(0)
