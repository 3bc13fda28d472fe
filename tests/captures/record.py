"""Record what two DICOM programs say to each other: a loopback proxy between a requestor and an acceptor.

    python tests/captures/record.py NAME --to PORT -- echoscu -aec CALLED 127.0.0.1 {port}

runs the command with `{port}` replaced by the proxy's, and writes NAME.requestor.bin and NAME.acceptor.bin beside this
file. Only loopback, only data sets made for the purpose: a capture is published. Each has a NAME.md with who and what.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import threading
from pathlib import Path

HERE = Path(__file__).parent


def pump(source: socket.socket, target: socket.socket, recorded: bytearray) -> None:
    """Copy one direction until its end."""
    while data := source.recv(65536):
        recorded += data
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def record(name: str, to: int, command: list[str]) -> None:
    """Run `command` through the proxy, and write both directions of its one association."""
    requestor, acceptor = bytearray(), bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        process = subprocess.Popen([argument.replace("{port}", port) for argument in command])
        near, _ = listener.accept()
    with near, socket.create_connection(("127.0.0.1", to)) as far:
        back = threading.Thread(target=pump, args=(far, near, acceptor))
        back.start()
        pump(near, far, requestor)
        back.join()
    print(f"exit status {process.wait()}: {len(requestor)} bytes sent, {len(acceptor)} bytes answered")
    (HERE / f"{name}.requestor.bin").write_bytes(requestor)
    (HERE / f"{name}.acceptor.bin").write_bytes(acceptor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record one association between two programs.")
    parser.add_argument("name")
    parser.add_argument("--to", type=int, required=True, help="port of the acceptor on 127.0.0.1")
    parser.add_argument("command", nargs="+", help="the requestor; {port} is where it has to connect")
    arguments = parser.parse_args()
    record(arguments.name, arguments.to, arguments.command)
