"""Peers for tests: a scripted Storage SCP, and small DICOM files to send it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dicom_adapter.dicom import negotiation
from dicom_adapter.dicom.command_set import CommandSet
from dicom_adapter.dicom.dimse import response
from dicom_adapter.dicom.part10 import file_meta
from dicom_adapter.dicom.pdu import AAssociateRJ, AAssociateRQ, ContextResultReason, ProposedContext
from dicom_adapter.net.connection import AssociationEnded, Connection, Timeouts

CT, MR, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.11"
IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"
QUICK = Timeouts(artim=5, idle=5, write=5, connect=5, response=5)


def uid_element(tag: int, uid: str) -> bytes:
    """An element in Explicit VR Little Endian."""
    value = uid.encode() + b"\0" * (len(uid) % 2)
    header = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return header + b"UI" + len(value).to_bytes(2, "little") + value


def data_set(sop_class: str, sop_instance: str, pixels: int = 200) -> bytes:
    """A small data set in Explicit VR Little Endian with some pixel data."""
    return (
        uid_element(0x00080016, sop_class)
        + uid_element(0x00080018, sop_instance)
        + b"\x10\x00\x10\x00PN\x08\x00DOE^JANE"
        + uid_element(0x0020000D, "1.2.3")
        + uid_element(0x0020000E, "1.2.3.4")
        + b"\xe0\x7f\x10\x00OB\x00\x00"
        + pixels.to_bytes(4, "little")
        + bytes(range(256)) * (pixels // 256)
        + bytes(pixels % 256)
    )


def write_file(
    folder: Path, number: int, sop_class: str = CT, transfer_syntax: str = EXPLICIT, pixels: int = 200
) -> Path:
    """A Part 10 file with SOP Instance UID 1.2.3.4.<number>."""
    path = folder / f"{number}.dcm"
    uid = f"1.2.3.4.{number}"
    head = file_meta(sop_class, uid, transfer_syntax, "1.2.3", "TEST", "", "", "")
    path.write_bytes(head + data_set(sop_class, uid, pixels))
    return path


class Break(Exception):
    """Raised by a script to abort the association."""


Answer = Callable[[CommandSet, bytes], CommandSet | None]
Decide = Callable[[ProposedContext], str | ContextResultReason]


def first_proposed(context: ProposedContext) -> str | ContextResultReason:
    return context.transfer_syntaxes[0]


def success(command: CommandSet, data: bytes) -> CommandSet | None:
    return response(command, 0)


class Sink:
    """Keeps a data set in memory."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, fragment: memoryview) -> None:
        self.data += fragment

    def splice_fd(self) -> int | None:
        return None

    def spliced(self, count: int) -> None:
        raise AssertionError

    def failed(self, error: OSError) -> None:
        raise AssertionError


@dataclass
class ScriptedScp:
    """Serves one association after the other. `answer` makes each response, None: release instead of answering."""

    answer: Answer = success
    decide: Decide = first_proposed
    reject: list[AAssociateRJ] = field(default_factory=list)  # the first associations are rejected so
    port: int = 0
    requests: list[AAssociateRQ] = field(default_factory=list)
    received: list[tuple[CommandSet, bytes]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def serve(self, sock: socket.socket) -> None:
        connection = Connection.accept(sock, max_pdu_length=65536, timeouts=QUICK)
        try:
            rq = connection.receive_request()
            self.requests.append(rq)
            if self.reject:
                connection.reject_association(self.reject.pop(0))
                return
            results = negotiation.answer_contexts(rq.presentation_contexts, self.decide)
            connection.accept_association(
                negotiation.accept(
                    rq,
                    results,
                    max_pdu_length=65536,
                    implementation_class_uid="1.2.3",
                    implementation_version_name="SCRIPT",
                )
            )
            self._converse(connection)
        except (AssociationEnded, Break) as ended:
            self.ends.append(str(ended))
        finally:
            connection.close()

    def _converse(self, connection: Connection) -> None:
        while (message := connection.receive_command()) is not None:
            context_id, command = message
            sink = Sink()
            if command.has_data_set:
                connection.receive_data_set(sink)
            self.received.append((command, sink.data))
            answer = self.answer(command, sink.data)
            if answer is None:
                connection.release()
                return
            connection.send_command(context_id, answer)
        connection.confirm_release()
        self.ends.append("released")


@contextmanager
def serving(scp: ScriptedScp) -> Iterator[ScriptedScp]:
    """Run a scripted SCP on a free loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        scp.port = listening.getsockname()[1]

        def accept_all() -> None:
            while True:
                sock, _ = listening.accept()
                if ended.is_set():
                    sock.close()
                    return
                scp.serve(sock)

        ended = threading.Event()
        thread = threading.Thread(target=accept_all, daemon=True)
        thread.start()
        try:
            yield scp
        finally:
            ended.set()
            with socket.create_connection(("127.0.0.1", scp.port)):
                pass
            thread.join(10)
            assert not thread.is_alive()
