"""Few-shot generation by every strategy: 5 drawings of characters never seen, after 0 to 200 gradient steps."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import few_shot
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
from limner.tasks import Family, ImageSet, Task
from limner.types import Params, Request

SPEC = "npz:{data}/omniglot_background28.npz,images=x,labels=char,groups=alphabet"
METRICS = ("kernel_distance", "coverage", "nearest_training_ratio")
STEPS = (0, 10, 50, 200)
RATES = (1e-3, 2e-3, 4e-3)
SHOTS, QUERIES, SAMPLES, SEED, EXTRACTOR, BEST = 5, 15, 64, 0, "glyph-net", 3
NEW = 0.85
"""A mean nearest-training ratio below it is that of samples nearer to the shots than new drawings are: the kernel
distance rewards those, so they come last."""
WAYS = 20
"""Among how many characters the recogniser finds a sample's own."""


@dataclass(frozen=True)
class Beginning:
    """Parameters to begin from: learned by ``plan`` over the family after a share of the time on ``first``, or by
    ``pooled`` on all train classes together; fresh where there is neither."""

    kind: str
    options: dict[str, Any]
    plan: MetaPlan | None = None
    pooled: Strategy | None = None
    first_share: float = 0.0


@dataclass(frozen=True)
class Way:
    """A strategy: what it begins from, how it goes on, and at which steps it is looked at."""

    name: str
    beginning: str
    strategy: Strategy
    steps: tuple[int, ...] = STEPS
    early: int = 0
    """So many of the critic's first layers are frozen."""


@dataclass(frozen=True)
class Scale:
    seconds: float
    tasks: int
    tuning: int


_ADAPT = Strategy(betas=(0.0, 0.99), batch=0, ema=0.9)
_GAN, _POOLED_GAN = {"latents": 32, "width": 32}, Strategy(learning_rate=1e-3, betas=(0.0, 0.99), schedule="cosine")
_VAE, _POOLED_VAE = {"latents": 24, "width": 32}, Strategy(learning_rate=2e-3, schedule="cosine")
_NO_STEPS = MetaPlan(algorithm="fomaml", tasks=1, inner_steps=0, rate=2e-3, turns=True)
_REPTILE = MetaPlan(algorithm="reptile", tasks=1, inner_steps=15, inner_rate=4e-3, inner_batch=5, rate=5e-4, turns=True)

BEGINNINGS = {
    "set-vae": Beginning("set-vae", {"width": 32}, _NO_STEPS),
    "set-flow": Beginning("set-flow", {}, _NO_STEPS),
    "vae, class prior": Beginning("vae", _VAE | {"prior": "class"}, replace(_NO_STEPS, rate=4e-3)),
    "vae, pooled": Beginning("vae", _VAE, pooled=_POOLED_VAE),
    "gan, Reptile": Beginning("gan", _GAN, _REPTILE, _POOLED_GAN, 0.4),
    "gan, pooled": Beginning("gan", _GAN, pooled=_POOLED_GAN),
    "flow, Reptile": Beginning("flow", {}, replace(_REPTILE, inner_rate=2e-3), _POOLED_VAE, 0.5),
    "flow, pooled": Beginning("flow", {}, pooled=_POOLED_VAE),
    "vae, fresh": Beginning("vae", _VAE),
    "gan, fresh": Beginning("gan", _GAN),
    "imle, fresh": Beginning("imle", {}),
}

