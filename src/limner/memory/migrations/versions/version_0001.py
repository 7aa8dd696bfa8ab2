"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "curves",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("points", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_curves")),
    )
    op.create_table(
        "evaluations",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("extractor", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("floor", sa.Double(), nullable=True),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("query", sa.BigInteger(), nullable=False),
        sa.Column("support", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "metric", "extractor", name=op.f("pk_evaluations")),
    )
    op.create_table(
        "image_sets",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("image_shape", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("classes", sa.BigInteger(), nullable=False),
        sa.Column("licence", sa.String(), nullable=False),
        sa.Column("notes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("parent_sha256", sa.String(length=64), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_sha256"], ["image_sets.sha256"], name=op.f("fk_image_sets_parent_sha256_image_sets")
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_image_sets")),
    )
    op.create_index(op.f("ix_image_sets_name"), "image_sets", ["name"], unique=False)
    op.create_index(op.f("ix_image_sets_parent_sha256"), "image_sets", ["parent_sha256"], unique=False)
    op.create_table(
        "learners",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("image_shape", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("options", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_learners")),
    )
    op.create_index(op.f("ix_learners_kind"), "learners", ["kind"], unique=False)
    op.create_table(
        "strategies",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_strategies")),
    )
    op.create_table(
        "models",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("learner_sha256", sa.String(length=64), nullable=False),
        sa.Column("parent_sha256", sa.String(length=64), nullable=True),
        sa.Column("family", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("imported", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["learner_sha256"], ["learners.sha256"], name=op.f("fk_models_learner_sha256_learners")
        ),
        sa.ForeignKeyConstraint(["parent_sha256"], ["models.sha256"], name=op.f("fk_models_parent_sha256_models")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_learner_sha256"), "models", ["learner_sha256"], unique=False)
    op.create_index(op.f("ix_models_name"), "models", ["name"], unique=False)
    op.create_index(op.f("ix_models_parent_sha256"), "models", ["parent_sha256"], unique=False)
    op.create_index(op.f("ix_models_role"), "models", ["role"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("goal", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("support_sha256", sa.String(length=64), nullable=False),
        sa.Column("query_sha256", sa.String(length=64), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["query_sha256"], ["image_sets.sha256"], name=op.f("fk_tasks_query_sha256_image_sets")),
        sa.ForeignKeyConstraint(
            ["support_sha256"], ["image_sets.sha256"], name=op.f("fk_tasks_support_sha256_image_sets")
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_tasks")),
    )
    op.create_index(op.f("ix_tasks_query_sha256"), "tasks", ["query_sha256"], unique=False)
    op.create_index(op.f("ix_tasks_support_sha256"), "tasks", ["support_sha256"], unique=False)
    op.create_table(
        "fingerprints",
        sa.Column("task_sha256", sa.String(length=64), nullable=False),
        sa.Column("features", sa.String(), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["task_sha256"], ["tasks.sha256"], name=op.f("fk_fingerprints_task_sha256_tasks")),
        sa.PrimaryKeyConstraint("task_sha256", "features", name=op.f("pk_fingerprints")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("task_sha256", sa.String(length=64), nullable=False),
        sa.Column("learner_sha256", sa.String(length=64), nullable=False),
        sa.Column("strategy_sha256", sa.String(length=64), nullable=False),
        sa.Column("start_sha256", sa.String(length=64), nullable=True),
        sa.Column("model_sha256", sa.String(length=64), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("directory", sa.String(), nullable=True),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("process", sa.BigInteger(), nullable=True),
        sa.Column("process_started", sa.String(), nullable=True),
        sa.Column("lease", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("threads", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("notes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("lineage", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("imported", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("finished", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["learner_sha256"], ["learners.sha256"], name=op.f("fk_runs_learner_sha256_learners")),
        sa.ForeignKeyConstraint(["model_sha256"], ["models.sha256"], name=op.f("fk_runs_model_sha256_models")),
        sa.ForeignKeyConstraint(["start_sha256"], ["models.sha256"], name=op.f("fk_runs_start_sha256_models")),
        sa.ForeignKeyConstraint(
            ["strategy_sha256"], ["strategies.sha256"], name=op.f("fk_runs_strategy_sha256_strategies")
        ),
        sa.ForeignKeyConstraint(["task_sha256"], ["tasks.sha256"], name=op.f("fk_runs_task_sha256_tasks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_learner_sha256"), "runs", ["learner_sha256"], unique=False)
    op.create_index(op.f("ix_runs_model_sha256"), "runs", ["model_sha256"], unique=False)
    op.create_index(op.f("ix_runs_name"), "runs", ["name"], unique=False)
    op.create_index(op.f("ix_runs_start_sha256"), "runs", ["start_sha256"], unique=False)
    op.create_index(op.f("ix_runs_state"), "runs", ["state"], unique=False)
    op.create_index(op.f("ix_runs_strategy_sha256"), "runs", ["strategy_sha256"], unique=False)
    op.create_index(op.f("ix_runs_task_sha256"), "runs", ["task_sha256"], unique=False)
    op.create_table(
        "recommendations",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("task_sha256", sa.String(length=64), nullable=False),
        sa.Column("learner_sha256", sa.String(length=64), nullable=False),
        sa.Column("strategy_sha256", sa.String(length=64), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("expected", sa.Double(), nullable=True),
        sa.Column("evidence", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("outcome_run", sa.String(length=12), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["learner_sha256"], ["learners.sha256"], name=op.f("fk_recommendations_learner_sha256_learners")
        ),
        sa.ForeignKeyConstraint(["outcome_run"], ["runs.id"], name=op.f("fk_recommendations_outcome_run_runs")),
        sa.ForeignKeyConstraint(
            ["strategy_sha256"], ["strategies.sha256"], name=op.f("fk_recommendations_strategy_sha256_strategies")
        ),
        sa.ForeignKeyConstraint(["task_sha256"], ["tasks.sha256"], name=op.f("fk_recommendations_task_sha256_tasks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recommendations")),
    )
    op.create_index(op.f("ix_recommendations_outcome_run"), "recommendations", ["outcome_run"], unique=False)
    op.create_index(op.f("ix_recommendations_task_sha256"), "recommendations", ["task_sha256"], unique=False)
