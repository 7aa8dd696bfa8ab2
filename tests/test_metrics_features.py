"""Extractors: the right weights in the right network, glyph-net's reach, and which extractor fits which images."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.metrics import choose, extractor
from limner.metrics.features import EXTRACTORS, grey, resized
from limner.metrics.train_glyph_net import SPOILT, batch_of, blur, spoil
from limner.model_file import decode
from limner.seeds import generator
from limner.tasks import ImageSet, load

TABBY_CAT, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285
"""Classes of ImageNet."""


def glyphs(count: int = 12) -> ImageSet:
    return load("glyphs,characters=20,per_class=4,size=28,seed=5").select(torch.arange(count))


def test_efficientnet_knows_a_cat() -> None:
    from skimage.data import chelsea

    from limner.metrics.efficientnet import DEVIATION, MEAN, pretrained

    picture = torch.from_numpy(chelsea()).permute(2, 0, 1)[None].float()[..., :300, 75:375]
    logits = pretrained()((resized(picture / 255, 224, 224) * 255 - MEAN) / DEVIATION)
    best = logits.softmax(1)[0]
    assert int(best.argmax()) in (TABBY_CAT, TIGER_CAT, EGYPTIAN_CAT)
    assert best[[TABBY_CAT, TIGER_CAT, EGYPTIAN_CAT]].sum() > 0.5


@pytest.mark.parametrize(("name", "width"), [("pixels", 784), ("glyph-net", 64), ("efficientnet-lite0", 1280)])
def test_features_have_one_row_an_image_whatever_its_company(name: str, width: int) -> None:
    images = glyphs(5).images
    features = extractor(name)(images)
    assert features.shape == (5, width)
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert torch.allclose(extractor(name)(images[3:4]), features[3:4], atol=1e-3, rtol=1e-3)
    assert torch.allclose(extractor(name)(images.flip(0)), features.flip(0), atol=1e-3, rtol=1e-3)
    assert (features[0] - features[4]).norm() > 0.01 * features.norm()


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_other_sizes_and_colours_give_features_of_the_same_width(name: str) -> None:
    images = glyphs(3).images
    colour = images.expand(-1, 3, -1, -1)
    if name != "pixels":
        assert torch.allclose(extractor(name)(colour), extractor(name)(images), atol=2e-2, rtol=1e-3)
        larger = torch.nn.functional.interpolate(images.float(), size=(40, 40)).to(torch.uint8)
        assert extractor(name)(larger).shape == extractor(name)(images).shape
    assert len(extractor(name)(colour)) == 3


def test_extractors_are_kept() -> None:
    assert extractor("glyph-net") is extractor("glyph-net")


def test_the_names_of_extractors_are_checked() -> None:
    with pytest.raises(LimnerError, match=r"no feature extractor 'inception'; there are: glyph-net"):
        extractor("inception")


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 28, 28),
        torch.zeros(0, 1, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 28, 28, dtype=torch.uint8),
    ],
)
def test_only_images_are_taken(images: Tensor) -> None:
    with pytest.raises(LimnerError, match="takes uint8 images"):
        extractor("pixels")(images)


def test_pixels_are_the_images_themselves() -> None:
    images = glyphs(3).images
    assert torch.equal(extractor("pixels")(images), images.flatten(1).float() / 255 * 2 - 1)
    large = torch.full((1, 3, 90, 50), 255, dtype=torch.uint8)
    assert torch.allclose(extractor("pixels")(large), torch.ones(1, 3 * 32 * 32), atol=1e-5)


def test_grey_and_resized() -> None:
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    assert torch.allclose(grey(red), torch.full((1, 1, 4, 4), 0.299))
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(8, 8)[None, None]
    assert (resized(board, 4, 4)[..., 1:-1, 1:-1] - 0.5).abs().max() < 0.05, "shrinking must average, not pick"


def test_glyph_net_ships_small_and_is_no_start() -> None:
    data = (files("limner") / "data" / "glyph-net.safetensors").read_bytes()
    model = decode(data)
    assert len(data) < 1e6
    assert model.metadata["role"] == "features"
    assert model.metadata["accuracy_on_drawings_held_back"] > 0.8
    assert model.learner_description["options"]["features"] == 64


def test_glyph_net_tells_characters_apart_that_it_never_saw() -> None:
    """Drawn digits of scikit-learn, none of which it learned from: the nearest of 5 labelled images names the class."""
    digits = load("digits,size=28")
    features = extractor("glyph-net")(digits.images[:600])
    assert digits.labels is not None
    labels = digits.labels[:600]
    known = torch.cat([torch.nonzero(labels == digit).flatten()[:5] for digit in range(10)])
    asked = torch.ones(600, dtype=torch.bool)
    asked[known] = False
    nearest = torch.cdist(features[asked], features[known]).argmin(1)
    assert (labels[known][nearest] == labels[asked]).float().mean() > 0.7


def test_glyph_net_is_not_blind_to_blur_and_noise() -> None:
    """Spoilt images move further than a redrawing of the same characters by one pixel's shift."""
    images = glyphs(20).floats()
    features = extractor("glyph-net")

    def moved(changed: Tensor) -> float:
        return float((features((changed * 255).to(torch.uint8)) - features(glyphs(20).images)).norm(dim=1).mean())

    shifted = moved(images.roll(1, dims=3))
    random = generator(0, "noise")
    assert moved(blur(images, 1.5)) > 1.5 * shifted
    assert moved((images + 0.3 * torch.randn(images.shape, generator=random)).clamp(0, 1)) > 1.5 * shifted


@pytest.mark.parametrize("way", SPOILT)
def test_spoiling_keeps_the_range_and_changes_the_image(way: str) -> None:
    images = glyphs(8).floats()
    spoilt = spoil(images, way, generator(0, way))
    assert spoilt.shape == images.shape
    assert spoilt.min() >= 0
    assert spoilt.max() <= 1 + 1e-6
    assert (spoilt - images).abs().mean() > 0.005


def test_training_batches_name_what_is_spoilt() -> None:
    images = glyphs(64 // 4 * 4)
    labels = torch.arange(len(images))
    batch = batch_of(images.images, labels, generator(0, "batch"))
    spoilt = batch["labels"] >= 1000
    assert spoilt.sum() == len(images) // 4
    assert torch.equal(batch["labels"][~spoilt], labels[~spoilt])
    assert batch["images"].min() >= 0
    assert batch["images"].max() <= 1 + 1e-6


def test_blur_keeps_the_mean_and_widens_a_point() -> None:
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1
    blurred = blur(point, 2.0)[0, 0]
    assert blurred.sum() == pytest.approx(1.0, abs=1e-5)
    places = torch.arange(21.0) - 10
    assert float((blurred.sum(0) * places**2).sum()) == pytest.approx(4.0, rel=0.05)


def test_the_extractor_fits_the_images() -> None:
    assert choose(glyphs()) == "glyph-net"
    assert choose(ImageSet(255 - glyphs().images, "dark ink")) == "glyph-net"
    assert choose(load("glyphs,characters=4,per_class=4,size=32,colour=rgb")) == "efficientnet-lite0"
    assert choose(load("photos,size=32,limit=50")) == "efficientnet-lite0"
    assert choose(ImageSet(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), "blank")) == "efficientnet-lite0"
