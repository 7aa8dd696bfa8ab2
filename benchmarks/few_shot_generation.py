"""Few-shot generation by every strategy: 5 drawings of characters never seen, after 0 to 200 gradient steps."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import few_shot
import few_shot_judges as judges
import harness
import torch
from PIL import Image

from limner.config import Strategy
from limner.engine import Listener, Run, fit
from limner.engine.adapters import early_layers
from limner.learners import batch_of, create
from limner.meta import MetaPlan, learn
from limner.metrics import evaluate
from limner.reports.figures import grid
from limner.seeds import derive, generator
from limner.tasks import Task
from limner.types import Params

SPEC = "npz:{data}/omniglot_background28.npz,images=x,labels=char,groups=alphabet"
METRICS = ("kernel_distance", "coverage", "nearest_training_ratio")
STEPS = (0, 10, 50, 200)
RATES = (1e-3, 2e-3, 4e-3)
SHOTS, QUERIES, SAMPLES, SEED, EXTRACTOR, BEST = 5, 15, 64, 0, "glyph-net", 3
NEW = 0.85
"""A mean nearest-training ratio below it is that of samples nearer to the shots than new drawings are: the kernel
distance rewards those, so they come last."""


@dataclass(frozen=True)
class Beginning:
    """Parameters to begin from: learned by ``plan`` over the family after ``first_share`` of the time on ``pooled``, or
    by ``pooled`` on all train classes together; fresh where there is neither."""

    name: str
    kind: str
    options: dict[str, Any]
    plan: MetaPlan | None = None
    pooled: Strategy | None = None
    first_share: float = 0.0


@dataclass(frozen=True)
class Way:
    """A strategy: what it begins from, how it goes on, and at which steps it is looked at.

    early   so many of the critic's first layers are frozen
    rates   those that are tried on validation tasks, for each number of steps
    """

    name: str
    beginning: Beginning
    strategy: Strategy
    steps: tuple[int, ...] = STEPS
    early: int = 0
    rates: tuple[float, ...] = RATES

    @property
    def from_scratch(self) -> bool:
        return not (self.beginning.plan or self.beginning.pooled)

    @property
    def plain(self) -> bool:
        """Whether it is fine-tuning as anyone would do it: all parameters of a pooled model change."""
        varied = self.early or self.strategy.frozen or self.strategy.preserve or self.strategy.update != "full"
        return self.beginning.pooled is not None and self.beginning.plan is None and not varied


@dataclass(frozen=True)
class Scale:
    seconds: float
    tasks: int
    tuning: int


ADAPT = Strategy(betas=(0.0, 0.99), batch=0, ema=0.9)
_GAN, _POOLED_GAN = {"latents": 32, "width": 32}, Strategy(learning_rate=1e-3, betas=(0.0, 0.99), schedule="cosine")
_VAE, _POOLED_VAE = {"latents": 24, "width": 32}, Strategy(learning_rate=2e-3, schedule="cosine")
NO_STEPS = MetaPlan(algorithm="fomaml", tasks=1, inner_steps=0, rate=2e-3, turns=True)
_REPTILE = MetaPlan(algorithm="reptile", tasks=1, inner_steps=15, inner_rate=4e-3, inner_batch=5, rate=5e-4, turns=True)

SET_VAE = Beginning("set-vae", "set-vae", {"width": 32}, NO_STEPS)
FLOW_POOLED = Beginning("flow, pooled", "flow", {}, pooled=_POOLED_VAE)
_SET_FLOW = Beginning("set-flow", "set-flow", {}, NO_STEPS)
_VAE_MET = Beginning("vae, class prior", "vae", _VAE | {"prior": "class"}, replace(NO_STEPS, rate=4e-3))
VAE_POOLED = Beginning("vae, pooled", "vae", _VAE, pooled=_POOLED_VAE)
_GAN_MET = Beginning("gan, Reptile", "gan", _GAN, _REPTILE, _POOLED_GAN, 0.4)
GAN_POOLED = Beginning("gan, pooled", "gan", _GAN, pooled=_POOLED_GAN)
_FLOW_MET = Beginning("flow, Reptile", "flow", {}, replace(_REPTILE, inner_rate=2e-3), _POOLED_VAE, 0.5)

LEARNED = STEPS[1:]
WAYS_TO_GO = (
    Way("amortised, set VAE", SET_VAE, ADAPT),
    Way("amortised, set flow", _SET_FLOW, ADAPT),
    Way("meta-learned, VAE with a class prior", _VAE_MET, ADAPT),
    Way("meta-learned, GAN by Reptile", _GAN_MET, ADAPT),
    Way("meta-learned, flow matching by Reptile", _FLOW_MET, ADAPT),
    Way("fine-tuned, VAE", VAE_POOLED, ADAPT),
    Way("fine-tuned, GAN", GAN_POOLED, ADAPT),
    Way("fine-tuned, flow matching", FLOW_POOLED, ADAPT),
    Way("early critic layers frozen", GAN_POOLED, ADAPT, early=2),
    Way("modulation only", GAN_POOLED, ADAPT.replace(update="modulation")),
    Way("low-rank adapters", GAN_POOLED, ADAPT.replace(update="low-rank")),
    Way("distances preserved", GAN_POOLED, ADAPT.replace(preserve=1.0)),
    Way("implicit likelihood, from scratch", Beginning("imle, fresh", "imle", {}), ADAPT, LEARNED),
    Way("VAE, from scratch", Beginning("vae, fresh", "vae", _VAE), ADAPT, LEARNED),
    Way("GAN, from scratch", Beginning("gan, fresh", "gan", _GAN), ADAPT, LEARNED),
)


def setting(shots: int) -> few_shot.Setting:
    return few_shot.Setting(harness.spec(SPEC), shots, 20 - shots, SEED, EXTRACTOR)


def begun(asked: tuple[Beginning, few_shot.Setting, float]) -> tuple[Params | None, dict[str, Any]]:
    """The parameters of a beginning, learned on the setting's train classes, and what they cost: in one process on one
    core."""
    beginning, where, seconds = asked
    harness.on_one_core()
    source, started = where.family(), time.perf_counter()
    learner = create(beginning.kind, source.images.shape, **beginning.options)
    params, steps = None, 0
    if beginning.pooled:
        share = beginning.first_share if beginning.plan else 1.0
        pool = Task("generate", "all train classes together", source.pool("train"), None)
        run = fit(learner, pool, beginning.pooled.replace(seconds=share * seconds, steps=10**9), seed=SEED)
        params, steps = run.params, run.cost.steps
    if beginning.plan:
        plan = replace(beginning.plan, seconds=(1 - beginning.first_share) * seconds, steps=10**9)
        start = learn(learner, source, plan, seed=SEED, start=params)
        params, steps = start.learned, steps + start.cost.steps
    taken = time.perf_counter() - started
    size = sum(value.numel() for value in learner.init(0).values())
    print(f"begun: {beginning.name}, {taken:.0f} s, {steps} steps", flush=True)
    return params, {"beginning": beginning.name, "seconds": taken, "steps": steps, "parameters": size}


class Watch(Listener):
    """Keeps the parameters at the steps that are looked at, and the seconds until then."""

    def __init__(self, steps: tuple[int, ...]) -> None:
        self.steps, self.started, self.found = steps, time.perf_counter(), {}

    def on_evaluate(self, step: int, values: dict[str, float], params: Params) -> None:
        if step in self.steps:
            self.found[step] = (params, time.perf_counter() - self.started)


def looked_at(way: Way, start: Params | None, task: Task, rate: float, steps: tuple[int, ...]) -> dict[int, Any]:
    """One adaptation: at each of ``steps`` the run as it then was, and the seconds until then."""
    learner = create(way.beginning.kind, task.support.shape, **way.beginning.options)
    strategy = way.strategy.replace(steps=max(steps), learning_rate=rate, evaluate_every=10)
    if way.early:
        strategy = strategy.replace(frozen=early_layers(learner, way.early))
    watch, found = Watch(steps), {}
    if max(steps):
        run = fit(learner, task, strategy, seed=task.seed, start=start, listeners=[watch])
    if 0 in steps:
        began = time.perf_counter()
        run = fit(learner, task, Strategy(steps=0), seed=task.seed, start=start)
        found[0] = (run, time.perf_counter() - began)
    for step, (params, seconds) in watch.found.items():
        finished = learner.finish(params, batch_of(task.support), generator(task.seed, "finish"))
        found[step] = (replace(run, params=finished), seconds)
    return found


def scored(run: Run, task: Task, extractor: str) -> tuple[dict[str, float], torch.Tensor]:
    """What its samples score against images held back, and the samples."""
    samples = run.sample(SAMPLES, seed=derive(task.seed, "benchmark"))
    return evaluate(samples, task.query, task.support, extractor, bootstraps=0).plain(), samples


def gone(asked: tuple[Way, Params | None, few_shot.Setting, int, int, Params | None]) -> list[dict[str, Any]]:
    """A strategy on all test tasks: rates are chosen for each number of steps on validation tasks, where there is a
    choice. On one core."""
    way, start, where, tasks, tuning, reader = asked
    harness.on_one_core()
    source = where.family()
    tried: dict[int, dict[float, list[float]]] = {step: {} for step in way.steps}
    for rate in way.rates if len(way.rates) > 1 else ():
        for task in few_shot.tasks_of(source, "validation", tuning):
            for step, (run, _) in looked_at(way, start, task, rate, tuple(s for s in way.steps if s)).items():
                tried[step].setdefault(rate, []).append(scored(run, task, where.extractor)[0]["kernel_distance"])
    rates = {step: min(found, key=lambda rate: sum(found[rate])) for step, found in tried.items() if found}
    rows = []
    for index, task in enumerate(few_shot.tasks_of(source, "test", tasks)):
        together: dict[float, list[int]] = {}
        for step in way.steps:
            together.setdefault(rates.get(step, way.rates[0]), []).append(step)
        for rate, steps in together.items():
            for step, (run, seconds) in looked_at(way, start, task, rate, tuple(steps)).items():
                scores, samples = scored(run, task, where.extractor)
                rows.append({
                    "way": way.name, "steps": step, "shots": where.shots, "rate": rate, "task": few_shot.class_of(task),
                    "seconds": seconds, "state": run.state, "made": samples,
                    "recognised": judges.recognised(reader, samples, index, tasks),
                    **{metric: scores[metric] for metric in METRICS},
                })  # fmt: skip
    for step in way.steps:
        told = [row["kernel_distance"] for row in rows if row["steps"] == step]
        print(f"{way.name}, {where.shots} shots, {step} steps: {sum(told) / len(told):.3g}", flush=True)
    return rows


def references(tasks: list[Task], reader: Params) -> list[dict[str, Any]]:
    """What real drawings score, and copies of the shots; those recognised are the shots, which no recogniser saw."""
    found, _ = few_shot.references(setting(SHOTS), few_shot.Scale(0, len(tasks), 0, SAMPLES))
    places = {task: index for index, task in enumerate(map(few_shot.class_of, tasks))}
    shown = [places[row["task"]] for row in found]
    return [
        {
            "way": row["arm"], "steps": None, "shots": SHOTS, "task": row["task"],
            "recognised": judges.recognised(reader, tasks[place].support.images, place, len(tasks)),
            **{metric: row[metric] for metric in METRICS},
        }
        for place, row in zip(shown, found, strict=True)
    ]  # fmt: skip


def main() -> None:
    measure("few-shot-generation", WAYS_TO_GO, harness.minutes(6), others=(1, 10))


def measure(name: str, ways: tuple[Way, ...], minutes: float, others: tuple[int, ...] = ()) -> None:
    """Begins, adapts and judges by all ``ways``, the best of them with ``others`` as numbers of shots too."""
    started = time.perf_counter()
    scale = Scale(15, judges.WAYS, 1) if harness.quick() else Scale(60 * minutes, 32, 3)
    tasks = few_shot.tasks_of(setting(SHOTS).family(), "test", scale.tasks)
    torch.set_num_threads(1)
    reader = judges.recogniser(tasks, 4 if harness.quick() else 60)
    beginnings = list({way.beginning.name: way.beginning for way in ways}.values())
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(begun, [(beginning, setting(SHOTS), scale.seconds) for beginning in beginnings], chunksize=1)
        starts = {cost["beginning"]: params for params, cost in found}

        def asked(way: Way, shots: int, judge: Params | None) -> tuple[Any, ...]:
            return way, starts[way.beginning.name], setting(shots), scale.tasks, scale.tuning, judge

        rows = list(chain(*pool.map(gone, [asked(way, SHOTS, reader) for way in ways], chunksize=1)))
        best = sorted(ways, key=lambda way: standing(rows, way.name, best_steps(rows, way.name)))[:BEST]
        again = [
            asked(replace(way, steps=(best_steps(rows, way.name),)), shots, None) for way in best for shots in others
        ]
        more = list(chain(*pool.map(gone, again, chunksize=1)))
        gains = judges.gained(pool, tasks, rows, SEED)
    everything = [*references(tasks, reader), *rows, *more]
    harness.finish(
        name,
        summary(everything, gains),
        columns={"way": "strategy", "shots": "shots", "steps": "steps", "rate": "rate",
                 **{metric: metric.replace("_", " ") for metric in METRICS}, "recognised": "recognised, %",
                 "gain": "points gained", "seconds": "seconds"},
        seed=SEED,
        started=started,
        threads=2,
        pictures=[harness.Picture("strategies", picture(tasks, rows), CAPTION)],
        story=story(everything, ways, scale, [cost for _, cost in found], others),
        details=[{name: value for name, value in row.items() if name != "made"} for row in everything],
    )  # fmt: skip


def of(rows: list[dict[str, Any]], way: str, steps: int) -> list[dict[str, Any]]:
    return [row for row in rows if row["way"] == way and row["steps"] == steps and row["shots"] == SHOTS]


def mean(rows: list[dict[str, Any]], score: str = "kernel_distance") -> float:
    return sum(row[score] for row in rows) / len(rows)


def standing(rows: list[dict[str, Any]], way: str, steps: int) -> tuple[bool, float]:
    """What strategies are compared by: those whose samples are new first, then by their kernel distance."""
    own = of(rows, way, steps)
    return mean(own, "nearest_training_ratio") < NEW, mean(own)


def best_steps(rows: list[dict[str, Any]], way: str) -> int:
    looked = {row["steps"] for row in rows if row["way"] == way}
    return min(looked, key=lambda steps: standing(rows, way, steps))


def summary(rows: list[dict[str, Any]], gains: dict[tuple[str, int], list[float]]) -> list[dict[str, Any]]:
    """A row for each strategy, number of steps and of shots: means over tasks with their intervals."""
    found = []
    for way, steps, shots in dict.fromkeys((row["way"], row["steps"], row["shots"]) for row in rows):
        own = [row for row in rows if (row["way"], row["steps"], row["shots"]) == (way, steps, shots)]
        row: dict[str, Any] = {"way": way, "steps": steps, "shots": shots, "rate": own[0].get("rate")}
        row |= {metric: harness.interval([each[metric] for each in own]) for metric in METRICS}
        if own[0]["recognised"] is not None:
            row["recognised"] = harness.interval([100 * each["recognised"] for each in own])
        if shots == SHOTS and (way, steps) in gains:
            row["gain"] = harness.interval(gains[way, steps])
        row["seconds"] = mean(own, "seconds") if "seconds" in own[0] else None
        found.append(row)
    return found


CAPTION = (
    "Twelve characters never seen, one a column of blocks: the shots, samples of each strategy after the steps that "
    "did best, real drawings held back"
)


def picture(tasks: list[Task], rows: list[dict[str, Any]]) -> Image.Image:
    """A line for each strategy, a block of four samples for each of twelve characters."""
    places = range(0, len(tasks), max(1, len(tasks) // 12))[:12]
    lines: list[tuple[str, list[torch.Tensor]]] = [("the shots", [tasks[place].support.images[:4] for place in places])]
    for way in dict.fromkeys(row["way"] for row in rows):
        steps = best_steps(rows, way)
        own = {row["task"]: row["made"] for row in of(rows, way, steps)}
        shown = [own[few_shot.class_of(tasks[place])][:4] for place in places]
        lines.append((f"{way}, {steps} steps", shown))
    return page([*lines, ("real drawings", [tasks[place].query.images[:4] for place in places])])


def page(lines: list[tuple[str, list[torch.Tensor]]], high: float = 0.3) -> Image.Image:
    """Lines of blocks of images, each line with what it is told as; a line is ``high`` inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, high * len(lines) + 0.2))
    axes = figure.subplots(len(lines), len(lines[0][1]), squeeze=False)
    for (told, blocks), line in zip(lines, axes, strict=True):
        for block, axis in zip(blocks, line, strict=True):
            axis.imshow(grid(block, columns=len(block), scale=1).convert("RGB"))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(told, rotation=0, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=0.21, right=0.998, top=0.998, bottom=0.002, wspace=0.05, hspace=0.05)
    return harness.drawn(figure)


