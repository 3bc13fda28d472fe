"""The spool under any order of work, deaths, failing calls and power cuts keeps what it acknowledged."""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.spool import AssociationSpool, Durability, Spool
from tests.spool_faults import (
    FULL_OR_BROKEN,
    Died,
    FaultyFileSystem,
    PowerCutFileSystem,
    data_set,
    facts,
    head,
    record,
)

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
ENDS = st.sampled_from([AssociationOutcome.RELEASED, AssociationOutcome.ABORTED])


class SpoolMachine(RuleBasedStateMachine):
    """What peers were told, beside what is on disk. Whenever the process dies, it starts again, and all is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=MEMORY)) / "storage"
        self.acknowledged: dict[str, dict[int, bytes]] = {}
        self.told: dict[str, AssociationOutcome] = {}  # outcomes that were durable when we said so
        self.open: dict[str, AssociationSpool] = {}
        self.count = 0

    @initialize(durability=st.sampled_from(Durability))
    def start(self, durability: Durability) -> None:
        self.durability = durability
        self.fs = FaultyFileSystem()
        self.spool = Spool(self.root, durability, self.fs)

    def restart(self) -> None:
        self.open.clear()
        self.start(self.durability)
        self.spool.adopt_after_crash(2000.0)
        closed = {found.id: (found.outcome, kept) for found, kept in self.spool.closed_associations(set())}
        for name, instances in self.acknowledged.items():
            outcome, kept = closed[name]
            numbers = {one.number: self.spool.instance_path(one).read_bytes() for one in kept}
            assert {number: numbers.get(number) for number in instances} == instances
            assert outcome is self.told.get(name, outcome)
        assert list(self.spool.layout.tmp.iterdir()) == []
        assert list(self.spool.layout.corrupt.iterdir()) == []

    @rule()
    def accept(self) -> None:
        self.count += 1
        name = f"a{self.count}"
        self.open[name] = self.spool.open_association(record(name))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(0, 300), give_up=st.booleans())
    def receive(self, data: st.DataObject, size: int, give_up: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.open)))
        self.count += 1
        content = data_set(f"1.2.3.{self.count}", b"x" * size)
        try:
            writer = self.open[name].create(head())
            writer.write(content)
            if give_up:
                writer.discard()
                return
            instance = writer.commit(facts(f"1.2.3.{self.count}"))
        except OutOfResources:
            return
        except Died:
            self.restart()
            return
        self.acknowledged.setdefault(name, {})[instance.number] = head() + content

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def prepare(self, data: st.DataObject) -> None:
        try:
            self.open[data.draw(st.sampled_from(sorted(self.open)))].prepare()
        except Died:
            self.restart()

    @precondition(lambda self: self.open)
    @rule(data=st.data(), outcome=ENDS)
    def end(self, data: st.DataObject, outcome: AssociationOutcome) -> None:
        name = data.draw(st.sampled_from(sorted(self.open)))
        try:
            if self.open.pop(name).close(outcome, 1002.0):
                self.told[name] = outcome
        except OutOfResources:
            pass
        except Died:
            self.restart()

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.told)))
        del self.acknowledged[name], self.told[name]
        try:
            self.spool.remove_association(name)
        except OSError:
            pass
        except Died:
            self.restart()

    @rule()
    def tend(self) -> None:
        try:
            with suppress(OutOfResources):
                self.spool.probe()
            self.spool.finish_outcomes()
        except Died:
            self.restart()

    @rule(k=st.integers(1, 12), error=st.sampled_from(FULL_OR_BROKEN), lasting=st.booleans())
    def arm_failure(self, k: int, error: int, lasting: bool) -> None:
        self.fs.fail(k, error, lasting=lasting)

    @rule()
    def heal(self) -> None:
        self.fs.heal()

    @rule(k=st.integers(1, 20), torn=st.booleans())
    def arm_death(self, k: int, torn: bool) -> None:
        self.fs.die(k, torn=torn)

    @rule()
    def die_now(self) -> None:
        self.fs.bury()
        self.restart()

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        for name, instances in self.acknowledged.items():
            for number, content in instances.items():
                assert self.spool.layout.instance(name, number).read_bytes() == content

    def teardown(self) -> None:
        self.fs.bury()
        self.restart()
        self.fs.bury()
        shutil.rmtree(self.root.parent)


TestSpool = pytest.mark.timeout(300)(SpoolMachine.TestCase)
TestSpool.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@given(
    lives=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([None, *AssociationOutcome][:3])), min_size=1, max_size=4
    ),
    chance=st.integers(0, 2**32).map(random.Random),
    durability=st.sampled_from([Durability.INSTANCE, Durability.ASSOCIATION]),
)
@settings(max_examples=150, deadline=None)
def test_a_power_cut_spares_what_was_promised(
    lives: list[tuple[int, AssociationOutcome | None]], chance: random.Random, durability: Durability
) -> None:
    """Whatever was not synced may be lost, in part or whole: what each durability promises is not."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        root, graveyard = Path(folder) / "storage", Path(folder) / "graveyard"
        graveyard.mkdir()
        fs = PowerCutFileSystem(graveyard)
        spool = Spool(root, durability, fs)
        promised: dict[str, list[bytes]] = {}
        told: dict[str, AssociationOutcome] = {}
        for life, (count, outcome) in enumerate(lives):
            name = f"a{life}"
            association = spool.open_association(record(name))
            received = []
            for number in range(count):
                content = data_set(f"1.2.3.{number}", bytes(chance.randint(0, 99)))
                writer = association.create(head())
                writer.write(content)
                writer.commit(facts(f"1.2.3.{number}"))
                received.append(head() + content)
                if durability is Durability.INSTANCE:
                    promised[name] = received
            if outcome is not None:
                association.close(outcome, 1002.0)
                if durability is Durability.INSTANCE or outcome is AssociationOutcome.RELEASED:
                    promised[name], told[name] = received, outcome
            elif chance.random() < 0.5:
                association.create(head()).write(b"in progress")
        fs.cut(root, chance)

        spool = Spool(root, durability, FaultyFileSystem())
        spool.adopt_after_crash(2000.0)
        closed = {found.id: (found, instances) for found, instances in spool.closed_associations(set())}
        for name, contents in promised.items():
            found, instances = closed[name]
            assert [spool.instance_path(one).read_bytes() for one in instances] == contents
            assert found.outcome is told.get(name, found.outcome)
            assert (found.calling_ae_title, found.peer_host) == ("MODALITY", "192.0.2.7")
        if durability is Durability.INSTANCE:
            assert list(spool.layout.corrupt.iterdir()) == [], "what has a final name is whole"
        spool.close()


def test_the_power_cut_model_is_harsh_enough() -> None:
    """With durability none it does lose and tear files: the property above can fail."""
    lost = 0
    for seed in range(20):
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            root, graveyard = Path(folder) / "storage", Path(folder) / "graveyard"
            graveyard.mkdir()
            fs = PowerCutFileSystem(graveyard)
            spool = Spool(root, Durability.NONE, fs)
            association = spool.open_association(record("a1"))
            for number in range(3):
                writer = association.create(head())
                writer.write(data_set(f"1.2.3.{number}"))
                writer.commit(facts(f"1.2.3.{number}"))
            association.close(AssociationOutcome.RELEASED, 1002.0)
            fs.cut(root, random.Random(seed))
            spool = Spool(root, Durability.NONE, FaultyFileSystem())
            spool.adopt_after_crash(2000.0)
            whole = [instances for _, instances in spool.closed_associations(set())]
            lost += sum(map(len, whole)) < 3
            spool.close()
    assert lost > 10
