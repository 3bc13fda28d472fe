"""`python -m dicom_adapter`: the same program as `dicom-adapter`."""

from dicom_adapter.cli import dicom_adapter

dicom_adapter()
