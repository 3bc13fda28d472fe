"""Ids, clocks and the form of log lines."""

from __future__ import annotations

import io
import json
import logging
import time
import warnings
from collections.abc import Iterator

import pytest
import structlog
from pydicom.misc import warn_and_log

from dicom_adapter import logs
from dicom_adapter.clock import Clock
from dicom_adapter.core.errors import PermanentError
from dicom_adapter.identifiers import new_id

PATIENT = "DOE^JANE"


class TestIds:
    def test_they_sort_by_time(self) -> None:
        first = new_id()
        time.sleep(0.002)
        assert first < new_id()

    def test_they_are_short_plain_and_unlike(self) -> None:
        made = {new_id() for _ in range(10_000)}
        assert len(made) == 10_000
        assert {len(one) for one in made} == {16}
        assert all(one.isascii() and one.isalnum() and one == one.lower() for one in made)


class TestClock:
    def test_setting_the_wall_clock_moves_no_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock()
        before, real = clock.steady(), time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        assert clock.now() - before > 3500
        assert abs(clock.steady() - before) < 60

    def test_the_recent_past_on_the_steady_clock(self) -> None:
        clock = Clock()
        assert clock.steady_from_wall(clock.now() - 10) == pytest.approx(clock.steady() - 10, abs=1)
        assert clock.steady_from_wall(clock.now() + 3600) <= clock.steady()  # the wall clock was set back meanwhile


class TestLogs:
    @pytest.fixture(autouse=True)
    def _leave_logging_as_it_was(self) -> Iterator[None]:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        yield
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()

    def test_text(self) -> None:
        out = io.StringIO()
        logs.configure("info", "text", out)
        structlog.get_logger("test").info("association rejected", ae_title="A\nB\x1b[31m")
        assert out.getvalue().count("\n") == 1
        assert "\x1b" not in out.getvalue()
        assert "A\\nB" in out.getvalue()

    def test_json(self) -> None:
        out = io.StringIO()
        logs.configure("info", "json", out)
        structlog.get_logger("test").warning("it happened", count=3, peer="x\ny")
        logging.getLogger("another.library").error("and %s", "this")
        first, second = map(json.loads, out.getvalue().splitlines())
        assert (first["event"], first["level"], first["count"], first["peer"]) == ("it happened", "warning", 3, "x\\ny")
        assert (second["event"], second["level"]) == ("and this", "error")

    @pytest.mark.parametrize("form", ["text", "json"])
    def test_a_stack_trace_says_where_and_quotes_no_value(self, form: str) -> None:
        out = io.StringIO()
        logs.configure("info", form, out)
        try:
            _ = dict[str, str]()[PATIENT]
        except KeyError:
            structlog.get_logger("test").exception("it failed")
        assert "test_small_things.py" in out.getvalue()
        assert "KeyError (the log says where)" in out.getvalue()
        assert PATIENT not in out.getvalue()

    def test_our_own_words_stand_in_a_stack_trace_and_hold_no_line_of_the_log(self) -> None:
        out = io.StringIO()
        logs.configure("info", "text", out)
        try:
            raise PermanentError("\x1b[31m\n2026-01-01T00:00:00Z [info] all is well")
        except PermanentError:
            structlog.get_logger("test").exception("it failed")
        assert "\x1b" not in out.getvalue()
        assert "PermanentError: \\x1b[31m" in out.getvalue()
        assert all(line.startswith("    ") for line in out.getvalue().splitlines()[1:])

    def test_warnings_of_libraries_which_quote_values_are_not_shown(self) -> None:
        out = io.StringIO()
        with warnings.catch_warnings(record=True) as shown:
            logs.configure("debug", "text", out)
            warn_and_log(f"Invalid value for VR UI: {PATIENT!r}")
        assert (shown, out.getvalue()) == ([], "")

    def test_level(self) -> None:
        out = io.StringIO()
        logs.configure("warning", "text", out)
        structlog.get_logger("test").info("not this")
        assert out.getvalue() == ""

    def test_a_closed_log_does_not_stop_the_service(self) -> None:
        out = io.StringIO()
        logs.configure("info", "text", out)
        out.close()
        structlog.get_logger("test").info("nobody hears it")
