"""A site that runs Clara, on loopback: a platform with payloads, a Results Service, an archive, and the adapter."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt

from dicom_adapter.testing import results_service
from dicom_adapter.testing.clara_platform.server import Server
from dicom_adapter.testing.results_service import ResultsService, Task
from tests.adapter_process import AdapterProcess, configuration, merged
from tests.clara_platform import COPY, serving
from tests.waiting import eventually

AGENT = "ClaraSCU"
OUTPUT = "dicom-op"  # the operator that wrote the results

SYNTAXES = [
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
]


class Archive:
    """A pynetdicom Storage SCP that takes every transfer syntax as it is; `answer` is the status it gives.

    `received`: how often, by SOP Instance UID. `files`: the Part 10 file of each.
    """

    def __init__(self, ae_title: str = "ARCHIVE") -> None:
        self.answer = 0x0000
        self.rejects = False
        self.received: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        entity = AE(ae_title)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), SYNTAXES)
        handlers: Any = [(evt.EVT_C_STORE, self._store), (evt.EVT_REQUESTED, self._requested)]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert self._server is not None
        self.port = int(self._server.server_address[1])

    def _requested(self, event: Any) -> None:
        if self.rejects:
            event.assoc.acse.send_reject(0x01, 0x01, 0x01)
            event.assoc.kill()

    def _store(self, event: Any) -> int:
        if self.answer == 0x0000:
            uid = str(event.request.AffectedSOPInstanceUID)
            self.received[uid] += 1
            self.files[uid] = event.encoded_dataset()
        return self.answer

    def close(self) -> None:
        assert self._server is not None
        self._server.shutdown()


def new_series(source: Path, target: Path, _canceled: threading.Event) -> None:
    """A pipeline: what it was given, as a new series."""
    series = generate_uid()
    for path in sorted(source.rglob("*.dcm")):
        instance = pydicom.dcmread(path)
        instance.SeriesInstanceUID, instance.SOPInstanceUID = series, generate_uid()
        instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
        instance.save_as(target / path.name)


class ClaraSite:
    """See the module. `archive` is the destination PACS of the adapter."""

    def __init__(self, folder: Path, platform: Server, service: ResultsService, url: str, archive: Archive) -> None:
        self.platform = platform
        self.service = service
        self.archive = archive
        self._payloads = folder / "payloads"
        self.config: Mapping[str, Any] = configuration(
            dicom={
                "scu": {
                    "destinations": [
                        {"name": "PACS", "host-ip": "127.0.0.1", "port": archive.port, "ae-title": "ARCHIVE"}
                    ],
                    "connect-timeout": 2,
                    "response-timeout": 5,
                }
            },
            **{"pipeline-mappings": [{"name": "copy", "clara-ae-title": "LUNG", "pipeline-id": COPY}]},
            services={
                "platform-endpoint": platform.endpoint,
                "results-service-endpoint": url,
                "results-poll-interval": 0.1,
            },
        )
        self.adapter = AdapterProcess(folder / "adapter", self.config)

    def configure(self, **changes: Any) -> None:
        """Change the adapter's configuration; in force from its next start."""
        self.config = merged(self.config, changes)
        self.adapter.configure(self.config)

    def register(self, files: Mapping[str, bytes], parameters: object = '["PACS"]') -> Task:
        """A pipeline has ended with these results, and registered them."""
        job = self.platform.platform.create(COPY, "lung-results-1", 2, {})  # type: ignore[arg-type]
        folder = self._payloads / job.payload_id / OUTPUT
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        uris = [f"{OUTPUT}/{name}" for name in files]
        return self.service.add(AGENT, job.payload_id, uris, parameters, job.id)

    def register_results(self, parameters: object = '["PACS"]') -> Task:
        """The job of the study that was sent has stopped: its results are registered."""
        [job] = eventually(lambda: [one for one in self.platform.platform.jobs if self.platform.platform.results(one)])
        return self.service.add(AGENT, job.payload_id, self.platform.platform.results(job), parameters, job.id)

    def results_task(self, task: Task) -> dict[str, Any]:
        """What the adapter says of it."""
        [found] = self.adapter.get(f"/api/v1/results-tasks?taskId={task.task_id}")["items"]
        detail: dict[str, Any] = self.adapter.get(f"/api/v1/results-tasks/{found['id']}")
        return detail

    def close(self) -> None:
        self.adapter.close()
        self.archive.close()


@contextlib.contextmanager
def clara_site(folder: Path) -> Iterator[ClaraSite]:
    """The site, its adapter not started yet."""
    service = ResultsService()
    with serving(folder, {COPY: new_series}) as platform, results_service.serving(service) as url:
        site = ClaraSite(folder, platform, service, url, Archive())
        try:
            yield site
        finally:
            site.close()
