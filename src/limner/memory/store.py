"""The memory: what is written while Limner works, and the models it gives back."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import archive, forgetting, frames, liveness, lookup, recording, scoring
from limner.memory.artifacts import Artifacts
from limner.memory.database import Database, locate
from limner.memory.schema import LearnerRow, ModelRow, RecommendationRow, RunRow, TaskRow, now, plain
from limner.memory.undelivered import Undelivered, Unreachable
from limner.model_file import StoredModel, decode
from limner.types import CurvePoint, Params, Scores

if TYPE_CHECKING:
    from limner.memory.fingerprints import Fingerprint
    from limner.tasks.image_set import ImageSet
    from limner.tasks.task import Task

logger = logging.getLogger(__name__)

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
        self._undelivered = Undelivered(database.location)
        self._going: dict[str, dict[str, Any]] = {}

    @classmethod
    def open(cls, location: str | Path | None = None) -> Memory:
        """Open the memory at ``location`` (see :func:`limner.memory.database.locate`), made or migrated as needed.

        Runs whose process has died are marked ``killed``. Raises :class:`LimnerError` where the place cannot be
        used, is not a memory, or was made by a newer Limner.
        """
        memory = cls(Database(locate(location)))
        memory._deliver()
        liveness.mark_killed(memory.database)
        return memory

    def _deliver(self) -> None:
        """Tell the memory what was kept here while it was away. What it has forgotten meanwhile, it is not told."""
        count = 0
        for parcel in self._undelivered.waiting():
            try:
                with self.database.writing() as session:
                    told, data = parcel.read()
                    run = (told.get("run") or {}).get("id")
                    known = None if run is None else session.get(RunRow, run)
                    if run is None or (known is not None and known.state != "finished"):
                        recording.keep(session, self.artifacts, told, data)
                        count += 1
            except FileNotFoundError:  # another process has just delivered it
                continue
            except Unreachable as away:
                logger.warning("%s; what is kept in %s waits", away, parcel.path)
                continue
            except LimnerError as refused:
                logger.warning("%s; what was kept for it stays in %s", refused, parcel.set_aside())
                continue
            parcel.remove()
        if count:
            logger.warning("%s of what was kept here while %s was away is delivered", count, self.location)

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
        claims: str | None = None,
    ) -> str:
        """Note that a run begins in this process; its id (12 hexadecimal digits). ``directory`` is where it writes.

        claims  the beginning of its name, which ends in a number: the run is a piece of work that several processes
                may be at. Raises :class:`limner.memory.liveness.Claimed` where another has done it, or is at it or at
                a piece with another number.
        """
        with self.database.writing() as session:
            if claims is not None:
                liveness.claim(session, claims)
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
        self._going[row.id] = plain(learner_description)
        return row.id

    def resume_run(self, reference: str, claims: str | None = None) -> dict[str, Any]:
        """Take up a killed, stopped, paused or failed run in this process; its record, with ``directory``.

        claims  as of :meth:`begin_run`

        Raises :class:`LimnerError` where the run is finished, or is running in a process that lives.
        """
        with self.database.writing() as session:
            if claims is not None:
                liveness.claim(session, claims)
            row = lookup.find_run(session, reference)
            if row.state == "finished" or (row.state == "running" and not liveness.is_dead(row)):
                raise LimnerError(f"the run {row.id} is {row.state}, so there is nothing to resume; begin a new one")
            row.state, row.reason, row.finished = "running", "", None
            liveness.begin(row)
            record = lookup.run_record(session, row)
        self._pulse.add(row.id)
        self._going[row.id] = record["learner"]
        return record

    def finish_run(self, run_id: str, run: Any, scores: Scores | None, directory: Path | None = None) -> str | None:
        """Keep what the run (a ``limner.engine`` Run) made: model, curve, cost, scores. The model's sha256.

        ``None`` where the run has no parameters to keep.
        """
        learner = self._learner_of(run_id)
        ended: dict[str, Any] = {
            "id": run_id, "state": run.state, "finished": now(), "reason": "", "seconds": run.cost.seconds,
            "steps": run.cost.steps, "threads": run.cost.threads, "device": run.cost.device,
            "notes": [str(note) for note in (*run.notes, *(scores.notes if scores is not None else ()))],
            "lineage": plain(dict(getattr(run, "lineage", None) or {})),
        }  # fmt: skip
        if directory is not None:
            ended["directory"] = str(Path(directory).absolute())
        if run.state == "collapsed":
            ended["reason"] = next((note for note in run.notes if "collapsed" in note), "")
        told = {
            "run": ended, "model": {"learner": learner}, "curve": recording.points_of(run.curve),
            "scores": None if scores is None else recording.evaluations_of(scores),
        }  # fmt: skip
        data = recording.file_of(run.params, learner) if run.params else None
        made = self._tell(told, data)
        self._pulse.remove(run_id)
        return made

    def _learner_of(self, run_id: str) -> dict[str, Any]:
        """The learner of a run that goes on; known without asking for what this object began."""
        if run_id in self._going:
            return self._going[run_id]
        with self.database.reading() as session:
            row = lookup.find_run(session, run_id)
            if row.state == "finished":
                raise LimnerError(f"the run {row.id} is finished already; begin a new one")
            return session.get_one(LearnerRow, row.learner_sha256).describe()

    def _tell(self, told: dict[str, Any], data: bytes | None = None) -> str | None:
        """Keep what was made (see :func:`recording.keep`); where the memory is away, here, until it is opened again."""
        going = str((told.get("run") or {}).get("id"))
        try:
            with self.database.writing() as session:
                made = recording.keep(session, self.artifacts, told, data)
        except Unreachable as away:
            place = self._undelivered.keep(told, data)
            made = None if data is None else hashlib.sha256(data).hexdigest()
            logger.warning("%s; what was made is kept in %s, and delivered when it is next opened", away, place)
        self._going.pop(going, None)
        return made

    def advise(
        self,
        task_sha256: str,
        learner_description: dict[str, Any],
        strategy: Strategy,
        *,
        source: str,
        reason: str,
        expected: float | None = None,
        evidence: Iterable[str] = (),
        rank: int = 1,
    ) -> str:
        """Keep what an adviser (``source``: its name) proposes for a task, why, and on what evidence; its id."""
        with self.database.writing() as session:
            row = RecommendationRow(
                id=secrets.token_hex(6), task_sha256=task_sha256, rank=rank, source=source, reason=reason,
                learner_sha256=recording.add_learner(session, learner_description),
                strategy_sha256=recording.add_strategy(session, strategy), expected=expected, evidence=list(evidence),
            )  # fmt: skip
            session.add(row)
        return row.id

    def advice(self) -> Rows:
        """How good advice was, by adviser and score, against the default on the same tasks; see :mod:`.scoring`."""
        with self.database.reading() as session:
            return scoring.scored(session)

    def observe(self, recommendation_id: str, run_id: str) -> None:
        """Note what came of a recommendation: the run that tried it."""
        self._tell({"followed": {"recommendation": recommendation_id, "run": run_id}})

    def fail_run(self, run_id: str, reason: str) -> None:
        """Note that the run failed, and why."""
        self._tell({"run": {"id": run_id, "state": "failed", "reason": reason, "finished": now()}})
        self._pulse.remove(run_id)

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
        data = recording.file_of(
            params, learner_description, role, rates, **{**(about or {}), "family": family, "plan": plan}
        )
        made = {
            "learner": plain(learner_description), "role": role, "name": name, "parent": parent,
            "family": plain(family), "plan": plain(plan),
        }  # fmt: skip
        told = {
            "run": None if run is None else {"id": run}, "model": made,
            "curve": None if curve is None else recording.points_of(curve),
            "scores": None if scores is None else recording.evaluations_of(scores),
        }  # fmt: skip
        sha256 = self._tell(told, data)
        assert sha256 is not None
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
            (listed,) = lookup.stored_models(session, [row])
        whole = decode(self.artifacts.get(row.sha256), f"the artifact of model {row.sha256[:12]}")
        metadata = whole.metadata | listed.metadata
        return StoredModel(row.sha256, whole.params, listed.learner_description, metadata, whole.rates)

    def models(
        self, kind: str | None = None, image_shape: tuple[int, int, int] | None = None, role: str | None = None
    ) -> Models:
        """The stored models, newest first, without their weights; only those of a kind, shape or role if given."""
        with self.database.reading() as session:
            learners = [
                learner.sha256
                for learner in session.scalars(select(LearnerRow))
                if kind in (None, learner.kind) and (image_shape is None or list(image_shape) == learner.image_shape)
            ]
            chosen = select(ModelRow).where(ModelRow.learner_sha256.in_(learners))
            if role is not None:
                chosen = chosen.where(ModelRow.role == role)
            rows = session.scalars(chosen.order_by(ModelRow.created.desc(), ModelRow.sha256))
            return lookup.stored_models(session, list(rows))

    # looking up, moving, forgetting

    def list(self, kind: str, **filters: Any) -> Rows:
        """Rows for a table, newest first; ``kind``: runs, models, starts, tasks, images or recommendations.

        Filters: ``goal``, ``learner`` (its kind), ``state``, ``task`` (its sha256 or the beginning), ``where``
        (conditions such as ``"kernel_distance<50 and steps>=1000"``), ``limit``; see :func:`limner.memory.query.rows`.
        """
        with self.database.reading() as session:
            return lookup.listing(session, kind, **filters)

    def frame(self, kind: str = "runs", **filters: Any) -> Any:
        """:meth:`list` as a ``pandas.DataFrame``; nested names are joined by dots: ``scores.kernel_distance.value``."""
        return frames.frame(self.list(kind, **filters))

    def arrow(self, kind: str = "runs", **filters: Any) -> Any:
        """:meth:`list` as a ``pyarrow.Table``, with the columns of :meth:`frame`."""
        return frames.arrow(self.list(kind, **filters))

    def runs(self, task: str | None = None, state: str | None = None) -> Rows:
        """The records of all runs, newest first; only those on a task (its sha256) or in a state if given."""
        with self.database.reading() as session:
            known = state is None or session.scalar(select(RunRow.id).where(RunRow.state == state).limit(1))
            return lookup.listing(session, "runs", task=task, state=state) if known else []

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

    def export(self, path: str | Path, what: str | None = None, thumbnails: bool = False) -> dict[str, int]:
        """Write all, or what belongs to ``what``, to one zip file; how much of each kind. ``thumbnails``: those too."""
        with self.database.reading() as session:
            return archive.export(session, self.artifacts, Path(path), what, thumbnails)

    def import_(self, path: str | Path) -> dict[str, int]:
        """Take in an export; what is there already stays. How much of each kind was new. A damaged one is refused."""
        contents = archive.read(Path(path))
        new = [sha256 for sha256 in contents.artifacts if not self.artifacts.has(sha256)]
        try:
            with self.database.writing() as session:
                return archive.take_in(session, self.artifacts, contents)
        except BaseException:
            forgetting.remove_files(self.database, self.artifacts, new)
            raise

    def forget(self, reference: str, dry_run: bool = False) -> dict[str, Any]:
        """Remove an image set (by sha256 or name), task, run or model, and all that came of it; what was removed.

        With ``dry_run`` nothing is removed, only said.
        """
        return forgetting.forget(self.database, self.artifacts, reference, dry_run)
