"""The engine of the store: SQLite in WAL mode with full synchronisation and one writer.

Blocking: the managers call it from a thread. PostgreSQL comes with scale-out; nothing above this module knows.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError

from dicom_adapter.core.errors import AdapterError

BUSY_TIMEOUT = 30.0  # seconds that a writer waits for another process (backup tools) before it gives up

_WRITES = "dicom_adapter_writes"  # the execution option of a connection that is going to write


class DatabaseUnusable(AdapterError):
    """The database file is damaged, locked or from a newer version. Nothing was changed; the spool is untouched."""


class Database:
    """One database file. `write` is one transaction of the one writer; `read` sees a consistent snapshot.

    `fault`: why it took no change when it was last asked to, in the database's words, which quote no values; or None.

    Raises:
        DatabaseUnusable: the file is no database, damaged, locked, or written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault: str | None = None
        self.engine = _sqlite_engine(path)
        self._writing = self.engine.execution_options(**{_WRITES: True})
        self._writer = threading.Lock()
        try:
            self._migrate()
        except OperationalError as error:
            raise DatabaseUnusable(
                f"the database {path} cannot be opened ({error.orig}): its folder must be writable, with free "
                "space, and no other program may keep it locked. Nothing was changed"
            ) from error
        except (DatabaseError, CommandError) as error:
            raise DatabaseUnusable(
                f"the database {path} cannot be used ({error.__class__.__name__}). The received files are untouched. "
                "Restore it from a backup, or move it away: the adapter then starts with a new one and takes up the "
                "instances of its spool again"
            ) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed, and durable, when the block ends without an error."""
        try:
            with self._writer, self._writing.begin() as connection:
                before = _changes(connection)
                yield connection
                changed = _changes(connection) > before
        except OperationalError as error:
            self.fault = str(error.orig)
            raise
        if changed:  # one that changes nothing also succeeds on a full disk
            self.fault = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; never blocks the writer (WAL)."""
        with self.engine.connect() as connection:
            yield connection

    def check(self) -> None:
        """Raise sqlalchemy's OperationalError when the database cannot be written: after a fault, a write tells."""
        with self.write() as connection:
            if self.fault is not None:
                connection.execute(text("PRAGMA user_version = 1"))  # the header; nobody reads it
        self.fault = None

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        with self.write() as connection:
            present = MigrationContext.configure(connection).get_current_heads()
            unknown = set(present) - _known_revisions()
            if unknown:
                raise DatabaseUnusable(
                    f"the database {self.path} was written by a newer version of the adapter (its schema is "
                    f"{', '.join(unknown)}): start that version. Nothing was changed"
                )
            config = _migrations()
            if present != tuple(ScriptDirectory.from_config(config).get_heads()):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")


def _changes(connection: Connection) -> int:
    """How many rows this connection has ever changed."""
    driver: Any = connection.connection.driver_connection
    return int(driver.total_changes)


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


@functools.cache
def _known_revisions() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_migrations()).walk_revisions())


def _sqlite_engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False},
        max_overflow=-1,  # as many as there are threads: a worker never waits for readers of the REST API
        hide_parameters=True,  # errors go to the log, and values are nobody's business there
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would be deferred: see `begin`
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # a commit survives a power cut
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock before it looks: one that looked first fails at once, without any waiting, when
        # somebody else (the store of resources, an administrator's tool) has written in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")

    return engine
