"""Families of tasks for advisers, each cut in two parts that share no image and no row."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import harness
import numpy as np
import photographs
import torch

from limner.degradations import parse
from limner.seeds import derive, generator
from limner.tasks import ImageSet, load
from limner.tasks.tables import load_table

SEED, SIDE = 0, 16
SIZE = f",size={SIDE},colour=grey"


class Family(NamedTuple):
    """Tasks of one kind.

    data      a data spec; ``apart``: whether its two parts share no class, else no image, of each class
    classes   of an image task, drawn from all; ``shots``: images that it learns from; both 0 of a table
    past      past tasks
    """

    data: str
    classes: int
    shots: int
    past: int
    apart: bool = False


FAMILIES = {
    "characters": Family(
        "npz:{data}/omniglot_background28.npz,images=x,labels=char,groups=alphabet" + SIZE, 10, 80, 10, True
    ),
    "digits": Family("npz:{data}/mnist12k.npz,images=train_x,labels=train_y,limit=100" + SIZE, 5, 60, 10),
    "clothing": Family("npz:{data}/fashion12k.npz,images=train_x,labels=train_y,limit=100" + SIZE, 5, 60, 10),
    "tiles": Family("zip:{data}/crawl_tiles32.zip,limit=40" + SIZE, 5, 60, 10, True),
    "degradations": Family(photographs.ARCHIVE, 5, 60, 10, True),
    "wine": Family("sklearn:wine", 0, 0, 6),
    "iris": Family("sklearn:iris", 0, 0, 6),
    "breast_cancer": Family("sklearn:breast_cancer", 0, 0, 6),
}
"""By name, images before tables."""

DAMAGE = (
    "gaussian(25)", "gaussian(60)", "poisson(15)", "speckle(0.5)", "salt_and_pepper(0.2)", "stripes(30,direction=rows)",
    "stripes(30,direction=columns)", "jpeg(5)", "blur(gaussian,width=2)", "quantise(2)",
    "blur(motion,length=9,angle=0)", "blur(motion,length=9,angle=90)", "missing(0.3)", "missing(0.7)",
    "boxes(3,size=0.3)", "scratches(4,thickness=1)", "text(8,lines=2)", "nothing",
)  # fmt: skip
"""Classes of the degradations: which of them a patch of a photograph has. Past tasks are of every other one."""

PATCHES = 100
"""Patches of each class of degradations."""

SHARES = (0.25, 0.4, 0.55)
"""Of a table's rows, what a task to be advised on learns from, in turn."""

LEAST_IMAGES = 20
"""Images that a class of tiles must have."""


def asked_of(name: str, spec: str, target: int) -> tuple[str, int, int]:
    """The data spec, shots and seed of a task of a family's second part: some of its classes, or of its rows."""
    family, seed = FAMILIES[name], derive(SEED, "target", name, target) % 2**31
    if not family.classes:
        return spec, int(len(load_table(spec)) * SHARES[target % len(SHARES)]), seed
    known = load(spec).class_names
    chosen = torch.randperm(len(known), generator=generator(seed, "classes"))[: family.classes].tolist()
    return f"{spec},classes={'+'.join(known[place] for place in chosen)}", family.shots, seed


def parts(folder: Path, name: str) -> dict[str, str]:
    """Write the two parts of a family, ``past`` and ``now``; their data specs."""
    family, random = FAMILIES[name], generator(SEED, "parts", name)
    if not family.classes:
        return table_parts(folder, name, random)
    images = damaged(random) if family.data == photographs.ARCHIVE else load(harness.spec(family.data))
    assert images.labels is not None
    labels = images.labels
    if images.class_groups is not None:
        first = images.class_groups[labels] % 2 == 0
    elif family.apart:
        counts = torch.bincount(labels, minlength=len(images.class_names))
        drawn = torch.rand(len(counts), generator=random) < 0.5
        first = torch.where(counts[labels] >= LEAST_IMAGES, drawn[labels].long(), -1)
    else:
        first = torch.rand(len(labels), generator=random) < 0.5
    return {part: written(folder / f"{name}-{part}.npz", images, torch.nonzero(first == of).flatten())
            for part, of in (("past", 1), ("now", 0))}  # fmt: skip


def written(path: Path, images: ImageSet, places: torch.Tensor) -> str:
    """Some of the images as an archive of their own, whose classes are numbers; its data spec."""
    assert images.labels is not None
    np.savez(path, x=images.images[places, 0].numpy(), y=images.labels[places].numpy())
    return f"npz:{path},images=x,labels=y"


def damaged(random: torch.Generator) -> ImageSet:
    """Patches of photographs, each under one of :data:`DAMAGE`, which is its class and, alone, its group."""
    clean = list(photographs.photographs("Train400").values())
    drawn = torch.randint(len(clean), (len(DAMAGE) * PATCHES,), generator=random).tolist()
    cut = []
    for image in (clean[place][0] for place in drawn):
        top, left = (int(torch.randint(length - SIDE, (), generator=random)) for length in image.shape[1:])
        cut.append(image[:, top : top + SIDE, left : left + SIDE].float() / 255)
    made = []
    for kind, patches in zip(DAMAGE, torch.stack(cut).split(PATCHES), strict=True):
        degradation = parse(kind)
        made.append(degradation.apply(patches, degradation.sample(patches.shape, random), random))
    places = torch.arange(len(DAMAGE))
    return ImageSet(
        photographs.as_file(torch.cat(made)), "degradations", places.repeat_interleave(PATCHES), DAMAGE, places
    )  # fmt: skip


def table_parts(folder: Path, name: str, random: torch.Generator) -> dict[str, str]:
    """Two CSV files whose rows are disjoint."""
    table = load_table(FAMILIES[name].data)
    assert table.labels is not None  # all of them are of classes
    order, found = torch.randperm(len(table), generator=random), {}
    for part, places in (("past", order[: len(table) // 2]), ("now", order[len(table) // 2 :])):
        path = folder / f"{name}-{part}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(f"column {place}" for place in range(table.inputs.shape[1])), "target"])
            for place in places.tolist():
                writer.writerow([*table.inputs[place].tolist(), f"class {int(table.labels[place])}"])
        found[part] = f"csv:{path},target=target"
    return found
