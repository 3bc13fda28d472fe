"""Build hook: Python modules from the `.proto` files of the Clara Platform, beside them.

They are made for every target (wheel, sdist, editable install) and never committed: what they need at run time, the
floor of `protobuf` in the extra `clara`, depends on the compiler that made them (`tests/packaging`).
"""

from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "src"
FOLDER = f"{SOURCE}/dicom_adapter/engines/clara_platform"


class ClaraPlatformMessages(BuildHookInterface[Any]):
    """Runs `protoc`. Messages only: the few calls are a table of ours (`clara_platform.wire`)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        source = root / SOURCE
        protos = sorted(str(path) for path in (root / FOLDER).glob("*.proto"))
        status = protoc.main(["protoc", f"-I{source}", f"--python_out={source}", f"--pyi_out={source}", *protos])
        if status:
            raise RuntimeError(f"protoc failed with exit status {status}: see its words above")
        build_data["artifacts"] += [
            f"/{FOLDER}/*_pb2.py",
            f"/{FOLDER}/*_pb2.pyi",
        ]  # git ignores them, the build must not
