"""The command line: `clara dicom ...`, and the same program as `dicom-adapter ...`."""

from __future__ import annotations

import gc
from types import ModuleType

__all__ = ["clara", "dicom_adapter"]


def clara() -> None:
    """Entry point: `clara dicom ...`."""
    _imported().clara_program()


def dicom_adapter() -> None:
    """Entry point: `dicom-adapter ...`."""
    _imported().dicom_adapter_program()


def _imported() -> ModuleType:
    """The programs, imported only here: that leaves next to no garbage, and looking for it took a fifth of the time."""
    gc.disable()
    from dicom_adapter import logs  # noqa: PLC0415 - see above
    from dicom_adapter.cli import app  # noqa: PLC0415 - see above

    # Commands answer with words of their own; a log is for the adapter, which sets it up anew when it runs.
    logs.configure("error")
    gc.freeze()  # what was imported stays: no later collection has to look at it
    gc.enable()
    return app
