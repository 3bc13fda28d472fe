"""Storage SCP: C-STORE of one association into the spool (PS3.4 Annex B, PS3.7 9.1.1).

Why here: this is where custody begins. `store` returns, so that Success is answered, only after the instance is
committed as `storage.durability` promises; the bytes of the data set are not touched on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.model import AssociationOutcome, Instance
from dicom_adapter.core.snapshot import ClaraAeTitle
from dicom_adapter.core.storage_policy import Disposition, dispose
from dicom_adapter.dicom.command_set import CommandSet
from dicom_adapter.dicom.dataset_head import HeadLayout, HeadScanner
from dicom_adapter.dicom.part10 import file_meta
from dicom_adapter.dicom.uid import is_valid_uid
from dicom_adapter.scp.live import OpenAssociation
from dicom_adapter.scp.service import CannotUnderstand, DoesNotMatch, InvalidInstanceUid, Request
from dicom_adapter.spool import AssociationSpool, InstanceFacts, Spool, SpoolWriter

log = structlog.get_logger("scp")


@dataclass(frozen=True, slots=True)
class StorageEnvironment:
    """What every association's storage shares. `now`: seconds since the epoch."""

    spool: Spool
    below_watermark: Callable[[], bool]
    now: Callable[[], float]
    implementation_class_uid: str
    implementation_version_name: str


class StorageService:
    """C-STORE for one association, in its thread. The spool shows no trace of it before the first instance."""

    def __init__(self, association: OpenAssociation, ae_title: ClaraAeTitle, environment: StorageEnvironment) -> None:
        self._association = association
        self._ae_title = ae_title
        self._environment = environment
        self._spool: AssociationSpool | None = None
        self._layout: HeadLayout | None = None  # of the last head: the next slice has the same one, nearly always
        self.stored: Instance | None = None  # the last one

    def store(self, request: Request) -> None:
        """One C-STORE-RQ. Returns when the instance is in our custody, or was to be ignored; raises the refusal."""
        command = request.command
        if not is_valid_uid(command.affected_sop_instance_uid or ""):
            raise InvalidInstanceUid("Affected SOP Instance UID: 1 to 64 digits and dots")
        sop_class = request.context.abstract_syntax
        match dispose(sop_class, self._ae_title, below_watermark=self._environment.below_watermark()):
            case Disposition.DRAIN:
                request.drain()
                self._association.ignored += 1
            case Disposition.REFUSE:
                raise too_little_space()
            case Disposition.STORE:
                self._receive(request)

    def prepare(self) -> None:
        """The response has left: use the time until the next request."""
        if self._spool is not None:
            self._spool.prepare()

    def close(self, outcome: AssociationOutcome) -> bool:
        """Make the association's end durable (D2). Whether it had stored anything. Raises OutOfResources."""
        spool, refused = self._spool, self._association.refused
        return spool is not None and spool.close(outcome, self._environment.now(), refused)

    def _receive(self, request: Request) -> None:
        if self._spool is None:
            self._spool = self._environment.spool.open_association(self._association.record)
        transfer_syntax = request.context.transfer_syntax
        writer = self._spool.create(self._file_meta(request.command, transfer_syntax))
        head = HeadScanner(transfer_syntax, self._layout)
        sink = InstanceSink(writer, head, request.command, self._environment.below_watermark)
        try:
            request.receive_data_set(sink)
            sink.finish()
            self._layout = sink.head.layout
            instance = writer.commit(self._facts(sink.head, transfer_syntax))
        except BaseException:
            writer.discard()
            raise
        association = self._association
        association.instances += 1
        association.bytes += instance.size
        association.last_activity = instance.received_at
        self.stored = instance

    def _facts(self, head: HeadScanner, transfer_syntax: str) -> InstanceFacts:
        return InstanceFacts(
            head.sop_class_uid,
            head.sop_instance_uid,
            head.study_instance_uid or None,
            head.series_instance_uid or None,
            transfer_syntax,
            self._environment.now(),
        )

    def _file_meta(self, command: CommandSet, transfer_syntax: str) -> bytes:
        record = self._association.record
        return file_meta(
            command.affected_sop_class_uid or "",
            command.affected_sop_instance_uid or "",
            transfer_syntax,
            self._environment.implementation_class_uid,
            self._environment.implementation_version_name,
            record.calling_ae_title,
            record.calling_ae_title,
            record.called_ae_title,
        )


def too_little_space() -> OutOfResources:
    """Below the watermark."""
    return OutOfResources("the storage folder has too little free space")


class InstanceSink:
    """Takes a data set's bytes: into the file, and its head past the scanner. Keeps what went wrong until `finish`.

    Why it keeps it: the rest of the data set must be read anyway before the response can be sent. The file goes at
    once: a peer may take as long as it likes for the rest.
    """

    __slots__ = ("_below_watermark", "_command", "_error", "_writer", "head")

    def __init__(
        self, writer: SpoolWriter, head: HeadScanner, command: CommandSet, below_watermark: Callable[[], bool]
    ) -> None:
        self.head = head
        self._writer = writer
        self._command = command
        self._below_watermark = below_watermark
        self._error: Exception | None = None

    def write(self, fragment: memoryview) -> None:
        """The next bytes of the data set."""
        if self._error is not None:
            return
        try:
            if not self.head.done and self.head.feed(fragment):
                self._check()
            self._writer.write(fragment)
        except Exception as error:
            self._fail(error)
        else:
            self._look_at_space()

    def splice_fd(self) -> int | None:
        """The file, once the head is known: what follows needs no look."""
        return self._writer.fd if self.head.done and self._error is None else None

    def spliced(self, count: int) -> None:
        """So many bytes went past us into the file."""
        self._writer.size += count
        self._look_at_space()

    def failed(self, error: OSError) -> None:
        """The file did not take the bytes: no space, quota or a broken disk."""
        self._fail(OutOfResources(f"the storage folder takes no more: {error.strerror}"))

    def _look_at_space(self) -> None:
        """One data set may be as long as the volume, and what `storage.reserve-space` keeps is not for it."""
        if self._below_watermark():
            self._fail(too_little_space())

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._writer.discard()

    def finish(self) -> None:
        """The data set ended. Raises what kept it from being stored."""
        if self._error is not None:
            raise self._error
        if not self.head.done:
            self.head.finish()
            self._check()

    def _check(self) -> None:
        head, command = self.head, self._command
        if head.error is not None:
            raise CannotUnderstand(head.error)
        if not head.sop_class_uid or not head.sop_instance_uid:
            raise CannotUnderstand("the data set has no SOP Class UID or no SOP Instance UID")
        if head.sop_class_uid != command.affected_sop_class_uid:
            raise DoesNotMatch("SOP Class UID of data set and command differ")
        if head.sop_instance_uid != command.affected_sop_instance_uid:
            raise DoesNotMatch("SOP Instance UID of data set and command differ")
