"""Which resources serve, and why another does not: the verdict that `status` shows. Every store asks here.

Time is an argument; a verdict that has not changed keeps the time at which it came to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from dicom_adapter.config.resources import (
    ClaraAeTitleSpec,
    Condition,
    InvalidResource,
    InvalidResourceError,
    InvalidSpec,
    Kind,
    Metadata,
    Resource,
    Spec,
    Status,
    build,
    parse_spec,
    same_identity,
)
from dicom_adapter.config.store import AlreadyExistsError

_LONGEST = 1024  # characters of a reason


@dataclass(frozen=True, slots=True)
class Found:
    """A resource as a store keeps it.

    `status`: as it was written last; empty, or of another shape, at first. `earlier`: a verdict not written yet.
    """

    kind: Kind
    metadata: Metadata
    spec: Mapping[str, object]
    status: Mapping[str, object]
    earlier: Status | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    reason: str
    message: str

    @property
    def accepted(self) -> bool:
        return self.reason == "Accepted"


_ACCEPTED = _Verdict("Accepted", "It is in force.")


def judge(found: Iterable[Found], now: str) -> list[Resource]:
    """Every resource with its status. Of two that cannot both be, the first one serves: hand them over by age.

    `now`: RFC 3339, for verdicts that have changed.
    """
    judged: list[Resource] = []
    for one in found:
        try:
            spec = parse_spec(one.kind, one.spec)
            if (other := _rival(spec, judged)) is None:
                judged.append(build(spec, one.metadata, _status(one, _ACCEPTED, now)))
                continue
            verdict = _Verdict("AlreadyExists", f"{_taken(spec)}: {other.metadata.name} is older and serves.")
        except InvalidResourceError as error:
            verdict = _Verdict("Invalid", str(error))
        judged.append(
            InvalidResource(
                kind=one.kind,
                metadata=one.metadata,
                spec=InvalidSpec.model_validate(dict(one.spec)),
                status=_status(one, verdict, now),
            )
        )
    return judged


def accepted(kind: Kind, spec: Spec, metadata: Metadata, now: str, before: Status | None = None) -> Resource:
    """The resource of a spec that was checked already. `before`: its status until then."""
    return build(spec, metadata, _status(Found(kind, metadata, {}, {}, before), _ACCEPTED, now))


def check_identity(spec: Spec, others: Iterable[Resource]) -> None:
    """Raise AlreadyExistsError where one that serves cannot be beside the spec."""
    if _rival(spec, others) is not None:
        raise AlreadyExistsError(f"{_taken(spec)} already exists")


def serving(resources: Sequence[Resource]) -> list[Resource]:
    """Those of them that serve."""
    return [resource for resource in resources if not isinstance(resource, InvalidResource)]


def condition_of(status: object) -> Condition | None:
    """The verdict in a status, where there is one that can be read: other versions and people write there too."""
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    for each in conditions if isinstance(conditions, list) else ():
        try:
            return Condition.model_validate(each)
        except ValidationError:
            continue
    return None


def same_verdict(one: Condition | None, other: Condition | None) -> bool:
    """Whether two conditions say the same, since whenever."""
    times = {"last_transition_time": ""}
    return one is not None and other is not None and one.model_copy(update=times) == other.model_copy(update=times)


def _rival(spec: Spec, others: Iterable[Resource]) -> Resource | None:
    for other in others:
        if not isinstance(other, InvalidResource) and same_identity(spec, other.spec):
            return other
    return None


def _taken(spec: Spec) -> str:
    return f"Clara AE Title {spec.ae_title}" if isinstance(spec, ClaraAeTitleSpec) else f"name {spec.name}"


def _status(found: Found, verdict: _Verdict, now: str) -> Status:
    status: Literal["True", "False"] = "True" if verdict.accepted else "False"
    condition = Condition(
        status=status,
        reason=verdict.reason,
        message=verdict.message[:_LONGEST],
        last_transition_time=_since(found, status) or now,
        observed_generation=found.metadata.generation,
    )
    return Status(enabled=verdict.accepted, conditions=(condition,))


def _since(found: Found, status: str) -> str | None:
    before = (condition_of(found.status), *(found.earlier.conditions if found.earlier else ()))
    return next((each.last_transition_time for each in before if each and each.status == status), None)
