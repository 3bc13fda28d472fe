"""Tasks of the Results Service through poller, downloader, exporter and reporter: rows of contract 9.4, and faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.model import (
    Batch,
    BatchState,
    DeliveryState,
    ExportState,
    FileOutcome,
    Job,
    JobRef,
    JobState,
    ResultsTaskState,
)
from dicom_adapter.manager import results_files
from dicom_adapter.manager.results_poller import PAGE
from dicom_adapter.store import associations, batches, export_tasks, jobs, queries, results_tasks
from dicom_adapter.testing.results_service import Answer, Task, TaskState
from tests.fakes import AE, PACS, association, failing
from tests.unit.manager.results_house import ResultsHouse, results_house
from tests.unit.manager.test_results_collector import write

SUCCESS, FAILURE = "PUT /api/tasks/success", "PUT /api/tasks/failure"


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ResultsHouse]:
    monkeypatch.setattr(results_files, "DOWNLOAD_DELAYS", (0.0, 0.0))
    async with results_house(tmp_path) as made:
        yield made


async def test_a_task_from_beginning_to_end(house: ResultsHouse) -> None:
    given = house.register(3)
    await house.poll()
    assert house.service.calls == ["GET /api/tasks/ClaraSCU/pending?size=10"]
    assert (house.task().state, house.exports()[0].state) == ("received", "downloading")
    await house.download()
    assert (house.task().state, house.exports()[0].state) == ("downloaded", "pending")
    assert house.exports()[0].peer == PACS
    assert sorted(path.name for path in house.layout.results(house.task().id).iterdir()) == ["1.dcm", "2.dcm", "3.dcm"]
    assert not house.layout.staged_results(house.task().id).exists()
    await house.export()
    assert (house.task().state, house.task().reported_at) == ("succeeded", None)
    await house.reporter.step()
    assert house.task().reported_at is not None
    assert given.state is TaskState.SUCCEEDED
    assert (house.service.count(SUCCESS), house.service.count(FAILURE)) == (1, 0)


@pytest.mark.parametrize(
    ("count", "failed", "state", "report"),
    [
        (3, [1, 2, 3], "returned", TaskState.PENDING),
        (3, [1, 2], "returned", TaskState.PENDING),
        (3, [3], "succeeded", TaskState.SUCCEEDED),
        (4, [1, 2], "succeeded", TaskState.SUCCEEDED),
        (4, [1, 2, 3], "returned", TaskState.PENDING),
        (0, [], "succeeded", TaskState.SUCCEEDED),
    ],
)
async def test_more_than_half(
    house: ResultsHouse, count: int, failed: list[int], state: str, report: TaskState
) -> None:
    given = house.register(count)
    failing(house.agent, failed)
    await house.turn()
    assert (house.task().state, given.state) == (state, report)
    assert [one.number for one in house.files() if one.state is DeliveryState.FAILED] == failed
    if failed and report is TaskState.SUCCEEDED:
        assert f"{len(failed)} of {count} files failed: A700H: no space" in (house.task().reason or "")


async def test_only_what_failed_is_sent_again_later_and_three_times(house: ResultsHouse) -> None:
    given = house.register(3)
    failing(house.agent, [2, 3])
    for retries, delay in enumerate(house.poller._settings.retry_delays, start=1):
        await house.turn()
        ended_at = house.clock.moment
        assert (house.task().state, given.state, given.retries) == ("returned", TaskState.PENDING, retries)
        await house.poll()  # given again at once: it is held here until its time
        assert house.service.calls[-1].startswith("GET")
        assert delay <= (house.task().next_attempt_at or 0) - ended_at <= delay * 1.2
        await house.download()
        assert (house.task().state, house.exports()[0].state) == ("received", "downloading")
        house.clock.moment = house.task().next_attempt_at or 0
        await house.download()
    await house.export()
    await house.reporter.step()
    assert house.agent.sent == [[1, 2, 3], [2, 3], [2, 3], [2, 3]]
    assert house.payloads.asked == ["dicom-op/1.dcm", "dicom-op/2.dcm", "dicom-op/3.dcm"]
    assert (house.task().state, given.state) == ("failed", TaskState.FAILED)
    assert house.exports()[0].state is ExportState.FAILED
    assert house.service.count(FAILURE) == 4


async def test_retries_that_the_service_has_counted(house: ResultsHouse) -> None:
    given = house.register(3, retries=3)
    failing(house.agent, [1, 2, 3])
    await house.turn()
    assert given.state is TaskState.FAILED


@pytest.mark.parametrize("parameters", [None, "", "[]", "{}", 7, ["PACS", 7]])
async def test_parameters_that_name_no_destination(house: ResultsHouse, parameters: object) -> None:
    given = house.register(1, parameters)
    await house.turn()
    assert (house.task().state, given.state) == ("failed", TaskState.FAILED)
    assert "its parameters" in (house.task().reason or "")
    assert house.payloads.asked == []


async def test_an_unknown_destination(house: ResultsHouse) -> None:
    given = house.register(1, "NOWHERE")
    await house.turn()
    await house.reporter.step()
    assert (house.task().state, given.state) == ("failed", TaskState.FAILED)
    assert house.task().reason == "destination NOWHERE is not configured; configured: PACS"
    assert (house.payloads.asked, house.agent.sent) == ([], [])


async def test_one_of_two_destinations_is_unknown(house: ResultsHouse) -> None:
    given = house.register(2, '["pacs", "NOWHERE"]')
    await house.turn()
    assert (house.agent.sent, given.state) == ([[1, 2]], TaskState.FAILED)
    assert sorted(export.state for export in house.exports()) == ["failed", "succeeded"]


async def test_two_destinations_of_which_one_is_away(house: ResultsHouse) -> None:
    """Half of all deliveries failed, and yet one archive has nothing."""
    house.destinations = {"pacs": PACS, "other": replace(PACS, name="OTHER")}
    given = house.register(2, ["PACS", "OTHER"])
    house.agent.before = lambda file: failing(house.agent, [1, 2] if file.task_id == house.exports()[1].id else [])
    await house.turn()
    assert (house.task().state, given.retries) == ("returned", 1)
    assert [export.state for export in house.exports()] == ["succeeded", "returned"]
    house.agent.before, house.agent.answers = lambda _file: None, {}
    await house.poll()
    house.clock.moment += 1000
    await house.download()
    await house.export()
    await house.reporter.step()
    assert given.state is TaskState.SUCCEEDED
    assert house.agent.sent == [[1, 2], [1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"short", "the file is not DICOM: it has 5 bytes"),
        (b"<html>" + bytes(500), "the file is not DICOM: it has no DICM prefix at byte 128"),
        (bytes(128) + b"DICM" + b"garbage" * 100, "the file is not DICOM: the File Meta Information"),
        (PermanentError("payload p has no file x"), "payload p has no file x"),
        (TemporaryError("the platform is away"), "the platform is away"),
        (TimeoutError(), "the platform went silent"),
    ],
)
async def test_a_file_that_cannot_be_had_counts_as_failed(
    house: ResultsHouse, content: bytes | Exception, reason: str
) -> None:
    given = house.register(3)
    house.payloads.files["dicom-op/2.dcm"] = content
    await house.turn()
    assert given.state is TaskState.SUCCEEDED
    assert house.agent.sent == [[1, 3]]
    assert [one.state for one in house.files()] == ["delivered", "failed", "delivered"]
    assert (house.files()[1].reason or "").startswith(reason)
    assert sorted(path.name for path in house.layout.results(house.task().id).iterdir()) == ["1.dcm", "3.dcm"]


@pytest.mark.parametrize("kind", [PermanentError, TemporaryError])
async def test_the_name_of_a_file_is_not_repeated(
    house: ResultsHouse, kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a pipeline's, which may have made it of the patient's; the platform says it, and we log what that says."""
    name = "dicom-op/DOE^JANE.dcm"
    house.service.add("ClaraSCU", "payload", [f"/{name}"], "PACS")
    house.payloads.files[f"/{name}"] = kind(f"payload p has no file {name} (code -0x3100)")
    await house.turn()
    assert house.files()[0].reason == "payload p has no file [file 1] (code -0x3100)"
    assert "[file 1]" in (house.task().reason or "")
    assert "JANE" not in capsys.readouterr().out


