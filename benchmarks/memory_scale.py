"""A memory of years: how long a recommendation and a list take with up to 10,000 tasks and 1,000,000 evaluations."""

from __future__ import annotations

import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import harness
import numpy as np
import torch

from limner.learners import create, describe
from limner.memory import Adviser, Memory, fingerprint
from limner.memory.portfolio import entries
from limner.memory.schema import content_id, now
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task

SEED, REPEATS = 0, 5
SIZES, QUICK = (1_000, 10_000), (100, 1_000)
RUNS, METRICS = 10, 10
"""Runs of a task, and scores of a run: 100 evaluations a task."""

SHAPE = (1, 16, 16)
LEARNERS = [describe(create(kind, SHAPE)) for kind in ("vae", "gan", "flow", "vq-vae")]
NAMES = ["kernel_distance", *(f"measure_{index}" for index in range(1, METRICS))]


def task_of(kind: int, seed: int) -> Task:
    """Five images of one of twenty kinds of texture, and five to be judged on."""
    random = torch.Generator().manual_seed(seed)
    waves = torch.rand(4, 1, 1, generator=torch.Generator().manual_seed(kind)) * 3
    rows, columns = torch.arange(16.0)[:, None], torch.arange(16.0)[None, :]
    phase = torch.rand(10, 1, 1, generator=random) * 6.28
    made = (
        (waves[0] * rows + waves[1] * columns + phase).sin() * 90 + 120 + torch.randn(10, 16, 16, generator=random) * 9
    )
    images = made.clamp(0, 255).to(torch.uint8)[:, None]
    name = f"texture {kind}"
    return Task("generate", name, ImageSet(images[:5], name), ImageSet(images[5:], name), seed, name)


def fill(memory: Memory, tasks: int) -> None:
    """Put so many tasks in, with their runs and evaluations: real strategies, made-up scores that favour some."""
    from sqlalchemy import insert

    from limner.memory import schema

    random = np.random.default_rng(SEED)
    real = [fingerprint(task_of(kind, kind), None).to_json() for kind in range(20)]
    strategies = []
    for entry in entries("generate"):
        strategies += [
            entry.strategy.replace(start="scratch", learning_rate=rate).to_json() for rate in (1e-4, 1e-3, 1e-2)
        ]
    ways = [
        (content_id(learner), content_id(strategies[index])) for learner in LEARNERS for index in range(len(strategies))
    ]
    rows: dict[Any, list[dict[str, Any]]] = {
        schema.LearnerRow: [{"sha256": content_id(learner), **learner} for learner in LEARNERS],
        schema.StrategyRow: list({content_id(s): {"sha256": content_id(s), "content": s} for s in strategies}.values()),
        schema.ImageSetRow: [], schema.TaskRow: [], schema.FingerprintRow: [], schema.RunRow: [],
        schema.EvaluationRow: [],
    }  # fmt: skip
    for index in range(tasks):
        kind, when = index % 20, now()
        task, support = content_id(["task", index]), content_id(["set", index])
        rows[schema.ImageSetRow].append({
            "sha256": support, "name": f"texture {kind}", "images": 5, "classes": 1, "image_shape": list(SHAPE),
            "licence": "", "notes": [], "created": when,
        })  # fmt: skip
        rows[schema.TaskRow].append({
            "sha256": task, "name": f"texture {kind} {index}", "goal": "generate", "seed": index,
            "source": f"texture {kind}", "support_sha256": support, "created": when,
        })  # fmt: skip
        content = copy.deepcopy(real[kind])
        for group in content["statistics"].values():
            for name in group:
                group[name] += 0.02 * random.standard_normal()
        rows[schema.FingerprintRow].append({"task_sha256": task, "features": "", "content": content})
        for number in range(RUNS):
            run, way = content_id(["run", index, number])[:12], int(random.integers(len(ways)))
            rows[schema.RunRow].append({
                "id": run, "name": f"run {index}-{number}", "task_sha256": task, "learner_sha256": ways[way][0],
                "strategy_sha256": ways[way][1], "seed": number, "state": "finished", "seconds": 60.0, "steps": 2000,
                "threads": 1, "device": "cpu", "notes": [], "lineage": {}, "reason": "", "created": when,
            })  # fmt: skip
            values = 50 + way % 7 + 5 * random.standard_normal(METRICS)
            rows[schema.EvaluationRow] += [
                {"owner": run, "metric": name, "extractor": "glyph-net", "value": float(value), "samples": 64,
                 "query": 15, "support": 5, "seed": number, "created": when}
                for name, value in zip(NAMES, values, strict=True)
            ]  # fmt: skip
        if index % 500 == 499 or index == tasks - 1:
            with memory.database.writing() as session:
                for table, made in rows.items():
                    if made:
                        session.execute(insert(table), made)
                        made.clear()


