"""Indices for memories of years: the newest first, and by score."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the indices."""
    for table in ("models", "recommendations", "runs"):
        op.create_index(op.f(f"ix_{table}_created"), table, ["created"], unique=False)
    op.create_index("ix_evaluations_metric_value", "evaluations", ["metric", "value"], unique=False)
