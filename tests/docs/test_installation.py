"""docs/installation.md is true: what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML

from dicom_adapter import __version__

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
VALUES = YAML(typ="safe").load(ROOT / "deploy" / "helm" / "dicom-adapter" / "values.yaml")


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"\b(deploy/[\w./-]*\w)", TEXT)) | set(re.findall(r"\]\(([\w-]+\.md)\)", TEXT))
    assert len(named) > 5
    missing = [name for name in named if not ((ROOT / name).exists() or (ROOT / "docs" / name).exists())]
    assert missing == []


def test_every_value_of_the_chart_is_there() -> None:
    table = TEXT.partition("| value |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines() if row for name in re.findall(r"`([\w.]+)`", row.split("|")[1])]
    assert len(named) > 10
    for name in (*named, *re.findall(r"--set(?:-file)? ([\w.]+)=", TEXT)):
        found = VALUES
        for part in name.split("."):
            assert part in found, name
            found = found[part]


def test_the_wheel_is_that_of_this_version() -> None:
    assert set(re.findall(r"dicom_adapter-([\d.]+)-py3", TEXT)) == {__version__}
    assert set(re.findall(r"dicom_adapter-([\d.]+)-py3", (ROOT / "README.md").read_text())) == {__version__}
