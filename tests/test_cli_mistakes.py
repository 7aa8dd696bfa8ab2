"""What a user can get wrong: each one sentence, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import json
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.cli.main import main

RANDOM = np.random.default_rng(0)


def picture(path: Path, mode: str = "L", size: tuple[int, int] = (24, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = RANDOM.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8).squeeze(2 if channels == 1 else ())
    Image.fromarray(pixels, mode if mode != "P" else "L").convert(mode).save(path)
    return path


def pictures(folder: Path, count: int, **how) -> Path:
    for index in range(count):
        picture(folder / f"{index}.png", **how)
    return folder


def huge_png(path: Path, side: int) -> None:
    """A PNG whose header claims side × side grey pixels: all black, so the file itself is small."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMNER_MEMORY", str(tmp_path / "memory"))
    return tmp_path


def refused(capsys, words: list[str]) -> str:
    """Run the command, check that it was refused as it should be, and return its sentence."""
    capsys.readouterr()
    code = main(words)
    told = capsys.readouterr()
    assert code == 2, told.err
    assert told.out == ""
    assert "Traceback" not in told.err
    lines = told.err.strip().splitlines()
    assert len(lines) == 1, told.err
    assert lines[0].startswith("limner: ")
    return lines[0]


def adapt(spec: str, *more: str) -> list[str]:
    return ["adapt", "generate", spec, "--budget", "2steps", "--out", "made", *more]


def untouched(here: Path) -> bool:
    return not (here / "made").exists() and not (here / "runs").exists()


def test_empty_folder(here, capsys):
    (here / "empty").mkdir()
    assert "empty" in refused(capsys, adapt("folder:empty"))
    assert untouched(here)


def test_missing_folder(here, capsys):
    assert "nowhere" in refused(capsys, adapt("folder:nowhere"))
    assert untouched(here)


def test_one_image_is_too_few_for_ten_shots(here, capsys):
    pictures(here / "one", 1)
    assert "1 image" in refused(capsys, adapt("folder:one", "--shots", "10"))
    assert untouched(here)


def test_only_a_text_file_named_png(here, capsys):
    (here / "text").mkdir()
    (here / "text" / "notes.png").write_text("these are my notes")
    assert "notes.png" in refused(capsys, adapt("folder:text")) or "text" in refused(capsys, adapt("folder:text"))
    assert untouched(here)


def test_only_a_truncated_jpeg(here, capsys):
    whole = picture(here / "cut" / "a.jpg", size=(64, 64))
    whole.write_bytes(whole.read_bytes()[:200])
    assert "cut" in refused(capsys, adapt("folder:cut"))
    assert untouched(here)


def test_damaged_files_among_good_ones_are_left_out_and_named(here, capsys):
    folder = pictures(here / "mixed", 12)
    (folder / "notes.png").write_text("these are my notes")
    assert main(["data", "folder:mixed"]) == 0
    told = capsys.readouterr().out
    assert "12 grey images" in told
    assert "notes.png" in told


@pytest.mark.parametrize("mode", ["I;16", "P", "CMYK", "RGBA", "LA", "1"])
def test_every_mode_of_image_loads(here, capsys, mode):
    folder = here / "modes"
    for index in range(3):
        suffix = "tif" if mode in ("CMYK", "I;16") else "png"
        if mode == "I;16":
            folder.mkdir(exist_ok=True)
            values = RANDOM.integers(0, 65536, (24, 24), dtype=np.uint16)
            Image.fromarray(values).save(folder / f"{index}.{suffix}")
        else:
            base = picture(folder / f"{index}.png", mode="RGB")
            converted = Image.open(base).convert(mode)
            base.unlink()
            converted.save(folder / f"{index}.{suffix}")
    assert main(["data", "folder:modes,size=16"]) == 0
    assert "3 " in capsys.readouterr().out


def test_an_image_of_one_pixel(here, capsys):
    folder = pictures(here / "dots", 3, size=(1, 1))
    code = main(["data", f"folder:{folder.name}"])
    told = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in told.err
    assert (told.err.startswith("limner: ") and len(told.err.splitlines()) == 1) if code == 2 else "3" in told.out


