"""The three small files beside an association's instances, as bytes: envelope, index lines and outcome marker.

Why here: writer and scanner must agree on them. Reading is total: what a crash has torn reads as None.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dicom_adapter.core.model import NOTHING_REFUSED, AssociationRecord, Instance, Refused

_ENVELOPE_FIELDS = ("id", "calling_ae_title", "called_ae_title", "peer_host", "peer_port", "started_at")


def envelope(record: AssociationRecord) -> bytes:
    """association.json: who sent to whom, from where, since when."""
    return json.dumps({name: getattr(record, name) for name in _ENVELOPE_FIELDS}, indent=1).encode() + b"\n"


def read_envelope(data: bytes, association_id: str) -> AssociationRecord | None:
    """The envelope, or None when `data` is not the whole envelope of this association."""
    found = _object(data)
    try:
        if str(found["id"]) != association_id:
            return None
        return AssociationRecord(
            association_id,
            str(found["calling_ae_title"]),
            str(found["called_ae_title"]),
            str(found["peer_host"]),
            int(found["peer_port"]),
            float(found["started_at"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def index_line(instances: Iterable[Instance]) -> bytes:
    """One line of index.jsonl: an array of arrays, as 10,000 of them are read while a person waits."""
    return (
        json.dumps(
            [
                (
                    instance.number,
                    instance.size,
                    instance.received_at,
                    instance.sop_class_uid,
                    instance.sop_instance_uid,
                    instance.study_instance_uid,
                    instance.series_instance_uid,
                    instance.transfer_syntax_uid,
                )
                for instance in instances
            ]
        ).encode()
        + b"\n"
    )


def read_index(data: bytes, association_id: str) -> Iterator[Instance]:
    """The instances of the whole lines of index.jsonl; a torn one is left out."""
    for line in data.splitlines():
        try:
            for number, size, received_at, sop_class, sop_instance, study, series, transfer_syntax in json.loads(line):
                yield Instance(
                    association_id, number, sop_class, sop_instance, study, series, transfer_syntax, size, received_at
                )
        except (TypeError, ValueError):
            continue


class Marker(NamedTuple):
    """Content of an outcome marker, whose name is what counts: when, how many files must be there, what was refused."""

    ended_at: float
    instances: int
    refused: Refused = NOTHING_REFUSED


def marker(content: Marker) -> bytes:
    found: dict[str, object] = {"ended_at": content.ended_at, "instances": content.instances}
    if content.refused.requests:
        requests, why, instances, unnamed = content.refused
        found |= {
            "refused": requests,
            "refused_why": why,
            "refused_instances": instances,
            "refused_unnamed": unnamed,
        }
    return json.dumps(found).encode() + b"\n"


def read_marker(data: bytes) -> Marker | None:
    found = _object(data)
    try:
        return Marker(float(found["ended_at"]), int(found["instances"]), _refused(found))
    except (KeyError, TypeError, ValueError):
        return None


def _refused(found: dict[str, Any]) -> Refused:
    requests = int(found.get("refused", 0))
    if not requests:
        return NOTHING_REFUSED
    instances = tuple(map(str, found.get("refused_instances", ())))
    return Refused(requests, str(found["refused_why"]), instances, int(found.get("refused_unnamed", requests)))


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
