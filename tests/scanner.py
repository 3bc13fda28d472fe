"""A scanner for tests: pynetdicom as an SCU, and what it is told when it is not let in."""

from __future__ import annotations

from pynetdicom import AE
from pynetdicom.association import Association

from tests.waiting import eventually

CT = "1.2.840.10008.5.1.4.1.1.2"
CALLING, CALLED = "calling AE Title not recognised", "called AE Title not recognised"


def associate(port: int, calling: str, called: str) -> Association | str:
    """An open association for CT slices, or why there is none."""
    [found] = eventually(lambda: _answers(port, calling, called))
    return found


def _answers(port: int, calling: str, called: str) -> list[Association | str]:
    """One, or none: pynetdicom loses an answer that comes before it looks whether it is connected."""
    entity = AE(calling)
    entity.add_requested_context(CT, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if association.is_established:
        return [association]
    if (answer := association.acceptor.primitive) is None:
        return []
    assert (answer.result, answer.result_source) == (1, 1)
    return [{3: CALLING, 7: CALLED}[answer.diagnostic or 0]]
