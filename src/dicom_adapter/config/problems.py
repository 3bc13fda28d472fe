"""What can be wrong with a configuration, in words for the person who has to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_adapter.config.schema import Settings


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or worth a warning."""

    message: str
    path: str = ""  # of the key: dicom.scp.sources[0].host-ip; or the name of an environment variable
    position: tuple[int, int] | None = None  # line and column, from 1
    found: str | None = None
    allowed: str | None = None
    hint: str | None = None

    @property
    def line(self) -> int | None:
        """Line in the file, from 1."""
        return self.position[0] if self.position else None

    @property
    def column(self) -> int | None:
        """Column in the line, from 1."""
        return self.position[1] if self.position else None

    def render(self, source: str = "") -> str:
        """One line for the place and the message, indented ones for what was found, is allowed and helps."""
        place = ":".join([*([source] if source else []), *(str(number) for number in self.position or ())])
        head = ": ".join(part for part in (place, self.path, self.message) if part)
        details = (("found", self.found), ("allowed", self.allowed), ("hint", self.hint))
        return "\n".join([head, *(f"    {name}: {text}" for name, text in details if text is not None)])


class ConfigError(Exception):
    """A configuration that cannot be used. Holds every problem, in the order of the file.

    `reachable`: the settings without what is wrong, where they still tell how a running adapter is reached.
    """

    def __init__(self, problems: Sequence[Problem], source: str = "", reachable: Settings | None = None) -> None:
        self.reachable = reachable
        self.problems = tuple(sorted(problems, key=lambda problem: problem.position or (0, 0)))
        self.source = source
        super().__init__(self.render())

    def render(self) -> str:
        """The whole report, for people."""
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        lines = [problem.render(self.source) for problem in self.problems]
        return "\n".join([f"{self.source or 'configuration'}: {count} {noun}", *lines])


def quote(value: object, limit: int = 60) -> str:
    """A value of the file as it is shown: escaped, so it cannot write into a terminal or a log, and short."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    text = ascii(str(value))
    return text if len(text) <= limit else f"{text[:limit]}…"
