"""Noise: what is random at every pixel. Signal-dependent noise takes intensities under 0 for 0."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.degradations.base import Field, Parameters, Stage, each, normal, uniform

SIGMA = Field("sigma", high=255, unit="on the scale 0–255")
"""A standard deviation on the scale 0–255, as the literature gives it: 25 is 25/255 of full intensity."""

PHOTONS = Field("photons", low=0.01, high=1e7, unit="at full intensity")
"""The mean count of photons at full intensity: the fewer, the more noise."""


class Gaussian(Stage):
    """y = x + σ/255 · n, n standard normal; ``sigma`` = σ on the scale 0–255.

    >>> grey = torch.full((1, 1, 64, 64), 0.5)
    >>> round(float(Gaussian(51)(grey, torch.Generator().manual_seed(0)).std()), 1)
    0.2
    """

    word = "gaussian"
    fields = (SIGMA,)

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Mean x, variance (σ/255)²."""
        return _read(images, parameters["sigma"], generator)


class Poisson(Stage):
    """y = Poisson(p · x) / p, the count of photons where p = ``photons`` are expected at full intensity.

    >>> grey = torch.full((1, 1, 64, 64), 0.5)
    >>> round(float(Poisson(50)(grey, torch.Generator().manual_seed(0)).std()), 1)
    0.1
    """

    word = "poisson"
    fields = (PHOTONS,)

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Mean x, variance x / p."""
        return _count(images, parameters["photons"], generator)


class PoissonGaussian(Stage):
    """Photons, and then the Gaussian noise of reading them: y = Poisson(p · x) / p + σ/255 · n (as Foi et al. 2008)."""

    word = "poisson_gaussian"
    fields = (PHOTONS, SIGMA)

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Mean x, variance x / p + (σ/255)²."""
        return _read(_count(images, parameters["photons"], generator), parameters["sigma"], generator)


class Speckle(Stage):
    """y = x · (1 + s · n), n standard normal: noise in proportion to the intensity; ``strength`` = s."""

    word = "speckle"
    fields = (Field("strength", high=10),)

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Mean x, variance (s x)²."""
        return images * (1 + each(parameters["strength"], images) * normal(images, generator))


class SaltAndPepper(Stage):
    """Impulses: a ``share`` of all intensities, in each channel apart, becomes 1 (``salt`` of them) or 0."""

    word = "salt_and_pepper"
    fields = (Field("share", high=1), Field("salt", default=0.5, high=1))

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """One uniform number for each intensity says whether it is lost, and to which."""
        drawn = uniform(images, generator)
        share, salt = each(parameters["share"], images), each(parameters["salt"], images)
        white = (drawn < share * salt).to(images)
        return torch.where(drawn < share, white, images)


class Stripes(Stage):
    """y = x + σ/255 · n, with one n for each whole row (``direction`` rows) or column, the same in all channels."""

    word = "stripes"
    fields = (SIGMA, Field("direction", default="rows", words=("rows", "columns")))

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Mean x, variance (σ/255)²; within a stripe all pixels move together."""
        count, _, height, width = images.shape
        stripes = (count, 1, height, 1) if self.values["direction"] == "rows" else (count, 1, 1, width)
        return images + each(parameters["sigma"], images) / 255 * normal(images, generator, stripes)


class Clip(Stage):
    """Intensities under 0 become 0, those over 1 become 1."""

    word = "clip"

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Clipped."""
        return images.clamp(0, 1)


class Quantise(Stage):
    """Clipped, and rounded to the 2ᵇ even levels from 0 to 1 of ``bits`` = b: ``quantise(8)`` is what a file holds."""

    word = "quantise"
    fields = (Field("bits", low=1, high=16, whole=True),)

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """The nearest level."""
        steps = 2 ** each(parameters["bits"], images) - 1
        return (images.clamp(0, 1) * steps).round() / steps


class Jpeg(Stage):
    """Written as a JPEG file of ``quality`` 1 to 95 and read again by Pillow; colour at half resolution (4:2:0)."""

    word = "jpeg"
    fields = (Field("quality", low=1, high=95, whole=True),)

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Clipped and rounded to bytes first, as a file needs it; not differentiable."""
        qualities = parameters["quality"].int().tolist()
        bytes_of = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        made = [_through_jpeg(image, quality) for image, quality in zip(bytes_of, qualities, strict=True)]
        return torch.stack(made).to(images) / 255


def _read(images: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """With the Gaussian noise of reading a sensor."""
    return images + each(sigma, images) / 255 * normal(images, generator)


def _count(images: Tensor, photons: Tensor, generator: torch.Generator) -> Tensor:
    """Counted in photons, and divided by how many there are at full intensity."""
    rates = images.clamp_min(0) * each(photons, images)
    return torch.poisson(rates.to(generator.device), generator=generator).to(images.device) / each(photons, images)


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    """A uint8 image ``(1 or 3, h, w)`` through a JPEG file in memory."""
    import io

    import numpy as np
    from PIL import Image

    grey = len(image) == 1
    pixels = image[0] if grey else image.permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(file, "JPEG", quality=quality, subsampling=2 if not grey else -1)
    with Image.open(file) as again:
        found = torch.from_numpy(np.array(again))
    return found[None] if grey else found.permute(2, 0, 1)
