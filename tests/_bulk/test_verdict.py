"""How a bulk send ends, worked out from the totals alone: nothing is sent here."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._bulk.outcome import NOT_AS_WRITTEN
from airflow_provider_pindo._bulk.preflight import SEND, Preflight
from airflow_provider_pindo._bulk.totals import RecipientResult, Totals
from airflow_provider_pindo._bulk.verdict import MAX_NAMED, Policies, Verdict, judge, prevent_retry
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoRateLimitError,
    PindoRejectedError,
    PindoUnknownOutcomeError,
)

RESET = "the connection was reset after the request was sent"


def totals(given=9, *, accepted=0, rejected=0, unknown=0, reason=RESET, unknown_not_resendable=0):
    """Return the totals of a send; the unknown are the first rows, and the rejected follow."""
    people = [RecipientResult(row, f"+25078000{row:04}", "A", reason) for row in range(1, given + 1)]
    return Totals(
        Preflight(bytearray([SEND] * given)),
        accepted=accepted,
        refused=rejected,
        unknown=unknown,
        unknown_not_resendable=unknown_not_resendable,
        unknowns=people[:unknown],
        refused_people=people[unknown : unknown + rejected],
        unknown_entries=["pindo_bulk_00001"] if unknown else [],
        has_changed_entry=reason == NOT_AS_WRITTEN,
    )


def lines(verdict):
    what, next_step = str(verdict.error).split("\n")
    return what, next_step


def test_everybody_accepted_is_a_success():
    assert judge(totals(accepted=9), None, Policies()) == Verdict(None, True)


def test_an_unknown_outcome_names_the_row_the_reason_and_the_next_step():
    verdict = judge(totals(accepted=8, unknown=1), None, Policies())
    assert type(verdict.error) is PindoUnknownOutcomeError
    assert not verdict.is_finished
    assert lines(verdict) == (
        f"Outcome unknown for 1 of 9 recipients: row 1 (+25078****001), {RESET}. 8 accepted, 0 rejected, 1 unknown, "
        "0 not sent, 0 duplicates, 0 excluded of 9.",
        "Find out whether they were texted (Pindo's dashboard shows it), then choose Arrived or Did not arrive in "
        "the Pindo tab of this task instance. Without that tab, change the status of pindo_bulk_00001 from 'unknown' "
        "to 'sent' or 'not_sent' in the Storage tab, and clear the task.",
    )
    assert verdict.error.counts["unknown"] == 1


def test_the_first_rows_share_their_reason_and_the_others_are_counted():
    what, _ = lines(judge(totals(30, unknown=25), None, Policies()))
    assert what.count(RESET) == 1
    assert what.count("row ") == MAX_NAMED
    assert "; and 15 more. 0 accepted" in what


def test_an_entry_that_was_changed_must_be_restored_first():
    _, next_step = lines(judge(totals(unknown=9, reason=NOT_AS_WRITTEN), None, Policies()))
    assert "First restore an entry that is not as the task wrote it" in next_step


def test_ask_asks_about_the_unknown_once_the_others_are_sent_to():
    assert judge(totals(accepted=8, unknown=1), None, Policies("ask")) == Verdict(asks=True)
    stopped = judge(totals(accepted=2, unknown=1), PindoRateLimitError("429"), Policies("ask"))
    _, next_step = lines(stopped)
    assert next_step == (
        "The next try sends to the 6 recipients who were not sent to. Once the others are sent to, a person is asked "
        "about the unknown."
    )


def test_ask_asks_nothing_about_an_entry_that_was_changed():
    verdict = judge(totals(unknown=9, reason=NOT_AS_WRITTEN), None, Policies("ask"))
    assert type(verdict.error) is PindoUnknownOutcomeError
    assert "First restore an entry" in lines(verdict)[1]


@pytest.mark.parametrize(("excluded", "fails"), [(0, True), (1, True), (2, False)])
def test_resend_retries_unless_all_the_unknown_are_excluded_by_now(excluded, fails):
    verdict = judge(totals(unknown=2, unknown_not_resendable=excluded), None, Policies("resend"))
    assert (type(verdict.error) is AirflowException) is fails
    assert verdict.is_finished is not fails


def test_accept_succeeds_with_the_unknown_in_their_column():
    assert judge(totals(accepted=7, unknown=2), None, Policies("accept")) == Verdict(None, True)


def test_a_stop_keeps_its_class_and_its_facts():
    facts = {"status": 429, "reason": "too many requests", "retry_after": 3600.0}
    stopped = PindoRateLimitError("429: slow down", **facts)
    error = judge(totals(accepted=4), stopped, Policies()).error
    assert type(error) is PindoRateLimitError
    assert {name: getattr(error, name) for name in facts} == facts
    assert str(stopped) == "429: slow down"
    assert str(error) == (
        "429: slow down. 4 accepted, 0 rejected, 0 unknown, 5 not sent, 0 duplicates, 0 excluded of 9.\n"
        "The next try sends to the 5 recipients who were not sent to."
    )


def test_a_stop_that_no_retry_fixes_asks_for_a_clear():
    verdict = judge(totals(), PindoAuthError("401", status=401), Policies())
    assert (
        lines(verdict)[1] == "Fix this and clear the task: it sends to the 9 recipients who were not sent to."
    )


def test_a_stop_because_nobody_can_say_who_was_accepted_names_both_ways_on():
    stopped = PindoUnknownOutcomeError("20 responses in a row do not say who was accepted")
    next_step = lines(judge(totals(), stopped, Policies("accept")))[1]
    assert next_step == (
        "Let on_unknown='accept' count them as sent, and clear the task: it sends to the 9 recipients who were "
        "not sent to. For the next list, track_delivery=True tells who was accepted."
    )


def test_a_stop_with_unknown_recipients_says_both():
    what, next_step = lines(judge(totals(unknown=1), OSError("no space left"), Policies()))
    assert what.startswith("Sending stopped: no space left. Outcome unknown for 1 of 9 recipients: row 1 (")
    assert "The next try sends to the 8 recipients" in next_step
    assert "change the status of pindo_bulk_00001" in next_step


@pytest.mark.parametrize(
    ("counts", "next_step"),
    [
        (
            {"unknown": 4},
            "The next try sends to the 5 recipients who were not sent to and again to the 4 whose outcome is unknown, "
            "who may get it twice.",
        ),
        (
            {"unknown": 4, "unknown_not_resendable": 1, "accepted": 5},
            "The next try sends again to the 3 whose outcome is unknown, who may get it twice.",
        ),
        (
            {"unknown": 4, "unknown_not_resendable": 4},
            "The next try sends to the 5 recipients who were not sent to.",
        ),
    ],
)
def test_a_stop_says_who_is_sent_to_again(counts, next_step):
    what, says = lines(judge(totals(**counts), PindoRateLimitError("429"), Policies("resend")))
    assert says == next_step
    assert ("Outcome unknown for 4 of 9 recipients: row 1 (+25078****001), row 2" in what) is (
        "again" in says
    )


def test_a_stop_that_accept_resolves_sends_to_no_unknown_again():
    stopped = PindoUnknownOutcomeError("20 responses in a row do not say who was accepted")
    what, next_step = lines(judge(totals(unknown=4), stopped, Policies("resend")))
    assert "Outcome unknown for 4 of 9 recipients" in what
    assert "and clear the task: it sends to the 5 recipients who were not sent to. For" in next_step


def test_everybody_rejected_fails_and_so_do_some_where_the_policy_says_so():
    verdict = judge(totals(rejected=9, reason="409 unsupported telco"), None, Policies())
    assert type(verdict.error) is PindoRejectedError
    assert verdict.is_finished
    assert lines(verdict)[0].startswith(
        "Everybody was rejected (409 unsupported telco). 0 accepted, 9 rejected, "
    )
    some = totals(accepted=8, rejected=1)
    assert judge(some, None, Policies()).error is None
    error = judge(some, None, Policies(on_rejected="fail")).error
    assert str(error).startswith(
        f"Pindo refused 1 of 9 recipients ({RESET}), and on_rejected is 'fail'. 8 accepted, "
    )


@pytest.mark.parametrize(
    ("totals", "policies", "retries"),
    [
        (totals(accepted=1), Policies(is_ledger_kept=False), False),
        (totals(unknown=1), Policies(is_ledger_kept=False), False),
        (totals(unknown=1), Policies("resend", is_ledger_kept=False), True),
        (totals(), Policies(is_ledger_kept=False), True),
        (totals(accepted=1), Policies(), True),
    ],
)
def test_without_a_ledger_nothing_but_the_error_prevents_a_second_text(totals, policies, retries):
    error = judge(totals, PindoRateLimitError("429"), policies).error
    assert isinstance(error, AirflowFailException) is not retries
    assert (str(error).count("keeps no ledger") == 1) is not retries
    assert str(error).count(" accepted, ") == 1
    foreign = prevent_retry(TimeoutError("the time is up"), totals, policies)
    assert (foreign is None) is retries
    assert foreign is None or str(foreign).startswith("the time is up. ")
