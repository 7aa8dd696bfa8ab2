"""Augmenting a training set: what is written where, who makes it, and what is left where it is cut short."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up import a_making, bars
from PIL import Image

import limner
from limner.cli.main import main
from limner.config import Strategy
from limner.engine import fit as true_fit
from limner.errors import LimnerError
from limner.metrics import gain as gains
from limner.tasks import ImageSet
from limner.verbs import augment as verb
from limner.verbs import augment_check
from limner.verbs.class_folders import class_of, folders

TINY = ["--budget", "2steps", "-o", "width=4", "-o", "latents=2"]


def write(folder: Path, images: ImageSet) -> Path:
    for place, (image, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
        path = folder / images.class_names[label] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with a folder of bars, where checks are short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMNER_MEMORY", str(tmp_path / "memory"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(augment_check, "STEPS", 3)
    monkeypatch.setattr(augment_check, "LEAST_STEPS", 1)
    write(tmp_path / "bars", bars())
    return tmp_path


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


# ── The command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_from_a_folder_to_a_larger_training_set(place, capsys):
    before = snapshot(place / "bars")
    words = ["augment", "folder:bars", "--per-class", "3", "--with-originals", "--out", "made", *TINY, "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert snapshot(place / "bars") == before
    names = {path.relative_to("made").as_posix() for path in Path("made").rglob("*") if path.is_file()}
    images = {f"{name}/made-000{n}.png" for name in ("lying", "standing") for n in (1, 2, 3)}
    copies = {f"{name}/real-000{n}.png" for name in ("lying", "standing") for n in (1, 2, 3, 4)}
    assert names == images | copies | {"augment.json", "report.html", "request.json"}
    for name in images:
        with Image.open(place / "made" / name) as image:
            assert (image.mode, image.size, image.format) == ("L", (16, 16), "PNG")

    real, both = limner.data("folder:bars"), limner.data("folder:made")
    assert both.class_names == real.class_names
    assert torch.bincount(both.labels).tolist() == [7, 7]
    copied = [path.startswith(("lying/real", "standing/real")) for path in both.names]
    assert torch.equal(both.images[torch.tensor(copied)], real.images)

    record = json.loads((place / "made" / "augment.json").read_text())
    assert record["state"] == told["state"] == "finished"
    assert record["data"] == "folder:bars"
    assert record["source"]["sha256"] == real.sha256
    assert record["classes"][1] == {
        "name": "standing", "folder": "standing", "real": 4, "sha256": real.restrict([1]).sha256, "made": 3,
    }  # fmt: skip
    assert record["learner"]["options"]["classes"] == 2
    assert record["start"] is None
    assert Strategy.from_json(record["strategy"]).steps == 2
    assert record["check"]["judged"] == 8
    assert set(record["check"]["gains"]) == {"network", "regression"}
    page = (place / "made" / "report.html").read_text()
    assert record["check"]["verdict"].split(":")[0] in page
    assert page.count("data:image/png") == 2 * (4 + 3)
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_same_seed_makes_the_same_images_and_another_makes_others(place):
    made = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        limner.augment(
            "folder:bars", per_class=2, budget="2steps", options={"width": 4, "latents": 2}, check=False, out=name,
            seed=seed,
        )  # fmt: skip
        made[name] = [path.read_bytes() for path in sorted(Path(name).glob("*/*.png"))]
    assert made["one"] == made["same"] != made["other"]


def test_what_it_costs_is_said_before_and_the_verdict_after(place, capsys):
    assert main(["augment", "folder:bars", "--per-class", "1", "--out", "made", *TINY]) == 0
    told = capsys.readouterr()
    assert "then the check, 4 folds with as many generators and 3 classifiers of 3 steps each, about" in told.err
    assert "one generator of all 2 classes, from scratch" in told.out
    assert "with ordinary augmentation" in told.out
    assert "Logistic regression on features of glyph-net" in " ".join(told.out.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["folder:bars", "--per-class", "0"], "--per-class of 1 or more"),
        (["folder:bars", "--per-class", "1000000000000"], "give a smaller --per-class"),
        (["folder:bars", "--per-class", "1e6"], "takes a whole number"),
        (["folder:bars"], "--per-class"),
        (["folder:bars/lying", "--per-class", "2"], "folder:bars/lying has no classes"),
        (["folder:bars", "--per-class", "2", "--learner", "classifier"], "no learner 'classifier' to generate with"),
        (["folder:bars", "--per-class", "2", "--start", "shipped:glyphs-vae"], "load them with size=32"),
        (["folder:bars", "--per-class", "2", "--strategy", "magic"], "there is no strategy 'magic'"),
        (["folder:bars", "--per-class", "2", "--out", "bars/more"], "lie in each other"),
        (["folder:bars", "--per-class", "2", "--out", "taken"], "taken exists already"),
        (["folder:bars", "--per-class", "2", "--out", "taken", "--force"], "was not written by Limner"),
        (["folder:bars", "--per-class", "2", "--no-check", *TINY, "--out", "taken/file/made"], "cannot be written"),
    ],
)
def test_mistakes_get_one_sentence(place, capsys, words, told):
    (place / "taken").mkdir()
    (place / "taken" / "file").write_text("mine")
    before = snapshot(place / "bars") | snapshot(place / "taken")
    assert main(["augment", *words]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("limner: ")
    assert told in sentence
    assert snapshot(place / "bars") | snapshot(place / "taken") == before
    assert not (place / "runs").exists()


def test_force_replaces_what_it_wrote_but_never_its_own_source(place, capsys):
    words = ["augment", "folder:bars", "--per-class", "1", "--no-check", *TINY, "--out", "made"]
    assert main(words) == 0
    assert main(words) == 2
    assert main([*words, "--force", "--seed", "1"]) == 0
    assert json.loads(Path("made/augment.json").read_text())["seed"] == 1
    before = snapshot(place / "made")
    again = ["augment", "folder:made", "--per-class", "1", "--out", "made", "--force"]
    assert main(again) == 2
    assert "never touched" in capsys.readouterr().err
    assert snapshot(place / "made") == before


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((3, 1), "'standing' has 1 image, too few to learn from one and be judged on another, so nothing was checked"),
        ((3, 0), "there is but the class 'lying', so there is nothing to tell apart"),
    ],
)
def test_classes_too_small_to_be_checked_are_made_and_that_is_said(place, counts, told):
    write(place / "few", bars(counts))
    made = limner.augment("folder:few", per_class=2, budget="2steps", options={"width": 4, "latents": 2}, out="made")
    assert made.gain is None
    assert any(told in note for note in made.notes)
    assert all(each["made"] == 2 for each in made.record["classes"])
    assert told.split(",")[0].replace("'", "&#39;") in made.page.read_text()


def test_a_budget_too_short_for_the_check_leaves_it_out_and_says_so(place, monkeypatch):
    monkeypatch.setattr(augment_check, "LEAST_STEPS", 10**6)
    made = limner.augment("folder:bars", per_class=1, budget="1s", options={"width": 4, "latents": 2}, out="made")
    assert made.gain is None
    assert "1 seconds are too few for the check" in made.notes[0]
    assert made.record["strategy"]["seconds"] == pytest.approx(verb._FOR_GENERATORS / 5)


# ── Cut short ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def refusing(monkeypatch, trouble: BaseException, after: int) -> None:
    """Let the disk take so many images, and half of the next."""
    taken, put = [], Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        if path.suffix != ".png":
            return put(path, data)
        if len(taken) == after:
            put(path, data[: len(data) // 2])
            raise trouble
        taken.append(path)
        return put(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def whole(folder: str) -> int:
    for path in (found := list(Path(folder).glob("*/*.png"))):
        Image.open(path).load()
    return len(found)


def test_stopped_by_hand_what_is_written_stays_and_that_is_said(place, monkeypatch, capsys):
    refusing(monkeypatch, KeyboardInterrupt(), after=3)
    assert main(["augment", "folder:bars", "--per-class", "2", *TINY, "--out", "made"]) == 130
    assert "stopped by hand: 3 of 4 images stay in made" in capsys.readouterr().err
    record = json.loads(Path("made/augment.json").read_text())
    assert record["state"] == "stopped"
    assert [each["made"] for each in record["classes"]] == [2, 1]
    assert whole("made") == 3


def test_a_full_disk_leaves_whole_images_and_one_sentence(place, monkeypatch, capsys):
    refusing(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), after=1)
    assert main(["augment", "folder:bars", "--per-class", "2", "--no-check", *TINY, "--out", "made"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("limner: made takes no more images (no space left on device): 1 of 4 images stay in made")
    assert json.loads(Path("made/augment.json").read_text())["state"] == "failed"
    assert whole("made") == 1


def test_a_check_stopped_by_hand_leaves_all_images(place, monkeypatch, capsys):
    def stopped(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(gains, "correct", stopped)
    assert main(["augment", "folder:bars", "--per-class", "2", *TINY, "--out", "made"]) == 130
    assert "the check was stopped by hand; all images were made" in capsys.readouterr().err
    assert json.loads(Path("made/augment.json").read_text())["state"] == "stopped while checking"
    assert whole("made") == 4
    assert (place / "made" / "report.html").exists()


def test_a_generator_that_comes_to_nothing_is_told(monkeypatch):
    import limner.engine

    def failed(*given, **named):
        return replace(true_fit(*given, **named), state="collapsed")

    monkeypatch.setattr(limner.engine, "fit", failed)
    with pytest.raises(LimnerError, match="the vae of the class 'lying' of bars collapsed, so no images"):
        a_making(True).set_of(bars(), 1, 0)


# ── Who makes them ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_generator_of_its_own_sees_its_class_alone():
    images, making = bars(), a_making(True)
    others = replace(images, images=torch.where((images.labels == 1)[:, None, None, None], 255, images.images))
    one, two = (making.set_of(each, 3, seed=5) for each in (images, others))
    assert one.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(one.images[:3], two.images[:3])
    assert not torch.equal(one.images[3:], two.images[3:])
    assert making.generators(images) == 2
    assert a_making(False).generators(images) == 1


def test_one_generator_for_all_is_asked_for_each_class():
    making = a_making(False)
    making = replace(making, strategy=Strategy(steps=100, learning_rate=2e-2))
    bright = replace(bars(), images=torch.where((bars().labels == 1)[:, None, None, None], 255, bars().images))
    made = making.set_of(bright, 4, seed=0)
    assert made.labels.tolist() == [0] * 4 + [1] * 4
    assert made.images[4:].float().mean() > made.images[:4].float().mean() + 20


def test_a_start_is_adapted_to_each_class(place):
    limner.train(
        "vae", "folder:bars", budget="1steps", options={"width": 4, "latents": 2}, out="begun", shots=4
    )  # fmt: skip
    made = limner.augment("folder:bars", per_class=1, start="begun", budget="1steps", check=False, out="made")
    assert made.record["generator_for_each_class"]
    assert made.record["start"]["sha256"]
    assert "a generator for each class" in made.record["why"][-1]
    scratch = limner.augment(
        "folder:bars", per_class=1, learner="gan", start="scratch", budget="1steps", options={"width": 4}, check=False,
        out="told",
    )  # fmt: skip
    assert scratch.record["learner"]["options"]["conditioning"] == "projection"
    assert not scratch.record["generator_for_each_class"]


def test_a_strategy_can_be_named(place):
    made = limner.augment(
        "folder:bars", per_class=1, strategy="implicit-likelihood", budget="1steps", check=False, out="made"
    )  # fmt: skip
    assert made.record["learner"]["kind"] == "imle"


# ── Names of folders ──────────────────────────────────────────────────────────────────────────────────────────────────

NASTY = [
    "cat", "Cat", "CAT", "a/b", "a\\b", ".", "..", ".hidden", "end.", "end ", " ", "CON", "con.txt", "lpt1", "50%",
    "%41", "é", "e\u0301", "straße", "strasse", "new\nline", "nul\0", 'a:b*?"<>|', "漢字", "augment.json",
    "Report.HTML", "~",
]  # fmt: skip


def test_names_of_classes_come_back_and_no_file_system_confuses_them():
    import unicodedata

    kept = ("augment.json", "report.html")
    found = folders(NASTY, kept)
    assert [class_of(folder) for folder in found] == NASTY
    alike = [unicodedata.normalize("NFC", folder).casefold() for folder in (*found, *kept)]
    assert len(set(alike)) == len(alike)
    for folder in found:
        assert not set(folder) & set('/\\:*?"<>|\0\n')
        assert folder[0] not in ". "
        assert folder[-1] not in ". "
        assert folder.split(".")[0].lower() not in ("con", "lpt1", "nul")


@pytest.mark.parametrize(
    ("names", "told"), [([""], "empty name"), (["a", "a"], "two classes are called 'a'"), (["é" * 200], "too long")]
)
def test_names_that_no_folder_can_have_are_refused(names, told):
    with pytest.raises(LimnerError, match=told):
        folders(names)


def test_classes_in_folders_within_folders_are_written(place):
    write(place / "deep", bars(names=("a/lying", "A/lying")))
    made = limner.augment(
        "folder:deep", per_class=1, budget="1steps", options={"width": 4, "latents": 2}, check=False, out="made"
    )
    names = sorted(path.name for path in Path("made").iterdir() if path.is_dir())
    assert sorted(class_of(name) for name in names) == ["A/lying", "a/lying"]
    assert len({name.casefold() for name in names}) == 2
    assert made.made == 2
