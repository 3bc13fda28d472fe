"""Addresses of sources that are configured by name: looked up beside the associations, never for long inside one.

Why here: admission is pure, and a slow name server must not keep scanners waiting at the door.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

FRESH = 60.0  # seconds that an answer is used without asking again
PATIENCE = 2.0  # seconds that an association waits for the first answer about a name


def look_up(name: str) -> frozenset[str]:
    """The addresses of a host name, as the system's resolver knows them; none when it does not."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(str(address[4][0]) for address in found)


@dataclass(slots=True)
class _Answer:
    addresses: frozenset[str] = frozenset()
    asked_at: float = 0.0
    arrived: threading.Event = field(default_factory=threading.Event)


class HostNames:
    """A cache of lookups. `resolve` blocks and runs in threads of its own."""

    def __init__(self, resolve: Callable[[str], frozenset[str]] = look_up) -> None:
        self._resolve = resolve
        self._answers: dict[str, _Answer] = {}
        self._lock = threading.Lock()

    def refresh(self, names: Iterable[str], patience: float = PATIENCE) -> None:
        """See that there is an answer about each name, waiting at most `patience` seconds where there never was one."""
        deadline = time.monotonic() + patience
        for answer in [self._asked(name) for name in names]:
            answer.arrived.wait(max(0.0, deadline - time.monotonic()))

    def addresses_of(self, name: str) -> Collection[str]:
        """What is known about a name now. Never blocks."""
        answer = self._answers.get(name)
        return answer.addresses if answer else frozenset()

    def _asked(self, name: str) -> _Answer:
        with self._lock:
            answer = self._answers.setdefault(name, _Answer())
            now = time.monotonic()
            if answer.asked_at and now - answer.asked_at < FRESH:
                return answer
            answer.asked_at = now
        threading.Thread(target=self._ask, args=(name, answer), name=f"look up {name}", daemon=True).start()
        return answer

    def _ask(self, name: str, answer: _Answer) -> None:
        answer.addresses = self._resolve(name)
        answer.arrived.set()
