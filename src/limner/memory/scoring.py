"""How good advice was: what was followed, held against the default on the same task."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from limner.memory.labels import HIGHER_IS_BETTER, META_LABEL
from limner.memory.liveness import failed as failed_of_itself
from limner.memory.schema import EvaluationRow, LearnerRow, RecommendationRow, RunRow, TaskRow

DEFAULT = "default"
"""The source of advice that is the default."""


class _Followed(NamedTuple):
    source: str
    metric: str
    where: tuple[str, str, str]
    score: float


def scored(session: Session) -> list[dict[str, Any]]:
    """A row for each adviser (``source``) and meta-label, the most followed first.

    followed  runs that tried its advice and were scored; ``failed``: those that failed. What was stopped by hand, or
              had nothing to be judged on, is neither
    compared  those of them on whose task the default was tried as well, with the same kind of learner and features;
              the default is not compared with itself
    better    the share of these that did better than the default; equal ones count half
    regret    by how much, in the mean over these, the score was worse than the default's: below 0 = better; ``None``
              where none can be compared
    """
    query = (
        select(RecommendationRow.source, TaskRow.goal, TaskRow.sha256, LearnerRow.kind, RunRow)
        .join(TaskRow, TaskRow.sha256 == RecommendationRow.task_sha256)
        .join(LearnerRow, LearnerRow.sha256 == RecommendationRow.learner_sha256)
        .join(RunRow, RunRow.id == RecommendationRow.outcome_run)
    )
    scores: dict[tuple[str, str], tuple[float, str]] = {
        (row.owner, row.metric): (row.value, row.extractor)
        for row in session.scalars(
            select(EvaluationRow)
            .join(RecommendationRow, RecommendationRow.outcome_run == EvaluationRow.owner)
            .where(EvaluationRow.metric.in_(set(META_LABEL.values())))
        )
    }
    followed: list[_Followed] = []
    failed: Counter[tuple[str, str]] = Counter()
    for source, goal, task, kind, run in session.execute(query):
        metric = META_LABEL[goal]
        found = scores.get((run.id, metric))
        if run.state in ("collapsed", "killed") or failed_of_itself(run):
            failed[source, metric] += 1
        elif found is not None:
            followed.append(_Followed(source, metric, (task, kind, found[1]), found[0]))
    defaults: dict[tuple[str, tuple[str, str, str]], list[float]] = {}
    for each in followed:
        if each.source == DEFAULT:
            defaults.setdefault((each.metric, each.where), []).append(each.score)
    groups = dict.fromkeys([*((each.source, each.metric) for each in followed), *failed])
    rows = [_row(source, metric, followed, defaults, failed[source, metric]) for source, metric in groups]
    return sorted(rows, key=lambda row: (-row["followed"], row["adviser"], row["metric"]))


def _row(
    source: str,
    metric: str,
    followed: list[_Followed],
    defaults: dict[tuple[str, tuple[str, str, str]], list[float]],
    failed: int,
) -> dict[str, Any]:
    mine = [each for each in followed if (each.source, each.metric) == (source, metric)]
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    behind = [
        0.0 if math.isclose(mean := math.fsum(usual) / len(usual), each.score) else sign * (mean - each.score)
        for each in mine
        if source != DEFAULT and (usual := defaults.get((metric, each.where)))
    ]
    better = math.fsum(1.0 if gap < 0 else 0.5 if gap == 0 else 0.0 for gap in behind)
    return {
        "adviser": source, "metric": metric, "followed": len(mine), "failed": failed, "compared": len(behind),
        "better": better / len(behind) if behind else None,
        "regret": math.fsum(behind) / len(behind) if behind else None,
    }  # fmt: skip
