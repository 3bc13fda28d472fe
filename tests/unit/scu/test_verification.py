"""C-ECHO as requestor."""

from __future__ import annotations

import pytest

from dicom_adapter.dicom.dimse import response
from dicom_adapter.dicom.pdu import AAssociateRJ, ContextResultReason
from dicom_adapter.net.connection import AssociationEnded, AssociationRejected, ConnectFailed
from dicom_adapter.scu.requestor import NotAllowed, Peer, RequestorSettings, rejection_in_words
from dicom_adapter.scu.verification import echo
from tests.peers import QUICK, Answer, ScriptedScp, serving

SETTINGS = RequestorSettings("SCU", "1.2.3", "TEST", timeouts=QUICK)


def test_success() -> None:
    with serving(ScriptedScp()) as scp:
        assert echo(SETTINGS, Peer("PACS", "localhost", scp.port)) == 0
    assert scp.ends == ["released"]


def test_another_status_is_returned() -> None:
    with serving(ScriptedScp(lambda command, _: response(command, 0x0122))) as scp:
        assert echo(SETTINGS, Peer("PACS", "127.0.0.1", scp.port)) == 0x0122


def test_rejection() -> None:
    with serving(ScriptedScp(reject=[AAssociateRJ(1, 1, 7)])) as scp, pytest.raises(AssociationRejected) as raised:
        echo(SETTINGS, Peer("PACS", "127.0.0.1", scp.port))
    assert "it is not called PACS" in rejection_in_words(raised.value.rj, "SCU", "PACS")


def test_refused_context() -> None:
    refusing = ScriptedScp(decide=lambda context: ContextResultReason.ABSTRACT_SYNTAX_NOT_SUPPORTED)
    with serving(refusing) as scp, pytest.raises(AssociationEnded, match="does not serve Verification"):
        echo(SETTINGS, Peer("PACS", "127.0.0.1", scp.port))


@pytest.mark.parametrize(
    "answer",
    [
        lambda command, _: response(command, 0)._replace(message_id_being_responded_to=9),
        lambda command, _: response(command, 0)._replace(status=None),
        lambda command, _: response(command, 0)._replace(command_field=0x8001),
        lambda command, _: None,
    ],
)
def test_what_is_no_answer(answer: Answer) -> None:
    with serving(ScriptedScp(answer)) as scp, pytest.raises(AssociationEnded):
        echo(SETTINGS, Peer("PACS", "127.0.0.1", scp.port))


def test_nobody_there() -> None:
    with serving(ScriptedScp()) as scp:
        pass
    with pytest.raises(ConnectFailed):
        echo(SETTINGS, Peer("PACS", "127.0.0.1", scp.port))


def test_link_local_is_not_called() -> None:
    with pytest.raises(NotAllowed, match="link-local"):
        echo(SETTINGS, Peer("PACS", "169.254.169.254", 104))
