"""``limner meta-train``: every learner by its command, configurations, directories, going on, and mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner.cli.main import main
from limner.engine import Listener
from limner.engine.run import read_curve
from limner.errors import LimnerError
from limner.learners import create, describe
from limner.memory import Memory
from limner.meta import ALGORITHMS, MetaPlan, learn
from limner.meta.recipes import recipe
from limner.model_file import decode
from limner.networks import Template
from limner.tasks import Family, ImageSet
from limner.verbs.line import listeners
from limner.verbs.starts import in_directory

QUICK = ["--set", "inner_steps=1", "--set", "tasks=2", "--set", "validate_tasks=2", "--set", "execution=loop"]
NARROW = ["--option", "width=4"]
FAMILY = ["--family", "digits,size=16,limit=30"]
WAYS = ["--ways", "2", "--queries", "3"]
SPLIT = "npz:../pack.npz,images=x,labels=y"


@pytest.fixture
def place(tmp_path, monkeypatch):
    pictures = np.random.default_rng(0).integers(0, 256, (144, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "pack.npz", x=pictures, y=np.arange(144) // 6)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("LIMNER_MEMORY", str(here / "memory"))
    monkeypatch.setattr("limner.verbs.meta_train.UNSEEN", 8)
    monkeypatch.setattr("limner.verbs.meta_train.STEPS_SHOWN", 2)
    return here


def told(capsys, words):
    capsys.readouterr()
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def refused(capsys, words) -> str:
    capsys.readouterr()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("limner: ")
    assert len(err.splitlines()) == 1
    return err


@pytest.mark.parametrize(
    ("words", "goal", "metric"),
    [
        (["reptile", "vae", *FAMILY, "--shots", "4", "--queries", "3", *NARROW], "generate", "query_loss"),
        (["fomaml", "gan", *FAMILY, "--shots", "4", "--queries", "3", *NARROW], "generate", None),
        (["maml++", "classifier", "--family", SPLIT, *WAYS, *NARROW], "classify", "accuracy"),
        (["prototypical", "prototypical", "--family", SPLIT, *WAYS, *NARROW], "classify", "accuracy"),
        (["prototypical", "prototypical", "--family", SPLIT, *WAYS, "--goal", "cluster", "--shots", "2", *NARROW],
         "cluster", "accuracy"),
        (["meta-sgd", "regressor"], "regress", "squared_error"),
    ],
    ids=["vae", "gan", "classifier", "prototypical", "cluster", "regressor"],
)  # fmt: skip
def test_every_learner_into_a_whole_directory(place, capsys, words, goal, metric):
    made = told(capsys, ["meta-train", *words, *QUICK, "--budget", "2steps", "--out", "made", "--name", "mine"])
    for name, why in (("mine", "has a start called mine already"), ("", "is empty"), ("scratch", "would be taken for")):
        assert main(["meta-train", *words, *QUICK, "--budget", "2steps", "--out", "again", "--name", name]) == 2
        assert why in capsys.readouterr().err
    assert made["state"] == "finished"
    assert made["configuration"]["goal"] == goal
    names = {"start.safetensors", "config.json", "curve.csv", "start.json", "report.html", "README.md", "request.json"}
    assert {path.name for path in (place / "made").iterdir()} == names
    stored = decode((place / "made" / "start.safetensors").read_bytes())
    assert stored.sha256 == made["sha256"]
    assert stored.metadata["configuration"] == made["configuration"]
    assert json.loads((place / "made" / "config.json").read_text()) == made["configuration"]
    assert read_curve((place / "made" / "curve.csv").read_text())[-1].step == 2
    assert json.loads((place / "made" / "start.json").read_text())["test"] == made["test"]
    with Memory.open() as memory:
        kept = memory.get_model("mine")
        shown = memory.show("mine")
        assert in_directory("made") == kept.sha256
        with pytest.raises(LimnerError, match="made holds a start, which is adapted first"):
            limner.load("made")
    assert kept.sha256 == made["sha256"]
    assert kept.metadata["configuration"] == shown["configuration"] == made["configuration"]
    assert list(shown["scores"]) == ([] if metric is None else [metric])
    if metric is not None:
        steps = made["test"]["steps"]
        means = steps.get(f"net {metric}") or steps[f"net {metric.replace('_', ' ')}"]
        assert shown["scores"][metric]["value"] == pytest.approx(means[min(1, len(means) - 1)][0])
    rows = told(capsys, ["memory", "list", "starts"])
    assert rows[0]["scores"].keys() == shown["scores"].keys()
    assert main(["memory", "list", "starts"]) == 0
    page = (place / "made" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="data:' in page or goal == "regress"


def test_a_dry_run_prints_what_config_takes(place, capsys):
    words = ["meta-train", "anil", "classifier", "--family", SPLIT, *WAYS, *QUICK, *NARROW, "--budget", "2steps"]
    first = told(capsys, [*words, "--turns", "--seed", "3", "--dry-run"])
    assert list(place.iterdir()) == []
    assert first["options"]["classes"] == first["ways"] == 2
    assert first["options"]["network"] == "conv4"
    assert first["turns"] is True
    assert first["plan"]["inner_rate"] == recipe("anil", "classifier")["inner_rate"]
    assert MetaPlan.from_json(first["plan"]).steps == 2
    (place / "asked.json").write_text(json.dumps(first))
    assert told(capsys, ["meta-train", "--config", "asked.json", "--dry-run"]) == first
    made = told(capsys, ["meta-train", "--config", "asked.json", "--out", "made"])
    assert made["configuration"] == first
    assert told(capsys, ["meta-train", "--config", "made", "--dry-run"]) == first
    changed = told(
        capsys, ["meta-train", "boil", "--config", "asked.json", "--set", "rate=0.5", "--seed", "4", "--dry-run"]
    )
    assert (changed["algorithm"], changed["seed"], changed["plan"]["rate"]) == ("boil", 4, 0.5)
    assert changed["plan"]["inner_rate"] == first["plan"]["inner_rate"]
    again = told(capsys, ["meta-train", "--config", "asked.json", "--out", "again"])
    assert again["sha256"] == made["sha256"]


def test_a_configuration_in_toml(place, capsys):
    (place / "asked.toml").write_text(
        'algorithm = "maml"\nlearner = "regressor"\nshots = 7\nbudget = "3steps"\n[options]\nwidth = 5\n'
        "[plan]\ninner_steps = 2\n"
    )
    found = told(capsys, ["meta-train", "--config", "asked.toml", "--shots", "8", "--option", "depth=1", "--dry-run"])
    assert (found["family"], found["shots"], found["options"]) == (
        "sinusoid",
        8,
        {"outputs": 1, "width": 5, "depth": 1},
    )
    assert (found["plan"]["steps"], found["plan"]["inner_steps"], found["plan"]["inner_rate"]) == (3, 2, 0.01)
    found = told(capsys, ["meta-train", "--config", "asked.toml", "--budget", "9s", "--dry-run"])
    assert (found["plan"]["steps"], found["plan"]["seconds"]) == (10**9, 9.0)


REGRESSOR = ["meta-train", "maml", "regressor"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["meta-train"], "ALGORITHM is missing"),
        (["meta-train", "maml"], "LEARNER is missing"),
        (["meta-train", "maml", "vae"], "family is missing"),
        (["meta-train", "maml", "tree", *FAMILY], "vae, gan, classifier, prototypical, regressor"),
        (["meta-train", "maml", "pix2pix", *FAMILY], "no families of tasks for the learner pix2pix"),
        (["meta-train", "maml", "vae", "--family", "sinusoid"], "does not go with the goal generate"),
        ([*REGRESSOR, *FAMILY], "does not go with the goal regress"),
        ([*REGRESSOR, "--goal", "classify"], "it serves: regress"),
        ([*REGRESSOR, "--ways", "3"], "ways is for tasks of several classes"),
        ([*REGRESSOR, "--budget", "2steps", "--set", "steps=3"], "both say when to end"),
        ([*REGRESSOR, "--set", "speed=3"], "no field 'speed'"),
        ([*REGRESSOR, "--set", "algorithm=anil"], "beside the plan"),
        ([*REGRESSOR, "--set", "tasks=many"], "a whole number"),
        ([*REGRESSOR, "--config", "none.json"], "cannot be read"),
        ([*REGRESSOR, "--resume", "there"], "leave out"),
        (["meta-train", "--resume", "there"], "not a directory that Limner wrote"),
        (["meta-train", "maml", "prototypical", "--family", SPLIT, *WAYS], "learned by the algorithm prototypical"),
        (["meta-train", "prototypical", "vae", *FAMILY], "does not go with the learner vae"),
        (["meta-train", "anil", "classifier", "--family", SPLIT, "--ways", "5", "-o", "classes=4"], "only --ways"),
        (["meta-train", "maml", "classifier", *FAMILY, "--ways", "5"], "fewer than 5 ways"),
        (["meta-train", "maml", "classifier", *FAMILY, "--ways", "1"], "at least 2 ways"),
        (["meta-train", "maml", "classifier", "--family", SPLIT, "--shots", "6"], "too few for the splits"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)  # fmt: skip
def test_mistakes_get_one_sentence_and_nothing_is_written(place, capsys, words, hint):
    assert hint in refused(capsys, words)
    assert sorted(path.name for path in place.iterdir()) in ([], ["memory"])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{", "is not JSON"),
        ('{"speed": 3}', "unknown field 'speed'"),
        ('{"ways": "five"}', "a whole number"),
        ("[]", "no fields"),
    ],
)
def test_a_configuration_that_cannot_be_used(place, capsys, text, hint):
    (place / "asked.json").write_text(text)
    assert hint in refused(capsys, [*REGRESSOR, "--config", "asked.json"])


def test_classes_with_too_few_images_are_left_out_and_told(place, capsys):
    random = np.random.default_rng(0)
    for index in range(12):
        (place / "mine" / f"class{index}").mkdir(parents=True)
        for image in range(2 if index == 5 else 6):
            pixels = random.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "mine" / f"class{index}" / f"{image}.png")
    words = [
        "meta-train",
        "fomaml",
        "vae",
        "--family",
        "folder:mine",
        "--shots",
        "3",
        "--queries",
        "3",
        *QUICK,
        *NARROW,
    ]
    made = told(capsys, [*words, "--budget", "1steps"])
    assert made["notes"][0].startswith("1 of 12 classes have fewer than 6 images")
    assert made["directory"] == "runs/fomaml-vae"
    assert "1 of 12 classes" in (place / "runs" / "fomaml-vae" / "report.html").read_text()
    assert "too few" in refused(capsys, [*words[:-8], "--queries", "30"])


def test_a_directory_is_not_written_over(place, capsys):
    words = [*REGRESSOR, *QUICK, "--budget", "1steps", "--out", "made"]
    first = told(capsys, words)
    assert "add --force" in refused(capsys, words)
    assert told(capsys, [*words, "--force", "--seed", "1"])["sha256"] != first["sha256"]
    (place / "other").mkdir()
    (place / "other" / "diary.txt").write_text("mine")
    assert "was not written by Limner" in refused(capsys, [*words[:-1], "other", "--force"])
    assert "is over" in refused(capsys, ["meta-train", "--resume", "made"])


def test_a_start_goes_on_from_another_with_its_rates(place, capsys):
    words = ["meta-train", "meta-sgd", "regressor", *QUICK, "--set", "rates_rate=0.5"]
    first = told(capsys, [*words, "--budget", "3steps", "--out", "one", "--name", "one"])
    told(
        capsys,
        [
            *words,
            "--budget",
            "1steps",
            "--set",
            "rates_rate=1e-9",
            "--set",
            "rate=1e-9",
            "--start",
            "one",
            "--out",
            "two",
        ],
    )
    one, two = (decode((place / name / "start.safetensors").read_bytes()) for name in ("one", "two"))
    assert one.rates is not None
    assert max(float((value - 1).abs().max()) for value in one.rates.values()) > 0.1
    for name, value in one.rates.items():
        assert torch.allclose(value, two.rates[name], atol=1e-6)
    other = told(
        capsys, ["meta-train", "maml", "regressor", *QUICK, "--budget", "1steps", "--start", "one", "--out", "three"]
    )
    assert any("are left out" in note for note in other["notes"])
    assert told(capsys, ["memory", "show", other["sha256"]])["parent"] == first["sha256"]
    vae = ["meta-train", "maml", "vae", *FAMILY, "--start", "one"]
    assert "a regressor, which learned functions of numbers" in refused(capsys, vae)


def test_a_start_for_other_classes_or_images_is_refused(place, capsys):
    with Memory.open() as memory:
        for name, classes, shape in (("three", 3, (1, 16, 16)), ("large", 2, (1, 32, 32))):
            learner = create("classifier", shape, classes=classes, width=4)
            memory.put_model(learner.init(0), describe(learner), role="start", name=name)
    words = ["meta-train", "maml", "classifier", "--family", SPLIT, *WAYS, *QUICK]
    assert "tells 3 classes apart, not 2" in refused(capsys, [*words, "--start", "three"])
    assert "32×32" in refused(capsys, [*words, "--start", "large"])
    words = ["meta-train", "prototypical", "prototypical", "--family", SPLIT, "--ways", "2", "--queries", "3", *QUICK]
    with Memory.open() as memory:
        learner = create("prototypical", (1, 16, 16), classes=5, width=4)
        memory.put_model(learner.init(0), describe(learner), role="start", name="five")
    assert "width cannot be 8" in refused(capsys, [*words, "--start", "five", "--option", "width=8"])
    made = told(capsys, [*words, "--start", "five", "--dry-run"])
    assert made["options"] == {"classes": 2, "width": 4, "normalisation": "batch"}


def test_ordinary_training_from_learned_rates_says_what_it_leaves_out(place, capsys):
    words = ["meta-train", "meta-sgd", "vae", *FAMILY, "--shots", "3", "--queries", "3", *QUICK, *NARROW]
    told(capsys, [*words, "--budget", "1steps", "--name", "rated", "--out", "made"])
    run = ["train", "vae", "digits,size=16,classes=3", "--shots", "5", "--budget", "1steps", "--start", "rated"]
    assert any("from the start's parameters alone" in note for note in told(capsys, run)["notes"])


class Press(Listener):
    """Ctrl-C at the fifth step heard of."""

    heard = 0

    def on_step(self, step, values):
        self.heard += 1
        if self.heard == 5:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_and_going_on_give_the_same_start(place, capsys, monkeypatch):
    words = ["meta-train", "maml++", "regressor", *QUICK, "--budget", "12steps", "--set", "validate_every=4"]
    whole = told(capsys, [*words, "--out", "whole", "--name", "whole"])

    monkeypatch.setattr("limner.verbs.line.listeners", lambda *_: (Press(),))
    assert main([*words, "--out", "part", "--name", "part"]) == 130
    assert "go on with: limner meta-train --resume part" in capsys.readouterr().err
    assert not (place / "part" / "start.json").exists()
    monkeypatch.setattr("limner.verbs.line.listeners", listeners)
    made = told(capsys, ["meta-train", "--resume", "part"])
    assert made["state"] == "finished"
    one, two = (decode((place / name / "start.safetensors").read_bytes()) for name in ("whole", "part"))
    for left, right in ((one.params, two.params), (one.rates, two.rates)):
        for name, value in left.items():
            assert torch.equal(value, right[name]), name
    assert [point.step for point in read_curve((place / "part" / "curve.csv").read_text())] == [4, 8, 12]
    assert not (place / "part" / "checkpoint.safetensors").exists()
    with Memory.open() as memory:
        assert memory.get_model("part").sha256 == made["sha256"]
    ends = [run["test"]["steps"]["net query loss"][1][0] for run in (whole, made)]
    assert ends[0] == ends[1]


def test_a_killed_meta_training_goes_on(place, capsys, monkeypatch):
    words = [
        "meta-train",
        "maml",
        "regressor",
        *QUICK,
        "--budget",
        "100000steps",
        "--out",
        "killed",
        "--set",
        "rate=1e-5",
    ]
    process = subprocess.Popen([sys.executable, "-m", "limner", *words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (place / "killed" / "checkpoint.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert "exists already" in refused(capsys, words)
    monkeypatch.setattr("limner.verbs.line.listeners", lambda *_: (Press(),))
    assert main(["meta-train", "--resume", "killed"]) == 130
    assert "go on with: limner meta-train --resume killed" in capsys.readouterr().err


def test_a_layer_with_a_state_of_its_own_is_refused():
    with pytest.raises(LimnerError, match="BatchNorm2d"):
        Template("net", lambda: torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)))
    with pytest.raises(LimnerError, match="Dropout"):
        Template("net", lambda: torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["vae", "gan", "classifier", "prototypical", "regressor"])
def test_every_recipe_is_a_plan(algorithm, kind):
    plan = MetaPlan.from_json({"algorithm": algorithm, **recipe(algorithm, kind)})
    assert plan.steps > 0


def test_a_start_for_another_network_is_told():
    images = ImageSet(
        torch.zeros(60, 1, 16, 16, dtype=torch.uint8), "blank", torch.arange(60) // 6, tuple("abcdefghij")
    )
    family = Family(images, shots=2, queries=3)
    other = create("vae", (1, 16, 16), width=8, latents=2).init(0)
    with pytest.raises(LimnerError, match="does not fit the vae"):
        learn(create("vae", (1, 16, 16), width=4, latents=2), family, MetaPlan(steps=1), start=other)
