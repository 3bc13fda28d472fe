"""The files of a results task: brought here from the payload, and judged. What is here already is not fetched again.

Why here: the downloader knows when a task has its turn; this knows what a file may do to it. One that cannot be had, or
is no DICOM, counts as failed; trouble with our own storage is nobody's failure, and is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from dicom_adapter.core.errors import AdapterError, PermanentError, TemporaryError
from dicom_adapter.core.model import DeliveryState, ExportFile, Instance, ResultsTask
from dicom_adapter.core.ports import Payloads
from dicom_adapter.core.results_policy import ResultsCheck
from dicom_adapter.core.results_tasks import why_no_file_name
from dicom_adapter.downloads import NotDicom, StorageTrouble, download, set_aside
from dicom_adapter.results import Result, check_results
from dicom_adapter.store import jobs
from dicom_adapter.store.database import Database

log = structlog.get_logger("results")

DOWNLOAD_DELAYS = (1.0, 3.0)  # seconds before each further try of one file


class Folders(Protocol):
    """Where the files of a task are (`spool.layout.StorageLayout`)."""

    @property
    def root(self) -> Path: ...

    def staged_results(self, job_id: str) -> Path: ...

    def results(self, job_id: str) -> Path: ...

    def quarantined(self, job_id: str) -> Path: ...


class ResultsFiles:
    """See the module. `path_of`: of an instance in the spool. `check`: `results.check`."""

    def __init__(
        self,
        database: Database,
        payloads: Payloads,
        folders: Folders,
        *,
        path_of: Callable[[Instance], Path],
        has_room: Callable[[], bool],
        check: ResultsCheck,
    ) -> None:
        self._database = database
        self._payloads = payloads
        self._folders = folders
        self._path_of = path_of
        self._has_room = has_room
        self._check = check

    async def fetch(self, task: ResultsTask, wanted: Iterable[int]) -> dict[int, str]:
        """Bring these files here; answers with those that could not be had, and why. Raises StorageTrouble."""
        failures: dict[int, str] = {}
        delays: Sequence[float] = DOWNLOAD_DELAYS
        for number in wanted:
            if self._path(task, number).exists():
                continue
            try:
                await self._fetch_one(task, number, delays)
                delays = DOWNLOAD_DELAYS
            except StorageTrouble:
                raise
            except NotDicom as error:
                failures[number] = f"the file {error}"
            except PermanentError as error:
                failures[number] = self._words(task, number, error)
            except TemporaryError as error:
                failures[number] = self._words(task, number, error)
                delays = ()  # who did not answer three times is asked once for each of the others, until it answers
        with contextlib.suppress(OSError):
            self._folders.staged_results(task.id).rmdir()
        return failures

    async def _fetch_one(self, task: ResultsTask, number: int, delays: Sequence[float]) -> None:
        name = task.uris[number - 1]
        unusable = why_no_file_name(name)
        if unusable is not None:
            raise PermanentError(f"its name {unusable}")
        part = self._folders.staged_results(task.id) / f"{number}.part"
        for delay in (*delays, None):
            try:
                pieces = self._payloads.download(task.payload_id, name)
                await download(pieces, part, self._path(task, number), self._has_room)
                return
            except StorageTrouble:
                raise
            except (TemporaryError, TimeoutError) as error:
                silent = "the platform went silent"
                words = self._words(task, number, error) if isinstance(error, TemporaryError) else silent
                if delay is None:
                    raise TemporaryError(words) from error
                log.warning("download failed and is tried again", results_task=task.id, file=number, why=words)
                await asyncio.sleep(delay)

    def _words(self, task: ResultsTask, number: int, error: AdapterError) -> str:
        """What the platform says, without the name of the file: a pipeline may have made it of a patient's."""
        name = re.escape(task.uris[number - 1].strip("/"))
        return re.sub(rf"(?<!\w)/?{name}(?!\w)", f"[file {number}]", str(error)) if name else str(error)

    def judge(self, task: ResultsTask, wanted: Iterable[int], failures: Mapping[int, str]) -> list[ExportFile]:
        """What each of these files is to its exports. Blocking: reads the head of each file, moves the refused ones."""
        present = [number for number in range(1, len(task.uris) + 1) if self._path(task, number).exists()]
        results = self._check_all(task, present)
        found = dict(zip(present, results, strict=True))
        return [
            self._accept_or_refuse(task, number, found[number])
            if number in found
            else self._failed(number, self._path(task, number), failures.get(number, "the file is gone"))
            for number in wanted
        ]

    def _check_all(self, task: ResultsTask, numbers: Sequence[int]) -> Sequence[Result]:
        """Results of a job of ours have to fit its batch (`results.check`); of any other, to be DICOM."""
        paths = [self._path(task, number) for number in numbers]
        with self._database.read() as connection:
            job = None if task.job_id is None else jobs.get(connection, task.job_id)
            sources = [] if job is None else jobs.instances_of_job(connection, job)
        studies = {one.study_instance_uid: self._path_of(one) for one in sources if one.study_instance_uid is not None}
        if not all(path.exists() for path in studies.values()):
            log.warning("results are not compared with their batch: its files are removed", results_task=task.id)
            studies = {}
        if not studies:
            return check_results(paths, {}, (), ResultsCheck.OFF, numbers)
        return check_results(paths, studies, {one.sop_instance_uid for one in sources}, self._check, numbers)

    def _accept_or_refuse(self, task: ResultsTask, number: int, result: Result) -> ExportFile:
        facts = result.facts
        if result.quarantine_reason is None and facts is not None:
            return ExportFile(
                task_id="",
                number=number,
                path=self._relative(result.path),
                sop_class_uid=facts.sop_class_uid,
                sop_instance_uid=facts.sop_instance_uid,
                study_instance_uid=facts.study_instance_uid,
                transfer_syntax_uid=facts.transfer_syntax_uid,
                size=facts.size,
            )
        reason = result.quarantine_reason or "the file cannot be read"
        if task.job_id is None:
            result.path.unlink(missing_ok=True)  # the payload has it
            return self._failed(number, result.path, reason)
        kept = self._folders.quarantined(task.id) / str(number)
        set_aside(result.path, kept)
        return self._failed(number, kept, f"in quarantine: {reason}")

    def _failed(self, number: int, path: Path, reason: str) -> ExportFile:
        return ExportFile(
            task_id="",
            number=number,
            path=self._relative(path),
            sop_class_uid=None,
            sop_instance_uid=None,
            study_instance_uid=None,
            transfer_syntax_uid=None,
            size=0,
            state=DeliveryState.FAILED,
            reason=reason,
        )

    def _path(self, task: ResultsTask, number: int) -> Path:
        return self._folders.results(task.id) / f"{number}.dcm"

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._folders.root))
