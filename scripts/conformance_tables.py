"""The tables of docs/conformance-statement.md, made by asking the code: `python -m scripts.conformance_tables`.

Each table stands between `<!-- table: NAME -->` and `<!-- end -->`; what is between them is replaced. Why asked, and
not listed: the table of rejections is what `core.admission` answers to requests made here, so it cannot say anything
else than the adapter does. A test compares the document with a fresh one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import IntEnum
from pathlib import Path

from dicom_adapter.config.reference import keys
from dicom_adapter.config.schema import Settings
from dicom_adapter.core.admission import Accept, Reject, decide
from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.export_policy import WarningPolicy, is_delivered
from dicom_adapter.core.model import DeliveryState
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot, ScpPolicy, Source
from dicom_adapter.dicom import negotiation
from dicom_adapter.dicom.pdu import (
    APPLICATION_CONTEXT_NAME,
    REJECT_REASONS,
    AAssociateRJ,
    AAssociateRQ,
    AsynchronousOperationsWindow,
    ContextResultReason,
    ProposedContext,
    RejectResult,
    RejectSource,
    UserInformation,
)
from dicom_adapter.dicom.status import Category, Status, category, words
from dicom_adapter.dicom.uid import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
    is_storage_sop_class,
    name_of,
)
from dicom_adapter.dicom.uid_registry import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_adapter.scp.service import Refusal, answer_to
from dicom_adapter.scu import verification as verification_scu

DOCUMENT = Path(__file__).parents[1] / "docs" / "conformance-statement.md"

_CT = "1.2.840.10008.5.1.4.1.1.2"
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_LOSSLESS = "1.2.840.10008.1.2.4.70"
_DEFAULTS = Settings()
_KNOWN = ConfigSnapshot(
    ae_titles={"BRAIN": ClaraAeTitle("brain", "BRAIN")},
    sources=(Source("CT01", "192.0.2.7"),),
    scp=ScpPolicy(max_associations=_DEFAULTS.dicom.scp.max_associations),
)


def rewritten(text: str) -> str:
    """The document with every table made anew. Raises KeyError for a name that is no table."""
    return re.sub(
        r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# --- services and syntaxes ------------------------------------------------------------------------------------------


def _services() -> str:
    storage = f"{len(STORAGE_SOP_CLASSES)} registered SOP Classes, private and future ones"
    return _table(
        ("SOP Class", "SOP Class UID", "User of service (SCU)", "Provider of service (SCP)"),
        [
            ("Storage Service Class", storage, "Yes", "Yes" if is_storage_sop_class(_CT) else "No"),
            (name_of(VERIFICATION), VERIFICATION, "Yes", "Yes, option"),
        ],
    )


def _storage_sop_classes() -> str:
    return _table(("SOP Class name", "SOP Class UID"), ((name, uid) for uid, name in STORAGE_SOP_CLASSES.items()))


def _transfer_syntaxes() -> str:
    return _table(("Transfer syntax", "UID"), ((name, uid) for uid, name in TRANSFER_SYNTAXES.items()))


def _verification_scp() -> str:
    accepted = _DEFAULTS.dicom.scp.verification.transfer_syntaxes
    return _table(("Transfer syntax", "UID"), ((name_of(uid), uid) for uid in accepted))


def _verification_scu() -> str:
    (context,) = verification_scu.CONTEXTS
    return _table(("Transfer syntax", "UID"), ((name_of(uid), uid) for uid in context.transfer_syntaxes))


# --- association policies -------------------------------------------------------------------------------------------


def _request(calling: str = "CT01", called: str = "BRAIN", *contexts: tuple[str, tuple[str, ...]]) -> AAssociateRQ:
    proposed = negotiation.propose(contexts or ((_CT, (EXPLICIT_VR_LITTLE_ENDIAN,)),))
    return AAssociateRQ(called, calling, proposed, UserInformation(implementation_class_uid="1.2.3"))


def _answer(
    rq: AAssociateRQ,
    host: str = "192.0.2.7",
    *,
    open_associations: int = 0,
    below_watermark: bool = False,
    verification: bool = True,
) -> Accept | Reject:
    snapshot = replace(_KNOWN, scp=replace(_KNOWN.scp, verification_enabled=verification))
    return decide(
        rq, host, snapshot, lambda _name: (), open_associations=open_associations, below_watermark=below_watermark
    )


def _rejections() -> str:
    rq = _request()
    limit = _KNOWN.scp.max_associations
    other_application = replace(rq, application_context_name="1.2.3")
    rows: list[tuple[str, AAssociateRJ | Accept | Reject | None]] = [
        ("Protocol version without bit 0", negotiation.rejection(replace(rq, protocol_version=2))),
        (f"Application context other than {APPLICATION_CONTEXT_NAME}", negotiation.rejection(other_application)),
        (
            "`reject-unknown-sources`, and the calling AE Title is not among the sources",
            _answer(_request("OTHER")),
        ),
        (
            "`check-source-host`, and the calling AE Title is a source that calls from elsewhere",
            _answer(rq, "192.0.2.8"),
        ),
        ("The called AE Title is none of ours (upper and lower case differ)", _answer(_request("CT01", "brain"))),
        ("`max-associations` are open", _answer(rq, open_associations=limit)),
        (
            "Less free space than `watermark-percent` and `reserve-space` demand",
            _answer(rq, below_watermark=True),
        ),
    ]
    return _table(
        ("Condition, in this order", "Result", "Source", "Reason/Diag."),
        ((why, *_in_words(answer)) for why, answer in rows),
    )


def _in_words(answer: AAssociateRJ | Accept | Reject | None) -> tuple[str, str, str]:
    if answer is None or isinstance(answer, Accept):
        raise AssertionError("a request of this table is not rejected any more: correct the document and its rows")
    rj = answer.answer if isinstance(answer, Reject) else answer
    source = RejectSource(rj.source)
    return _named(RejectResult(rj.result)), _named(source), _named(REJECT_REASONS[source](rj.reason))


def _named(value: IntEnum) -> str:
    """2 (local-limit-exceeded)"""
    return f"{int(value)} ({value.name.lower().replace('_', '-')})"


def _presentation_contexts() -> str:
    def answered(abstract: str, *transfer: str, verification: bool = True) -> str:
        found = _answer(_request("CT01", "BRAIN", (abstract, transfer)), verification=verification)
        if isinstance(found, Reject):
            raise AssertionError(found.words)
        (result,) = found.contexts
        reason = ContextResultReason(result.result)
        took = f" with {name_of(result.transfer_syntax)}" if reason is ContextResultReason.ACCEPTANCE else ""
        return f"{_named(reason)}{took}"

    private = "1.2.826.0.1.3680043.99.1"
    lossless, implicit, explicit = _LOSSLESS, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
    rows = [
        (f"{name_of(_CT)}: {name_of(lossless)}, {name_of(implicit)}", answered(_CT, lossless, implicit)),
        (f"A private SOP Class: a private transfer syntax, {name_of(explicit)}", answered(private, private, explicit)),
        (f"{name_of(_FIND)}: {name_of(implicit)}", answered(_FIND, implicit)),
        (f"Verification: {name_of(implicit)}, {name_of(explicit)}", answered(VERIFICATION, implicit, explicit)),
        (f"Verification: {name_of(lossless)}", answered(VERIFICATION, lossless)),
        (f"Verification, disabled: {name_of(implicit)}", answered(VERIFICATION, implicit, verification=False)),
    ]
    return _table(("Proposed abstract syntax: transfer syntaxes, in this order", "Result/Reason"), rows)


def _implementation() -> str:
    found = _DEFAULTS.dicom.implementation
    return _table(
        ("", "Default", "Key"),
        [
            ("Implementation Class UID", found.class_uid, "`dicom.implementation.class-uid`"),
            ("Implementation Version Name", found.version_name, "`dicom.implementation.version-name`"),
        ],
    )


def _policies(role: str) -> Callable[[], str]:
    def table() -> str:
        section = _DEFAULTS.dicom.scp if role == "scp" else _DEFAULTS.dicom.scu
        allowed = {key.path: key.allowed for key in keys()}
        rows: list[tuple[str, object]] = [
            ("Application context", APPLICATION_CONTEXT_NAME),
            (
                "Associations at once",
                f"{section.max_associations} by default; {allowed[f'dicom.{role}.max-associations']}",
            ),
            ("Outstanding operations", f"{_operations_window()} (asynchronous operations are not supported)"),
            (
                "Maximum PDU length, announced and enforced",
                f"{_DEFAULTS.dicom.max_pdu_length} by default; {allowed['dicom.max-pdu-length']}",
            ),
        ]
        scp, scu = _DEFAULTS.dicom.scp, _DEFAULTS.dicom.scu
        if role == "scp":
            rows += [
                ("ARTIM timer", f"{scp.artim_timeout:g} s"),
                ("Longest time for one whole PDU", f"{scp.idle_timeout:g} s, then A-ABORT"),
                ("Longest time for the peer to take what is sent", f"{scp.write_timeout:g} s, then A-ABORT"),
            ]
        else:
            rows += [
                ("Longest time for the TCP connection", f"{scu.connect_timeout:g} s"),
                ("Longest time for a response", f"{scu.response_timeout:g} s, then A-ABORT"),
            ]
        return _table(("Policy", "Value"), rows)

    return table


def _operations_window() -> int:
    window = AsynchronousOperationsWindow(0, 0)  # a peer that would take any number
    user = UserInformation(implementation_class_uid="1.2.3", asynchronous_operations_window=window)
    answer = negotiation.accept(
        AAssociateRQ("BRAIN", "CT01", (ProposedContext(1, _CT, (EXPLICIT_VR_LITTLE_ENDIAN,)),), user),
        (),
        max_pdu_length=16_384,
        implementation_class_uid="1.2.3",
        implementation_version_name="",
    ).user_information.asynchronous_operations_window
    if answer is None or answer.invoked != answer.performed:
        raise AssertionError("the operations window is answered otherwise now: correct the document")
    return answer.invoked


# --- statuses -------------------------------------------------------------------------------------------------------


def _scp_statuses() -> str:
    refusals = {refusal.status: refusal.__doc__ or "" for refusal in Refusal.__subclasses__()}
    no_space, _ = answer_to(OutOfResources("no space"))
    a_bug, _ = answer_to(RuntimeError("a bug"))
    meanings = {
        **refusals,
        Status.SUCCESS: "The instance is in the adapter's custody (`storage.durability`), or its SOP Class is in"
        " `ignored-sop-classes` and it was not stored, or a C-ECHO was answered.",
        no_space: "No space, quota, or a disk that does not take what is written or synced. The association lives on,"
        " and the next instance may succeed.",
        a_bug: "A fault of our own; its number is in the Error Comment and in the log.",
    }
    missing = set(Status) - meanings.keys()
    if missing:
        raise AssertionError(f"statuses that nothing here explains: {missing}")
    return _table(
        ("Status", "Service status", "When"),
        ((words(code), category(code).value, " ".join(meanings[code].split())) for code in sorted(Status)),
    )


# What peers answer to a C-STORE (PS3.4 Table B.2-1, PS3.7 9.1.1.1.9), and one that no table knows.
_ANSWERS = (0x0000, 0xB000, 0xB006, 0xB007, 0xA700, 0xA900, 0xC000, 0x0110, 0x0117, 0x0122, 0x0124, 0x0210, 0x0211)
_STATES = {Category.SUCCESS: DeliveryState.DELIVERED, Category.WARNING: DeliveryState.WARNING}


def _scu_statuses() -> str:
    def behaviour(code: int) -> str:
        state = _STATES.get(category(code), DeliveryState.FAILED)
        default = WarningPolicy(_DEFAULTS.dicom.scu.warnings)
        if state is DeliveryState.WARNING and is_delivered(state, default):
            return "The file counts as sent, and the warning is kept; `scu.warnings: failure` lets it count as failed."
        return "The file counts as sent." if is_delivered(state, default) else "The file failed; see the verdict below."

    rows = [(words(code), category(code).value, behaviour(code)) for code in _ANSWERS]
    unknown = ("any other", category(0x7777).value, behaviour(0x7777))
    return _table(("Status", "Service status", "Behaviour"), [*rows, unknown])


# --- configuration --------------------------------------------------------------------------------------------------


def _parameters() -> str:
    shown = (key for key in keys() if key.path.startswith("dicom.") and not key.path.endswith(("-phi", "-datasets")))
    return _table(("Parameter", "Default", "Allowed"), ((f"`{key.path}`", key.default, key.allowed) for key in shown))


TABLES: dict[str, Callable[[], str]] = {
    "services": _services,
    "storage-sop-classes": _storage_sop_classes,
    "transfer-syntaxes": _transfer_syntaxes,
    "verification-scp": _verification_scp,
    "verification-scu": _verification_scu,
    "rejections": _rejections,
    "presentation-contexts": _presentation_contexts,
    "implementation": _implementation,
    "scp-policies": _policies("scp"),
    "scu-policies": _policies("scu"),
    "scp-statuses": _scp_statuses,
    "scu-statuses": _scu_statuses,
    "parameters": _parameters,
}

if __name__ == "__main__":
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
