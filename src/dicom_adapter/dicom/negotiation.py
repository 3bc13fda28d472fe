"""Association negotiation for acceptor and requestor, as pure functions (PS3.8 7.1.1, PS3.7 Annex D.3.3).

Why functions: what is accepted is policy and comes from outside (`decide`); what an answer must look like is the
standard's, and stands here once for both roles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import (
    APPLICATION_CONTEXT_NAME,
    MAX_PRESENTATION_CONTEXTS,
    PROTOCOL_VERSION,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AcceptedContext,
    AsynchronousOperationsWindow,
    ContextResult,
    ContextResultReason,
    ProposedContext,
    RejectReasonAcse,
    RejectReasonUser,
    RejectResult,
    RejectSource,
    RoleSelection,
    SopClassExtended,
    UserIdentity,
    UserIdentityResponse,
    UserIdentityType,
    UserInformation,
)

Decide = Callable[[ProposedContext], str | ContextResultReason]
"""The policy of one presentation context: the transfer syntax to use, or why it is refused."""

AnswerExtended = Callable[[SopClassExtended], bytes | None]
"""The answer to a SOP Class Extended Negotiation: application information, or None for "not supported"."""

_Item = TypeVar("_Item", RoleSelection, SopClassExtended)

STORAGE_LEVEL_2 = bytes((2, 0, 2, 0, 0, 0))
"""Answer of a Storage SCP that keeps every attribute, keeps signatures and coerces nothing (PS3.4 Table B.3-1)."""


def rejection(rq: AAssociateRQ) -> AAssociateRJ | None:
    """What the service provider itself cannot accept, whatever the policy (PS3.8 Table 9-6, AE-6)."""
    if not rq.protocol_version & PROTOCOL_VERSION:
        return AAssociateRJ(
            RejectResult.REJECTED_PERMANENT,
            RejectSource.SERVICE_PROVIDER_ACSE,
            RejectReasonAcse.PROTOCOL_VERSION_NOT_SUPPORTED,
        )
    if rq.application_context_name != APPLICATION_CONTEXT_NAME:
        return AAssociateRJ(
            RejectResult.REJECTED_PERMANENT,
            RejectSource.SERVICE_USER,
            RejectReasonUser.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED,
        )
    return None


def answer_contexts(proposed: Iterable[ProposedContext], decide: Decide) -> tuple[ContextResult, ...]:
    """One result for every proposed context, in their order (PS3.8 9.3.3.2)."""
    results = []
    for context in proposed:
        decision = decide(context)
        if isinstance(decision, ContextResultReason):
            # Not significant when refused, yet the sub-item has to be there: some peers read it.
            results.append(ContextResult(context.id, decision, context.transfer_syntaxes[0]))
        else:
            results.append(ContextResult(context.id, ContextResultReason.ACCEPTANCE, decision))
    return tuple(results)


def accept(
    rq: AAssociateRQ,
    results: tuple[ContextResult, ...],
    *,
    max_pdu_length: int,
    implementation_class_uid: str,
    implementation_version_name: str,
    answer_extended: AnswerExtended = lambda item: None,
) -> AAssociateAC:
    """The A-ASSOCIATE-AC for a request: an answer to each negotiation that the peer asked for, and to no other."""
    user = rq.user_information
    return AAssociateAC(
        called_ae_title=rq.called_ae_title,
        calling_ae_title=rq.calling_ae_title,
        presentation_contexts=results,
        user_information=UserInformation(
            max_pdu_length=max_pdu_length,
            implementation_class_uid=implementation_class_uid,
            implementation_version_name=implementation_version_name,
            # PS3.7 D.3.3.3: we are synchronous only.
            asynchronous_operations_window=user.asynchronous_operations_window and AsynchronousOperationsWindow(1, 1),
            role_selections=tuple(map(_answer_role, _of_proposed(rq, user.role_selections))),
            sop_class_extended=tuple(
                SopClassExtended(item.sop_class_uid, answer)
                for item in _of_proposed(rq, user.sop_class_extended)
                if (answer := answer_extended(item)) is not None
            ),
            # Common extended negotiation has no answer (PS3.7 D.3.3.6).
            user_identity_response=_answer_identity(user.user_identity),
        ),
    )


def _of_proposed(rq: AAssociateRQ, items: Iterable[_Item]) -> Iterator[_Item]:
    """Those of the SOP Classes that are proposed, one of each (PS3.7 D.3.3.4, D.3.3.5): an answer to whatever else a
    peer adds might not fit into the user information."""
    unanswered = {context.abstract_syntax for context in rq.presentation_contexts}
    for item in items:
        if item.sop_class_uid in unanswered:
            unanswered.discard(item.sop_class_uid)
            yield item


def _answer_role(proposed: RoleSelection) -> RoleSelection:
    """The acceptor is SCP only: the requestor may be SCU, never SCP (PS3.7 D.3.3.4)."""
    return RoleSelection(proposed.sop_class_uid, scu_role=proposed.scu_role, scp_role=False)


def _answer_identity(identity: UserIdentity | None) -> UserIdentityResponse | None:
    """A positive response to a user name is empty; to a ticket it would need that service (PS3.7 D.3.3.7.2)."""
    if identity is None or not identity.positive_response_requested:
        return None
    known = identity.type in (UserIdentityType.USERNAME, UserIdentityType.USERNAME_AND_PASSCODE)
    return UserIdentityResponse() if known else None


def propose(pairs: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[ProposedContext, ...]:
    """Presentation contexts with the ids 1, 3, 5... for (abstract syntax, transfer syntaxes) pairs.

    Raises ValueError for more than 128, the most that one association can hold.
    """
    contexts = tuple(
        ProposedContext(2 * index + 1, abstract_syntax, transfer_syntaxes)
        for index, (abstract_syntax, transfer_syntaxes) in enumerate(pairs)
    )
    if len(contexts) > MAX_PRESENTATION_CONTEXTS:
        raise ValueError(f"{len(contexts)} presentation contexts; at most 128 are allowed (PS3.8 9.3.2.2)")
    return contexts


def accepted_contexts(rq: AAssociateRQ, results: Iterable[ContextResult]) -> Mapping[int, AcceptedContext]:
    """The contexts both sides agreed on, by id. Raises RemoteProtocolError for an answer to what was not proposed."""
    proposed = {context.id: context for context in rq.presentation_contexts}
    accepted = {}
    for result in results:
        context = proposed.get(result.id)
        if context is None:
            raise RemoteProtocolError(f"presentation context {result.id} is answered but was not proposed")
        if result.result is not ContextResultReason.ACCEPTANCE:
            continue
        if result.transfer_syntax not in context.transfer_syntaxes:
            raise RemoteProtocolError(
                f"presentation context {result.id} is accepted with a transfer syntax that was not proposed"
            )
        accepted[result.id] = AcceptedContext(result.id, context.abstract_syntax, result.transfer_syntax)
    return accepted
