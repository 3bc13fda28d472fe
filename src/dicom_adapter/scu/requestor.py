"""Opening an association as requestor: to which address, with which contexts, and what a refusal means in words.

Why here: C-ECHO and C-STORE begin and fail in the same ways, and a person wants to read the same sentences.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from dicom_adapter.core.destination_policy import refusal
from dicom_adapter.dicom.negotiation import propose
from dicom_adapter.dicom.pdu import (
    AAssociateRJ,
    AAssociateRQ,
    AsynchronousOperationsWindow,
    ProposedContext,
    RejectReasonUser,
    RejectResult,
    RejectSource,
    UserInformation,
)
from dicom_adapter.net.connection import AssociationEnded, ConnectFailed, Connection, PduLog, Timeouts

DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class RequestorSettings:
    """How we call. `own_port`: that our SCP listens on, never called; None when there is none."""

    ae_title: str
    implementation_class_uid: str
    implementation_version_name: str
    max_pdu_length: int = 262_144  # bytes
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    pdu_log: PduLog | None = None
    own_port: int | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom we call."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


class NotAllowed(AssociationEnded):
    """Our own policy keeps us from calling this address (`core.destination_policy`)."""


def propose_each(pairs: list[tuple[str, str]]) -> tuple[ProposedContext, ...]:
    """One presentation context for each (SOP Class, transfer syntax): what is stored is what is offered."""
    return propose((sop_class, (transfer_syntax,)) for sop_class, transfer_syntax in pairs)


def associate(settings: RequestorSettings, peer: Peer, contexts: tuple[ProposedContext, ...]) -> Connection:
    """Open an association. Raises NotAllowed, ConnectFailed, AssociationRejected or AssociationEnded."""
    rq = AAssociateRQ(
        called_ae_title=peer.ae_title,
        calling_ae_title=settings.ae_title,
        presentation_contexts=contexts,
        user_information=UserInformation(
            max_pdu_length=settings.max_pdu_length,
            implementation_class_uid=settings.implementation_class_uid,
            implementation_version_name=settings.implementation_version_name,
            asynchronous_operations_window=AsynchronousOperationsWindow(1, 1),
        ),
    )
    failure: ConnectFailed | None = None
    for address in _addresses(peer, settings.own_port):
        try:
            return Connection.request(
                address,
                peer.port,
                rq,
                max_pdu_length=settings.max_pdu_length,
                timeouts=settings.timeouts,
                pdu_log=settings.pdu_log,
            )
        except ConnectFailed as failed:
            failure = failed
    raise failure or ConnectFailed(f"the name {peer.host} has no address: correct it, or ask who runs the name server")


def _addresses(peer: Peer, own_port: int | None) -> list[str]:
    """The addresses of a peer, each one allowed. What was checked is connected to, whatever the name says next."""
    try:
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        words = refusal(address, peer.port, is_own_address=_is_own(address), own_port=own_port)
        if words:
            raise NotAllowed(words, by_peer=False)
    return addresses


def _is_own(address: str) -> bool:
    """Whether an address is one of this machine's: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False


def is_transient(rj: AAssociateRJ) -> bool:
    """Whether the peer said that it may accept later."""
    return rj.result == RejectResult.REJECTED_TRANSIENT


_ADVICE = {
    RejectReasonUser.CALLING_AE_TITLE_NOT_RECOGNIZED: "add the calling AE Title {calling} there",
    RejectReasonUser.CALLED_AE_TITLE_NOT_RECOGNIZED: "it is not called {called}; correct the destination",
}


def rejection_in_words(rj: AAssociateRJ, calling: str, called: str) -> str:
    """Why the peer rejected us, and what to change."""
    if rj.source == RejectSource.SERVICE_USER and rj.reason in _ADVICE:
        advice = _ADVICE[RejectReasonUser(rj.reason)].format(calling=calling, called=called)
        return f"the peer rejected the association ({rj}): {advice}"
    later = "; it may accept later" if is_transient(rj) else ""
    return f"the peer rejected the association ({rj}){later}"
