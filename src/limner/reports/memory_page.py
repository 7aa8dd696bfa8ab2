"""The page of a whole memory: maps of tasks, leaderboards, advice against the default, knobs that matter, cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.memory.labels import HIGHER_IS_BETTER, META_LABEL
from limner.reports import memory_facts as facts
from limner.reports import words
from limner.reports.memory_figures import cost_plot, gain_plot, gains, knob_plot
from limner.reports.memory_knobs import Importance, importance
from limner.reports.memory_map import maps, short_kind
from limner.reports.page import environment, versions
from limner.types import Score

if TYPE_CHECKING:
    from limner.memory import Memory

MOST_LEARNERS = 8
"""Learners whose knobs are looked into: those with the most runs."""

GOALS = {
    "generate": "Making images", "classify": "Telling classes apart", "translate": "Translating images",
    "restore": "Restoring images", "regress": "Foretelling numbers", "cluster": "Finding clusters",
}  # fmt: skip


def write(memory: Memory, path: Path) -> Path:
    """Write the page of ``memory`` to ``path``, one file that asks for nothing from elsewhere; its path."""
    from limner.model_file import write_atomically

    with memory.database.reading() as session:
        known = facts.totals(session, memory)
        tasks, busiest = facts.mapped(session), facts.busiest(session)
        wanted = {task.sha256 for task in tasks} | {sha256 for rows in busiest.values() for sha256, _ in rows}
        best = facts.best(session, wanted)
        learners, followed = facts.by_learner(session), facts.followed(session)
        most = sorted(learners, key=lambda row: -row["runs"])[:MOST_LEARNERS]
        knobs = [importance(row["kind"], facts.tried(session, row["kind"])) for row in most]
    gained = gains(followed)
    page = (
        environment()
        .get_template("memory.html")
        .render(
            title="What has been learned so far" if learners else "A memory that is still empty",
            place=memory.location,
            known=known,
            tasks=sum(known["goals"].values()),
            runs=sum(known["states"].values()),
            time=_time(known["seconds"]),
            maps=maps(tasks, best),
            mapped=len(tasks),
            boards=[_board(goal, rows, best) for goal, rows in busiest.items()],
            advice=_advice(memory.advice()),
            gain=gain_plot(gained).svg() if gained else "",
            newest=facts.MOST_FOLLOWED if len(followed) == facts.MOST_FOLLOWED else 0,
            knobs=_knobs(knobs),
            learners=_learners(learners, facts.wins(best)),
            compared=len(best),
            cost=cost_plot(learners).svg() if known["seconds"] else "",
            sizes={"weights of models": _bytes(known["weights"]), "database": _bytes(known["database"])},
            versions=versions(),
        )
    )
    write_atomically(path, page.encode())
    return path


def _board(goal: str, rows: list[tuple[str, str]], best: dict[str, facts.Best]) -> dict[str, Any]:
    """A goal's tasks with the most runs, each with its best run beside the default."""
    metric = META_LABEL[goal]
    made = []
    for sha256, name in rows:
        one = best[sha256]
        value, interval, _ = words.shown(Score(one.value, one.low, one.high))
        ahead = one.default is not None and one.value != one.default
        made.append(
            {
                "task": words.title(name), "id": sha256[:12], "learner": short_kind(one.kind), "told": one.told,
                "score": value, "interval": interval, "runs": f"{one.runs:,}",
                "seconds": words.short_number(one.seconds),
                "default": "–" if one.default is None else words.short_number(one.default), "ahead": ahead,
            }
        )  # fmt: skip
    better = "higher" if metric in HIGHER_IS_BETTER else "lower"
    return {
        "title": GOALS.get(goal, goal), "metric": words.label(metric), "arrow": words.ARROWS[better], "rows": made,
        "meaning": words.MEANINGS[metric][1],
    }  # fmt: skip


def _advice(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "adviser": row["adviser"], "metric": words.label(row["metric"]), "followed": f"{row['followed']:,}",
            "failed": f"{row['failed']:,}", "compared": f"{row['compared']:,}",
            "better": "–" if row["better"] is None else f"{row['better']:.0%}",
            "regret": "–" if row["regret"] is None else words.short_number(row["regret"]),
        }
        for row in rows
    ]  # fmt: skip


def _knobs(found: list[Importance]) -> dict[str, Any]:
    return {
        "plots": [{"plot": knob_plot(one).svg(), "told": one.told} for one in found if one.knobs],
        "silent": [one for one in found if not one.knobs],
    }


def _learners(rows: list[dict[str, Any]], wins: dict[str, int]) -> list[dict[str, str]]:
    return [
        {
            "name": short_kind(row["kind"]), "runs": f"{row['runs']:,}", "unfinished": f"{row['unfinished']:,}",
            "tasks": f"{row['tasks']:,}", "wins": f"{wins.get(row['kind'], 0):,}", "time": _time(row["seconds"] or 0.0),
            "each": words.short_number((row["seconds"] or 0.0) / row["runs"]),
            "longest": words.short_number(row["longest"] or 0.0),
        }
        for row in rows
    ]  # fmt: skip


def _time(seconds: float) -> str:
    """A time in words.

    >>> _time(0.24), _time(12.3), _time(240), _time(9000)
    ('0.240 seconds', '12.3 seconds', '4.0 minutes', '2.5 hours')
    """
    for unit, each in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * each:
            return f"{seconds / each:,.1f} {unit}"
    return f"{words.short_number(seconds)} seconds"


def _bytes(count: int) -> str:
    """A size in words.

    >>> _bytes(0), _bytes(2_500_000)
    ('0 kB', '2.5 MB')
    """
    for unit, each in (("GB", 1e9), ("MB", 1e6)):
        if count >= each:
            return f"{count / each:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"
