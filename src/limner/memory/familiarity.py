"""Whether a memory has met anything like a task."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from limner.memory.fingerprints import Fingerprint
from limner.memory.schema import FingerprintRow, RunRow, TaskRow
from limner.memory.store import Memory

STRANGE = 1.0
"""The fingerprint distance that one kind of images lies from another: from there on nothing is alike."""


class Familiar(NamedTuple):
    """The task in the memory most like another, how far its kind lies (``Fingerprint.distance``), and of how many."""

    name: str
    distance: float
    tasks: int


def kind(described: Fingerprint) -> Fingerprint:
    """What of a fingerprint says of what kind images are, not how many there are or how they vary.

    >>> kind(Fingerprint({"counts": {"images": 2.0}, "features": {"mean_0": 0.1, "deviation_0": 0.2}})).statistics
    {'features': {'mean_0': 0.1}}
    """
    kept = {name: dict(group) for name, group in described.statistics.items() if name not in ("counts", "variety")}
    if "features" in kept:
        kept["features"] = {name: value for name, value in kept["features"].items() if name.startswith("mean")}
    return Fingerprint(kept, described.features)


def nearest_task(memory: Memory, sha256: str) -> Familiar | None:
    """What lies nearest to the task ``sha256`` of the others of its goal that were learned; ``None`` where none were.

    The task must have been added with its fingerprint; ``None`` where it was not.
    """
    with memory.database.reading() as session:
        task = session.get(TaskRow, sha256)
        own = session.scalars(select(FingerprintRow).where(FingerprintRow.task_sha256 == sha256)).first()
        if task is None or own is None:
            return None
        others = session.execute(
            select(TaskRow.name, FingerprintRow.content)
            .join(FingerprintRow, FingerprintRow.task_sha256 == TaskRow.sha256)
            .where(TaskRow.goal == task.goal, TaskRow.sha256 != sha256, FingerprintRow.features == own.features)
            .where(TaskRow.support_sha256 != task.support_sha256, TaskRow.sha256.in_(select(RunRow.task_sha256)))
            .order_by(TaskRow.sha256)
        ).all()
        described = kind(Fingerprint.from_json(own.content))
        found = [(described.distance(kind(Fingerprint.from_json(content))), name) for name, content in others]
    if not found:
        return None
    distance, name = min(found)
    return Familiar(name, distance, len(found))