def test_a_huge_image(here, capsys):
    (here / "huge").mkdir()
    huge_png(here / "huge" / "black.png", 20_000)
    code = main(["data", "folder:huge,size=16"])
    told = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in told.err
    assert (told.err.startswith("limner: ") and len(told.err.splitlines()) == 1) if code == 2 else "1 grey" in told.out


def test_fewer_images_than_shots(here, capsys):
    sentence = refused(capsys, adapt("digits,classes=3,limit=20", "--shots", "500"))
    assert "500" in sentence
    assert untouched(here)


def test_a_class_with_too_few_images_for_a_family(here, capsys):
    for name in ("a", "b", "c"):
        pictures(here / "few" / name, 3)
    sentence = refused(capsys, ["meta-train", "reptile", "vae", "--family", "folder:few", "--shots", "10"])
    assert "folder:few has 0 usable classes" in sentence
    assert "3 of 3 classes have fewer than 20 images" in sentence


def test_a_classifier_needs_classes(here, capsys):
    pictures(here / "plain", 12)
    words = ["train", "classifier", "folder:plain", "--shots", "5", "--budget", "1steps", "--out", "made"]
    assert "folder:plain does not have the classes" in refused(capsys, words)
    assert untouched(here)


def test_more_than_the_memory_holds(here, capsys):
    words = ["train", "vae", "digits,size=16", "--shots", "5", "--budget", "1steps", "--option", "width=8"]
    assert main([*words, "--out", "made"]) == 0
    assert "not enough memory" in refused(capsys, ["evaluate", "made", "digits,size=16", "--count", "9000000000000"])
    assert "GB free" in refused(capsys, ["sample", "made", "--count", "9000000000000", "--out", "many"])
    assert not (here / "many").exists()


def test_labels_of_the_wrong_length(here, capsys):
    np.savez(here / "pack.npz", x=np.zeros((20, 16, 16), np.uint8), y=np.zeros(19, np.int64))
    sentence = refused(capsys, adapt("npz:pack.npz,images=x,labels=y"))
    assert "19" in sentence
    assert "20" in sentence
    assert untouched(here)


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_an_npz_with_pickled_objects_is_refused_and_not_run(here, capsys):
    array = np.empty(1, dtype=object)
    array[0] = Bomb()
    np.savez(here / "bomb.npz", x=array)
    assert "bomb.npz" in refused(capsys, adapt("npz:bomb.npz,images=x"))
    assert not (here / "exploded").exists()
    assert untouched(here)


def test_an_out_that_exists(here, capsys):
    (here / "made").mkdir()
    (here / "made" / "thesis.txt").write_text("years of work")
    assert "exists already" in refused(capsys, adapt("digits"))
    assert "not written by Limner" in refused(capsys, adapt("digits", "--force"))
    assert (here / "made" / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in (here / "made").iterdir()] == ["thesis.txt"]


def test_an_out_where_another_run_is_just_being_made(here, capsys):
    from made_up import VAE, a_task

    from limner.config import Strategy
    from limner.memory import Memory
    from limner.verbs.directories import begin

    with Memory.open() as memory:
        run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0, directory=here / "made")
        begin(here / "made", {"run": run})
        (here / "made" / "checkpoint.safetensors").write_bytes(b"hours of work")
        words = ["train", "vae", "digits,size=16", "--shots", "5", "--budget", "1steps", "--option", "width=8"]
        assert f"the run {run} is just being made" in refused(capsys, [*words, "--out", "made", "--force"])
        assert (here / "made" / "checkpoint.safetensors").read_bytes() == b"hours of work"
        memory.fail_run(run, "given up")
    assert main([*words, "--out", "made", "--force"]) == 0


def test_a_start_whose_network_does_not_fit(here, capsys):
    from limner.learners import create, describe
    from limner.memory import Memory

    learner = create("vae", (3, 32, 32), width=8)
    with Memory.open() as memory:
        memory.put_model(learner.init(0), describe(learner), role="start", name="colourful")
    sentence = refused(capsys, adapt("digits", "--start", "colourful"))
    assert "colourful" in sentence
    assert "32×32 colour" in sentence
    assert untouched(here)


def test_a_start_of_another_kind(here, capsys):
    from limner.learners import create, describe
    from limner.memory import Memory
    from limner.tasks import load

    learner = create("vae", load("digits").shape, width=8)
    with Memory.open() as memory:
        memory.put_model(learner.init(0), describe(learner), role="start", name="mine")
    assert "is a vae, not a gan" in refused(capsys, adapt("digits", "--start", "mine", "--learner", "gan"))
    assert "--option" in refused(capsys, adapt("digits", "--start", "mine", "--option", "width=16"))
    assert untouched(here)


