"""job.json: files grouped by series, in the order of their names, and nothing about a patient."""

from __future__ import annotations

import json

from dicom_adapter.core.model import Job, JobState
from dicom_adapter.manager.manifest import job_manifest, job_metadata, payload_name
from tests.fakes import CT, association

JOB = Job("j", "lung-lung-ai-b", "b", "p1", "lung_ai", "LUNG", JobState.QUEUED, 2, 3, 0, 1000)


def test_metadata() -> None:
    _, instances = association(instances=3)
    assert job_metadata(JOB, instances) == {"Source": "LUNG", "Instances": "3"}


def test_series_with_their_files() -> None:
    _, [first, second, third] = association(instances=3)
    manifest = job_manifest(JOB, ["CT1", "CT2"], [first, second._replace(series_instance_uid="1.2.9"), third])
    assert json.loads(json.dumps(manifest)) == {
        "job": "j",
        "name": "lung-lung-ai-b",
        "attempt": 2,
        "batch": "b",
        "pipeline": {"id": "p1", "name": "lung_ai"},
        "calledAeTitle": "LUNG",
        "callingAeTitles": ["CT1", "CT2"],
        "series": [
            {
                "studyInstanceUid": "1.2.3",
                "seriesInstanceUid": "1.2.3.1",
                "sopClassUids": [CT],
                "instances": 2,
                "files": ["00000001.dcm", "00000003.dcm"],
            },
            {
                "studyInstanceUid": "1.2.3",
                "seriesInstanceUid": "1.2.9",
                "sopClassUids": [CT],
                "instances": 1,
                "files": ["00000002.dcm"],
            },
        ],
    }


def test_instances_without_a_series_are_told_too() -> None:
    _, [instance] = association(instances=1)
    manifest = job_manifest(JOB, [], [instance._replace(study_instance_uid=None, series_instance_uid=None)])
    assert manifest["series"] == [
        {
            "studyInstanceUid": None,
            "seriesInstanceUid": None,
            "sopClassUids": [CT],
            "instances": 1,
            "files": ["00000001.dcm"],
        }
    ]


def test_names_sort_as_numbers_do() -> None:
    numbers = (1, 2, 10, 99, 100, 12_345)
    assert sorted(map(payload_name, numbers)) == [payload_name(number) for number in numbers]
