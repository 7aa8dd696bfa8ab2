"""Few-shot generation, three beginnings compared on classes that none of them saw. Shared by the few-shot benchmarks.

For each learner: a start is meta-learned over the train classes; the same network is pre-trained on all train classes
together for the same time; both, and a fresh network, adapt to a few images of each test class in the same number of
steps, each with the learning rate that did best on validation classes. Scores are against other images of the class.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from limner.config import Strategy
from limner.engine import fit
from limner.learners import Learner, create
from limner.meta import MetaPlan, learn
from limner.metrics import evaluate
from limner.seeds import derive
from limner.tasks import Family, Task, load
from limner.types import Params

METRICS = ("kernel_distance", "coverage", "diversity", "nearest_training_ratio")
RATES = (5e-4, 1e-3, 2e-3, 4e-3)


@dataclass(frozen=True)
class Recipe:
    """How one learner is meta-learned, pre-trained and adapted. Seconds are shares of the benchmark's."""

    kind: str
    meta_options: dict[str, Any]
    plan: MetaPlan
    pooled_options: dict[str, Any]
    pooled: Strategy
    adaptation: Strategy
    begin_share: float = 0.0
    ablations: dict[str, MetaPlan] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is: characters, seconds of meta-learning (and of pre-training), tuning tasks."""

    seconds: float
    test_tasks: int
    tuning_tasks: int
    samples: int = 64


@dataclass(frozen=True)
class Setting:
    """The family that tasks come from, and what scores them."""

    spec: str
    shots: int
    queries: int
    seed: int
    extractor: str

    def family(self) -> Family:
        return Family(load(self.spec), self.shots, self.queries, seed=self.seed, min_images=self.shots + self.queries)


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


def arms_of(recipe: Recipe, family: Family, scale: Scale, seed: int) -> list[Arm]:
    """Meta-learns, pre-trains, and leaves scratch as it is. Every learned beginning had the same seconds."""
    shape = family.images.shape
    learner, pooled = (
        create(recipe.kind, shape, **recipe.meta_options),
        create(recipe.kind, shape, **recipe.pooled_options),
    )
    pool = Task("generate", "all train classes together", family.pool("train"), None)

    def pretrained(seconds: float, network: Learner) -> Params:
        return fit(network, pool, recipe.pooled.replace(seconds=seconds, steps=10**9), seed=seed).params

    def met(plan: MetaPlan) -> Params:
        begun = recipe.begin_share * scale.seconds
        start = pretrained(begun, learner) if begun else None
        from dataclasses import replace

        timed = replace(plan, seconds=scale.seconds - begun, steps=10**9)
        return learn(learner, family, timed, seed=seed, start=start).params

    return [
        Arm("meta-learned start", learner, met(recipe.plan), scale.seconds),
        *(Arm(name, learner, met(plan), scale.seconds) for name, plan in recipe.ablations.items()),
        Arm("fine-tuned from all classes together", pooled, pretrained(scale.seconds, pooled), scale.seconds),
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
        return sum(adapt(arm, task, strategy, setting, scale)["scores"]["kernel_distance"] for task in tasks) / len(
            tasks
        )

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
                    "learner": recipe.kind, "arm": arm.name, "task": task.name, "rate": rate, "steps": strategy.steps,
                    "seconds": done["seconds"], "beginning seconds": arm.seconds, "state": done["state"],
                    **done["scores"],
                }
            )  # fmt: skip
            print(
                f"{recipe.kind}, {arm.name}: {task.name}: kernel distance {done['scores']['kernel_distance']:.3g}",
                flush=True,
            )
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
                task.support.images.repeat(scale.samples // len(task.support), 1, 1, 1),
                task.query,
            ),
        ):
            found = evaluate(samples, query, task.support, setting.extractor, bootstraps=0).plain()
            rows.append({"learner": "–", "arm": arm, "task": task.name, **found})
    return rows, tasks


def both(recipes: list[Recipe], setting: Setting, scale: Scale, measure_one: Callable[..., Any] = measure) -> list[Any]:
    """Measures each recipe in a process of its own, one thread each."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(recipes)) as pool:
        return pool.starmap(measure_one, [(recipe, setting, scale) for recipe in recipes])
