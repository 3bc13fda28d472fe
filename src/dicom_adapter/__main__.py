"""`python -m dicom_adapter`: the same program as `dicom-adapter`."""

from .cli import dicom_adapter

dicom_adapter()
