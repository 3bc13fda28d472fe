"""The Storage SCU against peers that answer, refuse, break and lie (promise, faults 120 to 125)."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_adapter.core.errors import Stopping
from dicom_adapter.core.model import DeliveryState, ExportFile, FileOutcome
from dicom_adapter.core.snapshot import Destination
from dicom_adapter.dicom.command_set import CommandSet
from dicom_adapter.dicom.dimse import response
from dicom_adapter.dicom.part10 import file_meta
from dicom_adapter.dicom.pdu import AAssociateRJ, ContextResultReason, ProposedContext
from dicom_adapter.scu import storage
from dicom_adapter.scu.requestor import Peer, RequestorSettings
from dicom_adapter.scu.storage import StorageScu
from tests.peers import CT, EXPLICIT, JPEG, MR, QUICK, SR, Answer, Break, ScriptedScp, data_set, serving, write_file

SETTINGS = RequestorSettings("SCU", "1.2.3", "TEST", timeouts=QUICK)


def send(scp: ScriptedScp, files: list[Path], settings: RequestorSettings = SETTINGS) -> dict[int, FileOutcome]:
    outcomes: list[FileOutcome] = []
    StorageScu(settings, Path("/")).send(Peer("PACS", "127.0.0.1", scp.port), enumerate(files), outcomes.append)
    assert len({outcome.number for outcome in outcomes}) == len(outcomes)  # one for each
    return {outcome.number: outcome for outcome in outcomes}


def states(outcomes: dict[int, FileOutcome]) -> list[str]:
    return [outcomes[number].state.value for number in sorted(outcomes)]


def answers(*statuses: int) -> Answer:
    left = list(statuses)
    return lambda command, _data: response(command, left.pop(0))


def test_files_are_sent_as_stored_in_one_association(tmp_path: Path) -> None:
    files = [
        write_file(tmp_path, 0),
        write_file(tmp_path, 1, MR, JPEG),
        write_file(tmp_path, 2, pixels=300_000),  # several PDUs
        write_file(tmp_path, 3, pixels=0),
    ]
    with serving(ScriptedScp()) as scp:
        outcomes = send(scp, files)
    assert states(outcomes) == ["delivered"] * 4
    (rq,) = scp.requests
    assert rq.calling_ae_title == "SCU"
    assert rq.called_ae_title == "PACS"
    assert [(c.abstract_syntax, c.transfer_syntaxes) for c in rq.presentation_contexts] == [
        (CT, (EXPLICIT,)),
        (MR, (JPEG,)),
    ]
    assert [data for _, data in scp.received] == [
        data_set(CT, "1.2.3.4.0"),
        data_set(MR, "1.2.3.4.1"),
        data_set(CT, "1.2.3.4.2", 300_000),
        data_set(CT, "1.2.3.4.3", 0),
    ]
    assert [command.message_id for command, _ in scp.received] == [1, 2, 3, 4]
    assert scp.ends == ["released"]


def test_a_data_set_of_odd_length_is_padded(tmp_path: Path) -> None:
    """Deflated ones may be odd in a file (PS3.5 A.5); a fragment may not (PS3.8 Annex F)."""
    with serving(ScriptedScp()) as scp:
        assert states(send(scp, [write_file(tmp_path, 0, pixels=201), write_file(tmp_path, 1)])) == ["delivered"] * 2
    assert [data for _, data in scp.received] == [data_set(CT, "1.2.3.4.0", 201) + b"\0", data_set(CT, "1.2.3.4.1")]


def test_the_data_set_says_which_instance_it_is_whatever_the_file_meta_says(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(file_meta(MR, "1.2.8", EXPLICIT, "1.2", "", "", "", "") + data_set(CT, "1.2.9"))
    with serving(ScriptedScp()) as scp:
        send(scp, [path])
    ((command, _),) = scp.received
    assert (command.affected_sop_class_uid, command.affected_sop_instance_uid) == (CT, "1.2.9")


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (0x0000, DeliveryState.DELIVERED, None),
        (0xB000, DeliveryState.WARNING, "B000H Coercion of data elements"),
        (0xB007, DeliveryState.WARNING, "B007H Data set does not match SOP Class"),
        (0xA700, DeliveryState.FAILED, "A700H Refused: out of resources"),
        (0xA900, DeliveryState.FAILED, "A900H Error: data set does not match SOP Class"),
        (0xC123, DeliveryState.FAILED, "C123H Error: cannot understand"),
        (0x0122, DeliveryState.FAILED, "0122H Refused: SOP Class not supported"),
        (0x0210, DeliveryState.FAILED, "0210H Duplicate Message ID"),
        (0x0211, DeliveryState.FAILED, "0211H Unrecognized operation"),
    ],
)
def test_each_status_is_an_outcome_and_the_others_go_on(
    tmp_path: Path, status: int, state: DeliveryState, reason: str | None
) -> None:
    with serving(ScriptedScp(answers(status, 0))) as scp:
        outcomes = send(scp, [write_file(tmp_path, 0), write_file(tmp_path, 1)])
    assert outcomes[0] == FileOutcome(0, state, status, reason)
    assert outcomes[1].state is DeliveryState.DELIVERED
    assert len(scp.requests) == 1


def test_a_refused_context_fails_its_files_only(tmp_path: Path) -> None:
    def decide(context: ProposedContext) -> str | ContextResultReason:
        if context.transfer_syntaxes == (JPEG,):
            return ContextResultReason.TRANSFER_SYNTAXES_NOT_SUPPORTED
        return context.transfer_syntaxes[0]

    files = [write_file(tmp_path, 0, CT, JPEG), write_file(tmp_path, 1), write_file(tmp_path, 2, SR, JPEG)]
    with serving(ScriptedScp(decide=decide)) as scp:
        outcomes = send(scp, files)
    assert states(outcomes) == ["failed", "delivered", "failed"]
    assert "does not accept CT Image Storage in JPEG Lossless" in (outcomes[0].reason or "")


def test_a_peer_that_refuses_everything_is_released(tmp_path: Path) -> None:
    refuse = ScriptedScp(decide=lambda context: ContextResultReason.ABSTRACT_SYNTAX_NOT_SUPPORTED)
    with serving(refuse) as scp:
        assert states(send(scp, [write_file(tmp_path, 0)])) == ["failed"]
    assert scp.ends == ["released"]


def breaking_at(*numbers: int) -> Answer:
    """Aborts at these instances."""

    def answer(command: CommandSet, _data: bytes) -> CommandSet:
        if command.affected_sop_instance_uid in {f"1.2.3.4.{number}" for number in numbers}:
            raise Break("script")
        return response(command, 0)

    return answer


def test_what_a_broken_association_left_over_goes_to_a_new_one(tmp_path: Path) -> None:
    files = [write_file(tmp_path, number) for number in range(6)]
    with serving(ScriptedScp(breaking_at(2, 4))) as scp:
        outcomes = send(scp, files)
    assert states(outcomes) == ["delivered", "delivered", "failed", "delivered", "failed", "delivered"]
    assert "aborted" in (outcomes[2].reason or "")
    assert [command.affected_sop_instance_uid for command, _ in scp.received] == [f"1.2.3.4.{n}" for n in range(6)]


def test_a_peer_that_always_breaks_is_asked_twice_and_no_more(tmp_path: Path) -> None:
    files = [write_file(tmp_path, number) for number in range(10)]
    with serving(ScriptedScp(breaking_at(*range(10)))) as scp:
        outcomes = send(scp, files)
    assert states(outcomes) == ["failed"] * 10
    assert len(scp.requests) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda command, _: response(command, 0)._replace(message_id_being_responded_to=99), "another message"),
        (lambda command, _: response(command, 0)._replace(status=None), "without a status"),
        (lambda command, _: response(command, 0)._replace(command_field=0x8030), "other than C-STORE-RSP"),
        (lambda command, _: None, "released"),
    ],
)
def test_a_response_that_is_not_one_ends_the_association(tmp_path: Path, answer: Answer, words: str) -> None:
    with serving(ScriptedScp(answer)) as scp:
        outcomes = send(scp, [write_file(tmp_path, 0)])
    assert outcomes[0].state is DeliveryState.FAILED
    assert words in (outcomes[0].reason or "")


def test_a_peer_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    released = threading.Event()

    def silent(command: CommandSet, _data: bytes) -> CommandSet:
        released.wait(10)
        raise Break("script")

    impatient = replace(SETTINGS, timeouts=replace(QUICK, response=0.2, artim=0.2))
    with serving(ScriptedScp(silent)) as scp:
        outcomes = send(scp, [write_file(tmp_path, 0)], impatient)
        released.set()
    assert states(outcomes) == ["failed"]


def test_a_rejection_fails_every_file_and_says_what_to_change(tmp_path: Path) -> None:
    with serving(ScriptedScp(reject=[AAssociateRJ(1, 1, 3)])) as scp:
        outcomes = send(scp, [write_file(tmp_path, number) for number in range(3)])
    assert states(outcomes) == ["failed"] * 3
    assert "add the calling AE Title SCU there" in (outcomes[0].reason or "")
    assert len(scp.requests) == 1


def test_a_transient_rejection_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "TRANSIENT_DELAYS", (0.0, 0.0))
    with serving(ScriptedScp(reject=[AAssociateRJ(2, 3, 2)] * 2)) as scp:
        assert states(send(scp, [write_file(tmp_path, 0)])) == ["delivered"]
    with serving(ScriptedScp(reject=[AAssociateRJ(2, 3, 2)] * 3)) as scp:
        outcomes = send(scp, [write_file(tmp_path, 0)])
    assert "it may accept later" in (outcomes[0].reason or "")


def test_a_peer_that_is_not_there(tmp_path: Path) -> None:
    with serving(ScriptedScp()) as scp:
        pass
    outcomes = send(scp, [write_file(tmp_path, 0)])
    assert "refused" in (outcomes[0].reason or "").lower()


def test_an_unknown_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise OSError("not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    outcomes = send(ScriptedScp(port=104), [write_file(tmp_path, 0)])
    assert "has no address" in (outcomes[0].reason or "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no DICM prefix"),
        (b"not a DICOM file" * 100, "no DICM prefix"),
        (file_meta("", "", EXPLICIT, "1.2", "", "", "", ""), "names no SOP Class"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_sent_fails_alone(tmp_path: Path, content: bytes | None, words: str) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    with serving(ScriptedScp()) as scp:
        outcomes = send(scp, [bad, write_file(tmp_path, 1)])
    assert states(outcomes) == ["failed", "delivered"]
    assert words in (outcomes[0].reason or "")


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write_file(tmp_path, 0))
    with serving(ScriptedScp()) as scp:
        assert states(send(scp, [link])) == ["failed"]
    assert not scp.requests


def test_uids_missing_in_the_file_meta_are_found_in_the_data_set(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(file_meta("", "", EXPLICIT, "1.2", "", "", "", "") + data_set(CT, "1.2.9"))
    with serving(ScriptedScp()) as scp:
        send(scp, [path])
    assert scp.received[0][0].affected_sop_instance_uid == "1.2.9"


def test_more_than_128_contexts_take_a_further_association(tmp_path: Path) -> None:
    files = [write_file(tmp_path, number, f"1.2.840.10008.5.1.4.1.1.2.{number}") for number in range(130)]
    with serving(ScriptedScp()) as scp:
        assert states(send(scp, files)) == ["delivered"] * 130
    assert [len(rq.presentation_contexts) for rq in scp.requests] == [128, 2]


def test_stop_ends_what_is_being_sent(tmp_path: Path) -> None:
    scu = StorageScu(SETTINGS, tmp_path)

    def stop_then_answer(command: CommandSet, _data: bytes) -> CommandSet:
        scu.stop()
        return response(command, 0)

    files = [write_file(tmp_path, number) for number in range(3)]
    outcomes: list[FileOutcome] = []
    with serving(ScriptedScp(stop_then_answer)) as scp, pytest.raises(Stopping):
        scu.send(Peer("PACS", "127.0.0.1", scp.port), enumerate(files), outcomes.append)
    assert all(outcome.state is DeliveryState.DELIVERED for outcome in outcomes)  # none is called failed by our stop


def test_export_sends_files_below_the_storage_folder(tmp_path: Path) -> None:
    write_file(tmp_path, 7)
    outcomes: list[FileOutcome] = []
    file = ExportFile("task", 3, "7.dcm", CT, "1.2.3.4.7", "1.2.3", EXPLICIT, 0)
    with serving(ScriptedScp()) as scp:
        destination = Destination("PACS", "PACS", "127.0.0.1", scp.port)
        StorageScu(SETTINGS, tmp_path).export(destination, [file], outcomes.append)
    assert outcomes == [FileOutcome(3, DeliveryState.DELIVERED, 0)]


def test_our_own_scp_is_never_called(tmp_path: Path) -> None:
    with serving(ScriptedScp()) as scp:
        outcomes = send(scp, [write_file(tmp_path, 0)], replace(SETTINGS, own_port=scp.port))
    assert "our own SCP" in (outcomes[0].reason or "")
    assert not scp.requests


def test_no_files_open_no_association() -> None:
    with serving(ScriptedScp()) as scp:
        assert send(scp, []) == {}
    assert not scp.requests
