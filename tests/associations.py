"""Helpers for tests that hold an association over a real loopback socket: a small acceptor, sinks, a raw peer."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_adapter.dicom import dimse
from dicom_adapter.dicom.negotiation import accept, answer_contexts, propose
from dicom_adapter.dicom.pdu import AAssociateAC, AAssociateRQ, ProposedContext
from dicom_adapter.net.connection import Connection, PduLog, Timeouts

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
MAX_PDU_LENGTH = 262144

RQ = AAssociateRQ("CALLED", "CALLING", propose([(VERIFICATION, (IMPLICIT,)), (CT, (IMPLICIT,))]))


def first_transfer_syntax(context: ProposedContext) -> str:
    return context.transfer_syntaxes[0]


def answer(rq: AAssociateRQ, max_pdu_length: int = MAX_PDU_LENGTH) -> AAssociateAC:
    """Accepts everything."""
    return accept(
        rq,
        answer_contexts(rq.presentation_contexts, first_transfer_syntax),
        max_pdu_length=max_pdu_length,
        implementation_class_uid="1.2.3",
        implementation_version_name="TEST",
    )


class MemorySink:
    """Keeps the data set; never splices."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, fragment: memoryview) -> None:
        self.data += fragment

    def splice_fd(self) -> int | None:
        return None

    def spliced(self, count: int) -> None:
        raise AssertionError("nothing to splice into")

    def failed(self, error: OSError) -> None:
        raise AssertionError("nothing to fail") from error


class FileSink:
    """Writes to a file, and lets bytes be spliced into it once `head` bytes were seen."""

    def __init__(self, fd: int, head: int = 0) -> None:
        self.fd = fd
        self.head = head
        self.written = 0
        self.moved = 0
        self.dropped = 0
        self.error: OSError | None = None

    def write(self, fragment: memoryview) -> None:
        if self.error is not None:
            self.dropped += len(fragment)
            return
        try:
            self.written += os.write(self.fd, fragment)
        except OSError as error:
            self.error = error
            self.dropped += len(fragment)

    def splice_fd(self) -> int | None:
        return self.fd if self.error is None and self.written >= self.head else None

    def spliced(self, count: int) -> None:
        self.moved += count

    def failed(self, error: OSError) -> None:
        self.error = error


class Running:
    """An acceptor in its own thread; `result` waits for it and raises what it raised."""

    def __init__(self, port: int, thread: threading.Thread, failures: list[BaseException]) -> None:
        self.port = port
        self._thread = thread
        self._failures = failures

    def result(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._failures:
            raise self._failures.pop()


@contextmanager
def acceptor(
    serve: Callable[[Connection], None],
    *,
    timeouts: Timeouts | None = None,
    max_pdu_length: int = MAX_PDU_LENGTH,
    pdu_log: PduLog | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Running]:
    """Serve one connection with `serve`; its exception, if any, comes out of `result()` or at the end."""
    failures: list[BaseException] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:

        def run() -> None:
            try:
                sock, _ = listener.accept()
                connection = Connection.accept(
                    sock, max_pdu_length=max_pdu_length, timeouts=timeouts or Timeouts(), pdu_log=pdu_log
                )
                try:
                    serve(connection)
                finally:
                    connection.close()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        running = Running(listener.getsockname()[1], thread, failures)
        yield running
        running.result()


def establish(connection: Connection) -> AAssociateRQ:
    rq = connection.receive_request()
    connection.accept_association(answer(rq))
    return rq


def serve_storage(directory: Path | None = None, received: list[bytes] | None = None) -> Callable[[Connection], None]:
    """Echo and storage until the release: data sets go to files in `directory` by splice, or into `received`."""

    def serve(connection: Connection) -> None:
        establish(connection)
        number = 0
        while (message := connection.receive_command()) is not None:
            context_id, command = message
            if command.has_data_set:
                if directory is None:
                    sink = MemorySink()
                    connection.receive_data_set(sink)
                    if received is not None:
                        received.append(bytes(sink.data))
                else:
                    with (directory / str(number)).open("wb") as file:
                        connection.receive_data_set(FileSink(file.fileno(), head=1000))
                number += 1
            connection.send_command(context_id, dimse.response(command, dimse.SUCCESS))
        connection.confirm_release()

    return serve


def receive_pdu(sock: socket.socket) -> bytes:
    """One whole PDU, for a peer that is a script."""
    header = _exactly(sock, 6)
    return header + _exactly(sock, struct.unpack(">I", header[2:])[0])


def _exactly(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise EOFError(f"{len(data)} of {length} bytes")
        data += more
    return data
