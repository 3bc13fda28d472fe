"""The head scanner against pydicom's reading of real files, and against data sets that were made to hurt it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_file_meta_info

from dicom_adapter.dicom import dataset_head
from dicom_adapter.dicom.dataset_head import LONGEST_LAYOUT, MAX_DEPTH, HeadLayout, HeadScanner
from tests.dicom_files import data_set_head, readable_files

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
PRIVATE = "1.2.840.113619.5.2"
KEYWORDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
Uids = tuple[str, str, str, str]
UIDS: Uids = ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.3", "1.2.3.9")


def scan(syntax: str, *fragments: bytes | memoryview) -> tuple[Uids, str | None]:
    scanner = HeadScanner(syntax)
    for fragment in fragments:
        if scanner.feed(fragment):
            break
    scanner.finish()
    return uids_of(scanner), scanner.error


def uids_of(scanner: HeadScanner) -> Uids:
    return (
        scanner.sop_class_uid,
        scanner.sop_instance_uid,
        scanner.study_instance_uid,
        scanner.series_instance_uid,
    )


def element(tag: int, value: bytes, vr: bytes = b"UI", *, syntax: str = EXPLICIT, length: int | None = None) -> bytes:
    order = ">" if syntax == BIG else "<"
    size = len(value) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT or tag >> 16 == 0xFFFE:
        return head + struct.pack(f"{order}I", size) + value
    if vr in (b"SQ", b"UN", b"OB", b"UT", b"ZZ"):
        return head + vr + struct.pack(f"{order}HI", 0, size) + value
    return head + vr + struct.pack(f"{order}H", size) + value


def uid_element(tag: int, uid: str, syntax: str) -> bytes:
    value = uid.encode()
    return element(tag, value + b"\0" * (len(value) % 2), syntax=syntax)


def head(syntax: str = EXPLICIT, before_study: bytes = b"", uids: Uids = UIDS) -> bytes:
    return (
        uid_element(0x00080016, uids[0], syntax)
        + uid_element(0x00080018, uids[1], syntax)
        + before_study
        + uid_element(0x0020000D, uids[2], syntax)
        + uid_element(0x0020000E, uids[3], syntax)
    )


UNDEFINED = 0xFFFFFFFF


def sequence(content: bytes, syntax: str = EXPLICIT, tag: int = 0x00081140, vr: bytes = b"SQ") -> bytes:
    """Sequence and item of undefined length around `content`."""
    return (
        element(tag, b"", vr, syntax=syntax, length=UNDEFINED)
        + element(0xFFFEE000, b"", syntax=syntax, length=UNDEFINED)
        + content
        + element(0xFFFEE00D, b"", syntax=syntax)
        + element(0xFFFEE0DD, b"", syntax=syntax)
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, about UIDs in these files
@pytest.mark.parametrize("path", readable_files(), ids=lambda path: path.name)
def test_real_files(path: Path) -> None:
    expected = pydicom.dcmread(path, specific_tags=KEYWORDS, stop_before_pixels=True)
    found, error = scan(expected.file_meta.TransferSyntaxUID, data_set_head(path))
    assert error is None
    assert found == tuple(str(expected.get(keyword) or "") for keyword in KEYWORDS)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, PRIVATE])
def test_every_split_into_two_fragments_finds_the_same(syntax: str) -> None:
    encoding = IMPLICIT if syntax == PRIVATE else syntax
    nested = sequence(uid_element(0x00081155, "1.9.9.9", encoding) + sequence(b"", encoding), encoding)
    data = head(encoding, nested + element(0x00100010, b"DOE^JANE", b"PN", syntax=encoding))
    for cut in range(len(data) + 1):
        assert scan(syntax, data[:cut], data[cut:]) == (UIDS, None), cut


@given(st.data())
def test_any_chunking_of_a_real_file_finds_the_same(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(readable_files()))
    syntax = read_file_meta_info(path).TransferSyntaxUID
    whole = data_set_head(path)[:20_000]
    size = data.draw(st.integers(1, 400))
    fragments = [memoryview(whole)[start : start + size] for start in range(0, len(whole), size)]
    assert scan(syntax, *fragments) == scan(syntax, whole)


@pytest.mark.parametrize("encoding", [IMPLICIT, EXPLICIT, BIG])
def test_the_encoding_of_an_unknown_transfer_syntax_is_told_from_the_bytes(encoding: str) -> None:
    assert scan("1.2.3.4.5", head(encoding)) == (UIDS, None)


def test_a_private_encapsulated_sequence_before_the_study_is_passed_over() -> None:
    fragments = element(0xFFFEE000, b"") + element(0xFFFEE000, b"\xff\xd8" * 50) + element(0xFFFEE0DD, b"")
    data = head(before_study=element(0x00091010, b"", b"OB", length=UNDEFINED) + fragments)
    assert scan(EXPLICIT, data) == (UIDS, None)


def test_unknown_of_undefined_length_holds_implicit_little_endian() -> None:
    """PS3.5 6.2.2, note 2."""
    inside = sequence(uid_element(0x00081155, "1.2", IMPLICIT), IMPLICIT)
    unknown = (
        element(0x00091010, b"", b"UN", length=UNDEFINED)
        + element(0xFFFEE000, b"", length=UNDEFINED)
        + inside
        + element(0xFFFEE00D, b"")
        + element(0xFFFEE0DD, b"")
    )
    assert scan(EXPLICIT, head(before_study=unknown)) == (UIDS, None)


def test_a_vr_of_the_future_has_a_long_length() -> None:
    assert scan(EXPLICIT, head(before_study=element(0x00091010, b"x" * 10, b"ZZ"))) == (UIDS, None)


def test_uids_inside_sequences_are_not_ours() -> None:
    nested = sequence(head(uids=("9.1", "9.2", "9.3", "9.4")))
    assert scan(EXPLICIT, head(before_study=nested)) == (UIDS, None)
    assert scan(EXPLICIT, nested)[0] == ("", "", "", "")


def test_a_value_of_two_gigabytes_costs_nothing() -> None:
    scanner = HeadScanner(EXPLICIT)
    scanner.feed(uid_element(0x00080018, "1.2", EXPLICIT) + element(0x00091010, b"", b"OB", length=2_000_000_000))
    block = memoryview(bytes(1 << 20))
    for _ in range(2_000_000_000 >> 20):
        scanner.feed(block)
    scanner.feed(bytes(2_000_000_000 & 0xFFFFF) + uid_element(0x0020000D, "1.7", EXPLICIT))
    assert (scanner.sop_instance_uid, scanner.study_instance_uid, scanner.error) == ("1.2", "1.7", None)


def test_it_stops_at_the_first_element_behind_the_series() -> None:
    scanner = HeadScanner(EXPLICIT)
    assert scanner.feed(head()) is True
    assert scanner.feed(b"anything") is True
    without_series = head()[: -len(uid_element(0x0020000E, UIDS[3], EXPLICIT))]
    found, error = scan(EXPLICIT, without_series + element(0x00280010, b"\0\2", b"US") + b"\xff" * 100)
    assert (found, error) == ((*UIDS[:3], ""), None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (head()[:-1], "cut off"),
        (head()[:-12], "cut off"),
        (b"\x08\x00", "cut off"),
        (element(0x00080005, b"", b"CS", length=100), "cut off"),
        (head(before_study=sequence(b""))[:60], "cut off"),
        (head(before_study=element(0x00081140, b"", b"SQ", length=UNDEFINED)), "other than an item"),
        (uid_element(0x00080016, "1.2", EXPLICIT) + b"\x08\x00\x18\x00\x01\x02\x03\x04", "no VR"),
        (element(0x00080018, b"1" * 1000), "a UID of 1000 bytes"),
        (
            (element(0x00081140, b"", b"SQ", length=UNDEFINED) + element(0xFFFEE000, b"", length=UNDEFINED))
            * (MAX_DEPTH + 1),
            "within each other",
        ),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, words: str) -> None:
    _, error = scan(EXPLICIT, data)
    assert error is not None
    assert words in error


def test_real_nesting_is_far_from_the_limit() -> None:
    nested = b""
    for _ in range(MAX_DEPTH):
        nested = sequence(nested)
    assert scan(EXPLICIT, head(before_study=nested)) == (UIDS, None)


def test_the_number_of_elements_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_head, "MAX_ELEMENTS", 100)
    _, error = scan(EXPLICIT, head(before_study=element(0x00091010, b"", b"LO") * 200))
    assert error == "more than 100 elements before the Series Instance UID"


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def test_a_deflated_data_set_is_inflated_only_to_its_series() -> None:
    data = deflate(head() + element(0x7FE00010, bytes(1 << 20), b"OB"))
    assert scan(DEFLATED, *(data[i : i + 7] for i in range(0, len(data), 7))) == (UIDS, None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xff\xff not deflated", "cannot be inflated"),
        (deflate(element(0x00091010, bytes(70 << 20), b"OB") + head()), "64 MiB"),
        (deflate(head())[:-20], "cut off"),
    ],
)
def test_a_bad_deflate_stream_says_why(data: bytes, words: str) -> None:
    _, error = scan(DEFLATED, data)
    assert error is not None
    assert words in error


def test_what_follows_the_end_of_a_deflate_stream_is_not_looked_at() -> None:
    """zlib keeps what it is given behind the end, and copies all of it each time."""
    short = b"".join(uid_element(tag, uid, EXPLICIT) for tag, uid in zip((0x00080016, 0x00080018), UIDS, strict=False))
    scanner = HeadScanner(DEFLATED)
    assert scanner.feed(deflate(short))
    assert uids_of(scanner) == (*UIDS[:2], "", "")
    assert scanner.error is None
    assert scan(DEFLATED, deflate(short[:-3]))[1] == "the data set is cut off"


@given(st.sampled_from([IMPLICIT, EXPLICIT, BIG, PRIVATE]), st.binary(max_size=400), st.integers(1, 50))
def test_no_bytes_raise_and_any_chunking_says_the_same(syntax: str, data: bytes, size: int) -> None:
    fragments = [data[i : i + size] for i in range(0, len(data), size)]
    assert scan(syntax, *fragments) == scan(syntax, data)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_no_deflated_bytes_raise(data: bytes, size: int) -> None:
    """How much zlib gives before it finds a stream corrupt depends on the chunks, so only that."""
    scan(DEFLATED, *[data[i : i + size] for i in range(0, len(data), size)])


@given(st.sampled_from([IMPLICIT, EXPLICIT, BIG]), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_damaged_heads_do_not_raise(syntax: str, position: int, junk: bytes) -> None:
    data = bytearray(head(syntax, sequence(b"", syntax)))
    data[position : position + len(junk)] = junk
    scan(syntax, bytes(data))


# --- layouts --------------------------------------------------------------------------------------------------------


def layout_of(data: bytes, syntax: str = EXPLICIT) -> HeadLayout | None:
    scanner = HeadScanner(syntax)
    scanner.feed(data)
    return scanner.layout


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_head_of_the_same_layout_is_read_and_not_scanned(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = sequence(uid_element(0x00081155, "1.9.9.9", syntax), syntax) + element(
        0x00100010, b"DOE^", b"PN", syntax=syntax
    )
    other = (UIDS[0], "1.2.3.5", *UIDS[2:])
    layout = layout_of(head(syntax, nested), syntax)
    monkeypatch.setattr(HeadScanner, "_scan", None)
    scanner = HeadScanner(syntax, layout)
    assert scanner.feed(head(syntax, nested.replace(b"DOE^", b"POE^"), other) + b"more")
    assert uids_of(scanner) == other
    assert scanner.layout is layout


def test_another_series_has_a_layout_of_its_own() -> None:
    layout = layout_of(head())
    scanner = HeadScanner(EXPLICIT, layout)
    other = (*UIDS[:3], "1.2.4.7")
    assert scanner.feed(head(uids=other))
    assert uids_of(scanner) == other
    assert scanner.layout not in (None, layout)


@given(st.data())
def test_a_layout_changes_no_result(data: st.DataObject) -> None:
    """Whatever head was seen before: it is read as if none had been."""
    path = data.draw(st.sampled_from(readable_files()))
    syntax = read_file_meta_info(path).TransferSyntaxUID
    seen = data_set_head(path)[:20_000]
    changed = bytearray(seen)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        junk = data.draw(st.binary(max_size=3))
        changed[at : at + data.draw(st.integers(0, 3))] = junk
    now = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    remembering = HeadScanner(syntax, layout_of(seen, syntax))
    remembering.feed(now)
    remembering.finish()
    assert (uids_of(remembering), remembering.error) == scan(syntax, now)


def test_a_head_that_is_not_whole_in_its_first_fragment_has_no_layout() -> None:
    data = head()
    scanner = HeadScanner(EXPLICIT)
    scanner.feed(data[:40])
    assert scanner.feed(data[40:])
    assert scanner.layout is None


def test_a_layout_of_very_many_elements_is_not_kept() -> None:
    element_ = element(0x00100010, b"", b"PN")
    assert layout_of(head(before_study=element_ * (LONGEST_LAYOUT - 4))) is not None
    assert layout_of(head(before_study=element_ * LONGEST_LAYOUT)) is None
