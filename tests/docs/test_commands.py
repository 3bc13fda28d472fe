"""The commands and keys that documents name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_adapter.cli.app import clara_program
from dicom_adapter.config.reference import keys
from dicom_adapter.config.resources import GROUP

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = ("config", "job", "export", "create", "list", "get", "delete")


def commands(text: str) -> set[tuple[str, ...]]:
    found = re.findall(r"clara dicom ([a-z-]+)(?: ([a-z]+)\b)?", text)
    return {(first, second) if first in GROUPS and second else (first,) for first, second in found}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_one(document: Path) -> None:
    for command in commands(document.read_text(encoding="utf-8")):
        result = CliRunner().invoke(clara_program, ["dicom", *command, "--help"])
        assert result.exit_code == 0, f"clara dicom {' '.join(command)}"


def test_commands_that_are_none_are_noticed() -> None:
    assert commands("`clara dicom config convert FILE`, clara dicom sned") == {("config", "convert"), ("sned",)}
    assert CliRunner().invoke(clara_program, ["dicom", "sned", "--help"]).exit_code != 0


@pytest.mark.parametrize("name", ["migrating-from-clara.md", "conformance-statement.md"])
def test_every_key_is_one(name: str) -> None:
    """Dotted names in `code`, whole or as a part of a key."""
    paths = [key.path.replace("[]", "").split(".") for key in keys()]
    known = {".".join(path[start:]) for path in paths for start in range(len(path))}
    text = re.sub(r"```.*?```|<!-- table.*?<!-- end -->", "", (ROOT / "docs" / name).read_text(), flags=re.DOTALL)
    named = re.findall(r"`((?:dicom|scp|scu|storage|services|api|log|results)\.[a-z.-]+)(?:: [^`]+)?`", text)
    assert named
    assert [each for each in named if each not in known | {GROUP}] == []