LEARNED = STEPS[1:]
WAYS_TO_GO = (
    Way("amortised, set VAE", "set-vae", _ADAPT),
    Way("amortised, set flow", "set-flow", _ADAPT),
    Way("meta-learned, VAE with a class prior", "vae, class prior", _ADAPT),
    Way("meta-learned, GAN by Reptile", "gan, Reptile", _ADAPT),
    Way("meta-learned, flow matching by Reptile", "flow, Reptile", _ADAPT),
    Way("fine-tuned, VAE", "vae, pooled", _ADAPT),
    Way("fine-tuned, GAN", "gan, pooled", _ADAPT),
    Way("fine-tuned, flow matching", "flow, pooled", _ADAPT),
    Way("early critic layers frozen", "gan, pooled", _ADAPT, early=2),
    Way("modulation only", "gan, pooled", _ADAPT.replace(update="modulation")),
    Way("low-rank adapters", "gan, pooled", _ADAPT.replace(update="low-rank")),
    Way("distances preserved", "gan, pooled", _ADAPT.replace(preserve=1.0)),
    Way("implicit likelihood, from scratch", "imle, fresh", _ADAPT, LEARNED),
    Way("VAE, from scratch", "vae, fresh", _ADAPT, LEARNED),
    Way("GAN, from scratch", "gan, fresh", _ADAPT, LEARNED),
)
PLAIN = ("fine-tuned, VAE", "fine-tuned, GAN", "fine-tuned, flow matching")


def family(shots: int) -> Family:
    return few_shot.Setting(harness.spec(SPEC), shots, 20 - shots, SEED, EXTRACTOR).family()


def begun(asked: tuple[str, float]) -> tuple[str, Params | None, dict[str, Any]]:
    """The parameters of a beginning, and what they cost, in one process on one core."""
    name, seconds = asked
    harness.on_one_core()
    beginning, source, started = BEGINNINGS[name], family(SHOTS), time.perf_counter()
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
    print(f"begun: {name}, {taken:.0f} s, {steps} steps", flush=True)
    return name, params, {"beginning": name, "seconds": taken, "steps": steps, "parameters": size}


class Watch(Listener):
    """Keeps the parameters at the steps that are looked at, and the seconds until then."""

    def __init__(self, steps: tuple[int, ...]) -> None:
        self.steps, self.started, self.found = steps, time.perf_counter(), {}

    def on_evaluate(self, step: int, values: dict[str, float], params: Params) -> None:
        if step in self.steps:
            self.found[step] = (params, time.perf_counter() - self.started)


def looked_at(way: Way, start: Params | None, task: Task, rate: float, steps: tuple[int, ...]) -> dict[int, Any]:
    """One adaptation: at each of ``steps`` the run as it then was, and the seconds until then."""
    beginning = BEGINNINGS[way.beginning]
    learner = create(beginning.kind, task.support.shape, **beginning.options)
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


def scored(run: Run, task: Task) -> tuple[dict[str, float], torch.Tensor]:
    """What its samples score against drawings held back, and the samples."""
    samples = run.sample(SAMPLES, seed=derive(task.seed, "benchmark"))
    return evaluate(samples, task.query, task.support, EXTRACTOR, bootstraps=0).plain(), samples


def gone(asked: tuple[Way, Params | None, int, int, int, Params | None]) -> list[dict[str, Any]]:
    """A strategy on all test tasks: rates are chosen for each number of steps on validation tasks. On one core."""
    way, start, shots, tasks, tuning, reader = asked
    harness.on_one_core()
    source = family(shots)
    tried: dict[int, dict[float, list[float]]] = {step: {} for step in way.steps}
    for rate in RATES:
        for task in few_shot.tasks_of(source, "validation", tuning):
            for step, (run, _) in looked_at(way, start, task, rate, tuple(s for s in way.steps if s)).items():
                tried[step].setdefault(rate, []).append(scored(run, task)[0]["kernel_distance"])
    rates = {step: min(found, key=lambda rate: sum(found[rate])) for step, found in tried.items() if found}
    rows = []
    for index, task in enumerate(few_shot.tasks_of(source, "test", tasks)):
        together: dict[float, list[int]] = {}
        for step in way.steps:
            together.setdefault(rates.get(step, RATES[0]), []).append(step)
        for rate, steps in together.items():
            for step, (run, seconds) in looked_at(way, start, task, rate, tuple(steps)).items():
                scores, samples = scored(run, task)
                rows.append({
                    "way": way.name, "steps": step, "shots": shots, "rate": rate, "task": few_shot.class_of(task),
                    "seconds": seconds, "state": run.state, "pictured": samples[:8],
                    "recognised": recognised(reader, samples, index, tasks),
                    **{metric: scores[metric] for metric in METRICS},
                })  # fmt: skip
    for step in way.steps:
        told = [row["kernel_distance"] for row in rows if row["steps"] == step]
        print(f"{way.name}, {shots} shots, {step} steps: {sum(told) / len(told):.3g}", flush=True)
    return rows


