"""Which addresses we never send to: our own SCP (a loop) and link-local ones (cloud metadata services).

Why here: destinations come from outside (configuration, REST, later the Results Service), so what they may make us
connect to is a rule of its own (promise, fault 130), told without a socket.
"""

from __future__ import annotations

import ipaddress


def refusal(address: str, port: int, *, is_own_address: bool, own_port: int | None) -> str | None:
    """Why we do not connect to `address`:`port`, in words, or None when we may.

    address: an IP address, already resolved. is_own_address: it is one of this machine's. own_port: that of our SCP, or
    None when there is none.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    if parsed.is_link_local:
        return (
            f"{address} is a link-local address, where metadata services answer and no PACS; use its routable address"
        )
    if parsed.is_multicast or parsed.is_unspecified:
        return f"{address} is not the address of one machine; use that of the destination"
    if is_own_address and port == own_port:
        return (
            f"{address} port {port} is our own SCP: results would come back as input for ever; correct the destination"
        )
    return None
