"""What the adapter and its SCP worker processes say to each other, over a socket pair that nobody else has.

Why here: both sides must agree on it. Each message is a value; `multiprocessing.connection` frames and pickles it.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.core.snapshot import ConfigSnapshot
from dicom_adapter.scp.live import OpenAssociation, Rejection
from dicom_adapter.scp.threads import ConnectionSettings
from dicom_adapter.spool import Durability

# --- to the worker --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The first message: all that a worker needs besides the snapshot. `storage`: the storage folder, absolute."""

    connection: ConnectionSettings
    storage: str
    durability: Durability
    watermark_percent: float
    reserve_space: int  # bytes
    implementation_class_uid: str
    implementation_version_name: str
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class Configured:
    """The configuration in force from now on."""

    snapshot: ConfigSnapshot


@dataclass(frozen=True, slots=True)
class Answer:
    """To the question of this number."""

    number: int
    granted: bool


@dataclass(frozen=True, slots=True)
class TellProgress:
    """Answered by `Progress`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Open associations may finish within `grace` seconds. Answered by `Stopped`."""

    grace: float


# --- from the worker ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Take:
    """A question: may this association take one of `most` places?"""

    number: int
    association: OpenAssociation
    most: int


@dataclass(frozen=True, slots=True)
class Leave:
    """A question, so that the peer is answered only after the place is free.

    `durable`: the outcome is in the spool; where it is not yet, `OutcomeWritten` follows.
    """

    number: int
    association: OpenAssociation
    outcome: AssociationOutcome
    durable: bool


@dataclass(frozen=True, slots=True)
class OutcomeWritten:
    """What the disk did not allow when the association ended."""

    association_id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Somebody was turned away, at that time in seconds since the epoch."""

    rejection: Rejection
    at: float


@dataclass(frozen=True, slots=True)
class Counted:
    """To be added to a counter."""

    name: str
    amount: int


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """One connection less to serve."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What the open associations have done so far."""

    associations: tuple[OpenAssociation, ...]


@dataclass(frozen=True, slots=True)
class DiskFailed:
    """The disk does not keep what is written; `why` in words."""

    why: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Every association has ended."""


ToWorker = WorkerSettings | Configured | Answer | TellProgress | Stop
FromWorker = Take | Leave | OutcomeWritten | Rejected | Counted | ConnectionEnded | Progress | DiskFailed | Stopped