def recogniser(tasks: list[Task], seconds: float) -> Params:
    """The parameters of a classifier of all test characters, trained on the drawings that samples are held against."""
    images = torch.cat([task.query.images for task in tasks])
    labels = torch.arange(len(tasks)).repeat_interleave(QUERIES)
    queries = ImageSet(images, "drawings held back", labels=labels, class_names=tuple(map(str, range(len(tasks)))))
    strategy = Strategy(steps=10**9, seconds=seconds, batch=64, schedule="cosine", augmentation=("affine",))
    learner = create("classifier", queries.shape, classes=len(tasks))
    return fit(learner, Task("classify", "characters", queries, None), strategy, seed=SEED).params


def recognised(reader: Params | None, images: torch.Tensor, own: int, classes: int) -> float | None:
    """The share of ``images`` taken for the character ``own`` among it and 19 others."""
    if reader is None:
        return None
    others = torch.randperm(classes, generator=generator(SEED, "others", own))
    among = torch.cat([torch.tensor([own]), others[others != own][: WAYS - 1]])
    request = Request("logits", images=images.float() / 255)
    learner = create("classifier", (1, *images.shape[2:]), classes=classes)
    logits = learner.predict(reader, request, generator(SEED))[:, among]
    return float((logits.argmax(1) == 0).float().mean())


def references(tasks: list[Task], reader: Params) -> list[dict[str, Any]]:
    """What real drawings score, and copies of the shots; those recognised are the shots, which no recogniser saw."""
    found, _ = few_shot.references(
        few_shot.Setting(harness.spec(SPEC), SHOTS, QUERIES, SEED, EXTRACTOR), few_shot.Scale(0, len(tasks), 0, SAMPLES)
    )
    shown = {task: index for index, task in enumerate(map(few_shot.class_of, tasks))}
    return [
        {
            "way": row["arm"], "steps": None, "shots": SHOTS, "task": row["task"],
            "recognised": recognised(reader, tasks[shown[row["task"]]].support.images, shown[row["task"]], len(tasks)),
            **{metric: row[metric] for metric in METRICS},
        }
        for row in found
    ]  # fmt: skip


