"""What advice is worth: how far the best of 1, 3, 10 and 30 runs stays behind the best known, by adviser; on the part
held back that the search looks at, and on the part that it never sees.

Families are characters, digits, clothing, tiles, degradations and tables of scikit-learn. Each is cut in two parts that
share no image and no row (``adviser_families``). Of the first part ``limner meta-train experience`` makes the past, by
chance; tasks of the second are to be advised on: ``related``, with all of the past, and ``another family``, with the
past of all families but theirs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
import torch
from adviser_families import FAMILIES, SEED, SIDE, asked_of, parts
from PIL import Image

from limner.advisers import CATALOGUE, adviser
from limner.advisers.base import Adviser, Case, Proposal, Told, key
from limner.advisers.history import past_tasks
from limner.memory import Memory
from limner.memory.thumbnails import thumbnails
from limner.spaces.search import Search, Trial
from limner.tasks.held import reading_once
from limner.verbs.budget import Budget
from limner.verbs.experience import experience
from limner.verbs.trials import Asked, BlackBoxes

AFTER = (1, 3, 10, 30)
LEARNERS = ("sklearn.tree.DecisionTreeClassifier", "sklearn.svm.SVC")


class Scale(NamedTuple):
    """How much there is to go through: strategies tried on each past task, tasks of a family to be advised on."""

    learners: tuple[str, ...]
    families: tuple[str, ...]
    most: int
    runs: int
    targets: int


FULL = Scale(LEARNERS, tuple(FAMILIES), 10, 25, 3)
QUICK = Scale(LEARNERS[:1], ("digits", "clothing", "iris"), 6, 8, 1)

COLD = {"random search": "random", "cold TPE": "tpe"}
BASELINES = ("default", *COLD)
"""What advice is held against: the default alone, and samplers that know neither the default nor the past."""

ADVISERS = tuple(name for name in CATALOGUE if name not in ("default", "random"))
SLOW = ("metann", "metacnn")
"""Advisers that learn a network before each proposal: they are asked for no more runs than ``FEWER``."""

FEWER = 10
NONE, RELATED, OTHER = "none", "related", "another family"
SEEN, UNSEEN = "regret", "unseen"
SHOWN = {SEEN: AFTER, UNSEEN: (1, 3, 10)}
"""After how many runs the table tells of scores on the part that the search looks at, and on the one it never sees."""


# ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def task_of(name: str, spec: str, learner: str, target: int) -> BlackBoxes:
    """A task of the family's second part: some of its classes, or of its rows."""
    data, shots, seed = asked_of(name, spec, target)
    return BlackBoxes(Asked(data, learner, shots, None, "scratch", Budget(), {}, {}, seed))


def gathered(folder: Path, learner: str, specs: dict[str, dict[str, str]], scale: Scale) -> tuple[str, int]:
    """Make the past of all families by chance; where its memory lies, and how many tasks it has."""
    place, tasks = str(folder / f"memory-{learner.rpartition('.')[2]}"), 0
    for name, spec in specs.items():
        family = FAMILIES[name]
        made = experience(
            learner, spec["past"], tasks=min(family.past, scale.most), runs=scale.runs, ways=family.classes or 5,
            shots=family.shots or None, adviser="random", memory=place, seed=SEED,
            out=folder / f"out-{learner.rpartition('.')[2]}-{name}",
        )  # fmt: skip
        tasks += len(made.rows)
    return place, tasks


# ── Advice ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Cold(Adviser):
    """One of Optuna's samplers that knows neither the past nor the default."""

    def __init__(self, case: Case, sampler: str) -> None:
        super().__init__(case)
        self.search = Search(case.space, sampler, case.seed, case.higher)
        self._asked: Trial | None = None

    def propose(self, left: int | None = None) -> Proposal | None:
        return self._next(left)

    def _next(self, left: int | None) -> Proposal | None:
        self._asked = self.search.propose(len(self.told))
        return None if self._asked is None else Proposal(self._asked.values, self.search.sampler, "by the sampler")

    def observe(self, told: Told) -> None:
        super().observe(told)
        assert self._asked is not None
        self.search.observe(self._asked, told.score)


def made(name: str, case: Case) -> Adviser:
    """The adviser or the baseline of that name."""
    return Cold(case, COLD[name]) if name in COLD else adviser(name, case)