async def test_downloads_are_tried_three_times_and_who_stays_away_only_once_more(house: ResultsHouse) -> None:
    given = house.register(3)
    for name in house.payloads.files:
        house.payloads.files[name] = TemporaryError("the platform is away")
    await house.turn()
    assert house.payloads.asked == ["dicom-op/1.dcm"] * 3 + ["dicom-op/2.dcm", "dicom-op/3.dcm"]
    assert (given.state, house.agent.sent) == (TaskState.PENDING, [])
    assert "3 of 3 files failed: the platform is away" in (house.task().reason or "")


async def test_downloads_that_failed_are_tried_in_the_next_turn(house: ResultsHouse) -> None:
    given = house.register(3)
    good = dict(house.payloads.files)
    for name in ("dicom-op/1.dcm", "dicom-op/2.dcm"):
        house.payloads.files[name] = PermanentError("gone for now")
    await house.turn()
    assert (given.state, house.agent.sent) == (TaskState.PENDING, [[3]])
    house.payloads.files |= good
    await house.poll()
    house.clock.moment += 1000
    await house.download()
    await house.export()
    await house.reporter.step()
    assert (given.state, house.agent.sent) == (TaskState.SUCCEEDED, [[3], [1, 2]])


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a\nb", "x" * 2000])
async def test_names_that_are_none_are_not_asked_for(house: ResultsHouse, name: str) -> None:
    given = house.service.add("ClaraSCU", "payload", [name], "PACS")
    await house.turn()
    assert (house.payloads.asked, given.state) == ([], TaskState.PENDING)
    assert "its name" in (house.task().reason or "")


