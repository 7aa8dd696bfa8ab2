"""Extractors: images to features, in which distances mean something. Every score names the one that it was taken in."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import LimnerError
from limner.tasks.image_set import ImageSet

GLYPH_SIDE = 28
"""The side that ``glyph-net`` sees."""

PHOTOGRAPH_SIDE = 128
"""The side that ``efficientnet-lite0`` sees: of small images, more would only be magnified further."""

PIXELS_SIDE = 32
"""Larger images are reduced to this side before their pixels are compared."""

TOGETHER = 64
"""Images that pass through a network at once, so that memory stays bounded."""

GREY = torch.tensor([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luma of ITU-R BT.601."""


class Extractor(NamedTuple):
    """A named map from uint8 images ``(n, c, h, w)`` to float32 features ``(n, d)``, of at least one image.

    ``features`` is the same for images in [0, 1], a few at a time, and can be differentiated.

    >>> extractor("pixels")(torch.full((2, 1, 16, 16), 255, dtype=torch.uint8)).shape
    torch.Size([2, 256])
    """

    name: str
    features: Callable[[Tensor], Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        """Features of the images, without gradients. Raises :class:`LimnerError` for anything but uint8 images."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
            raise LimnerError(
                f"{self.name} takes uint8 images (n, 1 or 3, height, width), at least one; "
                f"these are {images.dtype} of shape {tuple(images.shape)}"
            )
        with torch.no_grad():
            return torch.cat([self.features(part.float() / 255) for part in torch.split(images, TOGETHER)])


@lru_cache(maxsize=8)
def extractor(name: str) -> Extractor:
    """The extractor of that name, its weights loaded once.

    ``pixels``              intensities mapped to [−1, 1], as they are, of images reduced to at most 32 pixels a side
    ``glyph-net``           64 features of a classifier of a thousand drawn characters, which ships with Limner;
                            images are made grey, 28 pixels a side
    ``efficientnet-lite0``  1280 features of an ImageNet classifier (EfficientNet-Lite0); images are made
                            128 pixels a side

    Raises :class:`LimnerError` for another name.
    """
    if name not in EXTRACTORS:
        raise LimnerError(f"there is no feature extractor {name!r}; there are: {', '.join(EXTRACTORS)}")
    return Extractor(name, EXTRACTORS[name]())


def _pixels() -> Callable[[Tensor], Tensor]:
    def features(images: Tensor) -> Tensor:
        height, width = (min(side, PIXELS_SIDE) for side in images.shape[2:])
        return resized(images, height, width).flatten(1) * 2 - 1

    return features


def _efficientnet() -> Callable[[Tensor], Tensor]:
    from limner.metrics.efficientnet import DEVIATION, MEAN, pretrained

    network = pretrained()

    def features(images: Tensor) -> Tensor:
        images = resized(images, PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE).expand(-1, 3, -1, -1)
        return network.features((images * 255 - MEAN) / DEVIATION)

    return features


def _glyph_net() -> Callable[[Tensor], Tensor]:
    from limner.learners import Classifier
    from limner.model_file import decode

    stored = files("limner") / "data" / "glyph-net.safetensors"
    if not stored.is_file():
        raise LimnerError(
            "the weights of glyph-net are missing from the package; reinstall it, or make them by: "
            "python -m limner.metrics.train_glyph_net"
        )
    model = decode(stored.read_bytes(), "glyph-net")
    learner = Classifier(tuple(model.learner_description["image_shape"]), **model.learner_description["options"])
    params = {name: value.float() for name, value in model.params.items()}

    def features(images: Tensor) -> Tensor:
        small = resized(grey(images), GLYPH_SIDE, GLYPH_SIDE)
        return learner.embed(params, small)

    return features


EXTRACTORS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "glyph-net": _glyph_net,
    "efficientnet-lite0": _efficientnet,
    "pixels": _pixels,
}
"""Every extractor by name, as what builds it."""


def grey(images: Tensor) -> Tensor:
    """Images ``(n, c, h, w)`` in one channel: their luma where there are three."""
    return images if images.shape[1] == 1 else torch.einsum("nchw,c->nhw", images, GREY)[:, None]


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Images ``(n, c, h, w)`` in [0, 1] at another size: bilinear, with a filter as wide as shrinking needs."""
    if images.shape[2:] == (height, width):
        return images
    return functional.interpolate(images, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


LOOKED_AT = 256
"""How many images of a set are looked at to choose an extractor."""


def choose(image_set: ImageSet) -> str:
    """The extractor that fits the images: ``glyph-net`` for strokes on an even ground, else ``efficientnet-lite0``.

    Strokes on an even ground: grey, at most 64 pixels a side; at least 40% of the pixels within a tenth of the range
    from the ground (black or white, whichever the borders show); and hardly any ink (15%) in places so broad that a
    square of a quarter of the side fits in.

    >>> strokes = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    >>> strokes[:, :, 5:20, 12:15] = 255
    >>> choose(ImageSet(strokes, "strokes"))
    'glyph-net'
    >>> choose(ImageSet(torch.arange(784).remainder(256).to(torch.uint8).reshape(1, 1, 28, 28), "ramp"))
    'efficientnet-lite0'
    """
    channels, height, width = image_set.shape
    if channels != 1 or max(height, width) > 64 or min(height, width) < 4 or not len(image_set):
        return "efficientnet-lite0"
    images = image_set.images[:: -(-len(image_set) // LOOKED_AT)].float() / 255
    low, high = images.min(), images.max()
    if not high > low:
        return "efficientnet-lite0"
    images = (images - low) / (high - low)
    border = torch.cat([images[:, :, [0, -1]].flatten(), images[:, :, :, [0, -1]].flatten()])
    ink = 1 - images if border.median() > 0.5 else images
    drawn = (ink > 0.4).float()
    square = max(3, min(height, width) // 4) | 1
    inner = 1 - functional.max_pool2d(1 - drawn, square, stride=1)
    broad = functional.max_pool2d(functional.pad(inner, (square // 2,) * 4), square, stride=1, padding=square // 2)
    even = (ink < 0.1).float().mean() >= 0.4
    return "glyph-net" if even and (broad * drawn).sum() <= 0.15 * drawn.sum() else "efficientnet-lite0"
