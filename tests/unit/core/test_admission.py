"""Who may associate with us: contract 5.1 as a table, with the standard's result, source and reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from dicom_adapter.core.admission import Accept, Reject, decide, same_host
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot, ScpPolicy, Source
from dicom_adapter.dicom.pdu import AAssociateRJ, AAssociateRQ, ContextResult, ContextResultReason, ProposedContext

VERIFICATION, CT, PRIVATE = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.3.12.2.1107.5.9.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"

SNAPSHOT = ConfigSnapshot(
    ae_titles={title: ClaraAeTitle(title.lower(), title) for title in ("BRAIN", "Lung")},
    sources=(Source("CT01", "192.0.2.1"), Source("CT01", "2001:db8::1"), Source("PACS", "pacs.example")),
)


def addresses_of(name: str) -> Collection[str]:
    return {"pacs.example": {"192.0.2.7", "2001:db8::7"}}.get(name, ())


def request(calling: str = "CT01", called: str = "BRAIN", *contexts: ProposedContext) -> AAssociateRQ:
    return AAssociateRQ(called, calling, contexts or (ProposedContext(1, CT, (JPEG, IMPLICIT)),))


CALLING, CALLED = (1, 1, 3), (1, 1, 7)
LIMIT, CONGESTION = (2, 3, 2), (2, 3, 1)
UNLIMITED = ScpPolicy(reject_unknown_sources=False)
ANY_HOST = ScpPolicy(check_source_host=False)

TABLE: list[tuple[str, str, str, ScpPolicy, int, bool, tuple[int, int, int] | None]] = [
    # calling, called, peer, policy, open associations, below watermark, rejected with
    ("CT01", "BRAIN", "192.0.2.1", ScpPolicy(), 0, False, None),
    ("ct01", "BRAIN", "192.0.2.1", ScpPolicy(), 0, False, None),  # calling: without case
    ("CT01", "Lung", "192.0.2.1", ScpPolicy(), 0, False, None),
    ("CT01", "BRAIN", "::ffff:192.0.2.1", ScpPolicy(), 0, False, None),  # dual-stack socket
    ("CT01", "BRAIN", "2001:DB8:0::1", ScpPolicy(), 0, False, None),
    ("PACS", "BRAIN", "192.0.2.7", ScpPolicy(), 0, False, None),  # by name
    ("PACS", "BRAIN", "192.0.2.8", ScpPolicy(), 0, False, CALLING),
    ("CT01", "BRAIN", "192.0.2.2", ScpPolicy(), 0, False, CALLING),
    ("CT01", "BRAIN", "192.0.2.2", ANY_HOST, 0, False, None),
    ("CT02", "BRAIN", "192.0.2.1", ANY_HOST, 0, False, CALLING),
    ("CT02", "BRAIN", "192.0.2.1", ScpPolicy(), 0, False, CALLING),
    ("", "BRAIN", "192.0.2.1", ScpPolicy(), 0, False, CALLING),
    ("", "BRAIN", "192.0.2.1", UNLIMITED, 0, False, None),
    ("CT02", "BRAIN", "198.51.100.1", UNLIMITED, 0, False, None),
    ("CT02", "SPINE", "198.51.100.1", UNLIMITED, 0, False, CALLED),
    ("CT01", "brain", "192.0.2.1", ScpPolicy(), 0, False, CALLED),  # called: exact
    ("CT01", "LUNG", "192.0.2.1", ScpPolicy(), 0, False, CALLED),
    ("CT01", "", "192.0.2.1", ScpPolicy(), 0, False, CALLED),
    ("CT02", "SPINE", "192.0.2.1", ScpPolicy(), 2, True, CALLING),  # the first of several reasons
    ("CT01", "SPINE", "192.0.2.1", ScpPolicy(), 2, True, CALLED),
    ("CT01", "BRAIN", "192.0.2.1", ScpPolicy(), 2, True, LIMIT),
    ("CT01", "BRAIN", "192.0.2.1", ScpPolicy(), 1, False, None),
    ("CT01", "BRAIN", "192.0.2.1", ScpPolicy(), 2, False, LIMIT),
    ("CT01", "BRAIN", "192.0.2.1", ScpPolicy(max_associations=3), 2, False, None),
    ("CT01", "BRAIN", "192.0.2.1", ScpPolicy(), 0, True, CONGESTION),
]


@pytest.mark.parametrize(("calling", "called", "peer", "policy", "associations", "full", "rejected"), TABLE)
def test_decision(
    calling: str,
    called: str,
    peer: str,
    policy: ScpPolicy,
    associations: int,
    full: bool,
    rejected: tuple[int, int, int] | None,
) -> None:
    decision = decide(
        request(calling, called),
        peer,
        replace(SNAPSHOT, scp=policy),
        addresses_of,
        open_associations=associations,
        below_watermark=full,
    )
    if rejected is None:
        assert isinstance(decision, Accept)
        assert decision.ae_title.ae_title == called
        assert decision.contexts == (ContextResult(1, ContextResultReason.ACCEPTANCE, JPEG),)
    else:
        assert isinstance(decision, Reject)
        assert decision.answer == AAssociateRJ(*rejected)
        assert f"AE '{calling}' at {peer}" in decision.words  # who, and from where


@pytest.mark.parametrize(
    ("calling", "called", "snapshot", "words"),
    [
        ("CT02", "BRAIN", SNAPSHOT, "add it (dicom.scp.sources, or `clara dicom create source`)"),
        ("PACS", "BRAIN", SNAPSHOT, "must call from pacs.example; correct its host-ip"),
        ("CT01", "brain", SNAPSHOT, "none of our AE Titles (BRAIN, Lung; case matters)"),
        ("CT01", "brain", SNAPSHOT, "or add it (dicom.scp.ae-titles, or `clara dicom create aetitle`)"),
        ("CT01", "X", replace(SNAPSHOT, ae_titles={}), "none of our AE Titles (none;"),
    ],
)
def test_a_rejection_says_what_to_change(calling: str, called: str, snapshot: ConfigSnapshot, words: str) -> None:
    decision = decide(
        request(calling, called), "192.0.2.1", snapshot, addresses_of, open_associations=0, below_watermark=False
    )
    assert isinstance(decision, Reject)
    assert words in decision.words


ACCEPTANCE, NO_ABSTRACT, NO_TRANSFER = (
    ContextResultReason.ACCEPTANCE,
    ContextResultReason.ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ContextResultReason.TRANSFER_SYNTAXES_NOT_SUPPORTED,
)
NO_ECHO = ScpPolicy(verification_enabled=False)
ONLY_IMPLICIT = ScpPolicy(verification_transfer_syntaxes=(IMPLICIT,))


@pytest.mark.parametrize(
    ("abstract_syntax", "proposed", "policy", "result", "chosen"),
    [
        (CT, (JPEG, IMPLICIT), ScpPolicy(), ACCEPTANCE, JPEG),  # first proposed wins
        (CT, (IMPLICIT, JPEG), ScpPolicy(), ACCEPTANCE, IMPLICIT),
        (CT, ("1.2.3.4",), ScpPolicy(), ACCEPTANCE, "1.2.3.4"),  # private transfer syntax
        (PRIVATE, (EXPLICIT,), ScpPolicy(), ACCEPTANCE, EXPLICIT),
        (CT, ("", "1.2\n", "1" * 65, JPEG), ScpPolicy(), ACCEPTANCE, JPEG),  # the first that is a UID
        (CT, ("",), ScpPolicy(), NO_TRANSFER, ""),
        ("CT", (IMPLICIT,), ScpPolicy(), NO_ABSTRACT, IMPLICIT),
        (CT, (), ScpPolicy(), NO_TRANSFER, IMPLICIT),
        (FIND, (IMPLICIT,), ScpPolicy(), NO_ABSTRACT, IMPLICIT),
        (VERIFICATION, (JPEG, EXPLICIT, IMPLICIT), ScpPolicy(), ACCEPTANCE, EXPLICIT),
        (VERIFICATION, (EXPLICIT, IMPLICIT), ONLY_IMPLICIT, ACCEPTANCE, IMPLICIT),
        (VERIFICATION, (JPEG,), ScpPolicy(), NO_TRANSFER, JPEG),
        (VERIFICATION, (EXPLICIT,), ONLY_IMPLICIT, NO_TRANSFER, EXPLICIT),
        (VERIFICATION, (IMPLICIT,), NO_ECHO, NO_ABSTRACT, IMPLICIT),
    ],
)
def test_presentation_context(
    abstract_syntax: str, proposed: tuple[str, ...], policy: ScpPolicy, result: ContextResultReason, chosen: str
) -> None:
    decision = decide(
        request("CT01", "BRAIN", ProposedContext(7, abstract_syntax, proposed)),
        "192.0.2.1",
        replace(SNAPSHOT, scp=policy),
        addresses_of,
        open_associations=0,
        below_watermark=False,
    )
    assert isinstance(decision, Accept)
    assert decision.contexts == (ContextResult(7, result, chosen),)


def test_an_association_without_an_accepted_context_is_still_accepted_and_keeps_the_order() -> None:
    contexts = tuple(ProposedContext(2 * n + 1, FIND, (IMPLICIT,)) for n in range(128))
    decision = decide(
        request("CT01", "BRAIN", *contexts),
        "192.0.2.1",
        SNAPSHOT,
        addresses_of,
        open_associations=0,
        below_watermark=False,
    )
    assert isinstance(decision, Accept)
    assert [result.id for result in decision.contexts] == [context.id for context in contexts]


def test_an_ignored_sop_class_is_accepted_as_a_context() -> None:
    snapshot = replace(SNAPSHOT, ae_titles={"BRAIN": ClaraAeTitle("b", "BRAIN", ignored_sop_classes=frozenset({CT}))})
    decision = decide(request(), "192.0.2.1", snapshot, addresses_of, open_associations=0, below_watermark=False)
    assert isinstance(decision, Accept)
    assert decision.contexts[0].result is ACCEPTANCE


@pytest.mark.parametrize(
    ("configured", "peer", "same"),
    [
        ("fe80::1", "fe80::1%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "not an address", False),
        ("pacs.example", "not an address", False),
        ("unknown.example", "192.0.2.7", False),
        ("pacs.example", "2001:db8:0:0::7", True),
    ],
)
def test_same_host(configured: str, peer: str, same: bool) -> None:
    assert same_host(configured, peer, addresses_of) is same
