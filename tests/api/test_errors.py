"""What an error shows of itself where a log keeps it."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_pindo.api.errors import PindoError, PindoRateLimitError, PindoRejectedError
from airflow_provider_pindo.api.redaction import safe_message


def raised(error: BaseException) -> BaseException:
    """The error, as it is after it was raised."""
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("error", [PindoRejectedError("refused"), AirflowException("refused")])
def test_pindos_errors_and_airflows_speak_for_themselves(error):
    assert safe_message(error) == "refused"


def test_any_other_is_told_by_its_kind_and_its_place_since_it_may_repeat_what_was_sent():
    shown = safe_message(raised(LookupError("Your result for +250781234567 is ready")))
    assert shown.startswith("LookupError in raised (test_errors.py:")
    assert "result" not in shown


def test_one_that_was_never_raised_is_told_by_its_kind():
    assert safe_message(LookupError("Your result")) == "LookupError"
    assert safe_message(PindoError("")) == "PindoError"


def test_a_time_that_is_up_is_told_as_that():
    assert safe_message(raised(TimeoutError())) == "it took too long"


def test_an_error_with_another_message_keeps_its_class_and_its_facts():
    error = PindoRateLimitError("slow down", reason="busy", summary="Pindo is busy", retry_after=7.0)
    other = error.with_message("slow down. 3 of 5 accepted")
    assert type(other) is PindoRateLimitError
    assert str(other) == "slow down. 3 of 5 accepted"
    assert (other.status, other.reason, other.summary, other.retry_after) == (
        429,
        "busy",
        "Pindo is busy",
        7.0,
    )
    assert str(error) == "slow down"


def test_a_message_is_its_own_summary():
    assert PindoRejectedError("refused").summary == "refused"
    assert PindoRejectedError("refused").with_message("refused. Then what").summary == "refused"
