"""Early stopping by held-out shots: what is left out, what is chosen, budgets, Ctrl-C and resume."""

import itertools
import json
import re
import time

import pytest
import torch

from limner.config import Strategy
from limner.engine import Listener, fit, held_out
from limner.engine import checkpoint as checkpoints
from limner.engine.held_out import Decision
from limner.errors import LimnerError
from limner.learners import create
from limner.tasks import ImageSet, Task

SHAPE = (1, 16, 16)
STRATEGY = Strategy(steps=20, batch=4, early_stopping=True, learning_rate=0.01)
VAE = create("vae", SHAPE, latents=2, width=4)


def images(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8), "noise")


def pixels(shown):
    return shown.flatten(1).float() / 255


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(held_out, "SAMPLES", 8)


@pytest.mark.parametrize("count", range(2, 60))
def test_folds_leave_out_what_they_do_not_learn_from(count):
    found = held_out.folds(count, seed=count)
    for fold in found:
        assert sorted([*fold.learned.tolist(), *fold.held.tolist()]) == list(range(count))
    held = [place for fold in found for place in fold.held.tolist()]
    assert len(held) == len(set(held))
    if count < 8:
        assert [len(fold.held) for fold in found] == [1] * min(count, 5)
    else:
        assert all(len(fold.held) == max(2, count // 5) for fold in found)


def test_the_energy_score_is_proper_at_one_image():
    """Its mean over single images of a distribution is the energy distance to it, less the images' own spread."""
    random = torch.Generator().manual_seed(0)
    real = torch.randn(400, 3, generator=random)
    ways = {shift: torch.randn(300, 3, generator=random) + shift for shift in (0.0, 0.5, 2.0)}
    narrow = 0.3 * torch.randn(300, 3, generator=random)

    def mean(samples):
        return sum(held_out.energy_score(samples, one[None]) for one in real) / len(real)

    scores = {shift: mean(samples) for shift, samples in ways.items()}
    assert scores[0.0] < scores[0.5] < scores[2.0]
    assert scores[0.0] < mean(narrow), "samples near the middle must not win over the distribution itself"
    among = torch.pdist(ways[0.0]).mean()
    assert scores[0.5] == pytest.approx(held_out.energy_score(ways[0.5], real), rel=1e-5)
    assert scores[0.0] == pytest.approx(2 * float(torch.cdist(ways[0.0], real).mean()) - float(among), rel=1e-4)


class Scripted:
    """Features that make the samples of a chosen number of steps the best: the score is read off a script."""

    def __init__(self, monkeypatch, best):
        self.calls = 0
        monkeypatch.setattr(held_out, "energy_score", lambda samples, real: abs(self.next() - best))

    def next(self):
        grid = list(held_out.grid(20, False))
        self.calls += 1
        return grid[(self.calls - 1) % len(grid)]


@pytest.mark.parametrize("best", [5, 10])
def test_the_chosen_steps_are_taken_with_all_shots(monkeypatch, best):
    Scripted(monkeypatch, best)
    task = Task("generate", "noise", images(5), images(6, seed=1))
    run = fit(VAE, task, STRATEGY, seed=3, features=pixels)
    plain = fit(VAE, task, STRATEGY.replace(early_stopping=False, steps=best), seed=3)
    assert run.cost.steps == best
    assert same(run.params, plain.params), "held-out shots must change nothing but the number of steps"
    assert any(note.startswith(f"early stopping: {best} of at most 20 steps, by 5 folds") for note in run.notes)
    told = {point.step: point.values["held-out shots"] for point in run.curve if "held-out shots" in point.values}
    assert told == {5: abs(5 - best), 10: abs(10 - best), 20: 20 - best}


def test_what_gets_better_to_the_last_is_not_stopped(monkeypatch):
    Scripted(monkeypatch, 20)
    run = fit(VAE, Task("generate", "noise", images(3), None), STRATEGY, features=pixels)
    assert run.cost.steps == 20
    assert any("all of 20 steps" in note for note in run.notes)


def test_the_time_of_the_folds_is_part_of_the_budget(monkeypatch):
    """Endless steps, by a clock of which each look takes 0.05 s: half of the budget for the folds, no more in all."""
    looks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: 0.05 * next(looks))
    strategy = STRATEGY.replace(steps=10**9, seconds=8.0)
    run = fit(VAE, Task("generate", "noise", images(4), None), strategy, features=pixels)
    told = [point for point in run.curve if "held-out shots" in point.values]
    spent = float(re.search(r"\(.*?([\d.]+) s\)", next(note for note in run.notes if "early stopping" in note))[1])
    assert run.state == "finished"
    assert told[0].step == 5
    assert 2.0 < spent < 4.5
    assert run.cost.seconds < 8.5


def test_one_shot_and_equal_shots_leave_nothing_to_hold_out():
    equal = ImageSet(images(1).images.expand(4, -1, -1, -1).contiguous(), "equal")
    for support in (images(1), equal):
        run = fit(VAE, Task("generate", "few", support, None), STRATEGY, features=pixels)
        assert (run.state, run.cost.steps) == ("finished", 20)
        assert any("nothing could be told" in note for note in run.notes)


def test_an_image_is_not_held_out_from_its_copies():
    twice = ImageSet(torch.cat([images(3).images, images(3).images]), "twice")
    seen = []
    held_out.decide(twice, lambda learned, place, seconds: seen.append(learned) or [], pixels, 0, 0.0)
    assert [len(learned) for learned in seen] == [2, 2, 2]


class StopIn(Listener):
    """Asks for a stop as Ctrl-C does: in the folds, before any step of the training itself is told."""

    def __init__(self, sentence):
        self.sentence = sentence

    def on_note(self, sentence):
        import signal

        if sentence.startswith(self.sentence):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("sentence", "decided"), [("early stopping: finding", False), ("early stopping: all", True)])
