"""What is imported late, when it is first needed, by whichever threads need it."""

from __future__ import annotations

import subprocess
import sys

# Each line is how a module of the adapter comes to pydicom (its own imports come first: they hold no lock of pydicom).
USERS = """
import sys, threading
from dicom_adapter.dicom import part10, uid
from dicom_adapter.processors import job

def results(): from dicom_adapter import result_heads
def processor(): from pydicom import dcmread
def log(): import pydicom

sys.setswitchinterval(1e-6)  # seconds: threads meet in the middle of everything
start, failed = threading.Barrier(3), []

def first(use):
    start.wait()
    try:
        use()
    except Exception as error:
        failed.append(f"{use.__name__}: {error!r}")

threads = [threading.Thread(target=first, args=(use,)) for use in (processor, results, log)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*failed, sep="\\n")
"""


def test_pydicom_is_whole_however_threads_come_to_it_first() -> None:
    """Threads that enter a package by different modules are given it half made, and it stays so until a restart."""
    done = subprocess.run([sys.executable, "-c", USERS], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
