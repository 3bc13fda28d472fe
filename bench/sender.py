"""The pre-encoded sender: every PDU is made before the clock starts, then sent with as little work as possible.

It leaves nearly the whole machine to the receiver: one sendfile(2) from memory for each instance, one recv for each
C-STORE-RSP, which it waits for (no asynchronous operations window).

    python -m bench.sender PORT AE_TITLE --sample ct --instances 400 --associations 4 --run 7

prints one line of JSON: seconds from before the first A-ASSOCIATE-RQ to after the last A-RELEASE-RP, bytes of data
sets, and the wall time of that last A-RELEASE-RP.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import samples, wire

CALLING_AE_TITLE = "BENCH"
SAMPLES = {"ct": samples.ct_slice, "mr": samples.mr_slice, "small": samples.small_instance}
_STATUS = b"\x00\x00\x00\x09\x02\x00\x00\x00"  # element (0000,0900), length 2


@dataclass(frozen=True)
class Encoded:
    """PDUs of a number of C-STORE-RQ in an anonymous file of memory, and where each ends."""

    fd: int
    ends: Sequence[int]
    data_set_bytes: int

    def close(self) -> None:
        os.close(self.fd)


def encode(sample: samples.Sample, run: int, numbers: range, max_pdu_length: int) -> Encoded:
    """C-STORE-RQ and data set of instances `numbers` of `run`, in PDUs as long as the receiver allows."""
    fd = os.memfd_create("pdus")
    ends = []
    end = data_set_bytes = 0
    for message, number in enumerate(numbers, start=1):
        data_set = sample.encode(run, number)
        command = wire.c_store_rq(message % 65536, sample.sop_class_uid, samples.instance_uid(run, number))
        pdus = wire.p_data(1, command, max_pdu_length, command=True) + wire.p_data(1, data_set, max_pdu_length)
        encoded = b"".join(pdus)
        while encoded:
            written = os.write(fd, encoded)
            end += written
            encoded = encoded[written:]
        ends.append(end)
        data_set_bytes += len(data_set)
    return Encoded(fd, ends, data_set_bytes)


def transmit(sock: socket.socket, encoded: Encoded) -> None:
    """Send each instance and wait for its C-STORE-RSP. Raises wire.Refused unless every status is Success."""
    offset = 0
    for end in encoded.ends:
        while offset < end:
            offset += os.sendfile(sock.fileno(), encoded.fd, offset, end - offset)
        expect_success(sock)


def expect_success(sock: socket.socket) -> None:
    """Raises wire.Refused unless a C-STORE-RSP with status Success comes next."""
    response = b""
    while len(response) < 6 or len(response) < 6 + int.from_bytes(response[2:6], "big"):
        # Some receivers write a response in several segments with Nagle's algorithm on: a delayed ACK would cost 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        more = sock.recv(4096)
        if not more:
            raise ConnectionError("the receiver closed the connection")
        response += more
    if response[0] != wire.P_DATA_TF:
        raise wire.Refused(f"PDU type {response[0]} instead of a C-STORE-RSP")
    offset = response.rindex(_STATUS) + len(_STATUS)
    status = int.from_bytes(response[offset : offset + 2], "little")
    if status:
        raise wire.Refused(f"C-STORE-RSP status {status:04X}H")


def send_series(
    port: int, ae_title: str, sample: samples.Sample, run: int, count: int, associations: int
) -> dict[str, float]:
    """Send `count` instances, divided among `associations` at once. Returns what `main` prints."""
    contexts = [(sample.sop_class_uid, wire.EXPLICIT_VR_LITTLE_ENDIAN)]
    probe, max_pdu_length = wire.establish(port, ae_title, CALLING_AE_TITLE, contexts)
    wire.release(probe)
    shares = [encode(sample, run, numbers, max_pdu_length) for numbers in _shares(count, associations)]
    failures: list[BaseException] = []

    def associate_and_send(share: Encoded) -> None:
        try:
            sock, _ = wire.establish(port, ae_title, CALLING_AE_TITLE, contexts)
            transmit(sock, share)
            wire.release(sock)
        except (OSError, wire.Refused) as error:
            failures.append(error)

    threads = [threading.Thread(target=associate_and_send, args=(share,)) for share in shares]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, released_at = time.perf_counter() - started, time.time()
    for share in shares:
        share.close()
    if failures:
        raise failures[0]
    return {"seconds": seconds, "bytes": sum(share.data_set_bytes for share in shares), "released_at": released_at}


def _shares(count: int, associations: int) -> Iterator[range]:
    size, rest = divmod(count, associations)
    start = 0
    for n in range(associations):
        end = start + size + (n < rest)
        yield range(start, end)
        start = end


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("ae_title")
    parser.add_argument("--sample", choices=sorted(SAMPLES), default="ct")
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--run", type=int, default=1)
    arguments = parser.parse_args()
    sample = SAMPLES[arguments.sample]()
    result = send_series(
        arguments.port, arguments.ae_title, sample, arguments.run, arguments.instances, arguments.associations
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
