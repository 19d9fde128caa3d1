"""The throttle's decisions, over a store that a test can slow down.

That Airflow's Variables are such a store, over processes, is tested in ``test_notifier_throttle.py``.
"""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.notifications import _throttle as throttle
from airflow_provider_pindo.notifications._throttle import PREFIX, FailureRecord, Throttle, ThrottleState
from airflow_provider_pindo.notifications._timebox import TimeLimit

WINDOW = 900.0
AUDIENCE = ("+250781234567",)


class Names:
    """A store in memory; ``before_write`` is called with each name before it appears."""

    def __init__(self) -> None:
        self.all: set[str] = set()
        self.before_write = lambda name: None
        self._lock = threading.Lock()

    def names(self, prefix):
        with self._lock:
            return [name for name in self.all if name.startswith(prefix)]

    def write(self, name, value):
        self.before_write(name)
        with self._lock:
            self.all.add(name)

    def delete(self, name):
        with self._lock:
            self.all.discard(name)

    def kinds(self):
        return sorted(name.split(".")[2] for name in self.all)


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def settle_quickly(monkeypatch):
    monkeypatch.setattr(throttle, "RECHECK_DELAY", 0.05)


@pytest.fixture
def store():
    return Names()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def incident(store, clock):
    return Throttle("Failed: DAG etl", AUDIENCE, WINDOW, store, clock)


def send(incident: Throttle, failure: str = "") -> int:
    """Enter, have the text accepted, and return how many it tells were held back."""
    permit = incident.request_permit(TimeLimit(10), failure)
    assert permit is not None
    incident.commit(permit, TimeLimit(10))
    return permit.held_back


def test_the_first_goes_out_and_those_within_the_window_do_not(incident, clock):
    assert send(incident) == 0
    for _ in range(3):
        clock.now += 1
        assert incident.request_permit(TimeLimit(10)) is None


def test_the_next_after_the_window_tells_how_many_were_held_back_and_each_once(incident, clock):
    assert send(incident) == 0
    for _ in range(7):
        clock.now += 1
        assert incident.request_permit(TimeLimit(10)) is None
    clock.now += WINDOW
    assert send(incident) == 7
    clock.now += WINDOW
    assert send(incident) == 0


def test_what_is_held_back_right_before_a_text_is_told_by_the_one_after(incident, clock):
    assert send(incident) == 0
    clock.now += WINDOW - 1
    assert incident.request_permit(TimeLimit(10)) is None
    clock.now += 2
    assert send(incident) == 0
    clock.now += WINDOW
    assert send(incident) == 1


def test_what_was_told_is_remembered_for_a_while_and_then_removed_by_the_next_text(incident, clock, store):
    send(incident)
    for _ in range(5):
        clock.now += 20
        incident.request_permit(TimeLimit(10))
    clock.now += WINDOW
    assert send(incident) == 5
    assert store.kinds().count("failure") == 7
    clock.now += throttle.DUPLICATE_WINDOW + throttle.DECISION_TIMEOUT
    assert send(incident) == 0
    assert store.kinds() == ["failure", "reported", "sent"]


def test_an_accepted_text_whose_end_was_not_written_is_told_again(incident, clock):
    assert send(incident) == 0
    clock.now += 10
    assert incident.request_permit(TimeLimit(10)) is None
    clock.now += WINDOW
    permit = incident.request_permit(TimeLimit(10))
    assert permit is not None  # and its process dies here
    assert permit.held_back == 1
    clock.now += WINDOW
    assert send(incident) == 2


def test_a_text_that_was_certainly_not_sent_holds_back_nothing_and_counts(incident, clock):
    permit = incident.request_permit(TimeLimit(10))
    assert permit is not None
    incident.withdraw(permit)
    clock.now += throttle.LEADER_TIMEOUT + 1
    assert send(incident) == 1


def test_failures_that_never_stop_do_not_keep_the_next_text_from_going_out(incident, clock):
    permit = incident.request_permit(TimeLimit(10))
    assert permit is not None
    incident.withdraw(permit)
    went_out = []
    for number in range(1, 60):
        clock.now += 20
        if permit := incident.request_permit(TimeLimit(10)):
            incident.commit(permit, TimeLimit(10))
            went_out.append(number)
    assert went_out[0] == 2
    assert all(20 * (later - sooner) >= WINDOW for sooner, later in itertools.pairwise(went_out))
    assert len(went_out) > 1


