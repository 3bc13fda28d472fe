"""Clara AE Titles, sources and destinations: the tables of `config_stores.database`.

Versions before this one made them outside of the migrations, without `generation` and `status`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_GENERATION = sa.Column("generation", sa.Integer, nullable=False, server_default="1")
_STATUS = sa.Column("status", sa.Text)


def upgrade() -> None:
    if sa.inspect(op.get_bind()).has_table("config_resources"):
        op.add_column("config_resources", _GENERATION)
        op.add_column("config_resources", _STATUS)
        return
    op.create_table(
        "config_resources",
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(253), primary_key=True),
        sa.Column("uid", sa.String(36), nullable=False),
        sa.Column("resource_version", sa.Integer, nullable=False),
        _GENERATION,
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        _STATUS,
    )
    changes = op.create_table(
        "config_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.bulk_insert(changes, [{"id": 1, "version": 1}])