async def test_the_preamble_becomes_zeros_and_nothing_else_changes(house: ResultsHouse) -> None:
    house.register(1)
    file = house.payloads.files["dicom-op/1.dcm"]
    assert isinstance(file, bytes)
    house.payloads.files["dicom-op/1.dcm"] = b"MZ" * 64 + file[128:]
    await house.turn()
    assert (house.layout.results(house.task().id) / "1.dcm").read_bytes() == bytes(128) + file[128:]


@pytest.mark.parametrize("piece", [1, 131, 132, 133, 1 << 20])
async def test_any_pieces(house: ResultsHouse, piece: int) -> None:
    house.register(1)
    house.payloads.piece = piece
    await house.turn()
    assert house.task().state is ResultsTaskState.SUCCEEDED
    assert (house.layout.results(house.task().id) / "1.dcm").read_bytes() == house.payloads.files["dicom-op/1.dcm"]


async def test_no_room_stops_polling_and_downloads_and_both_go_on(house: ResultsHouse) -> None:
    given = house.register(1)
    house.room = False
    await house.turn()
    assert house.service.calls == []
    assert (house.poller.state.polling, given.state) == ("paused", TaskState.PENDING)
    house.room = True
    await house.poll()
    assert house.poller.state.polling == "polled"
    house.room = False
    await house.download()
    assert (house.task().state, house.task().failures) == ("received", 1)
    assert "too little free space" in (house.task().reason or "")
    assert list(house.layout.results_tmp.rglob("*.part")) == []
    house.room = True
    house.clock.moment += 100
    await house.download()
    await house.export()
    await house.reporter.step()
    assert given.state is TaskState.SUCCEEDED


async def test_a_service_that_is_away_is_asked_less_and_less_often(house: ResultsHouse) -> None:
    house.service.fault = lambda _method, _path: Answer(503)
    for least in (1, 2, 4, 8, 16, 32, 60, 60):
        waits = await house.poller.step() or 0
        assert least <= waits <= least * 1.2
        assert await house.poller.step() == pytest.approx(waits)  # a trigger changes nothing
        house.clock.moment += waits
    assert house.service.calls == ["GET /api/tasks/ClaraSCU/pending?size=10"] * 8
    assert (house.poller.state.polling, house.poller.state.since) == ("away", 1000.0)
    assert "answers 503" in (house.poller.state.reason or "")
    house.service.fault = lambda _method, _path: None
    given = house.register(1)
    await house.turn()
    assert (house.poller.state.polling, given.state) == ("polled", TaskState.SUCCEEDED)


