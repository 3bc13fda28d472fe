"""What the figures are taken on: the machine and the versions of everything measured. No names, no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

import dicom_adapter


def describe(folder: Path) -> dict[str, str]:
    """Words for the head of the report; `folder`: where the receivers store."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB",
        "file system": _file_system(folder),
        "load before": f"{os.getloadavg()[1]:.1f} (mean of 5 minutes; above 0.5, other work disturbed the figures)",
        "system": f"{_distribution()}, Linux {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "adapter": dicom_adapter.__version__,
        "pynetdicom": importlib.metadata.version("pynetdicom"),
        "DCMTK": _version_of("storescp"),
        "Orthanc": _version_of("Orthanc"),
    }


def populate_memory(count: int) -> None:
    """Write `count` bytes of memory and give them back.

    A virtual machine hands free memory back to its host, and the host gives it out again page by page, at the first
    touch: storing 512 KiB in such pages takes three times as long, at random for whoever is measured.
    """
    block = bytes(1 << 20)
    with open(os.memfd_create("populate"), "wb", buffering=0) as file:
        for _ in range(count >> 20):
            file.write(block)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    below = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(below, key=lambda mount: len(mount[0]))[1]


def _distribution() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())


def _version_of(program: str) -> str:
    if shutil.which(program) is None:
        return "not installed"
    printed = subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout
    words = printed.split("\n", 1)[0].replace("$", "").split()
    return next((word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit()), "unknown")
