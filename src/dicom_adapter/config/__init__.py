"""The configuration: the file, its schema and rules, and the resources that AE Titles, sources and destinations are."""

from dicom_adapter.config.defaults import default_path, default_text
from dicom_adapter.config.loader import Loaded, load, load_text
from dicom_adapter.config.problems import ConfigError, Problem
from dicom_adapter.config.schema import Settings
from dicom_adapter.config.snapshot_builder import build_snapshot, read_resources, reads_from_store

__all__ = [
    "ConfigError",
    "Loaded",
    "Problem",
    "Settings",
    "build_snapshot",
    "default_path",
    "default_text",
    "load",
    "load_text",
    "read_resources",
    "reads_from_store",
]
