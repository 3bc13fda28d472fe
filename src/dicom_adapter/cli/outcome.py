"""How a command ends: its exit status, and the words for a person when it did not do what was asked."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of every command."""

    OK = 0  # done
    FAILED = 1  # what was asked for did not happen: a file was not sent, an adapter did not become ready
    USAGE = 2  # wrong arguments, or a wrong configuration: nothing was started or touched
    NOT_RUNNING = 3  # the command needs a running adapter, and there is none
    ALREADY_RUNNING = 4  # start: an adapter runs on this storage folder


class CliError(Exception):
    """A command that ends without success. The text is printed to stderr."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
