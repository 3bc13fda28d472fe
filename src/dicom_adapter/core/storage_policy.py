"""What becomes of an instance before its first byte is written: store, drain or refuse; and when space is short.

Why here: the one table of reasons not to store, without a file system in sight. `overwrite-same-instance` is judged at
intake, where all instances of a batch are known: a second copy is stored first and superseded later, never the reverse.
"""

from __future__ import annotations

from enum import Enum

from dicom_adapter.core.snapshot import ClaraAeTitle


class Disposition(Enum):
    STORE = "store"
    DRAIN = "drain"  # read and forget; C-STORE-RSP Success
    REFUSE = "refuse"  # read and forget; C-STORE-RSP A700H


def dispose(sop_class_uid: str, ae_title: ClaraAeTitle, *, below_watermark: bool) -> Disposition:
    """What to do with an instance of this SOP Class, received for this AE Title.

    An ignored SOP Class needs no space, so it is drained on a full disk too.
    """
    if sop_class_uid in ae_title.ignored_sop_classes:
        return Disposition.DRAIN
    return Disposition.REFUSE if below_watermark else Disposition.STORE


def below_watermark(total: int, free: int, *, watermark_percent: float, reserve: int) -> bool:
    """Whether a volume is too full to take more (contract 5.7).

    total, free: bytes of the volume. watermark_percent: how much of it may be used. reserve: bytes that must stay free.
    The larger of the two demands counts; exactly at the mark is too full.
    """
    return free <= must_stay_free(total, watermark_percent=watermark_percent, reserve=reserve)


def must_stay_free(total: int, *, watermark_percent: float, reserve: int) -> int:
    """Bytes of a volume that are not ours to fill; see `below_watermark`."""
    return int(max(total * (100 - watermark_percent) / 100, reserve))
