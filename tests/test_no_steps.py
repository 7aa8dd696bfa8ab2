"""A strategy of no steps: what a start is, with what is fitted to the shots; and from scratch a mistake."""

import json

import pytest
import torch

from limner.cli.main import main
from limner.config import Strategy
from limner.engine import Run, fit
from limner.errors import LimnerError
from limner.learners import create
from limner.reports.words import strategy_in_words
from limner.tasks import ImageSet, Task

SHAPE = (1, 16, 16)


def images(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8), "noise")


TASK = Task("generate", "noise", images(4), images(6, seed=1), source="noise")


@pytest.mark.parametrize("kind", ["vae", "gan"])
@pytest.mark.parametrize("fields", [{}, {"ema": 0.9, "schedule": "cosine", "warmup": 3, "evaluate_every": 1}])
def test_no_steps_leave_the_start_as_it_is(kind, fields, tmp_path):
    learner = create(kind, SHAPE, latents=2, width=4)
    start = learner.init(5)
    run = fit(learner, TASK, Strategy(steps=0, **fields), start=start, directory=tmp_path / "work")
    assert (run.state, run.cost.steps) == ("finished", 0)
    assert all(torch.equal(run.params[name], value) for name, value in start.items())
    assert [point.step for point in run.curve if "query loss" in " ".join(point.values)] == [0]
    assert any(name.startswith("fitted.") for name in run.params) == (kind == "vae")
    loaded = Run.load(run.save(tmp_path / "run"))
    assert torch.equal(loaded.sample(3), run.sample(3))


def test_no_steps_from_scratch_are_refused():
    with pytest.raises(LimnerError, match=r"no steps from scratch would learn nothing: a vae needs a start"):
        fit(create("vae", SHAPE, latents=2, width=4), TASK, Strategy(steps=0))


def test_words_for_no_steps():
    assert strategy_in_words(Strategy(steps=0, start="abc")).startswith("No steps: the start as it is")


def test_the_command_line_takes_no_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spec, small = "digits,size=16,classes=3", ["--shots", "5", "--json"]
    options = ["--option", "width=4", "--option", "latents=2"]
    assert main(["train", "vae", spec, *small, *options, "--budget", "2steps", "--out", "first"]) == 0
    first = json.loads(capsys.readouterr().out)["id"]
    again = ["adapt", "generate", spec, *small, "--budget", "0steps", "--out", "second"]
    assert main([*again, "--start", first]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["state"], made["cost"]["steps"], made["strategy"]["steps"]) == ("finished", 0, 0)
    assert "No steps: the start as it is" in (tmp_path / "second" / "report.html").read_text()
    third = ["train", "vae", spec, "--shots", "5", *options, "--budget", "0steps", "--out", "third"]
    assert main(third) == 2
    assert "no steps from scratch would learn nothing" in capsys.readouterr().err


def test_meta_training_of_no_steps_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ["meta-train", "fomaml", "vae", "--family", "glyphs,size=16,characters=20", "--budget", "0steps"]
    assert main(asked) == 2
    assert "steps 0 cannot be used" in capsys.readouterr().err
