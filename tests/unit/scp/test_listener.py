"""The door: who gets in, how many, and what happens at the limits and at the end (promise: faults 89 to 108)."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.core.snapshot import ScpPolicy, Source
from dicom_adapter.dicom.dimse import c_echo_rq, c_store_rq
from dicom_adapter.dicom.pdu import AAssociateRJ, AAssociateRQ
from dicom_adapter.dicom.pdu_encoder import encode
from dicom_adapter.net.connection import AssociationEnded, AssociationRejected
from dicom_adapter.scp import listener as module
from dicom_adapter.scp.host_names import HostNames
from dicom_adapter.scp.listener import Listener
from dicom_adapter.scp.threads import ConnectionSettings
from tests.associations import RQ, receive_pdu
from tests.peers import CT, EXPLICIT, QUICK, data_set
from tests.scp_harness import SNAPSHOT, running, store
from tests.waiting import eventually


def settings(**changes: object) -> ConnectionSettings:
    return replace(ConnectionSettings(timeouts=QUICK), **changes)  # type: ignore[arg-type]


def test_one_more_than_max_associations_is_rejected_for_now_until_a_place_is_free(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        first, _second = scp.associate(), scp.associate()
        with pytest.raises(AssociationRejected) as raised:
            scp.associate()
        assert raised.value.rj == AAssociateRJ(2, 3, 2)
        first.release()
        third = scp.associate()  # at once
        third.release()
        assert scp.listener.counters()["associations_rejected_2_3_2"] == 1
        assert scp.listener.counters()["associations_accepted"] == 3


def test_the_configuration_in_force_is_that_of_the_moment(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        scp.snapshot = replace(SNAPSHOT, sources=(Source("MR01", "127.0.0.1"),))
        with pytest.raises(AssociationRejected):
            scp.associate()
        scp.associate(calling="MR01").release()


def test_a_rejection_is_one_log_line_and_kept_with_ae_host_and_advice(tmp_path: Path) -> None:
    with capture_logs() as lines, running(tmp_path / "storage") as scp:
        with pytest.raises(AssociationRejected):
            scp.associate(calling="CT\\x1b9")
        for _ in range(2):
            with pytest.raises(AssociationRejected):
                scp.associate(called="LUNG")
        latest, first = scp.listener.rejections()
    assert [(one.rejection.calling_ae_title, one.times) for one in (latest, first)] == [("CT01", 2), ("CT\\x1b9", 1)]
    assert latest.rejection.answer == "rejected-permanent, service-user, called-ae-title-not-recognized"
    assert "correct the called AE Title at the sender" in latest.rejection.why
    assert latest.first_at <= latest.last_at
    rejections = [line for line in lines if line["event"] == "association rejected"]
    assert [line["log_level"] for line in rejections] == ["warning"] * 3
    assert "AE 'CT\\x1b9' at 127.0.0.1" in rejections[0]["why"]
    assert "dicom.scp.sources" in rejections[0]["why"]
    assert "'LUNG'" in rejections[1]["why"]
    assert "dicom.scp.ae-titles" in rejections[1]["why"]


def test_silent_connections_hold_no_place_and_the_oldest_is_dropped_first(tmp_path: Path) -> None:
    with ExitStack() as stack, running(tmp_path / "storage", settings=settings(max_pending=3)) as scp:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", scp.listener.port), timeout=10))
            for _ in range(3)
        ]
        scp.associate().release()
        assert silent[0].recv(1) == b""  # it made room
        for connection in silent[1:]:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        assert scp.listener.counters()["connections_dropped"] == 1


def test_each_connection_too_many_drops_another_one(tmp_path: Path) -> None:
    with ExitStack() as stack, running(tmp_path / "storage", settings=settings(max_pending=2)) as scp:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", scp.listener.port), timeout=10))
            for _ in range(20)
        ]
        for connection in silent[:-2]:
            assert connection.recv(1) == b""
        assert scp.listener.counters()["connections_dropped"] == 18


def test_a_peer_that_does_not_close_after_its_release_makes_room_for_others(tmp_path: Path) -> None:
    patient = settings(max_pending=2, timeouts=replace(QUICK, artim=60))
    with running(tmp_path / "storage", settings=patient) as scp:
        for _ in range(8):
            scp.associate().release()
        eventually(lambda: len(scp.threads._connections) == 2)
        stopping = threading.Thread(target=scp.threads.stop, args=(1000,))
        stopping.start()  # nor does a stop wait for them
        eventually(lambda: not scp.threads._connections)
        stopping.join()


def test_a_connection_without_a_request_is_closed_at_artim(tmp_path: Path) -> None:
    quick = settings(timeouts=replace(QUICK, artim=0.2))
    with (
        running(tmp_path / "storage", settings=quick) as scp,
        socket.create_connection(("127.0.0.1", scp.listener.port), timeout=10) as silent,
    ):
        assert silent.recv(1) == b""
        eventually(lambda: scp.listener.counters().get("connections_without_association") == 1)


@pytest.mark.parametrize(
    ("request_", "reason", "words"),
    [
        (replace(RQ, application_context_name="1.2.3"), "1/1/2", "names the application context '1.2.3'"),
        (replace(RQ, protocol_version=2), "1/2/2", "offers no version of the protocol that we know (bits 0002H"),
    ],
)
def test_a_request_that_no_policy_could_accept_is_told_like_the_others(
    tmp_path: Path, request_: AAssociateRQ, reason: str, words: str
) -> None:
    with running(tmp_path / "storage") as scp, capture_logs() as lines:
        with socket.create_connection(("127.0.0.1", scp.listener.port), timeout=10) as peer:
            peer.sendall(encode(request_))
            answer = receive_pdu(peer)
        eventually(scp.listener.rejections)
        [found] = scp.listener.rejections()
        eventually(lambda: [line for line in lines if line["event"] == "association rejected"])
    assert "/".join(map(str, answer[7:10])) == reason
    assert found.rejection.calling_ae_title == request_.calling_ae_title
    assert f"AE '{request_.calling_ae_title}' at 127.0.0.1 called '{request_.called_ae_title}'" in found.rejection.why
    assert words in found.rejection.why


def test_garbage_and_port_scans_harm_nobody(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x01\x00\xff\xff\xff\xff"):
            with socket.create_connection(("127.0.0.1", scp.listener.port), timeout=10) as peer:
                peer.sendall(garbage)
        connection = scp.associate()
        assert store(connection, tmp_path).status == 0
        connection.release()


def test_an_idle_association_is_aborted_and_its_place_freed(tmp_path: Path) -> None:
    quick = settings(timeouts=replace(QUICK, idle=0.2, artim=0.2))
    with running(tmp_path / "storage", settings=quick) as scp:
        connection = scp.associate()
        store(connection, tmp_path)
        with pytest.raises(AssociationEnded):
            connection.receive_command()
        connection.close()
        eventually(lambda: scp.outcomes() == [(AssociationOutcome.ABORTED, 1)])
        assert scp.listener.open_associations() == []


def test_keep_alive_is_as_configured(tmp_path: Path) -> None:
    with running(tmp_path / "storage", settings=settings(timeouts=replace(QUICK, keep_alive=17))) as scp:
        scp.associate()
        (connection,) = scp.threads._connections
        sock = connection._transport._sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 17


def test_live_view(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        assert not scp.listener.is_open_to("BRAIN")
        connection = scp.associate()
        store(connection, tmp_path)
        store(connection, tmp_path, data_set(CT, "1.2.3.4.5", 5000), message_id=2)
        store(connection, tmp_path, b"", message_id=3)
        (association,) = scp.listener.open_associations()
        assert (association.record.calling_ae_title, association.record.called_ae_title) == ("CT01", "BRAIN")
        assert association.record.peer_host == "127.0.0.1"
        assert (association.instances, association.refused.requests) == (2, 1)
        assert association.bytes > 5000
        assert association.last_activity >= association.record.started_at
        assert scp.listener.is_open_to("BRAIN")
        assert not scp.listener.is_open_to("LUNG")
        connection.release()
        eventually(lambda: not scp.listener.open_associations())
        assert not scp.listener.is_open_to("BRAIN")
        counters = scp.listener.counters()
        assert counters["instances"] == 2
        assert counters["bytes"] == association.bytes
        assert counters["failures_c000"] == 1
        assert counters["associations_released"] == 1


def test_the_outcome_is_durable_before_the_place_is_free_and_the_trigger_pulled(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        store(connection, tmp_path)
        connection.release()
        assert scp.outcomes() == [(AssociationOutcome.RELEASED, 1)]  # before the peer knew
        eventually(lambda: scp.left == 1)


# --- addresses ----------------------------------------------------------------------------------------------------


def test_both_families_on_one_port(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    both = replace(SNAPSHOT, sources=(Source("CT01", "127.0.0.1"), Source("CT01", "::1")))
    with running(tmp_path / "storage", both, bind="all") as scp:
        for host in ("127.0.0.1", "::1"):
            scp.associate(host=host).release()


@pytest.mark.parametrize(("addresses", "admitted"), [({"127.0.0.1"}, True), ({"192.0.2.1"}, False), (set(), False)])
def test_a_source_by_name(tmp_path: Path, addresses: set[str], admitted: bool) -> None:
    named = replace(SNAPSHOT, sources=(Source("CT01", "ct01.hospital"),))
    with running(tmp_path / "storage", named) as scp:
        scp.threads._host_names = HostNames(lambda name: frozenset(addresses))
        if admitted:
            scp.associate().release()
        else:
            with pytest.raises(AssociationRejected):
                scp.associate()


def test_names_are_not_looked_up_where_they_do_not_matter(tmp_path: Path) -> None:
    def resolve(name: str) -> frozenset[str]:
        raise AssertionError(name)

    named = replace(SNAPSHOT, sources=(Source("CT01", "ct01.hospital"), Source("MR01", "mr01.hospital")))
    with running(tmp_path / "storage", named, policy=ScpPolicy(check_source_host=False)) as scp:
        scp.threads._host_names = HostNames(resolve)
        scp.associate().release()


# --- start --------------------------------------------------------------------------------------------------------


def start_on(tmp_path: Path, port: int, bind: str = "127.0.0.1") -> None:
    with running(tmp_path / "other", port=port, bind=bind):
        raise AssertionError("it listens")


def test_a_port_in_use_says_what_to_do(tmp_path: Path) -> None:
    with (
        running(tmp_path / "storage") as scp,
        pytest.raises(PermanentError, match=r"port \d+ is in use by another program.*dicom\.scp\.port"),
    ):
        start_on(tmp_path, scp.listener.port)


def test_an_address_of_another_machine_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"192\.0\.2\.1 is no address of this machine: change dicom\.scp\.bind"):
        start_on(tmp_path, 0, "192.0.2.1")


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "needs root or CAP_NET_BIND_SERVICE"), (errno.EPERM, "cannot listen on 127.0.0.1 port 0")],
)
def test_a_port_that_may_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def denied(*_args: object, **_kwargs: object) -> socket.socket:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "create_server", denied)
    with pytest.raises(PermanentError, match=words):
        start_on(tmp_path, 0)


# --- limits of the system -----------------------------------------------------------------------------------------


class Exhausted:
    """A listening socket for which the process has no descriptor left, for a while."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.failures = 0
        self.exhausted = True

    def fileno(self) -> int:
        return self.listening.fileno()

    def getsockname(self) -> tuple[str, int]:
        name: tuple[str, int] = self.listening.getsockname()
        return name

    def close(self) -> None:
        self.listening.close()

    def accept(self) -> tuple[socket.socket, object]:
        if self.exhausted:
            self.failures += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.listening.accept()


