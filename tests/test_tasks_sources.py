"""Arrays, datasets and data specs become image sets, and what cannot be used is told in a sentence."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limner.errors import LimnerError
from limner.tasks import describe, kinds, load
from limner.tasks.convert import fitting
from limner.tasks.select import choose_classes
from limner.tasks.spec import parse

DATA = Path(os.environ.get("LIMNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"needs the data packs in {DATA} (set LIMNER_DATA)")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(side=16, channels=3, seed=0):
    shape = (side, side) if channels == 1 else (side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def white_noise_png(path, **arguments):
    Image.fromarray(noise(**arguments)).save(path)


# arrays


def test_npz_layouts_and_types(tmp_path):
    colour = np.stack([noise(seed=index) for index in range(6)])
    path = tmp_path / "a.npz"
    expected = torch.from_numpy(colour).permute(0, 3, 1, 2)
    for images in (colour, colour.transpose(0, 3, 1, 2), colour / 255, colour.astype(np.int64)):
        np.savez(path, pictures=np.ascontiguousarray(images), kind=np.array(list("ababab")))
        loaded = load(str(path))
        assert torch.equal(loaded.images, expected)
        assert loaded.class_names == ("a", "b")
    clear = np.concatenate([colour, np.zeros((6, 16, 16, 1), np.uint8)], axis=3)
    np.savez_compressed(path, pictures=clear)
    assert load(str(path)).images.unique().tolist() == [255]
    np.savez(path, pictures=colour[..., 0])
    assert load(str(path), memory_limit=0).shape == (1, 16, 16)


def test_npz_groups_follow_the_classes(tmp_path):
    path = tmp_path / "a.npz"
    arrays = {"x": noise(16, 16), "char": np.arange(16) // 2, "alphabet": np.arange(16) // 8}
    np.savez(path, **arrays, alphabet_names=np.array(["Latin", "Greek"]))
    images = load(f"npz:{path},images=x,labels=char,groups=alphabet")
    assert images.class_groups.tolist() == [0] * 4 + [1] * 4
    assert images.group_names == ("Latin", "Greek")
    chosen = load(f"npz:{path},images=x,labels=char,groups=alphabet,classes=5-6")
    assert (chosen.class_names, chosen.class_groups.tolist(), chosen.group_names) == (("5", "6"), [0, 0], ("Greek",))
    assert chosen.labels.tolist() == [0, 0, 1, 1]
    within = {**arrays, "char": np.arange(16) % 8 // 2}
    np.savez(path, **within)
    assert len(load(f"npz:{path},labels=char,groups=alphabet").class_names) == 8


def test_npz_mistakes(tmp_path):
    path = tmp_path / "a.npz"
    images = np.zeros((4, 16, 16), np.uint8)
    cases = [
        ({"x": np.array([{}], dtype=object)}, "", "pickled Python objects"),
        ({"x": images, "y": np.array([None] * 4)}, ",labels=y", "pickled Python objects"),
        ({"x": images, "y": np.zeros(3, int)}, ",labels=y", "4 images but 3 labels"),
        ({"x": images, "z": images}, "", "several arrays of images; say which, as in images=x"),
        ({"x": images}, ",images=xx", "no array 'xx'"),
        ({"x": images}, ",labels=y", "no array 'y'"),
        ({"x": images + 2.5}, "", r"run from 2\.5 to 2\.5; scale them to \[0, 1\]"),
        ({"x": images.astype(int) + 300}, "", "run from 300 to 300"),
        ({"x": np.zeros(7)}, "", "holds no array of images"),
        ({"x": images}, ",classes=3", "has no classes to choose"),
    ]
    for arrays, options, said in cases:
        np.savez(path, **arrays)
        with pytest.raises(LimnerError, match=said):
            load(f"npz:{path}{options}")
    path.write_text("hello")
    with pytest.raises(LimnerError, match="not a NumPy archive"):
        load(str(path))


def test_idx_plain_and_gzipped(tmp_path):
    images, labels = noise(16, 16), np.arange(16, dtype=np.uint8) % 3
    content = b"\0\0\x08\x03" + struct.pack(">III", 16, 16, 16) + images.tobytes()
    (tmp_path / "images-idx3-ubyte").write_bytes(content)
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    (tmp_path / "labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 16) + labels.tobytes())
    sets = [load(f"{tmp_path}/images-idx3-ubyte{end},labels={tmp_path}/labels-idx1-ubyte") for end in ("", ".gz")]
    for loaded in sets:
        assert np.array_equal(loaded.images[:, 0].numpy(), images)
        assert loaded.labels.tolist() == labels.tolist()
    (tmp_path / "labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes(3))
    with pytest.raises(LimnerError, match="one label for each image"):
        load(f"{tmp_path}/images-idx3-ubyte,labels={tmp_path}/labels-idx1-ubyte")
    (tmp_path / "images-idx3-ubyte").write_bytes(content[:-1])
    with pytest.raises(LimnerError, match="ends before"):
        load(f"{tmp_path}/images-idx3-ubyte")


# datasets


def test_datasets_from_a_folder_a_parquet_file_and_a_saved_one(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the extra hub")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    root = tmp_path / "pets"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        white_noise_png(root / name / "a.png", seed=len(name))
        white_noise_png(root / name / "b.png", seed=ord(name[0]))
    expected = load(f"folder:{root}")
    by_folder = load(f"hf:{root}")
    table = datasets.load_dataset("imagefolder", data_dir=str(root), split="train")
    table.to_parquet(tmp_path / "pets.parquet")
    table.save_to_disk(tmp_path / "saved")
    for loaded in (by_folder, load(str(tmp_path / "pets.parquet")), load(str(tmp_path / "saved"))):
        assert loaded.class_names == ("cat", "dog")
        assert loaded.sha256 == expected.sha256
    with pytest.raises(LimnerError, match="no split 'test'"):
        load(f"hf:{root},split=test")
    with pytest.raises(LimnerError, match=r"no column 'imag' .did you mean image"):
        load(f"hf:{root},images=imag")


def test_a_missing_datasets_library_is_a_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(LimnerError, match="needs the library datasets; install it with"):
        load("hf:somebody/something")


# classes


def test_a_number_is_the_name_of_a_class_and_never_a_place():
    names = ["10", "2", "3", "cat"]
    assert choose_classes("2", names, "pets") == [1]
    assert choose_classes("2-10", names, "pets") == [1, 2, 0]
    assert choose_classes("c*+3", names, "pets") == [3, 2]
    for text in ("0", "0-1", "1+cat"):
        with pytest.raises(LimnerError, match=r"its 4 classes are called: 10, 2, 3, cat"):
            choose_classes(text, names, "pets")
    with pytest.raises(LimnerError, match=r"called: a, b, c, d, e, f and 1 more"):
        choose_classes("0", list("abcdefg"), "letters")


def test_the_size_proposed_is_one_that_every_learner_takes():
    from limner.networks.convolutional import check_shape

    for side in range(1, 200):
        check_shape((1, fitting(side), fitting(side)))
        try:
            check_shape((1, side, side))
        except LimnerError:
            assert fitting(side) != side
        else:
            assert fitting(side) == side


# specs


def test_spec_mistakes_name_the_right_word():
    for text, said in [
        ("glyfs", "no kind of data 'glyfs' .did you mean glyphs"),
        ("glyphs,sise=28", "no option 'sise' .did you mean size"),
        ("glyphs,size=big", "size=big cannot be used"),
        ("glyphs,size", "options are written name=value"),
        ("glyphs:here", "takes no path"),
        ("folder", "folder needs a path"),
        ("folder:nowhere", "nowhere does not exist"),
        ("./nowhere.zip", "does not exist"),
        ("digits,colour=red", "right would be: grey or rgb"),
        ("", "empty"),
        ("glyphs,script=grek,per_class=1", "did you mean greek"),
    ]:
        with pytest.raises(LimnerError, match=said):
            load(text)


def test_a_path_may_hold_commas_and_equal_signs(tmp_path):
    root = tmp_path / "a,size=3,b"
    root.mkdir()
    white_noise_png(root / "a.png", side=32)
    assert parse(f"folder:{root},size=16").path == str(root)
    assert load(f"{root},size=16").shape == (3, 16, 16)
    with pytest.raises(LimnerError, match="no option 'sice'"):
        load(f"{root},sice=16")


def test_one_image_loads_and_wrong_places_are_told(tmp_path):
    white_noise_png(tmp_path / "a.png")
    assert len(load(str(tmp_path))) == 1
    for text, said in [
        (f"{tmp_path}/a.png", "give a folder of images"),
        (f"folder:{tmp_path}/a.png", "is a file, not a folder"),
        (f"zip:{tmp_path}", "is a folder, not a file"),
    ]:
        with pytest.raises(LimnerError, match=said):
            load(text)


def test_keyword_options_replace_written_ones_and_name_the_set():
    images = load("digits,size=32", size=16, classes="0-1")
    assert images.name == "digits,size=16,classes=0-1"
    assert load(images.name).sha256 == images.sha256
    described = describe(images)
    assert (described["shape"], described["classes"]) == ([1, 16, 16], {"0": 178, "1": 182})
    assert set(kinds()) == {"glyphs", "sprites", "leaves", "digits", "photos", "folder", "zip", "npz", "idx", "hf"}


@needs_data
@pytest.mark.parametrize(
    ("spec", "count", "shape", "classes"),
    [
        ("crawl_tiles32.zip,limit=4", 470, (3, 32, 32), 122),
        ("clothing2k_64_cc0.zip,limit=5,size=32", 50, (3, 32, 32), 10),
        ("facades_val100.zip,limit=9", 9, (3, 32, 32), 0),
        ("mnist12k.npz,images=test_x", 2000, (1, 28, 28), 10),
        ("coil20_32.npz", 1000, (1, 32, 32), 20),
        ("omniglot_background28.npz,labels=char,groups=alphabet", 19280, (1, 28, 28), 964),
    ],
)
def test_the_packs(spec, count, shape, classes):
    images = load(f"{DATA}/{spec}")
    assert (len(images), images.shape, len(images.class_names)) == (count, shape, classes)


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_intensities_that_are_no_numbers_are_told(tmp_path, spoilt):
    pixels = np.full((4, 16, 16), 0.5)
    pixels[2, 3, 3] = spoilt
    np.savez(tmp_path / "spoilt.npz", x=pixels)
    with pytest.raises(LimnerError, match="some intensities are infinite or not a number"):
        load(f"npz:{tmp_path}/spoilt.npz")
