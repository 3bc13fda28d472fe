"""The Clara Platform as an engine: Jobs and Payloads over gRPC (contract 1). Needs the extra `clara`.

The `.proto` files are ours; their Python modules are generated when the project is built (`hatch_build.py`).
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else its core writes lines of its own among those of our log
