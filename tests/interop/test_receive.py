"""Real peers send to us: what we store is the data set that they sent, byte for byte.

Where a peer encodes a data set anew before it sends it, DCMTK's receiver in its bit preserving mode tells what it sent.
"""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

from dicom_adapter.core.model import AssociationOutcome
from tests.interop.corpus import Sample, data_set_bytes, instance_of, same_content, syntax_of
from tests.interop.programs import orthanc, require, run, storescp
from tests.scp_harness import Scp
from tests.waiting import eventually

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),  # pydicom, about the samples
]


def stored_files(scp: Scp) -> dict[str, Path]:
    """Every stored file of released associations, by SOP Instance UID."""
    return {
        instance.sop_instance_uid: scp.spool.instance_path(instance)
        for record, instances in scp.closed_associations()
        if record.outcome is AssociationOutcome.RELEASED
        for instance in instances
    }


def received_files(folder: Path) -> dict[str, Path]:
    return {instance_of(path): path for path in folder.iterdir()}


def assert_same(ours: dict[str, Path], reference: dict[str, Path]) -> None:
    assert ours.keys() == reference.keys()
    for uid, path in ours.items():
        assert syntax_of(path) == syntax_of(reference[uid])
        assert data_set_bytes(path) == data_set_bytes(reference[uid]), reference[uid]


# --- C-ECHO -------------------------------------------------------------------------------------------------------


def test_echoscu(scp: Scp) -> None:
    assert run("echoscu", "-aec", "BRAIN", "127.0.0.1", str(scp.listener.port)).returncode == 0


def test_echoscu_of_another_ae_title_is_told_so(scp: Scp) -> None:
    ended = run("echoscu", "-aec", "HEART", "127.0.0.1", str(scp.listener.port))
    assert ended.returncode != 0
    assert "Called AE Title Not Recognized" in ended.stderr


def test_echoscu_abort(scp: Scp) -> None:
    run("echoscu", "--abort", "-aec", "BRAIN", "127.0.0.1", str(scp.listener.port))
    assert run("echoscu", "-aec", "BRAIN", "127.0.0.1", str(scp.listener.port)).returncode == 0


def test_gdcm_echo(scp: Scp) -> None:
    # gdcmscu 3.0.21 dies of its own accord after the release, whoever the peer is: our side tells how it went.
    run("gdcmscu", "--echo", "--call", "BRAIN", "127.0.0.1", str(scp.listener.port))
    eventually(lambda: scp.listener.counters().get("associations_released") == 1)


def test_pynetdicom_echo(scp: Scp) -> None:
    requestor = AE()
    requestor.add_requested_context("1.2.840.10008.1.1")
    association = requestor.associate("127.0.0.1", scp.listener.port, ae_title="BRAIN")
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()


# --- C-STORE ------------------------------------------------------------------------------------------------------


def test_storescu(scp: Scp, sample: Sample, path: Path, tmp_path: Path) -> None:
    arguments = ["-R", sample.storescu, "-aec"]
    with storescp(tmp_path / "reference") as port:
        assert run("storescu", *arguments, "PACS", "127.0.0.1", str(port), str(path)).returncode == 0
    ended = run("storescu", *arguments, "BRAIN", "127.0.0.1", str(scp.listener.port), str(path))
    assert ended.returncode == 0, ended.stderr
    assert_same(stored_files(scp), received_files(tmp_path / "reference"))


def test_storescu_with_every_context_it_knows(scp: Scp, all_paths: list[Path]) -> None:
    ended = run("storescu", "-xe", "-aec", "BRAIN", "127.0.0.1", str(scp.listener.port), str(all_paths[0]))
    assert ended.returncode == 0, ended.stderr
    assert len(stored_files(scp)) == 1


def test_dcmsend_of_everything_in_one_association(scp: Scp, all_paths: list[Path], tmp_path: Path) -> None:
    files = [str(path) for path in all_paths]
    with storescp(tmp_path / "reference") as port:
        assert run("dcmsend", "-dn", "-aec", "PACS", "127.0.0.1", str(port), *files).returncode == 0
    ended = run("dcmsend", "-dn", "-aec", "BRAIN", "127.0.0.1", str(scp.listener.port), *files)
    assert ended.returncode == 0, ended.stderr
    assert len(stored_files(scp)) == len({instance_of(path) for path in all_paths})
    assert_same(stored_files(scp), received_files(tmp_path / "reference"))


def test_dcmsend_is_told_that_it_is_unknown(tmp_path: Path, scp: Scp, all_paths: list[Path]) -> None:
    scp.snapshot = type(scp.snapshot)(ae_titles=scp.snapshot.ae_titles)
    ended = run("dcmsend", "-aec", "BRAIN", "127.0.0.1", str(scp.listener.port), str(all_paths[0]))
    assert ended.returncode != 0
    assert "Rejected" in ended.stderr


def test_pynetdicom_sends_the_file_as_it_is(scp: Scp, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)
    head = pydicom.dcmread(path, stop_before_pixels=True)
    requestor = AE()
    requestor.add_requested_context(head.SOPClassUID, head.file_meta.TransferSyntaxUID)
    association = requestor.associate("127.0.0.1", scp.listener.port, ae_title="BRAIN")
    assert association.is_established
    status = association.send_c_store(path).Status
    association.release()
    ours = {uid: data_set_bytes(stored) for uid, stored in stored_files(scp).items()}
    if head.file_meta.MediaStorageSOPInstanceUID == head.SOPInstanceUID:
        assert status == 0x0000
        assert ours == {head.SOPInstanceUID: data_set_bytes(path)}
    else:  # pynetdicom names the instance by the File Meta Information, which is wrong in some of the samples
        assert status == 0xA900
        assert ours == {}


def test_gdcm_store(scp: Scp, sample: Sample, path: Path) -> None:
    ended = run("gdcmscu", "--store", "--call", "BRAIN", "127.0.0.1", str(scp.listener.port), str(path))
    if not scp.listener.counters().get("instances"):
        pytest.skip(f"this gdcmscu does not send {sample.name}: {ended.stdout}{ended.stderr}"[:200])
    eventually(lambda: scp.listener.counters().get("associations_released") == 1)
    (stored,) = stored_files(scp).values()
    assert same_content(stored, path)


def test_orthanc_sends_what_it_keeps(scp: Scp, all_paths: list[Path], tmp_path: Path) -> None:
    require("Orthanc")
    with orthanc(tmp_path) as peer:
        peer.put("/modalities/adapter", {"AET": "BRAIN", "Host": "127.0.0.1", "Port": scp.listener.port})
        ids = [str(peer.post("/instances", path.read_bytes())["ID"]) for path in all_paths]
        peer.post("/modalities/adapter/store", json.dumps(ids).encode())
        eventually(lambda: len(stored_files(scp)) == len(set(ids)))
        kept = tmp_path / "kept"
        kept.mkdir()
        for number, identifier in enumerate(ids):
            (kept / str(number)).write_bytes(peer.get(f"/instances/{identifier}/file"))
    ours, reference = stored_files(scp), received_files(kept)
    assert ours.keys() == reference.keys()
    for uid, path in ours.items():
        assert syntax_of(path) == syntax_of(reference[uid])
        assert same_content(path, reference[uid]), reference[uid]
