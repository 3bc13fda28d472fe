"""The batching machine, row by row, and as a property: no instance is lost or doubled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_adapter.core.batching import AeTitleDeleted, AssociationEnded, Effect, Event, Tick, transition
from dicom_adapter.core.model import AssociationOutcome
from tests.tables.reader import cases, number

NOW = 100.0


def event_of(row: dict[str, str]) -> Event:
    match row["event"]:
        case "tick":
            return Tick(NOW, row["open"] == "yes")
        case "deleted":
            return AeTitleDeleted()
        case outcome:
            return AssociationEnded(AssociationOutcome(outcome), int(row["instances"]), float(row["last"]))


@pytest.mark.parametrize("row", cases("batching"))
def test_table(row: dict[str, str]) -> None:
    result = transition(
        number(row["deadline"]),
        event_of(row),
        float(row["T"]),
        submit_interrupted=row["submit_interrupted"] == "yes",
    )
    assert result.deadline == number(row["next_deadline"])
    assert [effect.name for effect in result.effects] == row["effects"].split()


ASSOCIATIONS = st.builds(
    AssociationEnded,
    st.sampled_from(AssociationOutcome),
    st.integers(min_value=0, max_value=3),
    st.floats(min_value=0, max_value=1000),
)
EVENTS = st.one_of(
    ASSOCIATIONS, st.builds(Tick, st.floats(min_value=0, max_value=2000), st.booleans()), st.just(AeTitleDeleted())
)


@given(st.lists(EVENTS, max_size=30), st.sampled_from([0.0, 5.0, 60.0]))
def test_every_instance_ends_in_exactly_one_place(events: list[Event], timeout: float) -> None:
    deadline: float | None = None
    in_open_batch = in_closed_batches = held = aside = received = 0
    for event in [*events, AeTitleDeleted()]:
        result = transition(deadline, event, timeout)
        count = event.instances if isinstance(event, AssociationEnded) else 0
        received += count
        for effect in result.effects:
            match effect:
                case Effect.OPEN_BATCH:
                    assert deadline is None
                    assert in_open_batch == 0
                case Effect.ADD_INSTANCES:
                    in_open_batch += count
                case Effect.CLOSE_BATCH:
                    assert in_open_batch > 0
                    in_closed_batches += in_open_batch
                    in_open_batch = 0
                case Effect.HOLD_INSTANCES:
                    held += count
                case Effect.SET_ASIDE:
                    aside += count
        deadline = result.deadline
        assert (deadline is None) == (in_open_batch == 0)
    assert in_closed_batches + held + aside == received
