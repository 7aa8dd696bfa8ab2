"""Stages that are linear operators: blurs, down-sampling, lost pixels, the mosaic of a sensor."""

from __future__ import annotations

from abc import abstractmethod
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from limner.degradations.base import Chain, Degradation, Field, OneOf, Parameters, Shape, Stage
from limner.degradations.kernels import defocus_kernels, gaussian_kernels, kernel_from, motion_kernels, remarks_on
from limner.degradations.linear import BOUNDARIES, Convolution, Linear, Mask
from limner.degradations.masks import box_masks, scratch_masks, text_masks
from limner.errors import LimnerError

BOUNDARY = Field("boundary", default="reflect", words=BOUNDARIES)


class LinearStage(Stage):
    """A stage that is a linear operator; its parameters say which."""

    linear = True

    @abstractmethod
    def operator(self, parameters: Parameters, shape: Shape) -> Linear:
        """The operator of images of ``shape``."""

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """A x; nothing is drawn."""
        count, channels, height, width = images.shape
        return self.operator(parameters, (count, channels, height, width)).forward(images)


class Blur(LinearStage):
    """Convolution with a kernel of each image's own, ``kernel`` ``(n, k, k)``, nowhere negative, of sum 1."""

    word = "blur"

    @abstractmethod
    def kernels(self, drawn: Parameters, count: int) -> Tensor:
        """The kernels for what was drawn, float64 ``(n, k, k)``, all of the size that the largest needs."""

    def sample(self, shape: Shape, generator: torch.Generator) -> Parameters:
        """The numbers drawn, and the kernels they make."""
        drawn = super().sample(shape, generator)
        return {**drawn, "kernel": self.kernels(drawn, shape[0])}

    def operator(self, parameters: Parameters, shape: Shape) -> Convolution:
        """The convolution."""
        return Convolution(parameters["kernel"], shape, str(self.values["boundary"]))


class GaussianBlur(Blur):
    """A Gaussian kernel; ``width`` is its standard deviation in pixels, cut off at 4 of them."""

    kind = "gaussian"
    fields = (Field("width", high=50), BOUNDARY)

    def kernels(self, drawn: Parameters, count: int) -> Tensor:
        """Gaussians."""
        return gaussian_kernels(drawn["width"], ceil(4 * self.upper("width")))


class MotionBlur(Blur):
    """A line: the path of a point moved evenly by ``length`` pixels, at ``angle`` degrees from across to upwards."""

    kind = "motion"
    fields = (Field("length", low=1, high=200), Field("angle", default=0, low=-360, high=360), BOUNDARY)

    def kernels(self, drawn: Parameters, count: int) -> Tensor:
        """Lines."""
        return motion_kernels(drawn["length"], drawn["angle"], ceil((self.upper("length") + 1) / 2))


class DefocusBlur(Blur):
    """An even disc of ``radius`` pixels: a point out of focus."""

    kind = "defocus"
    fields = (Field("radius", high=100), BOUNDARY)

    def kernels(self, drawn: Parameters, count: int) -> Tensor:
        """Discs."""
        return defocus_kernels(drawn["radius"], ceil(self.upper("radius")))


class FileBlur(Blur):
    """Any kernel, from a file: a 2-dimensional array (.npy), or an image whose intensities are weights.

    It is divided by its sum.
    """

    kind = "file"
    fields = (Field("path", path=True), BOUNDARY)

    @property
    def file(self) -> Path:
        """Where the kernel is."""
        return Path(str(self.values["path"])).expanduser()

    def kernels(self, drawn: Parameters, count: int) -> Tensor:
        """The one kernel, for each image."""
        return kernel_from(self.file).expand(count, -1, -1)


def about_kernels(degradation: Degradation) -> list[str]:
    """What is worth telling of the kernels' files that a degradation takes, each looked at once.

    Raises :class:`LimnerError` where one cannot be used.
    """
    if isinstance(degradation, Chain | OneOf):
        parts = degradation.parts if isinstance(degradation, Chain) else degradation.alternatives
        return list(dict.fromkeys(remark for part in parts for remark in about_kernels(part)))
    return remarks_on(degradation.file) if isinstance(degradation, FileBlur) else []


