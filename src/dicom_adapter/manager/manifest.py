"""job.json: what a pipeline is told about its input. Ids, AE Titles and series; no patient data.

And the metadata that an engine shows of a job, as the platform's own adapter gave it (contract 1.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dicom_adapter.core.model import Instance, Job


def payload_name(position: int) -> str:
    """The name of the `position`-th file (from 1) in a job's input folder: nothing of a peer's."""
    return f"{position:08d}.dcm"


def job_metadata(job: Job, instances: Sequence[Instance]) -> Mapping[str, str]:
    """What people see of a job at its engine."""
    return {"Source": job.called_ae_title, "Instances": str(len(instances))}


def job_manifest(job: Job, calling_ae_titles: Sequence[str], instances: Sequence[Instance]) -> Mapping[str, object]:
    """The manifest of a job over these instances, in the order of `payload_name`."""
    series: dict[tuple[str | None, str | None], list[tuple[int, Instance]]] = {}
    for position, instance in enumerate(instances, start=1):
        key = (instance.study_instance_uid, instance.series_instance_uid)
        series.setdefault(key, []).append((position, instance))
    return {
        "job": job.id,
        "name": job.name,
        "attempt": job.attempt,
        "batch": job.batch_id,
        "pipeline": {"id": job.pipeline_id, "name": job.pipeline_name},
        "calledAeTitle": job.called_ae_title,
        "callingAeTitles": list(calling_ae_titles),
        "series": [
            {
                "studyInstanceUid": study,
                "seriesInstanceUid": uid,
                "sopClassUids": sorted({instance.sop_class_uid for _, instance in members}),
                "instances": len(members),
                "files": [payload_name(position) for position, _ in members],
            }
            for (study, uid), members in series.items()
        ],
    }
