"""Every file and directory name below the storage folder, and what may be made into one.

Why here: one page that says what lies where (`docs/spool.md` tells why), so that no other module joins paths.
SECURITY: names are our own ids and counters, never a word of a peer's; `checked_id` refuses anything else.

    <storage>/
      adapter.lock                     held by the one process that owns the folder; its content is the process id
      adapter.db                       the index of facts (SQLite, with its -wal and -shm)
      cluster.json                     the last known resources of a Kubernetes cluster, where they are there
      run/adapter.json                 process id and REST address of the adapter that runs
      jobs/                            runs of the local process engine
      results/tmp/<id>/  new/<id>/     staged files to export, of a results task; of a job: new/<job>/attempt-<n>/
      quarantine/<id>/                 results that may not go to a PACS; of a job: <job>/attempt-<n>/, with the reasons
      spool/tmp/<assoc>/<n>.part       an instance in progress
      spool/new/<assoc>/<n>.dcm        a committed instance, beside association.json, index.jsonl and the outcome marker
      spool/hold/                      put aside by a person      } nothing in these two
      spool/corrupt/<assoc>/           unreadable, with a reason  } is ever removed
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ENVELOPE: Final = "association.json"
INDEX: Final = "index.jsonl"
PART_SUFFIX: Final = ".part"
INSTANCE_SUFFIX: Final = ".dcm"
REASON_SUFFIX: Final = ".reason"

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_INSTANCE_NAME: Final = re.compile(r"([1-9][0-9]{0,8})\.dcm")


def checked_id(identifier: str) -> str:
    """`identifier`, if it can be one component of a path and nothing more. Raises ValueError otherwise."""
    if not _ID.fullmatch(identifier):
        raise ValueError("an id is 1 to 64 letters, digits, '.', '_' and '-', and starts with a letter or digit")
    return identifier


def part_name(number: int) -> str:
    return f"{number}{PART_SUFFIX}"


def instance_name(number: int) -> str:
    return f"{number}{INSTANCE_SUFFIX}"


def instance_number(name: str) -> int | None:
    """The number of an instance's file name, or None when it is not one."""
    match = _INSTANCE_NAME.fullmatch(name)
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class StorageLayout:
    """The paths below one storage folder. Values only: nothing is created or looked at."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "adapter.lock"

    @property
    def database(self) -> Path:
        return self.root / "adapter.db"

    @property
    def cluster(self) -> Path:
        """The last known resources of a Kubernetes cluster."""
        return self.root / "cluster.json"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def results_tmp(self) -> Path:
        return self.root / "results" / "tmp"

    @property
    def results_new(self) -> Path:
        return self.root / "results" / "new"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def tmp(self) -> Path:
        return self.spool / "tmp"

    @property
    def new(self) -> Path:
        return self.spool / "new"

    @property
    def hold(self) -> Path:
        return self.spool / "hold"

    @property
    def corrupt(self) -> Path:
        return self.spool / "corrupt"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory that is there while the adapter runs, parents first."""
        return (
            self.root,
            self.run,
            self.jobs,
            self.root / "results",
            self.results_tmp,
            self.results_new,
            self.quarantine,
            self.spool,
            self.tmp,
            self.new,
            self.hold,
            self.corrupt,
        )

    def association(self, association_id: str) -> Path:
        """The folder of an association's committed instances."""
        return self.new / checked_id(association_id)

    def instance(self, association_id: str, number: int) -> Path:
        """The Part 10 file of a committed instance."""
        return self.association(association_id) / instance_name(number)

    def staged_results(self, own_id: str) -> Path:
        """Files of a results task while they are downloaded; not durable yet."""
        return self.results_tmp / checked_id(own_id)

    def results(self, own_id: str) -> Path:
        """Results that may be exported, of a results task, or of a job's attempts; durable."""
        return self.results_new / checked_id(own_id)

    def quarantined(self, own_id: str) -> Path:
        """Results that may not be exported, of a results task, or of a job's attempts."""
        return self.quarantine / checked_id(own_id)

    def results_of_attempt(self, job_id: str, attempt: int) -> Path:
        """Its own folder: results of an attempt that a person canceled must not pass for those of the next one."""
        return self.results(job_id) / _attempt(attempt)

    def quarantined_of_attempt(self, job_id: str, attempt: int) -> Path:
        """Those of an attempt that may not be exported, with the reasons."""
        return self.quarantined(job_id) / _attempt(attempt)


def _attempt(number: int) -> str:
    """Not the bare number: files of earlier versions have that, directly in the job's folder."""
    return f"attempt-{number}"
