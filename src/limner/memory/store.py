"""The memory: what is written while Limner works, and the models it gives back."""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import archive, forgetting, lookup, processes
from limner.memory.artifacts import Artifacts
from limner.memory.database import Database, locate
from limner.memory.schema import (
    CurveRow,
    EvaluationRow,
    FingerprintRow,
    ImageSetRow,
    LearnerRow,
    ModelRow,
    RunRow,
    StrategyRow,
    Table,
    TaskRow,
    content_id,
    now,
    plain,
)
from limner.model_file import StoredModel, decode, encode
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task
from limner.types import CurvePoint, Params, Scores

if TYPE_CHECKING:
    from limner.memory.fingerprints import Fingerprint

Rows = list[dict[str, Any]]
Models = list[StoredModel]
Sentences = list[str]

LEASE = 300.0
"""Seconds for which a run is believed alive without a sign of life, when its process cannot be asked."""


class Memory:
    """The meta-database with its artifacts. Several processes may use one at once; writers take turns.

    Every method is one transaction: it happens as a whole, or on any error not at all.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder, Memory.open(folder) as memory:
    ...     learner = {"kind": "vae", "image_shape": [1, 28, 28], "options": {}}
    ...     sha256 = memory.put_model({"net.a": torch.ones(2)}, learner, role="start", name="glyphs")
    ...     memory.get_model("glyphs").params["net.a"].tolist(), memory.get_model(sha256[:8]).sha256 == sha256
    ([1.0, 1.0], True)
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.artifacts = Artifacts(database.location.artifacts)
        self._alive: set[str] = set()
        self._closed = threading.Event()
        self._pulse: threading.Thread | None = None

    @classmethod
    def open(cls, location: str | Path | None = None) -> Memory:
        """Open the memory at ``location`` (see :func:`limner.memory.database.locate`), made or migrated as needed.

        Runs whose process has died are marked ``killed``. Raises :class:`LimnerError` where the place cannot be
        used, is not a memory, or was made by a newer Limner.
        """
        memory = cls(Database(locate(location)))
        memory._mark_killed()
        return memory

    @property
    def location(self) -> str:
        """Where the memory lies, for people."""
        return self.database.location.label

    def close(self) -> None:
        """Let go of the database."""
        self._closed.set()
        if self._pulse is not None:
            self._pulse.join()
        self.database.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()

    # what a task is

    def add_image_set(self, image_set: ImageSet, parent: ImageSet | None = None) -> str:
        """Remember that the image set was met (not its pixels); ``parent`` is what it was taken from. Its sha256."""
        with self.database.writing() as session:
            return _add_image_set(session, image_set, parent)

    def add_task(self, task: Task, fingerprint: Fingerprint | None = None, parent: ImageSet | None = None) -> str:
        """Remember the task with its image sets (``parent``: what they were taken from) and fingerprint. Its sha256."""
        with self.database.writing() as session:
            support = _add_image_set(session, task.support, parent)
            query = None if task.query is None else _add_image_set(session, task.query, parent)
            row = TaskRow(
                sha256=task.sha256, name=task.name, goal=task.goal, source=task.source, seed=task.seed,
                support_sha256=support, query_sha256=query,
            )  # fmt: skip
            _add_once(session, row, task.sha256)
            if fingerprint is not None:
                session.merge(
                    FingerprintRow(
                        task_sha256=task.sha256, features=fingerprint.features, content=fingerprint.to_json()
                    )
                )
            return task.sha256

    # runs

    def begin_run(
        self,
        task_sha256: str,
        learner_description: dict[str, Any],
        strategy: Strategy,
        seed: int,
        name: str = "",
        directory: Path | None = None,
    ) -> str:
        """Note that a run begins in this process; its id (12 hexadecimal digits). ``directory`` is where it writes."""
        with self.database.writing() as session:
            if session.get(TaskRow, task_sha256) is None:
                raise LimnerError(f"the memory has no task {task_sha256[:12]}; add it before its first run")
            start = None
            if strategy.start != "scratch" and not strategy.start.startswith("shipped:"):
                start = lookup.find_model(session, strategy.start).sha256
            row = RunRow(
                id=secrets.token_hex(6), name=name, task_sha256=task_sha256, seed=seed, start_sha256=start,
                learner_sha256=add_learner(session, learner_description),
                strategy_sha256=add_strategy(session, strategy),
                state="running", directory=None if directory is None else str(Path(directory).absolute()),
            )  # fmt: skip
            _live(row)
            session.add(row)
        self._keep_alive(row.id)
        return row.id

    def resume_run(self, reference: str) -> dict[str, Any]:
        """Take up a killed, stopped or failed run in this process; its record, with ``directory``.

        Raises :class:`LimnerError` where the run is finished, or is running in a process that lives.
        """
        with self.database.writing() as session:
            row = lookup.find_run(session, reference)
            if row.state == "finished" or (row.state == "running" and not _dead(row)):
                raise LimnerError(f"the run {row.id} is {row.state}, so there is nothing to resume; begin a new one")
            row.state, row.reason, row.finished = "running", "", None
            _live(row)
            record = lookup.run_record(session, row)
        self._keep_alive(row.id)
        return record

    def finish_run(self, run_id: str, run: Any, scores: Scores | None, directory: Path | None = None) -> str | None:
        """Keep what the run (a ``limner.engine`` Run) made: model, curve, cost, scores. The model's sha256.

        ``None`` where the run has no parameters to keep.
        """
        with self.database.writing() as session:
            row = lookup.find_run(session, run_id)
            if row.state == "finished":
                raise LimnerError(f"the run {row.id} is finished already; begin a new one")
            learner = session.get_one(LearnerRow, row.learner_sha256).describe()
            row.lineage = plain(dict(getattr(run, "lineage", None) or {}))
            if run.params:
                row.model_sha256 = self._add_model(
                    session, run.params, learner, role="model", name="", parent=row.start_sha256
                )
            row.state, row.finished, row.reason = run.state, now(), ""
            row.notes = [str(note) for note in (*run.notes, *(scores.notes if scores is not None else ()))]
            row.seconds, row.steps = run.cost.seconds, run.cost.steps
            row.threads, row.device = run.cost.threads, run.cost.device
            if directory is not None:
                row.directory = str(Path(directory).absolute())
            _unlive(row)
            _put_curve(session, row.id, run.curve)
            if scores is not None:
                _put_scores(session, row.id, scores)
            made = row.model_sha256
        self._alive.discard(row.id)
        return made

    def fail_run(self, run_id: str, reason: str) -> None:
        """Note that the run failed, and why."""
        with self.database.writing() as session:
            row = lookup.find_run(session, run_id)
            row.state, row.reason, row.finished = "failed", reason, now()
            _unlive(row)
        self._alive.discard(row.id)

    def renew(self, run_ids: Iterable[str]) -> None:
        """A sign of life of the runs. The memory gives it by itself while the process that began them lives."""
        with self.database.writing() as session:
            session.execute(
                update(RunRow)
                .where(RunRow.id.in_(list(run_ids)), RunRow.state == "running")
                .values(lease=time.time() + LEASE)
            )

    def _keep_alive(self, run_id: str) -> None:
        self._alive.add(run_id)
        if self._pulse is None:
            self._pulse = threading.Thread(target=self._renew_all, name="limner-memory-pulse", daemon=True)
            self._pulse.start()

    def _renew_all(self) -> None:
        while not self._closed.wait(LEASE / 5):
            try:
                if self._alive:
                    self.renew(tuple(self._alive))
            except (
                LimnerError
            ):  # a busy or full disk now; the next sign of life may pass, and the lease allows for four
                continue

    def _mark_killed(self) -> None:
        with self.database.reading() as session:
            suspects = [
                row.id for row in session.scalars(select(RunRow).where(RunRow.state == "running")) if _dead(row)
            ]
        if suspects:
            with self.database.writing() as session:
                for row in session.scalars(select(RunRow).where(RunRow.id.in_(suspects), RunRow.state == "running")):
                    if _dead(row):
                        row.state, row.finished = "killed", now()
                        row.reason = "its process ended without a word; it can be resumed"
                        _unlive(row)

    # models

    def put_model(
        self,
        params: Params,
        learner_description: dict[str, Any],
        *,
        role: str = "model",
        name: str = "",
        run: str | None = None,
        parent: str | None = None,
        family: dict[str, Any] | None = None,
        curve: Iterable[CurvePoint] | None = None,
        scores: Scores | None = None,
        rates: Params | None = None,
        plan: dict[str, Any] | None = None,
    ) -> str:
        """Keep a model, or with ``role="start"`` a meta-learned start (``rates``: its learned step sizes). Its sha256.

        ``run`` is the id of the run that made it, ``parent`` the model it came from. ``family`` is the task family that
        it was meta-learned on, ``plan`` how (its inner loop is what the adviser then proposes for adaptation).
        """
        with self.database.writing() as session:
            if parent is not None:
                parent = lookup.find_model(session, parent).sha256
            sha256 = self._add_model(
                session, params, learner_description,
                role=role, name=name, parent=parent, rates=rates, family=family, plan=plan,
            )  # fmt: skip
            if run is not None:
                lookup.find_run(session, run).model_sha256 = sha256
            if curve is not None:
                _put_curve(session, sha256, curve)
            if scores is not None:
                _put_scores(session, sha256, scores)
            return sha256

    def _add_model(
        self,
        session: Session,
        params: Params,
        learner: dict[str, Any],
        *,
        role: str,
        name: str,
        parent: str | None,
        rates: Params | None = None,
        family: dict[str, Any] | None = None,
        plan: dict[str, Any] | None = None,
    ) -> str:
        if role not in ("model", "start"):
            raise LimnerError(f"a stored model has no role {role!r}; it has: model, start")
        about = {"family": plain(family), "plan": plain(plan)}
        data = encode(params, plain(learner), role, rates, {name: part for name, part in about.items() if part})
        sha256 = self.artifacts.put(data)
        row = ModelRow(
            sha256=sha256, role=role, name=name, bytes=len(data), learner_sha256=add_learner(session, learner),
            parent_sha256=None if parent == sha256 else parent, **about,
        )  # fmt: skip
        _add_once(session, row, sha256)
        if name:
            session.get_one(ModelRow, sha256).name = name
        return sha256

    def get_model(self, reference: str) -> StoredModel:
        """The model with its parameters, its file verified. ``reference``: the beginning of its sha256, its name, the
        id or name of the run that made it, or ``shipped:NAME``.
        """
        from limner.memory.shipped import load_shipped

        if reference.startswith("shipped:"):
            return load_shipped(reference)
        with self.database.reading() as session:
            row = lookup.find_model(session, reference)
            listed = lookup.stored_model(session, row)
        whole = decode(self.artifacts.get(row.sha256), f"the artifact of model {row.sha256[:12]}")
        return StoredModel(row.sha256, whole.params, listed.learner_description, listed.metadata, whole.rates)

    def models(
        self, kind: str | None = None, image_shape: tuple[int, int, int] | None = None, role: str | None = None
    ) -> Models:
        """The stored models, newest first, without their weights; only those of a kind, shape or role if given."""
        with self.database.reading() as session:
            rows = session.scalars(select(ModelRow).order_by(ModelRow.created.desc(), ModelRow.sha256))
            found = [lookup.stored_model(session, row) for row in rows if role in (None, row.role)]
        return [
            model
            for model in found
            if kind in (None, model.learner_description["kind"])
            and (image_shape is None or list(image_shape) == model.learner_description["image_shape"])
        ]

    # looking up, moving, forgetting

    def list(self, kind: str) -> Rows:
        """Rows for a table, newest first; ``kind``: runs, models, starts, tasks, images or recommendations."""
        with self.database.reading() as session:
            return lookup.listing(session, kind)

    def runs(self, task: str | None = None, state: str | None = None) -> Rows:
        """The records of all runs, newest first; only those on a task (its sha256) or in a state if given."""
        with self.database.reading() as session:
            records = lookup.listing(session, "runs")
        return [row for row in records if task in (None, row["task"]) and state in (None, row["state"])]

    def show(self, reference: str) -> dict[str, Any]:
        """All about the one thing whose id begins with ``reference`` or whose name it is; ``what`` says what it is.

        Raises :class:`LimnerError`, naming candidates, where nothing or more than one thing fits.
        """
        with self.database.reading() as session:
            return lookup.show(session, reference)

    def verify(self) -> Sentences:
        """A sentence for each thing that is wrong: artifacts damaged, missing, or of no model. Empty = all well."""
        with self.database.reading() as session:
            return archive.verify(session, self.database, self.artifacts)

    def export(self, path: str | Path, what: str | None = None) -> dict[str, int]:
        """Write all, or what belongs to the reference ``what``, to one zip file; how much of each kind."""
        with self.database.reading() as session:
            return archive.export(session, self.artifacts, Path(path), what)

    def import_(self, path: str | Path) -> dict[str, int]:
        """Take in an export; what is there already stays. How much of each kind was new. A damaged one is refused."""
        contents = archive.read(Path(path))
        with self.database.writing() as session:
            return archive.take_in(session, self.artifacts, contents)

    def forget(self, reference: str, dry_run: bool = False) -> dict[str, Any]:
        """Remove an image set (by sha256 or name), task, run or model, and all that came of it; what was removed.

        With ``dry_run`` nothing is removed, only said.
        """
        return forgetting.forget(self.database, self.artifacts, reference, dry_run)


def add_learner(session: Session, description: dict[str, Any]) -> str:
    """The id of the learner, kept once."""
    content = plain({name: description[name] for name in ("kind", "image_shape", "options")})
    sha256 = content_id(content)
    _add_once(session, LearnerRow(sha256=sha256, **content), sha256)
    return sha256


def add_strategy(session: Session, strategy: Strategy) -> str:
    """The id of the strategy, kept once."""
    content = plain(strategy.to_json())
    sha256 = content_id(content)
    _add_once(session, StrategyRow(sha256=sha256, content=content), sha256)
    return sha256


def _add_once(session: Session, row: Table, key: str) -> None:
    if session.get(type(row), key) is None:
        session.add(row)
        session.flush()


def _add_image_set(session: Session, images: ImageSet, parent: ImageSet | None) -> str:
    above = _add_image_set(session, parent, None) if parent is not None and parent.sha256 != images.sha256 else None
    row = ImageSetRow(
        sha256=images.sha256, name=images.name, images=len(images), image_shape=list(images.shape),
        classes=len(images.class_names), licence=images.licence, notes=list(images.notes), parent_sha256=above,
    )  # fmt: skip
    _add_once(session, row, images.sha256)
    known = session.get_one(ImageSetRow, images.sha256)
    if known.parent_sha256 is None:
        known.parent_sha256 = above
    return images.sha256


def _live(row: RunRow) -> None:
    row.host, row.process = processes.here(), os.getpid()
    row.process_started, row.lease = processes.started(os.getpid()), time.time() + LEASE


def _unlive(row: RunRow) -> None:
    row.process = row.process_started = row.lease = None


def _dead(row: RunRow) -> bool:
    if row.host == processes.here() and row.process is not None:
        return processes.started(row.process) != row.process_started
    return (row.lease or 0.0) < time.time()


def _put_curve(session: Session, owner: str, curve: Iterable[CurvePoint]) -> None:
    points = [{"step": point.step, "seconds": point.seconds, "values": plain(point.values)} for point in curve]
    session.merge(CurveRow(owner=owner, points=points))


def _put_scores(session: Session, owner: str, scores: Scores) -> None:
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
