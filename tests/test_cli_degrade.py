"""``limner degrade``: damaged copies of files, told one by one, the originals untouched."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from limner.cli.main import main
from limner.degradations import parse
from limner.seeds import generator


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images of several sizes and modes, one of them in a sub-folder, and a file that is broken."""
    monkeypatch.chdir(tmp_path)
    drawn = np.random.default_rng(0)
    (tmp_path / "clean" / "inner").mkdir(parents=True)
    Image.fromarray(drawn.integers(0, 256, (20, 31, 3), dtype=np.uint8)).save("clean/colour.png")
    Image.fromarray(drawn.integers(0, 256, (33, 18), dtype=np.uint8)).save("clean/inner/grey.bmp")
    Image.fromarray(drawn.integers(0, 65536, (16, 16), dtype=np.uint16)).save("clean/deep.tiff")
    Image.new("RGBA", (12, 12), (10, 20, 30, 0)).save("clean/clear.png")
    (tmp_path / "clean" / "broken.png").write_bytes(b"no image")
    return tmp_path


def rows_of(directory):
    with (directory / "degraded.csv").open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_copies_and_what_was_done_to_them(folder, capsys):
    before = {path: path.read_bytes() for path in folder.glob("clean/**/*.*")}
    text = "one_of(gaussian(5..50),blur(motion,length=3..9)+poisson(20..200))"
    assert main(["degrade", "clean", text, "--seed", "3", "--out", "made", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["degradation"] == text
    assert "broken.png is left out" in told["notes"][0]
    rows = rows_of(folder / "made")
    assert {name: row["file"] for name, row in rows.items()} == {
        "clear.png": "clear.png",
        "colour.png": "colour.png",
        "deep.tiff": "deep.png",
        "inner/grey.bmp": "inner/grey.png",
    }
    assert len({row["degradation"] for row in rows.values()}) == 4
    assert {path: path.read_bytes() for path in before} == before
    for name, size, mode in (("colour", (31, 20), "RGB"), ("inner/grey", (18, 33), "L"), ("deep", (16, 16), "L")):
        image = Image.open(folder / "made" / f"{name}.png")
        assert (image.size, image.mode) == (size, mode)


def test_of_what_lies_beside_the_copies_nothing_is_said_when_they_are_read(folder):
    from limner.tasks import load
    from limner.tasks.pictures import pictures

    assert main(["degrade", "clean", "gaussian(25)", "--out", "made"]) == 0
    assert {path.name for path in (folder / "made").glob("*.*")} > {"degraded.csv", "request.json"}
    assert not any("left out" in note for note in (*load("folder:made").notes, *pictures("folder:made").notes))


def test_the_text_of_a_row_does_it_again(folder):
    assert main(["degrade", "clean", "blur(gaussian,width=0.5..2)+stripes(3..9)", "--seed", "3", "--out", "made"]) == 0
    damage = parse(rows_of(folder / "made")["inner/grey.bmp"]["degradation"])
    clean = torch.from_numpy(np.array(Image.open("clean/inner/grey.bmp")))[None, None].float() / 255
    again = damage(clean, generator(3, "noise", "inner/grey.bmp"))
    expected = (again * 255).round().clamp(0, 255)[0, 0].numpy()
    assert np.array_equal(np.array(Image.open("made/inner/grey.png")), expected)


def test_an_image_does_not_depend_on_the_others(folder):
    assert main(["degrade", "clean", "unknown", "--out", "all"]) == 0
    for path in ("broken.png", "clear.png", "deep.tiff"):
        (folder / "clean" / path).unlink()
    assert main(["degrade", "clean", "unknown", "--out", "some"]) == 0
    assert (folder / "all/colour.png").read_bytes() == (folder / "some/colour.png").read_bytes()
    assert main(["degrade", "clean", "gaussian(25)", "--seed", "1", "--out", "other"]) == 0
    assert (folder / "other/colour.png").read_bytes() != (folder / "some/colour.png").read_bytes()


def test_smaller_ones_and_data_of_other_kinds(folder):
    assert main(["degrade", "folder:clean,size=16,colour=grey", "downsample(2)", "--out", "small"]) == 0
    assert Image.open("small/colour.png").size == (8, 8)
    assert main(["degrade", "digits,limit=1,size=16", "nothing", "--out", "digits"]) == 0
    assert sorted(path.name for path in (folder / "digits").glob("*.png")) == [
        f"{place:04d}.png" for place in range(10)
    ]


def test_masks_tell_what_is_lost(folder, capsys):
    text = "boxes(2,size=0.3)+missing(0.2)+gaussian(1)"
    assert main(["degrade", "clean", text, "--seed", "2", "--out", "made", "--masks", "masks"]) == 0
    assert "masks of lost pixels: masks" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "masks").rglob("*.png")) == [
        "clear.png", "colour.png", "deep.png", "grey.png",
    ]  # fmt: skip
    mask = np.array(Image.open("masks/inner/grey.png"))
    made = np.array(Image.open("made/inner/grey.png"))
    assert set(np.unique(mask)) == {0, 255}
    assert made[mask == 0].max() < 10 < np.median(made[mask == 255])
    assert 0.2 < (mask == 0).mean() < 0.6
    assert main(["degrade", "clean", text, "--seed", "2", "--out", "same"]) == 0
    assert (folder / "same/inner/grey.png").read_bytes() == (folder / "made/inner/grey.png").read_bytes()


def test_an_image_that_lost_nothing_has_no_mask(folder):
    assert main(["degrade", "clean", "one_of(missing(0.5),clip)", "--out", "made", "--masks", "masks"]) == 0
    lost = {row["file"] for row in rows_of(folder / "made").values() if "missing" in row["degradation"]}
    assert 0 < len(lost) < 4
    assert {str(path.relative_to(folder / "masks")) for path in (folder / "masks").rglob("*.png")} == lost


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["clean", "gaussian(3)", "--masks", "masks"], "gaussian(3) loses no pixels, so there are no masks to write"),
        (["clean", "missing(0.1)", "--masks", "made/masks"], "where masks would be taken for images"),
        (["clean", "missing(0.1)", "--masks", "clean"], "clean exists already; choose another --masks"),
        (["clean", "gausian(3)"], "\n  gausian(3)\n  ^\n"),
        (["clean", "mosaic"], "deep.tiff: mosaic needs colour images"),
        (["clean", 'blur(file,path="none.npy")'], "there is no kernel at none.npy"),
        (["folder:nowhere", "clip"], "nowhere does not exist"),
        (["broken", "clip"], "holds no image that can be used: broken.png is left out"),
    ],
)
def test_mistakes_leave_nothing_behind(folder, capsys, words, told):
    (folder / "broken").mkdir()
    (folder / "broken" / "broken.png").write_bytes(b"no image")
    assert main(["degrade", *words, "--out", "made"]) == 2
    assert told in capsys.readouterr().err
    assert not (folder / "made").exists()


def test_what_is_there_is_not_replaced(folder, capsys):
    assert main(["degrade", "clean", "clip", "--out", "clean", "--force"]) == 2
    assert "was not written by Limner" in capsys.readouterr().err
    assert main(["degrade", "clean", "clip", "--out", "made"]) == 0
    assert main(["degrade", "clean", "clip", "--out", "made"]) == 2
    assert main(["degrade", "clean", "jpeg(9)", "--out", "made", "--force"]) == 0
    assert rows_of(folder / "made")["deep.tiff"]["degradation"] == "jpeg(9)"
