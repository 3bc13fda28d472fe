"""The adapter's own SCU, in a process of its own: `python -m bench.our_scu PORT FILE...`."""

from __future__ import annotations

import sys
from pathlib import Path

from dicom_adapter.config.schema import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_adapter.core.model import DeliveryState, FileOutcome
from dicom_adapter.scu.requestor import Peer, RequestorSettings
from dicom_adapter.scu.storage import StorageScu


def send(port: int, files: list[Path]) -> None:
    failed: list[FileOutcome] = []

    def keep_failure(outcome: FileOutcome) -> None:
        if outcome.state is not DeliveryState.DELIVERED:
            failed.append(outcome)

    settings = RequestorSettings("BENCH", IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
    StorageScu(settings, Path()).send(Peer("SINK", "127.0.0.1", port), enumerate(files), keep_failure)
    if failed:
        raise SystemExit(f"{len(failed)} files not sent: {failed[0].reason}")


if __name__ == "__main__":
    send(int(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