class Trying:
    """Trying values on a task; the same values are tried once. ``seconds``: of the processor, that it took so far."""

    def __init__(self, subject: BlackBoxes, memory: Memory) -> None:
        self.subject, self.memory, self.seconds = subject, memory, 0.0
        self._known: dict[str, Told] = {}
        self._unseen: dict[str, float] = {}

    def __call__(self, values: dict[str, Any]) -> Told:
        if key(values) not in self._known:
            begun = time.process_time()
            outcome = self.subject.attempt(values, lambda _rung, _score: False, "")
            seconds = time.process_time() - begun
            assert outcome.scores is not None
            self._known[key(values)] = Told(values, outcome.scores.values["accuracy"].value, seconds)
            self.seconds += seconds
        return self._known[key(values)]

    def unseen(self, values: dict[str, Any]) -> float:
        """The score of the values on the part held back that no search looks at."""
        if key(values) not in self._unseen:
            examined = self.subject.examine({"learner": self.subject.described(values)[0]}, self.memory)
            assert examined.scores is not None
            self._unseen[key(values)] = examined.scores.values["accuracy"].value
        return self._unseen[key(values)]


def followed(name: str, case: Case, trying: Trying) -> tuple[list[Told], float]:
    """The best after each run, and the seconds of the processor that a proposal took.

    Where proposals end, the best stays; an adviser that thinks long is asked for fewer runs, and its list is shorter.
    """
    begun, tried, runs = time.process_time(), trying.seconds, FEWER if name in SLOW else AFTER[-1]
    best: list[Told] = []
    advising, asked = made(name, case), 0
    for number in range(runs):
        proposal = advising.propose(runs - number)
        if proposal is None:
            break
        told = trying(proposal.values)
        advising.observe(told)
        asked += 1
        best.append(max([*best[-1:], told], key=score_of))
    thought = time.process_time() - begun - (trying.seconds - tried)
    return best + best[-1:] * (runs - len(best)), thought / asked


def score_of(told: Told) -> float:
    """The score of a run, on the part that the search looks at."""
    return told.score or 0.0


def measured(folder: Path, scale: Scale) -> tuple[list[dict[str, Any]], int]:
    """A row for each learner, task, past and adviser: points of accuracy behind the best that anyone found on the task,
    after each run (``regret``), and the same of the same runs on the part that no search looked at (``unseen``); and
    how many past tasks a learner has."""
    specs = {name: parts(folder, name) for name in scale.families}
    rows, tasks = [], 0
    for learner in (f"estimator:{name}" for name in scale.learners):
        place, tasks = gathered(folder, learner, specs, scale)
        with Memory.open(place) as memory, reading_once():
            for name, spec in specs.items():
                for target in range(scale.targets):
                    subject = task_of(name, spec["now"], learner, target)
                    rows += on_task(subject, memory, name, target)
                    print(f"{learner} {name} {target}: best {rows[-1]['best']:.3f}", flush=True)
    return rows, tasks


def on_task(subject: BlackBoxes, memory: Memory, family: str, target: int) -> list[dict[str, Any]]:
    """What every adviser comes to on one task, with every past."""
    described, trying = subject.fingerprint(), Trying(subject, memory)
    known = past_tasks(memory, "classify", described, subject.kind, subject.space, subject.values)
    foreign = tuple(task for task in known if f"{family}-past" not in task.name)
    shown = thumbnails(getattr(subject.task.support, "images", None))
    rows: list[dict[str, Any]] = []
    for past, tasks, names in ((NONE, (), BASELINES), (RELATED, known, ADVISERS), (OTHER, foreign, ADVISERS)):
        case = Case(subject.space, True, subject.seed, described, tasks, shown)
        similar = tasks[0].similarity if tasks else None
        for name in names:
            after, thought = followed(name, case, trying)
            rows.append(
                {"learner": subject.kind, "family": family, "target": target, "past": past, "adviser": name,
                 "after": after, "thinking": 1000 * thought, "similar": similar, "related": len(case.related)}
            )  # fmt: skip
    best = max((row["after"][-1] for row in rows), key=score_of)
    for row in rows:
        after = row.pop("after")
        row |= {
            "best": score_of(best),
            SEEN: [round(100 * (score_of(best) - score_of(told)), 3) for told in after],
            UNSEEN: [round(100 * (trying.unseen(best.values) - trying.unseen(told.values)), 3) for told in after],
        }
    return rows


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def regrets(rows: list[dict[str, Any]], past: str, name: str, after: int, on: str = SEEN) -> list[float]:
    """Regret after so many runs, one for each learner and task; empty where the adviser was not asked for as many."""
    own = [row[on] for row in rows if row["past"] == past and row["adviser"] == name]
    return [each[after - 1] for each in own if len(each) >= after]


