"""Every system call of the spool fails, or is the last one before kill -9: the states table of docs/spool.md holds.

The one sentence behind it all: what a `commit` returned for is there, byte for byte, after the restart.
"""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.spool import AssociationSpool, Durability, Spool
from dicom_adapter.spool.scanner import Adoption
from tests.spool_faults import FULL_OR_BROKEN, Died, FaultyFileSystem, data_set, facts, head, record

CALLS = range(1, 60)  # more than any life below makes; the surplus ends the loop


@dataclass
class Life:
    """One association from its first instance to its end; what the peer was told meanwhile."""

    spool: Spool
    association: AssociationSpool = field(init=False)
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    attempted: list[bytes] = field(default_factory=list)
    refused: int = 0
    released: bool = False

    def __post_init__(self) -> None:
        self.association = self.spool.open_association(record("a1"))

    def receive(self, uid: str) -> None:
        content = data_set(uid, uid.encode() * 50)
        self.attempted.append(head() + content)
        try:
            writer = self.association.create(head())
            writer.write(content[:100])
            writer.write(memoryview(content)[100:])
            instance = writer.commit(facts(uid))
        except OutOfResources:
            self.refused += 1
        else:
            self.acknowledged[instance.number] = head() + content

    def run(self) -> Life:
        self.receive("1.2.3.1")
        with suppress(OutOfResources):
            self.association.create(head()).discard()
        self.receive("1.2.3.2")
        self.receive("1.2.3.3")
        try:
            self.released = self.association.close(AssociationOutcome.RELEASED, 1002.0)
        except OutOfResources:
            self.refused += 1
        return self


def opened(root: Path, durability: Durability) -> tuple[Spool, FaultyFileSystem]:
    shutil.rmtree(root, ignore_errors=True)
    fs = FaultyFileSystem()
    spool = Spool(root, durability, fs)
    fs.calls.clear()
    return spool, fs


def restart_and_check(root: Path, life: Life) -> None:
    """Start twice over what is left; hold it against what the peer was told."""
    for start in (1, 2):
        spool = Spool(root, Durability.INSTANCE, FaultyFileSystem())
        try:
            adoption = spool.adopt_after_crash(2000.0)
            assert start == 1 or adoption == Adoption(), "the first start left nothing to do"
            assert adoption.instances_corrupt == 0
            assert list(spool.layout.tmp.iterdir()) == []
            assert list(spool.layout.corrupt.iterdir()) == []
            closed = list(spool.closed_associations(set()))
            assert [folder.name for folder in spool.layout.new.iterdir()] == [found.id for found, _ in closed]
            present = {}
            for found, instances in closed:
                assert found.outcome in {AssociationOutcome.RELEASED, AssociationOutcome.INTERRUPTED}
                assert not life.released or found.outcome is AssociationOutcome.RELEASED
                assert (found.calling_ae_title, found.called_ae_title) == ("MODALITY", "CLARA")
                present = {one.number: spool.instance_path(one).read_bytes() for one in instances}
                assert all(one.size == len(present[one.number]) for one in instances)
                assert all(one.sop_instance_uid.encode() in present[one.number] for one in instances)
            assert {number: present.get(number) for number in life.acknowledged} == life.acknowledged
            assert set(present.values()) <= set(life.attempted)
        finally:
            spool.close()


@pytest.mark.parametrize("torn", [False, True], ids=["between-calls", "torn-write"])
@pytest.mark.parametrize("durability", Durability)
def test_death_before_every_call(root: Path, durability: Durability, torn: bool) -> None:
    for k in CALLS:
        spool, fs = opened(root, durability)
        fs.die(k, torn=torn)
        life = Life(spool)
        try:
            life.run()
        except Died:
            restart_and_check(root, life)
        else:
            assert k > len(fs.calls) > 20
            assert len(life.acknowledged) == 3
            assert life.released
            fs.bury()
            restart_and_check(root, life)
            return
    pytest.fail("the life has more calls than this test knows")


@pytest.mark.parametrize("error", FULL_OR_BROKEN, ids=errno.errorcode.get)
@pytest.mark.parametrize("durability", Durability)
def test_every_call_fails_once(root: Path, durability: Durability, error: int) -> None:
    for k in CALLS:
        spool, fs = opened(root, durability)
        fs.fail(k, error)
        life = Life(spool).run()
        if k > len(fs.calls):
            return
        if not life.released and life.acknowledged:
            assert spool.finish_outcomes() == 1, "the outcome is written when the disk works again"
        assert spool.finish_outcomes() == 0
        # One fault costs at most one instance, but for an fsync: the folder it may have lost entries of takes no more.
        assert len(life.acknowledged) >= 2 or fs.calls[k - 1] == "sync"
        assert list(spool.layout.tmp.iterdir()) == [] or fs.calls[k - 1] in {"unlink", "remove_directory"}
        fs.bury()
        restart_and_check(root, life)
    pytest.fail("the life has more calls than this test knows")


