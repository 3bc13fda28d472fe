"""Store, drain or refuse; and when a volume is too full (contract 5.7, 9.5)."""

import pytest

from dicom_adapter.core.snapshot import ClaraAeTitle
from dicom_adapter.core.storage_policy import Disposition, below_watermark, dispose

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
IGNORES_SR = ClaraAeTitle("brain", "BRAIN", ignored_sop_classes=frozenset({SR}))
GB = 10**9


@pytest.mark.parametrize(
    ("sop_class", "full", "disposition"),
    [
        (CT, False, Disposition.STORE),
        (CT, True, Disposition.REFUSE),
        (SR, False, Disposition.DRAIN),
        (SR, True, Disposition.DRAIN),  # needs no space
    ],
)
def test_disposition(sop_class: str, full: bool, disposition: Disposition) -> None:
    assert dispose(sop_class, IGNORES_SR, below_watermark=full) is disposition


@pytest.mark.parametrize(
    ("free", "percent", "reserve", "full"),
    [
        # of 10 GB; the first three are the tests of the original
        (9 * GB, 90, 1 * GB, False),
        (5 * GB, 10, 1 * GB, True),
        (5 * GB, 90, 9 * GB, True),
        (1 * GB, 90, 0, True),  # exactly at the mark
        (1 * GB + 1, 90, 0, False),
        (0, 100, 0, True),
        (1, 100, 0, False),
    ],
)
def test_watermark(free: int, percent: float, reserve: int, full: bool) -> None:
    assert below_watermark(10 * GB, free, watermark_percent=percent, reserve=reserve) is full
