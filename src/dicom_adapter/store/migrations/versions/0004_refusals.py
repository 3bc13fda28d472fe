"""What was refused of an association, and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("associations", sa.Column("refused", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("associations", sa.Column("refused_why", sa.Text))
