"""Image files read and written whole: what was not changed comes back bit for bit, with all that belongs to it."""

import io

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from limner.restoration import picture_file
from limner.restoration.picture_file import Picture, read, target_name
from limner.restoration.picture_writing import write
from limner.tasks.convert import Unusable

DRAWN = np.random.default_rng(0)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def whole(shape, dtype):
    if np.dtype(dtype).kind == "f":
        return DRAWN.random(shape).astype(dtype)
    return DRAWN.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def exif_bytes(orientation):
    exif = Image.Exif()
    exif[271], exif[274] = "A camera", orientation
    exif.get_ifd(34665)[33434] = 0.01  # exposure time
    return exif.tobytes()


def reread(path):
    with path.open("rb") as file:
        return read(file)


@pytest.mark.parametrize("ending", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("orientation", [1, 6])
def test_what_is_not_changed_comes_back_bit_for_bit(tmp_path, ending, channels, alpha, dtype, orientation):
    if ending == ".png" and np.dtype(dtype).kind == "f":
        pytest.skip("PNG holds no floats")
    picture = Picture(
        whole((21, 34, channels), dtype),
        whole((21, 34), dtype) if alpha else None,
        orientation,
        exif_bytes(orientation),
        PROFILE,
        (300.0, 300.0),
    )
    write(tmp_path / f"a{ending}", picture, picture.images())
    again = reread(tmp_path / f"a{ending}")
    assert again.values.dtype == np.dtype(dtype)
    assert np.array_equal(again.values, picture.values)
    assert (again.alpha is None) == (picture.alpha is None)
    if alpha:
        assert np.array_equal(again.alpha, picture.alpha)
    assert again.orientation == orientation
    assert again.profile == PROFILE
    assert again.resolution == pytest.approx((300, 300), abs=0.1)
    exif = Image.Exif()
    exif.load(again.exif)
    assert (exif[271], exif.get(274)) == ("A camera", orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_as_pillow_turns_it(orientation):
    from PIL import ImageOps

    values = whole((5, 7, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", exif=exif_bytes(orientation))
    file.seek(0)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    file.seek(0)
    assert np.array_equal(read(file).values, upright)
    assert np.array_equal(picture_file.turned(upright, orientation, back=True), values)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_sixteen_bit_tiffs_of_another_writer(channels, compression, order, planar):
    values = whole((19, 23, channels), np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(
        file, values if planar == "contig" else values.transpose(2, 0, 1), compression=compression, byteorder=order,
        photometric="rgb" if channels > 2 else "minisblack", planarconfig=planar, metadata=None,
        extrasamples=None if channels == 3 else ["unassalpha"],
    )  # fmt: skip
    file.seek(0)
    found = read(file)
    got = found.values if found.alpha is None else np.concatenate([found.values, found.alpha[..., None]], 2)
    assert np.array_equal(got, values)


def test_exif_of_a_jpeg_goes_into_the_png(tmp_path):
    Image.fromarray(whole((16, 16, 3), np.uint8)).save(
        tmp_path / "a.jpg", exif=exif_bytes(3), icc_profile=PROFILE, dpi=(72, 72)
    )
    picture = reread(tmp_path / "a.jpg")
    write(tmp_path / target_name("a.jpg"), picture, picture.images())
    again = reread(tmp_path / "a.png")
    assert again.exif.removeprefix(b"Exif\0\0") == picture.exif.removeprefix(b"Exif\0\0") == exif_bytes(3)[6:]
    assert np.array_equal(again.values, picture.values)
    assert again.profile == PROFILE


def test_a_sub_directory_of_exif_stays_in_a_tiff(tmp_path):
    Image.fromarray(whole((16, 16, 3), np.uint8)).save(tmp_path / "a.tiff", exif=exif_bytes(1))
    picture = reread(tmp_path / "a.tiff")
    write(tmp_path / "b.tiff", picture, picture.images())
    assert Image.open(tmp_path / "b.tiff").getexif().get_ifd(34665)[33434] == pytest.approx(0.01)


def test_what_a_tiff_says_of_its_writer_stays_but_not_the_shape_of_other_pages(tmp_path, caplog):
    import tifffile

    pages = whole((2, 16, 16), np.uint16)
    for place, software in enumerate(("a scanner", None)):
        tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", software=software)
        picture = reread(tmp_path / "a.tif")
        write(tmp_path / f"{place}.tif", picture, picture.images())
        with tifffile.TiffFile(tmp_path / f"{place}.tif") as made:
            assert made.pages[0].software == ("a scanner" if software else "tifffile.py")
            assert made.series[0].shape == (16, 16)
            assert "shape" not in made.pages[0].description
    assert not caplog.records


def test_palette_two_colours_and_pages_are_told():
    notes = {}
    for mode in ("P", "1"):
        file = io.BytesIO()
        Image.fromarray(whole((16, 16), np.uint8)).convert(mode).save(file, "PNG")
        file.seek(0)
        found = read(file)
        notes[mode] = found.notes[0]
        assert found.values.shape == (16, 16, 3 if mode == "P" else 1)
    assert "palette" in notes["P"]
    assert "black and white" in notes["1"]
    file = io.BytesIO()
    Image.new("L", (9, 9), 50).save(file, "TIFF", save_all=True, append_images=[Image.new("L", (9, 9), 90)])
    file.seek(0)
    found = read(file)
    assert found.values.max() == 50
    assert found.notes == ("has 2 pages or frames; only the first is restored",)


def test_not_a_number_is_told_and_counts_as_missing():
    values = whole((12, 14, 3), np.float32)
    values[3, 4, 0], values[5, 6] = np.nan, np.inf
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="rgb")
    file.seek(0)
    found = read(file)
    assert "2 pixels that are infinite or not a number" in found.notes[0]
    seen = found.seen()
    assert seen is not None
    assert (seen == 0).nonzero()[:, 2:].tolist() == [[3, 4], [5, 6]]
    assert bool(torch.isfinite(found.images()).all())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda file: Image.new("CMYK", (9, 9)).save(file, "TIFF"), "CMYK"),
        (lambda file: file.write(b"no image at all"), "not an image"),
        (lambda file: file.write(b"II*\0 but no more"), "damaged"),
        (lambda file: tifffile.imwrite(file, np.full((9, 9), np.nan, np.float32)), "none of its intensities"),
        (lambda file: tifffile.imwrite(file, np.full((9, 9), 300, np.float32)), "scale them to"),
        (lambda file: tifffile.imwrite(file, np.full((9, 9), 70000, np.uint32)), "scale them to 16 bits"),
        (
            lambda file: tifffile.imwrite(
                file, np.zeros((9, 9, 5), np.uint8), photometric="minisblack", planarconfig="contig"
            ),
            "5 channels",
        ),
        (lambda file: tifffile.imwrite(file, np.zeros((9, 9, 3), np.int8), photometric="rgb"), "int8"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(make, told):
    file = io.BytesIO()
    make(file)
    file.seek(0)
    with pytest.raises(Unusable, match=told):
        read(file)


def test_whole_numbers_are_clipped_and_alpha_grows_with_the_picture(tmp_path):
    picture = Picture(whole((8, 8, 1), np.uint8), np.full((8, 8), 77, np.uint8))
    write(tmp_path / "a.png", picture, torch.tensor([-1.0, 2.0]).repeat(8)[None, None, None].expand(1, 1, 16, 16))
    again = reread(tmp_path / "a.png")
    assert again.values.shape == (16, 16, 1)
    assert np.unique(again.values).tolist() == [0, 255]
    assert (again.alpha == 77).all()
    with pytest.raises(Unusable, match="floats"):
        write(tmp_path / "b.png", Picture(whole((8, 8, 1), np.float32)), torch.zeros(1, 1, 8, 8))
