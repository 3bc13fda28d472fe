"""Which resources serve, and since when that is so."""

from __future__ import annotations

import pytest

from dicom_adapter.config.acceptance import Found, accepted, check_identity, judge, serving
from dicom_adapter.config.resources import InvalidResource, Kind, Metadata, Resource, Resources, as_json, parse_spec
from dicom_adapter.config.store import AlreadyExistsError

THEN, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
BRAIN = {"name": "brain", "aeTitle": "BRAIN", "pipelineId": "p"}


def found(
    name: str = "brain",
    spec: dict[str, object] | None = None,
    kind: Kind = Kind.CLARA_AE_TITLE,
    status: dict[str, object] | None = None,
    generation: int = 1,
) -> Found:
    return Found(kind, Metadata(name=name, generation=generation), BRAIN if spec is None else spec, status or {})


def condition(resource: Resource) -> dict[str, object]:
    (only,) = as_json(resource)["status"]["conditions"]
    assert isinstance(only, dict)
    return only


def stored(resource: Resource) -> dict[str, object]:
    status = as_json(resource)["status"]
    assert isinstance(status, dict)
    return status


def test_what_keeps_every_rule_serves() -> None:
    (one,) = judge([found(generation=3)], NOW)
    assert as_json(one)["status"] == {
        "Enabled": True,
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Accepted",
                "message": "It is in force.",
                "lastTransitionTime": NOW,
                "observedGeneration": 3,
            }
        ],
    }
    assert Resources.of([one]).ae_titles == (one,)


def test_what_breaks_a_rule_is_shown_as_it_is_and_does_not_serve() -> None:
    spec: dict[str, object] = {"aeTitle": "SEVENTEEN CHARS17", "colour": "blue"}
    (one,) = judge([found(spec=spec)], NOW)
    assert isinstance(one, InvalidResource)
    shown = as_json(one)
    assert shown["kind"] == "ClaraAeTitle"
    assert shown["spec"] == spec
    assert shown["status"]["Enabled"] is False
    assert condition(one)["status"] == "False"
    assert condition(one)["reason"] == "Invalid"
    assert "aeTitle" in str(condition(one)["message"])
    assert "colour" in str(condition(one)["message"])
    assert Resources.of([one]) == Resources()
    assert (one.spec.name, one.spec.ae_title) == ("SEVENTEEN CHARS17", "SEVENTEEN CHARS17")


def test_of_two_for_one_ae_title_the_older_serves() -> None:
    older, newer = judge([found("a"), found("b")], NOW)
    assert serving([older, newer]) == [older]
    assert condition(newer)["reason"] == "AlreadyExists"
    assert condition(newer)["message"] == "Clara AE Title BRAIN: a is older and serves."


def test_ae_titles_that_differ_in_case_are_two_and_names_of_destinations_one() -> None:
    titles = judge([found("a"), found("b", {**BRAIN, "aeTitle": "brain"})], NOW)
    assert serving(titles) == titles
    pacs: dict[str, object] = {"name": "PACS", "aeTitle": "A", "hostIp": "h", "port": 104}
    first, second = judge(
        [found("x", pacs, Kind.DESTINATION), found("y", {**pacs, "name": "pacs"}, Kind.DESTINATION)], NOW
    )
    assert serving([first, second]) == [first]
    assert "x is older" in str(condition(second)["message"])


def test_an_invalid_one_takes_no_title_from_a_later_one() -> None:
    broken, good = judge([found("a", {**BRAIN, "timeout": -1}), found("b")], NOW)
    assert serving([broken, good]) == [good]


def test_when_the_older_goes_the_newer_serves() -> None:
    _, newer = judge([found("a"), found("b")], THEN)
    (now,) = judge([found("b", status=stored(newer))], NOW)
    assert condition(now)["status"] == "True"
    assert condition(now)["lastTransitionTime"] == NOW


def test_a_verdict_that_holds_keeps_its_time() -> None:
    (first,) = judge([found()], THEN)
    (again,) = judge([found(status=stored(first), generation=2)], NOW)
    assert condition(again)["lastTransitionTime"] == THEN
    assert condition(again)["observedGeneration"] == 2
    (broken,) = judge([found(spec={}, status=stored(again))], NOW)
    assert condition(broken)["lastTransitionTime"] == NOW
    (other_reason,) = judge([found(spec={"aeTitle": ""}, status=stored(broken))], "2026-03-03T00:00:00Z")
    assert condition(other_reason)["lastTransitionTime"] == NOW


@pytest.mark.parametrize(
    "status",
    [
        {"Enabled": True},
        {"conditions": None},
        {"conditions": ["x", {}, {"type": "Accepted"}]},
        {"conditions": [{"type": "Ready", "status": "True"}]},
    ],
)
def test_a_status_that_others_wrote_is_no_trouble(status: dict[str, object]) -> None:
    (one,) = judge([found(status=status)], NOW)
    assert condition(one)["lastTransitionTime"] == NOW


def test_reasons_are_bounded() -> None:
    (one,) = judge([found(spec={str(number): "x" for number in range(5000)})], NOW)
    assert len(str(condition(one)["message"])) == 1024


def test_a_new_one_must_not_take_what_serves() -> None:
    spec = parse_spec(Kind.CLARA_AE_TITLE, BRAIN)
    serves = accepted(Kind.CLARA_AE_TITLE, spec, Metadata(name="a"), NOW)
    with pytest.raises(AlreadyExistsError, match="Clara AE Title BRAIN already exists"):
        check_identity(spec, [serves])
    (broken,) = judge([found(spec={**BRAIN, "timeout": -1})], NOW)
    check_identity(spec, [broken])
