"""The decision whether to send, case by case, and the entry as tasks and people write it."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime

import pytest

from airflow_provider_pindo._ledger.entry import (
    NOT_SENT,
    ON_UNKNOWN,
    REJECTED,
    SENT,
    UNKNOWN,
    VERSION,
    Action,
    Entry,
    Settlement,
    decide,
    fingerprint,
    how_to_settle,
    utc_iso,
)
from airflow_provider_pindo.api.errors import PindoConfigurationError
from tests._ledger.memory import GENERATION, KEY, Store, ledger
from tests.versions import needs_store

PLANNED = Entry(UNKNOWN, input="this")
NEXT_GENERATION = 3
RECEIPT = {"sms_id": "out_sms_1"}
AT = "2026-11-24T06:00:00+00:00"


@pytest.mark.parametrize(
    ("entry", "generation", "on_unknown", "resend", "action"),
    [
        (None, GENERATION, "fail", False, Action.SEND),
        (Entry(NOT_SENT, "other", GENERATION), GENERATION, "fail", False, Action.SEND),
        (Entry(SENT, "this", GENERATION), GENERATION, "fail", False, Action.RETURN_RESULT),
        (Entry(SENT, "this", GENERATION), NEXT_GENERATION, "fail", False, Action.RETURN_RESULT),
        (Entry(SENT, "this", GENERATION), GENERATION, "fail", True, Action.RETURN_RESULT),
        (Entry(SENT, "this", GENERATION, result=RECEIPT), NEXT_GENERATION, "fail", True, Action.SEND),
        (Entry(SENT, "this", GENERATION, result=RECEIPT), GENERATION, "fail", True, Action.RETURN_RESULT),
        # A person settled it as sent, perhaps after the clear: this may be a retry.
        (Entry(SENT, "this", GENERATION), NEXT_GENERATION, "fail", True, Action.RETURN_RESULT),
        # The same, once a try has read it.
        (Entry(SENT, "this", GENERATION, result={}), GENERATION, "fail", True, Action.RETURN_RESULT),
        (Entry(SENT, "this", GENERATION, result={}), NEXT_GENERATION, "fail", True, Action.SEND),
        (Entry(SENT, "other", GENERATION), NEXT_GENERATION, "fail", False, Action.FAIL_CHANGED),
        (Entry(SENT, "other", GENERATION), GENERATION, "resend", True, Action.FAIL_CHANGED),
        (Entry(SENT, "other", GENERATION, result=RECEIPT), NEXT_GENERATION, "fail", True, Action.SEND),
        (Entry(UNKNOWN, "this", GENERATION), GENERATION, "fail", False, Action.FAIL_UNKNOWN),
        (Entry(UNKNOWN, "this", GENERATION), NEXT_GENERATION, "fail", False, Action.FAIL_UNKNOWN),
        (Entry(UNKNOWN, "this", GENERATION), GENERATION, "resend", False, Action.SEND),
        (Entry(UNKNOWN, "this", GENERATION), GENERATION, "accept", False, Action.ACCEPT_UNKNOWN),
        (Entry(UNKNOWN, "this", GENERATION), GENERATION, "ask", False, Action.ASK),
        (Entry(UNKNOWN, "this", GENERATION), NEXT_GENERATION, "ask", True, Action.ASK),
        (Entry(UNKNOWN, "other", GENERATION), GENERATION, "ask", False, Action.FAIL_CHANGED),
        (Entry(SENT, "this", GENERATION), GENERATION, "ask", False, Action.RETURN_RESULT),
        (Entry(UNKNOWN, "this", GENERATION), NEXT_GENERATION, "fail", True, Action.FAIL_UNKNOWN),
        (Entry(UNKNOWN, "other", GENERATION), GENERATION, "resend", False, Action.FAIL_CHANGED),
        (Entry(UNKNOWN, "other", GENERATION), GENERATION, "accept", False, Action.FAIL_CHANGED),
        # A person replaced the entry with the bare word: the input counts as the same.
        (Entry(SENT), NEXT_GENERATION, "fail", True, Action.RETURN_RESULT),
        (Entry(UNKNOWN), GENERATION, "fail", True, Action.FAIL_UNKNOWN),
    ],
)
def test_the_decision(entry, generation, on_unknown, resend, action):
    assert decide(entry, PLANNED, generation, on_unknown=on_unknown, resend=resend) is action


def test_what_was_or_may_have_been_sent_goes_out_again_only_when_somebody_said_so():
    for status, same, generation, on_unknown, resend in itertools.product(
        [SENT, UNKNOWN],
        ["this", "other"],
        [GENERATION, NEXT_GENERATION],
        ON_UNKNOWN,
        [True, False],
    ):
        entry = Entry(status, input=same, generation=GENERATION, result=RECEIPT if status == SENT else None)
        sends = decide(entry, PLANNED, generation, on_unknown=on_unknown, resend=resend) is Action.SEND
        a_person_cleared_it = resend and generation != GENERATION and status == SENT
        at_least_once = on_unknown == "resend" and status == UNKNOWN and same == "this"
        assert sends == (a_person_cleared_it or at_least_once)


@needs_store
def test_an_entry_is_read_back_as_it_was_written():
    store = Store()
    entry = Entry(UNKNOWN, "this", GENERATION, to="+25078****567", result=RECEIPT, began=AT, reason="lost")
    entry = entry.settle(SENT, Settlement(by="person", who="Aline", at=AT))
    ledger(store).write(entry)
    assert ledger(store).read() == entry
    assert store == {
        KEY: {
            "v": 1,
            "status": SENT,
            "input": "this",
            "generation": GENERATION,
            "to": "+25078****567",
            "result": RECEIPT,
            "began": AT,
            "settled": {"by": "person", "who": "Aline", "at": AT},
            "outcome": None,
            "reason": "lost",
        }
    }


def test_an_entry_says_why_it_was_not_sent():
    entry = Entry(NOT_SENT, "this", GENERATION, outcome=REJECTED, reason="invalid sender")
    assert ledger(Store(entry.to_value())).read() == entry


def test_the_time_of_a_request_is_in_utc():
    before = datetime.now(UTC)
    assert before <= datetime.fromisoformat(utc_iso()) <= datetime.now(UTC)


def test_evidence_names_the_message_in_the_entry():
    entry = Entry(UNKNOWN).settle(SENT, Settlement("evidence", "webhook", AT, sms_id="out_sms_1"))
    assert entry.status == SENT
    assert entry.settled == {"by": "evidence", "who": "webhook", "at": AT, "sms_id": "out_sms_1"}


@pytest.mark.parametrize("value", ["sent", " Sent ", {"status": "sent"}, {"status": "SENT", "input": None}])
def test_a_person_may_write_the_word_alone(value):
    assert ledger(Store(value)).read().status == SENT


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None])
def test_an_entry_of_another_version_is_refused_and_the_error_says_what_to_do(version):
    value = {**Entry(NOT_SENT).to_value(), "v": version}
    with pytest.raises(PindoConfigurationError) as refused:
        ledger(Store(value)).read()
    happened, advice = str(refused.value).splitlines()
    assert happened == (
        f"entry 'pindo_sms' of the Task State Store has version {version!r}, and this provider reads version "
        f"{VERSION}. Nothing is sent now"
    )
    assert "Upgrade airflow-provider-pindo" in advice
    assert "'sent' or 'not_sent'" in advice


@pytest.mark.parametrize("value", ["yes", 7, {}, {"status": None}, ["sent"], {"status": "send"}])
def test_a_word_that_is_none_of_the_three_stays_unknown(value, caplog):
    with caplog.at_level(logging.WARNING):
        assert ledger(Store(value)).read().status == UNKNOWN
    assert f"{KEY} has the status" in caplog.text
    assert "so it counts as unknown" in caplog.text


def test_how_to_settle_is_one_line_and_names_the_button_before_the_entry():
    assert how_to_settle(f"{KEY!r}", SENT, NOT_SENT) == (
        "choose Arrived or Did not arrive in the Pindo tab of this task instance. Without that tab, change the status "
        "of 'pindo_sms' from 'unknown' to 'sent' or 'not_sent' in the Storage tab, and clear the task"
    )
    assert how_to_settle("the entry", NOT_SENT).startswith("choose Did not arrive in the Pindo tab")


def test_another_recipient_text_or_sender_is_another_input():
    inputs = [("+250781234567", "a", "P"), ("+250781234568", "a", "P"), ("+250781234567", "b", "P")]
    inputs += [("+250781234567", "a", "Q"), ("+250781234567", "aP", "")]
    assert len({fingerprint(*parts) for parts in inputs}) == len(inputs)
    assert len(fingerprint(*inputs[0])) == 16
