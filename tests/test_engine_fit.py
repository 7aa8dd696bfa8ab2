"""Training: budgets, exact resume after a stop and a kill, roll-back, starts that do not fit."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from limner.config import ENDLESS, Strategy
from limner.engine import Listener, fit
from limner.engine import checkpoint as checkpoints
from limner.engine.held_out import Limits
from limner.errors import LimnerError
from limner.learners import create
from limner.tasks import ImageSet, Task
from limner.testing import StopAt

SHAPE = (1, 16, 16)
STRATEGY = Strategy(
    steps=12, batch=3, ema=0.9, schedule="cosine", warmup=2, augmentation=("shift", "flip"), evaluate_every=5, clip=5.0
)


def images(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8), "noise")


TASK = Task("generate", "noise", images(8), images(6, seed=1), source="noise")
VAE = create("vae", SHAPE, latents=2, width=4)


class Heard(Listener):
    """Keeps the steps at which the query set was looked at."""

    def __init__(self):
        self.looked = []

    def on_evaluate(self, step, values, params):
        self.looked.append(step)


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


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


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_a_run_that_pauses_at_each_rung_is_the_one_made_at_once(kind, tmp_path):
    learner = create(kind, SHAPE, latents=2, width=4)
    whole = fit(learner, TASK, STRATEGY, seed=3)
    for rung, until in enumerate([5, 10, 12]):
        listener = Heard()
        part = fit(
            learner, TASK, STRATEGY, seed=3, directory=tmp_path, resume=rung > 0, until=Limits(until, 0.0),
            listeners=[listener],
        )  # fmt: skip
        assert (part.state, part.cost.steps) == ("paused" if until < 12 else "finished", until)
        assert listener.looked == [until]  # once at each rung, as the whole run does
    assert same(whole.params, part.params)
    assert same(whole.best, part.best)
    assert [point.values for point in whole.curve] == [point.values for point in part.curve]
    assert not (tmp_path / checkpoints.NAME).exists()


def test_a_pause_by_seconds_looks_where_it_stops_and_one_that_is_reached_takes_no_step(tmp_path):
    strategy = STRATEGY.replace(steps=ENDLESS, seconds=60.0, evaluate_every=0)
    part = fit(VAE, TASK, strategy, directory=tmp_path, until=Limits(ENDLESS, 0.02))
    assert part.state == "paused"
    assert 0.02 <= part.cost.seconds < 30
    assert "net query loss" in part.curve[-1].values
    again = fit(VAE, TASK, strategy, directory=tmp_path, resume=True, until=Limits(0, 0.0))
    assert (again.state, again.cost.steps) == ("paused", part.cost.steps)
    assert same(part.params, again.params)
    with pytest.raises(LimnerError, match="can only pause with a directory that holds its checkpoint"):
        fit(VAE, TASK, strategy, until=Limits(1, 0.0))


def test_a_killed_run_resumes_exactly(tmp_path):
    script = f"""
