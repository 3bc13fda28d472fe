"""The seven PDUs and their items as frozen values (PS3.8 9.3, PS3.7 Annex D.3.3).

Why values: the decoder makes them, the encoder takes them, policy compares them; none needs to know bytes. Enum members
carry the standard's names and numbers. UIDs arrive without padding; AE Titles as `ae_title` describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"  # PS3.7 Annex A.2.1
PROTOCOL_VERSION = 0x0001  # bit 0: version 1, the only one; other bits are not tested (PS3.8 9.3.2)
DEFAULT_MAX_PDU_LENGTH = 16384  # bytes; for a peer that does not send the sub-item
MAX_PRESENTATION_CONTEXTS = 128  # odd numbers from 1 to 255, PS3.8 9.3.2.2


class PduType(IntEnum):
    """First byte of a PDU (PS3.8 9.3)."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


class ItemType(IntEnum):
    """First byte of an item or sub-item in A-ASSOCIATE-RQ and -AC (PS3.8 9.3.2, PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55
    SOP_CLASS_EXTENDED_NEGOTIATION = 0x56
    SOP_CLASS_COMMON_EXTENDED_NEGOTIATION = 0x57
    USER_IDENTITY_RQ = 0x58
    USER_IDENTITY_AC = 0x59


class RejectResult(IntEnum):
    """A-ASSOCIATE-RJ Result (PS3.8 Table 9-21)."""

    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class RejectSource(IntEnum):
    """A-ASSOCIATE-RJ Source."""

    SERVICE_USER = 1
    SERVICE_PROVIDER_ACSE = 2
    SERVICE_PROVIDER_PRESENTATION = 3


class RejectReasonUser(IntEnum):
    """A-ASSOCIATE-RJ Reason when the source is the service user."""

    NO_REASON_GIVEN = 1
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED = 2
    CALLING_AE_TITLE_NOT_RECOGNIZED = 3
    CALLED_AE_TITLE_NOT_RECOGNIZED = 7


class RejectReasonAcse(IntEnum):
    """A-ASSOCIATE-RJ Reason when the source is the service provider, ACSE related function."""

    NO_REASON_GIVEN = 1
    PROTOCOL_VERSION_NOT_SUPPORTED = 2


class RejectReasonPresentation(IntEnum):
    """A-ASSOCIATE-RJ Reason when the source is the service provider, presentation related function."""

    TEMPORARY_CONGESTION = 1
    LOCAL_LIMIT_EXCEEDED = 2


REJECT_REASONS: dict[RejectSource, type[RejectReasonUser | RejectReasonAcse | RejectReasonPresentation]] = {
    RejectSource.SERVICE_USER: RejectReasonUser,
    RejectSource.SERVICE_PROVIDER_ACSE: RejectReasonAcse,
    RejectSource.SERVICE_PROVIDER_PRESENTATION: RejectReasonPresentation,
}


class ContextResultReason(IntEnum):
    """Result/Reason of a presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class AbortSource(IntEnum):
    """A-ABORT Source (PS3.8 Table 9-26)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """A-ABORT Reason/Diag; significant only when the source is the service provider."""

    REASON_NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """Presentation Context Item of A-ASSOCIATE-RQ (PS3.8 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """Presentation Context Item of A-ASSOCIATE-AC (PS3.8 9.3.3.2). Refused: the transfer syntax is not significant."""

    id: int
    result: ContextResultReason
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """What both sides agreed on: the key of every PDV (PS3.8 9.3.5.1)."""

    id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AsynchronousOperationsWindow:
    """PS3.7 D.3.3.3; 1/1 is synchronous, 0 is unlimited."""

    invoked: int = 1
    performed: int = 1


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU Role Selection of one SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool


@dataclass(frozen=True, slots=True)
class SopClassExtended:
    """SOP Class Extended Negotiation (PS3.7 D.3.3.5); the information is the service class's own."""

    sop_class_uid: str
    application_information: bytes


@dataclass(frozen=True, slots=True)
class SopClassCommonExtended:
    """SOP Class Common Extended Negotiation (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_class_uids: tuple[str, ...] = ()


class UserIdentityType(IntEnum):
    """PS3.7 Table D.3-14."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS_SERVICE_TICKET = 3
    SAML_ASSERTION = 4
    JSON_WEB_TOKEN = 5


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """User Identity of the requestor (PS3.7 D.3.3.7.1). `repr` hides the fields: they are credentials."""

    type: int
    positive_response_requested: bool
    primary_field: bytes
    secondary_field: bytes = b""

    def __repr__(self) -> str:
        return f"UserIdentity(type={self.type}, positive_response_requested={self.positive_response_requested})"


@dataclass(frozen=True, slots=True)
class UserIdentityResponse:
    """User Identity of the acceptor (PS3.7 D.3.3.7.2)."""

    server_response: bytes = b""


@dataclass(frozen=True, slots=True)
class UserInformation:
    """User Information Item (PS3.8 9.3.2.3) with the sub-items of PS3.7 Annex D.3.3. None and (): not sent."""

    max_pdu_length: int = DEFAULT_MAX_PDU_LENGTH  # bytes of a P-DATA-TF PDU we may send to them; 0 = no limit
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations_window: AsynchronousOperationsWindow | None = None
    role_selections: tuple[RoleSelection, ...] = ()
    sop_class_extended: tuple[SopClassExtended, ...] = ()
    sop_class_common_extended: tuple[SopClassCommonExtended, ...] = ()
    user_identity: UserIdentity | None = None  # RQ only
    user_identity_response: UserIdentityResponse | None = None  # AC only


@dataclass(frozen=True, slots=True)
class AAssociateRQ:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[ProposedContext, ...]
    user_information: UserInformation = UserInformation()
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class AAssociateAC:
    """A-ASSOCIATE-AC (PS3.8 9.3.3). The titles repeat those of the request and are not tested."""

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[ContextResult, ...]
    user_information: UserInformation = UserInformation()
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class AAssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4). `reason` is of `REJECT_REASONS[source]`; plain numbers, as a peer sent them."""

    result: int
    source: int
    reason: int

    def __str__(self) -> str:
        """The standard's words, for example "rejected-transient, local-limit-exceeded"."""
        try:
            reason = REJECT_REASONS[RejectSource(self.source)](self.reason).name
            words = f"{RejectResult(self.result).name}, {RejectSource(self.source).name}, {reason}"
        except ValueError:
            return f"result {self.result}, source {self.source}, reason {self.reason}"
        return words.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Pdv:
    """Presentation Data Value (PS3.8 9.3.5.1, Annex E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class PDataTF:
    """P-DATA-TF (PS3.8 9.3.5). Only for sending and for tests: a received one is streamed as `PdvFragment`s."""

    pdvs: tuple[Pdv, ...]


@dataclass(frozen=True, slots=True)
class AReleaseRQ:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""


@dataclass(frozen=True, slots=True)
class AReleaseRP:
    """A-RELEASE-RP (PS3.8 9.3.7)."""


@dataclass(frozen=True, slots=True)
class AAbort:
    """A-ABORT (PS3.8 9.3.8). Plain numbers, as a peer may send others than the standard lists."""

    source: int = AbortSource.SERVICE_USER
    reason: int = AbortReason.REASON_NOT_SPECIFIED

    def __str__(self) -> str:
        """The standard's words, for example "service-provider, unexpected-pdu"."""
        try:
            source = AbortSource(self.source)
            words = source.name
            if source is AbortSource.SERVICE_PROVIDER:
                words += f", {AbortReason(self.reason).name}"
        except ValueError:
            return f"source {self.source}, reason {self.reason}"
        return words.lower().replace("_", "-")


class PDataTFStart(NamedTuple):
    """The header of a P-DATA-TF PDU was read; its PDVs follow as fragments. Evt10 of PS3.8 Table 9-10."""

    length: int


class PdvFragment(NamedTuple):
    """Some consecutive bytes of one PDV, as they arrived. A NamedTuple because it is made on the hot path."""

    context_id: int
    is_command: bool
    is_last: bool  # of the PDV: it ends its command or data set, once `remaining` is 0
    data: memoryview  # borrowed: valid until the decoder is given more bytes
    remaining: int  # bytes of this PDV still to come


Pdu = AAssociateRQ | AAssociateAC | AAssociateRJ | PDataTF | AReleaseRQ | AReleaseRP | AAbort
DecodedEvent = (
    AAssociateRQ | AAssociateAC | AAssociateRJ | PDataTFStart | PdvFragment | AReleaseRQ | AReleaseRP | AAbort
)
