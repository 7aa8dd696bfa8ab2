"""Few-shot generation in colour: tile folders and clothes that nothing learned from, 32 pixels, 10 and 100 images each.

What was learned on other tile folders (a VAE that reads the images; flow matching of all folders together, which is
fine-tuned) is held against what a fresh install does: the start that comes with Limner, and training from scratch.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import few_shot
import few_shot_generation as generation
import few_shot_starter as starter
import harness
from PIL import Image

from limner.config import Strategy
from limner.memory.portfolio import READING
from limner.meta import MetaPlan
from limner.tasks import Task

METRICS = generation.METRICS
EXTRACTOR, SEED = "efficientnet-lite0", 0
TILES = "zip:{data}/crawl_tiles32.zip,size=32,colour=rgb"
CLOTHING = "zip:{data}/clothing2k_64_cc0.zip,size=32,colour=rgb"


@dataclass(frozen=True)
class Data:
    """Classes to make images of: from so many images each, judged on how many others, and of how many classes."""

    name: str
    spec: str
    shots: int
    queries: int
    tasks: int
    fractions: tuple[float, float, float] = (0.0, 0.0, 1.0)

    @property
    def setting(self) -> few_shot.Setting:
        spec = harness.spec(self.spec)
        return few_shot.Setting(spec, self.shots, self.queries, SEED, EXTRACTOR, self.fractions)

    def tests(self) -> list[Task]:
        return few_shot.tasks_of(self.setting.family(), "test", self.tasks)


SETS = (
    Data("tiles", TILES, 10, 10, 6, (0.7, 0.1, 0.2)),
    Data("clothing", CLOTHING, 10, 50, 4),
    Data("clothing", CLOTHING, 100, 50, 3),
)
"""What is learned beforehand is learned from the train classes of the first."""

ADAPT = Strategy(betas=(0.0, 0.99), batch=32, ema=0.9)
KEPT = ADAPT.replace(betas=(0.7, 0.9), frozen=READING)
POOLED = Strategy(learning_rate=1e-3, schedule="cosine", batch=32, augmentation=("flip",))
SET_VAE = generation.Beginning(
    "set-vae", "set-vae", {"width": 32}, MetaPlan(algorithm="fomaml", tasks=1, inner_steps=0, rate=1e-3)
)
FLOW_POOLED = generation.Beginning("flow, pooled", "flow", {}, pooled=POOLED)
RATES = (1e-3, 4e-3)
WAYS_TO_GO = (
    generation.Way("set VAE of other tiles", SET_VAE, KEPT, (50,), rates=RATES),
    generation.Way("fine-tuned flow of other tiles", FLOW_POOLED, ADAPT, (200,), rates=RATES),
)


def main() -> None:
    started = time.perf_counter()
    quick = harness.quick()
    seconds, tuning = (2.0, 1) if quick else (60 * harness.minutes(2), 2)
    sets = [replace(data, tasks=1) for data in SETS] if quick else list(SETS)
    ways = [replace(way, steps=(5,)) for way in WAYS_TO_GO] if quick else list(WAYS_TO_GO)
    tasks = [(data, task) for data in sets for task in data.tests()]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        begun = pool.map(generation.begun, [(way.beginning, sets[0].setting, seconds) for way in ways], chunksize=1)
        starts = {way.name: params for way, (params, _) in zip(ways, begun, strict=True)}

        def gone(data: Data, ways: list[generation.Way]) -> list[dict[str, Any]]:
            asked = [(way, starts[way.name], data.setting, data.tasks, tuning, None) for way in ways]
            found = chain(*pool.map(generation.gone, asked, chunksize=1))
            return [row | {"data": data.name} for row in found]

        rows = gone(sets[0], ways)
        rates = {row["way"]: row["rate"] for row in rows}
        rows += chain(*(gone(data, [replace(way, rates=(rates[way.name],)) for way in ways]) for data in sets[1:]))
        fresh = pool.map(
            starter.adapted,
            [(starter.Data(data.name, data.spec, EXTRACTOR), task) for data, task in tasks],
            chunksize=1,
        )
    for (data, _), found in zip(tasks, fresh, strict=True):
        rows += [row | {"way": row["arm"], "shots": data.shots} for row in found]
    for data in sets:
        real, _ = few_shot.references(data.setting, few_shot.Scale(0, data.tasks, 0, starter.SAMPLES))
        rows += [row | {"way": row["arm"], "data": data.name, "shots": data.shots} for row in real]
    harness.finish(
        "few-shot-colour",
        summary(rows, sets),
        columns={"data": "images", "shots": "shots", "way": "strategy",
                 **{metric: metric.replace("_", " ") for metric in METRICS}, "steps": "steps", "rate": "rate",
                 "seconds": "seconds"},
        seed=SEED,
        started=started,
        threads=2,
        pictures=[harness.Picture("strategies", picture(tasks, rows), CAPTION)],
        story=story(rows, sets, tuning, [cost for _, cost in begun]),
        details=[{name: value for name, value in row.items() if name != "made"} for row in rows],
    )  # fmt: skip


def of(rows: list[dict[str, Any]], data: Data, way: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["data"], row["shots"], row["way"]) == (data.name, data.shots, way)]


def summary(rows: list[dict[str, Any]], sets: list[Data]) -> list[dict[str, Any]]:
    """A row for each set of images, number of shots and strategy, what real images score first."""
    found = []
    for data in sets:
        ways = dict.fromkeys(row["way"] for row in rows if (row["data"], row["shots"]) == (data.name, data.shots))
        for way in sorted(ways, key=lambda way: "steps" in of(rows, data, way)[0]):
            own = of(rows, data, way)
            found.append({
                "data": data.name, "shots": data.shots, "way": way, "steps": own[0].get("steps"),
                "rate": own[0].get("rate"),
                **{metric: harness.interval([row[metric] for row in own]) for metric in METRICS},
                "seconds": sum(row["seconds"] for row in own) / len(own) if "seconds" in own[0] else None,
            })  # fmt: skip
    return found


CAPTION = (
    "Three tile folders and three kinds of clothes, one a column: five of their ten images, samples of each strategy, "
    "real ones held back"
)


def picture(tasks: list[tuple[Data, Task]], rows: list[dict[str, Any]]) -> Image.Image:
    """A line for each strategy, a block of five samples for each of six classes, all of ten images."""
    few = [(data, task) for data, task in tasks if data.shots == 10]
    shown = [pair for name in ("tiles", "clothing") for pair in [pair for pair in few if pair[0].name == name][:3]]
    lines = [("five of the ten", [task.support.images[:5] for _, task in shown])]
    for way in dict.fromkeys(row["way"] for row in rows if "made" in row):
        blocks = []
        for data, task in shown:
            (own,) = (row for row in of(rows, data, way) if row["task"] == few_shot.class_of(task))
            blocks.append(own["made"][:5])
        lines.append((way, blocks))
    return generation.page([*lines, ("real images", [task.query.images[:5] for _, task in shown])], high=0.5)


def story(rows: list[dict[str, Any]], sets: list[Data], tuning: int, costs: list[dict[str, Any]]) -> str:
    told = "; ".join(
        f"{cost['beginning']} {cost['seconds']:.0f} s, {cost['steps']:,} steps, {cost['parameters']:,} numbers"
        for cost in costs
    )
    counts = ", ".join(f"{data.tasks} classes of {data.name} at {data.shots} ({data.queries} others)" for data in sets)
    lines = [
        f"{counts}; nothing was learned from any of them. Judged by {generation.SAMPLES} samples against others of the "
        f"class, features `{EXTRACTOR}`; means over classes with 95% bootstrap intervals. Rates of "
        f"{', '.join(map(str, RATES))} were chosen on {tuning} validation folders of tiles, for clothes too. Learned "
        f"on the train folders of the tiles, on one core: {told}. The shipped start and training from scratch go as "
        "the adviser says where the memory is empty. `seconds` are of one core, for one adaptation.",
        "",
    ]
    for data in sets:
        scratch = next(row["way"] for row in rows if row["way"].startswith("from scratch"))
        others = dict.fromkeys(row["way"] for row in rows if "steps" in row and row["way"] != scratch)
        for way in others:
            found = harness.difference(
                *([row["kernel_distance"] for row in of(rows, data, each)] for each in (way, scratch))
            )
            lines.append(
                f"- {data.name}, {data.shots} images: {way} less {scratch}: kernel distance {harness.told(found)}."
            )
    return "\n".join(lines)


if __name__ == "__main__":
    harness.run(main)
