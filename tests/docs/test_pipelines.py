"""docs/pipelines.md is true: its example runs, and what it lists is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pydicom import examples

from dicom_adapter.core.results_policy import ResultsCheck
from dicom_adapter.engines import local_process
from dicom_adapter.engines import process_runner as runner
from dicom_adapter.results import check_results

DOCUMENT = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()


def test_the_first_pipeline_makes_results_that_may_be_exported(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "invert.py").write_text(program)
    for folder in ("input", "output"):
        (tmp_path / folder).mkdir()
    source = examples.ct
    for number in (1, 2):
        source.SOPInstanceUID = f"1.2.826.0.1.{number}"
        source.save_as(tmp_path / "input" / f"{number:08d}.dcm", enforce_file_format=True)
    subprocess.run([sys.executable, tmp_path / "invert.py", tmp_path / "input", tmp_path / "output"], check=True)
    results = check_results(
        sorted((tmp_path / "output").iterdir()),
        {str(source.StudyInstanceUID): tmp_path / "input" / "00000001.dcm"},
        {"1.2.826.0.1.1", "1.2.826.0.1.2"},
        ResultsCheck.STRICT,
    )
    assert [each.quarantine_reason for each in results] == [None, None]


def test_every_inherited_variable_is_listed() -> None:
    assert [name for name in local_process.INHERITED_VARIABLES if f"`{name}`" not in DOCUMENT] == []


def test_every_file_of_a_run_is_listed() -> None:
    names = (runner.RUN, runner.LOCK, runner.STARTED, runner.CANCEL, runner.EXIT, runner.STDOUT, runner.STDERR)
    assert [name for name in (*names, runner.SUPERVISOR_LOG, runner.MANIFEST) if f"`{name}`" not in DOCUMENT] == []


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"SIGKILL {local_process.GRACE:g} s later" in DOCUMENT
    assert f"the first {local_process.LOG_LIMIT >> 20} MiB of each" in DOCUMENT
