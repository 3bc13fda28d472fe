"""docs/command-line.md names every command and every exit status."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from dicom_adapter.cli.app import dicom_adapter_program
from dicom_adapter.cli.outcome import ExitCode

TEXT = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text(encoding="utf-8")


def commands(*group: str) -> set[str]:
    out = CliRunner().invoke(dicom_adapter_program, [*group, "--help"]).stdout
    return set(re.findall(r"^│ ([a-z-]+) ", out.partition("Commands")[2], re.MULTILINE))


def test_every_command_is_documented() -> None:
    table = TEXT.partition("| --- |")[2].partition("\n\n")[0]
    first_cells = " ".join(line.split(" | ")[0] for line in table.splitlines())
    groups = {"job", "export", "config", "create", "list", "get", "delete"}
    documented = set(re.findall(rf"`((?:(?:{'|'.join(groups)}) )?[a-z-]+)", first_cells))
    there = (commands() - groups) | {f"{group} {name}" for group in groups for name in commands(group)}
    assert documented == there


def test_every_exit_status_is_documented() -> None:
    assert [int(status) for status in re.findall(r"^\| (\d) \|", TEXT, re.MULTILINE)] == [
        code.value for code in ExitCode
    ]


def test_the_help_says_them_too() -> None:
    out = " ".join(CliRunner().invoke(dicom_adapter_program, ["--help"]).stdout.split())
    for code in ExitCode:
        assert f"{code.value} " in out.partition("Exit status:")[2]