def test_without_descriptors_accepting_pauses_without_a_spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doors: list[Exhausted] = []
    make: Callable[[str, int], list[socket.socket]] = module._listening_sockets

    def exhausted(bind: str, port: int) -> list[Exhausted]:
        doors.extend(Exhausted(listening) for listening in make(bind, port))
        return doors

    monkeypatch.setattr(module, "_listening_sockets", exhausted)
    monkeypatch.setattr(module, "EXHAUSTED_PAUSE", 0.05)
    with capture_logs() as lines, running(tmp_path / "storage") as scp:
        (door,) = doors
        with socket.create_connection(("127.0.0.1", scp.listener.port), timeout=10):
            eventually(lambda: door.failures >= 3)
        assert sum("raise the limit of open files" in line["event"] for line in lines) == 1
        door.exhausted = False
        scp.associate().release()
    assert sum("accepted again" in line["event"] for line in lines) == 1


# --- the end ------------------------------------------------------------------------------------------------------


def stop_in_thread(listener: Listener, grace: float) -> threading.Thread:
    thread = threading.Thread(target=listener.stop, args=(grace,))
    thread.start()
    return thread


def test_at_a_stop_open_associations_finish_and_new_ones_are_not_accepted(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        store(connection, tmp_path)
        port = scp.listener.port
        stopping = stop_in_thread(scp.listener, 30)
        eventually(lambda: not scp.listener.listening)

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=10).close()
            except ConnectionError:  # refused, or reset in the instant in which the listener closes
                return True
            return False

        eventually(refused)
        assert store(connection, tmp_path, message_id=2).status == 0
        connection.release()
        connection.close()
        stopping.join(10)
        assert not stopping.is_alive()
        assert scp.outcomes() == [(AssociationOutcome.RELEASED, 2)]


