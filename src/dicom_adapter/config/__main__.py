"""Prints the table of docs/configuration.md: `python -m dicom_adapter.config`."""

from dicom_adapter.config.reference import table

print(table())
