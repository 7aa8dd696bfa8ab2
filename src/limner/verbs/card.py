"""The card of any model that the memory keeps, also where its run's directory is long gone."""

from __future__ import annotations

from typing import Any

from limner.types import Scores


def card(reference: str, *, memory: str | None = None, licence: str = "unknown") -> str:
    """The model card, as Markdown, of the run or model that ``reference`` names; see :func:`limner.load`.

    memory   where the memory lies (``None``: in the user's data folder)
    licence  of the weights, as the Hugging Face Hub names it

    Raises :class:`LimnerError` where there is no such thing.
    """
    from limner.memory import Memory
    from limner.reports.card import text
    from limner.verbs.load import load

    run = load(reference, memory=memory)
    scores = run.scores
    if scores is None and "model" in run.lineage and not reference.startswith(("hf:", "shipped:")):
        with Memory.open(memory) as remembered:
            record = remembered.show(run.lineage.get("run", run.lineage["model"]))
            scores = _scores(record)
            if record["what"] == "run":
                run.task = {"support": _learned(remembered.show(remembered.show(record["task"])["support"]))}
    return text(run, scores, licence, place=reference)


def _scores(record: dict[str, Any]) -> Scores | None:
    """Scores as the memory tells of them: those on the same features as the first."""
    told = record["scores"]
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


def _learned(images: dict[str, Any]) -> dict[str, Any]:
    known = {"count": images["images"], "sha256": images["sha256"], "licence": images["licence"]}
    return {name: value for name, value in known.items() if value}
