"""The demo: three beginnings, one budget, one page. With tiny models here; the shipped ones are tried at the end."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from limner.cli.main import main
from limner.learners import create, describe
from limner.memory import StoredModel
from limner.tasks import Family, load
from limner.verbs import demo


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Beginnings that cost nothing, in place of those that come with Limner."""
    monkeypatch.chdir(tmp_path)
    family = Family(load("glyphs,size=16,characters=40,per_class=12"), shots=10, queries=2)
    learner = create("gan", (1, 16, 16), width=8, latents=4)
    monkeypatch.setattr(demo, "DRAWINGS", 30)

    def load_tiny(reference):
        role = "start" if reference == demo.START else "model"
        about = {"reference": reference, "family": family.to_json(), "role": role}
        return StoredModel("0" * 64, learner.init(len(reference)), describe(learner), about)

    monkeypatch.setattr("limner.memory.shipped.load_shipped", load_tiny)
    monkeypatch.setattr(demo, "shipped", lambda: demo.Beginnings(load_tiny(demo.START), load_tiny(demo.POOLED), family))
    return tmp_path


def test_the_page_holds_all_three_arms(tiny, capsys):
    assert main(["demo", "--budget", "2steps", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in made["rows"]]
    assert [name.split()[0] for name in names] == ["adapted", "trained", "fine-tuned"]
    page = (tiny / made["page"]).read_text()
    assert all(name in page for name in names)
    assert "<svg" in page
    assert {row["steps"] for row in made["rows"]} == {2}
    assert made["notes"] == []
    assert Image.open(tiny / "limner-demo" / "demo.png").size[0] > 500
    assert main(["demo", "--budget", "2steps"]) == 2
    assert main(["demo", "--budget", "2steps", "--force"]) == 0
    assert made["page"] in capsys.readouterr().out


def test_the_arms_differ_only_in_where_they_begin(tiny):
    assert main(["demo", "--budget", "1steps"]) == 0
    records = [json.loads(path.read_text()) for path in sorted((tiny / "limner-demo").glob("*/run.json"))]
    assert len(records) == 3
    assert len({record["strategy"].pop("start") for record in records}) == 3
    assert records[0]["strategy"] == records[1]["strategy"] == records[2]["strategy"]
    assert records[0]["task"] == records[1]["task"] == records[2]["task"]
    assert records[0]["scores"]["query"] == 20


def test_the_demo_leaves_the_users_memory_alone(tiny, monkeypatch):
    monkeypatch.setenv("LIMNER_MEMORY", str(tiny / "mine"))
    assert main(["demo", "--budget", "1steps"]) == 0
    assert not (tiny / "mine").exists()
    assert (tiny / "limner-demo" / "memory").exists()


def test_the_character_was_never_learned_from(tiny):
    family = demo.shipped().family
    seen = {family.images.class_names[index] for split in ("train", "validation") for index in family.classes[split]}
    chosen = {demo.unseen(family, seed).images.class_names for seed in range(4)}
    assert len(chosen) > 1
    assert not {name for (name,) in chosen} & seen


def test_what_ships_is_what_the_demo_needs():
    start, pooled, family = demo.shipped()
    assert start.metadata["role"] == "start"
    assert pooled.metadata["role"] == "model"
    assert start.learner_description == pooled.learner_description
    assert family.images.shape == tuple(start.learner_description["image_shape"])
    assert pooled.metadata["family"] == start.metadata["family"]
