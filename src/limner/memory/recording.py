"""Nouns into rows: image sets, tasks, learners, strategies and models, each kept once; curves and scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import liveness
from limner.memory.artifacts import Artifacts
from limner.memory.lookup import find, find_model, find_run
from limner.memory.schema import (
    CurveRow,
    EvaluationRow,
    FingerprintRow,
    ImageSetRow,
    LearnerRow,
    ModelRow,
    RecommendationRow,
    StrategyRow,
    Table,
    TaskRow,
    ThumbnailRow,
    content_id,
    plain,
)
from limner.memory.thumbnails import thumbnails
from limner.model_file import encode
from limner.types import CurvePoint, Params, Scores

if TYPE_CHECKING:
    from limner.memory.fingerprints import Fingerprint
    from limner.tasks.image_set import ImageSet
    from limner.tasks.task import Task


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
    """The sha256 of the task, its image sets kept with it; with a fingerprint, that and thumbnails as well."""
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
        if session.get(ThumbnailRow, task.sha256) is None and (
            strip := thumbnails(getattr(task.support, "images", None))
        ):
            session.add(ThumbnailRow(task_sha256=task.sha256, strip=strip))
    return task.sha256


def add_all(
    session: Session, learners: Sequence[dict[str, Any]], strategies: Sequence[Strategy]
) -> tuple[list[str], list[str]]:
    """Keep many learners and strategies, with few questions to the database; the ids of both."""
    described = [_content(learner) for learner in learners]
    told = [plain(strategy.to_json()) for strategy in strategies]
    ids = [content_id(content) for content in described], [content_id(content) for content in told]
    _add_missing(session, {key: LearnerRow(sha256=key, **each) for key, each in zip(ids[0], described, strict=True)})
    _add_missing(session, {key: StrategyRow(sha256=key, content=each) for key, each in zip(ids[1], told, strict=True)})
    return ids


def _add_missing(session: Session, rows: Mapping[str, LearnerRow | StrategyRow]) -> None:
    for table in {type(row) for row in rows.values()}:
        there = set(session.scalars(select(table.sha256).where(table.sha256.in_(rows))))
        session.add_all(row for key, row in rows.items() if key not in there)
    session.flush()


def _content(description: dict[str, Any]) -> dict[str, Any]:
    return dict(plain({name: description[name] for name in ("kind", "image_shape", "options")}))


def add_learner(session: Session, description: dict[str, Any]) -> str:
    """The id of the learner."""
    content = _content(description)
    sha256 = content_id(content)
    _add_once(session, LearnerRow(sha256=sha256, **content), sha256)
    return sha256


def add_strategy(session: Session, strategy: Strategy) -> str:
    """The id of the strategy."""
    content = plain(strategy.to_json())
    sha256 = content_id(content)
    _add_once(session, StrategyRow(sha256=sha256, content=content), sha256)
    return sha256


def file_of(
    params: Params,
    learner: dict[str, Any],
    role: str = "model",
    rates: Params | None = None,
    **about: dict[str, Any] | None,
) -> bytes:
    """The bytes of a model's file, with what is to be known ``about`` it; see ``limner.model_file.encode``."""
    if role not in ("model", "start"):
        raise LimnerError(f"a stored model has no role {role!r}; it has: model, start")
    return encode(params, plain(learner), role, rates, {name: plain(part) for name, part in about.items() if part})


def add_model(
    session: Session,
    artifacts: Artifacts,
    data: bytes,
    learner: dict[str, Any],
    *,
    role: str = "model",
    name: str = "",
    parent: str | None = None,
    family: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
) -> str:
    """The sha256 of the model, its file (see :func:`file_of`) kept as an artifact."""
    sha256 = artifacts.put(data)
    row = ModelRow(
        sha256=sha256, role=role, name=name, bytes=len(data), learner_sha256=add_learner(session, learner),
        parent_sha256=None if parent == sha256 else parent, family=plain(family), plan=plain(plan),
    )  # fmt: skip
    _add_once(session, row, sha256)
    if name:
        session.get_one(ModelRow, sha256).name = name
    return sha256


def points_of(curve: Iterable[CurvePoint]) -> list[dict[str, Any]]:
    """A curve as plain JSON."""
    return [{"step": point.step, "seconds": point.seconds, "values": plain(point.values)} for point in curve]


def evaluations_of(scores: Scores) -> list[dict[str, Any]]:
    """Scores as plain JSON, one entry for each that is a number; of the others the scores' notes say why."""
    return [
        {
            "metric": metric, "extractor": scores.extractor, "value": score.value, "low": score.low,
            "high": score.high, "floor": score.floor, "samples": scores.samples, "query": scores.query,
            "support": scores.support, "seed": scores.seed,
        }
        for metric, score in scores.values.items()
        if math.isfinite(score.value)
    ]  # fmt: skip


def keep(session: Session, artifacts: Artifacts, told: dict[str, Any], data: bytes | None) -> str | None:
    """Keep what a run or meta-learning made; the sha256 of its model, if it made one.

    told  plain JSON: ``run`` (its ``id`` and the fields that change), ``model`` (what :func:`add_model` takes),
          ``curve`` and ``scores``, ``followed`` (a ``recommendation`` and the ``run`` that tried it); each may be
          missing
    data  the model's file

    Curve and scores are the run's where the run ends, else the model's. Raises :class:`LimnerError` where there is no
    such run.
    """
    if followed := told.get("followed"):
        said = find(session, followed["recommendation"], RecommendationRow)
        assert isinstance(said, RecommendationRow)
        said.outcome_run = find_run(session, followed["run"]).id
    changed = dict(told.get("run") or {})
    run = find_run(session, changed.pop("id")) if changed else None
    if run is not None and "state" in changed and run.state == "finished":
        raise LimnerError(f"the run {run.id} is finished already; begin a new one")
    made = None
    if data is not None:
        about = dict(told["model"])
        if run is not None and "state" in changed:
            about["parent"] = run.start_sha256
        elif about.get("parent") is not None:
            about["parent"] = find_model(session, about["parent"]).sha256
        made = add_model(session, artifacts, data, **about)
    if run is not None:
        for name, value in changed.items():
            setattr(run, name, value)
        run.model_sha256 = made or run.model_sha256
        if "state" in changed:
            liveness.end(run)
        if run.state == "stopped":
            run.reason = f"stopped by hand; {liveness.way_on(run)}"
    owner = run.id if run is not None and "state" in changed else made
    if owner is not None and told.get("curve") is not None:
        session.merge(CurveRow(owner=owner, points=told["curve"]))
    if owner is not None and told.get("scores") is not None:
        session.execute(delete(EvaluationRow).where(EvaluationRow.owner == owner))
        session.add_all(EvaluationRow(owner=owner, **entry) for entry in told["scores"])
    return made


def _add_once(session: Session, row: Table, key: str) -> None:
    if session.get(type(row), key) is None:
        session.add(row)
        session.flush()
