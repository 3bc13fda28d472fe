"""The types of configuration values, each with the words for what it allows.

Why here: an error report and the table in docs/configuration.md must say the same, so both read `Allowed`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Le
from pydantic import AfterValidator, BeforeValidator, SecretStr


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a value may be, in words."""

    text: str


@dataclass(frozen=True, slots=True)
class Between(GroupedMetadata):
    """A number between two bounds, both included."""

    low: float
    high: float

    def __iter__(self) -> Iterator[BaseMetadata]:
        yield Ge(self.low)
        yield Le(self.high)


TOKEN_WORDS = "16 to 512 of: letters, digits, - . _ ~ + / ="
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")
_DEFAULT_REPERTOIRE = re.compile(r"[\x20-\x5b\x5d-\x7e]*")  # PS3.5 6.2: AE excludes backslash and control characters
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")  # PS3.5 9.1
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")  # RFC 1123, and the underscore that real networks have
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(|B|[KMGT]i?B)", re.IGNORECASE)
_SIZE_PREFIXES = "KMGT"
_DNS_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)  # RFC 1123
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def ae_title(text: str) -> str:
    """Trim and check an AE Title (PS3.5 6.2: leading and trailing spaces do not count). Raises ValueError."""
    trimmed = text.strip(" ")
    if not 1 <= len(trimmed) <= 16 or not _DEFAULT_REPERTOIRE.fullmatch(trimmed):
        raise ValueError("not an AE Title: 1 to 16 printable ASCII characters, without backslash")
    return trimmed


def host(text: str) -> str:
    """Check an IP address or host name. Raises ValueError."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        labels = text.removesuffix(".").split(".")
        if len(text) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
            raise ValueError("not an IP address or host name") from None
        return text


def uid(text: str) -> str:
    """Check a UID. Raises ValueError."""
    if len(text) > 64 or not _UID.fullmatch(text):
        raise ValueError("not a UID")
    return text


def size(value: Any) -> Any:
    """Bytes of "4GiB", "500 MB" or a plain number. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("not a size")
    number, unit = match[1], match[2].upper()
    base = 1024 if "I" in unit else 1000
    power = _SIZE_PREFIXES.find(unit[:1]) + 1 if unit[:1] else 0
    return int(float(number) * base**power)


def _bind(text: str) -> str:
    return text if text == "all" else host(text)


def _version_name(text: str) -> str:
    if not 1 <= len(text) <= 16 or not _DEFAULT_REPERTOIRE.fullmatch(text):
        raise ValueError("not an Implementation Version Name")
    return text


def _endpoint(text: str) -> str:
    address, _, port = text.rpartition(":")
    host(address.removeprefix("[").removesuffix("]"))
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError("not a port")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("not an absolute URL")
    if parts.port == 0:  # urlsplit itself refuses what is no port at all
        raise ValueError("not a port")
    return text.rstrip("/")


def _folder(path: Path) -> Path:
    """~ is the home; the loader lets relative folders start at the file, as only it knows where that is."""
    return path.expanduser() if str(path).startswith("~") else path


def _not_blank(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("blank or with control characters")
    return text


def token(text: str) -> str:
    """Check a bearer token (RFC 6750 2.1): long enough that it is not guessed. Raises ValueError."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("not a token")
    return text


def _secret_token(secret: SecretStr) -> SecretStr:
    token(secret.get_secret_value())
    return secret


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("an empty list")
    return values


def _environment_name(text: str) -> str:
    if not _ENVIRONMENT_NAME.fullmatch(text):
        raise ValueError("not the name of an environment variable")
    return text


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def _namespace(text: str) -> str:
    if not _DNS_LABEL.fullmatch(text):
        raise ValueError("not the name of a namespace")
    return text


Token = Annotated[SecretStr, AfterValidator(_secret_token), Allowed(TOKEN_WORDS)]
Flag = Annotated[bool, Allowed("true or false")]
Choice = Annotated[
    Literal["auto", "true", "false"],
    BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value),
]
Port = Annotated[int, Between(1, 65535), Allowed("1 to 65535")]
AETitle = Annotated[
    str,
    AfterValidator(ae_title),
    Allowed("1 to 16 printable ASCII characters, without backslash; spaces at the ends are cut"),
]
Host = Annotated[str, AfterValidator(host), Allowed("IPv4 address, IPv6 address or host name")]
Bind = Annotated[str, AfterValidator(_bind), Allowed("`all` (IPv4 and IPv6), an IP address or a host name")]
Uid = Annotated[str, AfterValidator(uid), Allowed("a UID: numbers and dots, no leading zeros, at most 64 characters")]
VersionName = Annotated[str, AfterValidator(_version_name), Allowed("1 to 16 printable ASCII characters, no backslash")]
Name = Annotated[str, AfterValidator(_not_blank), Allowed("text, not blank")]
Argument = Annotated[str, AfterValidator(_no_nul), Allowed("text")]
Namespace = Annotated[
    str, AfterValidator(_namespace), Allowed("a namespace: at most 63 small letters, digits and dashes")
]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
Endpoint = Annotated[str, AfterValidator(_endpoint), Allowed("host:port")]
Url = Annotated[str, AfterValidator(_url), Allowed("an absolute http or https URL")]
Folder = Annotated[Path, AfterValidator(_folder), Allowed("a path; a relative one starts at the folder of this file")]
Associations = Annotated[int, Between(1, 1000), Allowed("1 to 5; up to 1000 is accepted with a warning")]
Seconds = Annotated[float, Between(0.1, 86_400), Allowed("seconds, 0.1 to 86400")]
Retention = Annotated[float, Between(0, 315_360_000), Allowed("seconds, 0 to 315360000 (ten years)")]
Size = Annotated[
    int,
    BeforeValidator(size),
    Between(0, 2**50),
    Allowed("bytes, or a number with KiB, MiB, GiB, TiB (or KB, MB, GB, TB)"),
]
Memory = Annotated[
    int, BeforeValidator(size), Between(1 << 20, 2**50), Allowed("bytes, or a number with MiB or GiB; at least 1MiB")
]
Command = Annotated[tuple[Argument, ...], AfterValidator(_not_empty), Allowed("a list of words, at least one")]
TransferSyntaxes = Annotated[tuple[Uid, ...], AfterValidator(_not_empty), Allowed("transfer syntax UIDs, at least one")]
