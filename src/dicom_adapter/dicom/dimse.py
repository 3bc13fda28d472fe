"""DIMSE: messages made of PDVs, and the C-ECHO and C-STORE messages themselves (PS3.7 chapters 6 and 9, PS3.8 Annex E).

Why apart from the Upper Layer: PS3.8 does not look into PDVs. Here the command of each message is put together and its
data set passed on fragment by fragment; that a message stays in its own presentation context, and that no data set
comes which no command announced, is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from dicom_adapter.dicom import command_set
from dicom_adapter.dicom.command_set import RESPONSE_BIT, CommandField, CommandReader, CommandSet, Priority
from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import AbortReason, PdvFragment
from dicom_adapter.dicom.pdu_encoder import PDV_OVERHEAD, p_data_header

VERIFICATION_SOP_CLASS = "1.2.840.10008.1.1"  # PS3.4 Annex A
SUCCESS = 0x0000
UNRECOGNIZED_OPERATION = 0x0211  # PS3.7 Annex C.5.25
MAX_ERROR_COMMENT = 64  # characters, VR LO


class MessageReceiver:
    """Puts received PDV fragments together to messages. `context_ids`: the accepted presentation contexts."""

    __slots__ = ("_command", "_context_id", "_context_ids", "_reader", "expects_data_set")

    def __init__(self, context_ids: Collection[int]) -> None:
        self._context_ids = context_ids
        self._context_id: int | None = None  # of the message that is arriving; None: between two
        self._command = bytearray()
        self._reader = CommandReader()
        self.expects_data_set = False  # a command was complete, and its data set is not

    @property
    def between_messages(self) -> bool:
        """Nothing of a message is outstanding."""
        return self._context_id is None

    def receive(self, fragment: PdvFragment) -> tuple[int, CommandSet] | None:
        """The context and command that this fragment completes. None: more to come, or it is a part of the data set.

        Raises RemoteProtocolError for a fragment that is of no message, or of another than the one that is arriving.
        """
        context_id, is_command, is_last, data, remaining = fragment
        if context_id == self._context_id and self.expects_data_set and not is_command:  # nearly always
            if is_last and not remaining:
                self.expects_data_set = False
                self._context_id = None
            return None
        if self._context_id is None:
            if context_id not in self._context_ids:
                raise RemoteProtocolError(f"PDV with presentation context id {context_id}, which was not accepted")
            self._context_id = context_id
        elif context_id != self._context_id:
            raise RemoteProtocolError(
                f"PDV of presentation context {context_id} inside a message of context {self._context_id}"
            )
        if is_command == self.expects_data_set:
            found, wanted = ("command", "data set") if is_command else ("data set", "command")
            raise RemoteProtocolError(
                f"PDV of a {found} where one of a {wanted} is expected", AbortReason.UNEXPECTED_PDU_PARAMETER
            )
        self._command += data
        if len(self._command) + remaining > command_set.MAX_LENGTH:
            raise RemoteProtocolError(f"command set of more than {command_set.MAX_LENGTH} bytes")
        if remaining or not is_last:
            return None
        command = self._reader.read(bytes(self._command))
        self._command.clear()
        self.expects_data_set = command.has_data_set
        if not command.has_data_set:
            self._context_id = None
        return context_id, command


def command_pdus(
    context_id: int,
    command: CommandSet,
    max_pdu_length: int,
    encode: Callable[[CommandSet], bytes] = command_set.encode,
) -> bytes:
    """The P-DATA-TF PDUs of a command, for a peer that announced `max_pdu_length` (0: no limit)."""
    data = encode(command)
    if len(data) + PDV_OVERHEAD <= max_pdu_length:  # nearly always
        return p_data_header(context_id, is_command=True, is_last=True, length=len(data)) + data
    return b"".join(
        p_data_header(context_id, is_command=True, is_last=offset + length == len(data), length=length)
        + data[offset : offset + length]
        for offset, length in fragments(len(data), max_pdu_length)
    )


def fragments(length: int, max_pdu_length: int, most: int = 1 << 20) -> Iterator[tuple[int, int]]:
    """(offset, length) of each PDV fragment of a message part, each as long as a PDU of the peer's size can carry.

    `most`: bytes of a PDU for a peer without a limit, or with a higher one. An empty part is one empty fragment.
    """
    size = min(max_pdu_length or most, most) - PDV_OVERHEAD
    size -= size % 2  # fragments have an even number of bytes, PS3.8 Annex F
    offset = 0
    while offset + size < length:
        yield offset, size
        offset += size
    yield offset, length - offset


def c_echo_rq(message_id: int) -> CommandSet:
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return CommandSet(
        command_field=CommandField.C_ECHO_RQ, message_id=message_id, affected_sop_class_uid=VERIFICATION_SOP_CLASS
    )


def c_store_rq(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, priority: Priority = Priority.MEDIUM
) -> CommandSet:
    """C-STORE-RQ (PS3.7 9.3.1.1)."""
    return CommandSet(
        command_field=CommandField.C_STORE_RQ,
        has_data_set=True,
        message_id=message_id,
        affected_sop_class_uid=sop_class_uid,
        affected_sop_instance_uid=sop_instance_uid,
        priority=priority,
    )


def response(request: CommandSet, status: int, error_comment: str | None = None) -> CommandSet:
    """The response to any request: same UIDs, without a data set (PS3.7 9.3, 10.3)."""
    return CommandSet(
        command_field=request.command_field | RESPONSE_BIT,
        message_id_being_responded_to=request.message_id,
        affected_sop_class_uid=request.affected_sop_class_uid or request.requested_sop_class_uid,
        affected_sop_instance_uid=request.affected_sop_instance_uid or request.requested_sop_instance_uid,
        status=status,
        error_comment=error_comment and error_comment[:MAX_ERROR_COMMENT],
    )


def c_echo_rsp(request: CommandSet, status: int = SUCCESS) -> CommandSet:
    """C-ECHO-RSP (PS3.7 9.3.5.2)."""
    return response(request, status)


def c_store_rsp(request: CommandSet, status: int = SUCCESS, error_comment: str | None = None) -> CommandSet:
    """C-STORE-RSP (PS3.7 9.3.1.2)."""
    return response(request, status, error_comment)


def unrecognized_operation(request: CommandSet) -> CommandSet | None:
    """The answer to a request that we do not serve: 0211H. None for what has no response: C-CANCEL-RQ, a response."""
    if request.is_response or request.command_field == CommandField.C_CANCEL_RQ:
        return None
    return response(request, UNRECOGNIZED_OPERATION)
