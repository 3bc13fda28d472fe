"""The composition root: the only module that names concrete classes and puts them together."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from dicom_adapter import __version__, logs, run_file
from dicom_adapter.api.app import create_app
from dicom_adapter.api.view import View
from dicom_adapter.clock import Clock
from dicom_adapter.config.api_token import api_token
from dicom_adapter.config.resources import Kind
from dicom_adapter.config.schema import Settings
from dicom_adapter.config.snapshot_builder import reads_from_store
from dicom_adapter.config_stores.database import DatabaseConfigStore
from dicom_adapter.config_stores.file import FileConfigStore
from dicom_adapter.config_stores.kubernetes import cluster
from dicom_adapter.core.errors import AdapterError, PermanentError
from dicom_adapter.core.export_policy import WarningPolicy
from dicom_adapter.core.ports import JobEngine
from dicom_adapter.core.results_policy import ResultsCheck
from dicom_adapter.core.snapshot import CLARA_PLATFORM, PROCESS, Pipeline
from dicom_adapter.engines.clara_results import ClaraResultsService
from dicom_adapter.engines.local_process import LocalProcessEngine
from dicom_adapter.http_server import HttpServer
from dicom_adapter.live import Live
from dicom_adapter.manager.batcher import Batcher
from dicom_adapter.manager.configuration import Configuration
from dicom_adapter.manager.exporter import Exporter, ExportSettings
from dicom_adapter.manager.housekeeping import Housekeeping, RetentionSettings
from dicom_adapter.manager.intake import Intake
from dicom_adapter.manager.job_controller import JobController
from dicom_adapter.manager.processor_runner import ProcessorRunner
from dicom_adapter.manager.results_collector import ResultsCollector
from dicom_adapter.manager.results_downloader import DownloadSettings, ResultsDownloader
from dicom_adapter.manager.results_files import ResultsFiles
from dicom_adapter.manager.results_poller import PollSettings, ResultsPoller
from dicom_adapter.manager.results_reporter import ResultsReporter
from dicom_adapter.manager.supervisor import Supervisor, Worker
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.net.connection import Timeouts
from dicom_adapter.processors import registry
from dicom_adapter.scp.listener import Listener
from dicom_adapter.scp.live import Places
from dicom_adapter.scp.messages import WorkerSettings
from dicom_adapter.scp.threads import ConnectionSettings
from dicom_adapter.scp.workers import WorkerPool, workers_for
from dicom_adapter.scu.requestor import RequestorSettings
from dicom_adapter.scu.storage import StorageScu
from dicom_adapter.spool import Durability, Spool
from dicom_adapter.spool.watermark import Watermark
from dicom_adapter.store import restart
from dicom_adapter.store.database import Database

if TYPE_CHECKING:
    from dicom_adapter.config_stores.kubernetes.store import KubernetesConfigStore
    from dicom_adapter.engines.clara_platform.connection import ClaraPlatform

log = structlog.get_logger("app")

DAY = 86_400.0  # seconds
EXIT_OK, EXIT_FAILED = 0, 1
STOP_MARGIN = 20.0  # seconds to end in, beyond `dicom.scp.shutdown-grace`: `stop` and systemd wait longer


def run(settings: Settings) -> int:
    """Run the adapter in the foreground until SIGTERM or SIGINT; answers with the exit status.

    0: it was told to stop and did. 1: it could not start, or not stop in time; the last log line says why and what to
    do.
    """
    logs.configure(settings.log.level, settings.log.format)
    status = EXIT_OK
    try:
        asyncio.run(_run(settings))
    except AdapterError as error:
        log.error("cannot run", why=str(error))
        status = EXIT_FAILED
    if any(not each.daemon for each in threading.enumerate() if each is not threading.main_thread()):
        os._exit(status)  # a plug-in that hangs: the interpreter would wait for its threads. Everything is closed
    return status


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        last = threading.Timer(settings.dicom.scp.shutdown_grace + STOP_MARGIN, _give_up)
        last.daemon = True
        last.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal closes: nothing to us
    adapter = await asyncio.to_thread(Adapter, settings)
    try:
        await adapter.serve(stopping)
    finally:
        # A canceled task's thread works on: none may touch the storage folder once another adapter can own it.
        await loop.shutdown_default_executor()
        adapter.close()


def _give_up() -> None:
    """A thread hangs, in a disk that does not answer, say. All that matters is on disk, as for a crash."""
    log.error("did not stop in time, and ends as it stands; the next start takes up what is there")
    os._exit(EXIT_FAILED)


class Adapter:
    """Everything, put together over one storage folder. Blocking to make: it may have a crash to recover from.

    Raises:
        AdapterError: the storage folder or the database cannot be used, or another process has it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = Clock()
        self._platform = _clara_platform(settings)
        self._spool = Spool(settings.storage.temporary.resolve(), Durability(settings.storage.durability))
        self._layout = self._spool.layout
        try:
            self._database = Database(self._layout.database)
            adopted = self._spool.adopt_after_crash()
            with self._database.write() as connection:
                restart.resume(connection, self._clock.steady())
        except OSError as error:
            self._spool.close()
            raise PermanentError(
                f"the storage folder {self._layout.root} cannot be read: {error.strerror} at "
                f"{error.filename or 'a file'}. Nothing was removed; look at the disk and at who owns the files"
            ) from error
        except BaseException:
            self._spool.close()
            raise
        log.info("storage taken up", folder=str(self._layout.root), **asdict(adopted))
        self._local_engines = {PROCESS: LocalProcessEngine(self._layout.jobs, self._pipeline)}
        self._engines: dict[str, JobEngine] = {**self._local_engines}
        if self._platform is not None:
            self._engines[CLARA_PLATFORM] = self._platform.engine
            log.info("pipelines that are not defined here run on a Clara Platform", endpoint=settings.services.platform)
        self._scu = self._make_scu(settings)
        self._results_service: ClaraResultsService | None = None
        self._poller: ResultsPoller | None = None
        self._make_workers(settings)

    def _make_workers(self, settings: Settings) -> None:
        """From the end of a study's trip to its beginning, since each worker wakes the next."""
        database, clock, storage, scu = self._database, self._clock, settings.storage, settings.dicom.scu
        batcher_trigger = Trigger()

        def on_configuration() -> None:
            self._scp_workers.publish(self._configuration.snapshot())
            batcher_trigger.pull()

        def on_resources() -> None:
            self._configuration.trigger.pull()

        self._cluster = self._make_cluster(settings, on_resources)
        self._configuration = Configuration(
            settings,
            FileConfigStore(settings),
            self._cluster or DatabaseConfigStore(database.engine),
            on_change=on_configuration,
        )
        snapshot = self._configuration.snapshot
        reports = Trigger()
        exporter = Exporter(
            database,
            snapshot,
            clock,
            self._scu,
            ExportSettings(scu.max_associations, scu.retry_delays, WarningPolicy(scu.warnings)),
            on_results_task=reports.pull,
        )
        results_agent = self._make_results_agent(settings, reports, exporter.trigger)
        self._jobs = JobController(
            database,
            snapshot,
            clock,
            engines=self._engines,
            collector=ResultsCollector(
                database,
                clock,
                self._layout,
                engines=self._local_engines,
                path_of=self._spool.instance_path,
                check=ResultsCheck(settings.results.check),
            ),
            path_of=self._spool.instance_path,
            on_exports=exporter.trigger.pull,
        )
        processors = ProcessorRunner(
            database,
            snapshot,
            clock,
            resolve=registry.resolve,
            path_of=self._spool.instance_path,
            on_jobs=self._jobs.trigger.pull,
        )

        def on_batch() -> None:
            batcher_trigger.pull()
            processors.trigger.pull()

        self._intake = Intake(
            self._spool,
            database,
            snapshot,
            clock,
            aborted_retention=storage.aborted_retention,
            submit_interrupted=storage.interrupted == "submit",
            on_batch=on_batch,
        )
        places = Places(on_leave=self._intake.trigger.pull)
        self._scp_workers = self._make_workers_of_scp(settings, places)
        self._listener = Listener(self._scp_workers, places, settings.dicom.scp.port, settings.dicom.scp.bind)
        batcher = Batcher(
            database,
            snapshot,
            clock,
            batcher_trigger,
            is_open=self._listener.is_open_to,
            take_up=self._intake.take_all,
            on_closed=processors.trigger.pull,
        )
        housekeeping = Housekeeping(
            database,
            clock,
            RetentionSettings(storage.retention, storage.history * DAY),
            engines=self._engines,
            spool=self._spool,
            on_outcomes=self._intake.trigger.pull,
        )
        self._supervisor = Supervisor(
            [
                self._configuration,
                self._intake,
                batcher,
                processors,
                self._jobs,
                exporter,
                *results_agent,
                housekeeping,
            ]
        )

    def _make_cluster(self, settings: Settings, on_change: Callable[[], None]) -> KubernetesConfigStore | None:
        """The store of resources in a cluster, where there is one and something is read from it."""
        kinds = [kind for kind in Kind if reads_from_store(settings, kind)]
        access = cluster.find(settings.kubernetes, os.environ) if kinds else None
        if access is None:
            return None
        try:
            from dicom_adapter.config_stores.kubernetes.store import open_store  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise PermanentError(
                f"resources are to be read from a cluster ({access}), and the part of the adapter that does it is not "
                "installed: install dicom-adapter[kubernetes], or say `kubernetes.enabled: false` to keep them in the "
                "adapter's own database"
            ) from error
        return open_store(access, kinds, self._layout.cluster, on_change=on_change)

    def _make_results_agent(self, settings: Settings, reports: Trigger, exports: Trigger) -> Sequence[Worker]:
        """The workers of results tasks, where a Results Service is named."""
        endpoint = settings.services.results_service
        if endpoint is None or self._platform is None:
            return ()
        scu, storage = settings.dicom.scu, settings.storage
        database, clock, snapshot, layout = self._database, self._clock, self._configuration.snapshot, self._layout
        self._results_service = ClaraResultsService(endpoint)
        is_full = Watermark(
            self._spool.space, watermark_percent=storage.watermark_percent, reserve=storage.reserve_space
        )
        files = ResultsFiles(
            database,
            self._platform.payloads,
            layout,
            path_of=self._spool.instance_path,
            has_room=lambda: not is_full(),
            check=ResultsCheck(settings.results.check),
        )
        downloader = ResultsDownloader(
            database,
            snapshot,
            clock,
            files,
            DownloadSettings(scu.max_associations, WarningPolicy(scu.warnings)),
            on_files=exports.pull,
            on_end=reports.pull,
        )
        self._poller = ResultsPoller(
            database,
            clock,
            self._results_service,
            PollSettings(scu.ae_title, settings.services.results_poll_interval, scu.retry_delays),
            has_room=lambda: not is_full(),
            folder_of=lambda own_id: str(layout.results(own_id).relative_to(layout.root)),
            on_tasks=downloader.trigger.pull,
        )
        return self._poller, downloader, ResultsReporter(database, clock, self._results_service, reports)

    def _make_workers_of_scp(self, settings: Settings, places: Places) -> WorkerPool:
        scp, implementation, storage = settings.dicom.scp, settings.dicom.implementation, settings.storage
        return WorkerPool(
            WorkerSettings(
                connection=ConnectionSettings(
                    max_pdu_length=settings.dicom.max_pdu_length,
                    max_pending=scp.max_pending_connections,
                    timeouts=Timeouts(
                        artim=scp.artim_timeout,
                        idle=scp.idle_timeout,
                        write=scp.write_timeout,
                        keep_alive=scp.keep_alive.idle,
                    ),
                ),
                storage=str(self._layout.root),
                durability=Durability(storage.durability),
                watermark_percent=storage.watermark_percent,
                reserve_space=storage.reserve_space,
                implementation_class_uid=implementation.class_uid,
                implementation_version_name=implementation.version_name,
                log_level=settings.log.level,
                log_format=settings.log.format,
            ),
            scp.worker_processes or workers_for(scp.max_associations),
            places,
            self._spool,
        )

    def _make_scu(self, settings: Settings) -> StorageScu:
        scu, implementation = settings.dicom.scu, settings.dicom.implementation
        return StorageScu(
            RequestorSettings(
                ae_title=scu.ae_title,
                implementation_class_uid=implementation.class_uid,
                implementation_version_name=implementation.version_name,
                max_pdu_length=settings.dicom.max_pdu_length,
                timeouts=Timeouts(connect=scu.connect_timeout, response=scu.response_timeout),
                pdu_log=_log_pdu if scu.log_data_pdus else None,
                own_port=settings.dicom.scp.port,
            ),
            self._layout.root,
            log_dimse_datasets=scu.log_dimse_datasets,
            log_phi=scu.log_phi,
        )

    async def serve(self, stopping: asyncio.Event) -> None:
        """Listen and work until `stopping` is set; then let open associations finish, and keep everything."""
        if self._cluster is not None:
            await self._cluster.start()
        try:
            await self._serve(stopping)
        finally:
            if self._cluster is not None:
                await self._cluster.stop()

    async def _serve(self, stopping: asyncio.Event) -> None:
        await self._configuration.step()  # nobody is answered before it is known who may call
        self._warn_of_missing_processors()
        settings = self._settings.api
        token = api_token(settings)
        api = HttpServer(settings.host, settings.port)
        self._scp_workers.start(self._configuration.snapshot())
        self._listener.start()
        live = Live(
            settings=self._settings,
            spool=self._spool,
            database=self._database,
            listener=self._listener,
            supervisor=self._supervisor,
            controller=self._jobs,
            engines=self._local_engines,
            snapshot=self._configuration.snapshot,
            poller=self._poller,
        )
        app = create_app(
            View(self._database, self._clock, live, self._supervisor.wake, self._configuration.store_of),
            [settings.host, *settings.host_names],
            token,
        )
        workers = asyncio.create_task(self._supervisor.run(stopping))
        try:
            gc.freeze()  # what is here now stays: no later collection has to look at it
            gc.enable()
            run_file.write(self._layout.root, api.url)  # where the commands find us
            log.info("ready", version=__version__, scp_port=self._listener.port, api=api.url)
            await api.serve(app, stopping)
        finally:  # whatever happened: an association that still stores has to end before the spool is closed
            stopping.set()
            await self._drain(workers)
            if self._platform is not None:
                await self._platform.close()
            if self._results_service is not None:
                await self._results_service.close()
            await api.close()
            run_file.remove(self._layout.root)
        log.info("stopped")

    async def _drain(self, workers: asyncio.Task[None]) -> None:
        """Open associations finish or are aborted, the workers stop, and what ended last is taken up."""
        grace = self._settings.dicom.scp.shutdown_grace
        log.info("stopping", grace=grace)
        await asyncio.to_thread(self._listener.stop, grace)
        await workers
        try:
            await asyncio.to_thread(self._intake.take_all)
        except Exception as error:  # a full disk, a locked database: the files are safe
            log.warning("what ended last is taken up at the next start", why=type(error).__name__)

    def close(self) -> None:
        """Let go of the storage folder. Everything that matters is on disk already."""
        self._database.close()
        self._spool.close()

    def _warn_of_missing_processors(self) -> None:
        """Now, not only when the first batch is held for want of one."""
        for ae_title in self._configuration.snapshot().ae_titles.values():
            for name in ae_title.processors:
                if (why := registry.why_missing(name)) is not None:
                    log.warning("batches will be held", ae_title=ae_title.ae_title, why=why)

    def _pipeline(self, pipeline_id: str) -> Pipeline | None:
        return self._configuration.snapshot().pipelines.get(pipeline_id)


def _clara_platform(settings: Settings) -> ClaraPlatform | None:
    """The platform that is named, or that has the files of results; None where neither it nor a Results Service is.

    Raises PermanentError when what speaks to it is not installed.
    """
    services = settings.services
    if services.platform is None and services.results_service is None:
        return None
    try:
        from dicom_adapter.engines.clara_platform.connection import ClaraPlatform  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise PermanentError(
            "services.platform-endpoint or services.results-service-endpoint names a Clara Platform, at "
            f"{services.platform_endpoint}, and the packages that speak to it are not installed ({error}): "
            "pip install 'dicom-adapter[clara]', or remove the keys if every pipeline runs here"
        ) from error
    return ClaraPlatform(services.platform_endpoint, services.parallel_uploads)


def _log_pdu(line: str) -> None:
    log.info(line)
