"""Who may open an association, and with which presentation contexts: one pure decision, in the standard's words.

Why here: the answer depends on the request, the peer's address, the configuration and two facts about load, and on
nothing else; so it is a function that tests can call with a table.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from dataclasses import dataclass

from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot, ScpPolicy
from dicom_adapter.dicom.pdu import (
    AAssociateRJ,
    AAssociateRQ,
    ContextResult,
    ContextResultReason,
    ProposedContext,
    RejectReasonPresentation,
    RejectReasonUser,
    RejectResult,
    RejectSource,
)
from dicom_adapter.dicom.uid import VERIFICATION, is_storage_sop_class, is_valid_uid

AddressesOf = Callable[[str], Collection[str]]
"""The addresses a host name is known to have; asked only for what is no IP address itself."""


@dataclass(frozen=True, slots=True)
class Accept:
    """A-ASSOCIATE-AC: for which of our AE Titles, and the answer to each presentation context in its order."""

    ae_title: ClaraAeTitle
    contexts: tuple[ContextResult, ...]


@dataclass(frozen=True, slots=True)
class Reject:
    """A-ASSOCIATE-RJ with the reason a person needs: who called from where, and what to change."""

    answer: AAssociateRJ
    words: str


def decide(
    rq: AAssociateRQ,
    peer_host: str,
    snapshot: ConfigSnapshot,
    addresses_of: AddressesOf,
    *,
    open_associations: int,
    below_watermark: bool,
) -> Accept | Reject:
    """The answer to an A-ASSOCIATE-RQ that the service provider itself let pass (`dicom.negotiation.rejection`).

    `open_associations`: how many are open, this one not among them. `below_watermark`: no space for more instances.
    The permanent reasons come before the transient ones, so that a peer that may never send is not told to try again.
    """
    peer = f"AE '{rq.calling_ae_title}' at {peer_host}"
    unknown = _why_unknown(rq.calling_ae_title, peer_host, snapshot, addresses_of)
    if unknown:
        return _rejected_by_user(RejectReasonUser.CALLING_AE_TITLE_NOT_RECOGNIZED, f"{peer} {unknown}")
    ae_title = snapshot.ae_titles.get(rq.called_ae_title)
    if ae_title is None:
        ours = ", ".join(sorted(snapshot.ae_titles)) or "none"
        return _rejected_by_user(
            RejectReasonUser.CALLED_AE_TITLE_NOT_RECOGNIZED,
            f"{peer} called '{rq.called_ae_title}', which is none of our AE Titles ({ours}; case matters); "
            "correct the called AE Title at the sender, or add it (dicom.scp.ae-titles, or "
            "`clara dicom create aetitle`)",
        )
    limit = snapshot.scp.max_associations
    if open_associations >= limit:
        return _rejected_for_now(
            RejectReasonPresentation.LOCAL_LIMIT_EXCEEDED,
            f"{peer} would be association {open_associations + 1} of at most {limit}; "
            "it may try again later, or raise dicom.scp.max-associations",
        )
    if below_watermark:
        return _rejected_for_now(
            RejectReasonPresentation.TEMPORARY_CONGESTION,
            f"{peer} was refused because the storage folder has too little free space; free some, "
            "it is accepted again by itself",
        )
    return Accept(ae_title, tuple(_answer(context, snapshot.scp) for context in rq.presentation_contexts))


def unacceptable(rq: AAssociateRQ, answer: AAssociateRJ, peer_host: str) -> Reject:
    """The words for a request that the service provider itself rejected (`dicom.negotiation.rejection`)."""
    peer = f"AE '{rq.calling_ae_title}' at {peer_host} called '{rq.called_ae_title}' and"
    if answer.source is RejectSource.SERVICE_PROVIDER_ACSE:
        what = f"offers no version of the protocol that we know (bits {rq.protocol_version:04X}H, bit 0 is DICOM's)"
    else:
        what = f"names the application context '{rq.application_context_name[:64]}', which is not DICOM's"
    return Reject(answer, f"{peer} {what}; whatever calls from there is not set up to speak DICOM")


def same_host(configured: str, peer_host: str, addresses_of: AddressesOf) -> bool:
    """Whether `configured`, an IP address or a name, is the peer's address. ::ffff:192.0.2.1 equals 192.0.2.1."""
    peer = _address(peer_host)
    literal = _address(configured)
    if literal is not None:
        return literal == peer
    return peer is not None and any(_address(address) == peer for address in addresses_of(configured))


def is_address(text: str) -> bool:
    """Whether a configured host is an IP address, so that nothing has to be looked up."""
    return _address(text) is not None


def _why_unknown(calling: str, peer_host: str, snapshot: ConfigSnapshot, addresses_of: AddressesOf) -> str | None:
    if not snapshot.scp.reject_unknown_sources:
        return None
    hosts = [source.host for source in snapshot.sources if source.ae_title.casefold() == calling.casefold()]
    if not hosts:
        return (
            "is not among the sources; add it (dicom.scp.sources, or `clara dicom create source`), "
            "or set dicom.scp.reject-unknown-sources: false"
        )
    if not snapshot.scp.check_source_host or any(same_host(host, peer_host, addresses_of) for host in hosts):
        return None
    return (
        f"is a source that must call from {' or '.join(hosts)}; correct its host-ip (in dicom.scp.sources, or by "
        "`clara dicom delete source` and `create source`), "
        "or set dicom.scp.check-source-host: false where addresses are translated"
    )


def _answer(context: ProposedContext, policy: ScpPolicy) -> ContextResult:
    proposed = context.transfer_syntaxes
    if context.abstract_syntax == VERIFICATION and policy.verification_enabled:
        for transfer_syntax in proposed:
            if transfer_syntax in policy.verification_transfer_syntaxes:
                return ContextResult(context.id, ContextResultReason.ACCEPTANCE, transfer_syntax)
        reason = ContextResultReason.TRANSFER_SYNTAXES_NOT_SUPPORTED
    elif not (is_valid_uid(context.abstract_syntax) and is_storage_sop_class(context.abstract_syntax)):
        reason = ContextResultReason.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif usable := next(filter(is_valid_uid, proposed), None):  # the file has to name it (PS3.10 7.1)
        return ContextResult(context.id, ContextResultReason.ACCEPTANCE, usable)
    else:
        reason = ContextResultReason.TRANSFER_SYNTAXES_NOT_SUPPORTED
    # Not significant, but readers expect a transfer syntax item (PS3.8 9.3.3.2).
    return ContextResult(context.id, reason, proposed[0] if proposed else "1.2.840.10008.1.2")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])  # a link-local peer carries its interface: fe80::1%eth0
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _rejected_by_user(reason: RejectReasonUser, words: str) -> Reject:
    return Reject(AAssociateRJ(RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_USER, reason), words)


def _rejected_for_now(reason: RejectReasonPresentation, words: str) -> Reject:
    answer = AAssociateRJ(RejectResult.REJECTED_TRANSIENT, RejectSource.SERVICE_PROVIDER_PRESENTATION, reason)
    return Reject(answer, words)