def test_a_stop_in_the_folds_and_after_them_resumes_exactly(tmp_path, monkeypatch, sentence, decided):
    monkeypatch.setattr(Decision, "told", lambda self, most: f"early stopping: all, {self.steps}")
    task = Task("generate", "noise", images(3), images(4, seed=1))
    whole = fit(VAE, task, STRATEGY, seed=3, features=pixels)
    stopped = fit(VAE, task, STRATEGY, seed=3, features=pixels, directory=tmp_path, listeners=[StopIn(sentence)])
    assert (stopped.state, stopped.cost.steps) == ("stopped", 0)
    with_choice = json.loads(_metadata(tmp_path)["training"])["held_out"]
    assert bool(with_choice) is decided
    resumed = fit(VAE, task, STRATEGY, seed=3, features=pixels, directory=tmp_path, resume=True)
    assert resumed.state == "finished"
    assert same(whole.params, resumed.params)
    assert [point.values for point in whole.curve] == [point.values for point in resumed.curve]
    assert [note for note in resumed.notes if "all, " in note] == [note for note in whole.notes if "all, " in note]


def _metadata(folder):
    from safetensors import safe_open

    with safe_open(folder / checkpoints.NAME, "pt") as file:
        return file.metadata()


def test_a_game_is_followed_by_its_averaged_parameters(monkeypatch):
    gan = create("gan", SHAPE, latents=2, width=4)
    run = fit(gan, Task("generate", "noise", images(3), None), STRATEGY.replace(ema=0.9, steps=6), features=pixels)
    assert [point.step for point in run.curve if "held-out shots" in point.values] == [5, 6]


def test_what_cannot_be_stopped_early_is_refused():
    task = Task("generate", "noise", images(3), None)
    with pytest.raises(LimnerError, match="needs features"):
        fit(VAE, task, STRATEGY)
    labels = torch.tensor([0, 1, 0])
    classes = ImageSet(images(3).images, "classes", labels=labels, class_names=("a", "b"))
    with pytest.raises(LimnerError, match="makes no samples"):
        fit(
            create("classifier", SHAPE, classes=2, width=4), Task("classify", "classes", classes, None), STRATEGY,
            features=pixels,
        )  # fmt: skip