def story(
    rows: list[dict[str, Any]],
    ways: tuple[Way, ...],
    scale: Scale,
    costs: list[dict[str, Any]],
    others: tuple[int, ...],
) -> str:
    told = "; ".join(
        f"{cost['beginning']} {cost['steps']:,} steps, {cost['parameters']:,} numbers"
        for cost in costs
        if cost["steps"]
    )
    made = [row for row in rows if row["steps"] is not None]
    ours = [way.name for way in ways if not way.plain and not way.from_scratch]
    first = min(ours, key=lambda way: mean(of(made, way, 10)))
    plain = min((way.name for way in ways if way.plain), key=lambda way: mean(of(made, way, 200)))
    differences = ", ".join(
        f"{score.replace('_', ' ')} "
        + harness.told(
            harness.difference(
                [row[score] for row in of(made, first, 10)], [row[score] for row in of(made, plain, 200)]
            )
        )
        for score in (*METRICS, "recognised")
    )
    tried = "; ".join(
        _tried(ways, rates) for rates in sorted({way.rates for way in ways}, key=lambda rates: rates == RATES)
    )
    again = (
        f" The {BEST} strategies with {' and '.join(map(str, others))} shots are those of the lowest kernel distance "
        f"among samples whose nearest-training ratio is at least {NEW}."
    )
    return (
        f"{scale.tasks} characters of alphabets that nothing was trained on, {SHOTS} drawings each, {SAMPLES} samples "
        f"against {QUERIES} others{' (10 at 10 shots, 19 at 1)' if others else ''}, features `{EXTRACTOR}`; means over "
        f"characters, 95% bootstrap intervals over characters. Each number of steps has the rate that did best on "
        f"{scale.tuning} validation characters, of {tried}. *Recognised*: the share "
        f"of samples that a classifier, trained on the drawings held back, takes for their own character among "
        f"{judges.AMONG}. *Points gained*: what a classifier of {judges.WAYS} characters, which learns from the shots "
        f"and {judges.MADE} samples of each for {judges.STEPS} steps, has over one that learns from the shots alone. "
        f"Every learned beginning had {scale.seconds:.0f} s of one core ({told}). `seconds` are of one core, for one "
        f"adaptation.{again if others else ''}\n\n"
        f"- {first}, 10 steps, less {plain}, 200 steps, character by character: {differences}."
    )


def _tried(ways: tuple[Way, ...], rates: tuple[float, ...]) -> str:
    """The rates, and of which strategies they are where not of all but some."""
    told = ", ".join(map(str, rates))
    if all(way.rates == rates for way in ways):
        return told
    return f"{told} for " + ("the others" if rates == RATES else " and ".join(w.name for w in ways if w.rates == rates))


if __name__ == "__main__":
    harness.run(main)
