"""Alembic's entry: runs the revisions on the connection that `store.database` hands over."""

from __future__ import annotations

from alembic import context

from dicom_adapter.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
