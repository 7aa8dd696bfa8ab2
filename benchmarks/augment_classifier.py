"""Whether made images help a classifier: 5 classes, 5 real images each, with and without 20 made ones a class.

Drawings of alphabets, tile folders and clothing that no generator's start was learned from. In each task a generator is
adapted to the 5 images of each class; a classifier then learns from real images alone, with ordinary augmentation, with
made images, or with both, in as many steps each, and is judged on 15 other images a class.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, replace
from functools import cache, reduce
from typing import Any

import few_shot
import few_shot_colour
import few_shot_generation as generation
import few_shot_generation_longer
import harness
import torch
from PIL import Image
from torch import Tensor

from limner.config import Strategy
from limner.learners import create, describe
from limner.memory import shipped_starts
from limner.metrics import extractor
from limner.metrics.gain import by_network, by_regression, together, varied
from limner.model_file import StoredModel
from limner.seeds import derive
from limner.tasks import ImageSet, NWayFamily, Task, load
from limner.types import Params
from limner.verbs.making import Making

SEED, WAYS, SHOTS, QUERIES, MADE = 0, 5, 5, 15, 20
ALONE, ORDINARY, HERE, BOTH = (
    "real images alone", "ordinary augmentation", "made, start learned here", "made and ordinary augmentation"
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Images to tell apart, what their generator begins from and how it is adapted, and what classifiers get.

    source      the setting whose train classes the start was learned on, where it is another
    ordinary    augmentations; ``features`` those of the second judge
    whole       whether all classes are judged, none being learned from
    """

    name: str
    spec: str
    beginning: generation.Beginning
    adaptation: Strategy
    ordinary: tuple[str, ...]
    features: str
    tasks: int
    source: str = ""
    whole: bool = False


MOVED, MIRRORED = ("shift", "affine"), ("shift", "affine", "flip")
OMNIGLOT, CRAWL, CLOTHING = f"{generation.SPEC},size=32", few_shot_colour.TILES, few_shot_colour.CLOTHING
LETTERS, COLOURED = few_shot_generation_longer.SET_VAE, few_shot_colour.SET_VAE
ADAPT = generation.ADAPT.replace(betas=(0.5, 0.9), learning_rate=1e-3, steps=50)
SETTINGS = (
    Setting("unseen alphabets", OMNIGLOT, LETTERS, ADAPT, MOVED, "glyph-net", 8),
    Setting("unseen tile folders", CRAWL, COLOURED, ADAPT, MIRRORED, "efficientnet-lite0", 4),
    Setting("clothing", CLOTHING, COLOURED, ADAPT, MIRRORED, "efficientnet-lite0", 4, "unseen tile folders", True),
)


@dataclass(frozen=True)
class Scale:
    """Seconds of meta-learning for each start, steps of a classifier, and of each adaptation (0 = the setting's)."""

    seconds: float
    steps: int
    adaptation: int = 0
    tasks: int = 10**9


@cache
def images_of(spec: str) -> ImageSet:
    return load(spec)


def task_of(setting: Setting, index: int) -> Task:
    """The ``index``-th task: 5 classes that the start was not learned on."""
    fractions = (0.0, 0.0, 1.0) if setting.whole else (0.7, 0.1, 0.2)
    family = NWayFamily(images_of(setting.spec), WAYS, SHOTS, QUERIES, seed=SEED, fractions=fractions)
    return family.task("test", index, seed=index)


def makings(setting: Setting, scale: Scale, start: Params) -> dict[str, Making]:
    """The generators by arm: from the start learned here, and from a shipped one where it fits the images."""
    shape, kind = images_of(setting.spec).shape, setting.beginning.kind
    strategy = setting.adaptation.replace(steps=scale.adaptation or setting.adaptation.steps)
    learner = create(kind, shape, **setting.beginning.options)
    found = {HERE: Making(learner, strategy, StoredModel("", start, describe(learner)), each=True)}
    for model in shipped_starts():
        described = model.learner_description
        if described["kind"] == kind and tuple(described["image_shape"]) == shape:
            other = create(kind, shape, **described["options"])
            found[f"made, {model.metadata['reference']}"] = Making(other, strategy, model, each=True)
    return found


def measure(asked: tuple[Setting, Scale, Params, int]) -> dict[str, Any]:
    """All arms on one task, on one core: a row for each, and the made images by arm."""
    harness.on_one_core()
    setting, scale, start, index = asked
    task = task_of(setting, index)
    real, held = task.support, task.query
    count, seed = WAYS * MADE, derive(SEED, setting.name, index)
    copies = varied(real, count, setting.ordinary, derive(seed, "copies"))
    made, took = {}, {}
    for name, making in makings(setting, scale, start).items():
        begun = time.perf_counter()
        made[name] = making.set_of(real, MADE, seed)
        took[name] = time.perf_counter() - begun
    arms: dict[str, tuple[list[ImageSet], bool]] = {
        ALONE: ([real], False), ORDINARY: ([real], True),
        **{name: ([real, part], False) for name, part in made.items()}, BOTH: ([real, made[HERE]], True),
    }  # fmt: skip
    look = extractor(setting.features)
    seen = {part: look(part.images) for part in (real, held, copies, *made.values())}
    rows = []
    for name, (parts, varies) in arms.items():
        whole = reduce(together, parts)
        network = by_network(
            whole, held, steps=scale.steps, seed=seed, augmentation=setting.ordinary if varies else ()
        )  # fmt: skip
        looked_at = [*parts, copies] if varies else parts
        answers = by_regression(
            torch.cat([seen[part] for part in looked_at]), reduce(together, looked_at).labels, seen[held], len(real)
        )
        rows.append(
            {
                "images": setting.name, "arm": name, "task": index, "seconds": took.get(HERE if name == BOTH else name),
                "network": 100 * float(network.double().mean()),
                "regression": 100 * float((answers == held.labels).double().mean()),
            }
        )  # fmt: skip
    print(", ".join([f"{setting.name} {index}", *(f"{row['arm']} {row['network']:.0f}%" for row in rows)]), flush=True)
    shown = {name: part.images for name, part in made.items()} if index == 0 else {}
    return {"setting": setting.name, "rows": rows, "made": shown}


