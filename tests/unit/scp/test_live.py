"""Places and counters without an SCP."""

from __future__ import annotations

from dicom_adapter.scp.live import MOST_REJECTIONS, Places, Rejection


def rejection(calling: str) -> Rejection:
    return Rejection(calling, "LUNG", "192.0.2.7", "rejected-permanent, service-user, x", "add it")


def test_the_same_rejection_counts_and_comes_first_again() -> None:
    places = Places()
    for at, calling in enumerate(("A", "B", "A")):
        places.reject(rejection(calling), at)
    found = [(one.rejection.calling_ae_title, one.times, one.first_at, one.last_at) for one in places.rejections()]
    assert found == [("A", 2, 0, 2), ("B", 1, 1, 1)]


def test_a_peer_that_invents_names_takes_no_more_memory() -> None:
    places = Places()
    for number in range(2 * MOST_REJECTIONS):
        places.reject(rejection(str(number)), number)
    found = [one.rejection.calling_ae_title for one in places.rejections()]
    assert found == [str(number) for number in reversed(range(MOST_REJECTIONS, 2 * MOST_REJECTIONS))]
