"""Errors -> answers: the one ladder from what went wrong with a request to its DIMSE status.

Why here: services raise, this answers; no status is chosen anywhere else in the SCP, and no internal text reaches a
peer. The codes are those of PS3.7 Annex C and PS3.4 B.2.3. What concerns whole associations is answered by
`core.admission`, what concerns PDUs by `dicom.upper_layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.dicom.command_set import CommandField, CommandSet
from dicom_adapter.dicom.dimse import response, unrecognized_operation
from dicom_adapter.dicom.pdu import AcceptedContext
from dicom_adapter.dicom.status import Status
from dicom_adapter.identifiers import new_id
from dicom_adapter.net.connection import AssociationEnded, DataSetSink, Nowhere

log = structlog.get_logger("scp")


class Refusal(Exception):
    """The request is answered with this status; the message becomes the Error Comment, so no patient data."""

    status: Status


class InvalidInstanceUid(Refusal):
    """The Affected SOP Instance UID of the command is missing or no UID."""

    status = Status.INVALID_OBJECT_INSTANCE


class WrongSopClass(Refusal):
    """The Affected SOP Class UID of the command is not the abstract syntax of its presentation context."""

    status = Status.SOP_CLASS_NOT_SUPPORTED


class DoesNotMatch(Refusal):
    """The data set is of another SOP Class or Instance than its command says."""

    status = Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS


class CannotUnderstand(Refusal):
    """There is no data set, or its head cannot be read."""

    status = Status.CANNOT_UNDERSTAND


class UnrecognizedOperation(Refusal):
    """C-FIND, C-MOVE, N-*, or a request that the SOP Class of its context does not have."""

    status = Status.UNRECOGNIZED_OPERATION


def answer_to(error: Exception) -> tuple[Status, str]:
    """The status and Error Comment (LO, PS3.7 Annex C) for whatever stopped a request. Anything unforeseen is 0110H."""
    if isinstance(error, Refusal):
        return error.status, str(error)
    if isinstance(error, OutOfResources):
        return Status.OUT_OF_RESOURCES, str(error).partition(";")[0]  # the advice is not for the peer
    return Status.PROCESSING_FAILURE, "internal error"


class DataSetReader(Protocol):
    """The connection, as far as a service needs it."""

    def receive_data_set(self, sink: DataSetSink) -> None: ...


class Request:
    """A DIMSE request and the way to its data set."""

    __slots__ = ("_reader", "_unread", "command", "context")

    def __init__(self, context: AcceptedContext, command: CommandSet, reader: DataSetReader) -> None:
        self.context = context
        self.command = command
        self._reader = reader
        self._unread = command.has_data_set

    def receive_data_set(self, sink: DataSetSink) -> None:
        """Let the data set flow into `sink`. Raises CannotUnderstand when the command announced none."""
        if not self._unread:
            raise CannotUnderstand("the command announces no data set")
        self._unread = False
        self._reader.receive_data_set(sink)

    def drain(self) -> None:
        """Read and forget the data set, if it is still to come: the next command stands behind it."""
        if self._unread:
            self.receive_data_set(Nowhere())


Operation = Callable[[Request], None]
"""Does what a request asks for: returns for Success, raises for every other answer."""


class Services:
    """Which operation serves which SOP Class. `operations`: by SOP Class UID, then by command field.

    `storage`: of every SOP Class that is not named, as those that we accept are storage.
    """

    def __init__(self, operations: Mapping[str, Mapping[int, Operation]], storage: Mapping[int, Operation]) -> None:
        self._operations = operations
        self._storage = storage

    def respond(self, request: Request) -> CommandSet | None:
        """Serve a request and make its response; None for what has none (a response, C-CANCEL-RQ).

        Raises AssociationEnded only: whatever else happens is an answer, and the association lives on.
        """
        command = request.command
        try:
            self._operation(request)(request)
            answer = response(command, Status.SUCCESS)
        except AssociationEnded:
            raise
        except UnrecognizedOperation:
            request.drain()
            return unrecognized_operation(command)
        except Exception as error:
            status, comment = answer_to(error)
            if status is Status.PROCESSING_FAILURE:
                comment = f"internal error {new_id()}"
                log.exception("a request failed by our own fault", comment=comment)
            answer = response(command, status, comment)
        request.drain()
        return answer

    def _operation(self, request: Request) -> Operation:
        context, command = request.context, request.command
        operation = self._operations.get(context.abstract_syntax, self._storage).get(command.command_field)
        if operation is None:
            if command.command_field == CommandField.C_STORE_RQ:
                raise WrongSopClass("the SOP Class of the presentation context is not storage")
            raise UnrecognizedOperation
        if command.affected_sop_class_uid != context.abstract_syntax:
            raise WrongSopClass("not the SOP Class of the presentation context")
        return operation
