"""Host names are looked up beside associations."""

import threading

import pytest

from dicom_adapter.scp import host_names
from dicom_adapter.scp.host_names import HostNames, look_up


def test_an_answer_is_waited_for_once_and_then_kept() -> None:
    asked: list[str] = []

    def resolve(name: str) -> frozenset[str]:
        asked.append(name)
        return frozenset({"192.0.2.1"})

    names = HostNames(resolve)
    assert names.addresses_of("pacs") == frozenset()
    names.refresh(["pacs"], patience=10)
    names.refresh(["pacs"], patience=10)
    assert names.addresses_of("pacs") == {"192.0.2.1"}
    assert asked == ["pacs"]


def test_a_slow_name_server_keeps_nobody_waiting_for_long_and_answers_later() -> None:
    answer = threading.Event()
    names = HostNames(lambda name: frozenset({"192.0.2.1"}) if answer.wait(10) else frozenset())
    names.refresh(["pacs"], patience=0.01)
    assert names.addresses_of("pacs") == frozenset()
    answer.set()
    names.refresh(["pacs"], patience=10)
    assert names.addresses_of("pacs") == {"192.0.2.1"}


def test_an_old_answer_serves_while_a_new_one_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    answers = iter([frozenset({"192.0.2.1"}), frozenset({"192.0.2.2"})])

    def resolve(name: str) -> frozenset[str]:
        answer = next(answers)
        if answer == {"192.0.2.2"}:
            go_on.wait(10)
        return answer

    names = HostNames(resolve)
    names.refresh(["pacs"], patience=10)
    monkeypatch.setattr(host_names, "FRESH", 0.0)
    names.refresh(["pacs"], patience=10)  # returns at once
    assert names.addresses_of("pacs") == {"192.0.2.1"}
    go_on.set()


def test_addresses_are_told_without_the_name_server() -> None:
    assert look_up("127.0.0.1") == {"127.0.0.1"}
    assert look_up("\0") == frozenset()
