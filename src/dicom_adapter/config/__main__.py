"""Prints the table of docs/configuration.md: `python -m dicom_adapter.config`."""

from .reference import table

print(table())
