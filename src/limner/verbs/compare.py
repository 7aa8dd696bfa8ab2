"""Runs side by side: one page, one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import LimnerError
from limner.verbs import directories
from limner.verbs.line import task_of
from limner.verbs.load import load

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.reports.page import Arm
    from limner.tasks import Task


class Comparison(NamedTuple):
    """The page, one row of plain data for each run, and what to bear in mind on reading them."""

    page: Path
    rows: list[dict[str, Any]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return {"page": str(self.page), "rows": self.rows, "notes": self.notes}


def compare(
    runs: Sequence[str], *, out: str | Path | None = None, memory: str | None = None, force: bool = False
) -> Comparison:
    """Put runs side by side on one page (``index.html`` in ``out``; ``None``: a new directory in ``runs``).

    runs  run directories, or runs of the memory; at least two

    Scores of different tasks or features cannot be held against each other; the notes say so where that is the case.
    Raises :class:`LimnerError` for fewer than two runs, one that cannot be loaded, or an ``out`` that exists.
    """
    if len(runs) < 2:
        raise LimnerError(f"a comparison needs at least two runs; {len(runs)} was given")
    directory = directories.claim(out, "comparison", force, *runs)
    loaded = {name: load(reference, memory=memory) for name, reference in zip(names_of(runs), runs, strict=True)}
    for name, run in loaded.items():
        if not {"sample", "translate", "restore"} & set(run.learner.answers):
            raise LimnerError(
                f"{name} is a {run.learner.kind}, which makes no images to look at side by side; hold the scores of "
                "such runs against each other by: limner memory list runs"
            )
    tasks: dict[str, Task | None] = {}
    unknown = []
    for name, run in loaded.items():
        try:
            tasks[name] = task_of(run.lineage.get("directory", name))
        except LimnerError as reason:
            tasks[name] = None
            unknown.append(f"{name} is shown without its images: {reason}")
    directories.begin(directory, {"verb": "compare", "runs": list(runs)})
    about = {run.task_name for run in loaded.values()}
    story = f"{len(loaded)} runs on {about.pop()}." if len(about) == 1 else f"{len(loaded)} runs on {len(about)} tasks."
    made = compared(directory / "index.html", loaded, tasks, "Runs side by side", story)
    return made._replace(notes=made.notes + unknown)


def names_of(runs: Sequence[str]) -> list[str]:
    """What to call each run: its directory's own name, or all of what was given where that is not enough.

    >>> names_of(["runs/cats", "runs/dogs/"]), names_of(["a/cats", "b/cats"])
    (['cats', 'dogs'], ['a/cats', 'b/cats'])
    """
    short = [Path(run).name for run in runs]
    names = short if len(set(short)) == len(runs) else list(runs)
    if len(set(names)) < len(names):
        raise LimnerError(
            f"{next(name for name in names if names.count(name) > 1)} was given twice; name each run once"
        )
    return names


def compared(
    path: Path, runs: Mapping[str, Run], tasks: Mapping[str, Task | None], title: str, story: str
) -> Comparison:
    """Write the page at ``path`` for the runs, whose tasks are given where they are known."""
    from limner.reports import page

    rows = [
        {
            "name": name,
            "task": run.task_name,
            "learner": run.learner.kind,
            "start": run.strategy.start,
            "state": run.state,
            "steps": run.cost.steps,
            "seconds": run.cost.seconds,
            "scores": {} if run.scores is None else run.scores.plain(),
            "extractor": "" if run.scores is None else run.scores.extractor,
        }
        for name, run in runs.items()
    ]
    known = {task.sha256: task for task in tasks.values() if task is not None}
    same = next(iter(known.values())) if len(known) == 1 and None not in tasks.values() else None
    arms = [arm_of(name, run, tasks[name]) for name, run in runs.items()]
    query = None if same is None else same.query
    support, one_task = None if same is None else same.support, not of_different_tasks(list(runs.values()))
    page.write_comparison(path, arms, title, story, support, query, one_task)
    return Comparison(path, rows, cautions(list(runs.values())))


def arm_of(name: str, run: Run, task: Task | None = None) -> Arm:
    """The run as the page shows it: by samples, or a translator by what it makes of its task's inputs."""
    from limner.reports import words
    from limner.reports.page import Arm
    from limner.verbs.restoration import restored
    from limner.verbs.translation import translations

    explanation = f"{words.learner_in_words(run.learner)}, {words.start_in_words(run.strategy, run.lineage)}"
    if "restore" in run.learner.answers and task is not None:
        _, samples = restored(run.learner, run.params, task)
    elif "translate" in run.learner.answers and task is not None:
        _, samples = translations(run.learner, run.params, task)
    else:
        samples = run.sample(64, seed=run.seed)
    return Arm(name, explanation, samples, run.scores, run.curve, run.cost, run.strategy, run.notes)


def of_different_tasks(runs: Sequence[Run]) -> bool:
    """Whether the runs were not all of one task."""
    return len({(run.task_name, str(run.task)) for run in runs}) > 1


def cautions(runs: Sequence[Run]) -> list[str]:
    """What to bear in mind on reading the runs' scores side by side."""
    said = []
    if of_different_tasks(runs):
        said.append("these runs are on different tasks, so their scores cannot be held against each other")
    if len({run.scores.extractor for run in runs if run.scores is not None}) > 1:
        said.append("these scores were measured in different features, so they cannot be held against each other")
    if len({run.cost.steps for run in runs}) > 1:
        said.append("these runs took different numbers of steps")
    said += [f"{run.task_name}: not scored" for run in runs if run.scores is None]
    return said
