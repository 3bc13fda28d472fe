"""One kind, kept in step with the API server: list, watch from there on, and list again where the watch broke.

Whatever happens, what was known last stays: the caller serves from `items`.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from dicom_adapter.config.resources import Kind
from dicom_adapter.config_stores.kubernetes.client import Client, ClusterAway, Item
from dicom_adapter.core.errors import AdapterError, in_words

log = structlog.get_logger("kubernetes")

DELAYS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds after so many failures in a row; then the last for ever
REMEMBERED = 32  # resourceVersions of one spec
STEADY = 10.0  # seconds: a watch that lasted so long has worked, however it ended; proxies cut quiet ones off
SHORTEST_WATCH = 1.0  # seconds: one that the server ends sooner, and without a word, has failed


class Reflector:
    """See the module. `on_change`: called with no more than the loop's thread, whenever `items` changed.

    `on_contact(reason)`: None when the items are known to be those of the API server, else why they may not be.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind,
        *,
        on_change: Callable[[Kind], None],
        on_contact: Callable[[Kind, str | None], None],
    ) -> None:
        self._client = client
        self._kind = kind
        self._on_change = on_change
        self._on_contact = on_contact
        self._version = ""
        self._items: dict[str, Item] = {}
        self._of_spec: dict[str, _SpecVersions] = {}

    @property
    def items(self) -> Mapping[str, Item]:
        """The resources by metadata.name."""
        return self._items

    def has_same_spec(self, item: Item, version: str) -> bool:
        """Whether the resource had this spec already when its resourceVersion was `version`.

        That grows with every status too: who read the resource before its status was written has seen the same spec.
        """
        if version == item["metadata"]["resourceVersion"]:
            return True
        known = self._of_spec.get(_uid(item))
        return known is not None and known.generation == _generation(item) and version in known.versions

    def begin_with(self, items: Iterable[Item]) -> None:
        """What is known from before, until the API server answers."""
        self._replace(items)

    async def run(self) -> None:
        """Keep in step until canceled."""
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            if await self._list():
                began = clock()
                try:
                    while True:
                        await self._watch()
                        failures = 0
                except Exception as error:  # whatever it sends: this loop is what keeps the adapter in step
                    if not failures:
                        log.info("resources are listed again", kind=self._kind.value, why=_why(error))
                if clock() - began >= STEADY:
                    failures = 0
            failures += 1
            await asyncio.sleep(_delay(failures))

    async def _list(self) -> bool:
        """Whether it worked: that decides whether the items are known to be right."""
        try:
            items, self._version = await self._client.list(self._kind)
            self._replace(items)
        except Exception as error:
            self._on_contact(self._kind, _why(error))
            return False
        self._on_contact(self._kind, None)
        return True

    async def _watch(self) -> None:
        """Until the server ends the watch, as it is asked to now and then."""
        started = asyncio.get_running_loop().time()
        heard = False
        async with self._client.watch(self._kind, self._version) as events:
            async for event in events:
                heard = True
                self._version = str(event.item["metadata"]["resourceVersion"])
                if event.type == "BOOKMARK":
                    continue
                name = str(event.item["metadata"]["name"])
                if event.type == "DELETED":
                    self._items.pop(name, None)
                    self._of_spec.pop(_uid(event.item), None)
                else:
                    self._items[name] = event.item
                    self._remember(event.item)
                self._on_change(self._kind)
        if not heard and asyncio.get_running_loop().time() - started < SHORTEST_WATCH:
            raise ClusterAway(f"the API server ends the watch of {self._kind.plural} at once")

    def _remember(self, item: Item) -> None:
        known = self._of_spec.get(_uid(item))
        if known is None or known.generation != _generation(item):
            known = self._of_spec[_uid(item)] = _SpecVersions(_generation(item), deque(maxlen=REMEMBERED))
        known.versions.append(str(item["metadata"]["resourceVersion"]))

    def _replace(self, items: Iterable[Item]) -> None:
        self._items = {str(item["metadata"]["name"]): item for item in items}
        there = {_uid(item) for item in self._items.values()}
        self._of_spec = {uid: known for uid, known in self._of_spec.items() if uid in there}
        for item in self._items.values():
            self._remember(item)
        self._on_change(self._kind)


@dataclass(slots=True)
class _SpecVersions:
    """The last resourceVersions that a resource had with one generation of its spec."""

    generation: int
    versions: deque[str]


def _uid(item: Item) -> str:
    return str(item["metadata"].get("uid", ""))


def _generation(item: Item) -> int:
    return int(item["metadata"].get("generation", 1))


def _delay(failures: int) -> float:
    """Seconds until the next try; many adapters that lost one API server do not come back at one instant."""
    return DELAYS[min(failures, len(DELAYS)) - 1] * random.uniform(0.5, 1.0)


def _why(error: Exception) -> str:
    if not isinstance(error, AdapterError):
        log.warning("an answer of the API server cannot be used", exc_info=error)
    return in_words(error)
