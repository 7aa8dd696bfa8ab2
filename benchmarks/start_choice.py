"""Which start to begin from: the one that does best on the shots before any step, against simpler ways to choose.

A memory holds starts of one learner, meta-learned on drawings, digits and clothes for a minute each and, the newest,
one that learned for ten steps alone; another comes with the package. Each is adapted to classes that none has seen.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import few_shot_starter as starter
import harness

from limner.learners import rebuild
from limner.memory import Adviser, Memory
from limner.memory.beginnings import beginnings
from limner.tasks import Family, Task, load
from limner.verbs.meta_train import meta_train

KIND, SHOTS, QUERIES, SEED = "set-vae", 5, 15, 0
TOY = "ten steps"


class Source(NamedTuple):
    """Images that have a start of their own, or none (an empty ``budget``), and classes to be adapted to."""

    data: starter.Data
    budget: str


SOURCES = (
    *(Source(data, "60s") for data in starter.SETS[:3]),
    Source(starter.SETS[3], ""),
)
RULES = {
    "chosen": "best before any step, as `adapt` does",
    "newest": "the newest of one's own",
    "static": "best on the other sets of images",
    "random": "any, at random",
    "best": "best afterwards",
}


@cache
def family_of(spec: str) -> Family:
    """The family as ``limner meta-train`` splits it; of images that have no start all classes are to be adapted to."""
    learned = any(source.budget for source in SOURCES if harness.spec(source.data.spec) == spec)
    fractions = (0.7, 0.1, 0.2) if learned else (0.0, 0.0, 1.0)
    return Family(load(spec), SHOTS, QUERIES, seed=SEED, fractions=fractions, min_images=SHOTS + QUERIES)


def tasks_of(data: starter.Data, count: int) -> list[Task]:
    """So many tasks of classes that no start was learned from; of few classes each is drawn from several times."""
    source = family_of(harness.spec(data.spec))
    classes = len(source.classes["test"])
    return [source.task("test", place * max(classes // count, 1) % classes, seed=place) for place in range(count)]


def learned(asked: tuple[str, str, str, str]) -> None:
    """Meta-learn a start on one core and put it into the memory."""
    name, spec, budget, place = asked
    harness.on_one_core()
    out = Path(place) / f"{name}.safetensors"
    meta_train(
        "fomaml", KIND, harness.spec(spec), shots=SHOTS, queries=QUERIES, budget=budget, name=name, seed=SEED,
        memory=f"{place}/memory", out=out,
    )  # fmt: skip
    print(f"learned: {name}", flush=True)


def adapted(asked: tuple[starter.Data, Task, str]) -> list[dict[str, Any]]:
    """A row for each start on one task, the chosen one marked."""
    data, task, place = asked
    harness.on_one_core()
    rows = []
    with Memory.open(f"{place}/memory") as memory:
        chosen = beginnings(memory, task, KIND)[0].reference
        for advice in Adviser(memory).recommend(task, learner=KIND, extractor=None):
            if advice.name == "adapted":
                model = memory.get_model(advice.strategy.start)
                row = starter.row(
                    data,
                    task,
                    model.metadata["name"],
                    rebuild(model.learner_description),
                    advice.strategy,
                    model.params,
                )
                rows.append(row | {"chosen": advice.strategy.start == chosen})
    print(f"{data.name}: {[(row['arm'], round(row['kernel_distance'], 3), row['chosen']) for row in rows]}", flush=True)
    return rows


def taken(rule: str, rows: list[dict[str, Any]], task: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows on a task of the starts that a rule takes: one, of chance all."""
    if rule == "random":
        return task
    if rule == "chosen":
        return [row for row in task if row["chosen"]]
    if rule == "best":
        return [min(task, key=lambda row: row["kernel_distance"])]
    name = TOY if rule == "newest" else static(rows, task[0]["data"])
    return [row for row in task if row["arm"] == name]


def by(rule: str, rows: list[dict[str, Any]], task: list[dict[str, Any]], metric: str) -> float:
    """The score on a task of the start that a rule takes; of chance the mean."""
    found = [row[metric] for row in taken(rule, rows, task)]
    return float(sum(found) / len(found))


def static(rows: list[dict[str, Any]], data: str) -> str:
    """The start of the best mean rank on the tasks of all other sets of images."""
    ranks: dict[str, list[int]] = {}
    for task in grouped(rows):
        if task[0]["data"] != data:
            for rank, row in enumerate(sorted(task, key=lambda row: row["kernel_distance"])):
                ranks.setdefault(row["arm"], []).append(rank)
    return min(ranks, key=lambda name: sum(ranks[name]) / len(ranks[name]))


def grouped(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows of each task."""
    return [[row for row in rows if row["number"] == number] for number in dict.fromkeys(row["number"] for row in rows)]


def main() -> None:
    started = time.perf_counter()
    count = 2 if harness.quick() else 5
    with tempfile.TemporaryDirectory() as place, multiprocessing.get_context("spawn").Pool(2) as pool:
        asked = [
            (source.data.name, source.data.spec, "5steps" if harness.quick() else source.budget, place)
            for source in SOURCES
            if source.budget
        ]
        pool.map(learned, asked, chunksize=1)
        pool.apply(learned, ((TOY, SOURCES[0].data.spec, "10steps", place),))
        tasks = [(source.data, task, place) for source in SOURCES for task in tasks_of(source.data, count)]
        found = pool.map(adapted, tasks, chunksize=1)
    rows = [row | {"number": number} for number, task in enumerate(found) for row in task]
    table = []
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [task for task in grouped(rows) if task[0]["data"] == data]
        for rule, told in RULES.items():
            table.append({
                "data": data, "rule": told,
                **{metric: harness.interval([by(rule, rows, task, metric) for task in own])
                   for metric in ("kernel_distance", "coverage")},
                "taken": "all" if rule == "random" else ", ".join(
                    dict.fromkeys(row["arm"] for task in own for row in taken(rule, rows, task))
                ),
            })  # fmt: skip
    harness.finish(
        "start-choice",
        table,
        columns={"data": "images", "rule": "start", "kernel_distance": "kernel distance", "coverage": "coverage",
                 "taken": "taken"},
        seed=SEED,
        started=started,
        threads=2,
        story=story(rows, count),
        details=[{name: value for name, value in row.items() if name != "pictured"} for row in rows],
    )  # fmt: skip


def story(rows: list[dict[str, Any]], count: int) -> str:
    """How it was measured, and how often the choice was the best there was."""
    tasks = grouped(rows)
    right = sum(taken("chosen", rows, task) == taken("best", rows, task) for task in tasks)
    lines = [
        f"{count} tasks of each set of images, {SHOTS} shots of classes that no start saw, judged by {starter.SAMPLES} "
        f"samples against {QUERIES} others; means over tasks with 95% bootstrap intervals. Starts are VAEs that read "
        "sets: those of Omniglot, MNIST and Fashion had a minute of one core each (`limner meta-train fomaml "
        "set-vae`), the newest ten steps, and one is `shipped:glyphs-set`; all are adapted as the adviser says. The "
        f"choice was the best afterwards in {right} of {len(tasks)} tasks, of {len(tasks[0])} starts.",
        "",
    ]
    for rule in ("newest", "static", "random", "best"):
        found = harness.difference(*([by(each, rows, task, "coverage") for task in tasks] for each in ("chosen", rule)))
        lines.append(f"- chosen less {RULES[rule]}, all tasks: coverage {harness.told(found)}.")
    return "\n".join(lines)


if __name__ == "__main__":
    harness.run(main)
