"""Sinusoid regression as in the MAML paper (Finn et al. 2017, section 5.1): ten points of a sine wave never seen."""

from __future__ import annotations

import math
import multiprocessing
import time
from dataclasses import replace
from typing import Any

import harness
import torch
from PIL import Image
from torch import Tensor

from limner.learners import create
from limner.meta import MetaPlan, Start, learn, trajectory
from limner.meta.episodes import episode_of
from limner.meta.inner import Inner
from limner.seeds import generator
from limner.tasks import SinusoidFamily
from limner.types import Request

SEED, SHOTS, TASKS, STEPS = 0, 10, 600, 10
SHOWN = (0, 1, 5, 10)
LONG, SHORT, QUICK = 70_000, 8_000, 1_000
"""Outer steps: the paper's, what the others are compared at, and those of a quick run."""

LEARNER = create("regressor", (1, 1, 1))
BASE = MetaPlan(
    steps=SHORT, tasks=25, inner_steps=1, inner_rate=0.01, inner_optimiser="sgd", execution="vmap", validate_tasks=100
)

ARMS: dict[str, MetaPlan] = {
    "MAML, as long as the paper": replace(BASE, algorithm="maml", steps=LONG),
    "MAML": replace(BASE, algorithm="maml"),
    "first-order MAML": replace(BASE, algorithm="fomaml"),
    "Meta-SGD": replace(BASE, algorithm="meta-sgd"),
    "MAML++, 5 steps": replace(BASE, algorithm="maml++", inner_steps=5),
    "ANIL": replace(BASE, algorithm="anil"),
    "Reptile, 10 steps": replace(BASE, algorithm="reptile", inner_steps=10),
    "iMAML, 10 steps": replace(BASE, algorithm="imaml", inner_steps=10, inner_rate=0.02, proximal=2.0),
    "all waves together": replace(BASE, algorithm="fomaml", inner_steps=0),
    "from scratch": replace(BASE, algorithm="fomaml", steps=1, rate=1e-30),
}
"""What is compared: the paper's own with its numbers, and the others over the same tasks."""


def family() -> SinusoidFamily:
    return SinusoidFamily(SHOTS, queries=SHOTS, seed=SEED)


def learned(asked: tuple[str, int]) -> tuple[str, Start]:
    """Meta-train one arm, on one core, in at most so many outer steps."""
    name, most = asked
    torch.set_num_threads(1)
    start = learn(LEARNER, family(), replace(ARMS[name], steps=min(ARMS[name].steps, most)), seed=SEED)
    return name, replace(start, learner=None)  # a learner does not travel between processes


def judged(start: Start) -> list[list[float]]:
    """The squared error on 100 other points after each of ten steps, on test waves that are the same for all."""
    wide = SinusoidFamily(SHOTS, queries=100, seed=SEED)
    found = trajectory(LEARNER, start.plan, start.learned, wide, "test", tasks=TASKS, inner_steps=STEPS, seed=SEED)
    return found.values["net query loss"]


def main() -> None:
    started = time.perf_counter()
    torch.set_num_threads(1)
    most = QUICK if harness.quick() else LONG
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        starts = dict(pool.map(learned, [(name, most) for name in ARMS], chunksize=1))
    rows = []
    for name in ARMS:
        start, errors = starts[name], judged(starts[name])
        row: dict[str, Any] = {
            "arm": name, "outer": start.cost.steps, "meta_training_seconds": start.cost.seconds,
        }  # fmt: skip
        sound = [task for task in errors if all(map(math.isfinite, task))]
        row |= {f"after_{step}": harness.interval([task[step] for task in sound]) for step in SHOWN}
        row["diverged"] = len(errors) - len(sound)
        rows.append(row)
    columns = {"arm": "beginning", "outer": "outer steps", **{f"after_{step}": f"{step} steps" for step in SHOWN}}
    harness.finish(
        "sinusoid",
        rows,
        columns={**columns, "diverged": "diverged", "meta_training_seconds": "meta-training, s"},
        seed=SEED,
        started=started,
        threads=2,
        pictures=[harness.Picture("waves", picture(starts), CAPTION)],
        story=(
            f"Mean squared error on 100 other points of {TASKS} test waves, {SHOTS} points each to learn from, after "
            "0, 1, 5 and 10 steps of plain gradient descent (rate 0.01, the paper's; 0.02 for iMAML; times what was "
            "learned, for Meta-SGD and MAML++), with 95% bootstrap intervals over waves. The network is the paper's "
            "(two hidden layers of 40), so are the 25 waves in an outer step and Adam at 0.001. *All waves together* "
            "is the same network trained on every wave at once; it and *from scratch* take the same steps of "
            "adaptation. *Diverged* counts waves on which ten steps end in no number; the means leave them out. "
            "Amplitudes run from 0.1 to 5, so always answering 0 has an error of about 4.3."
        ),
    )


CAPTION = (
    "Four test waves (grey), ten points of each (dots), and what is made of them before adaptation (dotted), after one "
    "step (dashed) and after ten (solid): MAML above, all waves together below"
)


def picture(starts: dict[str, Start]) -> Image.Image:
    """What adaptation makes of four waves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True, sharey=True)
    line = torch.linspace(-5, 5, 200)[:, None]
    for row, name in enumerate(("MAML", "all waves together")):
        start = starts[name]
        plan = replace(start.plan, inner_steps=STEPS)
        for column in range(4):
            task = family().task("test", column, seed=SEED)
            episode = episode_of(LEARNER, plan, task, generator(SEED))
            trail = [start.params, *Inner(LEARNER, plan, start.params, episode).trail()]
            axis = axes[row, column]
            axis.plot(line, wave_through(task.support.inputs, task.support.targets, line), color="0.75", linewidth=4)
            for step, style in ((0, ":"), (1, "--"), (STEPS, "-")):
                values = LEARNER.predict(trail[step], Request("values", images=line), generator(SEED))
                axis.plot(line, values, style, color="tab:blue", linewidth=1.4)
            axis.plot(task.support.inputs, task.support.targets, "o", color="tab:red", markersize=4)
        axes[row, 0].set_ylabel(name)
    return harness.drawn(figure)


def wave_through(inputs: Tensor, targets: Tensor, line: Tensor) -> Tensor:
    """The sine wave of period 2π that goes through the points: a·sin x + b·cos x, by least squares."""
    found = torch.linalg.lstsq(torch.cat([inputs.sin(), inputs.cos()], 1), targets).solution
    return torch.cat([line.sin(), line.cos()], 1) @ found


if __name__ == "__main__":
    harness.run(main)
