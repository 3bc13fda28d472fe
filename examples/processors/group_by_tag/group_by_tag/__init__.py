"""A processor for dicom-adapter that makes one job for each value of a DICOM attribute."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.tag import BaseTag, Tag

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import Batch, Instance
from dicom_adapter.core.ports import ProcessorContext

SETTING = "group-by-tag"
DEFAULT_TAG = "SeriesInstanceUID"


class GroupByTag:
    """Splits a batch by the value of the attribute that the setting `group-by-tag` names."""

    async def process(self, batch: Batch, context: ProcessorContext) -> None:
        tag = _tag(context.ae_title.settings.get(SETTING, DEFAULT_TAG))
        groups = await asyncio.to_thread(_grouped, context, tag)  # files are read: it blocks
        for value, instances in groups.items():
            for pipeline_id in context.ae_title.pipelines:
                context.submit_job(pipeline_id, instances, key=_key(batch, value))


def _tag(text: str) -> BaseTag:
    """The tag of a keyword, or of eight hexadecimal digits with or without a comma and parentheses."""
    try:
        return Tag(text.strip(" ()").replace(",", ""))
    except ValueError as error:
        raise PermanentError(f"setting {SETTING}: {text!r} is neither a DICOM keyword nor a tag") from error


def _grouped(context: ProcessorContext, tag: BaseTag) -> dict[str, Sequence[Instance]]:
    groups: dict[str, list[Instance]] = {}
    for instance in context.instances:
        groups.setdefault(_value(context.path(instance), tag), []).append(instance)
    return dict(groups)


def _value(path: Path, tag: BaseTag) -> str:
    """The attribute's value as text, "" where there is none."""
    dataset = dcmread(path, stop_before_pixels=True, specific_tags=[tag])
    return str(dataset[tag].value or "") if tag in dataset else ""


def _key(batch: Batch, value: str) -> str:
    """Tells the groups of one batch apart, the same at every call, and says nothing about the value."""
    return hashlib.blake2b(value.encode(), key=batch.id.encode(), digest_size=6).hexdigest()
