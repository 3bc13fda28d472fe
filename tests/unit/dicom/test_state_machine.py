"""Each cell of PS3.8 Table 9-10 against `tests/tables/state_machine.csv`, a transcription of its own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dicom_adapter.dicom.errors import LocalProtocolError
from dicom_adapter.dicom.state_machine import ACTIONS, Action, Effect, Event, State, action, transition

with (Path(__file__).parents[2] / "tables" / "state_machine.csv").open(newline="") as _file:
    CELLS = [tuple(row.values()) for row in csv.DictReader(_file)]


def test_the_table_has_every_cell_once() -> None:
    assert len(CELLS) == 13 * 19
    assert {(event, state) for event, state, _, _ in CELLS} == {(e.value, s.value) for e in Event for s in State}


@pytest.mark.parametrize(("event", "state", "label", "next_state"), CELLS, ids=lambda cell: str(cell) or "-")
def test_cell(event: str, state: str, label: str, next_state: str) -> None:
    if not label:
        with pytest.raises(LocalProtocolError, match=f"{event} cannot happen in {state} "):
            action(State(state), Event(event))
        return
    assert action(State(state), Event(event)) == label
    reached = {
        transition(State(state), Event(event), requestor=requestor, acceptable=acceptable).next_state.value
        for requestor in (True, False)
        for acceptable in (True, False)
    }
    assert reached == set(next_state.split(" or "))


def test_every_action_is_defined_and_used() -> None:
    assert set(ACTIONS) == set(Action)
    assert {label for _, _, label, _ in CELLS} - {""} == {member.value for member in Action}


@pytest.mark.parametrize(
    ("acceptable", "effects", "state"),
    [
        (True, (Effect.STOP_ARTIM, Effect.INDICATE), State.STA3),
        (False, (Effect.STOP_ARTIM, Effect.SEND_REJECT, Effect.START_ARTIM), State.STA13),
    ],
)
def test_ae_6_asks_whether_the_request_is_acceptable(
    acceptable: bool, effects: tuple[Effect, ...], state: State
) -> None:
    assert transition(State.STA2, Event.EVT6, requestor=False, acceptable=acceptable) == (effects, state)


@pytest.mark.parametrize(("requestor", "state"), [(True, State.STA9), (False, State.STA10)])
def test_ar_8_asks_for_the_role(requestor: bool, state: State) -> None:
    assert transition(State.STA7, Event.EVT12, requestor=requestor).next_state is state
