"""Tasks of the Results Service; exports and their files that belong to one.

SQLite cannot change a column, and dropping a table with rows that refer to it would take those along. So both tables of
exports are made anew, filled, and put in the place of the old ones, children first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TASK_COLUMNS = "id, job_id, destination, state, attempts, failures, created_at, next_attempt_at, ended_at, reason"
_FILE_COLUMNS = (
    "task_id, number, path, sop_class_uid, sop_instance_uid, study_instance_uid, transfer_syntax_uid, size, state, "
    "status, reason"
)


def upgrade() -> None:
    _make_results_tasks()
    _make_export_tasks()
    _make_export_files()
    op.execute(f"INSERT INTO new_export_tasks ({_TASK_COLUMNS}) SELECT {_TASK_COLUMNS} FROM export_tasks")
    op.execute(f"INSERT INTO new_export_files ({_FILE_COLUMNS}) SELECT {_FILE_COLUMNS} FROM export_files")
    op.drop_table("export_files")
    op.drop_table("export_tasks")
    op.rename_table("new_export_tasks", "export_tasks")  # references to it follow
    op.rename_table("new_export_files", "export_files")
    op.create_index("ix_export_tasks_state", "export_tasks", ["state"])
    op.create_index("uq_export_tasks_job_destination", "export_tasks", ["job_id", "destination"], unique=True)
    op.create_index(
        "uq_export_tasks_results_task_destination", "export_tasks", ["results_task_id", "destination"], unique=True
    )


def _make_results_tasks() -> None:
    op.create_table(
        "results_tasks",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("task_id", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(32)),
        sa.Column("platform_job_id", sa.Text, nullable=False),
        sa.Column("payload_id", sa.Text, nullable=False),
        sa.Column("uris", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("turns", sa.Integer, nullable=False),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("next_attempt_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("reason", sa.Text),
        sa.Column("reported_at", sa.Float),
        sa.Column("removed_at", sa.Float),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_results_tasks_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results_tasks")),
        sa.UniqueConstraint("task_id", name=op.f("uq_results_tasks_task_id")),
    )
    op.create_index("ix_results_tasks_job_id", "results_tasks", ["job_id"])
    op.create_index("ix_results_tasks_state", "results_tasks", ["state"])


def _make_export_tasks() -> None:
    op.create_table(
        "new_export_tasks",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("job_id", sa.String(32)),
        sa.Column("results_task_id", sa.String(32)),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("peer", sa.Text),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("next_attempt_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint("(job_id IS NULL) <> (results_task_id IS NULL)", name=op.f("ck_export_tasks_one_origin")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_export_tasks_job_id")),
        sa.ForeignKeyConstraint(
            ["results_task_id"],
            ["results_tasks.id"],
            name=op.f("fk_export_tasks_results_task_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export_tasks")),
    )


def _make_export_files() -> None:
    op.create_table(
        "new_export_files",
        sa.Column("task_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sop_class_uid", sa.String(64)),
        sa.Column("sop_instance_uid", sa.String(64)),
        sa.Column("study_instance_uid", sa.String(64)),
        sa.Column("transfer_syntax_uid", sa.String(64)),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("reason", sa.Text),
        sa.ForeignKeyConstraint(
            ["task_id"], ["new_export_tasks.id"], name=op.f("fk_export_files_task_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", "number", name=op.f("pk_export_files")),
    )
