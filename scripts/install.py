"""install.py VENV REQUIREMENTS: make or refresh a virtual environment, and install the project into it.

Every package is one that REQUIREMENTS names with its hash; nothing is built but the project itself. Standard library
only, as it runs before anything is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections import deque
from pathlib import Path

BAR = 30  # characters


def main(environment: Path, requirements: Path) -> int:
    if not (environment / "bin" / "python").exists():
        print(f"making {environment} with Python {sys.version.split()[0]}", flush=True)
        venv.create(environment, with_pip=True, clear=True)
    pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]
    total = sum(line[:1].isalnum() for line in requirements.read_text().splitlines())
    locked = [*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", requirements]
    project = [*pip, "--no-deps", "--no-build-isolation", "--editable", "."]
    return _run(locked, total) or _run(project, 0)


def _run(command: list[str | Path], total: int) -> int:
    """Run pip behind a progress bar over `total` packages; its output is shown when it fails."""
    last_words: deque[str] = deque(maxlen=30)
    done = 0
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last_words.append(line)
            words = line.split()
            if words[:1] in (["Collecting"], ["Ignoring"]) or words[:2] == ["Requirement", "already"]:
                done += 1
                _show(done, total, words[2] if words[0] == "Requirement" else words[1])
            elif words[:1] == ["Installing"] and total:
                _show(total, total, "unpacking")
    if total:
        _show(total, total, "", end="\n")
    if process.returncode:
        print("".join(last_words), file=sys.stderr)
    return process.returncode


def _show(done: int, total: int, what: str, end: str = "") -> None:
    if not total:
        return
    done = min(done, total)
    filled = BAR * done // total
    name = what.partition("=")[0].rstrip(":")
    if sys.stdout.isatty():
        print(f"\r[{'#' * filled}{'.' * (BAR - filled)}] {done}/{total} {name:<28.28}", end=end, flush=True)
    elif done % 20 == 0 or end:
        print(f"{done} of {total} packages", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
