"""Reading, judging and staging result files."""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_adapter import result_heads
from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.results_policy import ResultsCheck
from dicom_adapter.results import Result, check_results, stage_results

STRICT = ResultsCheck.STRICT
STUDY, SERIES, SOP_CLASS = "1.2.826.0.1", "1.2.826.0.1.9", "1.2.840.10008.5.1.4.1.1.7"
PATIENT = "CANARY-4711"


def write(path: Path, sop_instance_uid: str, *, syntax: str = ExplicitVRLittleEndian, **elements: str) -> Path:
    """A small DICOM file; `elements` by keyword override or add."""
    values = {
        "SOPClassUID": SOP_CLASS,
        "SOPInstanceUID": sop_instance_uid,
        "PatientID": PATIENT,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
    } | elements
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(SOP_CLASS)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source.dcm", "1.2.826.0.1.1")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def reasons(files: list[Path], source: Path, check: ResultsCheck = STRICT) -> list[str | None]:
    return [each.quarantine_reason for each in check_results(files, {STUDY: source}, {"1.2.826.0.1.1"}, check)]


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_facts_are_read_in_every_encoding(source: Path, output: Path, syntax: str) -> None:
    file = write(output / "a.dcm", "1.2.826.0.1.2", syntax=syntax)
    (result,) = check_results([file], {STUDY: source}, set(), STRICT)
    assert result.quarantine_reason is None
    assert result.facts is not None
    assert result.facts.sop_class_uid == SOP_CLASS
    assert result.facts.sop_instance_uid == "1.2.826.0.1.2"
    assert result.facts.study_instance_uid == STUDY
    assert result.facts.series_instance_uid == SERIES
    assert result.facts.transfer_syntax_uid == syntax
    assert result.facts.size == file.stat().st_size


def test_each_kind_of_bad_file_is_named(source: Path, output: Path) -> None:
    (output / "empty").touch()
    (output / "text").write_text("Findings: none\n" * 40)
    (output / "cut").write_bytes(source.read_bytes()[:200])
    os.symlink(source, output / "link")
    files = sorted(output.iterdir())
    assert dict(zip([each.name for each in files], reasons(files, source), strict=True)) == {
        "cut": "the file is not DICOM: cut off inside the File Meta Information",
        "empty": "the file is not DICOM: it is empty",
        "link": "the file is not DICOM: it is a link or a special file",
        "text": "the file is not DICOM: no DICM prefix at byte 128: not a DICOM Part 10 file",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientID": "OTHER"}, "its patient differs from the batch's"),
        ({"PatientID": ""}, "its patient differs from the batch's"),
        ({"StudyInstanceUID": "1.2.826.0.2"}, "its study is not in the batch"),
    ],
)
def test_a_result_of_another_patient_or_study_is_kept_back(
    source: Path, output: Path, changes: dict[str, str], reason: str
) -> None:
    file = write(output / "a.dcm", "1.2.826.0.1.2", **changes)
    assert str(reasons([file], source)[0]).startswith(reason)
    assert reasons([file], source, ResultsCheck.OFF) == [None]


def test_a_patient_id_is_compared_as_text(tmp_path: Path, output: Path) -> None:
    source = write(tmp_path / "s.dcm", "1.2.826.0.1.1", SpecificCharacterSet="ISO_IR 100", PatientID="Ärzte-1")
    file = write(output / "a.dcm", "1.2.826.0.1.2", SpecificCharacterSet="ISO_IR 192", PatientID="Ärzte-1")
    assert reasons([file], source) == [None]


def test_no_reason_and_no_fact_has_the_patient_id(source: Path, output: Path) -> None:
    file = write(output / "a.dcm", "1.2.826.0.1.2", PatientID=f"{PATIENT}-other")
    assert PATIENT not in repr(check_results([file], {STUDY: source}, set(), STRICT))


def test_a_source_that_cannot_be_read_equals_no_result(tmp_path: Path, output: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"x" * 500)
    file = write(output / "a.dcm", "1.2.826.0.1.2", PatientID="")
    assert reasons([file], broken) == ["its patient differs from the batch's"]


