"""processorSettings of the later generation: which are taken, and what is said of the others (contract 5.6)."""

from __future__ import annotations

import pytest

from dicom_adapter.config import processor_settings


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pipeline-lung": "7b9c", "PIPELINE-Brain": "3c9d"},
        {"timeout": "0"},
        {"timeout": "86400"},
        {"jobRetryDelay": "5000"},
        {"priority": "normal"},
        {"priority": "Immediate"},
        {"groupBy": "0020,000D"},
        {"groupBy": "(0020,000d)"},
        {"groupBy": "00100020"},
    ],
)
def test_what_is_taken(settings: dict[str, str]) -> None:
    assert processor_settings.problems("BRAIN", settings) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"colour": "blue"}, "Processor setting ignored colour=blue."),
        ({"colour": "x" * 1000}, f"Processor setting ignored colour={'x' * 64}..."),
        ({"Timeout": "5"}, "Processor setting ignored Timeout=5."),
        ({"pipeline-": "7b9c"}, "Processor setting ignored pipeline-=7b9c."),
        ({"pipeline-lung": " "}, "Invalid processor setting 'pipeline-lung' specified for AE Title BRAIN."),
        ({"timeout": "-1"}, "Invalid processor setting 'timeout' specified for AE Title BRAIN."),
        ({"timeout": "5 s"}, "Found '5 s', allowed whole seconds, 0 to 86400"),
        ({"timeout": "86401"}, "Invalid processor setting 'timeout'"),
        ({"timeout": "\u0665"}, "Invalid processor setting 'timeout'"),
        ({"timeout": "9" * 5000}, "Invalid processor setting 'timeout'"),
        ({"jobRetryDelay": "soon"}, "Invalid processor setting 'jobRetryDelay' specified for AE Title BRAIN."),
        ({"priority": "urgent"}, "allowed lower, normal, higher, immediate"),
        ({"groupBy": "PatientID"}, "allowed a DICOM tag, such as 0020,000D"),
        ({"groupBy": "0020,000G"}, "Invalid processor setting 'groupBy' specified for AE Title BRAIN."),
    ],
)
def test_what_is_not(settings: dict[str, str], words: str) -> None:
    (problem,) = processor_settings.problems("BRAIN", settings)
    assert words in problem
    assert len(problem) < 400


def test_every_problem_is_told() -> None:
    assert len(processor_settings.problems("BRAIN", {"colour": "blue", "timeout": "", "priority": "normal"})) == 2


def test_pipelines_by_their_names() -> None:
    settings = {"pipeline-lung": "7b9c", "timeout": "5", "Pipeline-brain": "3c9d"}
    assert processor_settings.pipelines(settings) == {"lung": "7b9c", "brain": "3c9d"}


def test_timeout_is_of_seconds() -> None:
    assert processor_settings.timeout({"timeout": "5"}) == 5
    assert processor_settings.timeout({}) is None
