"""The door: accepts connections, and hands each to those who serve it: threads here, or worker processes.

Why here: who listens, and for how long, is one thing; what is done with a connection another.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from typing import Protocol

import structlog

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.scp.live import OpenAssociation, Places, Rejections

log = structlog.get_logger("scp")

BACKLOG = 128
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_PAUSE = 1.0  # seconds; a connection that ends wakes us earlier


class Host(Protocol):
    """Who serves connections."""

    def serve(self, sock: socket.socket) -> None:
        """Take over a connection that was accepted; returns at once."""
        ...

    def wait_for_an_end(self, patience: float) -> None:
        """Return when a connection has ended, or after `patience` seconds."""
        ...

    def refresh(self) -> None:
        """Bring what `Places` knows of open associations up to date."""
        ...

    def stop(self, grace: float) -> None:
        """Open associations may finish within `grace` seconds, then they are aborted. Returns when all have ended."""
        ...


class Listener:
    """The SCP as a whole. Methods may be called from any thread.

    Listens on `bind` ("all", for IPv4 and IPv6, or an address) and `port` (0: any free one). `places`: those that the
    host's associations take.
    """

    def __init__(self, host: Host, places: Places, port: int, bind: str = "all") -> None:
        self.port = port  # after `start`, the one that it listens on
        self._host = host
        self._places = places
        self._bind = bind
        self._sockets: list[socket.socket] = []
        self._wake_reader, self._wake_writer = -1, -1
        self._accepting: threading.Thread | None = None

    @property
    def listening(self) -> bool:
        """Whether new connections are accepted."""
        return self._accepting is not None and self._accepting.is_alive()

    def open_associations(self) -> list[OpenAssociation]:
        """What is open now, oldest first."""
        self._host.refresh()
        return self._places.open_associations()

    def is_open_to(self, ae_title: str) -> bool:
        """Whether an association to this Clara AE Title is open. Once it is not, its end is durable."""
        return self._places.is_open_to(ae_title)

    def rejections(self) -> list[Rejections]:
        """See `Places`."""
        return self._places.rejections()

    def counters(self) -> dict[str, int]:
        """Everything counted since the start: associations by outcome and rejection, instances, bytes, failures."""
        self._host.refresh()
        return dict(self._places.counters())

    def start(self) -> None:
        """Listen. Raises PermanentError, in words, when the port or address cannot be had."""
        self._sockets = _listening_sockets(self._bind, self.port)
        self.port = int(self._sockets[0].getsockname()[1])
        self._wake_reader, self._wake_writer = os.pipe()
        self._accepting = threading.Thread(target=self._accept_all, name="scp listener", daemon=True)
        self._accepting.start()
        log.info("listening for associations", port=self.port, bind=self._bind)

    def stop(self, grace: float) -> None:
        """No new connections; open associations may finish within `grace` seconds, then they are aborted.

        Returns when all have ended. May be called again, to grant less.
        """
        self._close_door()
        if len(self._places):
            log.info("waiting for open associations", associations=len(self._places), seconds=grace)
        self._host.stop(grace)

    def _close_door(self) -> None:
        accepting, self._accepting = self._accepting, None
        if accepting is None:
            return
        os.write(self._wake_writer, b"x")
        accepting.join()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        for listening in self._sockets:
            listening.close()

    def _accept_all(self) -> None:
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        for listening in self._sockets:
            poll.register(listening, select.POLLIN)
        by_descriptor = {listening.fileno(): listening for listening in self._sockets}
        exhausted = False
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._wake_reader in ready:
                return
            for descriptor in ready:
                try:
                    sock, _ = by_descriptor[descriptor].accept()
                except BlockingIOError:
                    continue  # another accepted it, or the peer went away
                except OSError as error:
                    if error.errno in EXHAUSTED:
                        if not exhausted:
                            log.error("no new connections for now: raise the limit of open files", why=error.strerror)
                        exhausted = True
                        self._host.wait_for_an_end(EXHAUSTED_PAUSE)  # no spin
                    continue
                if exhausted:
                    log.info("new connections are accepted again")
                    exhausted = False
                self._host.serve(sock)


def _listening_sockets(bind: str, port: int) -> list[socket.socket]:
    """Sockets that listen, non-blocking; one for both families where the system can."""
    where = "" if bind == "all" else bind
    try:
        if not where and socket.has_dualstack_ipv6():
            listening = socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        else:
            family = socket.AF_INET6 if ":" in where else socket.AF_INET
            listening = socket.create_server((where, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise PermanentError(_why_not_listening(bind, port, error)) from error
    listening.setblocking(False)
    return [listening]


def _why_not_listening(bind: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by another program: stop it, or change dicom.scp.port"
    if error.errno == errno.EACCES:
        return (
            f"port {port} may not be opened: below 1024 it needs root or CAP_NET_BIND_SERVICE; or change dicom.scp.port"
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"{bind} is no address of this machine: change dicom.scp.bind"
    return f"cannot listen on {bind} port {port}: {error.strerror}"
