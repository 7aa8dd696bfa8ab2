"""What is found in an image alone, against damage that is known, on photographs."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from limner.degradations import parse
from limner.errors import LimnerError
from limner.restoration import Knowledge, restorer
from limner.restoration.estimate import estimate, lost_values
from limner.restoration.judge import Judgement
from limner.restoration.several import estimated
from limner.restoration.stripes import without
from limner.seeds import generator

PHOTOGRAPHS = {
    "camera": data.camera()[:192, 100:292],
    "moon": data.moon()[100:292, 100:292],
    "coins": data.coins()[:192, :192],
    "coffee": data.coffee()[100:260, 150:310],
}


def photograph(name):
    pixels = PHOTOGRAPHS[name]
    values = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(values.astype(np.float32))[None] / 255


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("sigma", [5, 25, 50])
def test_noise_within_a_tenth(name, sigma):
    found = estimate(parse(f"gaussian({sigma})")(photograph(name), generator(1, name)))
    assert found.noise * 255 == pytest.approx(sigma, rel=0.1)
    assert found.kind != "none"


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_what_is_clean_is_found_clean(name):
    found = estimate(photograph(name))
    assert found.clean or (name == "moon" and found.blocks > 1.2)  # which has been a JPEG file before
    assert found.degradation == "nothing"


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_blocks_of_jpeg_are_found_and_noise_has_none(name):
    image = photograph(name)
    blocky = estimate(parse("jpeg(15)")(image, generator(0)))
    assert blocky.blocks > 1.2
    assert not blocky.clean
    assert "JPEG" in " ".join(blocky.sentences())
    assert estimate(parse("gaussian(20)")(image, generator(0))).blocks < 1.2


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("direction", ["rows", "columns"])
def test_stripes_are_told_from_what_a_photograph_shows(name, direction):
    clean = photograph(name)
    striped = parse(f"stripes(10,direction={direction})+gaussian(5)+quantise(8)")(clean, generator(0))
    found = estimate(striped)
    assert found.stripes is not None
    assert found.stripes.direction == direction
    assert 255 * found.stripes.level == pytest.approx(10, rel=0.35)
    assert (found.kind, found.mask) == ("gaussian", None)
    assert 255 * found.noise == pytest.approx(5, rel=0.3)
    assert str(parse(found.degradation)) == found.degradation
    freed = without(striped, found.stripes) - clean
    assert float(freed.std()) < 0.75 * float((striped - clean).std())
    for text in (
        "nothing",
        "gaussian(25)",
        "poisson(40)",
        "jpeg(15)",
        "blur(gaussian,width=2)",
        "salt_and_pepper(0.1)",
    ):
        assert estimate(parse(f"{text}+quantise(8)")(clean, generator(0))).stripes is None, text


def test_an_edge_along_a_line_is_no_stripe_and_lost_pixels_are_not_looked_at():
    steps = torch.zeros(1, 1, 64, 80)
    steps[:, :, 32:] = 0.5
    assert estimate(steps + 0.2).stripes is None
    wavy = steps + 0.2 + 0.02 * torch.randn(1, 1, 64, 1, generator=generator(1))
    lost = torch.ones(1, 1, 64, 80)
    lost[..., 20:40] = 0
    found = estimate(torch.where(lost > 0, wavy, torch.rand(1, 1, 64, 80, generator=generator(2))), lost)
    assert found.stripes is not None
    left = (without(wavy, found.stripes, lost) - steps)[..., :20]
    assert float(left.mean(3).std()) < 0.01


def test_several_images_with_stripes_are_told_of_them():
    striped = [parse("stripes(8,direction=columns)")(photograph(name), generator(1)) for name in ("camera", "coins")]
    together = estimated([(image[0].clamp(0, 1) * 255).round().to(torch.uint8) for image in striped])
    assert "stripes(" in together.degradation
    assert "direction=columns" in together.degradation
    assert "2 have stripes" in " ".join(together.sentences)


def test_destriping_is_told_which_lines_and_leaves_what_has_none():
    clean = photograph("coins")
    method = restorer("destriping")
    assert torch.equal(method.restore(clean, Knowledge(), generator(0)), clean)
    striped = parse("stripes(10,direction=columns)")(clean, generator(0))
    made = restorer("destriping", direction="columns").restore(striped, Knowledge(), generator(0))
    assert float((made - clean).std()) < 0.4 * float((striped - clean).std())
    with pytest.raises(LimnerError, match="rows, columns or auto"):
        restorer("destriping", direction="up")


def test_a_drawn_image_of_two_flat_colours_is_clean():
    drawn = torch.ones(1, 3, 120, 160)
    drawn[:, :2, 20:70, 30:80] = 0
    assert estimate(drawn).clean


def test_noise_that_grows_with_the_intensity():
    for name in ("camera", "coins"):
        found = estimate(parse("poisson_gaussian(80,sigma=4)+quantise(8)")(photograph(name), generator(0)))
        assert found.kind == "poisson_gaussian"
        assert 0.75 * 80 < found.photons < 1.4 * 80
        parse(found.degradation)
        assert estimate(parse("gaussian(20)")(photograph(name), generator(0))).kind == "gaussian"


def test_grain_that_neighbours_share_is_found():
    for name in ("camera", "moon"):
        grain = parse("blur(gaussian,width=1)")(torch.randn(1, 1, 192, 192, generator=generator(3)), generator(0))
        found = estimate(photograph(name) + grain / grain.std() * 10 / 255)
        assert found.kind == "coarse"
        assert 2 < 255 * found.noise < 11  # "or more", as is told


@pytest.mark.parametrize("name", ["camera", "coffee"])
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_impulses_are_counted_and_masked(name, share):
    clean = photograph(name)
    damaged = parse(f"salt_and_pepper({share})")(clean, generator(0))
    found = estimate(damaged)
    assert found.impulses == pytest.approx(share, rel=0.2, abs=0.012)
    changed = (damaged != clean).float()
    assert float((changed * (1 - found.mask)).sum() / changed.sum()) > 0.8
    assert found.lost == 0


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("text", ["missing(0.3)", "missing(0.8)", "text(20)", "boxes(3,size=0.2)"])
def test_missing_pixels(name, text):
    clean = photograph(name)
    damaged = parse(text)(clean, generator(2))
    found = estimate(damaged)
    lost = ((damaged == 0) & (clean > 0)).any(1, keepdim=True).float()
    assert found.mask is not None
    assert found.impulses == 0
    assert float((lost * (1 - found.mask)).sum() / lost.sum()) > 0.8
    assert float(((1 - lost) * (1 - found.mask)).mean()) < 0.02


@pytest.mark.parametrize("sigma", [0, 10])
def test_noise_is_measured_among_scattered_lost_pixels(sigma):
    noisy = parse(f"gaussian({sigma})+quantise(8)")(photograph("camera"), generator(0))
    kept = (torch.rand(1, 1, 192, 192, generator=generator(1)) > 0.3).float()
    found = estimate(noisy * kept, kept)
    assert found.kind == ("gaussian" if sigma else "none")
    assert not sigma or 255 * found.noise == pytest.approx(sigma, rel=0.25)


def test_drawings_in_black_and_white_have_lost_nothing():
    page = data.page()[:150, :150] / 255.0
    assert not any(lost.any() for lost in lost_values(page[None]))
    assert not any(lost.any() for lost in lost_values((page > 0.5).astype(float)[None]))


def test_a_chart_on_white_has_lost_nothing_and_a_picture_with_most_pixels_lost_has():
    chart = np.ones((1, 160, 160))
    for place, high in enumerate((30, 75, 110, 50)):
        chart[:, 150 - high : 150, 15 + 35 * place : 35 + 35 * place] = 0.3 + 0.1 * place
    chart[:, ::20, :] = np.where(chart[:, ::20, :] == 1, 0.8, chart[:, ::20, :])
    assert not any(lost.any() for lost in lost_values(chart))
    seen = np.random.default_rng(0).random((160, 160)) < 0.05
    picture = data.camera()[100:260, 180:340] / 255.0
    assert lost_values(np.where(seen, picture, 0.0)[None])[1].mean() > 0.9
    assert lost_values(np.where(seen, picture, 1.0)[None])[1].mean() > 0.9


@pytest.mark.parametrize("width", [1.5, 3])
@pytest.mark.parametrize("noise", ["nothing", "gaussian(4)"])
def test_blur_within_a_quarter(width, noise):
    for name in ("camera", "coins") if noise == "nothing" else ("camera",):  # noise hides weak edges
        found = estimate(parse(f"blur(gaussian,width={width})+{noise}")(photograph(name), generator(0)))
        assert found.blur is not None
        if found.blur.trusted or width < 2:
            assert found.blur.width == pytest.approx(width, rel=0.25)
        assert found.blur.trusted == (noise == "nothing")
    assert estimate(photograph("camera")).blur.width < 1.0


def test_nothing_to_see():
    for image in (torch.zeros(1, 1, 40, 40), torch.full((1, 3, 40, 40), 0.4), torch.ones(1, 1, 9, 200)):
        found = estimate(image)
        assert found.clean
        assert found.sentences()
    seen = torch.ones(1, 1, 40, 40)
    seen[..., 3:9, 4:9] = 0
    found = estimate(photograph("moon")[..., :40, :40] * seen, seen)
    assert found.lost == pytest.approx(30 / 1600)
    assert torch.equal(found.mask, seen)
    assert estimate(torch.rand(1, 1, 4, 4)).noise is None


def test_noise_told_too_large_is_told():
    found = Judgement(removed=0.01, neighbours=0.4, edges=0.8, foretold=0.0, around=0.0, noise=0.03).sentences()
    assert "give a smaller --noise" in found[2]
    assert "PSNR" not in " ".join(found)


def test_where_nothing_was_removed_it_is_not_called_noise():
    (told,) = Judgement(removed=0.0, neighbours=0.0, edges=0.0).sentences()
    assert told == "What was seen was kept."


def flat_photograph(noise, quality):
    """A smooth scene with a textured corner, with noise of a camera before its JPEG file is written."""
    down, across = torch.meshgrid(torch.linspace(0, 1, 320), torch.linspace(0, 1, 320), indexing="ij")
    scene = (0.3 + 0.3 * down + 0.1 * torch.sin(4 * across))[None, None].expand(1, 3, -1, -1).clone()
    scene[..., :96, :96] += 0.15 * torch.sign(torch.sin(40 * across[:96, :96]))
    grain = torch.randn(1, 3, 320, 320, generator=generator(7))
    grain = parse("blur(gaussian,width=0.9)")(grain, generator(0))
    return parse(f"jpeg({quality})")((scene + noise / 255 * grain / grain.std()).clamp(0, 1), generator(0))


def test_what_jpeg_leaves_of_a_cameras_noise_is_found():
    clean, noisy = (estimate(flat_photograph(noise, 85)) for noise in (0, 4))
    assert clean.clean
    assert noisy.kind == "coarse"
    assert 2 < 255 * noisy.noise < 8
    assert "JPEG" in noisy.sentences()[0]


@pytest.mark.skipif(not os.environ.get("LIMNER_DATA"), reason="LIMNER_DATA names no folder with restoration_dev.zip")
def test_noise_of_real_cameras():
    archive = zipfile.ZipFile(Path(os.environ["LIMNER_DATA"]) / "restoration_dev.zip")
    names = sorted(name for name in archive.namelist() if name.endswith("_real.JPG"))[::9]

    def read(name):
        pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))))
        return torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1))[None] / 255

    told = []
    for name in names:
        noisy, mean = read(name), read(name.replace("_real", "_mean"))
        assert estimate(mean).clean, name
        found = estimate(noisy)
        if not found.clean:
            told.append(abs(found.noise / float((noisy - mean).std()) - 1))
    assert len(told) >= 3
    assert np.mean(told) < 0.3
