"""What the Results Service's JSON means, and that no answer of it costs more than the task that is broken."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_adapter.core.model import GivenTask
from dicom_adapter.engines.clara_tasks import MAX_DESTINATIONS, NotTasks, destination_names, read_tasks

ID = "6c7f1a80-8a54-4b0c-9d3f-0f4b8f0c9d11"
TASK: dict[str, Any] = {
    "taskId": ID,
    "jobId": "job-7",
    "pipelineId": "p",
    "payloadId": "payload-7",
    "parameters": '["PACS1"]',
    "state": "Pending",
    "agent": "clarascu",
    "retries": 2,
    "uris": ["dicom-op/series1.dcm", "dicom-op/series2.dcm"],
}


def read(*entries: object) -> list[GivenTask]:
    return read_tasks(json.dumps(entries).encode())[0]


def test_tasks_as_the_original_wrote_them() -> None:
    tasks, skipped = read_tasks(json.dumps([TASK, {**TASK, "taskId": "2"}, {**TASK, "taskId": "3"}]).encode())
    assert (len(tasks), skipped) == (3, 0)
    uris = ("dicom-op/series1.dcm", "dicom-op/series2.dcm")
    assert tasks[0] == GivenTask(ID, "job-7", "payload-7", ("PACS1",), uris, 2)


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ('"PACS1"', ("PACS1",)),
        ('["PACS1"]', ("PACS1",)),
        ('["PACS1", "PACS2"]', ("PACS1", "PACS2")),
        ('["PACS1", "pacs1", " PACS1 "]', ("PACS1",)),
        ("PACS1", ("PACS1",)),
        (" My PACS ", ("My PACS",)),
        ("4711", ("4711",)),
        ("true", ("true",)),
        (["PACS1", "PACS2"], ("PACS1", "PACS2")),
        ("[PACS1", ("[PACS1",)),
        ("[" * 100_000, None),
        (None, ()),
        ("", ()),
        ("null", ()),
        ('""', ()),
        ("[]", ()),
        ('[" "]', ()),
        ("{}", None),
        ('{"name": "PACS1"}', None),
        ("[1]", None),
        ("[[]]", None),
        ('"a\\nb"', None),
        ('"\\ud800"', None),
        (17, None),
        ({}, None),
        ("x" * 5000, None),
        (json.dumps([f"d{number}" for number in range(MAX_DESTINATIONS + 1)]), None),
    ],
)
def test_destinations(parameters: object, names: tuple[str, ...] | None) -> None:
    if names is None:
        with pytest.raises(ValueError, match="its parameters"):
            destination_names(parameters)
    else:
        assert destination_names(parameters) == names


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"parameters": None}, "name no destination"),
        ({"parameters": 1.5}, "are not the name of a destination"),
        ({"parameters": "{}"}, "are not the name of a destination"),
        ({"uris": "a.dcm"}, "uris are not a list"),
        ({"uris": ["a.dcm", 2]}, "uris are not a list"),
        ({"uris": {"a": 1}}, "uris are not a list"),
        ({"uris": ["a.dcm"] * 50_001, "parameters": ["A", "B"]}, "for 2 destinations are more than 100000 files"),
        ({"payloadId": 7}, "payloadId is not a text"),
        ({"payloadId": None}, "has no payloadId"),
        ({"payloadId": "a\u0000b"}, "payloadId is not a text"),
        ({"jobId": ["x"]}, "jobId is not a text"),
        ({"retries": "2"}, "retries are not"),
        ({"retries": True}, "retries are not"),
        ({"retries": -1}, "retries are not"),
        ({"retries": 1e400}, "retries are not"),
        ({"retries": 10**30}, "retries are not"),
    ],
)
def test_a_broken_task_is_told_by_its_id_and_costs_no_other(changes: dict[str, Any], problem: str) -> None:
    broken, whole = read({**TASK, **changes}, TASK)
    assert broken.task_id == ID
    assert problem in (broken.problem or "")
    assert whole.problem is None


@pytest.mark.parametrize("entry", [None, 7, "text", [], {}, {"taskId": None}, {"taskId": 7}, {"taskId": "../x"}])
def test_what_has_no_usable_id_is_skipped(entry: object) -> None:
    assert read_tasks(json.dumps([entry, TASK]).encode()) == (read(TASK), 1)


def test_a_key_that_stands_twice_breaks_its_task_only() -> None:
    double = json.dumps(TASK)[:-1] + ', "payloadId": "other"}'
    twice = json.dumps(TASK)[:-1] + ', "TASKID": "other"}'
    tasks, skipped = read_tasks(f"[{double}, {twice}, {json.dumps(TASK)}]".encode())
    assert [task.problem is None for task in tasks] == [False, True]
    assert skipped == 1


def test_numbers_that_json_does_not_have() -> None:
    [task] = read_tasks(json.dumps([{**TASK, "retries": float("nan")}]).encode())[0]
    assert task.problem is not None


def test_what_may_be_left_out() -> None:
    [task] = read({"taskId": ID, "parameters": "PACS1"})
    assert task == GivenTask(ID, destinations=("PACS1",))


def test_names_of_keys_compare_without_case() -> None:
    assert read({key.upper(): value for key, value in TASK.items()}) == read(TASK)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{}", b"null", b"17", b'[{"taskId"', b"\xff\xfe[]", b"[" * 100_000, b'"[]"', b"[1" + b"0" * 9999],
    ids=lambda body: repr(body[:9]),
)
def test_an_answer_that_is_no_list(body: bytes) -> None:
    with pytest.raises(NotTasks, match="its answer is"):
        read_tasks(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*TASK, "x"]), inner),
    max_leaves=20,
)


ENTRY = st.fixed_dictionaries({}, optional=dict.fromkeys(TASK, JSON) | {"taskId": st.text() | st.just(ID)})


@given(st.lists(ENTRY | JSON))
def test_any_list_is_read(entries: list[object]) -> None:
    tasks, skipped = read_tasks(json.dumps(entries).encode())
    assert len(tasks) + skipped == len(entries)
    for task in tasks:
        assert task.problem or (task.destinations and all(task.destinations))


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(NotTasks):
        read_tasks(body)
