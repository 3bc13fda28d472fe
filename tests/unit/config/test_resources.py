"""Specs as they come from outside: both generations, and nothing that an API server would not know."""

from __future__ import annotations

import pytest

from dicom_adapter.config.resources import ClaraAeTitleSpec, InvalidResourceError, Kind, parse_spec, rfc3339
from dicom_adapter.core.snapshot import AE_TITLE_JOB_PROCESSOR, DEFAULT_PROCESSOR

LATER = "Nvidia.Clara.DicomAdapter.Server.Processors.AeTitleJobProcessor, Nvidia.Clara.DicomAdapter"
A = {"name": "a", "aeTitle": "A"}


def ae_title(body: dict[str, object]) -> ClaraAeTitleSpec:
    spec = parse_spec(Kind.CLARA_AE_TITLE, body)
    assert isinstance(spec, ClaraAeTitleSpec)
    return spec


@pytest.mark.parametrize(
    ("body", "pipelines", "processors"),
    [
        ({"pipelineId": "p", "timeout": 5}, ("p",), (DEFAULT_PROCESSOR,)),
        ({"pipelineId": "p", "processors": ["job", "x:Y"]}, ("p",), ("job", "x:Y")),
        ({"processor": LATER, "processorSettings": {"pipeline-a": "p", "pipeline-b": "q"}}, ("p", "q"), (LATER,)),
        ({"processorSettings": {"pipeline-a": 7, "groupBy": "0010,0020"}}, ("7",), (DEFAULT_PROCESSOR,)),
        ({"pipelineId": "p", "processorSettings": {"pipeline-a": "p"}}, ("p",), (DEFAULT_PROCESSOR,)),
        ({"processor": "x:Y", "processorSettings": {"colour": "blue"}}, (), ("x:Y",)),
        ({"processors": []}, (), ()),
    ],
)
def test_both_generations(body: dict[str, object], pipelines: tuple[str, ...], processors: tuple[str, ...]) -> None:
    spec = ae_title({**A, **body})
    assert spec.pipeline_ids == pipelines
    assert spec.all_processors == processors


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "No pipeline defined for AE Title A."),
        ({"processor": LATER}, "No pipeline defined for AE Title A."),
        ({"processor": "job"}, "No pipeline defined for AE Title A."),
        ({"processor": LATER, "processorSettings": {"pipeline-a": "p", "n": 1}}, "Processor setting ignored n=1."),
        ({"pipelineId": "p", "processorSettings": {"timeout": "soon"}}, "Invalid processor setting 'timeout'"),
        ({"pipelineId": "p", "processorSettings": {"a": "x" * 1025}}, "processorSettings"),
        ({"pipelineId": "p", "processorSettings": {"a\n": "x"}}, "processorSettings"),
        ({"pipelineId": "p", "processorSettings": {"a": True}}, "processorSettings"),
        ({"processors": ["job"], "processor": "job", "pipelineId": "p"}, "leave one of them out"),
        ({"pipeline_id": "p"}, "pipeline_id: unknown"),
        ({"pipelineId": "p", "ae_title": "B"}, "ae_title: unknown"),
    ],
)
def test_what_is_refused(body: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidResourceError) as refused:
        parse_spec(Kind.CLARA_AE_TITLE, {**A, **body})
    assert words in str(refused.value)


def test_names_of_python_are_not_taken_for_those_of_the_resource() -> None:
    with pytest.raises(InvalidResourceError, match="aeTitle: required"):
        parse_spec(Kind.SOURCE, {"ae_title": "A", "host_ip": "h"})


def test_the_two_names_of_the_job_processor_are_the_originals() -> None:
    assert LATER.replace(" ", "") == AE_TITLE_JOB_PROCESSOR


def test_times_are_as_kubernetes_writes_them() -> None:
    assert rfc3339(1_700_000_000.9) == "2023-11-14T22:13:20Z"
