"""We send to real peers: what they receive is the data set of our file, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from dicom_adapter.core.model import DeliveryState, FileOutcome
from dicom_adapter.scu.requestor import Peer, RequestorSettings
from dicom_adapter.scu.storage import StorageScu
from dicom_adapter.scu.verification import echo
from tests.interop.corpus import class_of, data_set_bytes, instance_of, same_content, syntax_of
from tests.interop.programs import orthanc, storescp

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),  # pydicom, about the samples
]

SETTINGS = RequestorSettings("ADAPTER", "1.2.3.4", "TEST_1")


def send(port: int, called: str, files: list[Path]) -> list[FileOutcome]:
    outcomes: list[FileOutcome] = []
    StorageScu(SETTINGS, Path("/")).send(Peer(called, "127.0.0.1", port), enumerate(files), outcomes.append)
    return sorted(outcomes, key=lambda outcome: outcome.number)


def delivered(outcomes: list[FileOutcome]) -> bool:
    return all(outcome.state is DeliveryState.DELIVERED for outcome in outcomes)


def test_storescp_gets_every_transfer_syntax_as_it_is(all_paths: list[Path], tmp_path: Path) -> None:
    with storescp(tmp_path / "pacs") as port:
        assert echo(SETTINGS, Peer("PACS", "127.0.0.1", port)) == 0
        outcomes = send(port, "PACS", all_paths)
    assert delivered(outcomes), outcomes
    received = {instance_of(path): path for path in (tmp_path / "pacs").iterdir()}
    sent = {instance_of(path): path for path in all_paths}
    assert received.keys() == sent.keys()
    for uid, path in sent.items():
        assert syntax_of(received[uid]) == syntax_of(path)
        assert data_set_bytes(received[uid]) == padded(data_set_bytes(path)), path


def padded(data_set: bytes) -> bytes:
    """As it must be on the wire: a deflated data set of odd length gets one NUL (PS3.5 A.5)."""
    return data_set + b"\0" * (len(data_set) % 2)


def test_storescp_that_refuses_compressed_files(all_paths: list[Path], tmp_path: Path) -> None:
    with storescp(tmp_path / "pacs", "+xi") as port:
        outcomes = send(port, "PACS", all_paths)
    for outcome, path in zip(outcomes, all_paths, strict=True):
        if syntax_of(path) == "1.2.840.10008.1.2":
            assert outcome.state is DeliveryState.DELIVERED
        else:
            assert "does not accept" in (outcome.reason or "")


def test_storescp_that_rejects(all_paths: list[Path], tmp_path: Path) -> None:
    with storescp(tmp_path / "pacs", "--refuse") as port:
        outcomes = send(port, "PACS", all_paths[:3])
    assert [outcome.state for outcome in outcomes] == [DeliveryState.FAILED] * 3
    assert all("rejected" in (outcome.reason or "") for outcome in outcomes)


@pytest.mark.parametrize("option", ["--abort-during", "--abort-after"])
def test_storescp_that_aborts(all_paths: list[Path], tmp_path: Path, option: str) -> None:
    with storescp(tmp_path / "pacs", option) as port:
        outcomes = send(port, "PACS", all_paths[:3])
    assert len(outcomes) == 3
    assert not delivered(outcomes)


def test_orthanc_gets_every_transfer_syntax_as_it_is(all_paths: list[Path], tmp_path: Path) -> None:
    with orthanc(tmp_path) as peer:
        assert echo(SETTINGS, Peer("ORTHANC", "127.0.0.1", peer.port)) == 0
        outcomes = send(peer.port, "ORTHANC", all_paths)
        received = {}
        for number, identifier in enumerate(json.loads(peer.get("/instances"))):
            path = tmp_path / f"received{number}"
            path.write_bytes(peer.get(f"/instances/{identifier}/file"))
            received[instance_of(path)] = path
    assert delivered(outcomes), outcomes
    assert received.keys() == {instance_of(path) for path in all_paths}
    for path in all_paths:
        assert syntax_of(received[instance_of(path)]) == syntax_of(path)
        assert same_content(received[instance_of(path)], path), path


def test_pynetdicom_gets_every_transfer_syntax_as_it_is(all_paths: list[Path]) -> None:
    received: dict[str, bytes] = {}

    def store(event: Any) -> int:
        received[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0x0000

    acceptor: Any = AE("PYNETDICOM")
    acceptor.maximum_pdu_size = 0
    acceptor.supported_contexts = [build_context("1.2.840.10008.1.1")]
    for path in all_paths:
        acceptor.add_supported_context(class_of(path), [syntax_of(path)])
    server = acceptor.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        port = server.server_address[1]
        assert echo(SETTINGS, Peer("PYNETDICOM", "127.0.0.1", port)) == 0
        outcomes = send(port, "PYNETDICOM", all_paths)
    finally:
        server.shutdown()
    assert delivered(outcomes), outcomes
    assert received == {instance_of(path): padded(data_set_bytes(path)) for path in all_paths}
