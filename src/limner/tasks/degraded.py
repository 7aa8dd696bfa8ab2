"""A family of tasks to restore images: each is one degradation, shown by pairs of patches, damaged and clean."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from limner.degradations import Degradation, parse
from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.family import SPLITS, fill, members_of
from limner.tasks.image_set import ImageSet
from limner.tasks.pairs import Alone, Pairs
from limner.tasks.task import Task


class Unrounded(ImageSet):
    """Images whose intensities are no bytes and may leave [0, 1], as noise leaves them.

    ``values`` are float32 ``(n, c, h, w)``, and what :meth:`floats` gives; ``images`` are the same clipped and rounded,
    for whoever looks at them.

    >>> Unrounded(torch.full((1, 1, 8, 8), 1.2), "bright").floats().max()
    tensor(1.2000)
    """

    values: Tensor

    def __init__(self, values: Tensor, name: str) -> None:
        super().__init__((values.clamp(0, 1) * 255).round().to(torch.uint8), name)
        object.__setattr__(self, "values", values.float())

    def select(self, indices: Tensor, name: str | None = None) -> Unrounded:
        """The images at ``indices`` (int64 or bool)."""
        return Unrounded(self.values[indices], name or self.name)

    @cached_property
    def sha256(self) -> str:
        """Identity of the content: sha256 over shape and intensities."""
        digest = hashlib.sha256(repr(tuple(self.values.shape)).encode())
        digest.update(self.values.contiguous().numpy().data)
        return digest.hexdigest()

    def floats(self) -> Tensor:
        """The intensities as they are."""
        return self.values.clone()


class DegradationFamily:
    """Tasks to restore: each is one degradation drawn from ``degradation``, with pairs of patches damaged by it.

    Ranges and choices are settled once for a task (``blur(motion,length=5..9)`` has one length in it); masks and noise
    are each patch's own. Patches are cut at random places of the images, and mirrored and turned at random.
    Images, or classes where there are any, are divided among the splits; within a task no image is seen by both
    support and query, and where a split has but one image they have an upper and a lower half of it.

    images       clean ones
    degradation  or its text
    patch        the side of the patches in pixels
    shots        pairs to learn from in each task
    queries      pairs to be judged on in each task
    unseen       the degradations of test tasks; ``None``: the same
    alone        the support shows the damaged patches alone, so that a start learns to adapt without clean images; the
                 query, which the start is learned by, has both

    Damaged patches are not clipped unless the degradation says so (``+quantise(8)``); what comes out smaller is brought
    back to ``patch`` by bicubic interpolation, each pixel where it was taken.

    :raises LimnerError: where the images are too small or too few, or there are no shots

    >>> images = ImageSet(torch.zeros(10, 1, 32, 32, dtype=torch.uint8), "black")
    >>> family = DegradationFamily(images, "gaussian(5..50)", patch=16, shots=2, queries=3)
    >>> task = family.task("train", 0, seed=1)
    >>> task.name, task.support.inputs.shape, len(task.query)
    ('black under gaussian(49.71), 2 shots', (1, 16, 16), 3)
    """

    goal = "restore"

    def __init__(
        self,
        images: ImageSet,
        degradation: Degradation | str,
        patch: int,
        shots: int,
        queries: int,
        seed: int = 0,
        fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
        unseen: Degradation | str | None = None,
        alone: bool = False,
    ) -> None:
        if shots < 1 or queries < 1:
            raise LimnerError(f"a family needs at least 1 shot and 1 query; {shots} and {queries} were given")
        if not 8 <= patch <= min(images.shape[1:]):
            raise LimnerError(
                f"patches of {patch}×{patch} pixels cannot be cut from the images of {images.name}, of "
                f"{images.shape[2]}×{images.shape[1]}; give patches from 8 to {min(images.shape[1:])}"
            )
        if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) < 1e-6:
            raise LimnerError(f"fractions {fractions} cannot be used; give three numbers from 0 that add up to 1")
        self.images, self.patch, self.shots, self.queries, self.seed = images, patch, shots, queries, seed
        self.degradation = parse(degradation) if isinstance(degradation, str) else degradation
        self.unseen = parse(unseen) if isinstance(unseen, str) else unseen
        self.alone = alone
        self.fractions, self.notes = (fractions[0], fractions[1], fractions[2]), images.notes
        self.members = self._divide()

    @property
    def spec(self) -> str:
        """The data spec of its images."""
        return self.images.name

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of the patches: channels, height, width."""
        return self.images.shape[0], self.patch, self.patch

    def size(self, split: str) -> int:
        """How many tasks can be told apart by number: degradations are drawn, so no end is reached."""
        return 2**31 if len(self._places(split)) else 0

    def task(self, split: str, index: int, seed: int) -> Task:
        """The ``index``-th task of ``split``: the index draws its degradation, ``seed`` its patches and their noise."""
        if index < 0:
            raise LimnerError(f"there is no task number {index}; they begin at 0")
        return self._task(
            split, generator(self.seed, "degradation", split, index), generator(seed, "patches", index), seed
        )

    def sample(self, split: str, generator: torch.Generator) -> Task:
        """A random task of ``split``."""
        return self._task(split, generator, generator, 0)

    def to_json(self) -> dict[str, Any]:
        """What rebuilds it: the data spec, the sha256 of the images, and the arguments, as plain JSON."""
        return {
            "kind": "degradations",
            "spec": self.spec,
            "images_sha256": self.images.sha256,
            "degradation": str(self.degradation),
            "patch": self.patch,
            "shots": self.shots,
            "queries": self.queries,
            "seed": self.seed,
            "fractions": list(self.fractions),
            "unseen": None if self.unseen is None else str(self.unseen),
            **({"alone": True} if self.alone else {}),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], images: ImageSet | None = None) -> DegradationFamily:
        """The inverse of :meth:`to_json`; loads the data spec where ``images`` are not given.

        Raises :class:`LimnerError` where the images are no longer those that the family was made of.
        """
        from limner.tasks.pictures import clean_patches

        found = clean_patches(record["spec"], 2 * record["patch"]) if images is None else images
        if found.sha256 != record["images_sha256"]:
            raise LimnerError(f"the images of {record['spec']} have changed since this family was made; make a new one")
        arguments = {name: value for name, value in record.items() if name not in ("kind", "spec", "images_sha256")}
        return cls(found, **{**arguments, "fractions": tuple(record["fractions"])})

    def _task(self, split: str, of_damage: torch.Generator, of_patches: torch.Generator, seed: int) -> Task:
        places = self._places(split)
        if not len(places):
            raise LimnerError(
                f"the {split} split of {self.spec} has no images; give it a larger fraction, or more images"
            )
        drawn = self.unseen if self.unseen is not None and split == "test" else self.degradation
        damage = drawn.settle(of_damage)
        name = f"{self.spec} under {damage}, {self.shots} {'shot' if self.shots == 1 else 'shots'}"
        sides = []
        for count, source in zip((self.shots, self.queries), self._sources(places, of_patches), strict=True):
            clean = _patches(source, count, self.patch, of_patches)
            damaged = damage(clean.float() / 255, of_patches)
            inputs = Unrounded(enlarged(damaged, self.patch), f"{self.spec} under {damage}")
            sides.append(Pairs(inputs, ImageSet(clean, self.spec, licence=self.images.licence), name))
        support = Alone(sides[0].inputs, name) if self.alone else sides[0]
        return Task(goal=self.goal, name=name, support=support, query=sides[1], seed=seed, source=self.spec)

    def _sources(self, places: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images for support and query, none in both; as many as there are patches, if there are so many."""
        order = places[torch.randperm(len(places), generator=random)]
        if len(order) == 1:
            image, half = self.images.images[order], self.images.shape[1] // 2
            return image[:, :, :half], image[:, :, half:]
        wanted = self.shots + self.queries
        first = max(1, min(self.shots, len(order) * self.shots // wanted))
        return self.images.images[order[:first]], self.images.images[order[first:][: self.queries]]

    def _places(self, split: str) -> Tensor:
        if split not in SPLITS:
            raise LimnerError(f"a family has no split {split!r}; it has: {', '.join(SPLITS)}")
        return self.members[split]

    def _divide(self) -> dict[str, Tensor]:
        """The images of each split; those of a class stay together."""
        if self.images.labels is None:
            groups = list(torch.arange(len(self.images)).split(1))  # type: ignore[no-untyped-call]
        else:
            groups = [one for one in members_of(self.images.labels, len(self.images.class_names)) if len(one)]
        wanted = [split for split, fraction in zip(SPLITS, self.fractions, strict=True) if fraction > 0]
        if len(groups) < len(wanted):
            what = "images" if self.images.labels is None else "classes"
            raise LimnerError(
                f"{self.spec} has {len(groups)} {what}, too few for the splits {', '.join(wanted)}; give more, or "
                "fractions with a 0"
            )
        units = [[place] for place in range(len(groups))]
        filled = fill(units, dict(zip(SPLITS, self.fractions, strict=True)), self.seed)
        none = torch.zeros(0, dtype=torch.int64)
        members = {split: torch.cat([none, *(groups[place] for place in filled[split])]) for split in SPLITS}
        for split, places in members.items():
            if len(places) == 1 and self.images.shape[1] < 2 * self.patch:
                raise LimnerError(
                    f"the {split} split of {self.spec} has 1 image, of which support and query need a half each, but "
                    f"patches of {self.patch} pixels are higher than that; give more images, or smaller patches"
                )
        return members


def _patches(images: Tensor, count: int, side: int, random: torch.Generator) -> Tensor:
    """``count`` patches ``(count, c, side, side)`` of images in a random order, mirrored and turned."""
    chosen = torch.arange(count) % len(images)
    drawn = torch.rand(count, 2, generator=random, dtype=torch.float64)
    symmetries = torch.randint(8, (count,), generator=random).tolist()
    made = []
    for place, (down, across), symmetry in zip(chosen.tolist(), drawn.tolist(), symmetries, strict=True):
        top, left = (
            int(part * (length - side + 1)) for part, length in zip((down, across), images.shape[2:], strict=True)
        )
        patch = torch.rot90(images[place, :, top : top + side, left : left + side], symmetry % 4, (1, 2))
        made.append(patch.flip(2) if symmetry >= 4 else patch)
    return torch.stack(made)


def enlarged(images: Tensor, side: int) -> Tensor:
    """Images of every s-th pixel from the first, brought to ``side`` by bicubic interpolation, none of them moved.

    Raises :class:`LimnerError` where s would be no whole number.
    """
    small = images.shape[2]
    if small == side:
        return images
    if side % small:
        raise LimnerError(
            f"patches of {side} pixels became {small}, no whole part of them; give patches that divide evenly"
        )
    if small == 1:
        return images.expand(-1, -1, side, side).clone()
    steps = 2 * torch.arange(side, dtype=images.dtype) / (side // small) / (small - 1) - 1
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack([across, down], -1).expand(len(images), -1, -1, -1)
    return functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=True)
