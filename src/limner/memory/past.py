"""The runs of one search, which their names tell."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from limner.memory import lookup
from limner.memory.schema import CurveRow, RunRow
from limner.memory.store import Memory


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
