"""Whether a search that takes runs one part at a time finds more in as many steps than one of whole runs."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import harness
from adviser_families import FAMILIES, SEED, asked_of, parts

from limner.verbs.experience import experience
from limner.verbs.tune import tune

LEARNER, OPTIONS = "classifier", {"width": 8}
WAYS: dict[str, dict[str, Any]] = {
    "metann, by rungs": {"adviser": "metann", "rungs": True},
    "metann, whole runs": {"adviser": "metann"},
    "search, whole runs": {"adviser": "search"},
}
RUNGS, WHOLE = list(WAYS)[:2]
NONE, RELATED = "none", "related"


class Scale(NamedTuple):
    """Families; tasks of each in the past, with so many runs each; tasks of each to be searched on, by budgets."""

    families: tuple[str, ...]
    past: int
    runs: int
    targets: int
    budgets: tuple[int, ...]
    each: str


FULL = Scale(("characters", "digits", "clothing", "tiles"), 3, 10, 2, (3, 10), "100steps")
QUICK = Scale(("digits",), 1, 3, 1, (2,), "8steps")


def gathered(folder: Path, specs: dict[str, dict[str, str]], scale: Scale) -> Path:
    """The memory of a past made by chance."""
    place = folder / "past"
    for name, spec in specs.items():
        experience(
            LEARNER, spec["past"], tasks=scale.past, runs=scale.runs, each=scale.each, ways=FAMILIES[name].classes,
            shots=FAMILIES[name].shots, adviser="random", options=OPTIONS, memory=str(place), seed=SEED, workers=2,
            out=folder / f"out-{name}",
        )  # fmt: skip
    return place


def searched(asked: tuple[Path, str, str, int, Scale]) -> list[dict[str, Any]]:
    """Every way on a task, without a past and with it, each in a memory of its own."""
    folder, name, spec, target, scale = asked
    harness.on_one_core()
    data, shots, seed = asked_of(name, spec, target)
    rows = []
    for past in (NONE, RELATED):
        for budget in scale.budgets:
            for way, options in WAYS.items():
                with tempfile.TemporaryDirectory() as place:
                    memory = Path(place) / "memory"
                    if past == RELATED:
                        shutil.copytree(folder / "past", memory)
                    begun = time.perf_counter()
                    made = tune(
                        data, LEARNER, shots=shots, budget=f"{budget}runs", each=scale.each, options=OPTIONS, seed=seed,
                        memory=str(memory), out=Path(place) / "out", **options,
                    )  # fmt: skip
                rows.append({
                    "family": name, "target": target, "past": past, "budget": budget, "way": way,
                    "begun": len(made.trials), "seen": 100 * (made.best.score or 0.0),
                    "unseen": 100 * made.test["winner"].value, "seconds": time.perf_counter() - begun,
                })  # fmt: skip
    return rows


def main() -> None:
    started = time.perf_counter()
    scale = QUICK if harness.quick() else FULL
    with tempfile.TemporaryDirectory() as place, multiprocessing.get_context("spawn").Pool(2) as pool:
        folder = Path(place)
        specs = {name: parts(folder, name) for name in scale.families}
        gathered(folder, specs, scale)
        tasks = [
            (folder, name, specs[name]["now"], target, scale)
            for target in range(scale.targets)
            for name in scale.families
        ]
        details = [row for rows in pool.map(searched, tasks, chunksize=1) for row in rows]
    rows: list[dict[str, Any]] = []
    for past in (NONE, RELATED):
        for way in WAYS:
            row: dict[str, Any] = {"past": past, "way": way}
            for budget in scale.budgets:
                for score in ("seen", "unseen"):
                    row[f"{score}_{budget}"] = harness.interval(of(details, past, budget, way, score))
            own = of(details, past, scale.budgets[-1], way, "begun")
            spent = of(details, past, scale.budgets[-1], way, "seconds")
            rows.append(row | {"begun": sum(own) / len(own), "seconds": sum(spent) / len(spent)})
    most = scale.budgets[-1]
    harness.finish(
        "rungs",
        rows,
        columns={
            "past": "past", "way": "way",
            **{f"seen_{budget}": f"seen, {budget} runs' steps" for budget in scale.budgets},
            **{f"unseen_{budget}": f"unseen, {budget} runs' steps" for budget in scale.budgets},
            "begun": f"runs begun in the steps of {most}", "seconds": f"processor seconds, {most} runs",
        },
        seed=SEED,
        started=started,
        story=story(details, scale),
        details=details,
        threads=2,
    )  # fmt: skip


def of(details: list[dict[str, Any]], past: str, budget: int, way: str, field: str) -> list[float]:
    """A field over the tasks, in their order."""
    return [row[field] for row in details if (row["past"], row["budget"], row["way"]) == (past, budget, way)]


def story(details: list[dict[str, Any]], scale: Scale) -> str:
    """How it was measured, and what rungs gain over whole runs."""
    count = scale.targets * len(scale.families)
    lines = [
        f"Accuracy in percent of the best run's classifier, on the half of what is held back that the search looks at "
        f"and on the other; means over {count} tasks ({scale.targets} of each of {len(scale.families)} families, as in "
        f"`adviser-regret`) with 95% bootstrap intervals. A run takes {scale.each}, a rung is a quarter of it. A "
        f"search may take as many steps as {' or '.join(map(str, scale.budgets))} whole runs. The past are "
        f"{scale.past * len(scale.families)} tasks with {scale.runs} strategies each, drawn by chance.",
        "",
    ]
    for past in (NONE, RELATED):
        for budget in scale.budgets:
            gains = []
            for score in ("seen", "unseen"):
                both = [of(details, past, budget, way, score) for way in (RUNGS, WHOLE)]
                gains.append(f"{score} {harness.told(harness.difference(*both))}")
            lines.append(f"- rungs less whole runs of `metann`, past {past}, {budget} runs' steps: {', '.join(gains)}.")
    return "\n".join(lines)


if __name__ == "__main__":
    harness.run(main)
