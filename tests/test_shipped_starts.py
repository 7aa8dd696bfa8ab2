"""The starts to generate that come with Limner: small, learned from what it draws itself, what adapting begins with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from limner.cli.main import main
from limner.learners import batch_of, rebuild
from limner.memory import Adviser, Memory, shipped_starts
from limner.memory.shipped import DATA, load_shipped
from limner.tasks import Task, load
from limner.types import Request

READERS = {"digits,classes=0-1,size=32,limit=12": "glyphs-set", "sprites,size=32,kinds=2,seed=9": "sprites-set"}
"""Images of which a start that reads them is for each colour."""


def test_together_they_are_small_and_learned_from_what_limner_draws() -> None:
    starts = [model for model in shipped_starts() if model.learner_description["kind"] != "restorer"]
    assert {model.metadata["reference"] for model in starts} >= {f"shipped:{name}" for name in READERS.values()}
    assert {model.metadata["family"]["spec"].split(",")[0] for model in starts} == {"glyphs", "sprites"}
    assert all(model.metadata["licence"] == "Apache-2.0" for model in starts)
    drawn = [path for path in DATA.glob("*.safetensors") if path.stem.startswith(("glyphs-", "sprites-"))]
    assert sum(path.stat().st_size for path in drawn) <= 8e6


@pytest.mark.parametrize("spec", READERS)
def test_a_fresh_install_begins_from_the_start_for_the_images_colours(spec: str, tmp_path: Path) -> None:
    images = load(spec)
    task = Task("generate", "new", images.select(torch.arange(5)), images.select(torch.arange(5, 10)), 0, spec)
    with Memory.open(tmp_path / "memory") as memory:
        first = Adviser(memory).recommend(task, extractor=None)[0]
    assert (first.source, first.strategy.start) == ("default", f"shipped:{READERS[spec]}")
    assert f"the start {READERS[spec]} was learned from many small tasks on 32×32" in first.reason


@pytest.mark.parametrize("spec", READERS)
def test_what_a_start_makes_follows_the_images_that_it_reads(spec: str) -> None:
    model = load_shipped(f"shipped:{READERS[spec]}")
    learner, images = rebuild(model.learner_description), load(spec)
    means, made = [], []
    for label in range(2):
        own = images.restrict([label])
        params = learner.finish(model.params, batch_of(own.select(torch.arange(5))), torch.Generator())
        samples = learner.predict(params, Request("sample", count=16), torch.Generator().manual_seed(0))
        means.append(own.select(torch.arange(5, len(own))).floats().mean(0))
        made.append(samples.mean(0))
    far = torch.stack([torch.stack([(a - b).square().mean() for b in means]) for a in made])
    assert far.argmin(1).tolist() == [0, 1]  # nearer to other images of their own kind


def test_what_a_folder_of_colour_images_begins_from_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    for place, image in enumerate(load("sprites,size=32,kinds=2,per_class=4,seed=9").images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(f"mine/{place}.png")
    assert main(["recommend", "folder:mine", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first["strategy"]["start"] == "shipped:sprites-set"
    assert "the start sprites-set was learned from many small tasks on 32×32 colour images" in first["reason"]
