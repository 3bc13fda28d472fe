"""What is shipped: the wheel, built from the sdist alone, and its command with nothing of the source tree at hand."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_what_the_adapter_needs_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    source = ROOT / "src"
    data = {
        path.relative_to(source).as_posix()
        for pattern in (
            *("py.typed", "config/default.yaml", "store/migrations/versions/*.py", "store/migrations/*.mako"),
            *("engines/clara_platform/*.proto", "engines/clara_platform/*_pb2.py*", "testing/**/*.py"),
        )
        for path in (source / "dicom_adapter").glob(pattern)
    }
    assert len(data) >= 4 + 9
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


def test_generated_code_runs_with_the_oldest_protobuf_that_is_allowed() -> None:
    """It refuses an older runtime than that of its compiler, so one compiler is named, and its floor is ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [compiler] = [one for one in project["build-system"]["requires"] if one.startswith("grpcio-tools")]
    assert "==" in compiler
    assert compiler in project["dependency-groups"]["dev"]
    [floor] = [one for one in project["project"]["optional-dependencies"]["clara"] if one.startswith("protobuf")]
    generated = sorted((ROOT / "src" / "dicom_adapter" / "engines" / "clara_platform").glob("*_pb2.py"))
    assert len(generated) == 3
    for path in generated:
        assert f"# Protobuf Python Version: {floor.removeprefix('protobuf>=')}\n" in path.read_text()
