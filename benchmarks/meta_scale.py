"""What an outer step takes in time and memory as tasks, inner steps, parameters and processes grow."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import harness
import torch
from meta_speed import added_at_peak
from PIL import Image

from limner.engine.allocator import keep_freed_memory
from limner.learners import create
from limner.meta import MetaPlan, mean_gradient
from limner.meta.episodes import episode_of
from limner.meta.execution import Processes
from limner.seeds import generator
from limner.tasks import family_of

SPEC = "npz:{data}/omniglot_background28.npz,images=x,labels=char,groups=alphabet"
SEED, THREADS = 0, 2


@dataclass(frozen=True)
class Cell:
    """One outer step of MAML: 5 ways, 1 shot, 15 queries, Conv4."""

    tasks: int = 8
    inner_steps: int = 5
    width: int = 32
    execution: str = "threads"
    recompute: bool = False
    processes: int = 1

    def __str__(self) -> str:
        how = self.execution + (", recomputed" if self.recompute else "")
        size = f"{self.tasks} tasks, {self.inner_steps} inner steps, {self.width} channels"
        return f"{size}, {how}, processes: {self.processes}"


BASE = Cell()
SERIES: dict[str, list[Cell]] = {
    "tasks": [replace(BASE, tasks=count, execution=how) for how in ("loop", "threads") for count in (2, 8, 32)]
    + [replace(BASE, tasks=count, execution="vmap") for count in (2, 8)],
    "inner steps": [
        replace(BASE, inner_steps=count, execution="loop", recompute=again)
        for again in (False, True)
        for count in (1, 5, 20)
    ],
    "channels": [replace(BASE, width=width) for width in (16, 32, 64)],
    "processes": [replace(BASE, tasks=16, execution="loop", processes=count) for count in (1, 2)]
    + [replace(BASE, tasks=16)],
}


def measure(told: str, spec: str, repetitions: int) -> None:
    """One cell, in a process (or several) of its own: prints megabytes, parameters and seconds of each repetition."""
    cell = Cell(**json.loads(told))
    processes = Processes()
    torch.set_num_threads(1 if processes.count > 1 else THREADS)
    keep_freed_memory()
    learner = create("classifier", (1, 28, 28), classes=5, width=cell.width, network="conv4")
    plan = MetaPlan(
        algorithm="maml", tasks=cell.tasks, inner_steps=cell.inner_steps, inner_rate=0.1, inner_optimiser="sgd",
        recompute=cell.recompute, device="cpu",
    )  # fmt: skip
    family, random, start = family_of(spec, "classify", shots=1, queries=15), generator(SEED), learner.init(SEED)
    episodes = processes.share(
        [episode_of(learner, plan, family.sample("train", random), random) for _ in range(cell.tasks)]
    )

    def step() -> None:
        found = mean_gradient(learner, plan, start, episodes, cell.execution)
        processes.average(found, len(episodes), cell.tasks)

    megabytes, seconds = added_at_peak(step), []
    for _ in range(repetitions):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    if processes.first:
        numbers = sum(value.numel() for value in start.values())
        print(json.dumps({"megabytes": megabytes, "seconds": seconds, "parameters": numbers}))


def measured(cell: Cell, repetitions: int) -> dict[str, Any]:
    """The cell's numbers, from processes of its own."""
    here = Path(__file__)
    command = [sys.executable]
    if cell.processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={cell.processes}"]
    command += [str(here), "--measure", json.dumps(asdict(cell)), harness.spec(SPEC), str(repetitions)]
    done = subprocess.run(command, cwd=here.parent, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise RuntimeError(f"{cell}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return found


def main() -> None:
    started = time.perf_counter()
    repetitions = 3 if harness.quick() else 9
    rows: list[dict[str, Any]] = []
    for what, cells in SERIES.items():
        for cell in cells[:: 2 if harness.quick() else 1]:
            found = measured(cell, repetitions)
            quarters = statistics.quantiles(found["seconds"], n=4)
            row = {"series": what, **asdict(cell), "parameters": found["parameters"]}
            row |= {
                "milliseconds": 1e3 * statistics.median(found["seconds"]),
                "spread": f"{1e3 * quarters[0]:.0f} to {1e3 * quarters[2]:.0f}",
                "megabytes": found["megabytes"],
            }
            row["per_task"] = row["milliseconds"] / cell.tasks
            rows.append(row)
            print(f"{what}: {cell}: {row['milliseconds']:.0f} ms, {row['megabytes']:.0f} MB", flush=True)
    columns = {
        "series": "what grows", "tasks": "tasks", "inner_steps": "inner steps", "width": "channels",
        "parameters": "parameters", "execution": "by", "recompute": "recomputed", "processes": "processes",
        "milliseconds": "ms", "spread": "quartiles", "per_task": "ms a task", "megabytes": "MB added",
    }  # fmt: skip
    harness.finish(
        "meta-scale",
        rows,
        columns=columns,
        seed=SEED,
        started=started,
        threads=THREADS,
        pictures=[harness.Picture("growth", picture(rows), CAPTION)],
        story=(
            "One outer step of second-order MAML (5 ways, 1 shot, 15 queries, Conv4, 28×28), median and quartiles over "
            f"{repetitions} repetitions on {THREADS} cores, each row in a process of its own. Memory is what the first "
            "step adds at its peak; with two processes, what it adds to one of them. A process has one core when "
            "there are two."
        ),
    )


CAPTION = "Milliseconds (left) and megabytes (right) of an outer step, as tasks and as inner steps grow"


def picture(rows: list[dict[str, Any]]) -> Image.Image:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis_row, (what, field) in zip(axes, (("tasks", "tasks"), ("inner steps", "inner_steps")), strict=True):
        for axis, measure_of in zip(axis_row, ("milliseconds", "megabytes"), strict=True):
            kinds = {(row["execution"], row["recompute"]) for row in rows if row["series"] == what}
            for execution, again in sorted(kinds):
                chosen = [
                    row
                    for row in rows
                    if (row["series"], row["execution"], row["recompute"]) == (what, execution, again)
                ]
                label = execution + (", recomputed" if again else "")
                axis.plot([row[field] for row in chosen], [row[measure_of] for row in chosen], "o-", label=label)
            axis.set(xlabel=what, ylabel=measure_of, ylim=(0, None))
            axis.legend(fontsize=8)
            axis.grid(alpha=0.3)
    return harness.drawn(figure)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        harness.run(main)
