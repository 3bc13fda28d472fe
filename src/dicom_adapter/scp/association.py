"""One association from its request to its end, in a thread of its own.

Why a thread: reading, writing and syncing block, release the interpreter, and so press back on the peer by themselves.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dicom_adapter.core.admission import Accept, Reject, unacceptable
from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.core.snapshot import ScpPolicy
from dicom_adapter.crash_points import crash_point
from dicom_adapter.dicom import negotiation
from dicom_adapter.dicom.command_set import CommandField, CommandSet
from dicom_adapter.dicom.pdu import AAssociateAC, AAssociateRQ, SopClassExtended
from dicom_adapter.dicom.status import Status, words
from dicom_adapter.dicom.uid import VERIFICATION, is_storage_sop_class, is_valid_uid
from dicom_adapter.dimse_log import log_command, log_data_set
from dicom_adapter.net.connection import AssociationEnded, AssociationRejected, Connection
from dicom_adapter.scp.live import OpenAssociation, Register, Rejection
from dicom_adapter.scp.service import Request, Services
from dicom_adapter.scp.storage import StorageEnvironment, StorageService
from dicom_adapter.scp.verification import echo

log = structlog.get_logger("scp")

Admit = Callable[[AAssociateRQ, Connection], tuple[Accept, OpenAssociation, ScpPolicy] | Reject]
"""Decides on a request and, when it accepts, has taken a place for it; with the policy that was in force."""


@dataclass(frozen=True, slots=True)
class AssociationEnvironment:
    """What every association shares.

    `turned_away`: told of a request that is rejected before any policy is asked. `over`: told of a connection whose
    association has ended: it only has to close.
    """

    admit: Admit
    turned_away: Callable[[AAssociateRQ, Connection, Reject], None]
    over: Callable[[Connection], None]
    register: Register
    storage: StorageEnvironment
    max_pdu_length: int


def serve(connection: Connection, environment: AssociationEnvironment) -> None:
    """Serve one connection until it ends. Raises nothing: what a peer or a bug does concerns this association only."""
    try:
        rq = connection.receive_request()
        admitted = environment.admit(rq, connection)
        if isinstance(admitted, Reject):
            _log_rejection(admitted)
            connection.reject_association(admitted.answer)
        else:
            try:
                _Association(connection, rq, *admitted, environment).run()
            finally:
                environment.over(connection)
    except AssociationRejected as rejected:
        if rejected.rq is not None:
            decision = unacceptable(rejected.rq, rejected.rj, connection.peer_host)
            environment.turned_away(rejected.rq, connection, decision)
            _log_rejection(decision)
    except AssociationEnded as ended:
        environment.register.count("connections_without_association")
        log.info("connection ended without an association", peer=connection.peer_host, why=str(ended))
    except Exception:
        log.exception("a connection failed by our own fault", peer=connection.peer_host)
    finally:
        connection.close()


def _log_rejection(decision: Reject) -> None:
    log.warning("association rejected", answer=str(decision.answer), why=decision.words)


class _Association:
    """An accepted association."""

    def __init__(
        self,
        connection: Connection,
        rq: AAssociateRQ,
        decision: Accept,
        open_association: OpenAssociation,
        policy: ScpPolicy,
        environment: AssociationEnvironment,
    ) -> None:
        self._connection = connection
        self._rq = rq
        self._decision = decision
        self._open = open_association
        self._policy = policy
        self._environment = environment
        self._storage = StorageService(open_association, decision.ae_title, environment.storage)
        self._services = Services(
            {VERIFICATION: {CommandField.C_ECHO_RQ: echo}}, {CommandField.C_STORE_RQ: self._storage.store}
        )

    def run(self) -> None:
        """Until released, aborted or broken; then its outcome is durable, its place free, and the release confirmed."""
        outcome, why = self._outcome()
        self._end(outcome, why)
        if outcome is AssociationOutcome.RELEASED:
            # After the end: a peer that comes back at once finds its place free.
            with contextlib.suppress(AssociationEnded):
                self._connection.confirm_release()

    def _outcome(self) -> tuple[AssociationOutcome, str]:
        """How it ended, and why in words. What was our own doing is `interrupted`: held, never removed."""
        try:
            self._converse()
            self._storage.close(AssociationOutcome.RELEASED)  # D2, before the peer may forget what it sent
        except AssociationEnded as ended:
            return (AssociationOutcome.ABORTED if ended.by_peer else AssociationOutcome.INTERRUPTED), str(ended)
        except OutOfResources as error:
            self._connection.abort()
            return AssociationOutcome.INTERRUPTED, str(error)
        except Exception:
            log.exception("an association failed by our own fault", association=self._open.record.id)
            self._connection.abort()
            return AssociationOutcome.INTERRUPTED, "our own fault"
        return AssociationOutcome.RELEASED, "released"

    def _converse(self) -> None:
        """Accept, and answer one request after the other until the peer asks to release."""
        connection = self._connection
        connection.accept_association(self._answer())
        while (received := connection.receive_command()) is not None:
            context_id, command = received
            if self._policy.log_dimse_datasets:  # now: its data set may never come to an end
                log_command("received", command, association=self._open.record.id)
            answer = self._services.respond(Request(connection.contexts[context_id], command, connection))
            if self._policy.log_dimse_datasets:
                self._log_answer(answer)
            if answer is not None:
                if answer.status != Status.SUCCESS:
                    self._note_failure(command, answer)
                crash_point("scp.before_response")
                connection.send_command(context_id, answer)
                self._storage.prepare()

    def _log_answer(self, answer: CommandSet | None) -> None:
        association = self._open.record.id
        stored, self._storage.stored = self._storage.stored, None
        if stored is not None:
            path = self._environment.storage.spool.instance_path(stored)
            log_data_set("received", path, show_phi=self._policy.log_phi, association=association)
        if answer is not None:
            log_command("sent", answer, association=association)

    def _answer(self) -> AAssociateAC:
        settings = self._environment.storage
        return negotiation.accept(
            self._rq,
            self._decision.contexts,
            max_pdu_length=self._environment.max_pdu_length,
            implementation_class_uid=settings.implementation_class_uid,
            implementation_version_name=settings.implementation_version_name,
            answer_extended=_answer_extended,
        )

    def _note_failure(self, command: CommandSet, answer: CommandSet) -> None:
        association, status, why = self._open, answer.status or 0, answer.error_comment or ""
        if command.command_field == CommandField.C_STORE_RQ:
            in_words = f"{words(status)} ({why})" if why else words(status)
            instance = command.affected_sop_instance_uid or ""
            association.refused = association.refused.plus(in_words, instance if is_valid_uid(instance) else None)
            record = association.record
            caller = record.calling_ae_title, record.called_ae_title, record.peer_host
            known = "see the log" if status == Status.PROCESSING_FAILURE else why  # its number is another each time
            self._environment.register.reject(Rejection(*caller, words(status), known), self._environment.storage.now())
        self._environment.register.count(f"failures_{status:04x}")
        log.warning("request refused", association=association.record.id, status=words(status), why=why or None)

    def _end(self, outcome: AssociationOutcome, why: str) -> None:
        """Whatever happened: mark the end, and free the place after that: batching waits for it."""
        association = self._open
        try:
            if outcome is not AssociationOutcome.RELEASED:
                self._storage.close(outcome)
        except Exception as error:
            # The instances are safe: at the next start the association counts as interrupted.
            log.error(
                "the end of an association could not be stored", association=association.record.id, why=str(error)
            )
        finally:
            self._environment.register.leave(association, outcome.value)
        lost_work = outcome is not AssociationOutcome.RELEASED and association.instances > 0
        log.log(
            logging.WARNING if lost_work else logging.INFO,
            f"association {outcome.value}",
            association=association.record.id,
            calling=association.record.calling_ae_title,
            called=association.record.called_ae_title,
            peer=association.record.peer_host,
            instances=association.instances,
            bytes=association.bytes,
            ignored=association.ignored,
            refused=association.refused.requests,
            why=None if outcome is AssociationOutcome.RELEASED else why,
        )


def _answer_extended(item: SopClassExtended) -> bytes | None:
    return negotiation.STORAGE_LEVEL_2 if is_storage_sop_class(item.sop_class_uid) else None
