"""How far the starts that ship with the package carry, on images that have nothing to do with what they learned from.

Each task is one class of a data set: 5 images to learn from, others to be judged on. What ``adapt generate`` does by
itself on a fresh install is held against the same learner from scratch in the same number of steps, and against what
the adviser would do where there are no starts.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import few_shot
import harness
import torch
from PIL import Image

from limner.config import Strategy
from limner.engine import fit
from limner.learners import create, rebuild
from limner.memory import Adviser, Memory
from limner.metrics import evaluate
from limner.reports.figures import grid
from limner.seeds import derive
from limner.tasks import Family, Task, load

SHOTS, QUERIES, SAMPLES, SEED = 5, 15, 64, 0
METRICS = ("kernel_distance", "coverage", "diversity", "nearest_training_ratio")


@dataclass(frozen=True)
class Data:
    """A data set whose classes are tasks, and the features that judge."""

    name: str
    spec: str
    extractor: str


SETS = (
    Data("Omniglot", "npz:{data}/omniglot_background28.npz,images=x,labels=char,groups=alphabet,size=32", "glyph-net"),
    Data("MNIST", "npz:{data}/mnist12k.npz,images=train_x,labels=train_y,size=32", "glyph-net"),
    Data("Fashion", "npz:{data}/fashion12k.npz,images=train_x,labels=train_y,size=32", "efficientnet-lite0"),
    Data("objects (COIL-20)", "npz:{data}/coil20_32.npz,images=x,labels=y,size=32", "efficientnet-lite0"),
    Data("tiles", "zip:{data}/crawl_tiles32.zip,size=32,colour=rgb", "efficientnet-lite0"),
    Data("clothing", "zip:{data}/clothing2k_64_cc0.zip,size=32,colour=rgb", "efficientnet-lite0"),
)


def adapted(asked: tuple[Data, Task]) -> list[dict[str, Any]]:
    """A row for each way on one task. The memory is empty: all there is comes with the package."""
    data, task = asked
    harness.on_one_core()
    with tempfile.TemporaryDirectory() as place, Memory.open(f"{place}/memory.db") as memory:
        advice = Adviser(memory).recommend(task, extractor=data.extractor)
        first = advice[0]
        fresh = next(each for each in advice if each.strategy.start == "scratch")
        found = []
        if first.strategy.start != "scratch":
            model = memory.get_model(first.strategy.start)
            learner = rebuild(model.learner_description)
            found.append(
                row(data, task, f"shipped start ({first.strategy.start})", learner, first.strategy, model.params)
            )
            if first.strategy.steps:
                found.append(row(data, task, "same learner and steps, from scratch", learner, first.strategy, None))
        learner = create(fresh.learner, task.support.shape, **fresh.options)
        found.append(row(data, task, f"from scratch, as advised ({fresh.learner})", learner, fresh.strategy, None))
    return found


def row(data: Data, task: Task, arm: str, learner: Any, strategy: Strategy, start: Any) -> dict[str, Any]:
    begun = time.perf_counter()
    run = fit(learner, task, strategy, seed=task.seed, start=start)
    seconds = time.perf_counter() - begun
    samples = run.sample(SAMPLES, seed=derive(task.seed, "benchmark"))
    scores = evaluate(samples, task.query, task.support, data.extractor, bootstraps=0).plain()
    return {
        "data": data.name, "arm": arm, "task": few_shot.class_of(task), "steps": run.cost.steps, "seconds": seconds,
        "pictured": samples[:8], **{metric: scores[metric] for metric in METRICS},
    }  # fmt: skip


def tasks_of(data: Data, count: int) -> list[Task]:
    """Tasks of ``count`` classes; nothing learns from any class of this data set, so any will do."""
    images = load(harness.spec(data.spec))
    source = Family(images, SHOTS, QUERIES, seed=SEED, fractions=(0.0, 0.0, 1.0), min_images=SHOTS + QUERIES)
    return few_shot.tasks_of(source, "test", count)


def main() -> None:
    count = 2 if harness.quick() else 10
    asked = [(data, task) for data in SETS for task in tasks_of(data, count)]
    measure("few-shot-starter", asked, f"{SHOTS} images of each of up to {count} classes of each data set")


def measure(name: str, asked: list[tuple[Data, Task]], of: str) -> None:
    """Every way on all the tasks, a table of each data set's; ``of`` tells what the tasks are."""
    started = time.perf_counter()
    torch.set_num_threads(1)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        rows = [row for rows in pool.map(adapted, asked, chunksize=1) for row in rows]
    real = [floor(data, task) for data, task in asked]
    table = []
    for data in dict.fromkeys(data for data, _ in asked):
        own = [row for row in (*real, *rows) if row["data"] == data.name]
        for arm in dict.fromkeys(row["arm"] for row in own):
            those = [row for row in own if row["arm"] == arm]
            table.append({
                "data": data.name, "arm": arm, "features": data.extractor,
                **{metric: harness.interval([each[metric] for each in those]) for metric in METRICS},
                "steps": those[0].get("steps"),
                "seconds": sum(each["seconds"] for each in those) / len(those) if "seconds" in those[0] else None,
            })  # fmt: skip
    harness.finish(
        name,
        table,
        columns={
            "data": "data", "arm": "beginning", **{metric: metric.replace("_", " ") for metric in METRICS},
            "features": "features", "steps": "steps", "seconds": "seconds",
        },
        seed=SEED,
        started=started,
        threads=2,
        pictures=[harness.Picture("samples", picture(asked, rows), CAPTION)],
        story=(
            f"{of}, judged on {QUERIES} others of the class by "
            f"{SAMPLES} samples; means over classes with 95% bootstrap intervals. The shipped starts learned "
            "from images that Limner draws itself and from nothing else; nothing was tuned on these data. Seconds are "
            "of one core."
        ),
        details=[{name: value for name, value in row.items() if name != "pictured"} for row in (*real, *rows)],
    )  # fmt: skip


