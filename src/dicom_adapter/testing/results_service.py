"""A Results Service that behaves as Clara's is described (contract 2): states, counted retries, agents without case.

`ResultsService` is the state, which a test reads and fills; `app` is the service as an ASGI application over it, and
`serving` serves that. The public description says nothing of how the state changes on GET; this is the reading that the
adapter is built for.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class TaskState(Enum):
    """By the numbers and words of the original."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"  # given to its agent
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass
class Task:
    """A task. `parameters`: what the pipeline registered; text that holds JSON, as a rule."""

    task_id: str
    agent: str
    payload_id: str
    uris: Sequence[str]
    parameters: object
    job_id: str = ""
    pipeline_id: str = ""
    state: TaskState = TaskState.PENDING
    retries: int = 0

    def as_json(self) -> dict[str, object]:
        return {
            "taskId": self.task_id,
            "jobId": self.job_id,
            "pipelineId": self.pipeline_id,
            "payloadId": self.payload_id,
            "parameters": self.parameters,
            "state": self.state.value,
            "agent": self.agent,
            "retries": self.retries,
            "uris": list(self.uris),
        }


@dataclass(frozen=True)
class Answer:
    """What is answered instead of the truth. `pause`: seconds before each piece; `forever`: the last piece again."""

    status: int = 200
    pieces: Sequence[bytes] = (b"",)
    headers: Sequence[tuple[bytes, bytes]] = ()
    pause: float = 0.0
    forever: bool = False


Fault = Callable[[str, str], Answer | None]  # (method, path) -> what to answer instead, or None: the truth


@dataclass
class ResultsService:
    """The state of the service. Safe to use from any thread.

    `fault`: asked first for every call. `after`: called when a call was carried out, and before it is answered.
    `calls`: "METHOD path" of everything that was asked.
    """

    tasks: dict[str, Task] = field(default_factory=dict)
    fault: Fault = lambda _method, _path: None
    after: Fault = lambda _method, _path: None
    calls: list[str] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def add(
        self, agent: str, payload_id: str, uris: Sequence[str], parameters: object, job_id: str = "", retries: int = 0
    ) -> Task:
        """Register results, as the register-results operator does at the end of a pipeline."""
        task = Task(str(uuid.uuid4()), agent, payload_id, uris, parameters, job_id or str(uuid.uuid4()))
        task.retries = retries
        with self._lock:
            self.tasks[task.task_id] = task
        return task

    def pending(self, agent: str, size: int) -> list[Task]:
        """The tasks that wait for this agent; they are in progress from now on."""
        with self._lock:
            waiting = [
                task
                for task in self.tasks.values()
                if task.state is TaskState.PENDING and task.agent.lower() == agent.lower()
            ]
            for task in waiting[:size]:
                task.state = TaskState.IN_PROGRESS
            return waiting[:size]

    def succeeded(self, task_id: str) -> bool:
        """The agent is done with it. False: there is no such task."""
        return self._end(task_id, TaskState.SUCCEEDED)

    def failed(self, task_id: str, *, retry_later: bool) -> bool:
        """The agent failed: the task waits again and is counted, or it is over. False: there is no such task."""
        with self._lock:
            if not self._end(task_id, TaskState.PENDING if retry_later else TaskState.FAILED):
                return False
            self.tasks[task_id].retries += int(retry_later)
            return True

    def _end(self, task_id: str, state: TaskState) -> bool:
        with self._lock:
            task = self.tasks.get(task_id)
            if task is None:
                return False
            task.state = state
            return True

    def count(self, beginning: str) -> int:
        """How many calls began so: "PUT /api/tasks/failure"."""
        return sum(call.startswith(beginning) for call in list(self.calls))


def app(service: ResultsService) -> Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]:
    """The service over HTTP, as an ASGI application."""

    async def answer(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "an ASGI server for HTTP without a lifespan"
        body = await _body(receive)
        method, path, query = scope["method"], scope["raw_path"].decode(), scope["query_string"].decode()
        service.calls.append(f"{method} {path}" + (f"?{query}" if query else ""))
        found = service.fault(method, path)
        if found is None:
            found = _truth(service, method, path, parse_qs(query), body)
            found = service.after(method, path) or found
        await _send(receive, send, found)

    return answer


@contextmanager
def serving(service: ResultsService, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve it over HTTP, from a thread; gives the URL. `port` 0: a free one. Raises OSError when it is taken."""
    with socket.create_server((host, port)) as listening:
        config = uvicorn.Config(app(service), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _truth(service: ResultsService, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Answer:
    match [method, *path.strip("/").split("/")]:
        case ["GET", "api", "tasks", agent, "pending"]:
            tasks = service.pending(unquote(agent), int(query.get("size", ["10"])[0]))
            return _json(200, [task.as_json() for task in tasks])
        case ["PUT", "api", "tasks", "success", task_id]:
            return _json(200 if service.succeeded(task_id) else 404, None)
        case ["PUT", "api", "tasks", "failure", task_id]:
            retry_later = _retry_later(body)
            if retry_later is None:
                return _json(400, {"RetryLater": "true or false"})
            return _json(200 if service.failed(task_id, retry_later=retry_later) else 404, None)
    return _json(404, None)


def _retry_later(body: bytes) -> bool | None:
    """The flag of the body, whatever the case of its name; None: it has none."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    flags = [flag for key, flag in value.items() if key.lower() == "retrylater"] if isinstance(value, dict) else []
    return flags[0] if len(flags) == 1 and isinstance(flags[0], bool) else None


def _json(status: int, value: object) -> Answer:
    return Answer(status, [json.dumps(value).encode()], [(b"content-type", b"application/json")])


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return body


async def _send(receive: Receive, send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
    for piece in answer.pieces:
        await asyncio.sleep(answer.pause)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if answer.forever:
        gone = asyncio.ensure_future(receive())  # answers next when the client has left
        while not gone.done():
            await asyncio.sleep(answer.pause)
            await send({"type": "http.response.body", "body": answer.pieces[-1], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
