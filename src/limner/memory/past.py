"""What did best on tasks like this one, for a search to begin with: only where the likeness was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from limner.config import Strategy
from limner.memory import lookup
from limner.memory.adviser import HIGHER_IS_BETTER, META_LABEL, REACH
from limner.memory.fingerprints import Fingerprint
from limner.memory.schema import CurveRow, EvaluationRow, FingerprintRow, LearnerRow, RunRow, StrategyRow, TaskRow
from limner.memory.store import Memory

LIKE = 0.3
"""Tasks less similar than this lend nothing: the past of unrelated tasks harms."""

NEAREST = 5
"""Tasks whose best strategy is taken, at most."""


@dataclass(frozen=True)
class Past:
    """The best run of a learner on a similar task: with its options and strategy, and how similar the task is."""

    run: str
    task_name: str
    similarity: float
    score: float
    options: dict[str, Any]
    strategy: Strategy


def best_of_similar(memory: Memory, goal: str, described: Fingerprint, learner: str, but: str = "") -> list[Past]:
    """The best finished run of the kind ``learner`` on each similar task of the goal, the most similar task first.

    Similarity is exp(−(d / REACH)²) of the distance d of fingerprints, as the adviser's; below :data:`LIKE` a task is
    left out. Runs whose name begins with ``but`` are left out too.
    """
    metric = META_LABEL[goal]
    query = (
        select(RunRow, EvaluationRow.value, LearnerRow, StrategyRow, TaskRow.name, FingerprintRow.content)
        .join(EvaluationRow, EvaluationRow.owner == RunRow.id)
        .join(LearnerRow, LearnerRow.sha256 == RunRow.learner_sha256)
        .join(StrategyRow, StrategyRow.sha256 == RunRow.strategy_sha256)
        .join(TaskRow, TaskRow.sha256 == RunRow.task_sha256)
        .join(FingerprintRow, FingerprintRow.task_sha256 == TaskRow.sha256)
        .where(TaskRow.goal == goal, LearnerRow.kind == learner, RunRow.state == "finished")
        .where(EvaluationRow.metric == metric, FingerprintRow.features == described.features)
    )
    if but:
        query = query.where(RunRow.name.not_like(f"{but}%"))
    best: dict[str, Past] = {}
    with memory.database.reading() as session:
        for run, score, made, strategy, name, content in session.execute(query):
            similarity = math.exp(-((described.distance(Fingerprint.from_json(content)) / REACH) ** 2))
            if similarity < LIKE:
                continue
            found = Past(run.id, name, similarity, score, made.options, Strategy.from_json(strategy.content))
            known = best.get(run.task_sha256)
            better = known is None or (score > known.score if metric in HIGHER_IS_BETTER else score < known.score)
            if better:
                best[run.task_sha256] = found
    return sorted(best.values(), key=lambda past: (-past.similarity, past.run))[:NEAREST]


def runs_called(memory: Memory, beginning: str) -> list[dict[str, Any]]:
    """The records of all runs whose name begins so, with their ``curve``, in the order of their names and times."""
    with memory.database.reading() as session:
        rows = session.scalars(
            select(RunRow)
            .where(RunRow.name.startswith(beginning, autoescape=True))
            .order_by(RunRow.name, RunRow.created)
        )
        found = []
        for row in rows:
            curve = session.get(CurveRow, row.id)
            found.append(lookup.run_record(session, row) | {"curve": [] if curve is None else curve.points})
        return found
