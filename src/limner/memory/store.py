"""The memory: what is written while Limner works, and the models it gives back."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import archive, forgetting, liveness, lookup, recording
from limner.memory.artifacts import Artifacts
from limner.memory.database import Database, locate
from limner.memory.schema import LearnerRow, ModelRow, RunRow, TaskRow, now, plain
from limner.model_file import StoredModel, decode
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task
from limner.types import CurvePoint, Params, Scores

if TYPE_CHECKING:
    from limner.memory.fingerprints import Fingerprint

Rows = list[dict[str, Any]]
Models = list[StoredModel]
Sentences = list[str]


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
        self._pulse = liveness.Pulse(database)

    @classmethod
    def open(cls, location: str | Path | None = None) -> Memory:
        """Open the memory at ``location`` (see :func:`limner.memory.database.locate`), made or migrated as needed.

        Runs whose process has died are marked ``killed``. Raises :class:`LimnerError` where the place cannot be
        used, is not a memory, or was made by a newer Limner.
        """
        memory = cls(Database(locate(location)))
        liveness.mark_killed(memory.database)
        return memory

    @property
    def location(self) -> str:
        """Where the memory lies, for people."""
        return self.database.location.label

    def close(self) -> None:
        """Let go of the database."""
        self._pulse.stop()
        self.database.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()

    # what a task is

    def add_image_set(self, image_set: ImageSet, parent: ImageSet | None = None) -> str:
        """Remember that the image set was met (not its pixels); ``parent`` is what it was taken from. Its sha256."""
        with self.database.writing() as session:
            return recording.add_image_set(session, image_set, parent)

    def add_task(self, task: Task, fingerprint: Fingerprint | None = None, parent: ImageSet | None = None) -> str:
        """Remember the task with its image sets (``parent``: what they were taken from) and fingerprint. Its sha256."""
        with self.database.writing() as session:
            return recording.add_task(session, task, fingerprint, parent)

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
                learner_sha256=recording.add_learner(session, learner_description),
                strategy_sha256=recording.add_strategy(session, strategy),
                state="running", directory=None if directory is None else str(Path(directory).absolute()),
            )  # fmt: skip
            liveness.begin(row)
            session.add(row)
        self._pulse.add(row.id)
        return row.id

    def resume_run(self, reference: str) -> dict[str, Any]:
        """Take up a killed, stopped or failed run in this process; its record, with ``directory``.

        Raises :class:`LimnerError` where the run is finished, or is running in a process that lives.
        """
        with self.database.writing() as session:
            row = lookup.find_run(session, reference)
            if row.state == "finished" or (row.state == "running" and not liveness.is_dead(row)):
                raise LimnerError(f"the run {row.id} is {row.state}, so there is nothing to resume; begin a new one")
            row.state, row.reason, row.finished = "running", "", None
            liveness.begin(row)
            record = lookup.run_record(session, row)
        self._pulse.add(row.id)
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
                row.model_sha256 = recording.add_model(
                    session, self.artifacts, run.params, learner, parent=row.start_sha256
                )
            row.state, row.finished, row.reason = run.state, now(), ""
            row.notes = [str(note) for note in (*run.notes, *(scores.notes if scores is not None else ()))]
            row.seconds, row.steps = run.cost.seconds, run.cost.steps
            row.threads, row.device = run.cost.threads, run.cost.device
            if directory is not None:
                row.directory = str(Path(directory).absolute())
            if run.state == "collapsed":
                row.reason = next((note for note in run.notes if "collapsed" in note), "")
            if run.state == "stopped":
                row.reason = f"stopped by hand; {liveness.way_on(row)}"
            liveness.end(row)
            recording.put_curve(session, row.id, run.curve)
            if scores is not None:
                recording.put_scores(session, row.id, scores)
            made = row.model_sha256
        self._pulse.remove(row.id)
        return made

    def fail_run(self, run_id: str, reason: str) -> None:
        """Note that the run failed, and why."""
        with self.database.writing() as session:
            row = lookup.find_run(session, run_id)
            row.state, row.reason, row.finished = "failed", reason, now()
            liveness.end(row)
        self._pulse.remove(row.id)

    def renew(self, run_ids: Iterable[str]) -> None:
        """A sign of life of the runs. The memory gives it by itself while the process that began them lives."""
        liveness.renew(self.database, run_ids)

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
        about: dict[str, Any] | None = None,
    ) -> str:
        """Keep a model, or with ``role="start"`` a meta-learned start (``rates``: its learned step sizes). Its sha256.

        ``run`` is the id of the run that made it, ``parent`` the model it came from. ``family`` is the task family that
        it was meta-learned on, ``plan`` how (its inner loop is what the adviser then proposes for adaptation). What
        else is to be known ``about`` it, as JSON, is kept in its file; :meth:`get_model` gives it among the metadata.
        """
        with self.database.writing() as session:
            if parent is not None:
                parent = lookup.find_model(session, parent).sha256
            sha256 = recording.add_model(
                session, self.artifacts, params, learner_description,
                role=role, name=name, parent=parent, rates=rates, family=family, plan=plan,
                more=about,
            )  # fmt: skip
            if run is not None:
                lookup.find_run(session, run).model_sha256 = sha256
            if curve is not None:
                recording.put_curve(session, sha256, curve)
            if scores is not None:
                recording.put_scores(session, sha256, scores)
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
        metadata = whole.metadata | listed.metadata
        return StoredModel(row.sha256, whole.params, listed.learner_description, metadata, whole.rates)

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

        ``shipped:NAME`` is a model that comes with Limner. Raises :class:`LimnerError`, naming candidates, where
        nothing or more than one thing fits.
        """
        from limner.memory.shipped import load_shipped, record_of

        if reference.startswith("shipped:"):
            return {"what": "model", **record_of(load_shipped(reference))}
        with self.database.reading() as session:
            found = lookup.show(session, reference)
        if found["what"] == "model" and not self.artifacts.problem(found["sha256"]):
            found = decode(self.artifacts.get(found["sha256"])).metadata | found
        return found

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
