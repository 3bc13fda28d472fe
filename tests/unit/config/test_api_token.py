"""The token of the REST API: where it is, and that it is shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_adapter.config.api_token import api_token, read_token
from dicom_adapter.config.schema import Api
from dicom_adapter.core.errors import PermanentError

TOKEN = "secret-0123456789abcdef"


def test_none_is_configured() -> None:
    assert api_token(Api()) is None


def test_it_stands_in_the_configuration() -> None:
    assert api_token(Api.model_validate({"token": TOKEN})) == TOKEN


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n\n"])
def test_it_stands_in_a_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content, newline="")
    assert api_token(Api.model_validate({"token-file": path})) == TOKEN


@pytest.mark.parametrize("content", [b"", b"secret", b"secret secret secret", b"secret" * 1000, b"secret\xff" * 4])
def test_a_file_that_holds_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(PermanentError, match="holds no token: 16 to 512") as caught:
        read_token(path)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(PermanentError, match=f"{path} cannot be read"):
            read_token(path)
