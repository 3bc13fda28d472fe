"""The I/O shell over real loopback sockets: both roles, data paths, limits in time, and every way to end."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dicom_adapter.dicom import command_set, dimse
from dicom_adapter.dicom.command_set import CommandSet
from dicom_adapter.dicom.pdu import (
    AAbort,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    Pdv,
)
from dicom_adapter.dicom.pdu_encoder import PDV_OVERHEAD, encode, p_data_header
from dicom_adapter.net.connection import (
    HEADERS_LENGTH,
    AssociationEnded,
    AssociationRejected,
    ConnectFailed,
    Connection,
    Timeouts,
)
from dicom_adapter.net.transport import Transport
from tests.associations import (
    CT,
    MAX_PDU_LENGTH,
    RQ,
    FileSink,
    Running,
    acceptor,
    answer,
    establish,
    receive_pdu,
    serve_storage,
)

SHORT = Timeouts(idle=0.5, response=0.5, write=0.5)
SHORT_ARTIM = Timeouts(artim=0.5)
STORE = dimse.c_store_rq(1, CT, "1.2.3")
ABORT_BY_USER = encode(AAbort())


def request(port: int, timeouts: Timeouts | None = None, host: str = "127.0.0.1", **log: object) -> Connection:
    return Connection.request(
        host,
        port,
        RQ,
        max_pdu_length=MAX_PDU_LENGTH,
        timeouts=timeouts or Timeouts(),
        **log,  # type: ignore[arg-type]
    )


@contextmanager
def script(port: int, *, associate: bool = True) -> Iterator[socket.socket]:
    """A peer that sends what the test says, byte for byte."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        if associate:
            sock.sendall(encode(RQ))
            assert receive_pdu(sock) == encode(answer(RQ))
        yield sock


