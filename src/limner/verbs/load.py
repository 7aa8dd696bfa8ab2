"""A run by its directory, or by what the memory calls it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.config import Strategy
from limner.errors import LimnerError
from limner.types import Cost, Scores
from limner.verbs import hub
from limner.verbs.directories import request_of, verb_of, wrote

if TYPE_CHECKING:
    from limner.engine import Run


def load(reference: str | Path, *, memory: str | None = None) -> Run:
    """The run in a directory, or the run or model of the memory that ``reference`` names; ``run.sample(16)`` uses it.

    reference  a run directory, or that of a search, what it advises; the beginning of a run's id or a model's
               sha256; a name; ``shipped:NAME``; or ``hf:NAME/NAME`` on the Hugging Face Hub (:func:`limner.push`)
    memory     where the memory lies (``None``: in the user's data folder)

    Raises :class:`LimnerError` where there is no such thing, or it is damaged.
    """
    from limner.engine import Run
    from limner.learners import rebuild
    from limner.memory import Memory

    called = str(reference)
    if Path(reference).is_dir():
        if verb_of(Path(reference)) == "meta-train":
            raise LimnerError(
                f"{called} holds a start, which is adapted first: limner adapt GOAL DATA --start {called}"
            )
        if verb_of(Path(reference)) != "tune":
            return of_directory(Path(reference))
        called = run_of_search(Path(reference))
    if called.startswith(hub.PREFIX):
        return hub.load(called)
    with Memory.open(memory) as remembered:
        try:
            model = remembered.get_model(called)
        except LimnerError as unknown:
            raise LimnerError(f"{called} is no run directory, and {unknown}") from unknown
        runs = model.metadata.get("runs") or []
        named = next((run for run in runs if run.startswith(called)), runs[0] if runs else None)
        record = None if named is None else remembered.show(named)
        place = None if record is None else record["directory"]
        if (
            place
            and record
            and Path(place).is_dir()
            and wrote(Path(place))
            and request_of(Path(place)).get("run") == named
        ):
            return of_directory(Path(place))
        task = None if record is None else remembered.show(record["task"])
        learned = None if task is None else remembered.show(task["support"])
    learner, made = rebuild(model.learner_description), {"model": model.sha256}
    if record is None or task is None or learned is None:
        name = f"the model {model.metadata.get('name') or model.sha256[:12]}"
        scores = _scores(model.metadata)
        return Run(learner, name, "", Strategy(), 0, model.params, state="finished", scores=scores, lineage=made)
    return Run(
        learner,
        record["task_name"],
        task["source"],
        Strategy.from_json(record["strategy"]),
        record["seed"],
        model.params,
        state=record["state"],
        scores=_scores(record),
        cost=Cost(record["seconds"], record["steps"], record["threads"]),
        lineage=_lineage(record) | made,
        task={"support": _known(learned)},
    )


def _lineage(record: dict[str, Any]) -> dict[str, Any]:
    """Where a run of the memory came from; its directory is no longer what it was."""
    known = {name: value for name, value in (record["lineage"] or {}).items() if name != "directory"}
    return known | {"run": record["id"]}


def _known(images: dict[str, Any]) -> dict[str, Any]:
    """What the memory knows of the images learned from, as a run tells it."""
    known = {"count": images["images"], "sha256": images["sha256"], "licence": images["licence"]}
    return {name: value for name, value in known.items() if value}


def _scores(record: dict[str, Any]) -> Scores | None:
    """Scores as the memory tells of them: those on the same features as the first; ``None`` where there are none."""
    told = record.get("scores")
    if not told:
        return None
    by = {name: value for name, value in next(iter(told.values())).items() if name not in _OF_ONE}
    values = {
        metric: {name: score[name] for name in _OF_ONE}
        for metric, score in told.items()
        if score["extractor"] == by["extractor"]
    }
    return Scores.from_json({**by, "values": values, "notes": record.get("notes", ())})


_OF_ONE = ("value", "low", "high", "floor")


def run_of_search(place: Path) -> str:
    """The id of the run that the directory of a search stands for: its winner, or the default where it advises that.

    Raises :class:`LimnerError` where there is none yet, or it is that of an estimator, which is no run.
    """
    from limner.verbs.tune import winner_of

    best = winner_of(place)
    if "recipe" in best:
        raise LimnerError(f"the winner of the search in {place} is an estimator; limner predict {place} DATA uses it")
    return str(best["id"])


def of_directory(place: Path) -> Run:
    """The run in the directory ``place``, which its lineage then names, wherever it lay before."""
    from limner.engine import Run

    run = Run.load(place)
    run.lineage["directory"] = str(place)
    return run
