"""The test platform's gRPC face, and the faults that a test can switch on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc

from dicom_adapter.engines.clara_platform import jobs_pb2, payloads_pb2, wire
from dicom_adapter.engines.clara_platform.common_pb2 import ResponseHeader
from dicom_adapter.engines.clara_platform.wire import AnyMethod
from dicom_adapter.testing.clara_platform.state import Job, Platform, Refused, pieces

THREADS = 32

Context: TypeAlias = grpc.ServicerContext


@dataclass
class Faults:
    """What goes wrong, from now on; methods are written `Jobs/Create`."""

    unavailable: bool = False  # every call: gRPC status UNAVAILABLE
    delay: float = 0.0  # seconds before every call
    lost_answers: Counter[str] = field(default_factory=Counter)  # so many calls of a method: done, and not answered
    cut_uploads: int = 0  # so many uploads break after `cut_after` bytes; what came so far stays in the payload
    cut_after: int = 0


class Server:
    """Serves a platform on one port of this machine while it is entered. `port` 0: a free one, the same ever after."""

    def __init__(self, platform: Platform, host: str = "127.0.0.1", port: int = 0) -> None:
        self.platform = platform
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self._host = host
        self.port = port
        self._server: grpc.Server | None = None

    @property
    def endpoint(self) -> str:
        """As services.platform-endpoint takes it."""
        return f"{self._host}:{self.port}"

    def start(self) -> Self:
        """Listen. Raises RuntimeError when the port is taken."""
        options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", wire.MAX_MESSAGE))
        self._server = grpc.server(ThreadPoolExecutor(THREADS), options=options)
        self._server.add_generic_rpc_handlers(_handlers(self))
        self.port = self._server.add_insecure_port(self.endpoint)
        self._server.start()
        return self

    def stop(self) -> None:
        """Break every call off; `start` may follow."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def add_metadata(self, request: jobs_pb2.JobsAddMetadataRequest) -> jobs_pb2.JobsAddMetadataResponse:
        job = self.platform.add_metadata(request.job_id.value, request.metadata)
        return jobs_pb2.JobsAddMetadataResponse(job_id=wire.identifier(job.id), metadata=job.metadata)

    def cancel(self, request: jobs_pb2.JobsCancelRequest) -> jobs_pb2.JobsCancelResponse:
        job = self.platform.cancel(request.job_id.value, request.reason)
        return jobs_pb2.JobsCancelResponse(job_id=wire.identifier(job.id), job_state=job.state, job_status=job.status)

    def create(self, request: jobs_pb2.JobsCreateRequest) -> jobs_pb2.JobsCreateResponse:
        job = self.platform.create(request.pipeline_id.value, request.name, request.priority, request.metadata)
        return jobs_pb2.JobsCreateResponse(job_id=wire.identifier(job.id), payload_id=wire.identifier(job.payload_id))

    def list_jobs(self, request: jobs_pb2.JobsListRequest) -> Iterator[jobs_pb2.JobsListResponse]:
        for job in self.platform.jobs:
            if _passes(request.filter, job):
                yield jobs_pb2.JobsListResponse(
                    job_details=jobs_pb2.JobsListResponse.JobDetails(
                        job_id=wire.identifier(job.id),
                        payload_id=wire.identifier(job.payload_id),
                        pipeline_id=wire.identifier(job.pipeline_id),
                        job_name=job.name,
                        state=job.state,
                        status=job.status,
                        priority=job.priority,
                        metadata=job.metadata,
                        **_times(job),
                    )
                )

    def start_job(self, request: jobs_pb2.JobsStartRequest) -> jobs_pb2.JobsStartResponse:
        job = self.platform.start(request.job_id.value)
        return jobs_pb2.JobsStartResponse(state=job.state, status=job.status, priority=job.priority)

    def status(self, request: jobs_pb2.JobsStatusRequest) -> jobs_pb2.JobsStatusResponse:
        job = self.platform.job(request.job_id.value)
        return jobs_pb2.JobsStatusResponse(
            job_id=wire.identifier(job.id),
            pipeline_id=wire.identifier(job.pipeline_id),
            payload_id=wire.identifier(job.payload_id),
            state=job.state,
            status=job.status,
            name=job.name,
            messages=job.messages,
            priority=job.priority,
            metadata=job.metadata,
            **_times(job),
        )

    def details(self, request: payloads_pb2.PayloadsDetailsRequest) -> Iterator[payloads_pb2.PayloadsDetailsResponse]:
        job = self.platform.payload(request.payload_id.value)
        for name, path in self.platform.files(job.payload_id).items():
            yield payloads_pb2.PayloadsDetailsResponse(
                payload_id=request.payload_id,
                file=payloads_pb2.PayloadFileDetails(name=name, size=path.stat().st_size),
                type=payloads_pb2.PAYLOAD_TYPE_PIPELINE,
                job_id=wire.identifier(job.id),
            )

    def download(
        self, request: payloads_pb2.PayloadsDownloadRequest
    ) -> Iterator[payloads_pb2.PayloadsDownloadResponse]:
        path = self.platform.file(request.payload_id.value, request.name)
        details = payloads_pb2.PayloadFileDetails(name=request.name, size=path.stat().st_size)
        for data in pieces(path):
            yield payloads_pb2.PayloadsDownloadResponse(details=details, data=data)

    def remove(self, request: payloads_pb2.PayloadsRemoveRequest) -> payloads_pb2.PayloadsRemoveResponse:
        self.platform.remove(request.payload_id.value, request.name)
        return payloads_pb2.PayloadsRemoveResponse()

    def upload(
        self, requests: Iterator[payloads_pb2.PayloadsUploadRequest], context: Context
    ) -> payloads_pb2.PayloadsUploadResponse:
        first = next(requests, None)
        if first is None or not first.HasField("header"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an upload begins with a message that has a header")
        assert first is not None
        cut = self.faults.cut_after if self.faults.cut_uploads > 0 else None
        self.faults.cut_uploads -= cut is not None
        written = 0
        with self.platform.place(first.payload_id.value, first.details.name).open("wb") as file:
            request: payloads_pb2.PayloadsUploadRequest | None = first
            while request is not None:
                written += file.write(request.data[: None if cut is None else cut - written])
                if cut is not None and written >= cut:
                    file.flush()
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
                request = next(requests, None)
        details = payloads_pb2.PayloadFileDetails(name=first.details.name, size=written)
        return payloads_pb2.PayloadsUploadResponse(details=details)

    def meet(self, method: AnyMethod, context: Context) -> None:
        """What every call meets first."""
        self.calls[str(method)] += 1
        time.sleep(self.faults.delay)
        if self.faults.unavailable:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the platform is away")

    def leave(self, method: AnyMethod, context: Context) -> None:
        """What every answer meets last."""
        if self.faults.lost_answers[str(method)] > 0:
            self.faults.lost_answers[str(method)] -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")


def _handlers(server: Server) -> list[grpc.GenericRpcHandler[Any, Any]]:
    one: dict[AnyMethod, Callable[[Any], Any]] = {
        wire.JOBS_ADD_METADATA: server.add_metadata,
        wire.JOBS_CANCEL: server.cancel,
        wire.JOBS_CREATE: server.create,
        wire.JOBS_START: server.start_job,
        wire.JOBS_STATUS: server.status,
        wire.PAYLOADS_REMOVE: server.remove,
    }
    many: dict[AnyMethod, Callable[[Any], Iterator[Any]]] = {
        wire.JOBS_LIST: server.list_jobs,
        wire.PAYLOADS_DETAILS: server.details,
        wire.PAYLOADS_DOWNLOAD: server.download,
    }
    handlers: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for method, answer in one.items():
        handlers.setdefault(method.service, {})[method.name] = grpc.unary_unary_rpc_method_handler(
            _unary(server, method, answer), method.request.FromString, _bytes_of
        )
    for method, answers in many.items():
        handlers.setdefault(method.service, {})[method.name] = grpc.unary_stream_rpc_method_handler(
            _stream(server, method, answers), method.request.FromString, _bytes_of
        )
    upload = wire.PAYLOADS_UPLOAD
    handlers[upload.service][upload.name] = grpc.stream_unary_rpc_method_handler(
        _upload(server), upload.request.FromString, _bytes_of
    )
    return [
        grpc.method_handlers_generic_handler(f"{wire.PACKAGE}.{service}", of_service)
        for service, of_service in handlers.items()
    ]


def _unary(server: Server, method: AnyMethod, answer: Callable[[Any], Any]) -> Callable[[Any, Context], Any]:
    def handle(request: Any, context: Context) -> Any:
        server.meet(method, context)
        if method != wire.JOBS_ADD_METADATA:  # there the platform's own client sends none
            _require_header(request, context)
        try:
            answered = answer(request)
        except Refused as refused:
            return _refusal(method, refused)
        server.leave(method, context)
        return answered

    return handle


def _stream(
    server: Server, method: AnyMethod, answers: Callable[[Any], Iterator[Any]]
) -> Callable[[Any, Context], Iterator[Any]]:
    def handle(request: Any, context: Context) -> Iterator[Any]:
        server.meet(method, context)
        _require_header(request, context)
        try:
            yield from answers(request)
        except Refused as refused:
            yield _refusal(method, refused)
        server.leave(method, context)

    return handle


def _upload(server: Server) -> Callable[[Iterator[Any], Context], Any]:
    method = wire.PAYLOADS_UPLOAD

    def handle(requests: Iterator[Any], context: Context) -> Any:
        server.meet(method, context)
        try:
            answered = server.upload(requests, context)
        except Refused as refused:
            return _refusal(method, refused)
        server.leave(method, context)
        return answered

    return handle


def _require_header(request: Any, context: Context) -> None:
    if not request.HasField("header"):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request has no header")


def _refusal(method: AnyMethod, refused: Refused) -> Any:
    return method.response(header=ResponseHeader(code=refused.code, messages=[str(refused)]))


def _passes(wanted: jobs_pb2.JobsListRequest.JobFilter, job: Job) -> bool:
    return (
        (not wanted.has_state or job.state in wanted.has_state)
        and (not wanted.has_status or job.status in wanted.has_status)
        and (not wanted.pipeline_id or job.pipeline_id in {one.value for one in wanted.pipeline_id})
        and (not wanted.HasField("created_after") or job.created >= (wire.unix_time(wanted.created_after) or 0))
        and (
            not wanted.HasField("completed_before") or 0 < job.stopped <= (wire.unix_time(wanted.completed_before) or 0)
        )
    )


def _times(job: Job) -> dict[str, Any]:
    times = {"created": job.created, "started": job.started, "stopped": job.stopped}
    return {name: wire.timestamp(seconds) for name, seconds in times.items() if seconds}


def _bytes_of(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized
