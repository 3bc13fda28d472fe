"""Which addresses are never called (promise, fault 130)."""

import pytest

from dicom_adapter.core.destination_policy import refusal


@pytest.mark.parametrize(
    ("address", "port", "own", "own_port", "words"),
    [
        ("192.0.2.1", 104, False, 104, None),
        ("127.0.0.1", 105, True, 104, None),  # another program on this machine
        ("127.0.0.1", 104, True, None, None),
        ("127.0.0.1", 104, True, 104, "our own SCP"),
        ("::1", 104, True, 104, "our own SCP"),
        ("192.0.2.7", 104, True, 104, "our own SCP"),
        ("169.254.169.254", 80, False, 104, "link-local"),
        ("::ffff:169.254.169.254", 80, False, 104, "link-local"),
        ("fe80::1%eth0", 104, False, 104, "link-local"),
        ("0.0.0.0", 104, False, 104, "not the address of one machine"),
        ("224.0.0.1", 104, False, 104, "not the address of one machine"),
        ("ff02::1", 104, False, 104, "not the address of one machine"),
    ],
)
def test_refusal(address: str, port: int, own: bool, own_port: int | None, words: str | None) -> None:
    found = refusal(address, port, is_own_address=own, own_port=own_port)
    assert found is None if words is None else found is not None and words in found
