"""Where received instances are safe: a directory that is its own journal (`docs/spool.md`).

The adapter's one way in is `Spool`; `StorageLayout` names every path below the storage folder.
"""

from .layout import StorageLayout
from .spool import Spool, SpoolLocked, StorageUnusable
from .state import Durability
from .writer import AssociationSpool, InstanceFacts, SpoolWriter

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
