"""Status codes: every category as PS3.7 Annex C and PS3.4 Table B.2-1 say."""

import pytest

from dicom_adapter.dicom.status import Category, Status, category, words

TABLE = [
    (0x0000, Category.SUCCESS, "0000H Success"),
    (0x0001, Category.WARNING, "0001H Requested optional attributes are not supported"),
    (0x0107, Category.WARNING, "0107H Attribute list error"),
    (0x0110, Category.FAILURE, "0110H Processing failure"),
    (0x0116, Category.WARNING, "0116H Attribute value out of range"),
    (0x0117, Category.FAILURE, "0117H Invalid SOP Instance UID"),
    (0x0122, Category.FAILURE, "0122H Refused: SOP Class not supported"),
    (0x0124, Category.FAILURE, "0124H Refused: not authorized"),
    (0x0199, Category.FAILURE, "0199H Failure"),
    (0x0211, Category.FAILURE, "0211H Unrecognized operation"),
    (0x0299, Category.FAILURE, "0299H Failure"),
    (0xA700, Category.FAILURE, "A700H Refused: out of resources"),
    (0xA701, Category.FAILURE, "A701H Refused: out of resources"),
    (0xA7FF, Category.FAILURE, "A7FFH Refused: out of resources"),
    (0xA800, Category.FAILURE, "A800H Failure"),
    (0xA900, Category.FAILURE, "A900H Error: data set does not match SOP Class"),
    (0xB000, Category.WARNING, "B000H Coercion of data elements"),
    (0xB006, Category.WARNING, "B006H Elements discarded"),
    (0xB007, Category.WARNING, "B007H Data set does not match SOP Class"),
    (0xB123, Category.WARNING, "B123H Warning"),
    (0xC000, Category.FAILURE, "C000H Error: cannot understand"),
    (0xCFFF, Category.FAILURE, "CFFFH Error: cannot understand"),
    (0xFE00, Category.CANCEL, "FE00H Cancel"),
    (0xFF00, Category.PENDING, "FF00H Pending"),
    (0xD000, Category.FAILURE, "D000H Unknown status"),
    (0x0002, Category.FAILURE, "0002H Unknown status"),
]


@pytest.mark.parametrize(("code", "kind", "text"), TABLE)
def test_code(code: int, kind: Category, text: str) -> None:
    assert (category(code), words(code)) == (kind, text)


def test_everything_we_send_but_success_is_a_failure() -> None:
    assert {category(code) for code in Status if code is not Status.SUCCESS} == {Category.FAILURE}
