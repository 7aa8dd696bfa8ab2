"""The contract of restorers: what is known of the damage, and what a restorer makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from limner.degradations import Degradation, Identity, Linear, Mask, Parameters
from limner.degradations.base import Shape, shape_of
from limner.degradations.linear import Composed
from limner.errors import LimnerError


@dataclass(frozen=True)
class Knowledge:
    """What is known of the damage y = M A x + n of a batch of images.

    noise        standard deviation of n, of intensities in [0, 1]; ``None``: not known; 0: there is none
    operator     A, the linear operator of the clean images; ``None``: the identity
    mask         M, ``(n or 1, 1 or c, h, w)``, 1 where a pixel of y was seen, 0 where it was lost; ``None``: all seen
    degradation  its text, for a reader and for restorers that learned from it; "" where there is none

    >>> Knowledge(noise=25 / 255).linear((1, 1, 8, 8)).norm(torch.Generator()).round().tolist()
    [1.0]
    """

    noise: float | None = None
    operator: Linear | None = None
    mask: Tensor | None = None
    degradation: str = ""

    @classmethod
    def of(
        cls, degradation: Degradation, parameters: Parameters, shape: Shape, noise: float | None = None
    ) -> Knowledge:
        """What there is to know where clean images of ``shape`` were degraded with ``parameters``, but for ``noise``.

        An operator that only masks becomes the mask.

        >>> from limner.degradations import parse
        >>> damage = parse("missing(0.5)+gaussian(10)")
        >>> known = Knowledge.of(damage, damage.sample((1, 1, 8, 8), torch.Generator()), (1, 1, 8, 8), 10 / 255)
        >>> known.operator is None, known.mask.shape
        (True, torch.Size([1, 1, 8, 8]))
        """
        parts = simple(degradation.operator(parameters, shape))
        operator: Linear | None = None
        mask: Tensor | None = None
        while parts and isinstance(last := parts[-1], Mask):
            mask = last.mask if mask is None else last.mask * mask
            parts.pop()
        for part in parts:
            operator = part if operator is None else Composed(part, operator)
        return cls(noise, operator, mask, str(degradation))

    def clean_shape(self, shape: Shape) -> Shape:
        """The shape of the clean images behind damaged ones of ``shape``."""
        return shape if self.operator is None else self.operator.shape

    def linear(self, shape: Shape) -> Linear:
        """M A, the whole operator, for damaged images of ``shape``."""
        whole: Linear = Identity(shape) if self.operator is None else self.operator
        return whole if self.mask is None else Composed(Mask(self.mask, shape), whole)


class Restorer(Protocol):
    """Makes clean images of damaged ones.

    ``name`` is what the catalogue and reports call it.
    """

    @property
    def name(self) -> str:
        """What the catalogue and reports call it."""

    def handles(self, knowledge: Knowledge) -> str:
        """Empty where it can restore what ``knowledge`` tells of, else one sentence: why not, and the remedy."""

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The images mended.

        images     damaged, floating-point ``(n, c, h, w)``, c 1 or 3, nominally in [0, 1] but not clipped
        generator  of the CPU, for whatever is random; the same state gives the same result

        Returns images of ``knowledge.clean_shape``, of the type and on the device of ``images``, not clipped; the
        given ones are not changed. Raises :class:`LimnerError` where :func:`check` does.
        """


def check(restorer: Restorer, images: Tensor, knowledge: Knowledge) -> None:
    """Raise :class:`LimnerError` where ``restorer`` cannot restore ``images``: what a restorer calls first.

    Images must be finite floats ``(n, 1 or 3, h, w)``, mask and operator of their size, the noise nowhere negative,
    and the restorer must handle the knowledge.
    """
    if not images.is_floating_point() or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise LimnerError(
            f"{restorer.name} takes floating-point images of shape (n, 1 or 3, h, w) in [0, 1]; these are "
            f"{images.dtype} of shape {tuple(images.shape)}"
        )
    if not bool(torch.isfinite(images).all()):
        raise LimnerError("some intensities are infinite or not a number; mend those pixels or mask them as lost")
    shape = shape_of(images)
    if knowledge.noise is not None and not 0 <= knowledge.noise < float("inf"):
        raise LimnerError(f"the noise cannot have a standard deviation of {knowledge.noise}; give a number from 0")
    if knowledge.operator is not None and knowledge.operator.result != shape:
        raise LimnerError(
            f"the operator makes images of shape {knowledge.operator.result}, but the damaged ones have shape {shape}"
        )
    if (mask := knowledge.mask) is not None:
        count, channels, height, width = mask.shape if mask.ndim == 4 else (0, 0, *mask.shape[-2:])
        if count not in (1, shape[0]) or channels not in (1, shape[1]) or (height, width) != shape[2:]:
            raise LimnerError(
                f"the mask has shape {tuple(mask.shape)}, the images {shape}; give one of the same height and width"
            )
    if why := restorer.handles(knowledge):
        raise LimnerError(why)


def only_noise(name: str, knowledge: Knowledge) -> str:
    """What a denoiser that must know the noise says to ``knowledge``: :meth:`Restorer.handles`."""
    if knowledge.operator is not None or knowledge.mask is not None:
        return f"{name} takes away noise only, not blur or lost pixels; use plug-and-play with {name} as its prior"
    return needs_noise(name, knowledge)


def needs_noise(name: str, knowledge: Knowledge) -> str:
    """What a restorer that must know the noise says where it is not known."""
    return (
        f"{name} needs to know how strong the noise is; give it or estimate it first" if knowledge.noise is None else ""
    )


def simple(operator: Linear) -> list[Linear]:
    """The operators that ``operator`` is composed of, the first applied first, identities left out."""
    if isinstance(operator, Composed):
        return simple(operator.inner) + simple(operator.outer)
    return [] if isinstance(operator, Identity) else [operator]
