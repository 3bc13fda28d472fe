"""PDUs and their bytes, written out by hand from PS3.8 9.3: used for the encoder and for the decoder."""

from __future__ import annotations

from dicom_adapter.dicom.pdu import (
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    ContextResultReason,
    PDataTF,
    Pdu,
    Pdv,
    ProposedContext,
    RoleSelection,
    SopClassCommonExtended,
    SopClassExtended,
    UserIdentity,
    UserIdentityResponse,
    UserInformation,
)

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
APPLICATION_CONTEXT = b"\x10\x00\x00\x15" + b"1.2.840.10008.3.1.1.1"
TITLES = b"CALLED          " + b"CALLING         "

SIMPLE_CASES: list[tuple[str, Pdu, bytes]] = [
    ("release request", AReleaseRQ(), b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    ("release response", AReleaseRP(), b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    ("abort by the user", AAbort(0, 0), b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    ("abort by the provider", AAbort(2, 6), b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06"),
    ("abort with unknown numbers", AAbort(9, 200), b"\x07\x00\x00\x00\x00\x04\x00\x00\x09\xc8"),
    ("reject", AAssociateRJ(2, 3, 2), b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x02"),
    (
        "one PDV",
        PDataTF((Pdv(1, True, True, b"abcd"),)),
        b"\x04\x00\x00\x00\x00\x0a" + b"\x00\x00\x00\x06\x01\x03abcd",
    ),
    (
        "command and data set in one PDU, an empty PDV between",
        PDataTF((Pdv(3, True, True, b"ab"), Pdv(3, False, False, b""), Pdv(3, False, True, b"cdef"))),
        b"\x04\x00\x00\x00\x00\x18"
        + b"\x00\x00\x00\x04\x03\x03ab"
        + b"\x00\x00\x00\x02\x03\x00"
        + b"\x00\x00\x00\x06\x03\x02cdef",
    ),
    (
        "smallest association request",
        AAssociateRQ(
            "CALLED",
            "CALLING",
            (ProposedContext(1, VERIFICATION, (IMPLICIT,)),),
            UserInformation(max_pdu_length=262144, implementation_class_uid="1.2.3"),
        ),
        b"\x01\x00\x00\x00\x00\xa4"
        + b"\x00\x01\x00\x00"
        + TITLES
        + bytes(32)
        + APPLICATION_CONTEXT
        + b"\x20\x00\x00\x2e\x01\x00\x00\x00"
        + b"\x30\x00\x00\x111.2.840.10008.1.1"
        + b"\x40\x00\x00\x111.2.840.10008.1.2"
        + b"\x50\x00\x00\x11"
        + b"\x51\x00\x00\x04\x00\x04\x00\x00"
        + b"\x52\x00\x00\x051.2.3",
    ),
    (
        "association request with every sub-item",
        AAssociateRQ(
            "CALLED",
            "CALLING",
            (ProposedContext(255, "1.9", ("1.8", "1.7")), ProposedContext(1, "1.6", ("1.5",))),
            UserInformation(
                max_pdu_length=0,
                implementation_class_uid="1.2",
                implementation_version_name="NAME",
                asynchronous_operations_window=AsynchronousOperationsWindow(0, 5),
                role_selections=(RoleSelection("1.9", scu_role=True, scp_role=False),),
                sop_class_extended=(SopClassExtended("1.9", b"\x02\x00"),),
                sop_class_common_extended=(
                    SopClassCommonExtended("1.9", "1.4", ("1.31", "1.3")),
                    SopClassCommonExtended("1.6", "1.4"),
                ),
                user_identity=UserIdentity(2, True, b"user", b"pass"),
            ),
        ),
        b"\x01\x00\x00\x00\x01\x06"
        + b"\x00\x01\x00\x00"
        + TITLES
        + bytes(32)
        + APPLICATION_CONTEXT
        + b"\x20\x00\x00\x19\xff\x00\x00\x00\x30\x00\x00\x031.9\x40\x00\x00\x031.8\x40\x00\x00\x031.7"
        + b"\x20\x00\x00\x12\x01\x00\x00\x00\x30\x00\x00\x031.6\x40\x00\x00\x031.5"
        + b"\x50\x00\x00\x72"
        + b"\x51\x00\x00\x04\x00\x00\x00\x00"
        + b"\x52\x00\x00\x031.2"
        + b"\x53\x00\x00\x04\x00\x00\x00\x05"
        + b"\x54\x00\x00\x07\x00\x031.9\x01\x00"
        + b"\x55\x00\x00\x04NAME"
        + b"\x56\x00\x00\x07\x00\x031.9\x02\x00"
        + b"\x57\x00\x00\x17\x00\x031.9\x00\x031.4\x00\x0b\x00\x041.31\x00\x031.3"
        + b"\x57\x00\x00\x0c\x00\x031.6\x00\x031.4\x00\x00"
        + b"\x58\x00\x00\x0e\x02\x01\x00\x04user\x00\x04pass",
    ),
    (
        "association accepted",
        AAssociateAC(
            "CALLED",
            "CALLING",
            (
                ContextResult(1, ContextResultReason.ACCEPTANCE, IMPLICIT),
                ContextResult(3, ContextResultReason.ABSTRACT_SYNTAX_NOT_SUPPORTED, ""),
            ),
            UserInformation(
                max_pdu_length=16384, implementation_class_uid="1.2", user_identity_response=UserIdentityResponse()
            ),
        ),
        b"\x02\x00\x00\x00\x00\x9f"
        + b"\x00\x01\x00\x00"
        + TITLES
        + bytes(32)
        + APPLICATION_CONTEXT
        + b"\x21\x00\x00\x19\x01\x00\x00\x00\x40\x00\x00\x111.2.840.10008.1.2"
        + b"\x21\x00\x00\x08\x03\x00\x03\x00\x40\x00\x00\x00"
        + b"\x50\x00\x00\x15"
        + b"\x51\x00\x00\x04\x00\x00\x40\x00"
        + b"\x52\x00\x00\x031.2"
        + b"\x59\x00\x00\x02\x00\x00",
    ),
]
