"""What log-dimse-datasets shows, and what it never does."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from structlog.testing import capture_logs

from dicom_adapter.dicom.dimse import c_store_rq
from dicom_adapter.dimse_log import MASK, log_command, log_data_set

SECRETS = {
    "PatientName": "DOE^JANE",
    "PatientID": "ID-4711",
    "PatientBirthDate": "19700203",
    "PatientSex": "F",
    "PatientAge": "054Y",
    "PatientAddress": "Main Street 1",
    "AccessionNumber": "ACC-99",
    "ReferringPhysicianName": "HOUSE^GREG",
    "StudyDate": "20261122",
    "StudyTime": "101112",
    "StudyDescription": "Doe, knee",
    "SeriesDescription": "Jane's series",
    "StudyID": "STUDY-8",
    "InstitutionName": "Hospital of Doe",
    "StationName": "ROOM-DOE",
    "ImageComments": "see Jane",
    "RequestedProcedureID": "RP-1",
    "AcquisitionDateTime": "20261122101112",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    data_set = Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data_set.SOPInstanceUID = "1.2.3.4"
    data_set.Modality = "CT"
    data_set.Rows = 512
    data_set.SliceThickness = "1.25"
    for keyword, value in SECRETS.items():
        setattr(data_set, keyword, value)
    item = Dataset()
    item.PatientID = "OTHER-ID-5"
    item.ReferencedSOPInstanceUID = "1.2.9"
    data_set.OtherPatientIDsSequence = [item]
    private = data_set.private_block(0x0009, "DOE LTD", create=True)
    private.add_new(1, "LO", "private Jane")
    private.add_new(2, "DS", "19700203")
    data_set.PixelData = b"\1\2"
    data_set["PixelData"].VR = "OW"
    data_set.file_meta = pydicom.dataset.FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = tmp_path / "a.dcm"
    data_set.save_as(file, enforce_file_format=True)
    return file


def elements(path: Path, *, show_phi: bool) -> list[str]:
    with capture_logs() as lines:
        log_data_set("received", path, show_phi=show_phi)
    (line,) = lines
    return list(line["elements"])


def test_no_word_about_the_patient_is_shown(path: Path) -> None:
    shown = "\n".join(elements(path, show_phi=False))
    for secret in (*SECRETS.values(), "OTHER-ID-5", "private Jane", "DOE LTD", "19700203"):
        if secret != "F":
            assert secret not in shown
    assert f"(0010,0040) CS PatientSex: {MASK}" in shown


def test_a_senders_vr_does_not_unmask(path: Path, tmp_path: Path) -> None:
    data_set = pydicom.dcmread(path)
    for keyword in ("AccessionNumber", "ImageComments"):
        data_set[keyword].VR = "CS"
    data_set.add_new(0x00090004, "CS", "PRIVATE")
    data_set.add_new(0x00284444, "CS", "UNKNOWN")  # no standard element
    data_set.save_as(tmp_path / "b.dcm")
    shown = elements(tmp_path / "b.dcm", show_phi=False)
    assert f"(0008,0050) CS AccessionNumber: {MASK}" in shown
    assert not any(secret in line for line in shown for secret in ("ACC-99", "see Jane", "PRIVATE", "UNKNOWN"))


def test_what_says_nothing_about_the_patient_is_shown(path: Path) -> None:
    shown = elements(path, show_phi=False)
    assert "(0008,0018) UI SOPInstanceUID: 1.2.3.4" in shown
    assert "(0008,0060) CS Modality: CT" in shown
    assert "(0028,0010) US Rows: 512" in shown
    assert ">(0008,1155) UI ReferencedSOPInstanceUID: 1.2.9" in shown
    assert not any("PixelData" in line for line in shown)


def test_log_phi_shows_it(path: Path) -> None:
    assert "(0010,0010) PN PatientName: DOE^JANE" in elements(path, show_phi=True)


def test_a_file_that_cannot_be_read_is_only_said_so(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"Jane Doe")
    with capture_logs() as lines:
        log_data_set("received", tmp_path / "bad", show_phi=True)
        log_data_set("received", tmp_path / "missing", show_phi=True)
    assert [line["elements"] for line in lines] == [
        "not readable: InvalidDicomError",
        "not readable: FileNotFoundError",
    ]


def test_a_command_set() -> None:
    with capture_logs() as lines:
        log_command("received", c_store_rq(7, "1.2", "1.3"), association="a")
    assert lines == [
        {
            "event": "command set received",
            "log_level": "info",
            "command": "0001H",
            "message_id": 7,
            "sop_class": "1.2",
            "sop_instance": "1.3",
            "data_set": True,
            "status": None,
            "association": "a",
        }
    ]
