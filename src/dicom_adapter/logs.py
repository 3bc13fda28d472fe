"""How the adapter logs: one line for each fact, as text for people or JSON for programs.

SECURITY: everything received is escaped here, once for all callers; patient data is never passed to a logger. What is
not our own may quote a value of a data set: of an exception only its kind and place are shown, of warnings nothing.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from dicom_adapter.core.errors import in_words

_NEVER: Final = logging.CRITICAL + 1


def configure(level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging. `form`: "text" or "json"."""
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(_frames),
        _escape,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared[:2],
            *shared[3:],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _UnbreakableHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("pydicom").setLevel(_NEVER)  # "Invalid value for VR UI: '...'", in both ways
    warnings.simplefilter("ignore")


class _UnbreakableHandler(logging.StreamHandler[TextIO]):
    """A full disk or a closed terminal must not stop the service (promise, fault 142)."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        pass


def _frames(exc_info: ExcInfo) -> str:
    """Where an exception came from, and those that led to it; the text of none but our own."""
    lines: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        lines.append(f"{type(error).__name__}: {in_words(error)}")
        lines += traceback.format_tb(error.__traceback__)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(line.rstrip("\n") for line in lines)


def _escape(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """No received control character reaches a log line; stack traces keep their line ends, and their lines are set in,
    so that none can be taken for a line of the log."""
    return {
        key: value if not isinstance(value, str) else _trace(value) if key == "exception" else _printable(value)
        for key, value in event.items()
    }


def _trace(text: str) -> str:
    return "\n".join(f"    {_printable(line)}" for line in text.split("\n"))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
