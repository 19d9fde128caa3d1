"""Errors carry facts as attributes."""

from __future__ import annotations

from airflow_provider_pindo.api.errors import PindoRateLimitError, PindoRejectedError


def test_an_error_with_another_message_keeps_its_class_and_its_facts():
    facts = {"status": 429, "reason": "busy", "summary": "Pindo is busy", "retry_after": 7.0}
    error = PindoRateLimitError("slow down", **facts)
    other = error.with_message("slow down. 3 of 5 accepted")
    assert type(other) is PindoRateLimitError
    assert str(other) == "slow down. 3 of 5 accepted"
    assert {name: getattr(other, name) for name in facts} == facts
    assert str(error) == "slow down"


def test_a_message_is_its_own_summary():
    assert PindoRejectedError("refused").summary == "refused"
    assert PindoRejectedError("refused").with_message("refused. Then what").summary == "refused"
