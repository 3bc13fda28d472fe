"""`dicom` and `core` are pure: no I/O, no clock, no log, no threads, no chance. Read from the syntax of each module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dicom_adapter

PACKAGE = Path(dicom_adapter.__file__).parent
FORBIDDEN = {
    "asyncio",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "selectors",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "ssl",
    "structlog",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
# A protocol names paths that its implementations open; the module itself touches none.
ALLOWED = {PACKAGE / "core" / "ports.py": {"pathlib"}}
MODULES = sorted((PACKAGE / "dicom").rglob("*.py")) + sorted((PACKAGE / "core").rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    """Top-level names of everything a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_is_pure(module: Path) -> None:
    source = module.read_text()
    assert (FORBIDDEN - ALLOWED.get(module, set())).isdisjoint(imported(source))
    called = {
        node.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called.isdisjoint({"open", "print", "input", "__import__", "eval", "exec"})


def test_the_test_sees_imports_inside_functions() -> None:
    assert set(imported("def f():\n    import os.path\n    from time import sleep\n")) == {"os", "time"}
    assert len(MODULES) > 20
