"""After a start nothing waits longer than it has to, whatever the clock said when it was stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_adapter.core.model import Batch, BatchState, ExportState, ExportTask, Job, JobState
from dicom_adapter.store import batches, export_tasks, jobs, restart
from tests.databases import fresh
from tests.fakes import AE, SLIDING

YEAR = 365 * 86_400.0


def test_what_waits_for_its_next_try_is_tried_now(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    with database.write() as connection:
        batches.open_batch(connection, Batch("b", "LUNG", BatchState.HELD, 1000, AE))
        batches.release(connection, "b", 1000)
        batches.processor_failed(connection, "b", 0, 1000 + YEAR, "why")
        jobs.add(connection, Job("j", "n", "b", "p1", "x", "LUNG", JobState.QUEUED, 1, 1, 0, 1000), None)
        jobs.step_failed(connection, "j", 1000 + YEAR, "why")
        export_tasks.add(connection, ExportTask("e", "j", "PACS", ExportState.PENDING, 0, 0, 1000), [])
        export_tasks.attempted(
            connection,
            "e",
            state=ExportState.PENDING,
            failed=True,
            next_attempt_at=1000 + YEAR,
            ended_at=None,
            reason="why",
        )
        assert not jobs.due(connection, 1000, 1)
        restart.resume(connection, 1000)
        assert [batch.id for batch, *_ in batches.to_process(connection, 1000, 1)] == ["b"]
        [job] = jobs.due(connection, 1000, 1)
        [task] = export_tasks.due(connection, 1000)
        assert job.failures == 1  # what failed is not forgotten
        assert (task.attempts, task.failures) == (1, 0)  # nor is the try that it waited for used up by a restart
    database.close()


@pytest.mark.parametrize(("stored", "resumed"), [(1010.0, 1010.0), (900.0, 900.0), (1000 + YEAR, 1030.0)])
def test_a_deadline_stays_unless_the_clock_was_set_back(tmp_path: Path, stored: float, resumed: float) -> None:
    database = fresh(tmp_path)
    with database.write() as connection:
        batches.open_batch(connection, Batch("b", "SLIDING", BatchState.COLLECTING, 900, SLIDING, deadline=stored))
        restart.resume(connection, 1000)
        batch = batches.collecting(connection, "SLIDING")
        assert batch is not None
        assert batch.deadline == resumed
    database.close()
