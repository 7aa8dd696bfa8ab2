"""An image set: images in memory as one uint8 tensor, with optional classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from limner.errors import LimnerError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one shape, with optional labels and groups of classes.

    images       uint8 ``(n, c, h, w)``, c = 1 (grey) or 3 (colour); may be backed by a memory-mapped file
    name         what the user calls it (the data spec)
    labels       int64 ``(n,)`` indices into ``class_names``; ``None`` where there are no classes
    class_names  one name for each class
    class_groups int64 ``(classes,)``, the group of each class (alphabet, script…); families keep a group in one split
    group_names  one name for each group
    licence      what is known about the rights
    notes        plain sentences about what happened on loading (skipped files, converted modes…)
    names        of the files that the images come from, one for each; empty where they are no files

    >>> tiny = ImageSet(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), name="tiny")
    >>> len(tiny), tiny.shape, tiny.sha256[:8]
    (2, (1, 16, 16), 'a8dd15ed')
    """

    images: Tensor
    name: str
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    class_groups: Tensor | None = None
    group_names: tuple[str, ...] = ()
    licence: str = "unknown"
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise LimnerError(
                f"{self.name}: an image set needs uint8 images of shape (n, 1 or 3, height, width); "
                f"these are {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels is not None and len(self.labels) != len(self.images):
            raise LimnerError(
                f"{self.name}: {len(self.images)} images but {len(self.labels)} labels; "
                f"there must be one for each image"
            )

        if self.labels is not None and self.class_names and len(self.labels):
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= len(self.class_names):
                raise LimnerError(
                    f"{self.name}: labels run from {low} to {high}, but there are {len(self.class_names)} class names; "
                    f"labels must be places in the list of names"
                )
        if self.class_groups is not None and len(self.class_groups) != len(self.class_names):
            raise LimnerError(
                f"{self.name}: {len(self.class_names)} classes but {len(self.class_groups)} groups of classes; "
                f"there must be one for each class"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    @cached_property
    def sha256(self) -> str:
        """Identity of the content: sha256 over shape, image bytes and labels."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for part in self.images.split(4096):  # type: ignore[no-untyped-call]
            digest.update(part.contiguous().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.to(torch.int64).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def select(self, indices: Tensor, name: str | None = None) -> ImageSet:
        """The images at ``indices`` (int64 or bool), with their labels; class names are kept."""
        labels = None if self.labels is None else self.labels[indices]
        names = self._names(indices)
        return replace(self, images=self.images[indices], labels=labels, name=name or self.name, names=names)

    def restrict(self, classes: Sequence[int], indices: Tensor | None = None, name: str | None = None) -> ImageSet:
        """Only the images of ``classes``, labelled by their place in that list; groups follow.

        ``indices`` are the places of these images where the caller knows them already.
        """
        if self.labels is None:
            raise LimnerError(f"{self.name} has no classes; give images in one folder a class, or an array of labels")
        place = torch.full((len(self.class_names),), -1, dtype=torch.int64)
        place[torch.tensor(classes, dtype=torch.int64)] = torch.arange(len(classes))
        if indices is None:
            indices = torch.nonzero(place[self.labels] >= 0).flatten()
        groups, group_names = None, self.group_names
        if self.class_groups is not None:
            own = self.class_groups[torch.tensor(classes, dtype=torch.int64)].tolist()
            kept = sorted(set(own))
            groups = torch.tensor([kept.index(group) for group in own], dtype=torch.int64)
            group_names = tuple(self.group_names[group] for group in kept)
        return replace(
            self,
            images=self.images[indices],
            labels=place[self.labels[indices]],
            class_names=tuple(self.class_names[index] for index in classes),
            class_groups=groups,
            group_names=group_names,
            name=name or self.name,
            names=self._names(indices),
        )

    def of_class(self, index: int) -> Tensor:
        """Indices of the images of class ``index``."""
        if self.labels is None:
            raise LimnerError(f"{self.name} has no classes; give images in one folder a class, or an array of labels")
        return torch.nonzero(self.labels == index).flatten()

    def _names(self, indices: Tensor) -> tuple[str, ...]:
        if not self.names:
            return ()
        places = indices.nonzero().flatten() if indices.dtype == torch.bool else indices
        return tuple(self.names[place] for place in places.tolist())

    def floats(self) -> Tensor:
        """The images as float32 in [0, 1]."""
        return self.images.float().div_(255)
