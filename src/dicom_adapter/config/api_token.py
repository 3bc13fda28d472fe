"""The bearer token of the REST API, for the adapter that asks for it and the commands that send it."""

from __future__ import annotations

from pathlib import Path

from dicom_adapter.config import fields
from dicom_adapter.config.schema import Api
from dicom_adapter.core.errors import PermanentError

_LONGEST_FILE = 4096  # bytes


def api_token(api: Api) -> str | None:
    """The token that is configured, or None. Raises PermanentError: its file cannot be read, or holds none."""
    if api.token is not None:
        return api.token.get_secret_value()
    return None if api.token_file is None else read_token(api.token_file)


def read_token(path: Path) -> str:
    """The token in a file; blanks and line ends around it do not count. Raises PermanentError, never with the token."""
    try:
        with path.open(encoding="utf-8") as file:
            return fields.token(file.read(_LONGEST_FILE).strip())
    except OSError as error:
        raise PermanentError(f"the token file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise PermanentError(f"the file {path} holds no token: {fields.TOKEN_WORDS}") from None
