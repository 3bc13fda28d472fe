"""The default processor."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import Mock, call

import pytest

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import Batch, BatchState
from dicom_adapter.core.snapshot import ClaraAeTitle
from dicom_adapter.processors.job import JobProcessor

AE = ClaraAeTitle("lung", "LUNG", pipelines=("p1", "p2", "p1"))
BATCH = Batch("b1", "LUNG", BatchState.CLOSED, 0.0, AE)


def test_each_pipeline_gets_one_job_over_the_whole_batch() -> None:
    context = Mock(ae_title=AE)
    asyncio.run(JobProcessor().process(BATCH, context))
    assert context.submit_job.mock_calls == [call("p1"), call("p2")]


def test_a_batch_without_a_pipeline_is_for_a_person() -> None:
    with pytest.raises(PermanentError, match="LUNG is mapped to no pipeline"):
        asyncio.run(JobProcessor().process(BATCH, Mock(ae_title=replace(AE, pipelines=()))))
