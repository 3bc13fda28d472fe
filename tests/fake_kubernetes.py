"""A Kubernetes API server for tests, over real HTTP: the three kinds of resources, by the schemas that we ship.

What it does is what kube-apiserver does: one counter of resourceVersions, optimistic locking (409), structural schemas
with pruning (422), status as a subresource, watches in chunks with bookmarks and 410, paged lists, bearer tokens and
RBAC (401, 403). `tests/conformance/test_config_store.py` holds both to it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
from ruamel.yaml import YAML

GROUP, VERSION = "dicom.clara.nvidia.com", "v1beta2"
CRDS = Path(__file__).parents[1] / "deploy" / "crds"
Object = dict[str, Any]

_PATH = re.compile(
    rf"/apis/{re.escape(GROUP)}/{VERSION}/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+)(?P<status>/status)?)?"
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason

    def as_status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }


@dataclass(frozen=True)
class Change:
    """One entry of the history that watches read."""

    version: int
    type: str
    key: tuple[str, str]  # namespace, plural
    object: Object


class Definition:
    """A custom resource definition: names, schema, and what it does with an object."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        (version,) = definition["spec"]["versions"]
        self.kind: str = definition["spec"]["names"]["kind"]
        self.schema: Object = version["schema"]["openAPIV3Schema"]
        self._validator = jsonschema_rs.Draft4Validator(self.schema, validate_formats=True)

    def check(self, item: Object) -> None:
        """Raises Refused (422)."""
        problems = [f"{'.'.join(map(str, e.instance_path))}: {e.message}" for e in self._validator.iter_errors(item)]
        problems += _neither_int_nor_string(item, self.schema)
        if problems:
            name = item["metadata"]["name"]
            raise Refused(422, "Invalid", f'{self.kind}.{GROUP} "{name}" is invalid: {"; ".join(problems)}')


def pruned(value: Any, schema: Mapping[str, Any]) -> Any:
    """Without the fields that the schema does not name."""
    if isinstance(value, dict) and "properties" in schema:
        return {
            key: pruned(each, schema["properties"][key]) for key, each in value.items() if key in schema["properties"]
        }
    if isinstance(value, list) and "items" in schema:
        return [pruned(each, schema["items"]) for each in value]
    return value


