"""The calls to the API server of a cluster, for the three kinds of resources, and what their failures mean.

lightkube knows kubeconfigs, certificates and service accounts, whose token it reads again when the server no longer
takes it. The calls are made here, as its own watch asks for no bookmarks and hides when it is connected.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias
from urllib.parse import quote

import httpx2
from lightkube import ConfigError, KubeConfig
from lightkube.config import client_adapter
from lightkube.config.models import User

from dicom_adapter.config.resources import API_VERSION, GROUP, InvalidResourceError, Kind
from dicom_adapter.config.store import AlreadyExistsError, ConflictError, NotFoundError
from dicom_adapter.config_stores.kubernetes.cluster import Access
from dicom_adapter.core.errors import PermanentError, TemporaryError

Item: TypeAlias = dict[str, Any]  # a resource as the API server has it

TIMEOUT = 10.0  # seconds for an answer
WATCH = 60  # seconds after which the API server is asked to end a watch, which then goes on with the next
SILENCE = WATCH + 15.0  # seconds without a byte of a watch: its connection is dead
PAGE = 500  # resources in one answer

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # RFC 1123 subdomain
_MERGE = {"Content-Type": "application/merge-patch+json"}


class ClusterAway(TemporaryError):
    """The API server cannot be reached, or does not let us; the text says which, and what to do."""


class Gone(TemporaryError):
    """What a watch would go on from is too old for the API server: list again."""


@dataclass(frozen=True, slots=True)
class Event:
    """ADDED, MODIFIED, DELETED, or BOOKMARK, whose item has a resourceVersion only."""

    type: str
    item: Item


def connect(access: Access) -> Client:
    """A client of a cluster. Raises PermanentError for a kubeconfig that cannot be used."""
    try:
        if access.kubeconfig is None:
            config = KubeConfig.from_service_account(access.service_account).get()
        else:
            config = KubeConfig.from_file(access.kubeconfig).get()
        if config is None:
            raise ConfigError("it has no current context")
        config = config._replace(user=config.user or User())
        http = client_adapter.AsyncClient(
            config, client_adapter.ConnectionParams(timeout=httpx2.Timeout(TIMEOUT), trust_env=True)
        )
    except Exception as error:  # of YAML, of TLS, of the library: all for the same reason
        raise PermanentError(f"{access} cannot be used: {type(error).__name__}: {error}") from error
    return Client(http, access.namespace or config.namespace, str(access))


class Client:
    """The API server, for one namespace. Every method raises ClusterAway."""

    def __init__(self, http: httpx2.AsyncClient, namespace: str, identity: str) -> None:
        self._http = http
        self._identity = identity
        self.namespace = namespace
        self.server = str(http.base_url).rstrip("/")

    async def close(self) -> None:
        await self._http.aclose()

    async def list(self, kind: Kind) -> tuple[list[Item], str]:
        """Every resource of a kind, and the resourceVersion from which a watch goes on."""
        items: list[Item] = []
        more = ""
        while True:
            params = {"limit": str(PAGE), **({"continue": more} if more else {})}
            found = await self._call("GET", kind, params=params)
            items.extend(found["items"])
            if not (more := found["metadata"].get("continue") or ""):
                return items, str(found["metadata"]["resourceVersion"])

    @asynccontextmanager
    async def watch(self, kind: Kind, resource_version: str) -> AsyncIterator[AsyncIterator[Event]]:
        """Changes from a resourceVersion on, until the server ends the watch. Raises Gone."""
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH),
        }
        timeout = httpx2.Timeout(TIMEOUT, read=SILENCE)
        with self._told(kind, "watch"):
            async with self._http.stream("GET", self._path(kind), params=params, timeout=timeout) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    self._raise(kind, "watch", answer)
                yield self._events(kind, answer)

    async def _events(self, kind: Kind, answer: httpx2.Response) -> AsyncIterator[Event]:
        async for line in answer.aiter_lines():
            event = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                if status.get("code") == 410:
                    raise Gone("the API server no longer knows the last resourceVersion")
                raise ClusterAway(f"the watch of {kind.plural} failed: {_words(status)}")
            yield Event(event["type"], event["object"])

    async def get(self, kind: Kind, name: str) -> Item:
        """Raises NotFoundError."""
        return await self._call("GET", kind, name)

    async def create(self, kind: Kind, name: str, spec: Mapping[str, Any]) -> Item:
        """Raises AlreadyExistsError, InvalidResourceError."""
        body = {"apiVersion": API_VERSION, "kind": kind.value, "metadata": {"name": name}, "spec": spec}
        return await self._call("POST", kind, body=body)

    async def replace(self, kind: Kind, name: str, item: Item) -> Item:
        """Raises NotFoundError, ConflictError (the item's resourceVersion is old), InvalidResourceError."""
        return await self._call("PUT", kind, name, body=item)

    async def delete(self, kind: Kind, name: str, uid: str) -> None:
        """Raises NotFoundError, ConflictError (one of another uid has the name)."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        await self._call("DELETE", kind, name, body=options)

    async def patch_status(self, kind: Kind, name: str, resource_version: str, status: Mapping[str, Any]) -> None:
        """Raises NotFoundError, ConflictError (it is no longer that of the resourceVersion)."""
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        await self._call("PATCH", kind, name, "/status", body=body, headers=_MERGE)

    def _path(self, kind: Kind, name: str | None = None) -> str:
        path = f"/apis/{API_VERSION}/namespaces/{quote(self.namespace, safe='')}/{kind.plural}"
        if name is None:
            return path
        if not _NAME.fullmatch(name):
            raise NotFoundError(f"no {kind} has this name")
        return f"{path}/{name}"

    async def _call(
        self,
        method: str,
        kind: Kind,
        name: str | None = None,
        subresource: str = "",
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Item:
        path = self._path(kind, name) + subresource
        verb = "list" if name is None and method == "GET" else _VERBS[method]
        with self._told(kind, verb):
            answer = await self._http.request(method, path, params=params, json=body, headers=headers)
            if not answer.is_success:
                self._raise(kind, verb, answer)
            found = answer.json()
            if not isinstance(found, dict):
                raise ValueError("not an object")
            return found

    @contextmanager
    def _told(self, kind: Kind, verb: str) -> Iterator[None]:
        """What may go wrong below HTTP, in words."""
        try:
            yield
        except InvalidResourceError:  # a ValueError, and the answer to what was asked
            raise
        except httpx2.TimeoutException:
            raise ClusterAway(f"the API server {self.server} does not answer (to {verb} {kind.plural})") from None
        except httpx2.HTTPError as error:
            words = str(error) or type(error).__name__
            raise ClusterAway(f"the API server {self.server} cannot be reached: {words}") from error
        except ConfigError as error:  # the token's file is gone
            raise ClusterAway(f"{self._identity} cannot be used: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterAway(
                f"{self.server} does not answer as an API server does ({type(error).__name__})"
            ) from error

    def _raise(self, kind: Kind, verb: str, answer: httpx2.Response) -> NoReturn:
        status = _status(answer)
        code, words = answer.status_code, _words(status)
        if code == 401:
            raise ClusterAway(f"the API server {self.server} does not know {self._identity}: {words}")
        if code == 403:
            raise ClusterAway(
                f"{self._identity} may not {verb} {kind.plural} in namespace {self.namespace}: "
                "give it the role of docs/kubernetes.md"
            )
        if code == 404 and not status:
            raise ClusterAway(f"the cluster has no {kind.plural}.{GROUP}: install deploy/crds")
        if code == 404 and verb == "create":  # it is the place that is not there
            raise ClusterAway(f"the cluster has no namespace {self.namespace}: {words}")
        if code == 404:
            raise NotFoundError(f"no {kind} has this name")
        if code == 409:
            error = AlreadyExistsError if verb == "create" else ConflictError
            raise error(
                f"{kind} already exists" if verb == "create" else f"{kind} was changed meanwhile: read it again"
            )
        if code == 410:
            raise Gone("the API server no longer knows the last resourceVersion")
        if code in (400, 422):
            raise InvalidResourceError(words)
        raise ClusterAway(f"the API server {self.server} answers {code}: {words}")


_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete", "PATCH": "patch"}  # RBAC's names


def _status(answer: httpx2.Response) -> Mapping[str, Any]:
    """Kubernetes' Status in an answer; empty where it is something else."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def _words(status: Mapping[str, Any]) -> str:
    return str(status.get("message") or status.get("reason") or "no reason given")[:1024]
