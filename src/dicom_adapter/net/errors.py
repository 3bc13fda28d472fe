"""How an association ends other than by release: one exception with the words for a log line, and two special cases.

Why one: whoever serves an association does the same for an A-ABORT, a broken connection and a time-out; only the words
differ, and whether the peer did it.
"""

from __future__ import annotations

from dicom_adapter.dicom.pdu import AAssociateRJ, AAssociateRQ


class AssociationEnded(Exception):
    """The association is over, and nothing more can be sent or received. Close the connection.

    `by_peer`: the peer ended it, broke the protocol or fell silent; False: we did. `abort_source` and `abort_reason`
    are of the A-ABORT PDU that was sent or received, where there was one (PS3.8 9.3.8).
    """

    def __init__(
        self, words: str, *, by_peer: bool, abort_source: int | None = None, abort_reason: int | None = None
    ) -> None:
        super().__init__(words)
        self.by_peer = by_peer
        self.abort_source = abort_source
        self.abort_reason = abort_reason


class AssociationRejected(AssociationEnded):
    """A-ASSOCIATE-RJ: the peer's to a requestor; an acceptor's own, to a request `rq` that no policy could accept."""

    def __init__(self, words: str, rj: AAssociateRJ, *, by_peer: bool, rq: AAssociateRQ | None = None) -> None:
        super().__init__(words, by_peer=by_peer)
        self.rj = rj
        self.rq = rq


class ConnectFailed(AssociationEnded):
    """No transport connection could be opened: unknown host, refused, no route, or no answer in time."""

    def __init__(self, words: str) -> None:
        super().__init__(words, by_peer=True)
