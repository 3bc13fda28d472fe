"""The default processor: one job for each pipeline that the AE Title is mapped to, or for each group and pipeline."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import Batch, Instance
from dicom_adapter.core.ports import ProcessorContext

GROUP_BY = "groupBy"  # contract 5.4, 5.6

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E


class JobProcessor:
    """The Job Processor of the specification: every pipeline gets the whole batch.

    With the setting `groupBy` of the later generation, a DICOM tag, it gets one job for each value. Instances without
    the attribute are a group of their own: the original left them lying.
    """

    async def process(self, batch: Batch, context: ProcessorContext) -> None:
        pipelines = dict.fromkeys(context.ae_title.pipelines)
        if not pipelines:
            raise PermanentError(
                f"AE Title {batch.called_ae_title} is mapped to no pipeline: map it, then release the batch"
            )
        setting = context.ae_title.settings.get(GROUP_BY)
        if setting is None:
            for pipeline_id in pipelines:
                context.submit_job(pipeline_id)
            return
        groups = await asyncio.to_thread(_grouped, context, _tag(setting))  # files are read: it blocks
        for value, instances in groups.items():
            for pipeline_id in pipelines:
                context.submit_job(pipeline_id, instances, key=_key(batch, value))


def _tag(text: str) -> int:
    """The tag of 0020,000D, (0020,000D) or 0020000D."""
    found = _TAG.fullmatch(text.strip())
    if found is None:
        raise PermanentError(f"setting {GROUP_BY}: {text!r} is no DICOM tag, such as 0020,000D")
    return int(found[1] + found[2], 16)


def _grouped(context: ProcessorContext, tag: int) -> Mapping[str, Sequence[Instance]]:
    groups: dict[str, list[Instance]] = {}
    for instance in context.instances:
        groups.setdefault(_value(context, instance, tag), []).append(instance)
    return groups


def _value(context: ProcessorContext, instance: Instance, tag: int) -> str:
    """The attribute's value as text, "" where there is none. The two usual ones are known without a look."""
    if tag == _STUDY_INSTANCE_UID and instance.study_instance_uid:
        return instance.study_instance_uid
    if tag == _SERIES_INSTANCE_UID and instance.series_instance_uid:
        return instance.series_instance_uid
    from pydicom import dcmread  # noqa: PLC0415 - a third of a second that only this setting costs

    try:
        dataset = dcmread(context.path(instance), stop_before_pixels=True, specific_tags=[tag])
        return str(dataset[tag].value or "") if tag in dataset else ""
    except OSError:
        raise
    except Exception:  # a data set that pydicom cannot read is stored all the same, and is no reason to hold the others
        return ""


def _key(batch: Batch, value: str) -> str:
    """Tells the groups of a batch apart, the same at every call, and says nothing of the value: it may be a name."""
    return hashlib.blake2b(value.encode(), key=batch.id.encode(), digest_size=6).hexdigest()