def _neither_int_nor_string(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What JSON Schema does not know: x-kubernetes-int-or-string."""
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield f"{path}: must be of type integer or string"
    elif isinstance(value, dict):
        for key, each in value.items():
            below = schema.get("properties", {}).get(key) or schema.get("additionalProperties") or {}
            yield from _neither_int_nor_string(each, below, f"{path}.{key}")


@dataclass
class Cluster:
    """What etcd and the API server know. Every method is called with `changed` held."""

    definitions: Mapping[str, Definition]
    changed: threading.Condition = field(default_factory=threading.Condition)
    version: int = 100
    compacted: int = 0  # versions below this are no longer known
    objects: dict[tuple[str, str], dict[str, Object]] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)

    def create(self, key: tuple[str, str], body: Object) -> Object:
        definition = self.definitions[key[1]]
        name = body.get("metadata", {}).get("name", "")
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise Refused(422, "Invalid", f'{definition.kind} "{name}" is invalid: metadata.name: Invalid value')
        if name in self.objects.get(key, {}):
            raise Refused(409, "AlreadyExists", f'{key[1]}.{GROUP} "{name}" already exists')
        item = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": definition.kind,
            "metadata": {
                **body["metadata"],
                "namespace": key[0],
                "uid": str(uuid.uuid4()),
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "generation": 1,
                "managedFields": [{"manager": "tests", "operation": "Update"}],
            },
            **({"spec": body["spec"]} if "spec" in body else {}),  # status is the subresource's
        }
        return self._keep(key, item, "ADDED")

    def update(self, key: tuple[str, str], name: str, body: Object, *, status: bool = False) -> Object:
        old = self.get(key, name)
        version = body.get("metadata", {}).get("resourceVersion")
        if not version and not status:
            raise Refused(
                422, "Invalid", "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
            )
        if version and version != old["metadata"]["resourceVersion"]:
            message = "the object has been modified; please apply your changes to the latest version and try again"
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {key[1]}.{GROUP} "{name}": {message}')
        if body.get("metadata", {}).get("name", name) != name:
            raise Refused(400, "BadRequest", f"the name of the object does not match the name on the URL ({name})")
        new = copy.deepcopy(old)
        part = "status" if status else "spec"
        new.pop(part, None)
        if part in body:
            new[part] = body[part]
        if not status and new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] += 1
        return self._keep(key, new, "MODIFIED", old)

    def get(self, key: tuple[str, str], name: str) -> Object:
        try:
            return self.objects[key][name]
        except KeyError:
            raise Refused(404, "NotFound", f'{key[1]}.{GROUP} "{name}" not found') from None

    def delete(self, key: tuple[str, str], name: str, uid: str | None) -> Object:
        item = self.get(key, name)
        if uid not in (None, item["metadata"]["uid"]):
            raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {uid}")
        del self.objects[key][name]
        self.version += 1
        gone = copy.deepcopy(item)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._remember("DELETED", key, gone)
        return item

    def _keep(self, key: tuple[str, str], item: Object, type_: str, old: Object | None = None) -> Object:
        definition = self.definitions[key[1]]
        schema = definition.schema["properties"]
        item = {**item, **{part: pruned(item[part], schema[part]) for part in ("spec", "status") if part in item}}
        definition.check(item)
        if item == old:
            return item  # nothing changed, and nothing is told
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.objects.setdefault(key, {})[item["metadata"]["name"]] = item
        self._remember(type_, key, item)
        return item

    def _remember(self, type_: str, key: tuple[str, str], item: Object) -> None:
        self.history.append(Change(self.version, type_, key, copy.deepcopy(item)))
        self.changed.notify_all()


class FakeKubernetes:
    """The server. `start` and `stop` may alternate: what it knows stays, as etcd's would.

    `tokens`: those that it takes; empty, all are. `forbidden`: verbs with plurals that RBAC does not allow.
    """

    def __init__(self, context: ssl.SSLContext | None = None, bookmark_every: float = 0.1) -> None:
        yaml = YAML(typ="safe")
        self.cluster = Cluster({path.stem: Definition(yaml.load(path)) for path in CRDS.iterdir()})
        self.bookmark_every = bookmark_every
        self.tokens: set[str] = set()
        self.forbidden: set[tuple[str, str]] = set()
        self.missing: set[str] = set()  # plurals whose definitions are not installed
        self.no_namespaces: set[str] = set()  # namespaces that are not there: lists are empty, nothing can be made
        self.requests: list[str] = []
        self.context = context
        self.on_request: Callable[[str], object] = lambda _request: None  # after a request, before its answer is sent
        self.garbage: set[str] = set()  # requests that are answered with no JSON
        # Bound and never listening: while the server is away its port refuses, and nobody else gets it.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = int(self._place.getsockname()[1])
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> FakeKubernetes:
        self._server = _Server(("127.0.0.1", self.port), self)
        self._server.thread.start()
        return self

    def stop(self) -> None:
        """Gone from the network, with every connection."""
        if self._server is not None:
            self._server.shutdown()
            self.drop_connections()
            self._server.server_close()
            self._server.thread.join()
            self._server = None

    def close(self) -> None:
        """Stop, and let go of the port."""
        self.stop()
        self._place.close()

    def drop_connections(self) -> None:
        """As a network does that fails for a moment."""
        assert self._server is not None
        self._server.drop_connections()

    def compact(self) -> None:
        """Forget the history, as etcd does every few minutes: who goes on from an older version gets 410 Gone."""
        with self.cluster.changed:
            self.cluster.version += 1
            self.cluster.compacted = self.cluster.version
            self.cluster.history.clear()

    def count(self, verb: str) -> int:
        """How many requests of a verb, such as "list sources", there were."""
        return self.requests.count(verb)

    def kubeconfig(self, folder: Path, user: Mapping[str, str] | None = None, namespace: str = "default") -> Path:
        path = folder / "kubeconfig"
        config = {
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": dict(user or {})}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        }
        path.write_text(json.dumps(config))
        return path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    allow_reuse_port = True

    def __init__(self, address: tuple[str, int], fake: FakeKubernetes) -> None:
        super().__init__(address, _Handler)
        if fake.context is not None:
            self.socket = fake.context.wrap_socket(self.socket, server_side=True)
        self.fake = fake
        self.stopping = False
        self.connections: set[socket.socket] = set()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def shutdown(self) -> None:
        self.stopping = True
        super().shutdown()

    def drop_connections(self) -> None:
        for connection in [*self.connections]:
            with _lenient():
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that was dropped is no error of a test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _verbs: ClassVar[Mapping[str, str]] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with _lenient():
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        found = _PATH.fullmatch(url.path)
        fake = self.server.fake
        with _lenient():
            if found is None or found["plural"] not in fake.cluster.definitions or found["plural"] in fake.missing:
                self._send(404, b"404 page not found\n", "text/plain")
                return
            key, name, status = (found["namespace"], found["plural"]), found["name"], found["status"] is not None
            try:
                verb = self._verbs.get(self.command) or ("get" if name else "watch" if "watch" in query else "list")
                request = f"{verb} {key[1]}{'/status' if status else ''}"
                fake.requests.append(request)
                if request in fake.garbage:
                    self._send(200, b"<html>", "text/html")
                    return
                self._admit(verb, key[1])
                if verb == "watch":
                    self._watch(key, query)
                    return
                with fake.cluster.changed:
                    answer = copy.deepcopy(self._do(verb, key, name, status, body, query))
                fake.on_request(request)
                self._send(201 if verb == "create" else 200, json.dumps(answer).encode())
            except Refused as refused:
                self._send(refused.code, json.dumps(refused.as_status()).encode())

    def _admit(self, verb: str, plural: str) -> None:
        fake = self.server.fake
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if fake.tokens and bearer not in fake.tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")
        if (verb, plural) in fake.forbidden:
            raise Refused(
                403, "Forbidden", f'{plural}.{GROUP} is forbidden: User "x" cannot {verb} resource "{plural}"'
            )

    def _do(
        self, verb: str, key: tuple[str, str], name: str | None, status: bool, body: Object, query: Mapping[str, str]
    ) -> Object:
        cluster = self.server.fake.cluster
        if verb == "list":
            return self._list(key, query)
        if verb == "create":
            if key[0] in self.server.fake.no_namespaces:
                raise Refused(404, "NotFound", f'namespaces "{key[0]}" not found')
            return cluster.create(key, body)
        assert name is not None
        if verb == "get":
            return cluster.get(key, name)
        if verb == "update":
            return cluster.update(key, name, body, status=status)
        if verb == "patch":
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            return cluster.update(key, name, merged(cluster.get(key, name), body), status=status)
        gone = cluster.delete(key, name, body.get("preconditions", {}).get("uid"))
        details = {"name": name, "group": GROUP, "kind": key[1], "uid": gone["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _list(self, key: tuple[str, str], query: Mapping[str, str]) -> Object:
        cluster = self.server.fake.cluster
        names = sorted(cluster.objects.get(key, {}))
        version, _, last = query.get("continue", f"{cluster.version}:").partition(":")
        if int(version) < cluster.compacted:
            raise Refused(410, "Expired", "The provided continue parameter is too old")
        names = [name for name in names if name > last]
        page = names[: int(query.get("limit", len(names)))]
        more = f"{version}:{page[-1]}" if len(page) < len(names) else ""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "items": [cluster.objects[key][name] for name in page],
            "kind": f"{cluster.definitions[key[1]].kind}List",
            "metadata": {"continue": more, "resourceVersion": version, "selfLink": ""},
        }

    def _watch(self, key: tuple[str, str], query: Mapping[str, str]) -> None:
        cluster = self.server.fake.cluster
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seen = int(query["resourceVersion"])
        ends = time.monotonic() + float(query.get("timeoutSeconds", "1800"))
        while time.monotonic() < ends and not self.server.stopping:
            with cluster.changed:
                if seen < cluster.compacted:
                    gone = Refused(410, "Expired", f"too old resource version: {seen} ({cluster.version})")
                    self._chunk({"type": "ERROR", "object": gone.as_status()})
                    break
                news = [change for change in cluster.history if change.version > seen]
                seen = cluster.version
                if not news:
                    cluster.changed.wait(self.server.fake.bookmark_every)
            for change in news:
                if change.key == key:
                    self._chunk({"type": change.type, "object": change.object})
            if not news and query.get("allowWatchBookmarks") == "true":
                bookmark = {"resourceVersion": str(seen), "creationTimestamp": None}
                kind = cluster.definitions[key[1]].kind
                item = {"kind": kind, "apiVersion": f"{GROUP}/{VERSION}", "metadata": bookmark}
                self._chunk({"type": "BOOKMARK", "object": item})
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, event: Object) -> None:
        line = json.dumps(event).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def _send(self, code: int, body: bytes, type_: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Content-Type", type_)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def merged(old: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return patch
    kept = {key: value for key, value in old.items() if key not in patch}
    return {**kept, **{key: merged(old.get(key), value) for key, value in patch.items() if value is not None}}


def _lenient() -> contextlib.AbstractContextManager[None]:
    """A peer that went away is no error of the server."""
    return contextlib.suppress(OSError)