async def test_a_full_page_is_followed_by_the_next_at_once(house: ResultsHouse) -> None:
    for _ in range(11):
        house.service.add("ClaraSCU", "payload", [], "PACS")
    assert [await house.poller.step(), await house.poller.step()] == [0.0, 0.5]


async def test_a_report_that_fails_is_made_later_and_nothing_is_sent_twice(house: ResultsHouse) -> None:
    given = house.register(2)
    house.service.fault = lambda method, _path: Answer(500) if method == "PUT" else None
    await house.turn()
    for _ in range(5):
        house.clock.moment = house.task().next_attempt_at or 0
        await house.reporter.step()
        await house.poll()
    assert house.task().failures == 6
    assert (house.task().state, house.task().reported_at, given.state) == ("succeeded", None, TaskState.IN_PROGRESS)
    house.service.fault = lambda _method, _path: None
    house.clock.moment = house.task().next_attempt_at or 0
    await house.reporter.step()
    assert given.state is TaskState.SUCCEEDED
    assert house.agent.sent == [[1, 2]]


async def test_a_success_given_again_is_only_reported_again(house: ResultsHouse) -> None:
    given = house.register(2)
    await house.turn()
    given.state = TaskState.PENDING
    await house.turn()
    assert given.state is TaskState.SUCCEEDED
    assert (house.service.count(SUCCESS), house.agent.sent) == (2, [[1, 2]])


async def test_a_failure_whose_report_was_noted_but_not_answered_is_taken_up(house: ResultsHouse) -> None:
    given = house.register(2)
    failing(house.agent, [1, 2])
    house.service.after = lambda method, _path: Answer(500) if method == "PUT" else None
    await house.turn()
    assert (house.task().reported_at, given.state, given.retries) == (None, TaskState.PENDING, 1)
    house.service.after = lambda _method, _path: None
    await house.poll()
    assert (house.task().state, house.task().retries) == ("received", 1)
    await house.reporter.step()
    assert house.service.count(FAILURE) == 1


async def test_a_failure_given_again_without_a_count_is_reported_again(house: ResultsHouse) -> None:
    given = house.register(2)
    failing(house.agent, [1, 2])
    house.service.fault = lambda method, _path: Answer(500) if method == "PUT" else None
    await house.turn()
    given.state = TaskState.PENDING  # the service was restored from a backup
    house.service.fault = lambda _method, _path: None
    await house.poll()
    assert house.task().state is ResultsTaskState.RETURNED
    house.clock.moment = house.task().next_attempt_at or 0
    await house.reporter.step()
    assert (given.state, given.retries) == (TaskState.PENDING, 1)


async def test_a_service_that_does_not_count(house: ResultsHouse) -> None:
    given = house.register(1)
    failing(house.agent, [1])
    for _ in range(9):
        given.retries = 0
        await house.poll()
        house.clock.moment += 10_000
        await house.download()
        await house.export()
        await house.reporter.step()
        if given.state is TaskState.FAILED:
            break
    assert (given.state, len(house.agent.sent)) == (TaskState.FAILED, 4)


async def test_a_service_that_gives_a_task_until_it_is_over(house: ResultsHouse) -> None:
    """The contract does not say that to be given changes a task. Nothing is asked or told more often for that."""
    given = [house.service.add("ClaraSCU", "payload", [], "PACS") for _ in range(PAGE)]
    house.service.fault = lambda method, _path: Answer(500) if method == "PUT" else None
    due_in = [await house.poller.step()]
    for _ in range(PAGE):  # two downloads at a time, and one export
        await house.download()
        await house.export()
    for _ in range(4):
        for task in given:
            task.state = TaskState.PENDING
        await house.reporter.step()
        house.clock.moment += 0.5
        due_in.append(await house.poller.step())
    assert due_in == [0.0, 0.5, 0.5, 0.5, 0.5]
    assert house.service.count(SUCCESS) < 3 * PAGE  # after 1 s and then 2 s, and not whenever it is given
    house.service.fault = lambda _method, _path: None
    house.clock.moment += 100
    await house.reporter.step()
    assert {task.state for task in given} == {TaskState.SUCCEEDED}