def test_after_the_grace_period_associations_are_aborted_and_their_instances_kept(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        store(connection, tmp_path)
        scp.listener.stop(0.05)
        with pytest.raises(AssociationEnded, match="aborted"):
            connection.receive_command()
        connection.close()
        assert scp.outcomes() == [(AssociationOutcome.INTERRUPTED, 1)]  # our doing: held, never removed


def test_a_stop_in_the_middle_of_an_instance_leaves_no_half_file(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        connection.send_command(1, c_store_rq(1, CT, "1.2"))
        connection._send(b"\x04\x00\x00\x00\x10\x00\x00\x00\x0f\xfc\x01\x00" + bytes(100), more=False)
        eventually(lambda: any(scp.spool.layout.tmp.rglob("*.part")))
        scp.listener.stop(0)
        connection.close()
        assert scp.outcomes() == []
        assert list(scp.spool.layout.tmp.iterdir()) == []


def test_stop_drops_silent_connections_at_once_and_may_be_called_again(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        with socket.create_connection(("127.0.0.1", scp.listener.port), timeout=10) as silent:
            eventually(lambda: len(scp.threads._connections) == 1)
            scp.listener.stop(30)
            assert silent.recv(1) == b""
        scp.listener.stop(0)


def test_a_bug_in_an_association_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_args: object) -> None:
        raise ZeroDivisionError

    with running(tmp_path / "storage") as scp:
        connection = scp.associate(("1.2.840.10008.1.1", ("1.2.840.10008.1.2",)), (CT, (EXPLICIT,)))
        store(connection, tmp_path, context_id=3)
        with monkeypatch.context() as patch:
            patch.setattr("dicom_adapter.scp.association.Request", bug)
            connection.send_command(1, c_echo_rq(2))
            with pytest.raises(AssociationEnded):
                connection.receive_command()
            connection.close()
            eventually(lambda: scp.left > 0)
        assert scp.outcomes() == [(AssociationOutcome.INTERRUPTED, 1)]
        scp.associate().release()
