"""The command line: `clara dicom ...`, and the same program as `dicom-adapter ...`."""

from .app import clara, dicom_adapter

__all__ = ["clara", "dicom_adapter"]
