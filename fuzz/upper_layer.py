"""Fuzz a whole association: whatever the bytes, it indicates, or raises RemoteProtocolError with its A-ABORT ready."""

from __future__ import annotations

import random

from dicom_adapter.dicom import negotiation
from dicom_adapter.dicom.dimse import MessageReceiver
from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import AAssociateRQ, AReleaseRQ, PduType, PdvFragment
from dicom_adapter.dicom.state_machine import State
from dicom_adapter.dicom.upper_layer import Association, Role
from fuzz import harness
from fuzz.pdu_decoder import MAX_PDU_LENGTH, SEEDS


def check(data: bytes, chance: random.Random) -> None:
    """The association takes the bytes to an end that Table 9-10 knows, and DIMSE judges its PDVs."""
    association = Association(Role.ACCEPTOR, max_pdu_length=MAX_PDU_LENGTH, artim=30.0)
    association.transport_connected(0.0)
    messages = MessageReceiver(())
    association.receive_data(memoryview(data), 1.0)
    try:
        while (event := association.next_event()) is not None:
            if isinstance(event, AAssociateRQ):
                messages = _accept(association, event)
            elif isinstance(event, AReleaseRQ):
                association.confirm_release(2.0)
            elif isinstance(event, PdvFragment):
                messages.receive(event)
    except RemoteProtocolError as error:
        if association.state is not State.STA13:  # DIMSE's: the Upper Layer has not answered yet
            association.provider_abort(error.abort_reason, 3.0)
        sent = association.data_to_send()
        if sent[-10] != PduType.A_ABORT or association.next_timer is None:
            raise AssertionError("an error without its A-ABORT") from error


def _accept(association: Association, rq: AAssociateRQ) -> MessageReceiver:
    results = negotiation.answer_contexts(rq.presentation_contexts, lambda context: context.transfer_syntaxes[0])
    ac = negotiation.accept(
        rq,
        results,
        max_pdu_length=MAX_PDU_LENGTH,
        implementation_class_uid="1.2.3",
        implementation_version_name="FUZZ",
    )
    association.accept(ac)
    return MessageReceiver(negotiation.accepted_contexts(rq, results).keys())


if __name__ == "__main__":
    harness.main(check, SEEDS)