def timed(what: Callable[[], Any]) -> list[float]:
    """Seconds of each of some repetitions, after one that warms the machine up."""
    what()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        what()
        found.append(time.perf_counter() - started)
    return found


def commanded(location: str, *words: str) -> Callable[[], None]:
    """``limner memory …`` as a user types it: a process of its own, its start and imports included."""
    program = [sys.executable, "-m", "limner", "memory", *words, "--memory", location]

    def go() -> None:
        subprocess.run(program, check=True, capture_output=True, env=os.environ | {"COLUMNS": "140"})

    return go


@contextmanager
def places() -> Iterator[dict[str, str]]:
    """An empty SQLite file, and an empty schema of a PostgreSQL started for this."""
    from private_postgres import Server, binaries

    with tempfile.TemporaryDirectory(prefix="limner-scale-") as folder:
        found = {"SQLite": folder}
        programs = binaries()
        server = None if programs is None else Server(programs)
        if server is not None:
            found["PostgreSQL"] = f"{server.url}&artifacts={folder}/weights"
        try:
            yield found
        finally:
            if server is not None:
                server.remove()


def measured(place: str, location: str, tasks: int) -> dict[str, Any]:
    """One row of the table."""
    with Memory.open(location) as memory:
        filling = time.perf_counter()
        fill(memory, tasks)
        filling = time.perf_counter() - filling
        adviser, asked = Adviser(memory), task_of(3, 10**6)
        found = {
            "recommend": timed(lambda: adviser.recommend(asked, extractor=None)),
            "listed": timed(lambda: memory.list("runs", limit=50)),
            "filtered": timed(
                lambda: memory.list("runs", goal="generate", learner="vae", where="kernel_distance<45", limit=50)
            ),
        }
        advice = adviser.recommend(asked, extractor=None)
    found["command"] = timed(commanded(location, "list"))
    row: dict[str, Any] = {"place": place, "tasks": tasks, "evaluations": tasks * RUNS * METRICS}
    row |= {name: statistics.median(seconds) for name, seconds in found.items()}
    row["slowest"] = max(found["recommend"])
    row["filling_seconds"] = filling
    row["by_experience"] = sum(item.source == "neighbour" for item in advice)
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    started = time.perf_counter()
    torch.set_num_threads(1)
    sys.path.append(str(harness.ROOT / "tools"))
    rows = []
    for tasks in QUICK if harness.quick() else SIZES:
        with places() as found:
            rows += [measured(place, location, tasks) for place, location in found.items()]
    harness.finish(
        "memory-scale",
        rows,
        columns={
            "place": "memory", "tasks": "tasks", "evaluations": "evaluations", "recommend": "recommend, s",
            "listed": "list, s", "filtered": "list --where, s", "command": "limner memory list, s",
        },
        seed=SEED,
        started=started,
        threads=1,
        story=(
            f"Medians of {REPEATS} after one to warm up. A task has {RUNS} runs with {METRICS} scores each; its "
            "fingerprint is that of textures of twenty kinds, varied a little, its strategies are the portfolio's at "
            "three rates under four learners, and its scores are random, better for some strategies. *recommend* is "
            "the whole of `Adviser.recommend`, the task's fingerprint (without features) and the writing of its advice "
            "included; *list* are the newest 50 runs, *list --where* those of VAEs with a kernel distance under 45; "
            "the last column is the command, with the start of Python and all imports."
        ),
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
