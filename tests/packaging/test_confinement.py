"""What deploy/ promises of a container, without one: the installed wheel on a read-only root, as nobody, on port 104.

The namespaces, the user and the capabilities are the real ones; the image is this machine's own root file system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

UID = "10001"  # as in the Dockerfile
PYTHON = Path("/usr/bin/python3")  # that of the tests may be in a home that nobody else can enter
PACKAGES = sysconfig.get_path("purelib")
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"

CONFIGURATION = """\
dicom:
  scp:
    port: 104
    ae-titles: [{ae-title: LUNG}]
    reject-unknown-sources: false
pipeline-mappings: [{name: count, clara-ae-title: LUNG}]
pipelines: [{id: count, command: [python3, -c, "print(1)", "{input}"]}]
storage: {temporary: ./storage}
"""
CONFINE = """\
set -e
mount --make-rprivate /
mount --bind -o ro "$PACKAGES" "$HOUSE/packages"
mount -t tmpfs tmpfs /tmp
mount --bind "$HOUSE/storage" "$HOUSE/storage"
mount -o remount,bind,ro /
ip link set lo up
echo 104 > /proc/sys/net/ipv4/ip_unprivileged_port_start
exec setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups --no-new-privs --bounding-set=-all sh "$HOUSE/inside"
"""
INSIDE = """\
cd "$HOUSE"
touch "$HOUSE/x" 2> /dev/null && echo "the root can be written"
"$HOUSE/env/bin/clara" dicom start --foreground --file "$HOUSE/app.yaml" > "$HOUSE/storage/log" 2>&1 &
adapter=$!
tries=0
until "$HOUSE/env/bin/clara" dicom status --file "$HOUSE/app.yaml" > /dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 60 ] && kill -0 $adapter 2> /dev/null || { cat "$HOUSE/storage/log"; exit 1; }
  sleep 0.5
done
echo "healthy as $(id -u)"
kill -TERM $adapter
wait $adapter
echo "ended with $?"
"""


def can_confine() -> bool:
    """Whether this user may make namespaces, and another user could run a Python that knows our packages."""
    tools = all(shutil.which(tool) for tool in ("unshare", "setpriv", "mount", "ip"))
    if os.geteuid() != 0 or not tools or not PYTHON.exists():
        return False
    look = f"import os, sys, venv; os.listdir({PACKAGES!r}); print(*sys.version_info[:2], sep='.')"
    as_nobody = ["setpriv", "--reuid", UID, "--regid", UID, "--clear-groups", str(PYTHON), "-c", look]
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", *as_nobody]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == MINOR


@pytest.fixture
def house(wheel: Path) -> Iterator[Path]:
    """A folder that everybody can read: the environment, the configuration, and storage that only the user has."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run([str(PYTHON), "-m", "venv", "--without-pip", str(folder / "env")], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "env" / "bin" / "python"), "install", "--quiet"]
        subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
        (folder / "packages").mkdir()  # where those of the tests are mounted: the checkout may lie below /tmp
        (site / "dependencies.pth").write_text(f"{folder / 'packages'}\n")
        (folder / "app.yaml").write_text(CONFIGURATION)
        (folder / "inside").write_text(INSIDE)
        (folder / "storage").mkdir()
        os.chown(folder / "storage", int(UID), int(UID))
        yield folder


@pytest.mark.skipif(not can_confine(), reason="needs root, namespaces, and the system's Python in the version of ours")
def test_the_root_is_read_only_the_user_is_nobody_and_the_port_is_104(house: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOUSE": str(house),
        "PACKAGES": PACKAGES,
        "NOBODY": UID,
        "HOME": str(house / "storage"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    ran = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", CONFINE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    told = ran.stdout.splitlines()
    assert told[:1] == [f"healthy as {UID}"], ran.stdout + ran.stderr
    assert told[-1:] == ["ended with 0"]
    assert {path.name for path in (house / "storage").iterdir()} >= {"adapter.db", "spool"}
