"""The command line: `clara dicom ...`, and the same program as `dicom-adapter ...`."""

from dicom_adapter import logs
from dicom_adapter.cli.app import clara_program, dicom_adapter_program

__all__ = ["clara", "dicom_adapter"]


def clara() -> None:
    """Entry point: `clara dicom ...`."""
    _quiet()
    clara_program()


def dicom_adapter() -> None:
    """Entry point: `dicom-adapter ...`."""
    _quiet()
    dicom_adapter_program()


def _quiet() -> None:
    """Commands answer with words of their own; a log is for the adapter, which sets it up anew when it runs."""
    logs.configure("error")
