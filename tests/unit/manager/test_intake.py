"""Intake and batcher on a real database: which association ends in which batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from dicom_adapter.core.model import AssociationOutcome, Batch, BatchState, Refused
from dicom_adapter.core.snapshot import ConfigSnapshot
from dicom_adapter.manager.batcher import Batcher
from dicom_adapter.manager.intake import Intake
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import associations, batches
from dicom_adapter.store.tables import associations as association_table
from dicom_adapter.store.tables import batches as batch_table
from dicom_adapter.store.tables import refusals
from tests.databases import fresh
from tests.fakes import AE, SLIDING, FakeClock, FakeSpool, association, snapshot


class House:
    """Intake and batcher over one database; `restart` forgets everything but the disk."""

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.spool = FakeSpool()
        self.clock = FakeClock()
        self.snapshot: ConfigSnapshot = snapshot()
        self.open: set[str] = set()
        self.submit_interrupted = False
        self.restart()

    def restart(self) -> None:
        self.intake = Intake(
            self.spool,
            self.database,
            lambda: self.snapshot,
            self.clock,
            aborted_retention=60.0,
            submit_interrupted=self.submit_interrupted,
            on_batch=lambda: None,
        )
        self.batcher = Batcher(
            self.database,
            lambda: self.snapshot,
            self.clock,
            Trigger(),
            is_open=self.open.__contains__,
            take_up=self.intake.take_all,
            on_closed=lambda: None,
        )

    async def step(self) -> None:
        await self.intake.step()
        await self.batcher.step()

    def all(self) -> list[tuple[Batch, list[str]]]:
        """Every batch, in the order they were opened, with its SOP Instance UIDs."""
        with self.database.read() as connection:
            ids = list(connection.scalars(batch_table.select().with_only_columns(batch_table.c.id)))
            found = [(batches.get(connection, one), batches.instances_of(connection, one)) for one in sorted(ids)]
        return [(batch, [one.sop_instance_uid for one in inside]) for batch, inside in found if batch is not None]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_timeout_zero_makes_a_batch_of_each_association(house: House) -> None:
    house.spool.ended += [association(), association(instances=3)]
    await house.step()
    assert [(batch.state, len(uids)) for batch, uids in house.all()] == [(BatchState.CLOSED, 2), (BatchState.CLOSED, 3)]


async def test_what_was_refused_is_in_the_row(house: House) -> None:
    refused = Refused(3, "A700H Refused: out of resources", ("1.2.77", "1.2.78"), unnamed=1)
    record, stored = association()
    house.spool.ended.append((replace(record, refused=refused), stored))
    await house.step()
    with house.database.read() as connection:
        [row] = connection.execute(association_table.select()).mappings().all()
        named = connection.execute(refusals.select()).all()
    assert (row["instances"], row["refused"], row["refused_why"], row["refused_unnamed"]) == (2, 3, refused.why, 1)
    assert named == [(record.id, uid) for uid in refused.instances]


async def test_an_association_is_taken_up_once_also_after_a_restart(house: House) -> None:
    house.spool.ended.append(association())
    await house.step()
    house.restart()
    await house.step()
    assert len(house.all()) == 1


async def test_sliding_timeout_over_associations(house: House) -> None:
    house.spool.ended.append(association("SLIDING", at=1000))
    await house.step()
    house.clock.moment = 1029
    house.spool.ended.append(association("SLIDING", at=1025))
    await house.step()
    house.clock.moment = 1054
    house.restart()  # deadlines are durable
    await house.step()
    assert [batch.state for batch, _ in house.all()] == [BatchState.COLLECTING]
    house.clock.moment = 1055
    await house.step()
    assert [(batch.state, len(uids)) for batch, uids in house.all()] == [(BatchState.CLOSED, 4)]


async def test_a_late_instance_starts_a_new_batch(house: House) -> None:
    house.spool.ended.append(association("SLIDING", at=1000))
    await house.step()
    house.clock.moment = 1031
    await house.step()
    house.spool.ended.append(association("SLIDING", at=1031))
    await house.step()
    assert [batch.state for batch, _ in house.all()] == [BatchState.CLOSED, BatchState.COLLECTING]


async def test_never_closed_while_an_association_is_open(house: House) -> None:
    house.spool.ended.append(association("SLIDING", at=1000))
    await house.step()
    house.open.add("SLIDING")
    house.clock.moment = 1031
    await house.step()
    assert [batch.state for batch, _ in house.all()] == [BatchState.COLLECTING]
    house.open.clear()
    house.spool.ended.append(association("SLIDING", at=1035))
    house.clock.moment = 1064
    await house.step()
    house.clock.moment = 1065
    await house.step()
    assert [(batch.state, len(uids)) for batch, uids in house.all()] == [(BatchState.CLOSED, 4)]


async def test_an_association_that_ended_a_moment_ago_moves_the_deadline(house: House) -> None:
    """The batcher wakes at the deadline before intake heard of the release: one batch, not two."""
    house.spool.ended.append(association("SLIDING", at=1000))
    await house.intake.step()
    house.clock.moment = 1031
    house.spool.ended.append(association("SLIDING", at=1030))
    await house.batcher.step()
    assert [(batch.state, len(uids)) for batch, uids in house.all()] == [(BatchState.COLLECTING, 4)]


async def test_a_deleted_ae_title_submits_what_it_has(house: House) -> None:
    house.spool.ended.append(association("SLIDING"))
    await house.step()
    house.snapshot = snapshot(AE)
    await house.step()
    [(batch, uids)] = house.all()
    assert batch.state is BatchState.CLOSED
    assert batch.policy == SLIDING  # the rules it began with
    assert len(uids) == 2


async def test_an_ae_title_that_was_made_again_begins_anew(house: House) -> None:
    """Deleted and made again between two looks: what the first had collected is submitted, by its own rules."""
    house.snapshot = snapshot(AE, replace(SLIDING, uid="first"))
    house.spool.ended.append(association("SLIDING"))
    await house.step()
    await house.batcher.step()
    assert [batch.state for batch, _ in house.all()] == [BatchState.COLLECTING]
    house.snapshot = snapshot(AE, replace(SLIDING, uid="second"))
    await house.batcher.step()
    house.spool.ended.append(association("SLIDING", at=1010))
    await house.step()
    assert [(batch.state, batch.policy.uid, len(uids)) for batch, uids in house.all()] == [
        (BatchState.CLOSED, "first", 2),
        (BatchState.COLLECTING, "second", 2),
    ]


async def test_an_association_that_began_before_its_ae_title_went_ends_by_its_rules(house: House) -> None:
    house.snapshot = replace(snapshot(AE), retired={"SLIDING": SLIDING})
    house.spool.ended.append(association("SLIDING"))
    await house.step()
    await house.batcher.step()
    [(batch, uids)] = house.all()
    assert (batch.state, batch.policy, len(uids)) == (BatchState.CLOSED, SLIDING, 2)


async def test_what_an_ae_title_that_is_gone_received_is_held(house: House) -> None:
    house.snapshot = snapshot(AE)
    house.spool.ended.append(association("SLIDING"))
    await house.step()
    [(batch, uids)] = house.all()
    assert batch.state is BatchState.HELD
    assert "SLIDING is not configured any more" in (batch.held_reason or "")
    assert len(uids) == 2


async def test_aborted_never_reaches_a_batch(house: House) -> None:
    house.spool.ended.append(association("SLIDING"))
    house.spool.ended.append(association("SLIDING", AssociationOutcome.ABORTED, at=1010))
    await house.step()
    assert [len(uids) for _, uids in house.all()] == [2]
    with house.database.read() as connection:
        assert associations.set_aside_due(connection, 1069) == []
        assert associations.set_aside_due(connection, 1070) == [house.spool.ended[1][0].id]


async def test_a_batch_keeps_the_rules_that_it_began_with(house: House) -> None:
    house.snapshot = snapshot(replace(SLIDING, overwrite_same_instance=True))
    house.spool.ended.append(association("SLIDING", uids=["1.2.9"], at=1000))
    await house.step()
    house.snapshot = snapshot(replace(SLIDING, timeout=300.0))
    house.clock.moment = 1010
    second = association("SLIDING", uids=["1.2.9"], at=1010)
    house.spool.ended.append(second)
    await house.step()
    [(batch, _)] = house.all()
    assert batch.deadline == 1040
    with house.database.read() as connection:
        [instance] = batches.instances_of(connection, batch.id)
    assert instance.association_id == second[0].id


async def test_an_association_that_cannot_be_taken_up_holds_up_no_other(house: House) -> None:
    """A fault of ours: here two instances with one number, which no spool gives."""
    record, [first, second] = association()
    house.spool.ended += [(record, [first, second._replace(number=1)]), association()]
    await house.step()
    await house.step()
    assert [len(uids) for _, uids in house.all()] == [2]
    house.spool.ended[0] = (record, [first, second])
    await house.step()
    assert [len(uids) for _, uids in house.all()] == [2, 2]


async def test_a_database_that_is_away_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.spool.ended += [association(), association()]
    tries: list[str] = []

    def full(*_: object) -> None:
        tries.append("take")
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(house.intake, "_take", full)
        with pytest.raises(OperationalError):
            await house.intake.step()
    assert len(tries) == 1  # not for each of them
    await house.step()
    assert len(house.all()) == 2


class TestSameInstance:
    """overwrite-same-instance: the first stays, or the newer one, within one batch."""

    @pytest.mark.parametrize(("overwrite", "kept"), [(False, 0), (True, 1)])
    async def test_over_associations(self, house: House, overwrite: bool, kept: int) -> None:
        house.snapshot = snapshot(replace(SLIDING, overwrite_same_instance=overwrite))
        both = [association("SLIDING", uids=["1.2.9"]), association("SLIDING", uids=["1.2.9"])]
        house.spool.ended += both
        await house.step()
        [(batch, uids)] = house.all()
        assert uids == ["1.2.9"]
        with house.database.read() as connection:
            [instance] = batches.instances_of(connection, batch.id)
        assert instance.association_id == both[kept][0].id

    async def test_a_whole_study_that_came_twice(self, house: House) -> None:
        house.snapshot = snapshot(replace(SLIDING, overwrite_same_instance=True))
        uids = [f"1.2.{number}" for number in range(2000)]
        both = [association("SLIDING", uids=uids), association("SLIDING", uids=uids)]
        house.spool.ended += both
        await house.step()
        [(batch, found)] = house.all()
        assert sorted(found) == sorted(uids)
        with house.database.read() as connection:
            kept = batches.instances_of(connection, batch.id)
        assert {one.association_id for one in kept} == {both[1][0].id}

    @pytest.mark.parametrize(("overwrite", "kept"), [(False, 1), (True, 2)])
    async def test_within_an_association(self, house: House, overwrite: bool, kept: int) -> None:
        house.snapshot = snapshot(replace(AE, overwrite_same_instance=overwrite))
        house.spool.ended.append(association(uids=["1.2.9", "1.2.9", "1.2.10"]))
        await house.step()
        [(batch, uids)] = house.all()
        assert sorted(uids) == ["1.2.10", "1.2.9"]
        with house.database.read() as connection:
            found = {one.sop_instance_uid: one.number for one in batches.instances_of(connection, batch.id)}
        assert found["1.2.9"] == kept


class TestInterrupted:
    """We died while an association was open: its instances were acknowledged."""

    async def test_held_until_a_person_releases_it(self, house: House) -> None:
        house.spool.ended.append(association(outcome=AssociationOutcome.INTERRUPTED))
        await house.step()
        [(batch, uids)] = house.all()
        assert batch.state is BatchState.HELD
        assert len(uids) == 2
        with house.database.write() as connection:
            assert batches.release(connection, batch.id, 1001)
            assert not batches.release(connection, batch.id, 1002)
        assert [batch.state for batch, _ in house.all()] == [BatchState.CLOSED]

    async def test_superseded_when_everything_arrives_again(self, house: House) -> None:
        house.spool.ended.append(association(outcome=AssociationOutcome.INTERRUPTED, uids=["1.2.1", "1.2.2"]))
        house.spool.ended.append(association(uids=["1.2.1", "1.2.2", "1.2.3"]))
        await house.step()
        assert [(batch.state, len(uids)) for batch, uids in house.all()] == [
            (BatchState.DROPPED, 0),
            (BatchState.CLOSED, 3),
        ]

    async def test_what_did_not_arrive_again_stays_held(self, house: House) -> None:
        house.spool.ended.append(association(outcome=AssociationOutcome.INTERRUPTED, uids=["1.2.1", "1.2.2"]))
        house.spool.ended.append(association(uids=["1.2.1"]))
        await house.step()
        assert [(batch.state, uids) for batch, uids in house.all()] == [
            (BatchState.HELD, ["1.2.2"]),
            (BatchState.CLOSED, ["1.2.1"]),
        ]

    async def test_superseded_by_several_associations_together(self, house: House) -> None:
        """A sender that opens an association for each image."""
        house.spool.ended.append(association(outcome=AssociationOutcome.INTERRUPTED, uids=["1.2.1", "1.2.2"]))
        house.spool.ended.append(association(outcome=AssociationOutcome.INTERRUPTED, uids=["1.2.9"]))
        house.spool.ended += [association(uids=["1.2.2"]), association(uids=["1.2.1"])]
        await house.step()
        states = [(batch.state, uids) for batch, uids in house.all()]
        assert sorted(states) == [
            (BatchState.CLOSED, ["1.2.1"]),
            (BatchState.CLOSED, ["1.2.2"]),
            (BatchState.DROPPED, []),
            (BatchState.HELD, ["1.2.9"]),
        ]

    async def test_submitted_where_the_site_says_so(self, house: House) -> None:
        house.submit_interrupted = True
        house.restart()
        house.spool.ended.append(association(outcome=AssociationOutcome.INTERRUPTED))
        await house.step()
        assert [batch.state for batch, _ in house.all()] == [BatchState.CLOSED]
