"""A TCP connection that blocks in short ticks, and moves bytes between socket and file without touching them.

Why SO_RCVTIMEO and SO_SNDTIMEO on a blocking socket: they serve recv, send, splice and sendfile alike. A Python socket
time-out makes the descriptor non-blocking underneath, and splice would need a poll before each call. A tick that passes
raises BlockingIOError; the caller looks at its deadlines and calls again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import time

from dicom_adapter.net.errors import ConnectFailed

PIPE_SIZE = 1 << 20  # bytes; what an unprivileged process may ask for

_CAN_SPLICE = hasattr(os, "splice")
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def peer_address(sock: socket.socket) -> tuple[str, int]:
    """(host, port) of the peer; an IPv4 address that came through an IPv6 socket is given as IPv4."""
    host, port = sock.getpeername()[:2]
    return host.removeprefix("::ffff:") if "." in host else host, port


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A connected socket, by the first address of the host that answers within `timeout` seconds in all."""
    deadline = time.monotonic() + timeout
    where = f"{host}:{port}"
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"the host of {where} is not known ({error})") from None
    reason = "it has no address"
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            sock.connect(address)
        except TimeoutError:
            reason = f"no answer within {timeout:g} s"
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return sock
        sock.close()
    raise ConnectFailed(f"no connection to {where}: {reason}. Does it run, and are host, port and firewall right?")


Spliced = tuple[int, int, OSError | None]
"""What a splice moved: bytes taken from the socket (0: the peer has closed), bytes written to the file, error of the
file. Bytes that were taken and not written are lost."""


class Transport:
    """One connected socket. `tick`: seconds after which a blocked call raises BlockingIOError."""

    def __init__(self, sock: socket.socket, *, tick: float, keep_alive: float) -> None:
        self._sock = sock
        self._tick = tick
        self._pipe: tuple[int, int] | None = None
        self._splices = _CAN_SPLICE
        self._acknowledges_at_once = False
        sock.settimeout(None)
        interval = struct.pack("@ll", int(tick), int(tick % 1 * 1_000_000))  # struct timeval
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(keep_alive)))

    def _acknowledge_at_once(self) -> None:
        """Tell the kernel, after each thing that we sent, that this is no dialogue of short lines.

        Many senders write a PDU in several small segments with Nagle's algorithm on: a delayed ACK costs each of their
        images 40 ms. The kernel begins to delay when we send; until then each read of the last byte acknowledges it.
        Best at once, before the peer has sent more: later the call sends the ACK that is due, and runs the peer's half
        of loopback, without letting go of the interpreter.
        """
        self._acknowledges_at_once = True
        if _QUICKACK is not None:
            self._sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def receive_into(self, buffer: memoryview) -> int:
        """At least one byte; 0: the peer has closed. Raises BlockingIOError after a tick, OSError when broken."""
        if not self._acknowledges_at_once:
            self._acknowledge_at_once()
        return self._sock.recv_into(buffer)

    def receive_waiting(self, buffer: memoryview) -> int:
        """As `receive_into`, but only what is there already."""
        return self._sock.recv_into(buffer, len(buffer), socket.MSG_DONTWAIT)

    def splice(self, fd: int, count: int) -> Spliced | None:
        """Move up to `count` bytes into the file `fd`: all that come within a tick. Raises as `receive_into`.

        None: they cannot go there without passing through this process.
        """
        if not self._splices or (self._pipe is None and not self._make_pipe()):
            return None
        assert self._pipe is not None
        source, (out, into) = self._sock.fileno(), self._pipe
        if not self._acknowledges_at_once:
            self._acknowledge_at_once()
        until = 0.0
        taken = written = 0
        while taken < count:
            try:
                left = os.splice(source, into, min(count - taken, PIPE_SIZE))
            except BlockingIOError:
                if not taken:
                    raise
                break
            if not left:
                break
            taken += left
            try:
                while left:
                    moved = os.splice(out, fd, left)
                    if not moved:
                        raise OSError(errno.EIO, os.strerror(errno.EIO))
                    written += moved
                    left -= moved
            except OSError as error:
                self._splices = error.errno != errno.EINVAL  # a file system that has no splice: by hand from now on
                failure = error if self._splices else _copy(out, fd, left)
                self._close_pipe()  # with what is still in it
                return taken, written if failure else written + left, failure
            if taken < count:
                now = time.monotonic()
                until = until or now + self._tick
                if now > until:  # bytes trickle: let the caller look at its deadlines
                    break
        return taken, written, None

    def _make_pipe(self) -> bool:
        try:
            self._pipe = os.pipe()
        except OSError:  # out of descriptors: receive_into works as well
            return False
        with contextlib.suppress(OSError):  # beyond the user's share of pipe memory: a small pipe works as well
            fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        return True

    def send(self, data: bytes | memoryview, *, more: bool) -> int:
        """How many bytes were taken. `more`: others follow at once, so an incomplete segment may wait for them."""
        self._acknowledges_at_once = False
        if more:
            return self._sock.send(data, socket.MSG_MORE)
        sent = self._sock.send(data)
        self._acknowledge_at_once()
        return sent

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """How many bytes of the file were taken; 0: it ends before."""
        self._acknowledges_at_once = False
        return os.sendfile(self._sock.fileno(), fd, offset, count)

    def stop_receiving(self) -> None:
        """From any thread: a blocked receive returns 0 now."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def stop_sending(self) -> None:
        """The peer sees the end of the stream."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            for fd in self._pipe:
                os.close(fd)
            self._pipe = None

    def close(self) -> None:
        """Idempotent."""
        self._close_pipe()
        self._sock.close()


def _copy(source: int, target: int, count: int) -> OSError | None:
    """Move so many bytes, which are there, from a pipe into a file; the error of the file, if it does not take them."""
    try:
        while count:
            data = memoryview(os.read(source, count))
            count -= len(data)
            while data:
                data = data[os.write(target, data) :]
    except OSError as error:
        return error
    return None
