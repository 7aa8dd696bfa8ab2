"""The Python face: the same verbs, loaded on first use."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import limner
from limner.errors import LimnerError


def test_importing_limner_loads_nothing_heavy():
    code = "import sys, limner; sys.exit(bool({'torch', 'numpy', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", limner.__all__)
def test_every_public_name_is_there_and_told_about(name):
    assert name in dir(limner)
    assert inspect.getdoc(getattr(limner, name))


def test_public_names_agree_with_where_they_live():
    assert sorted(limner._HOMES) == sorted(limner.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        _ = limner.paint


@pytest.mark.parametrize(
    "verb", ["adapt", "augment", "train", "sample", "evaluate", "compare", "recommend", "demo", "restore"]
)
def test_the_command_line_offers_what_the_verb_takes(verb):
    import typer

    from limner.cli.main import app

    command = typer.main.get_command(app).commands[verb]
    offered = {parameter.name for parameter in command.params} | {"options", "fields", "progress"}
    if verb != "demo":
        taken = set(inspect.signature(getattr(limner, verb)).parameters)
        assert taken - {"spec"} <= offered


def test_data_is_a_function_even_when_the_package_data_is_used():
    from limner.memory import shipped_starts

    shipped_starts()
    assert callable(limner.data)
    assert len(limner.data("digits,size=16,classes=3")) > 100


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    return limner.train(
        "vae",
        "digits,size=16,classes=3",
        shots=10,
        budget="3steps",
        options={"width": 8, "latents": 4},
        fields={"batch": 5},
        out=folder / "run",
        memory=str(folder / "memory"),
        seed=3,
    )


def test_a_run_samples_scores_and_loads(run):
    assert run.state == "finished"
    samples = run.sample(5, seed=1)
    assert samples.dtype == torch.uint8
    assert samples.shape == (5, 1, 16, 16)
    assert run.scores is not None
    assert run.scores.query > 100
    again = limner.load(run.lineage["directory"])
    assert torch.equal(again.sample(5, seed=1), samples)
    assert again.scores == run.scores


def test_the_same_seed_gives_the_same_run(run, tmp_path):
    twin = limner.train(
        "vae",
        "digits,size=16,classes=3",
        shots=10,
        budget="3steps",
        options={"width": 8, "latents": 4},
        fields={"batch": 5},
        out=tmp_path / "twin",
        memory=str(tmp_path / "memory"),
        seed=3,
    )
    assert twin.params.keys() == run.params.keys()
    assert all(torch.equal(twin.params[name], run.params[name]) for name in run.params)


def test_a_model_of_the_memory_loads_by_its_run(run):
    memory = str(Path(run.lineage["directory"]).parent / "memory")
    again = limner.load(run.lineage["run"], memory=memory)
    assert torch.equal(again.sample(3, seed=2), run.sample(3, seed=2))
    assert again.scores == run.scores


def test_a_model_of_the_memory_loads_when_its_directory_is_gone(tmp_path):
    made = limner.train(
        "gan",
        "digits,size=16",
        shots=5,
        budget="1steps",
        options={"width": 8},
        out=tmp_path / "run",
        memory=str(tmp_path / "memory"),
    )
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    again = limner.load(made.id, memory=str(tmp_path / "memory"))
    assert torch.equal(again.sample(3, seed=2), made.sample(3, seed=2))
    assert again.source == "digits,size=16"
    assert limner.load(tmp_path / "elsewhere").lineage["directory"] == str(tmp_path / "elsewhere")


def test_what_was_learned_from_is_not_judged_on(run):
    scores = limner.evaluate(run.lineage["directory"], "digits,size=16,classes=3")
    assert scores.query == len(limner.data("digits,size=16,classes=3")) - 10
    assert any("10 of the real images were learned from" in note for note in scores.notes)
    assert scores.support == 10


def test_nothing_is_left_to_judge_on(run, tmp_path):
    from limner.tasks import split

    task = split(limner.data("digits,size=16,classes=3"), 10, 3)
    import numpy as np

    np.savez(tmp_path / "seen.npz", x=task.support.images[:, 0].numpy())
    with pytest.raises(LimnerError, match="was learned from"):
        limner.evaluate(run.lineage["directory"], f"npz:{tmp_path / 'seen.npz'},images=x")


def test_real_images_score_better_than_noise(tmp_path):
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", x=noise)
    real = limner.evaluate("digits,size=28,classes=3,limit=90", "digits,size=28,classes=3", extractor="glyph-net")
    bad = limner.evaluate(f"npz:{tmp_path / 'noise.npz'},images=x", "digits,size=28,classes=3", extractor="glyph-net")
    assert real.values["kernel_distance"].value < bad.values["kernel_distance"].value
    assert real.values["coverage"].value > bad.values["coverage"].value
