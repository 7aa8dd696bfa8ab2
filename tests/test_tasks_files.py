"""Picture files, in folders and archives, become image sets, and what cannot be used is told in a sentence."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.errors import LimnerError
from limner.tasks import load
from limner.tasks.files import Item, read


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(side=16, channels=3, seed=0):
    shape = (side, side) if channels == 1 else (side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def white_noise_png(path, **arguments):
    Image.fromarray(noise(**arguments)).save(path)


def only(path, **options):
    return load(f"folder:{path}", **options).images[0]


# what pictures become


def test_pixels_of_the_right_size_are_untouched(tmp_path):
    white_noise_png(tmp_path / "a.png")
    images = load(str(tmp_path))
    assert images.name == str(tmp_path)
    assert images.shape == (3, 16, 16)
    assert np.array_equal(images.images[0].permute(1, 2, 0).numpy(), noise())


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, (255,)),
        ("L", 77, (77,)),
        ("LA", (0, 0), (255,)),
        ("LA", (0, 51), (204,)),
        ("RGB", (9, 8, 7), (9, 8, 7)),
        ("RGBA", (255, 0, 0, 0), (255,)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (0, 0, 255, 51), (204, 204, 255)),
        ("I;16", 257 * 100, (100,)),
        ("I;16", 65535, (255,)),
        ("I", 257 * 100, (100,)),
        ("F", 0.4, (102,)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_every_mode(tmp_path, mode, value, expected):
    Image.new(mode, (20, 20), value).save(tmp_path / "a.tif")
    image = only(tmp_path, size=16)
    assert image.flatten(1).float().mean(1).tolist() == list(expected)
    assert image.flatten(1).float().std(1).max() == 0


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(tmp_path / "a.png")
    assert only(tmp_path)[:, 0, 0].tolist() == [10, 200, 30]
    image.save(tmp_path / "a.png", transparency=1)
    assert only(tmp_path)[:, 0, 0].tolist() == [255]
    assert load(str(tmp_path)).notes == ("1 image has transparency, put on white",)


def test_16_bit_png_is_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert only(tmp_path).flatten().tolist() == list(range(256))


def test_exif_rotation(tmp_path):
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:8] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = only(tmp_path)[0]
    assert image[:, 8:].min() == 255
    assert image[:, :8].max() == 0


def test_fits(tmp_path):
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :16], pixels[:, 48:] = (255, 0, 0), (255, 0, 0)  # red, black, red
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert only(tmp_path, size=32, fit="crop").max() == 0
    stretched = only(tmp_path, size=32, fit="stretch")
    assert stretched[0, :, 0].min() == 255
    assert stretched[0, :, 16].max() == 0
    padded = only(tmp_path, size=32, fit="pad")
    assert padded[:, 0, 0].tolist() == padded[:, 31, 31].tolist()  # the border colour, above and below
    assert padded[0, 16, 16] == 0
    assert padded[0, 16, 0] > 200


def test_default_colour_and_size(tmp_path):
    white_noise_png(tmp_path / "a.png", channels=1, side=20)
    Image.fromarray(noise(20, 1, 3)).convert("RGB").save(tmp_path / "b.png")
    assert load(str(tmp_path)).shape == (1, 20, 20)
    assert load(str(tmp_path), colour="rgb").shape == (3, 20, 20)
    white_noise_png(tmp_path / "c.png", side=24)
    assert load(str(tmp_path)).shape == (3, 32, 32)
    assert load(f"{tmp_path},colour=grey,size=28").shape == (1, 28, 28)


def test_what_was_resized_unasked_is_told(tmp_path):
    white_noise_png(tmp_path / "a.png", side=30)
    assert load(str(tmp_path)).notes == (
        "images of 30×30 pixels are brought to 32×32; size= chooses another side, fit= how",
    )
    assert load(f"{tmp_path},size=16").notes == ()
    for side in (40, 50, 60):
        white_noise_png(tmp_path / f"{side}.png", side=side)
    assert load(str(tmp_path)).notes[0].startswith("images of 4 sizes, among them 30×30 and 60×60 pixels, are")


# folders and archives


def in_folders(root):
    for index, name in enumerate(("cat/a.png", "cat/b.png", "dog/big/c.png", "dog/d.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        white_noise_png(root / name, seed=index)


def test_classes_are_sub_folders_and_a_zip_gives_the_same(tmp_path):
    root = tmp_path / "pets, and others"
    in_folders(root)
    (root / "README.txt").write_text("not an image")
    folder = load(str(root))
    assert folder.class_names == ("cat", "dog", "dog/big")
    assert folder.labels.tolist() == [0, 0, 1, 2]
    assert "1 file that is no image by its name" in folder.notes[0]
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for path in root.rglob("*.png"):
            archive.write(path, path.relative_to(root))
    packed = load(str(tmp_path / "pets.zip"))
    order = lambda images: sorted(map(bytes, images.images.numpy().reshape(4, -1)))  # noqa: E731
    assert order(packed) == order(folder)
    assert load(f"folder:{root},classes=dog").class_names == ("dog",)
    assert len(load(f"folder:{root},classes=dog*")) == 2
    assert load(f"folder:{root},classes=dog/big+cat,limit=1").class_names == ("dog/big", "cat")
    with pytest.raises(LimnerError, match=r"no class 'dgo' .did you mean dog"):
        load(f"folder:{root},classes=dgo")


@pytest.mark.parametrize("told", ['{"limner": "0.1", "verb": "sample"}', '{"verb": "sample"}', "[" * 100_000, "\xff"])
def test_what_limner_wrote_beside_images_is_passed_over(tmp_path, told):
    """Where its ``request.json`` says that it did; in other folders the same names are as any other."""
    its = told.startswith('{"limner')
    root = tmp_path / "all"
    (root / "made").mkdir(parents=True)
    for name in ("a.png", "made/b.png", "made/grid.png", "grid.png"):
        white_noise_png(root / name)
    (root / "made" / "request.json").write_text(told, encoding="latin-1")
    for name in ("made/report.html", "made/own.txt", "restored.json"):
        (root / name).write_text("{}")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in root.rglob("*.*"):
            archive.write(path, path.relative_to(root))
    for images in (load(str(root)), load(str(tmp_path / "all.zip"))):
        assert set(images.names) == {"a.png", "grid.png", "made/b.png"} | (set() if its else {"made/grid.png"})
        assert f"{2 if its else 4} files that are no images by name are left out" in images.notes


def test_bad_files_are_left_out_and_named(tmp_path):
    white_noise_png(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("L", (1, 1)).save(tmp_path / "dot.png")
    stream = io.BytesIO()
    Image.fromarray(noise(200)).save(stream, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(stream.getvalue()[:3000])
    images = load(str(tmp_path))
    assert len(images) == 1
    note = images.notes[0]
    assert note.startswith("4 files are left out")
    for said in (
        "text.png: it is not an image",
        "empty.png: it is empty",
        "dot.png: it has 1×1",
        "cut.jpg: it is damaged",
    ):
        assert said in note


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(LimnerError, match="holds no images"):
        load(f"folder:{tmp_path}")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(LimnerError, match=r"no image that can be used: text\.png: it is not an image"):
        load(f"folder:{tmp_path}")


def huge_png(path, side=20_000):
    """A valid PNG of black pixels, small on the disk."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compressobj(9)
    content = b"".join([*(rows.compress(bytes(side + 1)) for _ in range(side)), rows.flush()])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", content) + chunk(b"IEND", b""))


