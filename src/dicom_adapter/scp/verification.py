"""Verification SCP: C-ECHO (PS3.4 Annex A, PS3.7 9.1.5)."""

from __future__ import annotations

from dicom_adapter.scp.service import Request


def echo(request: Request) -> None:
    """Nothing is asked for but an answer: that this returns is Success."""
