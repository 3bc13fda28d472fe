"""What an answer to an association request looks like, whatever the policy (PS3.8 7.1.1, PS3.7 D.3.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.negotiation import (
    STORAGE_LEVEL_2,
    accept,
    accepted_contexts,
    answer_contexts,
    propose,
    rejection,
)
from dicom_adapter.dicom.pdu import (
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AcceptedContext,
    AsynchronousOperationsWindow,
    ContextResult,
    ContextResultReason,
    ProposedContext,
    RoleSelection,
    SopClassCommonExtended,
    SopClassExtended,
    UserIdentity,
    UserIdentityResponse,
    UserInformation,
)

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
RQ = AAssociateRQ("CALLED", "CALLING", propose([(CT, (EXPLICIT, IMPLICIT)), (MR, (IMPLICIT,))]))


def answer(user: UserInformation) -> UserInformation:
    ac = accept(
        replace(RQ, user_information=user),
        (),
        max_pdu_length=262144,
        implementation_class_uid="1.2.3",
        implementation_version_name="OURS",
        answer_extended=lambda item: STORAGE_LEVEL_2 if item.sop_class_uid == CT else None,
    )
    return ac.user_information


@pytest.mark.parametrize(
    ("rq", "rj"),
    [
        (RQ, None),
        (replace(RQ, protocol_version=0x0003), None),  # other bits are not tested
        (replace(RQ, protocol_version=0x0002), AAssociateRJ(1, 2, 2)),
        (replace(RQ, application_context_name="1.2.3"), AAssociateRJ(1, 1, 2)),
        (replace(RQ, application_context_name=""), AAssociateRJ(1, 1, 2)),
    ],
)
def test_rejection(rq: AAssociateRQ, rj: AAssociateRJ | None) -> None:
    assert rejection(rq) == rj


def test_every_proposed_context_gets_an_answer_in_its_order() -> None:
    def decide(context: ProposedContext) -> str | ContextResultReason:
        if context.abstract_syntax == CT:
            return context.transfer_syntaxes[0]
        return ContextResultReason.ABSTRACT_SYNTAX_NOT_SUPPORTED

    assert answer_contexts(RQ.presentation_contexts, decide) == (
        ContextResult(1, ContextResultReason.ACCEPTANCE, EXPLICIT),
        ContextResult(3, ContextResultReason.ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT),
    )


def test_accept_repeats_the_titles() -> None:
    results = answer_contexts(RQ.presentation_contexts, lambda context: context.transfer_syntaxes[0])
    ac = accept(RQ, results, max_pdu_length=1, implementation_class_uid="1.2.3", implementation_version_name="OURS")
    assert ac == AAssociateAC("CALLED", "CALLING", results, UserInformation(1, "1.2.3", "OURS"))


@pytest.mark.parametrize(
    ("proposed", "answered"),
    [
        (UserInformation(), {}),
        (
            UserInformation(asynchronous_operations_window=AsynchronousOperationsWindow(0, 0)),
            {"asynchronous_operations_window": AsynchronousOperationsWindow(1, 1)},
        ),
        (
            UserInformation(role_selections=(RoleSelection(CT, True, True), RoleSelection(MR, False, True))),
            {"role_selections": (RoleSelection(CT, True, False), RoleSelection(MR, False, False))},
        ),
        (  # only of what is proposed, and once: 1,092 of them fit into a request, and not into the answer
            UserInformation(
                role_selections=(
                    *(RoleSelection("1.2.3." + "4" * 40, True, False) for _ in range(1091)),
                    RoleSelection(CT, True, False),
                    RoleSelection(CT, False, True),
                )
            ),
            {"role_selections": (RoleSelection(CT, True, False),)},
        ),
        (
            UserInformation(sop_class_extended=(SopClassExtended(CT, b"\2"), SopClassExtended(MR, b"\2"))),
            {"sop_class_extended": (SopClassExtended(CT, STORAGE_LEVEL_2),)},
        ),
        (UserInformation(sop_class_common_extended=(SopClassCommonExtended(CT, "1.2"),)), {}),
        (UserInformation(user_identity=UserIdentity(1, False, b"user")), {}),
        (
            UserInformation(user_identity=UserIdentity(1, True, b"user")),
            {"user_identity_response": UserIdentityResponse()},
        ),
        (
            UserInformation(user_identity=UserIdentity(2, True, b"user", b"pass")),
            {"user_identity_response": UserIdentityResponse()},
        ),
        (UserInformation(user_identity=UserIdentity(3, True, b"ticket")), {}),
        (UserInformation(user_identity=UserIdentity(77, True, b"?")), {}),
    ],
)
def test_only_what_was_asked_is_answered(proposed: UserInformation, answered: dict[str, object]) -> None:
    ours = UserInformation(262144, "1.2.3", "OURS")
    assert answer(proposed) == replace(ours, **answered)  # type: ignore[arg-type]


def test_credentials_do_not_show() -> None:
    assert "secret" not in repr(UserIdentity(2, True, b"secret", b"secret"))


def test_propose_numbers_contexts_and_knows_the_limit() -> None:
    assert [context.id for context in propose([("1.2", ("1.3",))] * 128)] == list(range(1, 256, 2))
    with pytest.raises(ValueError, match="at most 128"):
        propose([("1.2", ("1.3",))] * 129)


def test_accepted_contexts() -> None:
    results = (
        ContextResult(1, ContextResultReason.ACCEPTANCE, IMPLICIT),
        ContextResult(3, ContextResultReason.NO_REASON, "nothing"),
    )
    assert accepted_contexts(RQ, results) == {1: AcceptedContext(1, CT, IMPLICIT)}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (ContextResult(5, ContextResultReason.ACCEPTANCE, IMPLICIT), "was not proposed"),
        (ContextResult(3, ContextResultReason.ACCEPTANCE, EXPLICIT), "transfer syntax that was not proposed"),
    ],
)
def test_an_answer_to_what_was_not_proposed(result: ContextResult, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        accepted_contexts(RQ, (result,))
