"""One request and the entry that it leaves, for each way in which the request may end."""

from __future__ import annotations

import traceback

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT, UNKNOWN, Entry
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConnectionError,
    PindoInsufficientBalanceError,
    PindoRejectedError,
    PindoUnknownOutcomeError,
)
from tests._ledger.memory import KEY, Store, ledger
from tests.versions import needs_store

pytestmark = needs_store

PLANNED = Entry(UNKNOWN, input="this", generation=2, to="+25078****567")
RECEIPT = {"sms_id": "out_sms_1"}
LOST = "the message to +25078****567 may have been sent"


class TimedOut(BaseException):
    """What Airflow raises in a task whose time is up."""


class Hook:
    """A hook whose request has left, or not."""

    def __init__(self, *, was_sent: bool) -> None:
        self.was_sent = was_sent

    def request_sent(self) -> bool:
        return self.was_sent


def request(store, error=None, *, was_sent=True, before=None):
    """Make one request, which ends with ``error`` or with a receipt."""
    with ledger(store).transaction(
        PLANNED, Hook(was_sent=was_sent), if_lost=LOST, before=before
    ) as transaction:
        assert store[KEY]["status"] == UNKNOWN
        if error is not None:
            raise error
        transaction.result = RECEIPT


def test_a_request_that_succeeds_is_sent_with_its_result():
    store = Store()
    request(store)
    assert (store[KEY]["status"], store[KEY]["result"]) == (SENT, RECEIPT)


@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.parametrize("kind", [PindoAuthError, PindoConnectionError, PindoInsufficientBalanceError])
def test_a_request_that_certainly_did_nothing_is_not_sent(kind, was_sent):
    store = Store()
    with pytest.raises(kind):
        request(store, kind("refused"), was_sent=was_sent)
    assert store[KEY]["status"] == NOT_SENT


def test_a_rejection_is_not_sent_with_pindos_reason():
    store = Store()
    with pytest.raises(PindoRejectedError):
        request(store, PindoRejectedError("no", status=409, reason="Unsupported country"))
    assert [store[KEY][name] for name in ("status", "outcome", "reason")] == [
        NOT_SENT,
        "rejected",
        "409 Unsupported country",
    ]
    request(store, before=Entry(NOT_SENT, outcome="rejected", reason="409"))
    assert [store[KEY][name] for name in ("status", "outcome", "reason")] == [SENT, None, None]


@pytest.mark.parametrize("status", [SENT, UNKNOWN])
def test_a_rejection_hides_nothing_of_an_earlier_request(status):
    store, before = Store(), Entry(status, input="other")
    with pytest.raises(PindoRejectedError):
        request(store, PindoRejectedError("no", status=409), before=before)
    assert store[KEY] == before.to_value()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Entry(NOT_SENT, input="other"), Entry(NOT_SENT, PLANNED.input, PLANNED.generation, PLANNED.to)),
        (Entry(SENT, input="other", result=RECEIPT), Entry(SENT, input="other", result=RECEIPT)),
        (Entry(UNKNOWN, input="other"), Entry(UNKNOWN, input="other")),
    ],
)
@pytest.mark.parametrize("error", [PindoAuthError("refused"), LookupError(), TimedOut()])
def test_a_refusal_leaves_what_an_earlier_request_did(before, after, error):
    store = Store()
    with pytest.raises(type(error)):
        request(store, error, was_sent=False, before=before)
    assert store[KEY] == after.to_value()


def test_an_unknown_outcome_stays_unknown_and_is_raised_unchanged():
    store, error = Store(), PindoUnknownOutcomeError("no response", status=503)
    with pytest.raises(PindoUnknownOutcomeError) as raised:
        request(store, error)
    assert raised.value is error
    assert store[KEY] == {**PLANNED.to_value(), "reason": "Pindo returned 503"}


def test_a_librarys_error_after_the_request_left_is_an_unknown_outcome_without_its_words():
    store = Store()
    with pytest.raises(PindoUnknownOutcomeError) as raised:
        request(store, LookupError("Your result is ready"))
    assert str(raised.value).startswith("LookupError in request ")
    assert str(raised.value).endswith(f" was raised after the request was sent: {LOST}")
    assert "LookupError: Your result" not in "".join(traceback.format_exception(raised.value))
    assert store[KEY]["status"] == UNKNOWN
    assert store[KEY]["reason"] == str(raised.value).removesuffix(f": {LOST}")


@pytest.mark.parametrize(("was_sent", "status"), [(True, UNKNOWN), (False, NOT_SENT)])
def test_a_timeout_is_raised_unchanged_and_unknown_only_after_the_request_left(was_sent, status):
    store, timeout = Store(), TimedOut()
    with pytest.raises(TimedOut) as raised:
        request(store, timeout, was_sent=was_sent)
    assert raised.value is timeout
    assert store[KEY]["status"] == status


@pytest.mark.parametrize(
    ("failure", "raised", "message"),
    [
        (
            ConnectionError("no answer about +250781234567."),
            AirflowException,
            "The ledger cannot be written (no answer about +25078****567), so nothing is sent now.\n"
            "The next try sends, unless Airflow stored the entry after all. Then a single request counts as unknown.",
        ),
        (TimedOut("as it is"), TimedOut, "as it is"),
    ],
)
def test_nothing_is_requested_when_the_entry_cannot_be_written(failure, raised, message):
    store, asked = Store(failures=1, failure=failure), False
    with (
        pytest.raises(raised) as failed,
        ledger(store).transaction(PLANNED, Hook(was_sent=False), if_lost=LOST),
    ):
        asked = True
    assert (asked, store) == (False, {})
    assert (type(failed.value), str(failed.value)) == (raised, message)
    request(store)
    assert store[KEY]["status"] == SENT


def test_an_outcome_that_cannot_be_written_does_not_hide_the_error(monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo._ledger.store._WRITE_PAUSES", (0, 0, 0))
    store = Store()

    def refuse():
        store.failures = 99
        raise PindoAuthError("refused")

    with (
        pytest.raises(PindoAuthError, match="refused"),
        ledger(store).transaction(PLANNED, Hook(was_sent=True), if_lost=LOST),
    ):
        refuse()
    assert store[KEY]["status"] == UNKNOWN
