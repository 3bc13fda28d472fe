"""Ends a job that succeeded: its results are judged, staged, and made into export tasks.

Those of an engine elsewhere come by another way (`manager` has an agent of the Results Service): its jobs just end.
Staging is idempotent and durable (D8); then one transaction ends the job and makes the tasks. A crash in between stages
the same files under the same numbers once more. A cancellation does not end the thread that stages: each attempt has
folders of its own, and who finds that his was given up clears them away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from dicom_adapter.clock import Clock
from dicom_adapter.core.model import ExportFile, ExportState, ExportTask, Instance, Job, JobRef
from dicom_adapter.core.ports import LocalResults
from dicom_adapter.core.results_policy import ResultsCheck
from dicom_adapter.core.snapshot import Pipeline
from dicom_adapter.crash_points import crash_point
from dicom_adapter.identifiers import new_id
from dicom_adapter.results import Result, StagedResult, check_results, stage_results, unstage
from dicom_adapter.store import export_tasks, jobs
from dicom_adapter.store.database import Database

log = structlog.get_logger("results")


class ResultFolders(Protocol):
    """Where the results of a job's attempt are put (`spool.layout.StorageLayout`)."""

    @property
    def root(self) -> Path: ...

    def results_of_attempt(self, job_id: str, attempt: int) -> Path: ...

    def quarantined_of_attempt(self, job_id: str, attempt: int) -> Path: ...


class ResultsCollector:
    """See the module. `engines`: those that leave results here, by the word that a pipeline's `engine` gives."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        folders: ResultFolders,
        *,
        engines: Mapping[str, LocalResults],
        path_of: Callable[[Instance], Path],
        check: ResultsCheck,
    ) -> None:
        self._database = database
        self._clock = clock
        self._folders = folders
        self._engines = engines
        self._path_of = path_of
        self._check = check

    async def collect(self, job: Job, ref: JobRef, pipeline: Pipeline) -> None:
        await asyncio.to_thread(self._collect, job, ref, pipeline)

    def _collect(self, job: Job, ref: JobRef, pipeline: Pipeline) -> None:
        engine = self._engines.get(pipeline.engine)
        if engine is None:
            self._commit(job, pipeline, (), {}, "its results come through the Results Service")
            log.info("job succeeded", job=job.id)
            return
        try:
            self._take(job, ref, pipeline, engine)
        finally:
            self._clear_away_if_given_up(job)

    def _take(self, job: Job, ref: JobRef, pipeline: Pipeline, engine: LocalResults) -> None:
        with self._database.read() as connection:
            sources = jobs.instances_of_job(connection, job)
        studies = {one.study_instance_uid: self._path_of(one) for one in sources if one.study_instance_uid is not None}
        files = [*engine.result_files(ref), *engine.irregular_results(ref)]
        results = check_results(files, studies, {one.sop_instance_uid for one in sources}, self._check)
        accepted, quarantine = self._folders_of(job)
        staged = stage_results(results, engine.output_folder(ref), accepted, quarantine)
        refused = {
            number: (str((quarantine / str(number)).relative_to(self._folders.root)), result.quarantine_reason)
            for number, result in enumerate(results, start=1)
            if result.quarantine_reason is not None
        }
        crash_point("results.before_commit")
        tasks = self._commit(job, pipeline, staged, refused, _words(results, staged, pipeline))
        crash_point("results.after_commit")
        if tasks is None:
            log.info("results of a job that was canceled are not sent", job=job.id)
            return
        log.info("job succeeded", job=job.id, results=len(staged), quarantined=len(refused), exports=tasks)

    def _commit(
        self,
        job: Job,
        pipeline: Pipeline,
        staged: Sequence[StagedResult],
        refused: Mapping[int, tuple[str, str]],
        reason: str | None,
    ) -> list[str] | None:
        """The export tasks that were made, or None when the job was canceled meanwhile."""
        now = self._clock.now()
        made = []
        with self._database.write() as connection:
            if not jobs.succeeded(connection, job.id, job.attempt, now, reason):
                return None
            jobs.add_quarantined(connection, job.id, refused)
            for destination in pipeline.destinations if staged else ():
                task = ExportTask(new_id(), job.id, destination, ExportState.PENDING, 0, 0, now)
                export_tasks.add(connection, task, [self._file(task.id, result) for result in staged])
                made.append(task.id)
        return made

    def _clear_away_if_given_up(self, job: Job) -> None:
        """Housekeeping may have been there already, and does not come again; of this quarantine no row tells."""
        with self._database.read() as connection:
            wanted = jobs.has_attempt(connection, job.id, job.attempt)
        if not wanted:
            unstage(*self._folders_of(job))

    def _folders_of(self, job: Job) -> tuple[Path, Path]:
        """For what is accepted, and for the quarantine."""
        return (
            self._folders.results_of_attempt(job.id, job.attempt),
            self._folders.quarantined_of_attempt(job.id, job.attempt),
        )

    def _file(self, task_id: str, result: StagedResult) -> ExportFile:
        facts = result.facts
        return ExportFile(
            task_id=task_id,
            number=result.number,
            path=str(result.path.relative_to(self._folders.root)),
            sop_class_uid=facts.sop_class_uid,
            sop_instance_uid=facts.sop_instance_uid,
            study_instance_uid=facts.study_instance_uid,
            transfer_syntax_uid=facts.transfer_syntax_uid,
            size=facts.size,
        )


def _words(results: Sequence[Result], staged: Sequence[StagedResult], pipeline: Pipeline) -> str | None:
    """What a person should know of a job that succeeded and yet sends nothing, or not all."""
    if not results:
        return "it returned no results"
    if len(staged) < len(results):
        return f"{len(results) - len(staged)} of {len(results)} result files are in quarantine"
    if not pipeline.destinations:
        return f"pipeline {pipeline.name} has no destinations: its results are kept, and not sent"
    return None
