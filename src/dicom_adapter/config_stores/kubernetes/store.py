"""Resources in a Kubernetes cluster, as a ConfigStore.

Reads answer from memory, which the watches keep in step with the API server: one that is away changes nothing for those
who serve. Writes go to the API server, and return when the watch has brought back what they did.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from dicom_adapter.config.acceptance import Found, accepted, check_identity, judge
from dicom_adapter.config.resources import (
    InvalidResource,
    Kind,
    Metadata,
    Resource,
    Spec,
    Status,
    check_replacement,
    parse_spec,
    resource_name,
    rfc3339,
)
from dicom_adapter.config.store import ConflictError, NotFoundError, Stale
from dicom_adapter.config_stores.kubernetes.client import Client, Item, connect
from dicom_adapter.config_stores.kubernetes.cluster import Access
from dicom_adapter.config_stores.kubernetes.kept import Kept, Snapshot
from dicom_adapter.config_stores.kubernetes.reflector import Reflector
from dicom_adapter.config_stores.kubernetes.status_writer import StatusWriter
from dicom_adapter.core.errors import AdapterError, TemporaryError, in_words

log = structlog.get_logger("kubernetes")

PATIENCE = 10.0  # seconds that a start waits for an API server, where nothing is known from before
SEEN_WITHIN = 2.0  # seconds that a write waits for the watch; it has been made, whether or not that is in time
RETRY = 10.0  # seconds until what could not be written is tried again
KEEP_AGAIN = 300.0  # seconds after which what is kept is said to be right once more
REPLACE_TRIES = 10  # others may change it, and every change is followed by that of its status


def open_store(
    access: Access, kinds: Iterable[Kind], kept: Path, *, on_change: Callable[[], None]
) -> KubernetesConfigStore:
    """The store of a cluster. Raises PermanentError for an access that cannot be used."""
    store = KubernetesConfigStore(connect(access), kinds, kept, on_change=on_change)
    log.info("resources are in a cluster", place=store.place, access=str(access))
    return store


class KubernetesConfigStore:
    """A ConfigStore in a cluster. `kinds`: those that it is asked for; `kept`: the file of the last known resources.

    `start` and `stop` belong to one event loop, and so do all calls between them.
    """

    name = "kubernetes"

    def __init__(
        self,
        client: Client,
        kinds: Iterable[Kind],
        kept: Path,
        *,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._kept = Kept(kept)
        self._on_change = on_change
        self._clock = clock
        self._reflectors = {
            kind: Reflector(client, kind, on_change=self._changed, on_contact=self._contact) for kind in kinds
        }
        self._judged: dict[Kind, builtins.list[Resource]] = {kind: [] for kind in self._reflectors}
        self._version = 1
        self._trouble: dict[Kind, str | None] = {}  # of each kind that was asked for: why it was not answered
        self._right_until: float | None = None  # while not None: since when the resources may be old
        self._statuses = StatusWriter(client)
        self._fault: str | None = None
        self._kept_state: object = None
        self._kept_at = 0.0
        self._upkeep_due = asyncio.Event()
        self._news: set[asyncio.Event] = set()
        self._watches: builtins.list[asyncio.Task[None]] = []
        self._upkeep_task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def place(self) -> str:
        """Where the resources are, in words."""
        return f"namespace {self._client.namespace} of the cluster at {self._client.server}"

    def stale(self) -> Stale | None:
        """Since when, and why, the resources may not be those of the API server. From any thread."""
        reasons = [reason for reason in self._trouble.values() if reason is not None]
        since = self._right_until
        return Stale(since, reasons[0]) if reasons and since is not None else None

    async def start(self) -> None:
        """Know every resource, from the API server or from before.

        Raises TemporaryError: the API server does not answer, and nothing is known from before.
        """
        self._watches = [
            asyncio.create_task(each.run(), name=f"watch {kind}") for kind, each in self._reflectors.items()
        ]
        try:
            async with asyncio.timeout(PATIENCE):
                await self._until(lambda: self._trouble.keys() == self._reflectors.keys())
                if self.stale() is not None and not await self._begin_with_kept():
                    await self._until(lambda: self.stale() is None)
        except TimeoutError:
            stale = self.stale()
            why = stale.reason if stale else f"the API server {self._client.server} does not answer"
            await self.stop()
            raise TemporaryError(
                f"the resources cannot be read: {why}. Nothing is known of them from before. Without a cluster, say "
                "`kubernetes.enabled: false`: then they are kept in the adapter's own database"
            ) from None
        self._upkeep_task = asyncio.create_task(self._upkeep(), name="upkeep")

    async def stop(self) -> None:
        """Let go of the API server."""
        self._stopping = True
        self._upkeep_due.set()
        if self._upkeep_task is not None:  # it writes what it has begun to; each of its calls has an end
            await asyncio.wait([self._upkeep_task])
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self._client.close()

    async def list(self, kind: Kind) -> builtins.list[Resource]:
        return [*self._judged[kind]]

    async def get(self, kind: Kind, name: str) -> Resource:
        for resource in self._judged[kind]:
            if resource.metadata.name == name.lower():
                return resource
        raise NotFoundError(f"no {kind} has this name")

    async def version(self) -> int:
        return self._version

    async def create(self, kind: Kind, body: Mapping[str, object]) -> Resource:
        spec = parse_spec(kind, body)
        check_identity(spec, self._judged[kind])
        made = await self._client.create(kind, resource_name(spec.name), _fields(spec))
        return await self._seen(kind, spec, made)

    async def replace(
        self, kind: Kind, name: str, body: Mapping[str, object], *, resource_version: str | None = None
    ) -> Resource:
        spec = parse_spec(kind, body)
        name = name.lower()
        for _ in range(REPLACE_TRIES):
            item = await self._client.get(kind, name)
            (old,) = judge([_found(kind, item)], self._now())
            if resource_version is not None and not self._reflectors[kind].has_same_spec(item, resource_version):
                break
            check_replacement(old, spec)
            check_identity(spec, [other for other in self._judged[kind] if other.metadata.name != name])
            try:
                made = await self._client.replace(kind, name, {**item, "spec": _fields(spec)})
            except ConflictError:
                continue  # between the two calls: only who names a version wants to hear of it
            return await self._seen(kind, spec, made)
        raise ConflictError(f"{kind} {name} was changed meanwhile: read it again")

    async def delete(self, kind: Kind, name: str) -> Resource:
        name = name.lower()
        item = await self._client.get(kind, name)
        (gone,) = judge([_found(kind, item)], self._now())
        await self._client.delete(kind, name, gone.metadata.uid)
        items = self._reflectors[kind]
        await self._until(lambda: _uid(items.items.get(name)) != gone.metadata.uid, SEEN_WITHIN)
        return gone

    async def _seen(self, kind: Kind, spec: Spec, made: Item) -> Resource:
        """The resource that a write made, as it is known here."""
        metadata = _found(kind, made).metadata
        reflector = self._reflectors[kind]

        def is_known() -> bool:
            known = reflector.items.get(metadata.name)
            return known is not None and (
                _uid(known) != metadata.uid or int(known["metadata"].get("generation", 1)) >= metadata.generation
            )

        await self._until(is_known, SEEN_WITHIN)
        for resource in self._judged[kind]:
            if resource.metadata.uid == metadata.uid and not isinstance(resource, InvalidResource):
                return resource
        return accepted(kind, spec, metadata, self._now())

    async def _until(self, holds: Callable[[], bool], patience: float | None = None) -> None:
        """Return when something holds of what is known. With `patience`: after so many seconds at the latest."""
        news = asyncio.Event()
        self._news.add(news)
        try:
            async with asyncio.timeout(patience):
                while not holds():
                    await news.wait()
                    news.clear()
        except TimeoutError:
            if patience is None:
                raise
        finally:
            self._news.discard(news)

    # --- what the watches bring

    def _changed(self, kind: Kind) -> None:
        before = self._judged[kind]
        earlier = {one.metadata.uid: one.status for one in before}
        found = [_found(kind, item, earlier) for item in self._reflectors[kind].items.values()]
        found.sort(key=lambda one: (one.metadata.creation_timestamp or "", one.metadata.name))
        self._judged[kind] = judge(found, self._now())
        if [_essence(one) for one in before] != [_essence(one) for one in self._judged[kind]]:
            self._version += 1
            self._on_change()
        self._tell()

    def _contact(self, kind: Kind, reason: str | None) -> None:
        was = self.stale()
        self._trouble[kind] = reason
        if all(each is None for each in self._trouble.values()):
            self._right_until = None
        elif self._right_until is None:
            self._right_until = self._clock()
        now = self.stale()
        if now is not None and (was is None or was.reason != now.reason):
            log.warning("the last known resources go on serving", why=now.reason)
        elif now is None and was is not None:
            log.info("the resources are those of the API server again", server=self._client.server)
        self._tell()

    def _tell(self) -> None:
        self._upkeep_due.set()
        for news in self._news:
            news.set()

    # --- what is written without being asked

    async def _upkeep(self) -> None:
        while not self._stopping:
            self._upkeep_due.clear()
            try:
                await self._keep()
                await self._write_statuses()
                patience, self._fault = KEEP_AGAIN, None
            except Exception as error:  # whatever it is: it must not end what is to be tried again
                patience = RETRY
                self._tell_fault(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._upkeep_due.wait()

    def _tell_fault(self, error: Exception) -> None:
        words = in_words(error)
        known = isinstance(error, AdapterError | OSError)
        if words != self._fault and not (known and self.stale() is not None):
            log.warning("status, or the last known resources, cannot be written", why=words, exc_info=not known)
        self._fault = words

    async def _write_statuses(self) -> None:
        for kind, resources in self._judged.items():
            await self._statuses.write(kind, resources, self._reflectors[kind].items)
        self._statuses.forget_all_but(one.metadata.uid for resources in self._judged.values() for one in resources)

    async def _keep(self) -> None:
        """Keep what is known, for a start while the API server is away. Raises OSError."""
        now, until = self._clock(), self._right_until
        items = {kind: [*each.items.values()] for kind, each in self._reflectors.items()}
        state = (until, [item["metadata"].get("resourceVersion") for every in items.values() for item in every])
        if state == self._kept_state and (until is not None or now < self._kept_at + KEEP_AGAIN):
            return
        as_of = now if until is None else until
        await asyncio.to_thread(self._kept.write, Snapshot(self._client.server, self._client.namespace, as_of, items))
        self._kept_state, self._kept_at = state, now

    async def _begin_with_kept(self) -> bool:
        """Whether every kind that the API server does not tell is known from before."""
        kept = await asyncio.to_thread(self._kept.read, self._client.server, self._client.namespace)
        missing = [kind for kind, reason in self._trouble.items() if reason is not None]
        if not missing:
            return True
        if kept is None or not all(kind in kept.items for kind in missing):
            return False
        for kind in missing:
            self._reflectors[kind].begin_with(kept.items[kind])
        self._right_until = kept.as_of
        log.warning("serves what was known last", as_of=rfc3339(kept.as_of), file=str(self._kept.path))
        return True

    def _now(self) -> str:
        return rfc3339(self._clock())


def _found(kind: Kind, item: Item, earlier: Mapping[str, Status] | None = None) -> Found:
    metadata = item["metadata"]
    spec, status = item.get("spec"), item.get("status")
    uid = str(metadata.get("uid", ""))
    return Found(
        kind,
        Metadata(
            name=str(metadata["name"]),
            namespace=str(metadata.get("namespace", "")),
            uid=uid,
            resource_version=str(metadata.get("resourceVersion", "")),
            creation_timestamp=metadata.get("creationTimestamp"),
            generation=int(metadata.get("generation", 1)),
        ),
        spec if isinstance(spec, dict) else {},
        status if isinstance(status, dict) else {},
        (earlier or {}).get(uid),
    )


def _fields(spec: Spec) -> dict[str, object]:
    """What was said of it: the cluster keeps a spec as its author wrote it, without the defaults of this version."""
    return spec.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def _essence(resource: Resource) -> tuple[object, ...]:
    """What makes a difference to those who serve."""
    return type(resource), resource.metadata.name, resource.metadata.uid, resource.spec


def _uid(item: Item | None) -> str | None:
    return None if item is None else str(item["metadata"].get("uid", ""))