def main() -> None:
    started = time.perf_counter()
    quick = harness.quick()
    scale = Scale(15, 4, 1) if quick else Scale(60 * harness.minutes(4), 32, 3)
    tasks = few_shot.tasks_of(family(SHOTS), "test", scale.tasks)
    torch.set_num_threads(1)
    reader = recogniser(tasks, 4 if quick else 60)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(begun, [(name, scale.seconds) for name in BEGINNINGS], chunksize=1)
        starts, costs = {name: params for name, params, _ in found}, [cost for _, _, cost in found]
        asked = [(way, starts[way.beginning], SHOTS, scale.tasks, scale.tuning, reader) for way in WAYS_TO_GO]
        rows = list(chain(*pool.map(gone, asked, chunksize=1)))
        best = sorted(WAYS_TO_GO, key=lambda way: standing(rows, way.name, best_steps(rows, way.name)))[:BEST]
        again = [
            (replace(way, steps=(best_steps(rows, way.name),)), starts[way.beginning], shots, scale.tasks, scale.tuning,
             None)
            for way in best for shots in (1, 10)
        ]  # fmt: skip
        others = list(chain(*pool.map(gone, again, chunksize=1)))
    everything = [*references(tasks, reader), *rows, *others]
    harness.finish(
        "few-shot-generation",
        summary(everything),
        columns={"way": "strategy", "shots": "shots", "steps": "steps", "rate": "rate",
                 **{metric: metric.replace("_", " ") for metric in METRICS}, "recognised": "recognised, %",
                 "seconds": "seconds"},
        seed=SEED,
        started=started,
        threads=2,
        pictures=[harness.Picture("strategies", picture(tasks, rows), CAPTION)],
        story=story(everything, scale, costs),
        details=[{name: value for name, value in row.items() if name != "pictured"} for row in everything],
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


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each strategy, number of steps and of shots: means over tasks with their intervals."""
    found = []
    for way, steps, shots in dict.fromkeys((row["way"], row["steps"], row["shots"]) for row in rows):
        own = [row for row in rows if (row["way"], row["steps"], row["shots"]) == (way, steps, shots)]
        row: dict[str, Any] = {"way": way, "steps": steps, "shots": shots, "rate": own[0].get("rate")}
        row |= {metric: harness.interval([each[metric] for each in own]) for metric in METRICS}
        if own[0]["recognised"] is not None:
            row["recognised"] = harness.interval([100 * each["recognised"] for each in own])
        row["seconds"] = mean(own, "seconds") if "seconds" in own[0] else None
        found.append(row)
    return found


CAPTION = (
    "Twelve characters never seen, one a column of blocks: the shots, samples of each strategy after the steps that "
    "did best, real drawings held back"
)


def picture(tasks: list[Task], rows: list[dict[str, Any]]) -> Image.Image:
    """A line for each strategy, a block of four samples for each of twelve characters."""
    from matplotlib.figure import Figure

    places = range(0, len(tasks), max(1, len(tasks) // 12))[:12]
    lines: list[tuple[str, list[torch.Tensor]]] = [("the shots", [tasks[place].support.images[:4] for place in places])]
    for way in dict.fromkeys(row["way"] for row in rows):
        steps = best_steps(rows, way)
        own = {row["task"]: row["pictured"] for row in of(rows, way, steps)}
        shown = [own[few_shot.class_of(tasks[place])][:4] for place in places]
        lines.append((f"{way}, {steps} steps", shown))
    lines.append(("real drawings", [tasks[place].query.images[:4] for place in places]))
    figure = Figure(figsize=(16, 0.3 * len(lines) + 0.2))
    axes = figure.subplots(len(lines), len(places), squeeze=False)
    for (told, blocks), line in zip(lines, axes, strict=True):
        for block, axis in zip(blocks, line, strict=True):
            axis.imshow(grid(block, columns=4, scale=1).convert("RGB"))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(told, rotation=0, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=0.21, right=0.998, top=0.998, bottom=0.002, wspace=0.05, hspace=0.05)
    return harness.drawn(figure)


def story(rows: list[dict[str, Any]], scale: Scale, costs: list[dict[str, Any]]) -> str:
    told = "; ".join(
        f"{cost['beginning']} {cost['steps']:,} steps, {cost['parameters']:,} numbers"
        for cost in costs
        if cost["steps"]
    )
    ours = [way.name for way in WAYS_TO_GO if way.name not in PLAIN and "scratch" not in way.name]
    made = [row for row in rows if row["steps"] is not None]
    first = min(ours, key=lambda way: mean(of(made, way, 10)))
    plain = min(PLAIN, key=lambda way: mean(of(made, way, 200)))
    differences = ", ".join(
        f"{score.replace('_', ' ')} "
        + harness.told(
            harness.difference(
                [row[score] for row in of(made, first, 10)], [row[score] for row in of(made, plain, 200)]
            )
        )
        for score in (*METRICS, "recognised")
    )
    return (
        f"{scale.tasks} characters of alphabets that nothing was trained on, {SHOTS} drawings each, {SAMPLES} samples "
        f"against {QUERIES} others (10 at 10 shots, 19 at 1), features `{EXTRACTOR}`; means over "
        f"characters, 95% bootstrap intervals over characters. Each number of steps has the rate of "
        f"{', '.join(map(str, RATES))} that did best on {scale.tuning} validation characters. *Recognised*: the share "
        f"of samples that a classifier, trained on the drawings held back, takes for their own character among {WAYS}. "
        f"Every learned beginning had {scale.seconds:.0f} s of one core ({told}). `seconds` are of one core, for one "
        f"adaptation. The three strategies with 1 and 10 shots are those of the lowest kernel distance among samples "
        f"whose nearest-training ratio is at least {NEW}.\n\n"
        f"- {first}, 10 steps, less {plain}, 200 steps, character by character: {differences}."
    )


if __name__ == "__main__":
    harness.run(main)
