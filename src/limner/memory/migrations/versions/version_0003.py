"""Thumbnails of the images of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "thumbnails",
        sa.Column("task_sha256", sa.String(length=64), nullable=False),
        sa.Column("strip", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["task_sha256"], ["tasks.sha256"], name=op.f("fk_thumbnails_task_sha256_tasks")),
        sa.PrimaryKeyConstraint("task_sha256", name=op.f("pk_thumbnails")),
    )