def test_a_deflate_bomb_is_inflated_no_further_than_its_head(source: Path, output: Path) -> None:
    head = Dataset()
    head.SOPClassUID, head.SOPInstanceUID = SOP_CLASS, "1.2.826.0.1.2"
    plain = DicomBytesIO()
    plain.is_little_endian, plain.is_implicit_VR = True, False
    write_dataset(plain, head)
    # (0009,1001) UN of 512 MiB between the SOP Instance UID and the patient
    long_element = b"\x09\x00\x01\x10UN\0\0" + (512 << 20).to_bytes(4, "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflater.compress(plain.getvalue() + long_element)
    body += b"".join(deflater.compress(bytes(1 << 20)) for _ in range(64)) + deflater.flush()
    meta = write(output / "meta.dcm", "1.2.826.0.1.2", syntax=DeflatedExplicitVRLittleEndian).read_bytes()
    meta_length = 132 + 12 + int.from_bytes(meta[140:144], "little")
    bomb = output / "bomb.dcm"
    bomb.write_bytes(meta[:meta_length] + body)
    assert reasons([bomb], source) == ["it has no valid Series Instance UID"]


def test_staging_is_durable_ordered_and_repeatable(tmp_path: Path, source: Path, output: Path) -> None:
    (output / "b").mkdir()
    files = [
        write(output / "a.dcm", "1.2.826.0.1.2"),
        write(output / "b" / "x \n.dcm", "1.2.826.0.1.1"),
        write(output / "c.dcm", "1.2.826.0.1.3"),
    ]
    results = check_results(files, {STUDY: source}, {"1.2.826.0.1.1"}, STRICT)
    accepted, quarantine = tmp_path / "results" / "job", tmp_path / "quarantine" / "job"
    for _ in range(2):  # the second time is what a crash after the first looks like
        staged = stage_results(results, output, accepted, quarantine)
        assert [(each.number, each.path) for each in staged] == [(1, accepted / "1.dcm"), (3, accepted / "3.dcm")]
    assert [each.facts.sop_instance_uid for each in staged] == ["1.2.826.0.1.2", "1.2.826.0.1.3"]
    assert sorted(path.name for path in accepted.iterdir()) == ["1.dcm", "3.dcm"]
    assert sorted(path.name for path in quarantine.iterdir()) == ["2", "reasons.json"]
    assert json.loads((quarantine / "reasons.json").read_text()) == [
        {"number": 2, "name": "b/x__.dcm", "reason": results[1].quarantine_reason}
    ]
    assert (accepted / "3.dcm").read_bytes() == files[2].read_bytes()


def test_a_link_is_reported_and_never_staged(tmp_path: Path, source: Path, output: Path) -> None:
    os.symlink(source, output / "link")
    results = check_results([output / "link"], {STUDY: source}, set(), STRICT)
    quarantine = tmp_path / "quarantine" / "job"
    assert stage_results(results, output, tmp_path / "accepted", quarantine) == []
    assert [path.name for path in quarantine.iterdir()] == ["reasons.json"]


def test_nothing_to_stage_leaves_no_trace(tmp_path: Path, output: Path) -> None:
    assert stage_results([], output, tmp_path / "accepted", tmp_path / "quarantine") == []
    assert not (tmp_path / "accepted").exists()
    assert not (tmp_path / "quarantine").exists()


def test_a_storage_that_cannot_be_written_is_a_temporary_error(tmp_path: Path, source: Path, output: Path) -> None:
    file = write(output / "a.dcm", "1.2.826.0.1.2")
    (tmp_path / "results").touch()  # a file where the folder is to be
    results: list[Result] = check_results([file], {STUDY: source}, set(), STRICT)
    with pytest.raises(TemporaryError):
        stage_results(results, output, tmp_path / "results" / "job", tmp_path / "quarantine")


def refusing(code: int) -> Callable[..., None]:
    def refuse(source: Path, *_arguments: object, **_keywords: object) -> None:
        raise OSError(code, os.strerror(code), source)

    return refuse


@pytest.mark.parametrize("code", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_links_are_impossible_results_are_copies(
    tmp_path: Path, source: Path, output: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    files = [write(output / "a.dcm", "1.2.826.0.1.2"), write(output / "b.dcm", "1.2.826.0.1.1")]
    results = check_results(files, {STUDY: source}, {"1.2.826.0.1.1"}, STRICT)
    accepted, quarantine = tmp_path / "results" / "job", tmp_path / "quarantine" / "job"
    monkeypatch.setattr(os, "link", refusing(code))
    for _ in range(2):
        stage_results(results, output, accepted, quarantine)
    assert [path.name for path in accepted.iterdir()] == ["1.dcm"]
    assert sorted(path.name for path in quarantine.iterdir()) == ["2", "reasons.json"]
    for file, copy in zip(files, (accepted / "1.dcm", quarantine / "2"), strict=True):
        assert copy.read_bytes() == file.read_bytes()
        assert not copy.samefile(file)


def test_what_an_earlier_try_staged_from_other_files_is_replaced(tmp_path: Path, source: Path, output: Path) -> None:
    accepted, quarantine = tmp_path / "results" / "job", tmp_path / "quarantine" / "job"
    files = [write(output / "a.dcm", "1.2.826.0.1.2"), write(output / "b.dcm", "1.2.826.0.1.3")]
    stage_results(check_results(files, {STUDY: source}, (), STRICT), output, accepted, quarantine)
    files.pop(0).unlink()
    [staged] = stage_results(check_results(files, {STUDY: source}, (), STRICT), output, accepted, quarantine)
    assert staged.path.read_bytes() == files[0].read_bytes()


def test_an_error_names_a_result_by_its_number(
    tmp_path: Path, source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(output / "a.dcm", "1.2.826.0.1.2"), write(output / "CANARY.dcm", "1.2.826.0.1.3")]
    results = check_results(files, {STUDY: source}, (), STRICT)
    monkeypatch.setattr(os, "link", refusing(errno.EIO))
    with pytest.raises(TemporaryError, match=r"^Input/output error at result file 1$"):
        stage_results(results, output, tmp_path / "results" / "job", tmp_path / "quarantine")

    def unreadable(path: Path) -> result_heads.Head:
        if path == files[1]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return read_head(path)

    read_head = result_heads.read_head
    monkeypatch.setattr(result_heads, "read_head", unreadable)
    for numbers, number in ((), 2), ((3, 7), 7):
        with pytest.raises(TemporaryError, match=f"^Permission denied at result file {number}$"):
            check_results(files, {STUDY: source}, (), STRICT, numbers)
