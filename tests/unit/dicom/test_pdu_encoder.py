"""PDU values -> the bytes of `tests/tables/pdus.py`."""

from __future__ import annotations

import pytest

from dicom_adapter.dicom.pdu import AAssociateRQ, PDataTF, Pdu, Pdv, ProposedContext, SopClassExtended, UserInformation
from dicom_adapter.dicom.pdu_encoder import encode, p_data_header
from tests.tables.pdus import SIMPLE_CASES


@pytest.mark.parametrize(("pdu", "data"), [case[1:] for case in SIMPLE_CASES], ids=[case[0] for case in SIMPLE_CASES])
def test_encode(pdu: Pdu, data: bytes) -> None:
    assert encode(pdu) == data


@pytest.mark.parametrize("is_command", [True, False])
@pytest.mark.parametrize("is_last", [True, False])
def test_p_data_header_is_what_stands_before_the_bytes(is_command: bool, is_last: bool) -> None:
    header = p_data_header(5, is_command=is_command, is_last=is_last, length=4)
    assert header + b"abcd" == encode(PDataTF((Pdv(5, is_command, is_last, b"abcd"),)))


def test_an_item_has_a_16_bit_length() -> None:
    too_much = UserInformation(sop_class_extended=(SopClassExtended("1.2", bytes(70000)),))
    rq = AAssociateRQ("A", "B", (ProposedContext(1, "1.2", ("1.3",)),), too_much)
    with pytest.raises(ValueError, match="at most 65535"):
        encode(rq)
