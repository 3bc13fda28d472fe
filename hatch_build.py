"""Build hook: Python modules from the `.proto` files of the Clara Platform, beside them.

They are made for every target (wheel, sdist, editable install) and never committed: what they need at run time, the
floor of `protobuf` in the extra `clara`, depends on the compiler that made them (`tests/packaging`).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "dicom_adapter/engines/clara_platform"


class ClaraPlatformMessages(BuildHookInterface[Any]):
    """Runs `protoc`. Messages only: the few calls are a table of ours (`clara_platform.wire`)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root, "src")
        protos = sorted(str(path) for path in (source / FOLDER).glob("*.proto"))
        with TemporaryDirectory(dir=source.parent) as new:
            status = protoc.main(["protoc", f"-I{source}", f"--python_out={new}", f"--pyi_out={new}", *protos])
            if status:
                raise RuntimeError(f"protoc failed with exit status {status}: see its words above")
            for made in Path(new, FOLDER).iterdir():
                _put(made, source / FOLDER / made.name)
        build_data["artifacts"] += [f"/src/{FOLDER}/*_pb2.py", f"/src/{FOLDER}/*_pb2.pyi"]  # though git ignores them


def _put(made: Path, place: Path) -> None:
    """At once, and only what is new: what runs from this source tree may read it meanwhile."""
    if not place.exists() or place.read_bytes() != made.read_bytes():
        made.replace(place)
