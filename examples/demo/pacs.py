"""The demo's PACS: a storage SCP made with pynetdicom, in a process of its own.

    python -m examples.demo.pacs FOLDER

Prints its port, keeps what it receives in FOLDER, and ends when its stdin does, so it never outlives the demo.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt

AE_TITLE = "PACS"
_SUCCESS = 0x0000


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def store(event: evt.Event) -> int:
        number = len(list(folder.iterdir())) + 1
        (folder / f"{number:04}.dcm").write_bytes(event.encoded_dataset())
        return _SUCCESS

    entity = AE(ae_title=AE_TITLE)
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    assert server.socket is not None
    print(server.socket.getsockname()[1], flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