async def test_what_is_being_worked_on_is_not_begun_again(house: ResultsHouse) -> None:
    given = house.register(2)
    await house.poll()
    given.state = TaskState.PENDING
    await house.poll()
    await house.download()
    await house.export()
    await house.reporter.step()
    assert (given.state, house.agent.sent) == (TaskState.SUCCEEDED, [[1, 2]])


async def test_a_destination_that_is_changed_meanwhile(house: ResultsHouse) -> None:
    given = house.register(1)
    await house.poll()
    await house.download()
    house.destinations = {}
    await house.export()
    await house.reporter.step()
    assert (house.agent.destinations, given.state) == ([PACS], TaskState.SUCCEEDED)


async def test_a_person_retries_a_dead_letter(house: ResultsHouse) -> None:
    given = house.register(1, "NOWHERE")
    await house.turn()
    assert given.state is TaskState.FAILED
    house.destinations = {"nowhere": replace(PACS, name="NOWHERE")}
    with house.database.write() as connection:
        assert results_tasks.take_up(connection, house.task().id)
        assert not results_tasks.take_up(connection, house.task().id)
    await house.turn()
    assert (given.state, house.task().state, house.task().turns) == (TaskState.SUCCEEDED, "succeeded", 1)


async def test_a_person_gives_a_task_up(house: ResultsHouse) -> None:
    given = house.register(1)
    await house.poll()
    with house.database.write() as connection:
        assert results_tasks.cancel(connection, house.task().id, house.clock.now())
        assert not results_tasks.cancel(connection, house.task().id, house.clock.now())
    await house.download()
    await house.export()
    await house.reporter.step()
    assert (house.task().state, given.state, house.agent.sent) == ("canceled", TaskState.FAILED, [])


async def test_a_person_gives_up_a_dead_letter_or_one_that_is_to_come_again(house: ResultsHouse) -> None:
    dead, returned = house.register(1, retries=3), house.register(1)
    failing(house.agent, [1])
    await house.poll()
    await house.download()
    await house.export()
    await house.export()
    await house.reporter.step()
    assert (dead.state, returned.state) == (TaskState.FAILED, TaskState.PENDING)
    with house.database.write() as connection:
        for task in house.tasks():
            assert results_tasks.cancel(connection, task.id, house.clock.now())
    await house.reporter.step()
    assert [task.state for task in house.tasks()] == ["canceled"] * 2
    assert returned.state is TaskState.FAILED
    assert house.service.count(FAILURE) == 3


async def test_a_warning_is_delivered(house: ResultsHouse) -> None:
    given = house.register(1)
    house.agent.answers = {1: FileOutcome(1, DeliveryState.WARNING, 0xB000, "B000H")}
    await house.turn()
    assert given.state is TaskState.SUCCEEDED


async def test_files_that_vanished_from_the_storage_are_downloaded_again(house: ResultsHouse) -> None:
    house.register(2)
    failing(house.agent, [1, 2])
    await house.turn()
    (house.layout.results(house.task().id) / "1.dcm").unlink()
    house.agent.answers = {}
    await house.poll()
    house.clock.moment += 1000
    await house.download()
    await house.export()
    assert house.task().state is ResultsTaskState.SUCCEEDED
    assert house.payloads.asked[-1] == "dicom-op/1.dcm"


async def test_a_job_exports_retry_leaves_those_of_results_tasks_alone(house: ResultsHouse) -> None:
    house.register(1)
    failing(house.agent, [1])
    await house.turn()
    with house.database.write() as connection:
        assert not export_tasks.retry(connection, house.exports()[0].id)