@contextmanager
def silent_acceptor(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """An acceptor that does what the test says after the A-ASSOCIATE-AC."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            sock, _ = listener.accept()
            with sock:
                receive_pdu(sock)
                sock.sendall(encode(answer(RQ)))
                talk(sock)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive()


def wait_for_end(sock: socket.socket) -> None:
    """Read until the other side closes."""
    while sock.recv(65536):
        pass


def wait_for(event: threading.Event) -> None:
    assert event.wait(20)


def ended(running: Running) -> AssociationEnded:
    with pytest.raises(AssociationEnded) as raised:
        running.result()
    return raised.value


def store(connection: Connection, path: Path, offset: int = 0) -> CommandSet:
    with path.open("rb") as file:
        connection.send_command(3, STORE)
        connection.send_data_set(3, file.fileno(), offset, path.stat().st_size - offset)
    message = connection.receive_command()
    assert message is not None
    return message[1]


class TestBothRoles:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_echo_and_release(self, host: str) -> None:
        with acceptor(serve_storage(), host=host) as running:
            connection = request(running.port, host=host)
            assert connection.peer_host == host
            assert {context.abstract_syntax for context in connection.contexts.values()} == {
                context.abstract_syntax for context in RQ.presentation_contexts
            }
            assert connection.peer_max_pdu_length == MAX_PDU_LENGTH
            connection.send_command(1, dimse.c_echo_rq(5))
            assert connection.receive_command() == (1, dimse.c_echo_rsp(dimse.c_echo_rq(5)))
            connection.release()
            connection.close()

    @pytest.mark.parametrize("size", [0, 1, 999, 32 * 1024, 65536, MAX_PDU_LENGTH, 5 * MAX_PDU_LENGTH + 17])
    @pytest.mark.parametrize("splices", [True, False])
    def test_data_sets_arrive_as_they_were(
        self, tmp_path: Path, size: int, splices: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not splices:
            monkeypatch.setattr(Transport, "splice", lambda self, fd, count: None)
        source = tmp_path / "source"
        source.write_bytes(b"head" + os.urandom(size))
        with acceptor(serve_storage(tmp_path)) as running:
            connection = request(running.port)
            for _ in range(3):
                response = store(connection, source, offset=4)
                assert (response.status, response.affected_sop_instance_uid) == (0, "1.2.3")
            connection.release()
            connection.close()
        for number in range(3):
            padding = b"\0" * (size % 2)  # PS3.8 Annex F
            assert (tmp_path / str(number)).read_bytes() == source.read_bytes()[4:] + padding

    @pytest.mark.parametrize("full", [False, True])
    def test_a_file_system_without_splice_gets_its_bytes_by_hand(
        self, tmp_path: Path, full: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried = 0
        real_splice, real_write = os.splice, os.write

        def splice(source: int, target: int, count: int) -> int:
            nonlocal tried
            if stat.S_ISREG(os.fstat(target).st_mode):
                tried += 1
                raise OSError(errno.EINVAL, "Invalid argument")
            return real_splice(source, target, count)

        def write(file: int, data: bytes) -> int:
            if full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real_write(file, data)

        monkeypatch.setattr(os, "splice", splice)
        source = tmp_path / "source"
        source.write_bytes(os.urandom(4 * MAX_PDU_LENGTH))
        with acceptor(serve_storage(tmp_path)) as running:
            connection = request(running.port)
            with monkeypatch.context() as patch:
                patch.setattr("dicom_adapter.net.transport.os.write", write)
                store(connection, source)
            store(connection, source)
            connection.release()
            connection.close()
        assert tried == 1
        assert ((tmp_path / "0").read_bytes() == source.read_bytes()) is not full
        assert (tmp_path / "1").read_bytes() == source.read_bytes()

    def test_large_pdvs_go_by_splice(self, tmp_path: Path) -> None:
        sinks: list[FileSink] = []

        def serve(connection: Connection) -> None:
            establish(connection)
            assert connection.receive_command() is not None
            with (tmp_path / "out").open("wb") as file:
                sinks.append(FileSink(file.fileno(), head=1))
                connection.receive_data_set(sinks[0])
            connection.send_command(3, dimse.response(STORE, 0))
            assert connection.receive_command() is None
            connection.confirm_release()

        source = tmp_path / "source"
        source.write_bytes(bytes(8 * MAX_PDU_LENGTH))
        with acceptor(serve) as running:
            connection = request(running.port)
            store(connection, source)
            connection.release()
            connection.close()
        assert sinks[0].written + sinks[0].moved == 8 * MAX_PDU_LENGTH
        assert sinks[0].moved > 7 * MAX_PDU_LENGTH

    def test_the_short_end_of_a_data_set_comes_with_its_headers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[int] = []
        real = Transport.receive_into

        def receive_into(transport: Transport, buffer: memoryview) -> int:
            asked.append(len(buffer))
            return real(transport, buffer)

        monkeypatch.setattr(Transport, "receive_into", receive_into)
        room = MAX_PDU_LENGTH - PDV_OVERHEAD
        series = [4 * room + 500, 4 * room + 500, 2 * room, 3 * room + 500, 5 * room + 20_000, room + 2, 4 * room + 500]
        files = [tmp_path / f"source-{number}" for number in range(len(series))]
        with acceptor(serve_storage(tmp_path)) as running:
            connection = request(running.port)
            for file, size in zip(files, series, strict=True):
                file.write_bytes(os.urandom(size))
                store(connection, file)
            connection.release()
            connection.close()
        assert [(tmp_path / str(number)).read_bytes() for number in range(len(files))] == [
            file.read_bytes() for file in files
        ]
        assert asked.count(HEADERS_LENGTH + 500) == 2  # of the second; and of the fifth, which went on, by mistake

    def test_release_by_the_acceptor(self) -> None:
        def serve(connection: Connection) -> None:
            establish(connection)
            connection.release()

        with acceptor(serve) as running:
            connection = request(running.port)
            assert connection.receive_command() is None
            connection.confirm_release()
            connection.close()

    def test_release_collision(self) -> None:
        both = threading.Barrier(2, timeout=20)

        def serve(connection: Connection) -> None:
            establish(connection)
            both.wait()
            connection.release()

        with acceptor(serve) as running:
            connection = request(running.port)
            both.wait()
            connection.release()
            connection.close()

    def test_ipv4_peer_of_an_ipv6_socket_is_known_by_its_ipv4_address(self) -> None:
        with (
            socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
            socket.create_connection(("127.0.0.1", listener.getsockname()[1])),
        ):
            sock, _ = listener.accept()
            with closing(Connection.accept(sock, max_pdu_length=0, timeouts=SHORT)) as connection:
                assert connection.peer_host == "127.0.0.1"

    def test_pdu_log(self, tmp_path: Path) -> None:
        sent: list[str] = []
        received: list[str] = []
        source = tmp_path / "source"
        source.write_bytes(bytes(300_000))
        with acceptor(serve_storage(tmp_path), pdu_log=received.append) as running:
            connection = request(running.port, pdu_log=sent.append)
            store(connection, source)
            connection.release()
            connection.close()
        data_set = [line.removeprefix("sent ") for line in sent if "data set" in line]
        assert data_set == [
            "P-DATA-TF of 262144 bytes: context 3, data set, not last, 262138 bytes",
            "P-DATA-TF of 37868 bytes: context 3, data set, last, 37862 bytes",
        ]
        assert [line.removeprefix("received ") for line in received if "data set" in line] == data_set
        assert [line.split()[0] for line in sent] == ["sent", "sent", "sent", "received"]

    def test_pdu_log_of_many_pdvs_is_one_line(self) -> None:
        lines: list[str] = []
        with acceptor(serve_storage(), pdu_log=lines.append) as running, script(running.port) as sock:
            command = command_set.encode(dimse.c_echo_rq(1))
            pdvs = [Pdv(1, True, False, command[i : i + 4]) for i in range(0, len(command), 4)]
            sock.sendall(encode(PDataTF((*pdvs, Pdv(1, True, True, b"")))))
            receive_pdu(sock)
            sock.sendall(encode(AReleaseRQ()))
            assert receive_pdu(sock) == encode(AReleaseRP())
        assert lines[0].count("context 1, command, not last, 4 bytes") == 8
        assert lines[0].endswith(f"; {len(pdvs) + 1 - 8} more PDVs")
        assert len(lines) == 2


class TestMessages:
    def test_data_set_of_an_unknown_command_is_dropped(self) -> None:
        answers = []

        def serve(connection: Connection) -> None:
            establish(connection)
            while (message := connection.receive_command()) is not None:
                response = dimse.unrecognized_operation(message[1])
                assert response is not None
                answers.append(response.status)
                connection.send_command(message[0], response)
            connection.confirm_release()

        find = CommandSet(command_field=0x0020, message_id=1, has_data_set=True, affected_sop_class_uid="1.2")
        data_set = PDataTF((Pdv(1, False, False, b"query"), Pdv(1, False, True, b"")))
        with acceptor(serve) as running, script(running.port) as sock:
            for _ in range(2):
                sock.sendall(dimse.command_pdus(1, find, 16384) + encode(data_set))
                assert b"\x11\x02" in receive_pdu(sock)
            sock.sendall(encode(AReleaseRQ()))
            assert receive_pdu(sock) == encode(AReleaseRP())
        assert answers == [0x0211, 0x0211]

    def test_pipelined_messages_and_release_in_one_segment(self) -> None:
        received: list[bytes] = []
        message = dimse.command_pdus(3, STORE, 16384) + encode(PDataTF((Pdv(3, False, True, b"data"),)))
        with acceptor(serve_storage(received=received)) as running, script(running.port) as sock:
            sock.sendall(message * 3 + encode(AReleaseRQ()))
            for _ in range(3):
                receive_pdu(sock)
            assert receive_pdu(sock) == encode(AReleaseRP())
        assert received == [b"data"] * 3

    @pytest.mark.parametrize(
        ("sent", "answered"),
        [
            (encode(PDataTF((Pdv(1, False, True, b"data"),))), AAbort(2, 5)),
            (encode(PDataTF((Pdv(9, True, True, b"data"),))), AAbort(2, 6)),
            (encode(PDataTF((Pdv(1, True, True, b"no command"),))), AAbort(0, 0)),
            (encode(PDataTF((Pdv(1, True, False, b"part"),))) + encode(AReleaseRQ()), AAbort(2, 2)),
            (dimse.command_pdus(3, STORE, 16384) + encode(AReleaseRQ()), AAbort(2, 2)),
            (dimse.command_pdus(3, STORE, 16384) * 2, AAbort(2, 5)),
            (p_data_header(1, is_command=True, is_last=True, length=MAX_PDU_LENGTH), AAbort(2, 6)),
            (p_data_header(1, is_command=True, is_last=True, length=70_000), AAbort(2, 6)),
            (encode(RQ), AAbort(2, 2)),
            (b"\x09\x00\x00\x00\x00\x00", AAbort(2, 1)),
        ],
    )
    def test_what_is_not_allowed_is_answered_by_abort(self, sent: bytes, answered: AAbort) -> None:
        with acceptor(serve_storage()) as running:
            with script(running.port) as sock:
                sock.sendall(sent)
                assert receive_pdu(sock) == encode(answered)
                assert sock.recv(1) == b""  # and then the end of the stream
            error = ended(running)
        assert error.by_peer
        assert (error.abort_source, error.abort_reason) == (answered.source, answered.reason)
        assert "broke the protocol" in str(error)


class TestFileFailure:
    def test_full_disk_while_writing(self, tmp_path: Path) -> None:
        sinks: list[FileSink] = []

        def serve(connection: Connection) -> None:
            establish(connection)
            while (message := connection.receive_command()) is not None:
                fd = os.open("/dev/full", os.O_WRONLY)
                sinks.append(FileSink(fd))
                connection.receive_data_set(sinks[-1])
                os.close(fd)
                connection.send_command(message[0], dimse.response(message[1], 0xA700))
            connection.confirm_release()

        source = tmp_path / "source"
        source.write_bytes(bytes(4 * MAX_PDU_LENGTH))
        with acceptor(serve) as running:
            connection = request(running.port)
            for _ in range(2):
                assert store(connection, source).status == 0xA700
            connection.release()
            connection.close()
        assert [(sink.error and sink.error.errno, sink.dropped) for sink in sinks] == [
            (errno.ENOSPC, 4 * MAX_PDU_LENGTH)
        ] * 2

    def test_splice_into_a_file_that_fails(self, tmp_path: Path) -> None:
        """A file opened for reading only takes no bytes: what was in the pipe is lost, the rest is drained."""
        sinks: list[FileSink] = []

        def serve(connection: Connection) -> None:
            establish(connection)
            while (message := connection.receive_command()) is not None:
                with source.open("rb") as file:
                    sink = FileSink(file.fileno())
                    sink.write = lambda fragment: None  # type: ignore[method-assign]
                    sinks.append(sink)
                    connection.receive_data_set(sink)
                connection.send_command(message[0], dimse.response(message[1], 0xA700))
            connection.confirm_release()

        source = tmp_path / "source"
        source.write_bytes(bytes(4 * MAX_PDU_LENGTH))
        with acceptor(serve) as running:
            connection = request(running.port)
            for _ in range(2):
                assert store(connection, source).status == 0xA700
            connection.release()
            connection.close()
        assert [sink.error.errno for sink in sinks if sink.error] == [errno.EBADF, errno.EBADF]
        assert sinks[0].moved == 0

    def test_file_shorter_than_said_ends_the_association(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"short")
        with acceptor(serve_storage()) as running:
            connection = request(running.port)
            connection.send_command(3, STORE)
            with source.open("rb") as file, pytest.raises(AssociationEnded, match="shorter") as raised:
                connection.send_data_set(3, file.fileno(), 0, 100)
            assert not raised.value.by_peer
            connection.close()
            assert "connection was lost" in str(ended(running))


class TestTime:
    @pytest.mark.parametrize("dribble", [True, False])
    def test_no_request_within_artim(self, dribble: bool) -> None:
        """Single bytes of a request, or none, do not extend it."""
        with acceptor(serve_storage(), timeouts=SHORT_ARTIM) as running:
            with script(running.port, associate=False) as sock:
                sock.settimeout(0.05 if dribble else 20)
                answered = None
                for byte in encode(RQ):
                    try:
                        answered = sock.recv(1)
                        break
                    except TimeoutError:
                        sock.sendall(bytes((byte,)))
                assert answered == b""
            assert "no A-ASSOCIATE-RQ within 0.5 s" in str(ended(running))

    def test_idle_association(self) -> None:
        with acceptor(serve_storage(), timeouts=SHORT) as running:
            with script(running.port) as sock:
                assert receive_pdu(sock) == encode(AAbort(2, 0))
            error = ended(running)
            assert "no complete PDU from the peer for 0.5 s" in str(error)
            assert (error.abort_source, error.abort_reason) == (2, 0)

    @pytest.mark.parametrize("spliced", [True, False])
    def test_dribble_inside_a_data_set_does_not_extend_the_limit(self, tmp_path: Path, spliced: bool) -> None:
        serve = serve_storage(tmp_path) if spliced else serve_storage()
        with acceptor(serve, timeouts=SHORT) as running:
            with script(running.port) as sock:
                sock.sendall(dimse.command_pdus(3, STORE, 16384))
                sock.sendall(p_data_header(3, is_command=False, is_last=False, length=2000) + bytes(2000))
                sock.sendall(p_data_header(3, is_command=False, is_last=True, length=33_000))
                sock.settimeout(0.02)
                answered = b""
                while not answered:
                    try:
                        answered = sock.recv(100)
                    except TimeoutError:
                        sock.sendall(b"x")
                assert answered == encode(AAbort(2, 0))
            assert "no complete PDU" in str(ended(running))

    def test_peer_that_takes_no_data(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.touch()
        os.truncate(source, 64 << 20)
        stop = threading.Event()
        with silent_acceptor(lambda sock: wait_for(stop)) as port:
            connection = request(port, SHORT)
            connection.send_command(3, STORE)
            with source.open("rb") as file, pytest.raises(AssociationEnded, match=r"took no data for 0.5 s") as raised:
                connection.send_data_set(3, file.fileno(), 0, 64 << 20)
            assert raised.value.by_peer
            connection.close()
            stop.set()

    def test_no_response(self) -> None:
        with silent_acceptor(wait_for_end) as port:
            connection = request(port, SHORT)
            connection.send_command(1, dimse.c_echo_rq(1))
            with pytest.raises(AssociationEnded, match="no answer"):
                connection.receive_command()
            connection.close()

    @pytest.mark.parametrize("waits_for", ["answer", "release"])
    def test_pdus_that_answer_nothing_do_not_extend_the_limit(self, waits_for: str) -> None:
        def talk(sock: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock.sendall(p_data_header(1, is_command=True, is_last=False, length=0))
                    sock.settimeout(0.05)
                    with contextlib.suppress(TimeoutError):
                        while sock.recv(65536):
                            pass
                        return

        with silent_acceptor(talk) as port:
            connection = request(port, Timeouts(artim=0.5, idle=0.5, response=0.5, write=0.5))
            connection.send_command(1, dimse.c_echo_rq(1))
            waits = {"answer": connection.receive_command, "release": connection.release}[waits_for]
            with pytest.raises(AssociationEnded, match="no answer"):
                waits()
            connection.close()

    def test_peer_that_never_closes_after_an_abort(self) -> None:
        stop = threading.Event()
        with silent_acceptor(lambda sock: wait_for(stop)) as port:
            connection = request(port, SHORT_ARTIM)
            connection.abort()
            connection.close()  # within ARTIM
            stop.set()

    @pytest.mark.parametrize("error", [errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH])
    def test_a_connection_that_breaks_while_the_peer_is_to_close_is_closed(
        self, error: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(transport: Transport, buffer: memoryview) -> int:
            raise OSError(error, os.strerror(error))

        with silent_acceptor(wait_for_end) as port:
            connection = request(port)
            connection.abort()
            monkeypatch.setattr(Transport, "receive_into", broken)
            connection.close()

    def test_slow_start_of_work_is_not_the_peers_silence(self) -> None:
        """What we take to answer does not count against the peer."""

        def serve(connection: Connection) -> None:
            establish(connection)
            message = connection.receive_command()
            assert message is not None
            time.sleep(2 * SHORT.idle)
            connection.send_command(message[0], dimse.c_echo_rsp(message[1]))
            assert connection.receive_command() is None
            connection.confirm_release()

        with acceptor(serve, timeouts=SHORT) as running:
            connection = request(running.port)
            connection.send_command(1, dimse.c_echo_rq(1))
            connection.receive_command()
            connection.release()
            connection.close()


class TestEnds:
    def test_rejected_by_the_acceptor(self) -> None:
        rj = AAssociateRJ(1, 1, 7)

        def serve(connection: Connection) -> None:
            connection.receive_request()
            connection.reject_association(rj)

        with acceptor(serve) as running, pytest.raises(AssociationRejected) as raised:
            request(running.port)
        assert raised.value.rj == rj
        assert raised.value.by_peer
        assert "rejected-permanent, service-user, called-ae-title-not-recognized" in str(raised.value)

    def test_request_that_no_policy_could_accept(self) -> None:
        rq = AAssociateRQ("A", "B", RQ.presentation_contexts, application_context_name="1.2.3")
        with acceptor(serve_storage()) as running:
            with script(running.port, associate=False) as sock:
                sock.sendall(encode(rq))
                assert receive_pdu(sock) == encode(AAssociateRJ(1, 1, 2))
            error = ended(running)
        assert isinstance(error, AssociationRejected)
        assert not error.by_peer

    def test_abort_received_while_waiting(self) -> None:
        with acceptor(serve_storage()) as running:
            with script(running.port) as sock:
                sock.sendall(encode(AAbort(2, 6)))
                assert sock.recv(1) == b""
            error = ended(running)
        assert error.by_peer
        assert (error.abort_source, error.abort_reason) == (2, 6)
        assert "service-provider, invalid-pdu-parameter-value" in str(error)

    def test_abort_received_while_sending(self, tmp_path: Path) -> None:
        def talk(sock: socket.socket) -> None:
            receive_pdu(sock)
            sock.sendall(encode(AAbort(0, 0)))

        source = tmp_path / "source"
        source.touch()
        os.truncate(source, 64 << 20)
        with silent_acceptor(talk) as port:
            connection = request(port)
            connection.send_command(3, STORE)
            with source.open("rb") as file, pytest.raises(AssociationEnded, match="aborted the association"):
                connection.send_data_set(3, file.fileno(), 0, 64 << 20)
            connection.close()

    @pytest.mark.parametrize("reset", [True, False])
    def test_connection_lost_inside_a_data_set(self, tmp_path: Path, reset: bool) -> None:
        with acceptor(serve_storage(tmp_path)) as running:
            with script(running.port) as sock:
                sock.sendall(dimse.command_pdus(3, STORE, 16384))
                sock.sendall(p_data_header(3, is_command=False, is_last=True, length=100_000) + bytes(50_000))
                if reset:  # on close
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            error = ended(running)
        assert error.by_peer
        assert "the connection was lost" in str(error)

    def test_port_probe(self) -> None:
        with acceptor(serve_storage()) as running:
            with script(running.port, associate=False):
                pass
            assert "lost before an A-ASSOCIATE-RQ" in str(ended(running))

    def test_garbage_first(self) -> None:
        with acceptor(serve_storage()) as running:
            with script(running.port, associate=False) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert receive_pdu(sock) == ABORT_BY_USER
            assert "type 47H" in str(ended(running))

    def test_wake_from_another_thread(self) -> None:
        connections: list[Connection] = []
        waiting = threading.Event()

        def serve(connection: Connection) -> None:
            connections.append(connection)
            establish(connection)
            waiting.set()
            connection.receive_command()

        with acceptor(serve) as running:
            with script(running.port) as sock:
                assert waiting.wait(20)
                connections[0].wake()
                assert receive_pdu(sock) == ABORT_BY_USER
            error = ended(running)
        assert not error.by_peer
        assert "stopping" in str(error)

    def test_close_aborts_what_is_open_and_is_idempotent(self) -> None:
        with acceptor(serve_storage()) as running:
            connection = request(running.port)
            connection.close()
            connection.close()
            error = ended(running)
        assert error.abort_source == 0

    def test_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(ConnectFailed, match=f"no connection to 127.0.0.1:{port}: Connection refused"):
            request(port)

    def test_unknown_host(self) -> None:
        with pytest.raises(ConnectFailed, match="is not known"):
            request(104, host="a..b")

    def test_acceptor_answers_what_was_not_proposed(self) -> None:
        rq = AAssociateRQ("A", "B", RQ.presentation_contexts[:1])

        def serve(connection: Connection) -> None:
            connection.receive_request()
            connection._request = RQ
            connection.accept_association(answer(RQ))
            connection.receive_command()

        with acceptor(serve) as running:
            with pytest.raises(AssociationEnded, match="was not proposed"):
                Connection.request("127.0.0.1", running.port, rq, max_pdu_length=0, timeouts=Timeouts())
            assert ended(running).abort_reason == 6


def test_an_idle_association_costs_one_buffer() -> None:
    sizes = []

    def serve(connection: Connection) -> None:
        establish(connection)
        sizes.append(len(connection._buffer))
        sizes.append(connection._transport._pipe is None)
        assert connection.receive_command() is None
        connection.confirm_release()

    with acceptor(serve) as running:
        connection = request(running.port)
        connection.release()
        connection.close()
    assert sizes == [65536, True]


@pytest.mark.parametrize(("idle", "tick"), [(60.0, 1.0), (1.0, 0.25), (0.0, 0.01)])
def test_tick_follows_the_shortest_limit_and_is_never_zero(idle: float, tick: float) -> None:
    assert Timeouts(idle=idle).tick == tick
