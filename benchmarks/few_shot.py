"""Few-shot generation, three beginnings compared on classes that none of them saw. Shared by the few-shot benchmarks.

For each learner: a start is meta-learned over the train classes; the same network is pre-trained on all train classes
together for the same time; both, and a fresh network, adapt to a few images of each test class in the same number of
steps, each with the learning rate that did best on validation classes. Scores are against other images of the class.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import harness
import torch
from PIL import Image

from limner.config import Strategy
from limner.engine import fit
from limner.learners import Learner, create
from limner.meta import MetaPlan, learn
from limner.metrics import evaluate
from limner.reports.figures import grid
from limner.seeds import derive
from limner.tasks import Family, Task, load
from limner.types import Params

METRICS = ("kernel_distance", "coverage", "diversity", "nearest_training_ratio")
RATES = (1e-3, 2e-3, 4e-3)


@dataclass(frozen=True)
class Recipe:
    """How one learner is meta-learned, pre-trained and adapted.

    ``share`` is its part of the scale's seconds. ``begin_share`` of those go into what a meta-learned start begins
    from: ``begin`` where it is given, else pre-training on all classes together.
    """

    kind: str
    meta_options: dict[str, Any]
    plan: MetaPlan
    pooled_options: dict[str, Any]
    pooled: Strategy
    adaptation: Strategy
    begin: MetaPlan | None = None
    begin_share: float = 0.0
    share: float = 1.0


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is: characters, seconds of meta-learning (and of pre-training), tuning tasks."""

    seconds: float
    test_tasks: int
    tuning_tasks: int
    samples: int = 64


@dataclass(frozen=True)
class Setting:
    """The family that tasks come from, the shares of its classes to train, validate and test, and what scores them."""

    spec: str
    shots: int
    queries: int
    seed: int
    extractor: str
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)

    def family(self) -> Family:
        images, least = load(self.spec), self.shots + self.queries
        return Family(images, self.shots, self.queries, self.seed, fractions=self.fractions, min_images=least)


@dataclass(frozen=True)
class Arm:
    """A way to begin: a learner, the parameters it begins from (``None`` = fresh), and seconds spent on them."""

    name: str
    learner: Learner
    start: Params | None
    seconds: float = 0.0


