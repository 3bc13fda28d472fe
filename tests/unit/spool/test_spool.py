"""The spool as its users see it, and the states of docs/spool.md one by one."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.core.errors import OutOfResources, PermanentError
from dicom_adapter.core.model import AssociationOutcome, AssociationRecord, Instance, Refused
from dicom_adapter.spool import AssociationSpool, Durability, Spool, SpoolLocked, StorageUnusable
from dicom_adapter.spool.scanner import Adoption
from tests.spool_faults import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, FaultyFileSystem, data_set, facts, head, record

RELEASED, ABORTED, INTERRUPTED = AssociationOutcome.RELEASED, AssociationOutcome.ABORTED, AssociationOutcome.INTERRUPTED


@pytest.fixture
def fs() -> FaultyFileSystem:
    return FaultyFileSystem()


@pytest.fixture
def spool(root: Path, fs: FaultyFileSystem) -> Iterator[Spool]:
    spool = Spool(root, Durability.INSTANCE, fs)
    fs.calls.clear()
    yield spool
    if not fs.dead:
        spool.close()


def store(association: AssociationSpool, uid: str) -> Instance:
    writer = association.create(head())
    writer.write(data_set(uid))
    return writer.commit(facts(uid))


def closed(spool: Spool, known: set[str] | None = None) -> dict[str, tuple[AssociationRecord, list[Instance]]]:
    return {found.id: (found, instances) for found, instances in spool.closed_associations(known or set())}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_an_association_without_an_instance_leaves_no_trace(spool: Spool, fs: FaultyFileSystem) -> None:
    association = spool.open_association(record("a1"))
    assert association.close(RELEASED, 1002.0, Refused(1, "A700H Refused: out of resources")) is False
    assert fs.calls == []
    association = spool.open_association(record("a2"))
    association.create(head()).discard()
    assert association.close(RELEASED, 1002.0) is False
    assert files(spool.layout.tmp) == files(spool.layout.new) == set()


def test_what_was_refused_is_in_the_outcome(spool: Spool) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    refused = Refused(3, "A700H Refused: out of resources", ("1.2.3.2", "1.2.3.3"), unnamed=1)
    assert association.close(RELEASED, 1002.0, refused)
    found, instances = closed(spool)["a1"]
    assert (found.refused, len(instances)) == (refused, 1)
    spool.instance_path(instances[0]).unlink()  # it becomes an interrupted one, and still says so
    assert closed(spool)["a1"][0].refused == closed(spool)["a1"][0].refused == found.refused


def test_states_in_order(spool: Spool) -> None:
    association = spool.open_association(record("a1"))
    writer = association.create(head())
    assert files(spool.layout.spool) >= {"tmp/a1/1.part"}  # S1
    assert files(spool.layout.new) == set()
    writer.write(data_set("1.2.3.1"))
    instance = writer.commit(facts("1.2.3.1"))
    assert files(spool.layout.new) == {"a1", "a1/1.dcm", "a1/association.json", "a1/index.jsonl"}  # S2
    assert closed(spool) == {}
    assert association.close(RELEASED, 1002.0) is True
    assert files(spool.layout.new) >= {"a1/released"}  # S3
    assert files(spool.layout.tmp) == set()
    found, instances = closed(spool)["a1"]
    assert (found.outcome, found.ended_at, found.peer_host) == (RELEASED, 1002.0, "192.0.2.7")
    assert instances == [instance]
    assert spool.instance_path(instance).read_bytes() == head() + data_set("1.2.3.1")
    assert closed(spool, {"a1"}) == {}  # S5: it has rows
    spool.remove_association("a1")
    assert files(spool.layout.new) == set()  # S7


def test_the_calls_of_an_instance(spool: Spool, fs: FaultyFileSystem) -> None:
    """D1 is these calls in this order; one less and it is a lie, one more and it is slow."""
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    first = "make_directory open_directory create write sync"
    folder = "make_directory open_directory create write sync rename open_to_append"
    assert fs.calls == f"{first} {folder} rename sync sync".split()
    fs.calls.clear()
    store(association, "1.2.3.2")
    assert fs.calls == ["create", "write", "sync", "rename", "sync"]
    association.prepare()
    fs.calls.clear()
    store(association, "1.2.3.3")
    assert fs.calls == ["write", "sync", "rename", "sync"]


@pytest.mark.parametrize(
    ("durability", "syncs"),
    [(Durability.INSTANCE, (4, 1)), (Durability.ASSOCIATION, (0, 4)), (Durability.NONE, (0, 0))],
)
def test_what_each_durability_syncs(tmp_path: Path, durability: Durability, syncs: tuple[int, int]) -> None:
    fs = FaultyFileSystem()
    spool = Spool(tmp_path, durability, fs)
    fs.calls.clear()
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    at_commit = fs.calls.count("sync")
    association.close(RELEASED, 1002.0)
    assert (at_commit, fs.calls.count("sync") - at_commit) == syncs
    spool.close()


def test_a_prepared_file_is_used_once_and_leaves_no_trace(spool: Spool, fs: FaultyFileSystem) -> None:
    association = spool.open_association(record("a1"))
    association.prepare()
    assert files(spool.layout.tmp) == set(), "an association that stores nothing leaves no trace"
    store(association, "1.2.3.1")
    association.prepare()
    association.prepare()
    assert files(spool.layout.tmp) == {"a1", "a1/2.part"}
    store(association, "1.2.3.2")
    association.prepare()
    association.close(RELEASED, 1002.0)
    assert files(spool.layout.tmp) == set()
    assert [one.number for one in closed(spool)["a1"][1]] == [1, 2]


def test_a_file_that_cannot_be_prepared_is_made_when_it_is_needed(spool: Spool, fs: FaultyFileSystem) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    fs.fail(1, errno.ENOSPC)
    association.prepare()
    store(association, "1.2.3.2")
    association.close(RELEASED, 1002.0)
    assert [one.number for one in closed(spool)["a1"][1]] == [1, 2]


def test_files_are_for_our_account_only(spool: Spool) -> None:
    store(spool.open_association(record("a1")), "1.2.3.1")
    for path in (spool.layout.spool, *spool.layout.spool.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-a", ".a", "a" * 65, "a\n", "\u00e9"])
def test_an_id_is_never_a_path(spool: Spool, name: str) -> None:
    with pytest.raises(ValueError, match="an id is"):
        spool.open_association(record(name))
    for path_of in (spool.layout.association, spool.layout.results, spool.layout.quarantined):
        with pytest.raises(ValueError, match="an id is"):
            path_of(name)
    with pytest.raises(ValueError, match="an id is"):
        spool.remove_association(name)


def test_a_link_in_the_way_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    (spool.layout.tmp / "a1" / "2.part").symlink_to(victim)
    with pytest.raises(OutOfResources):
        store(association, "1.2.3.2")
    assert victim.read_text() == "precious"


def test_splice(spool: Spool) -> None:
    """Bytes moved straight into the file count like written ones; a wrong count is noticed before anybody is told."""
    association = spool.open_association(record("a1"))
    content = data_set("1.2.3.1")
    writer = association.create(head())
    os.write(writer.fd, content)
    writer.size += len(content)
    assert writer.commit(facts("1.2.3.1")).size == len(head() + content)
    writer = association.create(head())
    writer.size += len(content)
    with pytest.raises(OutOfResources, match="does not have the bytes"):
        writer.commit(facts("1.2.3.2"))
    assert association.committed == 1
    assert association.bytes == len(head() + content)


def test_a_writer_is_of_no_use_after_its_end(spool: Spool) -> None:
    association = spool.open_association(record("a1"))
    writer = association.create(head())
    writer.discard()
    writer.discard()
    for use in (lambda: writer.write(b"x"), lambda: writer.commit(facts("1.2.3.1"))):
        with pytest.raises(OutOfResources):
            use()


def test_an_instance_in_progress_vanishes_with_its_association(spool: Spool) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    association.create(head())
    association.close(ABORTED, 1002.0)
    assert files(spool.layout.tmp) == set()
    found, instances = closed(spool)["a1"]  # S4
    assert (found.outcome, len(instances)) == (ABORTED, 1)


def test_the_first_outcome_stands(spool: Spool) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    assert association.close(RELEASED, 1002.0)
    assert association.close(ABORTED, 1003.0)
    assert closed(spool)["a1"][0].outcome is RELEASED


def test_associations_come_in_the_order_in_which_they_ended(spool: Spool) -> None:
    associations = [spool.open_association(record(name)) for name in ("a1", "a2", "a3")]
    for association, ended_at in zip(associations, (1030.0, 1010.0, 1020.0), strict=True):
        store(association, "1.2.3.1")
        association.close(RELEASED, ended_at)
    assert list(closed(spool)) == ["a2", "a3", "a1"]


def test_what_is_removed_is_not_kept_in_mind(spool: Spool) -> None:
    for name in ("a1", "a2"):
        association = spool.open_association(record(name))
        store(association, "1.2.3.1")
        association.close(RELEASED, 1002.0)
    known = {"a1", "a2"}
    spool.remove_association("a1")
    assert closed(spool, known) == {}
    assert known == {"a2"}


def test_a_live_association_is_left_alone(spool: Spool) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    assert spool.adopt_after_crash(2000.0).associations_interrupted == 0
    for remove in (spool.remove_association, lambda name: spool.remove_instances(name, [1])):
        with pytest.raises(ValueError, match="not ended"):
            remove("a1")


# Faults of the disk


def test_a_failed_fsync_makes_the_spool_unhealthy_until_a_probe_succeeds(spool: Spool, fs: FaultyFileSystem) -> None:
    association = spool.open_association(record("a1"))
    writer = association.create(head())
    fs.fail(2, errno.EIO)  # write, sync
    with pytest.raises(OutOfResources, match="disk of the storage folder reports an error"):
        writer.commit(facts("1.2.3.1"))
    assert not spool.healthy
    assert "sync" in (spool.fault or "")
    assert fs.calls.count("sync") == 1, "never retried"
    fs.fail(2, errno.EROFS)
    with pytest.raises(OutOfResources, match="read-only"):
        spool.probe()
    assert not spool.healthy
    spool.probe()
    assert spool.healthy


class TellsAtClose(FaultyFileSystem):
    """NFS says only at close(2) that a quota is used up."""

    told = 0

    def close(self, file: int) -> None:
        super().close(file)
        if self.told == 1:
            self.told += 1
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@pytest.mark.parametrize("durability", Durability)
def test_a_file_system_that_tells_at_close(root: Path, durability: Durability) -> None:
    """The instance is dropped, the next one may work."""
    fs = TellsAtClose()
    spool = Spool(root, durability, fs)
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    fs.told = 1
    with pytest.raises(OutOfResources, match="quota"):
        store(association, "1.2.3.2")
    fs.told = 1
    association.create(head()).discard()
    assert files(spool.layout.tmp) == {"a1"}
    store(association, "1.2.3.4")
    association.close(RELEASED, 1002.0)
    assert [one.sop_instance_uid for one in closed(spool)["a1"][1]] == ["1.2.3.1", "1.2.3.4"]
    spool.close()


@pytest.mark.parametrize("prepared", [True, False])
def test_no_close_keeps_an_association_from_its_end(root: Path, prepared: bool) -> None:
    """Its last closes are of the file that was prepared, the index and the folders: nothing depends on them."""
    fs = TellsAtClose()
    spool = Spool(root, Durability.NONE, fs)
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    if prepared:
        association.prepare()
        fs.told = 1
        association.close(RELEASED, 1002.0)
    else:
        marked = association._write_marker

        def then_tell(end: Any) -> None:
            marked(end)
            fs.told = 1  # the index is next

        association._write_marker = then_tell  # type: ignore[method-assign]
        association.close(RELEASED, 1002.0)
    assert fs.told == 2
    assert [one.sop_instance_uid for one in closed(spool)["a1"][1]] == ["1.2.3.1"]
    assert files(spool.layout.tmp) == set()
    spool.close()


def test_a_full_disk_is_no_fault(spool: Spool, fs: FaultyFileSystem) -> None:
    writer = spool.open_association(record("a1")).create(head())
    fs.fail(1, errno.ENOSPC)
    with pytest.raises(OutOfResources, match="free some space"):
        writer.commit(facts("1.2.3.1"))
    assert spool.healthy


def test_a_folder_whose_fsync_failed_takes_no_more(spool: Spool, fs: FaultyFileSystem) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    writer = association.create(head())
    fs.fail(4, errno.EIO)  # write, sync, rename, sync of the folder
    with pytest.raises(OutOfResources):
        writer.commit(facts("1.2.3.2"))
    with pytest.raises(OutOfResources, match="store more of this association"):
        association.create(head())
    association.close(RELEASED, 1002.0)
    assert [one.number for one in closed(spool)["a1"][1]] == [1]


def test_a_lost_association_is_held(tmp_path: Path) -> None:
    """Durability association: an fsync that fails at the release means that Success may have been a lie."""
    fs = FaultyFileSystem()
    spool = Spool(tmp_path, Durability.ASSOCIATION, fs)
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    fs.fail(3, errno.EIO)  # write of the index, open, sync
    with pytest.raises(OutOfResources):
        association.close(RELEASED, 1002.0)
    assert closed(spool) == {}
    assert spool.finish_outcomes() == 1
    assert closed(spool)["a1"][0].outcome is INTERRUPTED
    spool.close()


# After a crash


def abandoned(spool: Spool, fs: FaultyFileSystem, *uids: str) -> Path:
    """An association that was open when the process died."""
    association = spool.open_association(record("a1"))
    for uid in uids:
        store(association, uid)
    fs.bury()
    return spool.layout.association("a1")


def test_an_open_association_becomes_an_interrupted_one(spool: Spool, fs: FaultyFileSystem) -> None:
    folder = abandoned(spool, fs, "1.2.3.1", "1.2.3.2")
    assert (folder / "index.jsonl").read_bytes() == b"", "lines are kept back, so the heads are read"
    fresh = Spool(spool.layout.root)
    assert fresh.adopt_after_crash(2000.0) == Adoption(associations_interrupted=1, instances_kept=2)
    found, instances = closed(fresh)["a1"]  # S4i
    assert (found.outcome, found.ended_at) == (INTERRUPTED, 2000.0)
    assert [(one.number, one.sop_instance_uid, one.sop_class_uid) for one in instances] == [
        (1, "1.2.3.1", CT_IMAGE_STORAGE),
        (2, "1.2.3.2", CT_IMAGE_STORAGE),
    ]
    assert {(one.study_instance_uid, one.series_instance_uid, one.transfer_syntax_uid) for one in instances} == {
        ("1.2.4.1", "1.2.4.1.1", EXPLICIT_LITTLE)
    }
    assert len(json.loads((folder / "index.jsonl").read_bytes())) == 2
    fresh.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no DICM prefix"),
        (b"\0" * 4096, "no DICM prefix"),
        (head()[:200], "cut off"),
        (head() + data_set("1.2.3.9")[:20], "cut off"),
        (head(), "no SOP Instance UID"),
        (head() + b"\xff" * 64, "no SOP Instance UID"),
    ],
    ids=["empty", "zeros", "in-file-meta", "in-head", "no-data-set", "noise"],
)
def test_a_torn_file_is_kept_apart(spool: Spool, fs: FaultyFileSystem, content: bytes, reason: str) -> None:
    folder = abandoned(spool, fs, "1.2.3.1")
    (folder / "2.dcm").write_bytes(content)
    fresh = Spool(spool.layout.root)
    fresh.adopt_after_crash(2000.0)
    assert [one.number for one in closed(fresh)["a1"][1]] == [1]
    assert (fresh.layout.corrupt / "a1" / "2.dcm").read_bytes() == content
    assert reason in (fresh.layout.corrupt / "a1" / "2.dcm.reason").read_text()
    fresh.close()


def test_a_released_association_that_lost_a_file_is_held(spool: Spool) -> None:
    """After a power cut under durability none: what is not whole never reaches a pipeline by itself."""
    for name in ("a1", "a2", "a3"):
        association = spool.open_association(record(name))
        store(association, "1.2.3.1")
        store(association, "1.2.3.2")
        association.close(RELEASED, 1002.0)
    os.truncate(spool.layout.instance("a1", 2), 500)
    spool.layout.instance("a2", 2).unlink()
    outcomes = {name: (found.outcome, len(kept)) for name, (found, kept) in closed(spool).items()}
    assert outcomes == {"a1": (INTERRUPTED, 1), "a2": (INTERRUPTED, 1), "a3": (RELEASED, 2)}
    assert {name: found.outcome for name, (found, _) in closed(spool).items()} == {
        "a1": INTERRUPTED,
        "a2": INTERRUPTED,
        "a3": RELEASED,
    }


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"id": "other"}', b'{"id": "a1", "peer_port": "x"}'])
def test_a_torn_envelope_is_read_from_the_instances(spool: Spool, content: bytes | None) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    association.close(RELEASED, 1002.0)
    envelope = spool.layout.association("a1") / "association.json"
    envelope.unlink() if content is None else envelope.write_bytes(content)
    found, _ = closed(spool)["a1"]
    assert (found.calling_ae_title, found.called_ae_title) == ("MODALITY", "CLARA")


@pytest.mark.parametrize("content", [b"", b"[1]\n", b"{\n", b"\0" * 200, b'[1, 2, 3, "a"]\n[2'])
def test_a_torn_index_costs_time_only(spool: Spool, content: bytes) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    association.close(RELEASED, 1002.0)
    (spool.layout.association("a1") / "index.jsonl").write_bytes(content)
    assert [one.sop_instance_uid for one in closed(spool)["a1"][1]] == ["1.2.3.1"]


@pytest.mark.parametrize("content", [b"", b"{", b"0"])
def test_a_torn_marker_still_is_one(spool: Spool, content: bytes) -> None:
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    association.close(RELEASED, 1002.0)
    marker = spool.layout.association("a1") / "released"
    marker.write_bytes(content)
    found, _ = closed(spool)["a1"]
    assert (found.outcome, found.ended_at) == (RELEASED, marker.stat().st_mtime)


def test_a_head_beyond_the_first_bytes_is_found(spool: Spool, fs: FaultyFileSystem) -> None:
    """A long element before the Series Instance UID: the head ends some chunks later."""
    folder = abandoned(spool, fs, "1.2.3.1")
    content = data_set("1.2.3.2")
    start = content.index(b"\x20\0\x0d\0")
    long_element = b"\x09\0\x10\x10OB\0\0" + (700_000).to_bytes(4, "little") + b"\0" * 700_000
    (folder / "2.dcm").write_bytes(head() + content[:start] + long_element + content[start:])
    fresh = Spool(spool.layout.root)
    fresh.adopt_after_crash(2000.0)
    assert [one.study_instance_uid for one in closed(fresh)["a1"][1]] == ["1.2.4.1", "1.2.4.1"]
    fresh.close()


def test_foreign_things_in_the_folders_do_not_disturb(spool: Spool) -> None:
    (spool.layout.new / "lost+found").mkdir()
    (spool.layout.new / "notes.txt").write_text("x")
    (spool.layout.tmp / "notes.txt").write_text("x")
    association = spool.open_association(record("a1"))
    store(association, "1.2.3.1")
    association.close(RELEASED, 1002.0)
    (spool.layout.association("a1") / "01.dcm").write_text("x")
    spool.adopt_after_crash(2000.0)
    assert [len(instances) for _, instances in closed(spool).values()] == [1]


def test_an_unreadable_association_holds_up_no_other(spool: Spool, fs: FaultyFileSystem) -> None:
    for name in ("a1", "a2"):
        association = spool.open_association(record(name))
        store(association, "1.2.3.1")
        association.close(RELEASED, 1002.0)
    fs.fail(1, errno.EIO)
    assert len(closed(spool)) == 1
    assert set(closed(spool)) == {"a1", "a2"}
    for k in range(1, 12):
        fs.fail(k, errno.EIO)
        assert closed(spool)
    assert spool.adopt_after_crash(2000.0) == Adoption()


def test_an_adoption_that_the_disk_does_not_allow_is_made_up_for(spool: Spool, fs: FaultyFileSystem) -> None:
    abandoned(spool, fs, "1.2.3.1")
    fs = FaultyFileSystem()
    fresh = Spool(spool.layout.root, Durability.INSTANCE, fs)
    fs.fail(4, errno.ENOSPC, lasting=True)
    assert fresh.adopt_after_crash(2000.0).associations_interrupted == 0
    assert closed(fresh) == {}
    assert fresh.finish_outcomes() == 0
    fs.heal()
    assert fresh.finish_outcomes() == 1
    assert closed(fresh)["a1"][0].outcome is INTERRUPTED
    assert fresh.finish_outcomes() == 0
    fresh.close()


# Removal


def test_removal_of_single_instances(spool: Spool) -> None:
    association = spool.open_association(record("a1"))
    for number in range(1, 4):
        store(association, f"1.2.3.{number}")
    association.close(RELEASED, 1002.0)
    spool.remove_instances("a1", [1, 3, 9])
    spool.remove_instances("gone", [1])
    assert {path.name for path in spool.layout.association("a1").glob("*.dcm")} == {"2.dcm"}


def test_results_are_removed_and_quarantine_stays(spool: Spool) -> None:
    for folder in (spool.layout.staged_results("j1"), spool.layout.results("j1"), spool.layout.quarantined("j1")):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "1.dcm").write_bytes(b"x")
    spool.remove_results("j1")
    spool.remove_results("j1")
    assert not spool.layout.results("j1").exists()
    assert not spool.layout.staged_results("j1").exists()
    assert (spool.layout.quarantined("j1") / "deep" / "1.dcm").exists()


def test_every_attempt_of_a_job_has_folders_of_its_own_inside_the_jobs(spool: Spool) -> None:
    layout = spool.layout
    for of_job, of_attempt in (
        (layout.results, layout.results_of_attempt),
        (layout.quarantined, layout.quarantined_of_attempt),
    ):
        assert {of_attempt("j1", number).name for number in (1, 2)} == {"attempt-1", "attempt-2"}
        assert of_attempt("j1", 1).parent == of_job("j1")  # so what removes the job's removes them


# The one owner


def test_a_second_process_is_refused_and_told_who_has_it(spool: Spool) -> None:
    root = spool.layout.root
    with pytest.raises(SpoolLocked, match=f"process id {os.getpid()}: stop that one"):
        Spool(root)
    program = f"from pathlib import Path; from dicom_adapter.spool import Spool; Spool(Path({str(root)!r}))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert f"process id {os.getpid()}" in other.stderr
    spool.close()
    Spool(root).close()


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageUnusable, match="cannot be used") as refused:
            Spool(root)
        assert isinstance(refused.value, PermanentError)


def test_a_disk_that_fails_at_start_is_refused(tmp_path: Path) -> None:
    for k, error in ((1, errno.EROFS), (2, errno.ENOSPC), (3, errno.EIO)):
        fs = FaultyFileSystem()
        fs.fail(k, error)
        with pytest.raises(StorageUnusable, match="cannot be used"):
            Spool(tmp_path, Durability.INSTANCE, fs)
    Spool(tmp_path).close()


def test_two_file_systems_are_refused(tmp_path: Path) -> None:
    class TwoDevices(FaultyFileSystem):
        def device(self, directory: int) -> int:
            return directory

    with pytest.raises(StorageUnusable, match="different file systems"):
        Spool(tmp_path, Durability.INSTANCE, TwoDevices())


@pytest.mark.parametrize(("files", "left", "usable"), [(1000, 63, 0), (1000, 64, 8192), (0, 0, 8192)])
def test_a_volume_without_inodes_has_no_space(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, files: int, left: int, usable: int
) -> None:
    """A volume that counts none (btrfs) says 0 of 0."""
    volume = os.statvfs_result((4096, 4096, 10, 3, 2, files, left, left, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: volume)
    assert spool.space() == (40960, usable)


def test_space(spool: Spool) -> None:
    total, free = spool.space()
    assert 0 <= spool.free_bytes() <= total
    assert free <= total
