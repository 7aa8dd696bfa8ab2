"""Images with the images that they are to be made from: matched one to one, or two sets without pairs.

A translator learns to make ``targets`` from ``inputs``; a restorer likewise, its inputs being damaged. Both are image
sets of their targets, so that whatever needs only those (shapes, fingerprints, the memory) takes them as they are.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.tasks.image_set import ImageSet


def one_pass(images: ImageSet, random: torch.Generator) -> Tensor:
    """Places in a random order that go once through ``images``, as ``images.select`` takes them."""
    return images.one_pass(random) if isinstance(images, Domains) else torch.randperm(len(images), generator=random)


class TwoSided(ImageSet):
    """An image set of ``targets``, with the ``inputs`` that they are to be made from."""

    inputs: ImageSet
    targets: ImageSet

    def __init__(self, inputs: ImageSet, targets: ImageSet, name: str = "") -> None:
        for side, images in (("inputs", inputs), ("targets", targets)):
            if not len(images):
                raise LimnerError(f"{images.name} gives no {side}; give at least 1 image")
        if inputs.shape[1:] != targets.shape[1:]:
            sides = ["×".join(map(str, images.shape[1:])) for images in (inputs, targets)]
            raise LimnerError(
                f"the images of {inputs.name} have {sides[0]} pixels, those of {targets.name} {sides[1]}; "
                f"load both with the same size, for example size={min(inputs.shape[1], targets.shape[1])}"
            )
        notes = tuple(f"{images.name}: {note}" for images in (inputs, targets) for note in images.notes)
        licences = dict.fromkeys((inputs.licence, targets.licence))
        super().__init__(
            targets.images, name or f"{inputs.name} to {targets.name}", licence="; ".join(licences), notes=notes
        )
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "targets", targets)

    def select(self, indices: Tensor, name: str | None = None) -> Self:
        """The images at ``indices`` (int64 or bool), of both sides."""
        return type(self)(self.inputs.select(indices), self.targets.select(indices), name or self.name)

    @cached_property
    def sha256(self) -> str:
        """Identity of the content of both sides, and of whether they are matched."""
        parts = (type(self).__name__, self.inputs.sha256, self.targets.sha256)
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


class Pairs(TwoSided):
    """The i-th target is what is to be made of the i-th input.

    Raises :class:`LimnerError` where there are not as many of both, or their sides differ.

    >>> grey = ImageSet(torch.zeros(3, 1, 16, 16, dtype=torch.uint8), "grey")
    >>> colour = ImageSet(torch.zeros(3, 3, 16, 16, dtype=torch.uint8), "colour")
    >>> pairs = Pairs(grey, colour)
    >>> len(pairs), pairs.shape, pairs.inputs.shape
    (3, (3, 16, 16), (1, 16, 16))
    """

    def __init__(self, inputs: ImageSet, targets: ImageSet, name: str = "") -> None:
        if len(inputs) != len(targets):
            raise LimnerError(
                f"{len(inputs)} images of {inputs.name} and {len(targets)} of {targets.name} are no pairs; give as "
                "many of both, or learn without pairs, by the learner cycle: --no-pairs"
            )
        super().__init__(inputs, targets, name)

    def again(self, random: torch.Generator) -> Pairs:
        """The pairs that this look at them shows, with draws from ``random``: themselves, unless a kind says else."""
        return self


class Alone(TwoSided):
    """Damaged images with no clean ones: nobody has the targets, and the ``inputs`` themselves stand in their place.

    A restorer learns from them as :mod:`limner.objectives.alone` says; no one may take them for the truth.

    >>> alone = Alone(ImageSet(torch.zeros(3, 1, 16, 16, dtype=torch.uint8), "noisy"))
    >>> len(alone), alone.name, alone.targets is alone.inputs
    (3, 'noisy', True)
    """

    def __init__(self, inputs: ImageSet, name: str = "") -> None:
        super().__init__(inputs, inputs, name or inputs.name)
        object.__setattr__(self, "notes", inputs.notes)
        object.__setattr__(self, "licence", inputs.licence)

    def select(self, indices: Tensor, name: str | None = None) -> Alone:
        """The images at ``indices`` (int64 or bool)."""
        return Alone(self.inputs.select(indices), name or self.name)


class Domains(TwoSided):
    """Two sets of images, of any sizes, where no image belongs to one of the other set.

    Its length is that of the larger set: a pass through it goes through that once, and through the smaller set as often
    as it takes.

    >>> few = ImageSet(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), "few")
    >>> many = ImageSet(torch.zeros(5, 1, 16, 16, dtype=torch.uint8), "many")
    >>> domains = Domains(few, many)
    >>> len(domains), domains.one_pass(torch.Generator().manual_seed(0)).shape
    (5, torch.Size([5, 2]))
    """

    def __len__(self) -> int:
        return max(len(self.inputs), len(self.targets))

    def one_pass(self, random: torch.Generator) -> Tensor:
        """Places in a random order, ``(len(self), 2)``: of inputs in the first column, of targets in the second.

        The columns are drawn apart, so that which images meet in a batch is by chance.
        """
        columns = []
        for images in (self.inputs, self.targets):
            rounds = -(-len(self) // len(images))
            shuffled = [torch.randperm(len(images), generator=random) for _ in range(rounds)]
            columns.append(torch.cat(shuffled)[: len(self)])
        return torch.stack(columns, 1)

    def select(self, indices: Tensor, name: str | None = None) -> Self:
        """The images at ``indices``: ``(n, 2)`` as of :meth:`one_pass`, or ``(n,)``, the same places on both sides.

        A side that has no more begins again.
        """
        if indices.dtype == torch.bool:
            indices = indices.nonzero().flatten()
        first, second = indices.unbind(1) if indices.ndim == 2 else (indices, indices)
        inputs = self.inputs.select(first % len(self.inputs))
        return type(self)(inputs, self.targets.select(second % len(self.targets)), name or self.name)