import sys; sys.path.insert(0, {str(os.path.dirname(__file__))!r})
from importlib import import_module
engine = import_module("limner.engine.fit")
import_module("limner.engine.session")._CHECKPOINT_SECONDS = 0.0
from test_engine_fit import VAE, TASK, STRATEGY
engine.fit(VAE, TASK, STRATEGY.replace(steps=100_000), seed=1, directory={str(tmp_path)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60

    def reached_step():
        exists = (tmp_path / checkpoints.NAME).exists()
        return json.loads(_metadata(tmp_path)["training"])["now"]["step"] if exists else 0

    while reached_step() < 3:
        assert time.monotonic() < deadline, "no checkpoint was written after the first steps"
        assert process.poll() is None, "the training ended by itself"
        time.sleep(0.05)
    time.sleep(0.2)
    process.kill()
    process.wait()
    strategy = STRATEGY.replace(steps=100_000)
    reached = reached_step()
    whole = fit(VAE, TASK, strategy, seed=1, listeners=[StopAt(reached + 3)])
    resumed = fit(VAE, TASK, strategy, seed=1, directory=tmp_path, resume=True, listeners=[StopAt(reached + 3)])
    assert reached >= 3
    assert same(whole.params, resumed.params)


def _metadata(folder):
    from safetensors import safe_open

    with safe_open(folder / checkpoints.NAME, "pt") as file:
        return file.metadata()


def test_a_checkpoint_from_before_there_was_a_guard_goes_on(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    strategy = Strategy(steps=5, batch=2)
    fit(VAE, TASK, strategy, directory=tmp_path, listeners=[StopAt(3)])
    path = tmp_path / checkpoints.NAME
    with safe_open(path, "pt") as file:
        plain, tensors = json.loads(file.metadata()["training"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del plain["watched"], plain["choices"], plain["identity"]["strategy"]["guard"]
    save_file(tensors, path, metadata={"training": json.dumps(plain)})
    resumed = fit(VAE, TASK, strategy, directory=tmp_path, resume=True)
    assert same(resumed.params, fit(VAE, TASK, strategy).params)


def test_resume_refuses_another_run_and_damage(tmp_path):
    with pytest.raises(LimnerError, match="nothing to go on with"):
        fit(VAE, TASK, STRATEGY, directory=tmp_path, resume=True)
    fit(VAE, TASK, STRATEGY, seed=3, directory=tmp_path, listeners=[StopAt(2)])
    with pytest.raises(LimnerError, match="seed and start differ"):
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
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {checkpoints.NAME, "curve.csv"}


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
    run = fit(VAE, TASK, Strategy(schedule="cosine", batch=2).within(None, 0.5))
    assert 0.5 <= run.cost.seconds < 5
    assert run.cost.steps < ENDLESS
    rates = [point.values["learning rate"] for point in run.curve if "learning rate" in point.values]
    assert 3 < len(rates) <= 200
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2 * rates[0]


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
    assert seen[:2] == [5, 5]
    seen.clear()
    fit(Watching(SHAPE, latents=2, width=4), few, Strategy(steps=2, batch=32, augmentation=("shift",)))
    assert seen[:2] == [32, 32]


def test_each_pass_shows_every_image_once():
    passes = []

    class Watching(type(VAE)):
        def loss(self, player, params, batch, draws):
            passes.append(batch["images"].mean((1, 2, 3)))
            return super().loss(player, params, batch, draws)

    fit(Watching(SHAPE, latents=2, width=4), replace(TASK, query=None), Strategy(steps=8, batch=2))
    first, second = torch.cat(passes[:4]), torch.cat(passes[4:8])
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


class SpikedOnce(type(VAE)):
    """Gives not-a-number at the losses whose numbers are in ``spikes``."""

    spikes: frozenset[int] = frozenset()
    losses = 0

    def loss(self, player, params, batch, draws):
        self.losses += 1
        found = super().loss(player, params, batch, draws)
        return found._replace(value=found.value * float("nan")) if self.losses in self.spikes else found


def spiked(*numbers):
    learner = SpikedOnce(SHAPE, latents=2, width=4)
    learner.spikes = frozenset(numbers)
    return learner


def test_a_run_that_is_stopped_goes_back_to_the_same_step_as_one_that_is_not(tmp_path):
    strategy, unjudged = Strategy(steps=45, batch=2, ema=0.9), replace(TASK, query=None)
    whole = fit(spiked(40), unjudged, strategy, seed=3)
    # The stop comes between the sound state and the spike; it costs one loss more, the last look at the parameters.
    fit(spiked(), unjudged, strategy, seed=3, directory=tmp_path, listeners=[StopAt(33)])
    resumed = fit(spiked(40 - 33), unjudged, strategy, seed=3, directory=tmp_path, resume=True)
    assert "went back to step 25" in whole.notes[0]
    assert resumed.notes == whole.notes
    assert same(whole.params, resumed.params)
    assert [point.values for point in whole.curve] == [point.values for point in resumed.curve]


def test_the_curve_forgets_the_steps_that_were_taken_back():
    run = fit(spiked(5), replace(TASK, query=None), Strategy(steps=6, batch=2))
    assert [point.step for point in run.curve] == [1, 2, 3, 4, 5, 6]


def test_an_update_that_bursts_at_a_snapshot_is_not_kept_as_sound():
    class Bursting(type(VAE)):
        """A finite gradient at step 25, so steep that the parameters after it are of no use."""

        losses = 0

        def loss(self, player, params, batch, draws):
            self.losses += 1
            found = super().loss(player, params, batch, draws)
            return found._replace(value=found.value * 1e9) if self.losses == 25 else found

    strategy = Strategy(steps=40, batch=2, optimiser="sgd", learning_rate=1e-4)
    run = fit(Bursting(SHAPE, latents=2, width=4), replace(TASK, query=None), strategy)
    assert (run.state, run.cost.steps) == ("finished", 40)
    assert "went back to step 0" in run.notes[0]


@pytest.mark.parametrize("kind", ["vae", "gan"])
@pytest.mark.parametrize("steps", [1, 5])
def test_giving_up_leaves_the_last_sound_parameters(kind, steps):
    learner = create(kind, SHAPE, latents=2, width=4)
    asked = []

    def judge(params):
        asked.append(all(bool(value.isfinite().all()) for value in params.values()))
        return {"kernel_distance": 0.0}

    # With one step the last update is never tried by a further one: it must be looked at all the same.
    strategy = Strategy(steps=steps, batch=2, optimiser="sgd", learning_rate=1e30, evaluate_every=1)
    run = fit(learner, TASK, strategy, judge=judge)
    assert (run.state, run.cost.steps, len(run.notes)) == ("failed", 0, 9)
    assert "training failed" in run.notes[-1]
    assert all(torch.equal(run.params[name], value) for name, value in learner.init(0).items())
    assert all(asked)


def test_best_is_the_lowest_kernel_distance_and_params_are_the_last():
    scores = iter([0.3, 0.1, 0.2])
    at = {}

    class Keeping(Listener):
        def on_evaluate(self, step, values, params):
            at[step] = params

    strategy = Strategy(steps=6, batch=2, evaluate_every=2)
    run = fit(VAE, TASK, strategy, judge=lambda _: {"kernel_distance": next(scores)}, listeners=[Keeping()])
    assert list(at) == [2, 4, 6]
    assert all(torch.equal(run.best[name], value) for name, value in at[4].items())
    assert all(torch.equal(run.params[name], value) for name, value in at[6].items())


def test_anchor_frozen_and_player_rates_hold_parameters_where_they_should_be():
    gan = create("gan", SHAPE, latents=2, width=4)
    start = gan.init(5)

    def moved(player, **changes):
        run = fit(gan, TASK, Strategy(steps=8, batch=4, learning_rate=1e-2, **changes), start=start)
        return sum(float((run.params[name] - start[name]).norm()) for name in start if name.startswith(player))

    bias = [name for name in start if name.startswith("critic.")][-1]
    assert moved("critic") > 0
    assert moved(bias, frozen=(bias,)) == 0
    assert moved("critic", frozen=(bias,)) > 0
    with pytest.raises(LimnerError, match="every parameter of the critic"):
        moved("critic", frozen=("critic.",))
    assert moved("generator", player_rates={"generator": 0.0}) == 0
    assert moved("generator", anchor=100.0) < moved("generator")


def test_a_start_in_another_order_or_type_gives_the_same_run():
    start = VAE.init(5)
    other = {name: value.double() for name, value in reversed(start.items())}
    assert same(fit(VAE, TASK, STRATEGY, start=start).params, fit(VAE, TASK, STRATEGY, start=other).params)


@pytest.mark.parametrize(
    ("task", "strategy", "told"),
    [
        (replace(TASK, support=images(0)), STRATEGY, "no images to learn from"),
        (TASK, STRATEGY.replace(player_rates={"critic": 2.0}), "no player 'critic'"),
        (TASK, STRATEGY.replace(augmentation=("spin",)), "no augmentation 'spin'"),
    ],
)
def test_what_cannot_be_trained_is_told_before_it_begins(task, strategy, told, tmp_path):
    with pytest.raises(LimnerError, match=told):
        fit(VAE, task, strategy, directory=tmp_path)
    assert not list(tmp_path.iterdir())


def test_images_of_another_shape_are_told():
    large = ImageSet(torch.zeros(3, 1, 32, 32, dtype=torch.uint8), "large")
    for task in (replace(TASK, support=large), replace(TASK, query=large)):
        with pytest.raises(LimnerError, match="size=16,colour=grey"):
            fit(VAE, task, STRATEGY)
