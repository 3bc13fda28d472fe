"""The two ways to break the protocol: our own (a bug here) and the peer's (an answer that PS3.8 names).

Why two: a `RemoteProtocolError` ends one association with the A-ABORT it carries; a `LocalProtocolError` means that our
own code asked for something the state machine does not allow, and must be repaired, not answered.
"""

from __future__ import annotations

from dicom_adapter.dicom.pdu import AbortReason, AbortSource


class ProtocolError(Exception):
    """Common base; never raised itself."""


class LocalProtocolError(ProtocolError):
    """We tried to send, or asked for, what the protocol does not allow now."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow: malformed, too long, or in the wrong place.

    `abort_source` and `abort_reason` are those of the A-ABORT PDU that answers it (PS3.8 9.3.8). The message says what
    was found and what is allowed; it never contains received text.
    """

    def __init__(
        self,
        message: str,
        reason: AbortReason = AbortReason.INVALID_PDU_PARAMETER_VALUE,
        source: AbortSource = AbortSource.SERVICE_PROVIDER,
    ) -> None:
        super().__init__(message)
        self.abort_source = source
        self.abort_reason = reason
