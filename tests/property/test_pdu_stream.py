"""Any split of a stream gives the same events, and decode(encode(x)) == x."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicom_adapter.dicom.command_set import CommandReader, CommandSet, CommandWriter, decode
from dicom_adapter.dicom.command_set import encode as encode_command
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
from dicom_adapter.dicom.pdu_encoder import encode
from tests.pdu_streams import decode_events, to_pdus

bytes_ = st.integers(0, 255)
shorts = st.integers(0, 0xFFFF)
uids = st.text("0123456789.", min_size=1, max_size=64)
maybe_uids = st.none() | uids
titles = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_-0123456789", max_size=16)
context_ids = st.integers(0, 127).map(lambda n: 2 * n + 1)
few_bytes = st.binary(max_size=40)


def few(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


def unique_contexts(strategy: st.SearchStrategy[object], least: int) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, min_size=least, max_size=5, unique_by=lambda context: context.id).map(tuple)  # type: ignore[attr-defined]


user_information = st.builds(
    UserInformation,
    max_pdu_length=st.just(0) | st.integers(8, 0xFFFFFFFF),
    implementation_class_uid=uids,
    implementation_version_name=titles,
    asynchronous_operations_window=st.none() | st.builds(AsynchronousOperationsWindow, shorts, shorts),
    role_selections=few(st.builds(RoleSelection, uids, st.booleans(), st.booleans())),
    sop_class_extended=few(st.builds(SopClassExtended, uids, few_bytes)),
    sop_class_common_extended=few(st.builds(SopClassCommonExtended, uids, uids, few(uids))),
    user_identity=st.none() | st.builds(UserIdentity, bytes_, st.booleans(), few_bytes, few_bytes),
    user_identity_response=st.none() | st.builds(UserIdentityResponse, few_bytes),
)
proposed = st.builds(ProposedContext, context_ids, uids, st.lists(uids, min_size=1, max_size=4).map(tuple))
results = st.builds(ContextResult, context_ids, st.sampled_from(ContextResultReason), uids)
pdus: st.SearchStrategy[Pdu] = st.one_of(
    st.builds(AAssociateRQ, titles, titles, unique_contexts(proposed, 1), user_information, uids, shorts),
    st.builds(AAssociateAC, titles, titles, unique_contexts(results, 0), user_information, uids, shorts),
    st.builds(AAssociateRJ, bytes_, bytes_, bytes_),
    st.builds(AAbort, bytes_, bytes_),
    st.just(AReleaseRQ()),
    st.just(AReleaseRP()),
    st.builds(
        PDataTF,
        st.lists(
            st.builds(Pdv, bytes_, st.booleans(), st.booleans(), st.binary(max_size=200)), min_size=1, max_size=5
        ).map(tuple),
    ),
)


@given(st.lists(pdus, max_size=6))
def test_decode_of_encode(sent: list[Pdu]) -> None:
    assert to_pdus(decode_events([b"".join(map(encode, sent))])) == sent


@given(st.lists(pdus, min_size=1, max_size=4), st.data())
def test_any_chunking_gives_the_same_events(sent: list[Pdu], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode_events(chunks) == decode_events([stream])


commands = st.builds(
    CommandSet,
    command_field=shorts,
    has_data_set=st.booleans(),
    message_id=st.none() | shorts,
    message_id_being_responded_to=st.none() | shorts,
    affected_sop_class_uid=maybe_uids,
    affected_sop_instance_uid=maybe_uids,
    requested_sop_class_uid=maybe_uids,
    requested_sop_instance_uid=maybe_uids,
    priority=st.none() | shorts,
    status=st.none() | shorts,
    error_comment=st.none() | st.text("abc XYZ", max_size=64).map(str.strip),
    others=st.dictionaries(st.sampled_from([0x0600, 0x0901, 0x1005, 0x1030, 0x5010]), few_bytes, max_size=3),
)


@given(commands)
def test_decode_of_encode_of_a_command_set(command: CommandSet) -> None:
    assert decode(encode_command(command)) == command


@given(
    st.lists(commands, min_size=1, max_size=2),
    st.lists(st.tuples(shorts, shorts, uids), min_size=1, max_size=6),
    st.data(),
)
def test_what_was_read_or_written_before_changes_nothing(
    sent: list[CommandSet], values: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    """Reader and writer take a short way for a command that is like the last: it leads to the same place."""
    reader, writer = CommandReader(), CommandWriter()
    for message_id, responded_to, instance in values:
        command = data.draw(st.sampled_from(sent))._replace(
            message_id=message_id, message_id_being_responded_to=responded_to, affected_sop_instance_uid=instance
        )
        encoded = encode_command(command)
        assert writer.write(command) == encoded
        assert reader.read(encoded) == command == decode(encoded)
