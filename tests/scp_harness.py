"""A listener on a free loopback port with a spool in a temporary folder, and a requestor to try it with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dicom_adapter.core.model import AssociationOutcome, AssociationRecord, Instance
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot, ScpPolicy, Source
from dicom_adapter.dicom.command_set import CommandSet
from dicom_adapter.dicom.dimse import c_store_rq
from dicom_adapter.dicom.negotiation import propose
from dicom_adapter.dicom.part10 import read_file_meta
from dicom_adapter.dicom.pdu import AAssociateRQ, UserInformation
from dicom_adapter.net.connection import Connection
from dicom_adapter.scp.host_names import HostNames
from dicom_adapter.scp.listener import Listener
from dicom_adapter.scp.live import Places
from dicom_adapter.scp.storage import StorageEnvironment
from dicom_adapter.scp.threads import AssociationThreads, ConnectionSettings
from dicom_adapter.spool import Durability, Spool
from tests.peers import CT, EXPLICIT, QUICK, data_set

SNAPSHOT = ConfigSnapshot(
    ae_titles={"BRAIN": ClaraAeTitle("brain", "BRAIN")},
    sources=(Source("CT01", "127.0.0.1"),),
)


@dataclass
class Scp:
    """A running SCP and what it says about itself."""

    listener: Listener
    threads: AssociationThreads
    spool: Spool
    snapshot: ConfigSnapshot = SNAPSHOT
    full: bool = False
    left: int = 0  # how often it told that an association had ended
    connections: list[Connection] = field(default_factory=list)

    def associate(
        self,
        *pairs: tuple[str, tuple[str, ...]],
        calling: str = "CT01",
        called: str = "BRAIN",
        host: str = "127.0.0.1",
    ) -> Connection:
        rq = AAssociateRQ(
            called,
            calling,
            propose(pairs or ((CT, (EXPLICIT,)),)),
            UserInformation(max_pdu_length=16384, implementation_class_uid="1.2.3"),
        )
        connection = Connection.request(host, self.listener.port, rq, max_pdu_length=16384, timeouts=QUICK)
        self.connections.append(connection)
        return connection

    def closed_associations(self) -> list[tuple[AssociationRecord, list[Instance]]]:
        return list(self.spool.closed_associations(set()))

    def outcomes(self) -> list[tuple[AssociationOutcome | None, int]]:
        return [(record.outcome, len(instances)) for record, instances in self.closed_associations()]

    def stored(self) -> list[bytes]:
        """The data set of every instance of every ended association, in order."""
        found = []
        for _, instances in self.closed_associations():
            for instance in instances:
                content = self.spool.instance_path(instance).read_bytes()
                found.append(content[read_file_meta(content).data_set_offset :])
        return found


@contextmanager
def running(
    folder: Path,
    snapshot: ConfigSnapshot = SNAPSHOT,
    *,
    policy: ScpPolicy | None = None,
    durability: Durability = Durability.NONE,
    settings: ConnectionSettings | None = None,
    host_names: HostNames | None = None,
    port: int = 0,
    bind: str = "127.0.0.1",
) -> Iterator[Scp]:
    """An SCP that serves until the block ends."""
    if policy is not None:
        snapshot = replace(snapshot, scp=policy)
    settings = settings or ConnectionSettings(timeouts=QUICK)
    with closing(Spool(folder, durability)) as spool:

        def on_leave() -> None:
            scp.left += 1

        storage = StorageEnvironment(spool, lambda: scp.full, time.time, "1.2.3.4", "TEST_1")
        places = Places(on_leave)
        threads = AssociationThreads(settings, storage, places, lambda: scp.snapshot, host_names=host_names)
        listener = Listener(threads, places, port, bind)
        scp = Scp(listener, threads, spool, snapshot)
        listener.start()
        try:
            yield scp
        finally:
            for connection in scp.connections:
                connection.close()
            listener.stop(0)


def store(
    connection: Connection,
    folder: Path,
    data: bytes | None = None,
    *,
    sop_class: str = CT,
    sop_instance: str = "1.2.3.4.5",
    context_id: int = 1,
    message_id: int = 1,
) -> CommandSet:
    """One C-STORE and its response."""
    path = folder / "outgoing"
    path.write_bytes(data_set(sop_class, sop_instance) if data is None else data)
    connection.send_command(context_id, c_store_rq(message_id, sop_class, sop_instance))
    with path.open("rb") as file:
        connection.send_data_set(context_id, file.fileno(), 0, path.stat().st_size)
    received = connection.receive_command()
    assert received is not None
    answered_in, answer = received
    assert answered_in == context_id
    assert answer.message_id_being_responded_to == message_id
    return answer
