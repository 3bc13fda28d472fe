"""The bare sink: the least code that can negotiate, read and write files. It checks nothing and keeps no promise.

It is the ceiling that the adapter is measured against, so it uses every trick that the adapter's wire may use: a
blocking socket, TCP_QUICKACK before each receive, data-set bytes moved socket -> pipe -> file by splice(2).

    python -m bench.sink PORT FOLDER [--sync none|data|full]

prints one line of JSON for each association that stored anything: instances, and seconds from accept to A-RELEASE-RP.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import socket
import threading
import time
from enum import StrEnum
from pathlib import Path

from . import wire

_PIPE_SIZE = 1 << 20
_MESSAGE_ID = b"\x00\x00\x10\x01\x02\x00\x00\x00"  # element (0000,0110), length 2


class Sync(StrEnum):
    NONE = "none"
    DATA = "data"  # fdatasync of each file before its response
    FULL = "full"  # what the adapter promises: fsync of the file, rename, fsync of the folder


class Association:
    """One peer, in its own thread."""

    def __init__(self, sock: socket.socket, folder: Path, sync: Sync) -> None:
        self._sock = sock
        self._sync = sync
        folder.mkdir()
        self._dir = os.open(folder, os.O_RDONLY)
        self._read_end, self._write_end = os.pipe()
        fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._count = 0

    def serve(self) -> None:
        started = time.perf_counter()
        try:
            self._sock.sendall(wire.associate_ac(wire.receive_pdu(self._sock)))
            while message_id := self._receive_command():
                self._receive_file()
                self._sock.sendall(_response(message_id))
            self._sock.sendall(wire.RELEASE_RP)
            if self._count:
                report = {"instances": self._count, "seconds": time.perf_counter() - started}
                print(json.dumps(report), flush=True)
        except ConnectionError:
            pass
        finally:
            self._sock.close()
            for fd in (self._dir, self._read_end, self._write_end):
                os.close(fd)

    def _receive_command(self) -> int:
        """Message ID of the next C-STORE-RQ; 0 for A-RELEASE-RQ."""
        command = b""
        while True:
            length, _, control = self._receive_header()
            if length < 0:
                return 0
            command += wire.receive_exactly(self._sock, length)
            if control & wire.LAST:
                offset = command.index(_MESSAGE_ID) + len(_MESSAGE_ID)
                return int.from_bytes(command[offset : offset + 2], "little")

    def _receive_header(self) -> tuple[int, int, int]:
        """(bytes that follow, context id, message control header) of a P-DATA-TF PDU; -1 bytes for A-RELEASE-RQ."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        header = self._sock.recv(12)
        if not header:
            raise ConnectionError
        if header[0] != wire.P_DATA_TF:
            return -1, 0, 0
        if len(header) < 12:
            header += wire.receive_exactly(self._sock, 12 - len(header))
        return int.from_bytes(header[2:6], "big") - wire.PDV_HEADER, header[10], header[11]

    def _receive_file(self) -> None:
        self._count += 1
        temporary, name = f"{self._count}.tmp", f"{self._count}.dcm"
        flags = os.O_CREAT | os.O_WRONLY
        fd = os.open(temporary if self._sync is Sync.FULL else name, flags, dir_fd=self._dir)
        try:
            control = 0
            while not control & wire.LAST:
                length, _, control = self._receive_header()
                self._splice(fd, length)
            if self._sync is Sync.DATA:
                os.fdatasync(fd)
            elif self._sync is Sync.FULL:
                os.fsync(fd)
                os.rename(temporary, name, src_dir_fd=self._dir, dst_dir_fd=self._dir)
                os.fsync(self._dir)
        finally:
            os.close(fd)

    def _splice(self, fd: int, length: int) -> None:
        sock = self._sock.fileno()
        while length:
            moved = os.splice(sock, self._write_end, min(length, _PIPE_SIZE))
            if not moved:
                raise ConnectionError
            length -= moved
            while moved:
                moved -= os.splice(self._read_end, fd, moved)


def _response(message_id: int) -> bytes:
    return b"".join(wire.p_data(1, wire.c_store_rsp(message_id), wire.MAX_PDU_LENGTH, command=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sync", type=Sync, choices=list(Sync), default=Sync.NONE)
    arguments = parser.parse_args()
    with socket.create_server(("127.0.0.1", arguments.port), backlog=64) as listener:
        number = 0
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 1
            association = Association(sock, arguments.folder / str(number), arguments.sync)
            threading.Thread(target=association.serve, daemon=True).start()


if __name__ == "__main__":
    main()
