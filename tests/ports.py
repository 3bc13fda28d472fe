"""Ports for servers that are told theirs before they start."""

from __future__ import annotations

import contextlib
import secrets
import socket


def free_port() -> int:
    """A TCP port of the loopback interface that nobody has at this instant, and that the system gives nobody who asks
    for any: such a one may be gone when the adapter has started."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)  # ip_local_port_range begins at 32,768
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
