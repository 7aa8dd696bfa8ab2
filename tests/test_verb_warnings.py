"""A person's few images, from files: what is told of them in the run, its record and its page."""

import json

import numpy as np
import pytest
from PIL import Image

import limner
from limner.tasks import load


def folder(tmp_path, *pictures):
    place = tmp_path / "mine"
    place.mkdir()
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(place / f"{index}.png")
    return f"folder:{place}"


def strokes(seed, height=16, width=16):
    pixels = np.zeros((height, width), np.uint8)
    pixels[3 + seed % 5 : 13, 4 + seed % 7] = 255
    pixels[4 + seed % 6, 2:12] = 255
    return pixels


@pytest.fixture
def adapted(tmp_path):
    def run(*pictures, **fields):
        return limner.adapt(
            folder(tmp_path, *pictures), start="scratch", learner="vae", options={"width": 4, "latents": 2},
            budget="4steps", fields=fields, out=tmp_path / "run", memory=str(tmp_path / "memory"),
        )  # fmt: skip

    return run


def test_one_image_works_and_is_warned_of(adapted, tmp_path):
    run = adapted(strokes(0))
    assert run.state == "finished"
    (told,) = run.warnings
    assert told.startswith("one image does not show how such images vary: expect copies of it")
    assert told.endswith("give 5 or more")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["warnings"] == run.warnings
    assert limner.load(tmp_path / "run").warnings == run.warnings
    assert "One image does not show" in (tmp_path / "run" / "report.html").read_text()


def test_equal_images_are_warned_of_once(adapted):
    run = adapted(*[strokes(0)] * 4, early_stopping=True)
    assert run.state == "finished"
    assert len(run.warnings) == 1
    assert run.warnings[0].startswith("all 4 images are one and the same")
    assert any("nothing could be told by held-out shots" in note for note in run.notes)


def test_copying_is_watched_where_nothing_is_held_back(adapted):
    run = adapted(*[strokes(seed) for seed in range(5)], evaluate_every=2)
    watched = [point.step for point in run.curve if "nearest_shot_ratio" in point.values]
    assert watched == [2, 4]
    assert run.best is None, "what was learned from must not choose the best"
    assert run.scores is None


def test_what_was_done_to_other_proportions_is_told(tmp_path):
    spec = folder(tmp_path, strokes(0), strokes(1, 20, 40), strokes(2, 40, 16))
    told = [note for note in load(f"{spec},size=16").notes if "not square" in note]
    assert told == ["2 images are not square: their middle was taken (fit=crop); fit=pad keeps all of each within a "
                    "border, fit=stretch ignores proportions"]  # fmt: skip
    assert not any("not square" in note for note in load(f"{spec},size=16,fit=pad").notes)
    np.savez(tmp_path / "wide.npz", x=np.stack([strokes(seed, 16, 20) for seed in range(3)]))
    assert any("3 images are not square" in note for note in load(f"npz:{tmp_path / 'wide.npz'},images=x").notes)
