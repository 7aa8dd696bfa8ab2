"""Linear operators on images, each with its exact adjoint under the boundary that it states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import LimnerError

BOUNDARIES = ("reflect", "circular", "zero")
"""What lies beyond the border: the image mirrored, its edge repeated (c b a | a b c); the image again; black."""

BY_FOURIER = 5, 128
"""Kernels of so many pixels a side and more are applied by Fourier transforms, to images of so many and more: there it
is the faster way."""


class Linear(ABC):
    """A linear operator A of a batch of images, one of its own for each image, differentiable in the images.

    shape   ``(n, c, h, w)`` of what it takes
    result  ``(n, c, h', w')`` of what it makes
    """

    shape: tuple[int, int, int, int]
    result: tuple[int, int, int, int]

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """A x, for x of ``shape``."""

    @abstractmethod
    def adjoint(self, damaged: Tensor) -> Tensor:
        """Aᵀ y, for y of ``result``: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ exactly."""

    def norm(self, generator: torch.Generator, iterations: int = 100) -> Tensor:
        """The largest singular value of each image's operator, ``(n,)`` float64, by power iteration on AᵀA.

        An estimate from below, that grows to the norm with ``iterations``.
        """
        vectors = torch.randn(self.shape, generator=generator, dtype=torch.float64)
        lengths = vectors.flatten(1).norm(dim=1)
        for _ in range(iterations):
            vectors = vectors / lengths.clamp_min(1e-300).view(-1, 1, 1, 1)
            vectors = self.adjoint(self.forward(vectors))
            lengths = vectors.flatten(1).norm(dim=1)
        return torch.sqrt(lengths)


class Identity(Linear):
    """Leaves images as they are."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.shape = self.result = shape

    def forward(self, images: Tensor) -> Tensor:
        """The images."""
        return images

    def adjoint(self, damaged: Tensor) -> Tensor:
        """The images."""
        return damaged


class Composed(Linear):
    """``outer`` after ``inner``."""

    def __init__(self, outer: Linear, inner: Linear) -> None:
        self.outer, self.inner = outer, inner
        self.shape, self.result = inner.shape, outer.result

    def forward(self, images: Tensor) -> Tensor:
        """Outer of inner."""
        return self.outer.forward(self.inner.forward(images))

    def adjoint(self, damaged: Tensor) -> Tensor:
        """(A B)ᵀ = Bᵀ Aᵀ."""
        return self.inner.adjoint(self.outer.adjoint(damaged))


class Mask(Linear):
    """Multiplies by ``mask``, ``(n, 1 or c, h, w)``, 1 where a pixel is kept; its own adjoint, of norm at most 1."""

    def __init__(self, mask: Tensor, shape: tuple[int, int, int, int]) -> None:
        self.mask = mask
        self.shape = self.result = shape

    def forward(self, images: Tensor) -> Tensor:
        """Lost pixels become 0."""
        return images * self.mask.to(images)

    def adjoint(self, damaged: Tensor) -> Tensor:
        """As :meth:`forward`."""
        return self.forward(damaged)