class TestResultsOfOurOwnJob:
    """They are compared with the batch that they were made from (`results.check`)."""

    @staticmethod
    def given(house: ResultsHouse) -> Task:
        """A job of ours that ran on the platform, and the task with its results: all good, until a test changes one."""
        record, instances = association(uids=["1.2.3.1"])
        with house.database.write() as connection:
            associations.add(connection, record, instances, set_aside_until=None)
            batches.open_batch(connection, Batch("b", "LUNG", BatchState.CLOSED, 1000, AE))
            batches.add_instances(connection, "b", instances, overwrite=False)
            jobs.add(connection, Job("j", "n", "b", "p1", "lung_ai", "LUNG", JobState.QUEUED, 1, 1, 0, 1000), None)
            jobs.created(connection, "j", JobRef("the platform's id", "payload"))
        write(house.path_of(instances[0]), "1.2.3.1")
        task = house.register(0, job_id="the platform's id")
        task.uris = [f"{number}.dcm" for number in (1, 2, 3)]
        for number, uri in enumerate(task.uris, start=1):
            house.payloads.files[uri] = write(house.made / uri, f"1.2.3.9.{number}").read_bytes()
        return task

    async def test_they_fit(self, house: ResultsHouse) -> None:
        given = self.given(house)
        await house.turn()
        assert (house.task().job_id, given.state) == ("j", TaskState.SUCCEEDED)
        assert house.agent.sent == [[1, 2, 3]]

    async def test_another_patient_goes_to_quarantine_and_counts_as_failed(self, house: ResultsHouse) -> None:
        given = self.given(house)
        house.payloads.files["2.dcm"] = write(house.made / "2.dcm", "1.2.3.9.2", patient="CANARY-2").read_bytes()
        await house.turn()
        assert (given.state, house.agent.sent) == (TaskState.SUCCEEDED, [[1, 3]])
        refused = house.files()[1]
        assert (refused.state, refused.reason) == ("failed", "in quarantine: its patient differs from the batch's")
        assert (house.layout.root / refused.path).is_file()
        assert refused.path == f"quarantine/{house.task().id}/2"

    async def test_a_source_sent_back_goes_to_quarantine(self, house: ResultsHouse) -> None:
        self.given(house)
        house.payloads.files["2.dcm"] = write(house.made / "2.dcm", "1.2.3.1").read_bytes()
        await house.turn()
        assert "it has the SOP Instance UID of an instance of the batch" in (house.files()[1].reason or "")

    async def test_a_batch_whose_files_are_removed(self, house: ResultsHouse) -> None:
        given = self.given(house)
        for path in house.layout.new.rglob("*.dcm"):
            path.unlink()
        await house.turn()
        assert (given.state, house.agent.sent) == (TaskState.SUCCEEDED, [[1, 2, 3]])

    async def test_a_study_shows_them_among_its_work(self, house: ResultsHouse) -> None:
        self.given(house)
        await house.poll()
        with house.database.read() as connection:
            [(_, exports)] = queries.work_on(connection, "1.2.3").jobs
        assert [export.results_task_id for export in exports] == [house.task().id]


async def test_files_are_sent_to_another_destination_without_a_word_to_the_service(house: ResultsHouse) -> None:
    house.register(2)
    house.payloads.files["dicom-op/2.dcm"] = PermanentError("gone")
    house.destinations = {"pacs": PACS, "other": replace(PACS, name="OTHER")}
    await house.poll()
    await house.download()
    with house.database.write() as connection:
        assert export_tasks.resend(connection, house.exports()[0], "OTHER", "x", 1000) is None  # under way
    await house.export()
    await house.reporter.step()
    with house.database.write() as connection:
        assert export_tasks.resend(connection, house.exports()[0], "OTHER", "x", 1000) == "x"
        assert export_tasks.resend(connection, house.exports()[0], "OTHER", "y", 1000) is None
    failing(house.agent, [1])
    await house.export()
    await house.reporter.step()
    assert house.agent.sent == [[1], [1]]
    assert {export.destination: export.state for export in house.exports()} == {"PACS": "succeeded", "OTHER": "failed"}
    assert (house.task().state, house.service.count("PUT")) == ("succeeded", 1)