def test_a_process_that_dies_before_it_sends_silences_the_others_only_for_seconds(incident, clock, store):
    prefix = store_prefix(incident, store)
    store.write(f"{prefix}failure.{int(clock.now * 1000) - 500}.dead", "")
    assert incident.request_permit(TimeLimit(10)) is None
    clock.now += throttle.LEADER_TIMEOUT + 1
    assert send(incident) == 2


def store_prefix(incident: Throttle, store: Names) -> str:
    permit = incident.request_permit(TimeLimit(10))
    assert permit is not None
    prefix = permit.sent.partition("sent")[0]
    store.all.clear()
    return prefix


def test_a_failure_that_is_no_longer_waited_for_holds_back_nobody(incident, store):
    with pytest.raises(TimeoutError):
        incident.request_permit(TimeLimit(0))
    assert store.kinds() == ["failure"]


def test_other_people_and_other_incidents_have_windows_of_their_own(store, clock):
    for name, people in [("a", AUDIENCE), ("b", AUDIENCE), ("a", ("+250781234568",))]:
        assert send(Throttle(name, people, WINDOW, store, clock)) == 0
    assert Throttle("a", AUDIENCE, WINDOW, store, clock).request_permit(TimeLimit(10)) is None


def test_of_many_at_one_moment_exactly_one_goes_out_and_all_are_counted(store):
    def fail(_):
        return Throttle("a", AUDIENCE, WINDOW, store).request_permit(TimeLimit(10))

    with ThreadPoolExecutor(32) as pool:
        permits = [each for each in pool.map(fail, range(200)) if each]
    assert len(permits) == 1
    assert sum(name.split(".")[2] == "failure" for name in store.all) == 200


def test_a_note_that_appears_late_is_held_back_by_the_text_that_went_out(store):
    def late(name):
        if threading.current_thread().name == "late" and ".failure." in name:
            time.sleep(4 * throttle.RECHECK_DELAY)

    store.before_write = late
    permits = []

    def fail():
        permits.append(Throttle("a", AUDIENCE, WINDOW, store).request_permit(TimeLimit(10)))

    threads = [threading.Thread(target=fail, name=name) for name in ("late", "prompt")]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert sum(each is not None for each in permits) == 1


def test_what_is_left_of_old_incidents_is_removed_and_nothing_else(store, clock):
    old = int((clock.now - throttle.RETENTION - 1) * 1000)
    young = int((clock.now - throttle.RETENTION + 60) * 1000)
    digest = "0123456789abcdef"
    kept = {
        f"{PREFIX}{digest}.failure.{young}.ab12",
        f"{PREFIX}mine",
        f"{PREFIX}{digest}.other.{old}",
        "else",
    }
    gone = {
        f"{PREFIX}{digest}.failure.{old}.ab12",
        f"{PREFIX}{digest}.sent.{old}",
        f"{PREFIX}{digest}.reported.{old}",
    }
    store.all |= kept | gone
    send(Throttle("a", AUDIENCE, WINDOW, store, clock))
    assert kept <= store.all
    assert not gone & store.all


def test_cleaning_up_stops_when_its_time_is_over(incident, clock, store):
    send(incident)
    for _ in range(5):
        clock.now += 20
        incident.request_permit(TimeLimit(10))
    clock.now += WINDOW + throttle.DUPLICATE_WINDOW
    permit = incident.request_permit(TimeLimit(10))
    assert permit is not None
    incident.commit(permit, TimeLimit(0))
    assert store.kinds().count("failure") == 7
    clock.now += WINDOW
    assert send(incident) == 0
    assert store.kinds().count("failure") == 2


def test_the_names_hold_no_phone_number(incident, store):
    send(incident)
    incident.request_permit(TimeLimit(10))
    assert not any("781234567" in name for name in store.all)


def test_a_name_is_short_enough_for_a_variable(store, clock):
    send(Throttle("x" * 1000, AUDIENCE, WINDOW, store, clock))
    assert max(map(len, store.all)) < 250


# -- one failure, called back twice


def test_a_failure_that_is_held_back_twice_is_counted_once(incident, clock):
    assert send(incident, "first") == 0
    for failure in ("a", "b", "a", "c", "b", "a"):
        clock.now += 20
        assert incident.request_permit(TimeLimit(10), failure) is None
    clock.now += WINDOW
    assert send(incident, "last") == 3


