"""Steps and names of jobs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.job_lifecycle import (
    MAX_JOB_NAME_LENGTH,
    Step,
    attempt_name,
    job_name,
    job_priority,
    job_retry_delay,
    next_step,
)
from dicom_adapter.core.model import EngineState, Job, JobPriority, JobState, JobStatus


def job(state: JobState) -> Job:
    return Job("j", "n", "b", "p", "pipe", "AET", state, 1, 1, 0, 0.0)


@pytest.mark.parametrize(
    ("state", "status", "step"),
    [
        (JobState.QUEUED, None, Step.CREATE),
        (JobState.CREATED, None, Step.UPLOAD),
        (JobState.UPLOADED, None, Step.START),
        (JobState.STARTED, None, Step.OBSERVE),
        (JobState.STARTED, JobStatus(EngineState.PENDING), Step.WAIT),
        (JobState.STARTED, JobStatus(EngineState.RUNNING), Step.WAIT),
        (JobState.STARTED, JobStatus(EngineState.STOPPED, healthy=True), Step.COLLECT),
        (JobState.STARTED, JobStatus(EngineState.STOPPED, healthy=False), Step.FAIL_ATTEMPT),
        (JobState.STARTED, JobStatus(EngineState.UNKNOWN), Step.FAIL_ATTEMPT),
        (JobState.SUCCEEDED, None, Step.DONE),
        (JobState.FAILED, None, Step.DONE),
        (JobState.CANCELED, None, Step.DONE),
    ],
)
def test_next_step(state: JobState, status: JobStatus | None, step: Step) -> None:
    assert next_step(job(state), status) is step


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("NVIDIADGX100", "ct_ai_pipeline", "0abc"), "nvidiadgx100-ct-ai-pipeline-0abc"),
        (("_A___Z_", "p", "1"), "a-z-p-1"),  # contract 1.6
        (("AE", "p", "1", "key"), "ae-p-1-key"),
        (("A" * 16, "p" * 80, "0123456789abcdef"), "a" * 16 + "-" + "p" * 29 + "-0123456789abcdef"),
        (("**", "§", "1"), "1"),
    ],
)
def test_name(arguments: tuple[str, ...], name: str) -> None:
    assert job_name(*arguments) == name


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_keys_of_any_kind_tell_jobs_apart_and_leave_the_batch_in_the_name(ae: str, key: str, other: str) -> None:
    names = {job_name(ae, "p", batch, of) for of in (key, other) for batch in ("1111111111111111", "2222222222222222")}
    assert len(names) == (2 if key == other else 4)
    assert all(re.search("1{16}|2{16}", name) for name in names)
    assert all(len(name) <= MAX_JOB_NAME_LENGTH for name in names)


@given(
    st.text(),
    st.text(),
    st.from_regex(r"[0-9a-z]{16}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{0,16}", fullmatch=True),
)
def test_name_is_well_formed_and_keeps_what_makes_it_unique(ae: str, pipeline: str, batch: str, key: str) -> None:
    name = job_name(ae, pipeline, batch, key)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= MAX_JOB_NAME_LENGTH
    assert "--" not in name
    assert name.endswith(f"{batch}-{key}" if key else batch)
    second = attempt_name(name, 2)
    assert attempt_name(name, 1) == name != second
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", second)
    assert len(second) <= MAX_JOB_NAME_LENGTH
    assert second.endswith(f"{batch}-{key}-attempt-2" if key else f"{batch}-attempt-2")


@pytest.mark.parametrize(
    ("settings", "priority"),
    [
        ({}, JobPriority.NORMAL),
        ({"priority": "lower"}, JobPriority.LOWER),
        ({"priority": "Higher"}, JobPriority.HIGHER),
        ({"priority": "IMMEDIATE"}, JobPriority.IMMEDIATE),
    ],
)
def test_priority(settings: dict[str, str], priority: JobPriority) -> None:
    assert job_priority(settings) is priority


def test_another_word_is_no_priority() -> None:
    with pytest.raises(PermanentError, match=r"'urgent': mend the AE Title \(lower, normal, higher, immediate\)"):
        job_priority({"priority": "urgent"})


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, None), ({"jobRetryDelay": "2500"}, 2.5), ({"jobRetryDelay": "0"}, 0.0), ({"jobRetryDelay": "soon"}, None)],
)
def test_retry_delay(settings: dict[str, str], seconds: float | None) -> None:
    assert job_retry_delay(settings) == seconds
