"""What a start changes in the facts: nothing waits longer than it has to.

Why here: waiting times were stored by a clock that may have been set since, by hours or years; and whoever restarts the
adapter expects that what waited goes on. Facts themselves need no repair (`core.job_lifecycle`).
"""

from __future__ import annotations

from sqlalchemy import Connection, update

from dicom_adapter.store import batches
from dicom_adapter.store.tables import export_tasks, jobs, processings, results_tasks


def resume(connection: Connection, now: float) -> None:
    """Try at once what waits for its next try; let no batch collect for longer than its timeout from now.

    An export that is tried early has not used up the try that it waited for: it is given up by `scu.retry-delays`, not
    by restarts. `now`: seconds on the steady clock. For the start, before anything else.
    """
    waits = export_tasks.c.next_attempt_at.is_not(None) & (export_tasks.c.failures > 0)
    connection.execute(update(export_tasks).where(waits).values(failures=export_tasks.c.failures - 1))
    for table in (processings, jobs, results_tasks, export_tasks):
        connection.execute(update(table).where(table.c.next_attempt_at.is_not(None)).values(next_attempt_at=None))
    for batch in batches.all_collecting(connection):
        latest = now + batch.policy.timeout
        if batch.deadline is not None and batch.deadline > latest:
            batches.set_deadline(connection, batch.id, latest)
