"""A results agent in one process: the three workers and the exporter over a real database and folder.

The Results Service is the stand-in behind the real client, the platform a table of files, the SCU a `FakeAgent`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.export_policy import WarningPolicy
from dicom_adapter.core.model import ExportFile, ExportTask, Instance, ResultsTask
from dicom_adapter.core.results_policy import ResultsCheck
from dicom_adapter.core.snapshot import Destination
from dicom_adapter.engines.clara_results import ClaraResultsService
from dicom_adapter.manager.exporter import Exporter, ExportSettings
from dicom_adapter.manager.results_downloader import DownloadSettings, ResultsDownloader
from dicom_adapter.manager.results_files import ResultsFiles
from dicom_adapter.manager.results_poller import PollSettings, ResultsPoller
from dicom_adapter.manager.results_reporter import ResultsReporter
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.spool.layout import StorageLayout
from dicom_adapter.store import export_tasks, results_tasks
from dicom_adapter.testing.results_service import ResultsService, Task, app
from tests.databases import fresh
from tests.fakes import PACS, FakeAgent, FakeClock, snapshot
from tests.peers import write_file

AGENT = "ClaraSCU"
DELAYS = (60.0, 600.0, 3600.0)


@dataclass
class FakePayloads:
    """Files by name, or what asking for one raises; `asked`: every name that was asked for."""

    files: dict[str, bytes | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    piece: int = 100  # bytes

    async def download(self, payload_id: str, name: str) -> AsyncIterator[bytes]:
        self.asked.append(name)
        found = self.files.get(name, PermanentError(f"payload {payload_id} has no file {name}"))
        if isinstance(found, Exception):
            raise found
        for start in range(0, len(found), self.piece):
            yield found[start : start + self.piece]


class ResultsHouse:
    """See the module."""

    def __init__(self, folder: Path, client: ClaraResultsService, service: ResultsService) -> None:
        self.layout = StorageLayout(folder)
        self.database = fresh(folder)
        self.clock = FakeClock()
        self.service = service
        self.payloads = FakePayloads()
        self.agent = FakeAgent()
        self.destinations: Mapping[str, Destination] = {"pacs": PACS}
        self.room = True
        self.made = folder / "made"
        self.made.mkdir()
        self.poller = ResultsPoller(
            self.database,
            self.clock,
            client,
            PollSettings(AGENT, 0.5, DELAYS),
            has_room=lambda: self.room,
            folder_of=lambda own_id: f"results/new/{own_id}",
            on_tasks=lambda: None,
        )
        self.downloader = ResultsDownloader(
            self.database,
            lambda: replace(snapshot(), destinations=self.destinations),
            self.clock,
            ResultsFiles(
                self.database,
                self.payloads,
                self.layout,
                path_of=self.path_of,
                has_room=lambda: self.room,
                check=ResultsCheck.STRICT,
            ),
            DownloadSettings(2, WarningPolicy.SUCCESS),
            on_files=lambda: None,
            on_end=lambda: None,
        )
        self.exporter = Exporter(
            self.database,
            lambda: replace(snapshot(), destinations=self.destinations),
            self.clock,
            self.agent,
            ExportSettings(2, DELAYS, WarningPolicy.SUCCESS),
        )
        self.reporter = ResultsReporter(self.database, self.clock, client, Trigger())

    def path_of(self, instance: Instance) -> Path:
        return self.layout.instance(instance.association_id, instance.number)

    def register(self, count: int, parameters: object = '"PACS"', **more: object) -> Task:
        """A task with `count` good files, as the end of a pipeline leaves it."""
        names = [f"dicom-op/{number}.dcm" for number in range(1, count + 1)]
        for number, name in enumerate(names, start=1):
            self.payloads.files[name] = write_file(self.made, number).read_bytes()
        return self.service.add(AGENT, "payload", names, parameters, **more)  # type: ignore[arg-type]

    async def poll(self) -> None:
        self.clock.moment = max(self.clock.moment, self.poller._not_before)
        await self.poller.step()

    async def download(self) -> None:
        await self.downloader.step()
        while self.downloader._active:
            for task in list(self.downloader._active.values()):
                await task

    async def export(self) -> None:
        await self.exporter.step()
        while self.exporter._active:
            for task in list(self.exporter._active.values()):
                await task

    async def turn(self) -> None:
        """Everything that happens to a task that is given now."""
        await self.poll()
        await self.download()
        await self.export()
        await self.reporter.step()

    def tasks(self) -> list[ResultsTask]:
        with self.database.read() as connection:
            found = [results_tasks.by_task_id(connection, task_id) for task_id in self.service.tasks]
        return [task for task in found if task is not None]

    def task(self) -> ResultsTask:
        [task] = self.tasks()
        return task

    def exports(self) -> list[ExportTask]:
        with self.database.read() as connection:
            return [export for task in self.tasks() for export in export_tasks.of_results_task(connection, task.id)]

    def files(self, place: int = 0) -> list[ExportFile]:
        with self.database.read() as connection:
            return export_tasks.files_of(connection, self.exports()[place].id)

    def close(self) -> None:
        self.database.close()


@asynccontextmanager
async def results_house(folder: Path) -> AsyncIterator[ResultsHouse]:
    service = ResultsService()
    client = ClaraResultsService("http://results", transport=httpx2.ASGITransport(app=app(service)))
    house = ResultsHouse(folder, client, service)
    try:
        yield house
    finally:
        house.close()
        await client.close()