def picture(setting: Setting, made: dict[str, Tensor]) -> Image.Image:
    """The classes of a task, a row each: real images, those made from each start, others to judge on."""
    task = task_of(setting, 0)
    assert task.query is not None
    tasks = [
        Task("generate", task.name, task.support.restrict([label]), task.query.restrict([label]))
        for label in range(WAYS)
    ]
    arms = [[images[label * MADE : (label + 1) * MADE] for label in range(WAYS)] for images in made.values()]
    return few_shot.picture(tasks, arms)


def summary(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each set of images and arm: means over tasks with their intervals."""
    rows = []
    for images, arm in dict.fromkeys((row["images"], row["arm"]) for row in details):
        own = [row for row in details if (row["images"], row["arm"]) == (images, arm)]
        judged = {judge: harness.interval([row[judge] for row in own]) for judge in ("network", "regression")}
        seconds = None if own[0]["seconds"] is None else sum(row["seconds"] for row in own) / len(own)
        rows.append({"images": images, "arm": arm, "tasks": len(own), **judged, "seconds": seconds})
    return rows


def story(details: list[dict[str, Any]], scale: Scale) -> str:
    """What was done, and the differences that matter, task by task."""
    lines = [
        f"Tasks of {WAYS} classes that no generator's start was learned from, {SHOTS} real images each and {MADE} "
        f"made ones, judged on {QUERIES} others a class: accuracy in percent, means over tasks with 95% bootstrap "
        f"intervals. `network`: a small network, {scale.steps} steps on at most 32 images in every arm. `regression`: "
        "logistic regression on frozen features (`glyph-net` for drawings, `efficientnet-lite0` in colour), for which "
        f"ordinary augmentation gives {MADE} varied copies a class. Clothing is made from the start learned on tile "
        f"folders. Each start was learned in {scale.seconds:.0f} seconds of one core; `seconds` is the making of a "
        f"task's {WAYS * MADE} images.",
        "",
    ]
    for images in dict.fromkeys(row["images"] for row in details):
        arms: dict[str, list[float]] = {}
        for row in details:
            if row["images"] == images:
                arms.setdefault(row["arm"], []).append(row["network"])
        pairs = [(name, ALONE) for name in arms if name != ALONE] + [(HERE, ORDINARY), (BOTH, ORDINARY)]
        told = "; ".join(f"{one} less {other} {_gain(arms[one], arms[other])}" for one, other in pairs)
        lines.append(f"- {images[0].upper()}{images[1:]}, by the network, in points: {told}.")
    return "\n".join(lines)


def _gain(first: list[float], other: list[float]) -> str:
    found = harness.difference(first, other)
    if found.low is None or found.high is None:
        return harness.told(found)
    verdict = "a gain" if found.low > 0 else "a loss" if found.high < 0 else "no clear difference"
    return f"{harness.told(found)} ({verdict})"


def main() -> None:
    started = time.perf_counter()
    scale = Scale(3, 20, adaptation=10, tasks=2) if harness.quick() else Scale(60 * harness.minutes(1), 150)
    settings = [
        replace(each, spec=harness.spec(each.spec), tasks=min(each.tasks, scale.tasks))
        for each in (SETTINGS if not harness.arguments().data else SETTINGS[:1])
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        own = [each for each in settings if not each.source]
        places = [few_shot.Setting(each.spec, SHOTS, QUERIES, SEED, each.features) for each in own]
        begun = [(each.beginning, place, scale.seconds) for each, place in zip(own, places, strict=True)]
        learned = pool.map(generation.begun, begun, chunksize=1)
        starts = {each.name: params for each, (params, _) in zip(own, learned, strict=True)}
        asked = [
            (each, scale, starts[each.source or each.name], index) for each in settings for index in range(each.tasks)
        ]
        found = pool.map(measure, asked, chunksize=1)
    details = [row for each in found for row in each["rows"]]
    pictures = [
        harness.Picture(
            each.name.replace(" ", "-"),
            picture(each, first["made"]),
            f"{each.name[0].upper()}{each.name[1:]}: a row for each class of a task: its {SHOTS} real images, made "
            f"ones ({'; '.join(first['made'])}), others to judge on",
        )
        for each in settings
        for first in found
        if first["setting"] == each.name and first["made"]
    ]
    columns = {
        "images": "images", "arm": "learned from real images and", "tasks": "tasks", "network": "network, %",
        "regression": "regression, %", "seconds": "seconds",
    }  # fmt: skip
    harness.finish(
        "augment-classifier",
        summary(details),
        columns=columns,
        seed=SEED,
        started=started,
        pictures=pictures,
        story=story(details, scale),
        details=details,
        threads=2,
    )


if __name__ == "__main__":
    harness.run(main)