def test_a_start_that_is_not_there(here, capsys):
    assert "no-such-start" in refused(capsys, adapt("digits", "--start", "no-such-start"))
    assert "shipped:nothing" in refused(capsys, adapt("digits", "--start", "shipped:nothing"))
    near = refused(capsys, adapt("digits", "--start", "glyph-vea"))
    assert near.index("shipped:glyphs-vae") < near.index("shipped:glyphs-gan")
    assert untouched(here)


def test_a_memory_made_by_a_newer_version(here, capsys):
    from limner.memory import Memory

    Memory.open(here / "memory").close()
    with sqlite3.connect(here / "memory" / "memory.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'from the future'")
    before = (here / "memory" / "memory.db").read_bytes()
    assert "newer" in refused(capsys, adapt("digits"))
    assert untouched(here)
    assert (here / "memory" / "memory.db").read_bytes() == before


def test_a_memory_that_is_another_file(here, capsys):
    (here / "mine.db").write_text("my shopping list")
    assert "mine.db" in refused(capsys, adapt("digits", "--memory", "mine.db"))
    assert (here / "mine.db").read_text() == "my shopping list"
    assert untouched(here)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["adapt", "paint", "digits"], "generate"),
        (["adapt", "generate"], "DATA is missing"),
        (["adapt", "generate", "digits", "--budget", "soon"], "60s"),
        (["adapt", "generate", "digits", "--learner", "llm"], "vae, gan"),
        (["recommend", "digits", "--learner", "llm"], "vae, gan"),
        (["recommend"], "DATA is missing"),
        (["recommend", "digits", "--goal", "paint", "--learner", "vae"], "generate, classify, translate, restore"),
        (["recommend", "digits", "--goal", "restore"], "say how clean images get damaged"),
        (["recommend", "digits", "--degradation", "gaussian(25)"], "leave the degradation gaussian(25) out"),
        (["recommend", "digits", "--goal", "restore", "--learner", "vae"], "there are: restorer"),
        (["adapt", "generate", "digits", "--set", "steps=-1"], "a whole number from 0"),
        (["train", "vae", "digits", "--set", "steps=-1"], "a whole number from 0"),
        (["train", "vae", "digits", "--set", "warmup=-1"], "warmup -1 cannot be used"),
        (["adapt", "generate", "digits", "--set", "evaluate_every=-5"], "evaluate_every -5 cannot be used"),
        (["adapt", "generate", "digits", "--set", "steps=5", "--budget", "60s"], "both say when to end"),
        (["train", "vae", "digits", "--set", "seconds=5", "--budget", "9steps"], "both say when to end"),
        (["train", "vae", "digits", "--start", "nonsense"], "the starts are: shipped:restorer, shipped:glyphs-"),
        (["train", "vae", "photos,classes=3"], "a number is a name"),
        (["adapt", "generate", "digits", "--set", "pace=1"], "pace"),
        (["adapt", "generate", "digits", "--set", "clip=tight"], "a number"),
        (["adapt", "generate", "digits", "--set", "schedule=linear"], "constant, cosine"),
        (["adapt", "generate", "digits", "--set", "clip"], "NAME=VALUE"),
        (["adapt", "generate", "digits", "--shots", "0"], "shots"),
        (["adapt", "generate", "--resume", "nowhere"], "nowhere"),
        (["adapt", "generate", "digits", "--resume", "nowhere"], "leave out 'digits'"),
        (["train", "vae", "digits", "--option", "depth=3"], "depth"),
        (["train", "cnn", "digits"], "vae, gan, "),
        (["train", "regressor", "digits"], "vae, gan, "),
        (["train", "vae", "digits", "--rate", "-1"], "learning rate"),
        (["train", "classifier", "photos,classes=coffee"], "class"),
        (["meta-train", "leap", "vae", "--family", "digits"], "reptile"),
        (["meta-train", "maml", "vae", "--family", "digits", "--out", "start.pt"], ".safetensors"),
        (["sample", "nothing"], "nothing"),
        (["sample", "nothing", "--count", "0"], "--count"),
        (["evaluate", "nothing", "digits"], "nothing"),
        (["compare", "one", "two"], "one"),
        (["data", "glyph"], "glyphs"),
        (["data", "digits", "--out", "x.jpg"], ".png"),
        (["memory", "list", "dreams"], "dreams"),
        (["memory", "show", "nothing"], "nothing"),
        (["memory", "import", "nothing.limner"], "nothing.limner"),
        (["memory", "forget", "nothing"], "nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_in_what_was_asked(here, capsys, words, hint):
    assert hint in refused(capsys, words)
    assert not (here / "runs").exists()
    assert sorted(path.name for path in here.iterdir()) in ([], ["memory"])


def test_a_full_disk_is_told_in_a_sentence(here, capsys, monkeypatch):
    from limner.verbs import directories

    def full(path, record):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(directories, "write_json", full)
    sentence = refused(capsys, adapt("digits,classes=3", "--shots", "5"))
    assert "no space left" in sentence
    assert "--out" in sentence


LIMITED = """
import resource, sys
from limner.cli.main import main
code = main(["train", "vae", "digits,classes=3", "--shots", "5", "--budget", "1steps", "--out", "before"])
assert code == 0, code
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(["train", "vae", "digits,classes=3", "--shots", "5", "--budget", "1steps", "--out", "made"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_disk_that_takes_no_more(here):
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("limner: ")
    assert not [path for path in here.rglob("*") if path.name.startswith(".writing") or path.suffix == ".tmp"]
    assert (here / "before" / "model.safetensors").stat().st_size > 20_000


def test_a_killed_or_damaged_run_directory(here, capsys):
    assert main(["train", "vae", "digits,classes=3", "--shots", "5", "--budget", "1steps", "--out", "made"]) == 0
    whole = (here / "made" / "model.safetensors").read_bytes()
    (here / "made" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "made" in refused(capsys, ["sample", "made"])
    (here / "made" / "model.safetensors").unlink()
    assert "made" in refused(capsys, ["sample", "made"])
    assert "nothing to resume" in refused(capsys, ["train", "--resume", "made"])
    asked = json.loads((here / "made" / "request.json").read_text())
    for damage in ({"strategy": None}, {"advice": 3}):
        (here / "made" / "request.json").write_text(json.dumps(asked | damage))
        assert "begin a new run" in refused(capsys, ["train", "--resume", "made"])
    del asked["seed"]
    (here / "made" / "request.json").write_text(json.dumps(asked))
    assert "begin a new run" in refused(capsys, ["train", "--resume", "made"])


@pytest.mark.parametrize(
    ("number", "told"),
    [
        ("EPERM", "allow"),
        ("ENOENT", "not there"),
        ("ENOTDIR", "a file"),
        ("ENAMETOOLONG", "shorter"),
        ("ELOOP", "link"),
    ],
)
def test_what_the_file_system_refuses_is_told(here, capsys, monkeypatch, number, told):
    def refuse(spec):
        raise OSError(getattr(errno, number), "", spec)

    monkeypatch.setattr("limner.verbs.data.load", refuse)
    sentence = refused(capsys, ["data", "folder:pictures"])
    assert "pictures" in sentence
    assert told in sentence


def test_a_name_that_is_too_long_and_a_path_through_a_file(here, capsys):
    (here / "file").write_text("")
    (here / "circle").symlink_to(here / "circle")
    for out in ("n" * 300, "file/made", "circle/made"):
        refused(capsys, ["adapt", "generate", "digits,classes=3", "--shots", "5", "--out", out])
    refused(capsys, ["data", f"folder:{'n' * 300}"])
    refused(capsys, ["data", "folder:file/inside"])
    refused(capsys, ["data", "folder:circle"])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--strategy", "lowrank"], "there is no strategy 'lowrank'"),
        (["--strategy", "freeze-critic", "--start", "scratch"], "does not begin from scratch"),
        (["--strategy", "scratch", "--start", "shipped:glyphs-vae"], "does not begin from shipped:glyphs-vae"),
        (["--strategy", "freeze-critic", "--learner", "vae"], "the strategy freeze-critic cannot be used here"),
    ],
)
def test_a_strategy_that_cannot_be_used_is_told(asked, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["adapt", "generate", "digits,size=32,classes=3", "--shots", "5", *asked]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
