"""The database file: migrated as the tables say, refused when it is not ours, durable, one writer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from dicom_adapter.config.resources import ClaraAeTitle, Kind
from dicom_adapter.config_stores.database import DatabaseConfigStore
from dicom_adapter.config_stores.database import metadata as config_metadata
from dicom_adapter.core.model import Batch, BatchState, DeliveryState, ExportFile, ExportState, ExportTask
from dicom_adapter.store import batches, export_tasks
from dicom_adapter.store import database as database_module
from dicom_adapter.store.database import Database, DatabaseUnusable
from dicom_adapter.store.tables import metadata
from tests.databases import fresh
from tests.fakes import AE


def _open(database: Database, *ids: str) -> None:
    """Open these batches in one transaction."""
    with database.write() as connection:
        for batch_id in ids:
            batches.open_batch(connection, Batch(batch_id, "LUNG", BatchState.COLLECTING, 1.0, AE, deadline=9.0))


def test_migrations_make_what_the_tables_say(tmp_path: Path) -> None:
    database = Database(tmp_path / "adapter.db")
    with database.read() as connection:
        every: Any = [metadata, config_metadata]  # Alembic takes several, its annotation one
        assert compare_metadata(MigrationContext.configure(connection), every) == []
    database.close()


def upgraded(path: Path, revision: str, *statements: str) -> Database:
    """The database of an older version, with what it had written, as this version opens it."""
    engine, config = database_module._sqlite_engine(path), database_module._migrations()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
    return Database(path)


def test_exports_of_an_older_version_stay_as_they_are(tmp_path: Path) -> None:
    """Revision 0003 makes the tables of exports anew."""
    database = upgraded(
        tmp_path / "adapter.db",
        "0002",
        "INSERT INTO batches (id, called_ae_title, state, policy, opened_at) VALUES ('b', 'A', 'processed', '', 1)",
        "INSERT INTO jobs (id, name, batch_id, pipeline_id, pipeline_name, called_ae_title, state, "
        "attempt, attempts_allowed, failures, created_at, partial) "
        "VALUES ('j', 'n', 'b', 'p', 'p', 'A', 'x', 1, 1, 0, 1, 0)",
        "INSERT INTO export_tasks VALUES ('e', 'j', 'PACS', 'failed', 4, 4, 7.5, NULL, 9.5, 'it is away')",
        "INSERT INTO export_files VALUES ('e', 2, 'r/2.dcm', '1', '1.2', '1.3', '1.4', 9, 'failed', 42752, 'why')",
    )
    with database.read() as connection:
        assert export_tasks.get(connection, "e") == ExportTask(
            "e", "j", "PACS", ExportState.FAILED, 4, 4, 7.5, ended_at=9.5, reason="it is away"
        )
        assert export_tasks.files_of(connection, "e") == [
            ExportFile("e", 2, "r/2.dcm", "1", "1.2", "1.3", "1.4", 9, DeliveryState.FAILED, 0xA700, "why")
        ]
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(text("INSERT INTO export_files SELECT 'nobody', 1, '', '', '', '', '', 0, '', 0, ''"))
    database.close()


def test_a_full_disk_is_told_until_something_can_be_written(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with database.read() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))

    def limit(most: int) -> None:
        with database.engine.connect() as connection:
            connection.execute(text(f"PRAGMA max_page_count = {most}"))

    def fill() -> None:
        with database.write() as connection:
            connection.execute(text(many + insert))

    limit(pages)
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) "
    insert = "INSERT INTO batches (id, called_ae_title, state, policy, opened_at) SELECT i, 'A', 'x', '', 1 FROM n"
    with pytest.raises(OperationalError):
        fill()
    assert database.fault == "database or disk is full"
    with database.write():
        pass  # proves nothing
    assert database.fault == "database or disk is full"
    limit(pages * 100)
    fill()
    assert database.fault is None
    database.close()


def test_associations_of_an_older_version_had_nothing_refused(tmp_path: Path) -> None:
    row = "INSERT INTO associations VALUES ('a', 'CT1', 'LUNG', 'h', 1, 1, 2, 'released', 2, 9, NULL, NULL, NULL)"
    database = upgraded(tmp_path / "adapter.db", "0003", row)
    with database.read() as connection:
        assert connection.execute(text("SELECT refused, refused_why FROM associations")).all() == [(0, None)]
    database.close()


def test_what_an_older_version_refused_has_no_names(tmp_path: Path) -> None:
    values = "'a', 'CT1', 'LUNG', 'h', 1, 1, 2, 'released', 2, 9, NULL, NULL, NULL, 3, 'A700H'"
    row = f"INSERT INTO associations VALUES ({values})"
    database = upgraded(tmp_path / "adapter.db", "0004", row)
    with database.read() as connection:
        assert connection.execute(text("SELECT refused, refused_unnamed FROM associations")).all() == [(3, 3)]
    database.close()


@pytest.mark.parametrize("origins", ["NULL, NULL", "'j', 'r'"])
def test_an_export_has_one_origin(tmp_path: Path, origins: str) -> None:
    database = fresh(tmp_path)
    with pytest.raises(IntegrityError, match="one_origin"), database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO export_tasks (id, job_id, results_task_id, destination, state, attempts, failures, "
                f"created_at) VALUES ('e', {origins}, 'PACS', 'pending', 0, 0, 1)"
            )
        )
    database.close()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    fresh(tmp_path).close()
    database = Database(tmp_path / "adapter.db")
    with database.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0005"
    database.close()


def test_resources_of_a_version_before_the_migrations_are_taken_up(tmp_path: Path) -> None:
    """Versions before revision 0002 made the tables of resources beside the migrations, with fewer columns."""
    path = tmp_path / "adapter.db"
    spec = """{"name": "brain", "aeTitle": "BRAIN", "pipelineId": "p", "timeout": 5, "overwriteSameInstance": false,
        "ignoredSopClasses": [], "processors": ["job"], "processorSettings": {}}"""
    config = database_module._migrations()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as upgraded:
        config.attributes["connection"] = upgraded
        command.upgrade(config, "0001")
        upgraded.execute(
            text(
                "CREATE TABLE config_resources (kind VARCHAR(32) NOT NULL, name VARCHAR(253) NOT NULL, uid VARCHAR(36) "
                "NOT NULL, resource_version INTEGER NOT NULL, created_at FLOAT NOT NULL, spec TEXT NOT NULL, "
                "PRIMARY KEY (kind, name))"
            )
        )
        upgraded.execute(
            text("CREATE TABLE config_changes (id INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (id))")
        )
        upgraded.execute(text("INSERT INTO config_changes VALUES (1, 7)"))
        upgraded.execute(
            text("INSERT INTO config_resources VALUES ('ClaraAeTitle', 'brain', 'u', 7, 1700000000.0, :spec)"),
            {"spec": spec},
        )
    engine.dispose()
    database = Database(path)
    with database.read() as connection:
        every: Any = [metadata, config_metadata]
        assert compare_metadata(MigrationContext.configure(connection), every) == []
    store = DatabaseConfigStore(database.engine)
    (found,) = asyncio.run(store.list(Kind.CLARA_AE_TITLE))
    assert isinstance(found, ClaraAeTitle)
    assert (found.metadata.uid, found.metadata.generation, found.spec.timeout) == ("u", 1, 5)
    assert found.metadata.creation_timestamp == "2023-11-14T22:13:20Z"
    assert asyncio.run(store.version()) == 7
    changed = asyncio.run(store.replace(Kind.CLARA_AE_TITLE, "brain", {"aeTitle": "BRAIN", "pipelineId": "q"}))
    assert changed.metadata.generation == 2
    database.close()


def test_a_commit_survives_a_power_cut(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with database.read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    database.close()


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be taken for one" * 10, b"SQLite format 3\0" + bytes(84)]
)
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "adapter.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseUnusable, match=r"adapter\.db cannot be used .* The received files are untouched"):
        Database(path)
    assert path.read_bytes() == content


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(DatabaseUnusable, match="written by a newer version"):
        Database(tmp_path / "adapter.db")


def test_a_failed_transaction_leaves_no_trace(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with pytest.raises(IntegrityError):
        _open(database, "b", "b")
    with database.read() as connection:
        assert batches.get(connection, "b") is None
    database.close()


def test_two_batches_cannot_collect_for_one_ae_title(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with pytest.raises(IntegrityError):
        _open(database, "b1", "b2")
    database.close()


def test_an_error_shows_no_value(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with pytest.raises(IntegrityError) as raised:
        _open(database, "secret-id", "secret-id")
    assert "secret-id" not in str(raised.value)
    database.close()


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database that another program has locked for writing."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT", 0.01)
    database = fresh(tmp_path)
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield database
    database.close()


def test_the_check_finds_that_nothing_can_be_written(locked: Database) -> None:
    with pytest.raises(OperationalError):
        locked.check()
    with locked.read() as connection:  # readers do not mind
        assert batches.get(connection, "b") is None


def test_a_locked_database_is_told_in_words(locked: Database) -> None:
    with pytest.raises(DatabaseUnusable, match=r"adapter\.db cannot be opened \(database is locked\)"):
        Database(locked.path)


def test_a_transaction_that_looks_first_is_not_overtaken(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with closing(sqlite3.connect(database.path, isolation_level=None, timeout=0)) as other:
        with database.write() as connection:
            assert batches.get(connection, "b") is None
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("DELETE FROM batches")
            batches.open_batch(connection, Batch("b", "LUNG", BatchState.COLLECTING, 1.0, AE, deadline=9.0))
        other.execute("DELETE FROM processings")
    database.close()


def test_many_readers_keep_no_worker_waiting(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with ExitStack() as readers:
        for _ in range(50):  # more than the REST API has threads
            readers.enter_context(database.read()).execute(text("SELECT 1"))
        _open(database, "b")
    database.close()