def test_a_20000_pixel_png_is_left_out_with_a_remedy(tmp_path):
    white_noise_png(tmp_path / "good.png")
    huge_png(tmp_path / "huge.png")
    images = load(str(tmp_path))
    assert len(images) == 1
    assert "huge.png: it has more than 100 million pixels; make it smaller" in images.notes[0]


def test_a_large_jpeg_is_decoded_at_a_fraction(tmp_path):
    Image.new("L", (14_000, 14_000), 90).save(tmp_path / "large.jpg")  # past PIL's own bomb limit
    path = tmp_path / "large.jpg"
    picture = read(Item("large.jpg", "", path.stat().st_size, lambda: path.open("rb")), 64)
    assert picture.size == (1750, 1750)
    assert set(load(str(tmp_path)).images.unique().tolist()) == {90}


def test_zip_tricks(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(noise()).save(stream, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../../etc/a.png", stream.getvalue())
        archive.writestr("/abs/b.png", stream.getvalue())
        archive.writestr("__MACOSX/abs/._b.png", b"junk")
    images = load(str(tmp_path / "a.zip"))
    assert images.class_names == ("abs", "etc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("big.png", "w") as file:
        for _ in range(600):
            file.write(bytes(2**20))
    with pytest.raises(LimnerError, match=r"big\.png: it has 600 MB; the most is 512"):
        load(str(bomb))
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(LimnerError, match="not a whole zip archive"):
        load(str(tmp_path / "broken.zip"))


# larger than memory


def test_images_past_the_limit_are_mapped_and_the_same(tmp_path, monkeypatch):
    in_folders(tmp_path)
    (tmp_path / "cat" / "text.png").write_text("hello")
    plain = load(f"folder:{tmp_path},colour=rgb")
    monkeypatch.setenv("LIMNER_MEMORY_LIMIT", "100")
    mapped = load(f"folder:{tmp_path},colour=rgb")
    again = load(f"folder:{tmp_path},colour=rgb")
    files = list(Path(os.environ["LIMNER_CACHE"]).iterdir())
    assert sorted(path.suffix for path in files) == [".bin", ".json"]
    assert plain.sha256 == mapped.sha256 == again.sha256
    assert plain.notes == mapped.notes == again.notes
    white_noise_png(tmp_path / "cat" / "new.png", seed=9)
    assert len(load(f"folder:{tmp_path},colour=rgb")) == 5
    monkeypatch.setenv("LIMNER_MEMORY_LIMIT", "much")
    with pytest.raises(LimnerError, match="LIMNER_MEMORY_LIMIT=much is not a number of bytes"):
        load(f"folder:{tmp_path},colour=rgb,size=24")


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    in_folders(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(LimnerError, match="cannot write to the cache"):
        load(f"folder:{tmp_path},memory_limit=0")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    in_folders(tmp_path)
    real = Path.open
    full = lambda path, *rest, **named: real(Path("/dev/full") if path.suffix == ".part" else path, *rest, **named)  # noqa: E731
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(LimnerError, match=r"No space left on device.*free some space"):
        load(f"folder:{tmp_path},memory_limit=0")
