"""Nouns into rows: image sets, tasks, learners, strategies and models, each kept once; curves and scores."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory.artifacts import Artifacts
from limner.memory.schema import (
    CurveRow,
    EvaluationRow,
    FingerprintRow,
    ImageSetRow,
    LearnerRow,
    ModelRow,
    StrategyRow,
    Table,
    TaskRow,
    content_id,
    plain,
)
from limner.model_file import encode
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task
from limner.types import CurvePoint, Params, Scores

if TYPE_CHECKING:
    from limner.memory.fingerprints import Fingerprint


def add_image_set(session: Session, images: ImageSet, parent: ImageSet | None) -> str:
    """The sha256 of the image set; ``parent`` is what it was taken from."""
    above = add_image_set(session, parent, None) if parent is not None and parent.sha256 != images.sha256 else None
    row = ImageSetRow(
        sha256=images.sha256, name=images.name, images=len(images), image_shape=list(images.shape),
        classes=len(images.class_names), licence=images.licence, notes=list(images.notes), parent_sha256=above,
    )  # fmt: skip
    _add_once(session, row, images.sha256)
    known = session.get_one(ImageSetRow, images.sha256)
    if known.parent_sha256 is None:
        known.parent_sha256 = above
    return images.sha256


def add_task(session: Session, task: Task, fingerprint: Fingerprint | None, parent: ImageSet | None) -> str:
    """The sha256 of the task, its image sets and fingerprint kept with it."""
    row = TaskRow(
        sha256=task.sha256, name=task.name, goal=task.goal, source=task.source, seed=task.seed,
        support_sha256=add_image_set(session, task.support, parent),
        query_sha256=None if task.query is None else add_image_set(session, task.query, parent),
    )  # fmt: skip
    _add_once(session, row, task.sha256)
    if fingerprint is not None:
        session.merge(
            FingerprintRow(task_sha256=task.sha256, features=fingerprint.features, content=fingerprint.to_json())
        )
    return task.sha256


def add_learner(session: Session, description: dict[str, Any]) -> str:
    """The id of the learner."""
    content = plain({name: description[name] for name in ("kind", "image_shape", "options")})
    sha256 = content_id(content)
    _add_once(session, LearnerRow(sha256=sha256, **content), sha256)
    return sha256


def add_strategy(session: Session, strategy: Strategy) -> str:
    """The id of the strategy."""
    content = plain(strategy.to_json())
    sha256 = content_id(content)
    _add_once(session, StrategyRow(sha256=sha256, content=content), sha256)
    return sha256


def add_model(
    session: Session,
    artifacts: Artifacts,
    params: Params,
    learner: dict[str, Any],
    *,
    role: str = "model",
    name: str = "",
    parent: str | None = None,
    rates: Params | None = None,
    family: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
) -> str:
    """The sha256 of the model, its weights kept as an artifact; see :meth:`limner.memory.Memory.put_model`."""
    if role not in ("model", "start"):
        raise LimnerError(f"a stored model has no role {role!r}; it has: model, start")
    about = {"family": plain(family), "plan": plain(plan)}
    told = {name: part for name, part in {**plain(more or {}), **about}.items() if part}
    data = encode(params, plain(learner), role, rates, told)
    sha256 = artifacts.put(data)
    row = ModelRow(
        sha256=sha256, role=role, name=name, bytes=len(data), learner_sha256=add_learner(session, learner),
        parent_sha256=None if parent == sha256 else parent, **about,
    )  # fmt: skip
    _add_once(session, row, sha256)
    if name:
        session.get_one(ModelRow, sha256).name = name
    return sha256


def put_curve(session: Session, owner: str, curve: Iterable[CurvePoint]) -> None:
    """Keep the curve of a run or model, in place of the one before."""
    points = [{"step": point.step, "seconds": point.seconds, "values": plain(point.values)} for point in curve]
    session.merge(CurveRow(owner=owner, points=points))


def put_scores(session: Session, owner: str, scores: Scores) -> None:
    """Keep the scores of a run or model, in place of those before."""
    session.execute(delete(EvaluationRow).where(EvaluationRow.owner == owner))
    for metric, score in scores.values.items():
        if not math.isfinite(score.value):
            continue  # nothing was measured; the scores' notes say why
        session.add(
            EvaluationRow(
                owner=owner, metric=metric, extractor=scores.extractor, value=score.value, low=score.low,
                high=score.high, floor=score.floor, samples=scores.samples, query=scores.query, support=scores.support,
                seed=scores.seed,
            )
        )  # fmt: skip


def _add_once(session: Session, row: Table, key: str) -> None:
    if session.get(type(row), key) is None:
        session.add(row)
        session.flush()