def floor(data: Data, task: Task) -> dict[str, Any]:
    """What half of the real images held back score against the other half."""
    half = len(task.query) // 2
    fresh, rest = task.query.select(torch.arange(half)), task.query.select(torch.arange(half, len(task.query)))
    found = evaluate(fresh.images, rest, task.support, data.extractor, bootstraps=0).plain()
    return {
        "data": data.name, "arm": "real images (half against half)", "task": few_shot.class_of(task),
        **{metric: found[metric] for metric in METRICS},
    }  # fmt: skip


CAPTION = (
    "Four classes of each data set: five shots, eight samples each of the beginnings in the table's order, real ones"
)


def picture(asked: list[tuple[Data, Task]], rows: list[dict[str, Any]]) -> Image.Image:
    from matplotlib.figure import Figure

    sets = dict.fromkeys(data for data, _ in asked)
    shown = [pair for data in sets for pair in [pair for pair in asked if pair[0] == data][:4]]
    figure = Figure(figsize=(11, 0.45 * len(shown)))
    for (data, task), line in zip(shown, figure.subplots(len(shown), 5, squeeze=False), strict=True):
        own = [row["pictured"] for row in rows if (row["data"], row["task"]) == (data.name, few_shot.class_of(task))]
        groups = [task.support.images, *own[:2], own[-1] if len(own) > 2 else None, task.query.images[:8]]
        groups += [None] * (5 - len(groups))
        for group, axis in zip(groups, line, strict=True):
            axis.axis("off")
            if group is not None:
                axis.imshow(grid(group, columns=8, scale=1).convert("RGB"))
        line[0].set_title(f"{data.name}: {few_shot.class_of(task)}", fontsize=6, pad=1)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.98, bottom=0.005, wspace=0.03, hspace=0.35)
    return harness.drawn(figure)


if __name__ == "__main__":
    harness.run(main)
