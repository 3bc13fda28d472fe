"""pynetdicom as a peer, in a process of its own, each role by its fastest documented path.

python -m bench.pynetdicom_peer scp PORT FOLDER      writes the encoded data set as it came, without decoding it
python -m bench.pynetdicom_peer scu PORT FILE...
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pynetdicom import AE, evt

from .samples import UID_ROOT
from .wire import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, MR_IMAGE_STORAGE


def serve(port: int, folder: Path) -> None:
    entity = AE("BENCH")
    entity.maximum_associations = 5
    for abstract_syntax in (CT_IMAGE_STORAGE, MR_IMAGE_STORAGE):
        entity.add_supported_context(abstract_syntax)

    numbers = itertools.count()

    def store(event: evt.Event) -> int:
        # Both ways are pynetdicom's own; this one is faster than STORE_RECV_CHUNKED_DATASET.
        (folder / f"{next(numbers)}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    threading.Event().wait()


def send(port: int, files: Sequence[Path]) -> None:
    entity = AE("BENCH")
    entity.implementation_class_uid = f"{UID_ROOT}.1"
    for abstract_syntax in (CT_IMAGE_STORAGE, MR_IMAGE_STORAGE):
        entity.add_requested_context(abstract_syntax, EXPLICIT_VR_LITTLE_ENDIAN)
    association = entity.associate("127.0.0.1", port)
    if not association.is_established:
        raise SystemExit("no association")
    for path in files:
        status = association.send_c_store(path)
        if status.Status != 0x0000:
            raise SystemExit(f"C-STORE-RSP status {status.Status:04X}H")
    association.release()


if __name__ == "__main__":
    role, port, *paths = sys.argv[1:]
    if role == "scp":
        serve(int(port), Path(paths[0]))
    else:
        send(int(port), [Path(path) for path in paths])
