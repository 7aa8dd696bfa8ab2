"""The tables of the memory. Every key is made of content or drawn at random, so that two memories can be merged."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

REVISION = "0003"
"""The newest migration. A memory at any other revision is either brought up to it or refused."""


def now() -> str:
    """The time in UTC, as text that sorts.

    >>> now()[10], now()[-1]
    ('T', 'Z')
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: tuples become lists, and numbers that are not finite become text.

    >>> plain({"shape": (1, 28), "loss": float("nan")})
    {'shape': [1, 28], 'loss': 'nan'}
    """
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def content_id(record: Any) -> str:
    """sha256 of the record's canonical JSON: equal content has an equal id, whatever the order of its keys.

    >>> content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    True
    """
    text = json.dumps(plain(record), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Table(DeclarativeBase):
    """The parent of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        int: BigInteger(),
    }


def _digest() -> Mapped[str]:
    return mapped_column(String(64), primary_key=True)


class ImageSetRow(Table):
    """An image set that was met: what it is, not its pixels. ``parent`` is the larger set that it is a part of."""

    __tablename__ = "image_sets"
    sha256: Mapped[str] = _digest()
    name: Mapped[str] = mapped_column(index=True)
    images: Mapped[int]
    image_shape: Mapped[list[Any]]
    classes: Mapped[int]
    licence: Mapped[str]
    notes: Mapped[list[Any]]
    parent_sha256: Mapped[str | None] = mapped_column(ForeignKey("image_sets.sha256"), index=True)
    created: Mapped[str] = mapped_column(default=now)


class TaskRow(Table):
    """A task: a goal, what there was to learn from and what it was judged on."""

    __tablename__ = "tasks"
    sha256: Mapped[str] = _digest()
    name: Mapped[str]
    goal: Mapped[str]
    source: Mapped[str]
    seed: Mapped[int]
    support_sha256: Mapped[str] = mapped_column(ForeignKey("image_sets.sha256"), index=True)
    query_sha256: Mapped[str | None] = mapped_column(ForeignKey("image_sets.sha256"), index=True)
    created: Mapped[str] = mapped_column(default=now)


class FingerprintRow(Table):
    """A task's named statistics. ``features`` is the extractor's name, empty where none was used."""

    __tablename__ = "fingerprints"
    task_sha256: Mapped[str] = mapped_column(ForeignKey("tasks.sha256"), primary_key=True)
    features: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[dict[str, Any]]


class ThumbnailRow(Table):
    """Small pictures of the first images that a task learns from (see :mod:`limner.memory.thumbnails`)."""

    __tablename__ = "thumbnails"
    task_sha256: Mapped[str] = mapped_column(ForeignKey("tasks.sha256"), primary_key=True)
    strip: Mapped[str]


class LearnerRow(Table):
    """A learner as ``limner.learners.describe`` tells it."""

    __tablename__ = "learners"
    sha256: Mapped[str] = _digest()
    kind: Mapped[str] = mapped_column(index=True)
    image_shape: Mapped[list[Any]]
    options: Mapped[dict[str, Any]]

    def describe(self) -> dict[str, Any]:
        """What ``limner.learners.rebuild`` takes."""
        return {"kind": self.kind, "image_shape": list(self.image_shape), "options": dict(self.options)}


class StrategyRow(Table):
    """A strategy; equal ones are kept once."""

    __tablename__ = "strategies"
    sha256: Mapped[str] = _digest()
    content: Mapped[dict[str, Any]]


class ModelRow(Table):
    """A stored model or start; its parameters are in the artifact of the same sha256."""

    __tablename__ = "models"
    sha256: Mapped[str] = _digest()
    role: Mapped[str] = mapped_column(index=True)
    name: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int]
    learner_sha256: Mapped[str] = mapped_column(ForeignKey("learners.sha256"), index=True)
    parent_sha256: Mapped[str | None] = mapped_column(ForeignKey("models.sha256"), index=True)
    family: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    imported: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created: Mapped[str] = mapped_column(default=now, index=True)


class RunRow(Table):
    """One learner on one task under one strategy. ``start_sha256`` is the model it began from, ``model_sha256`` the
    one it made; ``process``, ``host`` and ``lease`` (seconds since 1970) tell whether a running one is still alive.
    """

    __tablename__ = "runs"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    task_sha256: Mapped[str] = mapped_column(ForeignKey("tasks.sha256"), index=True)
    learner_sha256: Mapped[str] = mapped_column(ForeignKey("learners.sha256"), index=True)
    strategy_sha256: Mapped[str] = mapped_column(ForeignKey("strategies.sha256"), index=True)
    start_sha256: Mapped[str | None] = mapped_column(ForeignKey("models.sha256"), index=True)
    model_sha256: Mapped[str | None] = mapped_column(ForeignKey("models.sha256"), index=True)
    seed: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(default="")
    directory: Mapped[str | None]
    host: Mapped[str | None]
    process: Mapped[int | None]
    process_started: Mapped[str | None]
    lease: Mapped[float | None]
    seconds: Mapped[float] = mapped_column(default=0.0)
    steps: Mapped[int] = mapped_column(default=0)
    threads: Mapped[int] = mapped_column(default=0)
    device: Mapped[str] = mapped_column(default="")
    notes: Mapped[list[Any]] = mapped_column(default=list)
    lineage: Mapped[dict[str, Any]] = mapped_column(default=dict)
    imported: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created: Mapped[str] = mapped_column(default=now, index=True)
    finished: Mapped[str | None]


class CurveRow(Table):
    """The curve of a run or of a model; ``owner`` is its id."""

    __tablename__ = "curves"
    owner: Mapped[str] = _digest()
    points: Mapped[list[Any]]


class EvaluationRow(Table):
    """One score of a run or of a model (``owner`` is its id): the meta-label, with what it was measured by."""

    __tablename__ = "evaluations"
    __table_args__ = (Index("ix_evaluations_metric_value", "metric", "value"),)
    owner: Mapped[str] = _digest()
    metric: Mapped[str] = mapped_column(primary_key=True)
    extractor: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]
    floor: Mapped[float | None]
    samples: Mapped[int]
    query: Mapped[int]
    support: Mapped[int]
    seed: Mapped[int]
    created: Mapped[str] = mapped_column(default=now)


class RecommendationRow(Table):
    """What the adviser said, why, on what evidence (ids), and the run that tried it."""

    __tablename__ = "recommendations"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    task_sha256: Mapped[str] = mapped_column(ForeignKey("tasks.sha256"), index=True)
    learner_sha256: Mapped[str] = mapped_column(ForeignKey("learners.sha256"))
    strategy_sha256: Mapped[str] = mapped_column(ForeignKey("strategies.sha256"))
    rank: Mapped[int]
    source: Mapped[str]
    reason: Mapped[str]
    expected: Mapped[float | None]
    evidence: Mapped[list[Any]]
    outcome_run: Mapped[str | None] = mapped_column(ForeignKey("runs.id"), index=True)
    created: Mapped[str] = mapped_column(default=now, index=True)


TABLES: tuple[type[Table], ...] = (
    ImageSetRow, TaskRow, FingerprintRow, ThumbnailRow, LearnerRow, StrategyRow, ModelRow, RunRow, CurveRow,
    EvaluationRow, RecommendationRow,
)  # fmt: skip
"""All tables, each after those it refers to."""