class Convolution(Linear):
    """Convolution of each image with a kernel of its own, and of that every ``step``-th pixel, from the first.

        (A x)[i] = Σ_d kernel[d] · x[s·i − d],   d from −r to r

    kernels   ``(n, k, k)``, k = 2 r + 1; the middle one is d = 0
    boundary  one of :data:`BOUNDARIES`; images may be smaller than the kernel

    Large ones (:data:`BY_FOURIER`) are computed by Fourier transforms, which differs by rounding alone.

    Kernels that are nowhere negative and add up to 1 have norm at most 1 where the boundary is circular or zero, and
    with reflect where they are symmetric in both axes; at most 2 with any reflect.

    >>> kernels = torch.tensor([[[0., 0, 0], [0, 0, 1], [0, 0, 0]]])
    >>> shift = Convolution(kernels, (1, 1, 1, 4), "circular")
    >>> shift.forward(torch.tensor([[[[1., 2, 3, 4]]]])).flatten().tolist()
    [4.0, 1.0, 2.0, 3.0]
    """

    def __init__(
        self, kernels: Tensor, shape: tuple[int, int, int, int], boundary: str = "reflect", step: int = 1
    ) -> None:
        if boundary not in BOUNDARIES:
            raise LimnerError(f"there is no boundary {boundary!r}; there are: {', '.join(BOUNDARIES)}")
        count, channels, height, width = shape
        if (
            kernels.ndim != 3
            or len(kernels) != count
            or kernels.shape[1] != kernels.shape[2]
            or not kernels.shape[1] % 2
        ):
            raise LimnerError(
                f"{count} images need kernels of shape ({count}, k, k), k odd; these have shape {tuple(kernels.shape)}"
            )
        self.kernels, self.boundary, self.step = kernels, boundary, step
        self.radius = kernels.shape[1] // 2
        self.shape = shape
        self.result = (count, channels, -(-height // step), -(-width // step))

    def forward(self, images: Tensor) -> Tensor:
        """A x."""
        for axis in (2, 3):
            images = _extend(images, axis, self.radius, self.boundary)
        if self._large:
            sides, reach = images.shape[2:], 2 * self.radius
            return self._multiplied(images, False)[..., reach : sides[0] : self.step, reach : sides[1] : self.step]
        groups = self.shape[0] * self.shape[1]
        flat = images.reshape(1, groups, *images.shape[2:])
        made = functional.conv2d(flat, self._weight(images), stride=self.step, groups=groups)
        return made.reshape(self.result)

    def adjoint(self, damaged: Tensor) -> Tensor:
        """Aᵀ y: what lies between the pixels filled with zeros, correlated with the kernel, the borders folded back."""
        if self._large:
            spread = damaged.new_zeros(*self.shape[:2], *(side + 2 * self.radius for side in self.shape[2:]))
            spread[..., 2 * self.radius :: self.step, 2 * self.radius :: self.step] = damaged
            return self._folded(self._multiplied(spread, True)[..., : spread.shape[2], : spread.shape[3]])
        groups = self.shape[0] * self.shape[1]
        flat = damaged.reshape(1, groups, *self.result[2:])
        # conv_transpose2d gives the size that the last kernel reaches; the rest, up to a step, is padded
        left = [(side - 1) % self.step for side in self.shape[2:]]
        made = functional.conv_transpose2d(
            flat, self._weight(damaged), stride=self.step, output_padding=tuple(left), groups=groups
        )
        return self._folded(made.reshape(*self.shape[:2], *made.shape[2:]))

    def _folded(self, extended: Tensor) -> Tensor:
        """What lies beyond the borders added to what it was taken from."""
        for axis in (3, 2):
            extended = _fold(extended, axis, self.radius, self.boundary)
        return extended

    @property
    def _large(self) -> bool:
        return self.kernels.shape[1] >= BY_FOURIER[0] and min(self.shape[2:]) >= BY_FOURIER[1]

    def _multiplied(self, extended: Tensor, turned: bool) -> Tensor:
        """Images with their borders convolved around with the kernels, or where ``turned`` correlated with them."""
        spectrum: Tensor = torch.fft.rfft2(extended, self._sides)
        response = self._response.to(spectrum)
        made: Tensor = torch.fft.irfft2(spectrum * (response.conj() if turned else response), self._sides)
        return made

    @cached_property
    def _sides(self) -> tuple[int, int]:
        """Height and width of the images with their borders, or a few pixels more, which is faster to transform."""
        from scipy.fft import next_fast_len

        height, width = (int(next_fast_len(side + 2 * self.radius, real=True)) for side in self.shape[2:])
        return height, width

    @cached_property
    def _response(self) -> Tensor:
        """The kernels' Fourier transform, ``(n, 1, h, w // 2 + 1)`` complex128."""
        response: Tensor = torch.fft.rfft2(self.kernels.double()[:, None], self._sides)
        return response

    def _weight(self, images: Tensor) -> Tensor:
        """Kernels turned around, as torch correlates: ``(n·c, 1, k, k)``."""
        turned = self.kernels.to(images).flip(1, 2).unsqueeze(1)
        return turned.repeat_interleave(self.shape[1], 0)


def _places(length: int, reach: int, boundary: str) -> Tensor:
    """Where the pixels −reach … length + reach − 1 of an endless image lie in the image."""
    places = torch.arange(-reach, length + reach)
    if boundary == "circular":
        return places % length
    places = places % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)


def _extend(images: Tensor, axis: int, reach: int, boundary: str) -> Tensor:
    """The images with ``reach`` pixels of what lies beyond on both sides of ``axis``."""
    if boundary == "zero":
        return functional.pad(images, (0, 0, reach, reach) if axis == 2 else (reach, reach))
    return images.index_select(axis, _places(images.shape[axis], reach, boundary).to(images.device))


def _fold(images: Tensor, axis: int, reach: int, boundary: str) -> Tensor:
    """The adjoint of :func:`_extend`: what lies beyond added to where it came from."""
    length = images.shape[axis] - 2 * reach
    if boundary == "zero":
        return images.narrow(axis, reach, length)
    sides = [length if place == axis else side for place, side in enumerate(images.shape)]
    return images.new_zeros(sides).index_add(axis, _places(length, reach, boundary).to(images.device), images)