def shown(rows: list[dict[str, Any]], after: dict[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    """A row of the table for each past and adviser."""
    found = []
    for past, name in dict.fromkeys((row["past"], row["adviser"]) for row in rows):
        row: dict[str, Any] = {"past": past, "adviser": name}
        for on, count in ((on, count) for on, counts in after.items() for count in counts):
            own = regrets(rows, past, name, count, on)
            row[f"{on} after {count}"] = harness.interval(own, SEED) if own else None
        thinking = [each["thinking"] for each in rows if (each["past"], each["adviser"]) == (past, name)]
        found.append(row | {"thinking": sum(thinking) / len(thinking)})
    return found


def told_of(rows: list[dict[str, Any]], scale: Scale, tasks: int) -> str:
    """How it was measured, and what the table says of the two goals: one run against ten of cold TPE, and no harm."""
    lines = []
    for name in ADVISERS:
        first, on_unseen, gain, harm = (
            harness.told(harness.difference(regrets(rows, past, name, 1, on), regrets(rows, NONE, other, after, on)))
            for past, on, other, after in ((RELATED, SEEN, "cold TPE", 10), (RELATED, UNSEEN, "cold TPE", 10),
                                           (RELATED, UNSEEN, "default", 1), (OTHER, UNSEEN, "default", 1))
        )  # fmt: skip
        lines.append(
            f"- {name}: its first run on related tasks less the best of ten of cold TPE {first}, on what no search "
            f"saw {on_unseen}, there less the default {gain}; with the past of other families, there less the "
            f"default {harm}."
        )
    names = ", ".join(name.rpartition(".")[2] for name in scale.learners)
    return (
        f"Points of accuracy behind the best that anyone found on the task, the smaller the better; means over "
        f"{len(regrets(rows, NONE, 'default', 1))} tasks ({scale.targets} of each of {len(scale.families)} families, "
        f"for each of {names}) with 95% bootstrap intervals. *Regret* is of the scores that the advisers see, on the "
        "half of what is held back that the search looks at: the best of many looks has had luck there, which one run "
        "has not. *Unseen* is of the same runs on the other half: how far the one that looked best is behind the one "
        f"that looked best to anyone. Each learner's past are {tasks} tasks with {scale.runs} strategies each, drawn "
        f"by `limner meta-train experience --adviser random`; images are grey, {SIDE} pixels wide. Characters, tiles "
        "and degradations to be advised on are of alphabets, folders and kinds that the past does not have. *Thinking* "
        f"is what a proposal takes of the processor; {' and '.join(SLOW)} learn networks for each, so they were asked "
        f"for {FEWER} runs. *Random search* and *cold TPE* know neither past nor default.\n\n" + "\n".join(lines)
    )


def picture(rows: list[dict[str, Any]]) -> Image.Image:
    """Mean regret against runs, a line for each adviser, with each past."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    titles = {RELATED: "with related tasks in the past", OTHER: "with other families alone in the past"}
    for axis, (past, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for place, (of, name) in enumerate(
            [*((NONE, name) for name in BASELINES), *((past, name) for name in ADVISERS)]
        ):
            own = [row["regret"] for row in rows if row["past"] == of and row["adviser"] == name]
            style: dict[str, Any] = {"color": f"C{place - len(BASELINES)}", "marker": "o", "markersize": 2.5}
            if of == NONE:
                style = {"color": "0.35", "linestyle": ("-", ":", "--")[place]}
            axis.plot(range(1, len(own[0]) + 1), np.mean(own, axis=0), label=name, **style)
        axis.set_xscale("log")
        axis.set_xticks(AFTER, [str(count) for count in AFTER])
        axis.minorticks_off()
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("runs")
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylim(bottom=0)
    figure.axes[0].set_ylabel("points of accuracy behind the best")
    figure.axes[1].legend(fontsize=8)
    return harness.drawn(figure)


def main() -> None:
    """Measure, and write it down."""
    started = time.perf_counter()
    torch.set_num_threads(1)
    scale = QUICK if harness.quick() else FULL
    with tempfile.TemporaryDirectory() as place:
        rows, tasks = measured(Path(place), scale)
    columns = {"past": "past", "adviser": "adviser"} | {
        f"{on} after {count}": f"{on} after {count} run{'s' if count > 1 else ''}"
        for on, counts in SHOWN.items() for count in counts
    }  # fmt: skip
    details = [
        row | {on: [row[on][count - 1] for count in AFTER if count <= len(row[on])] for on in SHOWN} for row in rows
    ]
    harness.finish(
        "adviser-regret",
        shown(rows, SHOWN),
        columns=columns | {"thinking": "thinking, ms"},
        seed=SEED,
        started=started,
        pictures=[harness.Picture("runs", picture(rows), "Points of accuracy behind the best known on a task against "
                                  "runs, by adviser: with related tasks in the past, and with other families alone")],
        story=told_of(rows, scale, tasks),
        details=details,
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
