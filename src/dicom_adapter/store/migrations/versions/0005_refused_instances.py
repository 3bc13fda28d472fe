"""Which instances were refused, so that those that have come since are no longer told as missing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("associations", sa.Column("refused_unnamed", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE associations SET refused_unnamed = refused")  # what was not noted until now
    op.create_table(
        "refusals",
        sa.Column("association_id", sa.String(32), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
        sa.ForeignKeyConstraint(["association_id"], ["associations.id"], ondelete="CASCADE"),
    )
