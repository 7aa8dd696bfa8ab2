"""Conditional runs by their commands, and samples written as they are drawn."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from limner import Run, Strategy, load
from limner.cli.main import main
from limner.errors import LimnerError
from limner.learners import create
from limner.metrics.likelihood import negative_log_likelihood
from limner.seeds import generator
from limner.tasks import ImageSet, Task
from limner.types import Request
from limner.verbs.classes import with_classes
from limner.verbs.evaluate import _likelihood
from limner.verbs.sample import TOGETHER

DIGITS = "digits,size=16,classes=3+5+8"
TINY = ["--shots", "12", "--budget", "2steps", "--option", "width=4", "--option", "latents=3", "--set", "batch=4"]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A place with a conditional run in it."""
    place = tmp_path_factory.mktemp("classes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("LIMNER_MEMORY", str(place / "memory"))
        words = ["train", "gan", DIGITS, *TINY, "--option", "conditioning=projection", "--out", "made"]
        assert main(words) == 0
    return place


def bytes_of(place, written):
    images = [Image.open(place / path) for path in written["images"]]
    return torch.stack([torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in images])


def drawn(run, labels, count):
    made = run.learner.predict(run.params, Request("sample", count=count, labels=labels), generator(0, "samples"))
    return made.mul(255).round().to(torch.uint8).flatten(1)


def test_a_conditional_run_knows_its_classes_by_name(place):
    run = load("made")
    assert run.learner.options["classes"] == 3
    assert run.task["classes"] == ["3", "5", "8"]


def test_samples_are_of_the_class_asked_for(place, capsys):
    run = load("made")
    capsys.readouterr()
    assert main(["sample", "made", "--class", "8", "--class", "3", "--count", "5", "--out", "some", "--json"]) == 0
    found = bytes_of(place, json.loads(capsys.readouterr().out))
    assert torch.equal(found, drawn(run, torch.tensor([2, 0, 2, 0, 2]), 5))
    assert main(["sample", "made", "--count", "5", "--out", "all", "--json"]) == 0
    found = bytes_of(place, json.loads(capsys.readouterr().out))
    assert torch.equal(found, drawn(run, torch.tensor([0, 1, 2, 0, 1]), 5))


def test_many_samples_come_in_parts_that_go_on_where_the_last_ended(place, capsys):
    assert main(["sample", "made", "--count", str(TOGETHER + 3), "--out", "many"]) == 0
    assert f"the first {TOGETHER} in one" in capsys.readouterr().out
    assert len(list((place / "many").glob("0*.png"))) == TOGETHER + 3
    run, random = load("made"), generator(0, "samples")
    run.learner.predict(run.params, Request("sample", count=TOGETHER), random)
    labels = torch.tensor([TOGETHER % 3, (TOGETHER + 1) % 3, (TOGETHER + 2) % 3])
    rest = run.learner.predict(run.params, Request("sample", count=3, labels=labels), random)
    last = Image.open(place / "many" / f"{TOGETHER + 2:04d}.png")
    assert last.tobytes() == bytes(rest[2].mul(255).round().to(torch.uint8).flatten().tolist())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sample", "made", "--class", "4"], "it knows: 3, 5, 8"),
        (["sample", "made", "--count", "0"], "1 or more"),
        (["sample", "made", "--count", "900000000000"], "GB free"),
        (["train", "gan", DIGITS, *TINY, "-o", "conditioning=projection", "-o", "classes=4"], "has 3 classes, not 4"),
        (["train", "gan", "digits,size=16,classes=3", *TINY, "-o", "conditioning=auxiliary"], "give two or more"),
        (["train", "gan", "photos,size=16", *TINY, "-o", "conditioning=auxiliary"], "has none of the 12 images"),
        (["train", "gan", "digits,size=8", *TINY], "from 16 to 128"),
    ],
)
def test_mistakes_get_one_sentence(place, capsys, words, told):
    capsys.readouterr()
    assert main([*words, "--out", "nothing"]) == 2
    sentence = capsys.readouterr().err.strip()
    assert told in sentence
    assert "\n" not in sentence
    assert not (place / "nothing").exists()


def test_a_class_without_images_to_learn_from_is_told():
    images = torch.zeros(3, 1, 16, 16, dtype=torch.uint8)
    gaps = ImageSet(images, "gaps", torch.tensor([0, 2, 2]), ("cat", "dog", "owl"))
    with pytest.raises(LimnerError, match="the class 'dog' of pack has none of the 3"):
        with_classes({"conditioning": "projection"}, Task("generate", "gaps", gaps, None), "pack")
    plain = Task("generate", "plain", ImageSet(images, "plain"), None)
    with pytest.raises(LimnerError, match="pack does not have the classes"):
        with_classes({"classes": 2}, plain, "pack")
    assert with_classes({"width": 8}, Task("generate", "gaps", gaps, None), "pack") == {"width": 8}


def test_a_start_with_classes_takes_images_of_as_many(place, capsys):
    words = [*TINY, "--start", "made", "--out", "other"]
    assert main(["train", "gan", "digits,size=16,classes=3+5", *words]) == 2
    assert "makes images of 3 classes, but digits,size=16,classes=3+5 has 2" in capsys.readouterr().err
    assert main(["train", "gan", DIGITS, *words, "--option", "width=8"]) == 2
    assert "fixes the learner's options" in capsys.readouterr().err
    assert not (place / "other").exists()


def test_a_likelihood_is_that_of_the_class_by_name():
    vae = create("vae", (1, 16, 16), latents=2, width=4, classes=3, sampler="prior")
    run = Run(vae, "letters", "", Strategy(), 0, vae.init(seed=0), task={"classes": ["a", "b", "c"]})
    images = torch.randint(256, (4, 1, 16, 16), dtype=torch.uint8)
    some = ImageSet(images, "some", torch.tensor([0, 1, 1, 0]), ("c", "a"))
    batch = {"images": some.floats(), "labels": torch.tensor([2, 0, 0, 2])}
    right = negative_log_likelihood(vae, run.params, batch, likelihood="bernoulli")
    assert _likelihood(run, some, 0) == right.told()
    assert _likelihood(run, ImageSet(images, "others", some.labels, ("c", "z")), 0) is None
    assert _likelihood(run, ImageSet(images, "unlabelled"), 0) is None