@pytest.mark.parametrize("later", [0.01, 20, WINDOW, throttle.DUPLICATE_WINDOW - 1])
def test_a_failure_that_was_texted_is_neither_texted_nor_counted_again(incident, clock, later):
    assert send(incident, "a") == 0
    clock.now += later
    assert incident.request_permit(TimeLimit(10), "a") is None
    clock.now += WINDOW + 20
    assert send(incident, "b") == 0


@pytest.mark.parametrize(
    "later", [1, throttle.DECISION_TIMEOUT, WINDOW, throttle.DUPLICATE_WINDOW - WINDOW - 100]
)
def test_a_failure_that_was_told_by_another_text_is_neither_texted_nor_counted_again(incident, clock, later):
    assert send(incident) == 0
    clock.now += 1
    assert incident.request_permit(TimeLimit(10), "a") is None
    clock.now += WINDOW
    assert send(incident) == 1
    clock.now += later
    assert incident.request_permit(TimeLimit(10), "a") is None
    clock.now += WINDOW + 20
    assert send(incident) == 0


def test_a_second_callback_after_the_window_leaves_the_text_to_a_new_failure(incident, clock):
    assert send(incident) == 0
    clock.now += 1
    assert incident.request_permit(TimeLimit(10), "a") is None
    clock.now += WINDOW
    assert incident.request_permit(TimeLimit(10), "a") is None
    clock.now += 1
    assert send(incident, "b") == 1


def test_a_second_callback_goes_out_where_the_first_certainly_sent_nothing(incident, clock):
    permit = incident.request_permit(TimeLimit(10), "a")
    assert permit is not None
    incident.withdraw(permit)
    clock.now += throttle.LEADER_TIMEOUT + 1
    assert send(incident, "a") == 0
    clock.now += WINDOW + 20
    assert send(incident, "b") == 0


def test_a_second_callback_goes_out_where_the_first_died_before_it_sent(incident, clock, store):
    def die(name):
        raise SystemExit

    store.before_write = lambda name: ".sent." in name and die(name)
    with pytest.raises(SystemExit):
        incident.request_permit(TimeLimit(10), "a")
    store.before_write = lambda name: None
    clock.now += throttle.LEADER_TIMEOUT + 1
    assert send(incident, "a") == 0


def test_of_failures_that_are_all_called_back_twice_at_one_moment_one_goes_out_and_each_counts_once(store):
    moments = itertools.count(1_700_000_000_000)

    def call_back(failure):
        incident = Throttle("a", AUDIENCE, WINDOW, store, lambda: next(moments) / 1000)
        return incident.request_permit(TimeLimit(10), str(failure))

    with ThreadPoolExecutor(32) as pool:
        permits = [each for each in pool.map(call_back, [*range(100), *range(100)]) if each]
    assert len(permits) == 1
    later = Throttle("a", AUDIENCE, WINDOW, store, lambda: 1_700_000_000 + 2 * WINDOW)
    later.commit(permits[0], TimeLimit(10))
    assert send(later) == 99


moments = st.dictionaries(st.text("ab", min_size=1, max_size=4), st.integers(0, 200_000), min_size=1)
kept = st.none() | st.integers(0, 200_000)


@given(moments, kept, st.integers(0, 200_000), st.integers(1, 60_000))
def test_processes_that_read_the_same_names_send_at_most_one_text_of_a_moment(
    failures, sent, reported, window
):
    state = ThrottleState(failures, sent, reported)
    records = [FailureRecord(at, failure) for failure, at in failures.items()]
    out = sorted(each for each in records if not state.holds_back(each, window))
    recent = [each for each in out if each.at > reported and (sent is None or each.at >= sent + window)]
    for earlier, later in itertools.pairwise(recent):
        assert later.at - earlier.at >= throttle.LEADER_TIMEOUT * 1000


@given(moments, kept, st.integers(1, 60_000), st.data())
def test_a_second_callback_never_changes_what_becomes_of_the_other_failures(failures, sent, window, data):
    again = data.draw(st.sampled_from(sorted(failures)))
    later = failures[again] + data.draw(st.integers(1, 200_000))
    names = Names()
    incident = Throttle("a", AUDIENCE, window, names)
    for failure, at in failures.items():
        incident._write("failure", at, failure.encode().hex())
    before = incident._read_state()
    incident._write("failure", later, again.encode().hex())
    assert incident._read_state() == before
