"""Which algorithm learns the best start of which generator: every one for VAE, GAN and flow matching, after few steps.

All begin from the same pre-training on all train classes together, and go on for as long: by learning a start for its
own inner loop, or, ``pre-trained``, by more of the same. All are adapted by that inner loop, Adam on the 5 shots, with
the step size that does best on validation characters, times those that were learned where an algorithm learns them.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import few_shot
import few_shot_generation as generation
import few_shot_judges as judges
import harness
import torch

from limner.config import Strategy
from limner.engine import Run, fit
from limner.learners import create
from limner.meta import MetaPlan
from limner.meta.episodes import adapted
from limner.seeds import generator
from limner.tasks import Task
from limner.types import Params

FIRST, TASKS, TUNING, EVERY = 0.5, 32, 3, 2
"""The share of the time that is pre-training; test characters, of which each second one is generated."""
STEPS, LEARNERS = (10, 50), ("vae", "gan", "flow")
_POOLED = {
    beginning.kind: beginning for beginning in (generation.VAE_POOLED, generation.GAN_POOLED, generation.FLOW_POOLED)
}
_INNER = MetaPlan(tasks=1, inner_steps=5, inner_rate=2e-3, rate=5e-4, turns=True)
ALGORITHMS: dict[str, MetaPlan | None] = {
    "pre-trained": None,
    "Reptile": replace(_INNER, algorithm="reptile", inner_steps=15, inner_batch=5),
    "first-order MAML": replace(_INNER, algorithm="fomaml"),
    "MAML": replace(_INNER, algorithm="maml"),
    "Meta-SGD": replace(_INNER, algorithm="meta-sgd"),
}


@dataclass(frozen=True)
class Arm:
    """A learner and the algorithm that learns its start."""

    kind: str
    algorithm: str

    @property
    def plan(self) -> MetaPlan:
        """By which it is adapted."""
        return ALGORITHMS[self.algorithm] or replace(_INNER, algorithm="fomaml")

    @property
    def beginning(self) -> generation.Beginning:
        pooled, plan = _POOLED[self.kind], ALGORITHMS[self.algorithm]
        return replace(pooled, name=f"{self.kind}, {self.algorithm}", plan=plan, first_share=FIRST if plan else 0.0)


def gone(arm: Arm, start: Params, task: Task, rate: float, steps: int) -> tuple[Run, float]:
    """An adaptation, and the seconds it took."""
    begun, beginning = time.perf_counter(), arm.beginning
    learner = create(beginning.kind, task.support.shape, **beginning.options)
    plan = replace(arm.plan, inner_steps=steps, inner_rate=rate, inner_batch=0)
    found = adapted(learner, plan, start, task.support, generator(task.seed, "adaptation"))
    run = fit(learner, task, Strategy(steps=0), seed=task.seed, start=found)
    return run, time.perf_counter() - begun


def judged(asked: tuple[Arm, Params, few_shot.Setting, Params, int]) -> list[dict[str, Any]]:
    """A row for each number of steps and test character, with the step size that validation characters chose."""
    harness.on_one_core()
    arm, start, where, reader, tasks = asked
    source, rows = where.family(), []
    tuning = few_shot.tasks_of(source, "validation", TUNING)
    for steps in STEPS:
        tried = {
            rate: sum(
                generation.scored(gone(arm, start, task, rate, steps)[0], task, where.extractor)[0]["kernel_distance"]
                for task in tuning
            )
            for rate in generation.RATES
        }
        rate = min(tried, key=lambda rate: tried[rate])
        for place, task in list(enumerate(few_shot.tasks_of(source, "test", tasks)))[::EVERY]:
            run, seconds = gone(arm, start, task, rate, steps)
            scores, samples = generation.scored(run, task, where.extractor)
            rows.append({
                "learner": arm.kind, "algorithm": arm.algorithm, "steps": steps, "rate": rate, "seconds": seconds,
                "task": few_shot.class_of(task), "recognised": judges.recognised(reader, samples, place, tasks),
                **{metric: scores[metric] for metric in generation.METRICS},
            })  # fmt: skip
        told = [row["kernel_distance"] for row in rows if row["steps"] == steps]
        print(f"{arm.kind}, {arm.algorithm}, {steps} steps: {sum(told) / len(told):.3g}", flush=True)
    return rows


def main() -> None:
    started = time.perf_counter()
    tasks, seconds = (4, 8.0) if harness.quick() else (TASKS, 60 * harness.minutes(3))
    where = generation.setting(generation.SHOTS)
    torch.set_num_threads(1)
    reader = judges.recogniser(few_shot.tasks_of(where.family(), "test", tasks), 4 if harness.quick() else 60)
    arms = [Arm(kind, algorithm) for kind in LEARNERS for algorithm in ALGORITHMS]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        begun = pool.map(generation.begun, [(arm.beginning, where, seconds) for arm in arms], chunksize=1)
        asked = [(arm, start, where, reader, tasks) for arm, (start, _) in zip(arms, begun, strict=True)]
        rows = list(chain(*pool.map(judged, asked, chunksize=1)))
    taken = {cost["beginning"]: cost["steps"] for _, cost in begun}
    harness.finish(
        "few-shot-algorithms",
        [row for arm in arms for row in summary(rows, arm, taken[arm.beginning.name])],
        columns={"learner": "learner", "algorithm": "start by", "steps": "steps", "rate": "rate",
                 **{score: score.replace("_", " ") for score in generation.METRICS}, "recognised": "recognised, %",
                 "less": "kernel distance less that of pre-trained", "learned": "steps to learn it",
                 "seconds": "seconds"},
        seed=generation.SEED,
        started=started,
        threads=2,
        details=rows,
        story=(
            f"{len({row['task'] for row in rows})} characters of alphabets that nothing was trained on, "
            f"{generation.SHOTS} drawings each, scores as in `few-shot-generation`; means over characters with 95% "
            f"bootstrap intervals, differences character by character. Every start had {seconds:.0f} s of one core, "
            f"the first {FIRST:.0%} of them pre-training on all train classes together, `pre-trained` all of them. "
            "The inner loop of Reptile takes 15 steps of 5 images, that of the others 5 steps of the shots. The step "
            f"size is that of {', '.join(map(str, generation.RATES))} that did best on {TUNING} validation characters; "
            "Meta-SGD's is times what it learned for each number. `steps to learn it`: outer steps and those before; "
            "`seconds`: of one core, for one adaptation."
        ),
    )  # fmt: skip


def summary(rows: list[dict[str, Any]], arm: Arm, learned: int) -> list[dict[str, Any]]:
    """A row for each number of steps: means over characters, and the difference from pre-training alone."""
    found = []
    for steps in STEPS:
        own, plain = (
            [row for row in rows if (row["learner"], row["algorithm"], row["steps"]) == (arm.kind, algorithm, steps)]
            for algorithm in (arm.algorithm, "pre-trained")
        )
        found.append({
            "learner": arm.kind, "algorithm": arm.algorithm, "steps": steps, "rate": own[0]["rate"],
            **{metric: harness.interval([row[metric] for row in own]) for metric in generation.METRICS},
            "recognised": harness.interval([100 * row["recognised"] for row in own]),
            "less": None if arm.algorithm == "pre-trained" else harness.difference(
                [row["kernel_distance"] for row in own], [row["kernel_distance"] for row in plain]
            ),
            "learned": learned, "seconds": sum(row["seconds"] for row in own) / len(own),
        })  # fmt: skip
    return found


if __name__ == "__main__":
    harness.run(main)
