"""What advice is worth: how far the best of 1, 3 and 10 runs stays behind the best known, by adviser, on tables.

Each table of scikit-learn is cut in two halves that share no row. Samples of the first half are the past: experience
is gathered on them by chance. Samples of the second half are the tasks to be advised on: ``related``, with all of the
past; and ``another family``, with the past of the other tables alone.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import torch

from limner.advisers import CATALOGUE, adviser
from limner.advisers.base import Case, Told, key
from limner.advisers.history import PastTask, past_tasks
from limner.memory import Memory
from limner.seeds import derive, generator
from limner.spaces.search import Search
from limner.tasks.tables import load_table
from limner.verbs.budget import Budget
from limner.verbs.experience import experience
from limner.verbs.trials import Asked, BlackBoxes

SEED = 0
AFTER = (1, 3, 10)
LEARNERS = ("sklearn.tree.DecisionTreeClassifier", "sklearn.svm.SVC", "sklearn.neighbors.KNeighborsClassifier")
FAMILIES = ("wine", "iris", "breast_cancer", "digits")
PAST, RUNS, TARGETS = 10, 30, 5
"""Past tasks of a family, strategies tried on each, and tasks of a family to be advised on."""

QUICK_LEARNERS, QUICK_FAMILIES, QUICK = LEARNERS[:1], FAMILIES[:2], (2, 8, 1)

BASELINES = ("random search", "cold TPE", "default")
"""What advice is held against: samplers that know neither the default nor the past, and the default alone."""

Trying = Callable[[dict[str, Any]], Told]


def halves(folder: Path, families: tuple[str, ...]) -> None:
    """Write each table as two CSV files whose rows are disjoint: ``NAME-past.csv`` and ``NAME-now.csv``."""
    for name in families:
        table = load_table(f"sklearn:{name}")
        assert table.labels is not None  # all of them are of classes
        order = torch.randperm(len(table), generator=generator(SEED, "halves", name))
        for part, places in (("past", order[: len(table) // 2]), ("now", order[len(table) // 2 :])):
            with (folder / f"{name}-{part}.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow([*(f"column {place}" for place in range(table.inputs.shape[1])), "target"])
                for place in places.tolist():
                    writer.writerow([*table.inputs[place].tolist(), f"class {int(table.labels[place])}"])


def spec_of(folder: Path, family: str, part: str) -> str:
    """The data spec of one half of a table."""
    return f"csv:{folder / f'{family}-{part}.csv'},target=target"


def runs_of(subject: BlackBoxes) -> Trying:
    """What trying values on the task gives; the same values are tried once."""
    known: dict[str, Told] = {}

    def tried(values: dict[str, Any]) -> Told:
        if key(values) not in known:
            made = subject.attempt(values, lambda _rung, _score: False, "")
            assert made.scores is not None
            known[key(values)] = Told(values, made.scores.values["accuracy"].value, made.cost.seconds)
        return known[key(values)]

    return tried


def proposed(name: str, case: Case, trying: Trying) -> Iterator[Told]:
    """What came of the runs that an adviser or a baseline proposes, one after the other."""
    if name in ("random search", "cold TPE"):
        search = Search(case.space, "tpe" if name == "cold TPE" else "random", case.seed, case.higher)
        for number in range(AFTER[-1]):
            trial = search.propose(number)
            if trial is None:
                return
            told = trying(trial.values)
            search.observe(trial, told.score)
            yield told
        return
    advising = adviser(name, case)
    for number in range(AFTER[-1]):
        proposal = advising.propose(AFTER[-1] - number)
        if proposal is None:
            return
        told = trying(proposal.values)
        advising.observe(told)
        yield told


def advised(names: list[str], case: Case, trying: Trying) -> dict[str, list[float]]:
    """By name, the best score after each number of runs."""
    found = {}
    for name in names:
        scores = [told.score or 0.0 for told in proposed(name, case, trying)]
        found[name] = [max(scores[:count]) for count in AFTER]
    return found


def kept(past: tuple[PastTask, ...], family: str, setting: str) -> tuple[PastTask, ...]:
    """The past that the setting allows."""
    return past if setting == "related" else tuple(task for task in past if f"{family}-past" not in task.name)


def measured(folder: Path, learners: tuple[str, ...], families: tuple[str, ...], sizes: tuple[int, int, int]) -> Any:
    """Regrets in points of accuracy: by setting and name, a list over tasks of one for each number of runs."""
    past, runs, targets = sizes
    names = [*BASELINES, *(name for name in CATALOGUE if name not in BASELINES)]
    regrets: dict[tuple[str, str], list[list[float]]] = {}
    details = []
    for learner in (f"estimator:{name}" for name in learners):
        place = str(folder / f"memory-{learner.rpartition('.')[2]}")
        experience(
            learner, "; ".join(spec_of(folder, family, "past") for family in families), tasks=past * len(families),
            runs=runs, adviser="random", memory=place, out=folder / f"out-{learner.rpartition('.')[2]}", seed=SEED,
        )  # fmt: skip
        with Memory.open(place) as memory:
            for family in families:
                spec, rows = spec_of(folder, family, "now"), len(load_table(spec_of(folder, family, "now")))
                for target in range(targets):
                    seed = derive(SEED, "target", target) % 2**31
                    shots = int(rows * (0.25, 0.4, 0.55)[target % 3])
                    subject = BlackBoxes(Asked(spec, learner, shots, None, "scratch", Budget(), {}, {}, seed))
                    described, trying = subject.fingerprint(), runs_of(subject)
                    known = past_tasks(memory, "classify", described, learner, subject.space, subject.values)
                    found = {}
                    for setting in ("related", "another family"):
                        allowed = kept(known, family, setting)
                        case = Case(subject.space, True, seed, described, allowed)
                        found[setting] = advised(names, case, trying), [task.similarity for task in allowed[:1]]
                    best = max(max(scores) for told, _ in found.values() for scores in told.values())
                    for setting, (told, similarity) in found.items():
                        for name, scores in told.items():
                            behind = [100 * (best - score) for score in scores]
                            regrets.setdefault((setting, name), []).append(behind)
                            details.append(
                                {"learner": learner, "family": family, "target": target, "setting": setting,
                                 "adviser": name, "regret": behind, "best": best, "similarity": similarity}
                            )  # fmt: skip
                    print(f"{learner} {family} {target}: best {best:.3f}", flush=True)
    return regrets, details


def told_of(regrets: dict[tuple[str, str], list[list[float]]]) -> str:
    """What the table says of the two goals: one advised run against ten of cold TPE, and no harm."""
    lines = []
    tpe = [task[-1] for task in regrets["related", "cold TPE"]]
    default = [task[0] for task in regrets["another family", "default"]]
    for name in CATALOGUE:
        if name == "default":
            continue
        early = harness.difference([task[0] for task in regrets["related", name]], tpe, SEED)
        harm = harness.difference([task[0] for task in regrets["another family", name]], default, SEED)
        lines.append(
            f"- {name}: its first run on related tasks less the best of ten of cold TPE: {harness.told(early)}; "
            f"on another family, its first run less the default: {harness.told(harm)}."
        )
    return (
        "Points of accuracy behind the best that anyone found on the task, the smaller the better; means over tasks "
        "with 95% bootstrap intervals. Scores are those that the advisers see: of the part held back for the search. "
        "*Random search* and *cold TPE* know neither past nor default; *random* begins with the default.\n\n"
        + "\n".join(lines)
    )


def main() -> None:
    """Measure, and write it down."""
    started = time.perf_counter()
    torch.set_num_threads(1)
    small = harness.quick()
    learners, families = (QUICK_LEARNERS, QUICK_FAMILIES) if small else (LEARNERS, FAMILIES)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        halves(folder, families)
        regrets, details = measured(folder, learners, families, QUICK if small else (PAST, RUNS, TARGETS))
    rows = [
        {"setting": setting, "adviser": name}
        | {
            f"after {count}": harness.interval([task[place] for task in tasks], SEED)
            for place, count in enumerate(AFTER)
        }
        for (setting, name), tasks in regrets.items()
    ]
    columns = {"setting": "past", "adviser": "adviser"} | {
        f"after {count}": f"regret after {count} run{'s' if count > 1 else ''}" for count in AFTER
    }
    harness.finish(
        "adviser-regret", rows, columns=columns, seed=SEED, started=started, story=told_of(regrets), details=details
    )


if __name__ == "__main__":
    harness.run(main)
