"""Where received instances are safe: a directory that is its own journal (`docs/spool.md`).

The adapter's one way in is `Spool`; `StorageLayout` names every path below the storage folder.
"""

from dicom_adapter.spool.layout import StorageLayout
from dicom_adapter.spool.spool import Spool, SpoolLocked, StorageUnusable
from dicom_adapter.spool.state import Durability
from dicom_adapter.spool.writer import AssociationSpool, InstanceFacts, SpoolWriter

__all__ = [
    "AssociationSpool",
    "Durability",
    "InstanceFacts",
    "Spool",
    "SpoolLocked",
    "SpoolWriter",
    "StorageLayout",
    "StorageUnusable",
]
