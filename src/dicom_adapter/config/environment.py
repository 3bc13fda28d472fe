"""The environment variables that override the file.

Those of the specification (12.1.3.3) are service discovery as Kubernetes does it: both of a pair override the file; one
alone changes nothing, and a warning says so. Ours are what a container decides and the site's file should not have to:
on which address the REST API listens inside it, and who may call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from dicom_adapter.config.document import Value
from dicom_adapter.config.fields import host as check_host
from dicom_adapter.config.problems import Problem, quote

Key: TypeAlias = tuple[str, str]  # section, key in it

# variable -> key. The schema checks what it says, as if it stood in the file. None may end with _PORT or _SERVICE_HOST:
# Kubernetes makes such ones of the name of a Service.
_SINGLE: Mapping[str, Key] = {
    "DICOM_ADAPTER_API_ANONYMOUS": ("api", "anonymous"),
    "DICOM_ADAPTER_API_HOST": ("api", "host"),
    "DICOM_ADAPTER_API_TOKEN_FILE": ("api", "token-file"),
}
_LISTS: Mapping[str, Key] = {"DICOM_ADAPTER_API_HOST_NAMES": ("api", "host-names")}  # with commas between

# (variable of the host, variable of the port, key under `services`, how the endpoint is written)
_PAIRS = (
    ("CLARA_SERVICE_HOST", "CLARA_SERVICE_PORT_API", "platform-endpoint", "{host}:{port}"),
    (
        "CLARA_RESULTSSERVICE_SERVICE_HOST",
        "CLARA_RESULTSSERVICE_SERVICE_PORT",
        "results-service-endpoint",
        "http://{host}:{port}",
    ),
)


def overrides(environ: Mapping[str, str]) -> tuple[dict[Key, Value], list[Problem], list[Problem]]:
    """Values for keys, problems, and warnings."""
    values: dict[Key, Value] = {key: environ[name] for name, key in _SINGLE.items() if environ.get(name)}
    values |= {key: [*environ[name].split(",")] for name, key in _LISTS.items() if environ.get(name)}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for host_name, port_name, key, form in _PAIRS:
        host, port = environ.get(host_name, ""), environ.get(port_name, "")
        wrong = [problem for problem in (_host_problem(host_name, host), _port_problem(port_name, port)) if problem]
        if wrong:
            problems += wrong
        elif host and port:
            values["services", key] = form.format(host=f"[{host}]" if ":" in host else host, port=port)
        elif host or port:
            present, absent = (host_name, port_name) if host else (port_name, host_name)
            message = f"has no effect without {absent}: services.{key} stays as configured"
            warnings.append(Problem(message, path=present))
    return values, problems, warnings


def _host_problem(name: str, host: str) -> Problem | None:
    try:
        check_host(host or "localhost")
    except ValueError:
        message = "wrong value of an environment variable"
        return Problem(message, path=name, found=quote(host), allowed="IP address or host name")
    return None


def _port_problem(name: str, port: str) -> Problem | None:
    if not port or (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        return None
    return Problem("wrong value of an environment variable", path=name, found=quote(port), allowed="1 to 65535")
