"""How long a waiting task tolerates failures of Pindo."""

from __future__ import annotations

import pytest

from airflow_provider_pindo._inbox.backoff import FailureBudget, poll_backoff
from airflow_provider_pindo.api.errors import PindoAuthError, PindoRateLimitError, PindoServerError


def test_an_outage_is_tolerated_until_it_is_too_long():
    budget = FailureBudget(3)
    budget.record_failure(PindoServerError("500"))
    budget.record_failure(PindoServerError("500"))
    with pytest.raises(PindoServerError):
        budget.record_failure(PindoServerError("500"))


def test_only_failures_in_a_row_count():
    budget = FailureBudget(2)
    for _ in range(5):
        budget.record_failure(PindoRateLimitError("429"))
        budget.reset()
    assert budget.failures == 0


def test_a_refused_token_ends_the_waiting_at_once():
    with pytest.raises(PindoAuthError):
        FailureBudget(20).record_failure(PindoAuthError("401"))


def test_the_pause_grows_to_five_minutes():
    assert [poll_backoff(failures, 60) for failures in range(5)] == [60, 120, 240, 300, 300]
    assert poll_backoff(10_000, 1) == 300
    assert poll_backoff(3, 1000) == 1000
    assert poll_backoff(0, 0) == 0
    assert poll_backoff(3, 0) > 0


def test_a_429_that_says_when_is_obeyed():
    assert poll_backoff(1, 1, PindoRateLimitError("429", retry_after=900)) == 900
    assert poll_backoff(1, 60, PindoRateLimitError("429", retry_after=2)) == 120
