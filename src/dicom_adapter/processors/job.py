"""The default processor: one job for each pipeline that the AE Title is mapped to."""

from __future__ import annotations

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import Batch
from dicom_adapter.core.ports import ProcessorContext


class JobProcessor:
    """The Job Processor of the specification (contract 5.6): every pipeline gets the whole batch."""

    async def process(self, batch: Batch, context: ProcessorContext) -> None:
        pipelines = dict.fromkeys(context.ae_title.pipelines)
        if not pipelines:
            raise PermanentError(
                f"AE Title {batch.called_ae_title} is mapped to no pipeline: map it, then release the batch"
            )
        for pipeline_id in pipelines:
            context.submit_job(pipeline_id)