def tasks_of(family: Family, split: str, count: int) -> list[Task]:
    """``count`` tasks of different classes, spread evenly over the split; the same every time."""
    classes = len(family.classes[split])
    return [family.task(split, index * classes // count, seed=index) for index in range(min(count, classes))]


def class_of(task: Task) -> str:
    """The name of the class that the task is about (a task's own name holds the place of the data)."""
    return task.support.class_names[int(task.support.labels[0])]


def arms_of(recipe: Recipe, family: Family, scale: Scale, seed: int) -> list[Arm]:
    """Meta-learns, pre-trains, and leaves scratch as it is. Every learned beginning had the same seconds."""
    seconds = recipe.share * scale.seconds
    shape = family.images.shape
    learner, pooled = (
        create(recipe.kind, shape, **recipe.meta_options),
        create(recipe.kind, shape, **recipe.pooled_options),
    )
    pool = Task("generate", "all train classes together", family.pool("train"), None)

    def pretrained(seconds: float, network: Learner) -> Params:
        return fit(network, pool, recipe.pooled.replace(seconds=seconds, steps=10**9), seed=seed).params

    def met(plan: MetaPlan, seconds: float, start: Params | None) -> Params:
        timed = replace(plan, seconds=seconds, steps=10**9)
        return learn(learner, family, timed, seed=seed, start=start).params

    begun = recipe.begin_share * seconds
    first = None
    if begun:
        first = met(recipe.begin, begun, None) if recipe.begin else pretrained(begun, learner)
    return [
        Arm("meta-learned start", learner, met(recipe.plan, seconds - begun, first), seconds),
        Arm("fine-tuned from all classes together", pooled, pretrained(seconds, pooled), seconds),
        Arm("from scratch", learner, None),
    ]


def adapt(arm: Arm, task: Task, strategy: Strategy, setting: Setting, scale: Scale) -> dict[str, Any]:
    """One adaptation: scores, seconds and samples."""
    begun = time.perf_counter()
    run = fit(arm.learner, task, strategy, seed=task.seed, start=arm.start)
    seconds = time.perf_counter() - begun
    samples = run.sample(scale.samples, seed=derive(task.seed, "benchmark"))
    found = evaluate(samples, task.query, task.support, setting.extractor, bootstraps=0).plain()
    return {"scores": found, "seconds": seconds, "samples": samples, "state": run.state}


def tuned(arm: Arm, recipe: Recipe, family: Family, setting: Setting, scale: Scale) -> float:
    """The learning rate with the lowest mean kernel distance over validation tasks."""
    tasks = tasks_of(family, "validation", scale.tuning_tasks)

    def mean(rate: float) -> float:
        strategy = recipe.adaptation.replace(learning_rate=rate)
        found = [adapt(arm, task, strategy, setting, scale)["scores"]["kernel_distance"] for task in tasks]
        return sum(found) / len(found)

    return min(RATES, key=mean)


def measure(recipe: Recipe, setting: Setting, scale: Scale) -> dict[str, Any]:
    """Everything for one learner: rows of each arm and task, and samples for the picture. Runs in its own process."""
    torch.set_num_threads(1)
    family = setting.family()
    arms = arms_of(recipe, family, scale, setting.seed)
    tasks = tasks_of(family, "test", scale.test_tasks)
    rows, pictures = [], {}
    for arm in arms:
        rate = tuned(arm, recipe, family, setting, scale)
        strategy = recipe.adaptation.replace(learning_rate=rate)
        for task in tasks:
            done = adapt(arm, task, strategy, setting, scale)
            pictures.setdefault(arm.name, []).append(done["samples"][:10])
            rows.append(
                {
                    "learner": recipe.kind, "arm": arm.name, "task": class_of(task), "rate": rate,
                    "steps": strategy.steps, "seconds": done["seconds"], "beginning seconds": arm.seconds,
                    "state": done["state"],
                    **done["scores"],
                }
            )  # fmt: skip
            distance = done["scores"]["kernel_distance"]
            print(f"{recipe.kind}, {arm.name}: class {class_of(task)}: kernel distance {distance:.3g}", flush=True)
    return {"rows": rows, "pictures": pictures}


def references(setting: Setting, scale: Scale) -> tuple[list[dict[str, Any]], list[Task]]:
    """What real images score: half of the held-out ones against the others, and the shots themselves (copies)."""
    family = setting.family()
    tasks = tasks_of(family, "test", scale.test_tasks)
    rows = []
    for task in tasks:
        half = len(task.query) // 2
        fresh, rest = task.query.select(torch.arange(half)), task.query.select(torch.arange(half, len(task.query)))
        for arm, samples, query in (
            ("real images (half against half)", fresh.images, rest),
            (
                "copies of the shots",
                task.support.images.repeat(max(1, scale.samples // len(task.support)), 1, 1, 1),
                task.query,
            ),
        ):
            found = evaluate(samples, query, task.support, setting.extractor, bootstraps=0).plain()
            rows.append({"learner": "–", "arm": arm, "task": class_of(task), **found})
    return rows, tasks


def both(recipes: list[Recipe], setting: Setting, scale: Scale, measure_one: Callable[..., Any] = measure) -> list[Any]:
    """Measures each recipe in a process of its own, one thread each."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(recipes)) as pool:
        return pool.starmap(measure_one, [(recipe, setting, scale) for recipe in recipes])


def report(name: str, recipes: list[Recipe], setting: Setting, scale: Scale, started: float) -> None:
    """Runs everything and writes the table, the pictures and the story."""
    real, tasks = references(setting, scale)
    found = both(recipes, setting, scale)
    details = real + [row for each in found for row in each["rows"]]
    places = range(0, len(tasks), max(1, len(tasks) // 8))[:8]
    pictures = [
        harness.Picture(
            recipe.kind,
            picture([tasks[place] for place in places], [[parts[place] for place in places] for parts in arms]),
            f"{recipe.kind.upper()}: a row for each class: the shots, samples of each arm in the table's order, "
            "real held-out images",
        )
        for recipe, arms in ((recipe, each["pictures"].values()) for recipe, each in zip(recipes, found, strict=True))
    ]
    columns = ["learner", "arm", "rate", *METRICS, "seconds"]
    harness.finish(
        name,
        summary(details),
        columns={column: column.replace("_", " ") for column in columns},
        seed=setting.seed,
        started=started,
        pictures=pictures,
        story=story(details, setting, scale, recipes),
        details=details,
        threads=len(recipes),
    )


def summary(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each learner and arm: means over tasks with their intervals."""
    rows = []
    for learner, arm in dict.fromkeys((row["learner"], row["arm"]) for row in details):
        own = [row for row in details if (row["learner"], row["arm"]) == (learner, arm)]
        row: dict[str, Any] = {"learner": learner, "arm": arm, "rate": own[0].get("rate"), "tasks": len(own)}
        row |= {metric: harness.interval([each[metric] for each in own]) for metric in METRICS}
        row["seconds"] = sum(each["seconds"] for each in own) / len(own) if "seconds" in own[0] else None
        rows.append(row)
    return rows


def story(details: list[dict[str, Any]], setting: Setting, scale: Scale, recipes: list[Recipe]) -> str:
    """What was done, and the differences that matter, task by task."""
    count = len({row["task"] for row in details})
    costs = ", ".join(
        f"{recipe.kind.upper()} {recipe.adaptation.steps} steps, {recipe.share * scale.seconds:.0f} s"
        for recipe in recipes
    )
    lines = [
        f"{count} classes that nothing was trained on, {setting.shots} shots each, judged on {setting.queries} other "
        f"images of the class by {scale.samples} samples, features `{setting.extractor}`. Means over classes, with 95% "
        f"bootstrap intervals over classes. All arms of a learner adapt in the same number of steps, with the rate of "
        f"{', '.join(map(str, RATES))} that did best on {scale.tuning_tasks} validation classes; every beginning had "
        f"the same seconds of one core: {costs}. `seconds` is one adaptation.",
        "",
    ]
    for recipe in recipes:
        arms: dict[str, list[dict[str, Any]]] = {}
        for row in details:
            if row["learner"] == recipe.kind:
                arms.setdefault(row["arm"], []).append(row)
        first, *others = arms
        for other in others:
            told = ", ".join(_gain(arms[first], arms[other], metric) for metric in ("kernel_distance", "coverage"))
            lines.append(f"- {recipe.kind.upper()}, {first} less {other}, class by class: {told}.")
    return "\n".join(lines)


def _gain(first: list[dict[str, Any]], other: list[dict[str, Any]], metric: str) -> str:
    found = harness.difference([row[metric] for row in first], [row[metric] for row in other])
    sign = -1 if metric == "kernel_distance" else 1
    ends = sorted((sign * (found.low or 0.0), sign * (found.high or 0.0)))
    verdict = "better" if ends[0] > 0 else "worse" if ends[1] < 0 else "no clear difference"
    return f"{metric.replace('_', ' ')} {harness.told(found)} ({verdict})"


def picture(tasks: list[Task], arms: list[list[torch.Tensor]]) -> Image.Image:
    """A row for each task: shots, samples of each arm, held-out images, with wider gaps between the groups."""
    rows = []
    for place, task in enumerate(tasks):
        groups = [task.support.images[:5], *(parts[place][:8] for parts in arms), task.query.images[:5]]
        rows.append([grid(group, columns=len(group), scale=1) for group in groups])
    gap = 8
    widths = [part.width + gap for part in rows[0]]
    whole = Image.new("RGB", (sum(widths) - gap, sum(row[0].height for row in rows)), "white")
    for down, row in enumerate(rows):
        for right, part in enumerate(row):
            whole.paste(part, (sum(widths[:right]), down * part.height))
    return whole
