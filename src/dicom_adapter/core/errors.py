"""The two errors that decide a retry: temporary and permanent. Anything else counts as temporary."""

from __future__ import annotations


class AdapterError(Exception):
    """An error of the adapter's own, with words fit for a PACS administrator and without patient data."""


class TemporaryError(AdapterError):
    """It may work later. `delay`: seconds until then, or None to leave it to the retry policy."""

    def __init__(self, message: str, *, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class PermanentError(AdapterError):
    """Trying again changes nothing: a person has to."""


class OutOfResources(AdapterError):
    """No space, quota or a write error in the spool: C-STORE-RSP A700H (PS3.4 B.2.3)."""


class Stopping(AdapterError):
    """The adapter is told to stop, so something was not finished. Not an outcome: it goes on at the next start."""


def in_words(error: BaseException) -> str:
    """What may be shown of an error: our own words, or the system's. Of any other only its kind: its text may quote a
    value of a data set, and so patient data."""
    if isinstance(error, AdapterError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__} (the log says where)"
