"""A real adapter in a process of its own, over a folder of the test: start, ask, stop, kill."""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import ssl
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx2
from ruamel.yaml import YAML

from dicom_adapter import cli, crash_points
from dicom_adapter.engines import process_runner
from tests.ports import free_port
from tests.waiting import PATIENCE, eventually

# One for all, as making a client reads every certificate of the system: a fifteenth of a second for each look of a
# test that waits. Every call has a connection of its own, as adapters come and go.
_HTTP = httpx2.Client(
    verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    trust_env=False,
    timeout=PATIENCE,
    limits=httpx2.Limits(max_keepalive_connections=0),
)

# Adapters are forked from a process that has imported the adapter and done nothing else: more than a second less for
# each of some two hundred starts. tests/end_to_end/test_command_line.py starts the program itself.
_PROGRAMS = multiprocessing.get_context("forkserver")
_PROGRAMS.set_forkserver_preload(
    [
        "dicom_adapter.app",
        "dicom_adapter.cli.app",
        "dicom_adapter.config_stores.kubernetes.store",
        "dicom_adapter.engines.clara_platform.connection",
        "dicom_adapter.result_heads",
        "tests.adapter_process",
    ]
)


def _program(file: str, log: str, environment: Mapping[str, str]) -> None:
    """`dicom-adapter dicom start --foreground -f FILE`, in a process of its own."""
    os.environ.clear()
    os.environ.update(environment)
    importlib.reload(crash_points)  # it has looked at the environment
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    sys.argv = ["dicom-adapter", "dicom", "start", "--foreground", "-f", file]
    cli.dicom_adapter()


def configuration(**sections: Any) -> dict[str, Any]:
    """A configuration for tests: one AE Title LUNG, anyone may call, free ports; `sections` replace keys of it."""
    base: dict[str, Any] = {
        "dicom": {
            "scp": {
                "port": free_port(),
                "bind": "127.0.0.1",
                "ae-titles": [{"ae-title": "LUNG"}],
                "reject-unknown-sources": False,
                "max-associations": 5,
                "worker-processes": 1,  # ready sooner; tests of several scanners at once ask for more
            },
            "scu": {"destinations": [], "retry-delays": [0.2, 0.4, 0.8]},
        },
        "pipeline-mappings": [],
        "pipelines": [],
        "storage": {"reserve-space": 0, "watermark-percent": 100},
        "api": {"port": 0},
    }
    config: dict[str, Any] = merged(base, sections)
    return config


def merged(base: Any, changes: Any) -> Any:
    """`base` with the keys of `changes` replaced, in depth; lists are replaced whole."""
    if isinstance(base, dict) and isinstance(changes, Mapping):
        return {**base, **{key: merged(base.get(key), value) for key, value in changes.items()}}
    return changes


def _own_environment() -> dict[str, str]:
    """Ours, without a cluster that happens to be there."""
    return {key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST")}


class AdapterProcess:
    """One storage folder and, between `start` and `stop` or `kill`, the adapter over it."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.log = folder / "adapter.log"
        self.headers: dict[str, str] = {}  # with every call: the token, where one is asked for
        self.file = folder / "adapter.yaml"
        self._process: ForkServerProcess | None = None
        folder.mkdir(exist_ok=True, parents=True)
        self.configure(config)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration file; in force from the next start."""
        with self.file.open("w") as file:
            YAML().dump(merged({"storage": {"temporary": str(self.storage)}}, config), file)

    def start(self, environment: Mapping[str, str] | None = None, *, wait: bool = True) -> AdapterProcess:
        """Start it, and wait until it is ready."""
        environment = {**_own_environment(), **(environment or {})}
        arguments = str(self.file), str(self.log), environment
        self._process = _PROGRAMS.Process(
            target=_program, args=arguments, daemon=True
        )  # pytest ends without waiting for it
        self._process.start()
        if wait:
            eventually(self._is_ready)
        return self

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self.running, f"the adapter ended:\n{self.log.read_text()[-4000:]}"
        try:
            return _HTTP.get(f"{self.api}/health/ready", timeout=5).status_code == 200
        except (OSError, httpx2.TransportError, FileNotFoundError, ValueError):
            return False

    @property
    def api(self) -> str:
        """Address of its REST API."""
        facts = json.loads((self.storage / "run" / "adapter.json").read_text())
        assert self._process is not None
        if facts["pid"] != self._process.pid:
            raise FileNotFoundError("that of the process before")
        return str(facts["api"])

    @property
    def port(self) -> int:
        """Port of its SCP."""
        return int(self.get("/api/v1/status")["scp"]["port"])

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def get(self, path: str) -> Any:
        answer = _HTTP.get(f"{self.api}{path}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def items(self, kind: str) -> list[dict[str, Any]]:
        """All of /api/v1/<kind>, newest first."""
        found: list[dict[str, Any]] = self.get(f"/api/v1/{kind}?limit=1000")["items"]
        return found

    def post(self, path: str, body: object = None) -> int:
        headers = {"Content-Type": "application/json", **self.headers}
        content = b"" if body is None else json.dumps(body).encode()
        return _HTTP.post(f"{self.api}{path}", headers=headers, content=content).status_code

    def wait_for(self, kind: str, *states: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until that many of a kind are in these states, and answer with them."""
        return eventually(
            lambda: found if len(found := [one for one in self.items(kind) if one["state"] in states]) >= count else []
        )

    def stop(self) -> int:
        """SIGTERM; answers with the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait until it ends by itself (a crash point); answers with the exit status."""
        assert self._process is not None
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, f"process {self.pid} has not ended within {PATIENCE} s"
        return self._process.exitcode

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def close(self) -> None:
        """Kill it, and what it started: a run outlives the adapter by design, but not the test."""
        if self.running:
            self.kill()
        process_runner.send_signal(self._runs(), signal.SIGKILL)

    def _runs(self) -> Iterator[process_runner.Process]:
        """Supervisors, which name their folder on the command line, and commands, which inherit it as a mark."""
        here = os.fsencode(self.storage / "jobs") + b"/"
        for each in process_runner.processes():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if any(here in Path(f"/proc/{each.pid}/{of}").read_bytes() for of in ("cmdline", "environ")):
                    yield each