@pytest.mark.parametrize("durability", Durability)
def test_full_disk_from_every_call_on_recovers_by_itself(root: Path, durability: Durability) -> None:
    for k in CALLS:
        spool, fs = opened(root, durability)
        fs.fail(k, errno.ENOSPC, lasting=True)
        life = Life(spool).run()
        if k > len(fs.calls):
            return
        assert life.refused or life.released
        assert list(spool.layout.tmp.rglob("*.part")) == []
        fs.heal()
        assert spool.finish_outcomes() == (1 if life.acknowledged and not life.released else 0)
        again = spool.open_association(record("a2"))
        writer = again.create(head())
        writer.write(data_set("1.2.3.9"))
        writer.commit(facts("1.2.3.9"))
        assert again.close(AssociationOutcome.RELEASED, 1003.0)
        assert spool.healthy
        closed = {found.id: len(instances) for found, instances in spool.closed_associations(set())}
        assert closed == ({"a1": len(life.acknowledged)} if life.acknowledged else {}) | {"a2": 1}
        spool.close()
    pytest.fail("the life has more calls than this test knows")


def test_death_during_recovery_and_again(root: Path) -> None:
    for k in CALLS:
        spool, fs = opened(root, Durability.INSTANCE)
        life = leave_every_state(spool)
        fs.bury()
        for _ in range(2):
            fs = FaultyFileSystem()
            spool = Spool(root, Durability.INSTANCE, fs)
            fs.calls.clear()
            fs.die(k)
            try:
                spool.adopt_after_crash(2000.0)
                list(spool.closed_associations(set()))
            except Died:
                continue
            fs.bury()
            check_every_state(root, life)
            if k > len(fs.calls):
                return
        check_every_state(root, life)
    pytest.fail("the recovery has more calls than this test knows")


def leave_every_state(spool: Spool) -> Life:
    """S1 and S2 in one association, a torn file beside them, S3 and S4 in others, and a folder without an instance."""
    life = Life(spool)
    life.receive("1.2.3.1")
    life.receive("1.2.3.2")
    life.association.create(head()).write(b"in progress")
    spool.layout.instance("a1", 7).write_bytes(b"")
    for name, outcome in (("a2", AssociationOutcome.RELEASED), ("a3", AssociationOutcome.ABORTED)):
        association = spool.open_association(record(name))
        writer = association.create(head())
        writer.write(data_set("1.2.3.4"))
        writer.commit(facts("1.2.3.4"))
        association.close(outcome, 1001.0)
    spool.layout.association("a4").mkdir()
    (spool.layout.association("a4") / "association.json").write_bytes(b"{")
    return life


def check_every_state(root: Path, life: Life) -> None:
    spool = Spool(root, Durability.INSTANCE, FaultyFileSystem())
    try:
        spool.adopt_after_crash(2000.0)
        closed = {found.id: (found.outcome, len(instances)) for found, instances in spool.closed_associations(set())}
        assert closed == {
            "a1": (AssociationOutcome.INTERRUPTED, 2),
            "a2": (AssociationOutcome.RELEASED, 1),
            "a3": (AssociationOutcome.ABORTED, 1),
        }
        for number, content in life.acknowledged.items():
            assert spool.layout.instance("a1", number).read_bytes() == content
        assert (spool.layout.corrupt / "a1" / "7.dcm").read_bytes() == b""
        assert (spool.layout.corrupt / "a1" / "7.dcm.reason").read_text().strip()
        assert not spool.layout.association("a4").exists()
        assert list(spool.layout.tmp.iterdir()) == []
    finally:
        spool.close()


@pytest.mark.parametrize("death", [False, True], ids=["fails", "dies"])
def test_removal_is_resumed_and_never_mistaken_for_an_interruption(root: Path, death: bool) -> None:
    for k in CALLS:
        spool, fs = opened(root, Durability.INSTANCE)
        Life(spool).run()
        fs.calls.clear()
        fs.die(k) if death else fs.fail(k, errno.EIO)
        try:
            spool.remove_association("a1")
        except (Died, OSError):
            fs.bury()
        else:
            assert k > len(fs.calls)
            assert not spool.layout.association("a1").exists()
            fs.bury()
            return
        spool = Spool(root, Durability.INSTANCE, FaultyFileSystem())
        assert spool.adopt_after_crash(2000.0).associations_interrupted == 0
        spool.remove_association("a1")
        spool.remove_association("a1")
        assert list(spool.layout.new.iterdir()) == []
        spool.close()
    pytest.fail("the removal has more calls than this test knows")
