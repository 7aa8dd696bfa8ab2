"""The same experience by one process, by two, and by a Ray of two workers: the same rows, and how long each takes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import harness
import torch

from limner.errors import LimnerError
from limner.memory import Memory
from limner.verbs.experience import experience

SEED, WORKERS, SHOTS = 0, 2, 20
LEARNER, DATA = "classifier", "digits,size=16"
OPTIONS: dict[str, Any] = {"width": 16}


class Size(NamedTuple):
    """How much there is to go through."""

    tasks: int
    runs: int
    each: str


FULL, QUICK = Size(8, 5, "200steps"), Size(2, 2, "20steps")

WAYS: dict[str, dict[str, Any]] = {
    "one process": {"workers": 1},
    "two processes": {"workers": WORKERS},
    "Ray, two workers": {"workers": WORKERS, "on": "ray"},
}


def rows_of(place: str) -> list[str]:
    """What the memory knows of each run, apart from ids, times and durations; in the order of the runs' names."""
    with Memory.open(place) as memory:
        runs = memory.runs()
    return sorted(
        json.dumps(
            {name: run[name] for name in ("name", "task", "learner", "strategy", "seed", "state", "steps")}
            | {"scores": {metric: score["value"] for metric, score in run["scores"].items()}},
            sort_keys=True,
        )
        for run in runs
    )


def gone_through(folder: Path, way: str, size: Size) -> tuple[dict[str, Any], list[str]]:
    """A row of the table, and what is to be the same in every way."""
    place = str(folder / way.replace(" ", "-"))
    began = time.perf_counter()
    made = experience(
        LEARNER, harness.spec(DATA), tasks=size.tasks, runs=size.runs, each=size.each, shots=SHOTS, adviser="random",
        options=OPTIONS, memory=place, out=f"{place}-out", seed=SEED, **WAYS[way],
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if made.state != "finished":
        raise LimnerError(f"the experience by {way} was not finished: {'; '.join(made.notes) or made.state}")
    found = rows_of(place)
    working = sum(row["seconds"] for row in made.rows)
    row = {"way": way, "workers": made.workers, "runs": len(found), "seconds": seconds, "training": working}
    print(json.dumps(row), flush=True)
    return row, found


def main() -> None:
    started = time.perf_counter()
    os.environ["OMP_NUM_THREADS"] = "1"  # each worker has one thread, so that all of them compute the same numbers
    torch.set_num_threads(1)
    size = QUICK if harness.quick() else FULL
    rows, known = [], []
    with tempfile.TemporaryDirectory(prefix="limner-experience-") as folder:
        for way in WAYS:
            row, found = gone_through(Path(folder), way, size)
            known.append(found)
            alike = sum(one == other for one, other in zip(known[0], found, strict=False))
            rows.append(row | {"alike": alike, "ratio": rows[0]["seconds"] / row["seconds"] if rows else 1.0})
    if any(found != known[0] for found in known):
        raise LimnerError(f"not all ways gave the same rows: {', '.join(str(row['alike']) for row in rows)} are alike")
    asked = " ".join(f"--option {name}={value}" for name, value in OPTIONS.items())
    harness.finish(
        "experience-parallel",
        rows,
        columns={
            "way": "by", "runs": "runs", "alike": "of which as by one process", "seconds": "seconds in all",
            "training": "seconds of the runs", "ratio": "times as fast as one process",
        },
        seed=SEED,
        started=started,
        threads=WORKERS,
        story=(
            f'`limner meta-train experience {LEARNER} --family "{harness.spec(DATA)}" {asked} --shots {SHOTS} --tasks '
            f"{size.tasks} --runs {size.runs} --each {size.each} --adviser random`, each way into a memory of its own "
            "(SQLite), with one thread a worker. As by one process are runs with the same name, task, learner, "
            "strategy, seed, steps and scores, to the last bit. *Seconds in all* hold the start of the workers "
            "(imports; of Ray its servers, too), *seconds of the runs* add up those of all workers. Strategies come by "
            "chance: other advisers look at what other tasks have seen meanwhile, and among several workers that "
            "depends on who comes first."
        ),
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
