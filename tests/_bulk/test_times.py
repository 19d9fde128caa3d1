"""When the requests of a bulk send's rows began: by which the sensor tells one event from another."""

from __future__ import annotations

import pytest

from airflow_provider_pindo._bulk.batch_entry import settle_rows
from airflow_provider_pindo._bulk.outcome import Outcome
from airflow_provider_pindo.api.errors import PindoConfigurationError
from tests._bulk.test_settle_rows import UWASE, entry_of

AT_8, AT_9 = "2026-11-30T08:00:00", "2026-11-30T09:00:00"


def test_rows_of_one_second_share_a_time_and_a_later_time_counts():
    outcome = Outcome()
    outcome.keep_time([1, 2], f"{AT_8}.100000+00:00")
    outcome.keep_time([4], f"{AT_8}.900000+00:00")
    outcome.keep_time([2, 3], f"{AT_9}+00:00")
    assert outcome.admitted_at == {f"{AT_8}+00:00": "1-2,4", f"{AT_9}+00:00": "2-3"}
    assert outcome.times() == {
        row: f"{moment}+00:00" for row, moment in ((1, AT_8), (4, AT_8), (2, AT_9), (3, AT_9))
    }


def test_an_entry_stays_small_so_the_oldest_times_are_forgotten():
    outcome = Outcome()
    for row in range(1, 206):
        outcome.keep_time([row], f"2026-11-30T08:{row // 60:02}:{row % 60:02}.5+00:00")
    assert sorted(outcome.times()) == list(range(6, 206))


def test_an_entry_keeps_the_times_also_when_a_person_settles_it():
    times = {f"{AT_8}+00:00": "1-3"}
    _, value = entry_of(range(1, 4), Outcome(unknown={"no response": [2]}, admitted_at=times))
    assert settle_rows(value, [2], [], UWASE)["admitted_at"] == times


@pytest.mark.parametrize("changed", [{"8 o'clock": "1"}, {f"{AT_8}+00:00": "all"}, "1-3", None])
def test_times_that_no_task_wrote_make_the_entry_one_that_a_person_changed(changed):
    _, value = entry_of(range(1, 4), Outcome(unknown={"no response": [2]}))
    with pytest.raises(PindoConfigurationError, match="not as the task wrote it"):
        settle_rows({**value, "admitted_at": changed}, [2], [], UWASE)
