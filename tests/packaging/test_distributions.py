"""What is shipped: the wheel, built from the sdist alone, and its command with nothing of the source tree at hand."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_what_the_adapter_needs_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    source = ROOT / "src"
    data = {
        path.relative_to(source).as_posix()
        for pattern in ("py.typed", "config/default.yaml", "store/migrations/versions/*.py", "store/migrations/*.mako")
        for path in (source / "dicom_adapter").glob(pattern)
    }
    assert len(data) >= 4
    assert data <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"dicom_adapter"}


def test_the_command_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    script = "import dicom_adapter, sys; print(dicom_adapter.__file__); from dicom_adapter.cli import clara; clara()"
    ran = subprocess.run(
        [sys.executable, "-c", script, "dicom", "start", "--help"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert str(site) in ran.stdout.splitlines()[0]
