"""The verdict on an export task, row by row."""

from __future__ import annotations

import pytest

from dicom_adapter.core.export_policy import WarningPolicy, is_delivered, verdict
from dicom_adapter.core.model import DeliveryState, ExportState
from tests.tables.reader import cases, number

STATES = {
    "D": DeliveryState.DELIVERED,
    "W": DeliveryState.WARNING,
    "F": DeliveryState.FAILED,
    "P": DeliveryState.PENDING,
}


@pytest.mark.parametrize("row", cases("export_policy"))
def test_table(row: dict[str, str]) -> None:
    states = [STATES[letter] for letter in row["files"]]
    decided = verdict(states, int(row["failures"]), (10, 20, 30), WarningPolicy(row["warnings"]), 0.0, "A700H")
    assert decided.state == ExportState(row["state"])
    assert decided.delay == number(row["delay"])


def test_success_lists_what_failed() -> None:
    decided = verdict([STATES[one] for one in "DDFW"], 0, (), WarningPolicy.SUCCESS, 0.0, "A700H: no space")
    assert decided.reason == "1 of 4 files failed: A700H: no space; 1 of 4 files were stored with a warning"


@pytest.mark.parametrize(
    ("state", "policy", "delivered"),
    [
        (DeliveryState.DELIVERED, WarningPolicy.FAILURE, True),
        (DeliveryState.WARNING, WarningPolicy.SUCCESS, True),
        (DeliveryState.WARNING, WarningPolicy.FAILURE, False),
        (DeliveryState.FAILED, WarningPolicy.SUCCESS, False),
        (DeliveryState.PENDING, WarningPolicy.SUCCESS, False),
    ],
)
def test_only_what_is_not_delivered_is_sent_again(state: DeliveryState, policy: WarningPolicy, delivered: bool) -> None:
    assert is_delivered(state, policy) is delivered