class Downsample(LinearStage):
    """Blurred by a Gaussian, then every ``factor``-th pixel of each row and column, from the first: smaller images.

    ``width`` is the Gaussian's standard deviation in pixels of the small image. With 0 nothing is blurred, so that any
    other kernel can come before it: ``blur(defocus,radius=2)+downsample(2,width=0)``.
    """

    word = "downsample"
    fields = (
        Field("factor", low=1, high=16, whole=True, ranges=False), Field("width", default=0.5, high=4), BOUNDARY,
    )  # fmt: skip

    def sample(self, shape: Shape, generator: torch.Generator) -> Parameters:
        """The numbers drawn, and the kernels they make."""
        drawn = super().sample(shape, generator)
        factor = self.upper("factor")
        return {**drawn, "kernel": gaussian_kernels(drawn["width"] * factor, ceil(4 * self.upper("width") * factor))}

    def shape_after(self, shape: Shape) -> Shape:
        """Smaller by the factor, rounded up."""
        factor = int(self.upper("factor"))
        return shape[0], shape[1], -(-shape[2] // factor), -(-shape[3] // factor)

    def operator(self, parameters: Parameters, shape: Shape) -> Convolution:
        """The convolution, of which only every ``factor``-th pixel is computed."""
        return Convolution(parameters["kernel"], shape, str(self.values["boundary"]), int(self.upper("factor")))


class Masked(LinearStage):
    """Lost pixels become 0, in all channels. The ``mask``, bool ``(n, 1, h, w)``, is true where a pixel is kept."""

    @abstractmethod
    def masks(self, drawn: Parameters, shape: Shape, generator: torch.Generator) -> Tensor:
        """The masks for what was drawn."""

    def sample(self, shape: Shape, generator: torch.Generator) -> Parameters:
        """The numbers drawn, and a mask for each image."""
        drawn = super().sample(shape, generator)
        return {**drawn, "mask": self.masks(drawn, shape, generator)}

    def operator(self, parameters: Parameters, shape: Shape) -> Mask:
        """The mask."""
        return Mask(parameters["mask"], shape)


class Missing(Masked):
    """A ``share`` of the pixels is lost, each by chance."""

    word = "missing"
    fields = (Field("share", high=1),)

    def masks(self, drawn: Parameters, shape: Shape, generator: torch.Generator) -> Tensor:
        """Single pixels."""
        numbers = torch.rand(shape[0], 1, *shape[2:], generator=generator, dtype=torch.float64)
        return numbers >= drawn["share"].view(-1, 1, 1, 1)


class Boxes(Masked):
    """``count`` squares are lost, at random places within the image; ``size`` is a part of its smaller side."""

    word = "boxes"
    fields = (Field("count", high=1000, whole=True), Field("size", default=0.2, high=1))

    def masks(self, drawn: Parameters, shape: Shape, generator: torch.Generator) -> Tensor:
        """Squares."""
        return box_masks(drawn["count"], drawn["size"], shape, generator)


class Scratches(Masked):
    """``count`` bent lines from border to border are lost, ``thickness`` pixels wide."""

    word = "scratches"
    fields = (Field("count", high=1000, whole=True), Field("thickness", default=1, low=1, high=50, whole=True))

    def masks(self, drawn: Parameters, shape: Shape, generator: torch.Generator) -> Tensor:
        """Lines."""
        return scratch_masks(drawn["count"], drawn["thickness"], shape, generator)


class Text(Masked):
    """``lines`` of random letters, each at a random place, are lost; ``size`` is that of the type in pixels."""

    word = "text"
    fields = (Field("size", low=4, high=200, whole=True), Field("lines", default=3, high=1000, whole=True))

    def masks(self, drawn: Parameters, shape: Shape, generator: torch.Generator) -> Tensor:
        """Letters."""
        return text_masks(drawn["size"], drawn["lines"], shape, generator)


class Mosaic(Masked):
    """Of colour images one channel of each pixel is kept, as a sensor behind a Bayer filter sees it; the others are 0.

    The ``pattern`` names the filters of the first 2×2 pixels, row by row; shapes stay, the mask is ``(n, 3, h, w)``.
    """

    word = "mosaic"
    fields = (Field("pattern", default="rggb", words=("rggb", "bggr", "grbg", "gbrg")),)

    def masks(self, drawn: Parameters, shape: Shape, generator: torch.Generator) -> Tensor:
        """The filters. Raises :class:`LimnerError` where the images are grey."""
        count, channels, height, width = shape
        if channels != 3:
            raise LimnerError("mosaic needs colour images, and these are grey; load them with colour=rgb")
        rows, columns = torch.arange(height).view(-1, 1) % 2, torch.arange(width) % 2
        filters = torch.tensor(["rgb".index(letter) for letter in str(self.values["pattern"])])[2 * rows + columns]
        return (filters == torch.arange(3).view(3, 1, 1)).expand(count, 3, height, width)
