"""The Clara DICOM Adapter in Python: the gateway between medical imaging devices and AI."""

__version__ = "0.1.0"
