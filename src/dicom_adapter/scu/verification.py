"""Verification SCU: C-ECHO (PS3.4 Annex A)."""

from __future__ import annotations

from dicom_adapter.dicom.command_set import CommandField
from dicom_adapter.dicom.dimse import c_echo_rq
from dicom_adapter.dicom.negotiation import propose
from dicom_adapter.dicom.uid import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dicom_adapter.net.connection import AssociationEnded
from dicom_adapter.scu.requestor import Peer, RequestorSettings, associate

CONTEXTS = propose([(VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))])
_MESSAGE_ID = 1


def echo(settings: RequestorSettings, peer: Peer) -> int:
    """Send one C-ECHO and return the status of its response. Raises AssociationEnded or one of its kinds otherwise."""
    connection = associate(settings, peer, CONTEXTS)
    try:
        if not connection.contexts:
            connection.release()
            raise AssociationEnded(
                "the peer accepts associations but does not serve Verification (C-ECHO)", by_peer=True
            )
        (context_id,) = connection.contexts
        connection.send_command(context_id, c_echo_rq(_MESSAGE_ID))
        received = connection.receive_command()
        if received is None:
            connection.confirm_release()
            raise AssociationEnded("the peer released the association without an answer", by_peer=True)
        _, response = received
        if (
            response.command_field != CommandField.C_ECHO_RSP
            or response.message_id_being_responded_to != _MESSAGE_ID
            or response.status is None
        ):
            raise AssociationEnded("the peer answered something other than C-ECHO-RSP to the C-ECHO", by_peer=True)
        connection.release()
        return response.status
    finally:
        connection.close()
