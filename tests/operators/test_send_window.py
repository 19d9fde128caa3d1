"""Send windows and expiry of a single message and of a PIN, by a clock that the test sets."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.hooks.pindo import PindoHook
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyOperator
from tests.operators.clock import DAY, KIGALI, at, set_clock
from tests.versions import needs_store

PHONE = "+250781234567"


class Store(dict):
    """A task state store in memory."""

    def set(self, key, value, *, retention):
        self[key] = value


@pytest.fixture
def clock(monkeypatch):
    return lambda moment: set_clock(monkeypatch, moment)


def context(store=None, generation=0):
    kept = {} if store is None else {"task_state_store": store}
    return {"ti": SimpleNamespace(max_tries=generation), **kept}


def operator(**arguments):
    return PindoSendSmsOperator(task_id="text", **{"to": PHONE, "text": "Muraho", **arguments})


def send(store=None, generation=0, **arguments):
    return operator(**arguments).execute(context(store, generation))


def wait(store=None, **arguments):
    """Run a try that waits; return when it goes on, and what goes on then."""
    task = operator(**arguments)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context(store))
    assert deferred.value.trigger.end_from_trigger is False
    resume = getattr(task, deferred.value.method_name)
    return deferred.value.trigger.moment, lambda: resume(context(store), event=None)


def test_in_the_window_it_is_sent(sandbox, clock):
    clock(at(8))
    assert send(send_window=DAY)["to"] == PHONE
    assert len(sandbox.messages()) == 1


def test_at_night_it_waits_for_the_morning_and_is_sent_then(sandbox, clock, capfd, caplog):
    clock(at(22))
    opens, go_on = wait(send_window=DAY)
    assert opens == at(8, day=25)
    assert "It opens at 08:00 CAT on Wednesday 25 November 2026" in caplog.text + "".join(capfd.readouterr())
    assert sandbox.messages() == []
    clock(opens)
    assert go_on()["to"] == PHONE
    assert len(sandbox.messages()) == 1


def test_when_it_goes_on_it_looks_again_and_waits_on_if_the_window_is_closed(sandbox, clock):
    clock(at(22))
    _, go_on = wait(send_window=DAY)
    clock(at(21, day=25))  # the triggerer was down all day
    with pytest.raises(TaskDeferred) as deferred:
        go_on()
    assert deferred.value.trigger.moment == at(8, day=26)
    assert sandbox.messages() == []


@needs_store
def test_a_retry_or_a_clear_meanwhile_waits_too_and_it_is_sent_once(sandbox, clock):
    store = Store()
    clock(at(22))
    for _ in range(2):
        opens, go_on = wait(store, send_window=DAY)
    clock(opens)
    receipt = go_on()
    clock(at(23, day=25))
    assert send(store, generation=1, send_window=DAY) == receipt  # nothing is sent, so nothing waits
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize(
    ("outside_window", "ends_as"), [("skip", AirflowSkipException), ("fail", AirflowFailException)]
)
def test_it_skips_or_fails_outside_the_window_as_it_is_told(sandbox, clock, outside_window, ends_as):
    clock(at(22))
    with pytest.raises(ends_as, match=f"is closed.*and outside_window is '{outside_window}'"):
        send(send_window=DAY, outside_window=outside_window)
    assert sandbox.messages() == []
    clock(at(9))
    send(send_window=DAY, outside_window=outside_window)
    assert len(sandbox.messages()) == 1


def test_what_has_expired_is_skipped_with_the_reason(sandbox, clock):
    clock(at(9))
    with pytest.raises(
        AirflowSkipException, match=r"expires_at was 2026-11-24 09:00\+02:00: nothing is sent"
    ):
        send(expires_at=at(9))
    send(expires_at="2026-11-24T09:01:00+02:00")
    assert len(sandbox.messages()) == 1


def test_a_waiting_task_ends_when_its_message_expires_not_when_the_window_opens(sandbox, clock):
    clock(at(22))
    expires, go_on = wait(send_window=DAY, expires_at=at(23))
    assert expires == at(23)
    clock(expires)
    with pytest.raises(AirflowSkipException, match="expires_at was 2026-11-24 23:00"):
        go_on()
    assert sandbox.messages() == []


@needs_store
def test_an_expired_message_is_recorded_and_goes_out_with_a_later_end(sandbox, clock):
    store = Store()
    clock(at(9))
    for _ in range(2):
        with pytest.raises(AirflowSkipException):
            send(store, expires_at=at(9))
    assert (store["pindo_sms"]["status"], store["pindo_sms"]["outcome"]) == ("not_sent", "expired")
    assert store["pindo_sms"]["to"] == "+25078****567"
    assert send(store, expires_at=at(10))["to"] == PHONE
    assert (store["pindo_sms"]["status"], store["pindo_sms"]["outcome"]) == ("sent", None)


@needs_store
def test_a_message_that_pindo_puts_off_until_after_its_expiry_is_skipped(sandbox):
    store, expires = Store(), datetime.now(UTC) + timedelta(seconds=3)
    sandbox.add_fault("rate_limit", call="send_sms", retry_after=20)
    with pytest.raises(AirflowSkipException, match="nothing is sent after it"):
        send(store, expires_at=expires)
    assert datetime.now(UTC) < expires + timedelta(seconds=3)
    assert (sandbox.messages(), len(sandbox.requests())) == ([], 1)
    assert (store["pindo_sms"]["status"], store["pindo_sms"]["outcome"]) == ("not_sent", "expired")


def test_a_message_that_pindo_puts_off_until_after_the_window_waits_for_the_next_one(sandbox, clock):
    began = time.monotonic()
    clock(lambda: at(19, 59) + timedelta(seconds=57 + time.monotonic() - began))
    sandbox.add_fault("rate_limit", call="send_sms", retry_after=20)
    opens, go_on = wait(Store(), send_window=DAY)
    assert (opens, sandbox.messages(), len(sandbox.requests())) == (at(8, day=25), [], 1)
    clock(opens)
    assert go_on()["to"] == PHONE


@needs_store
def test_an_expiry_hides_nothing_that_an_earlier_try_left_unknown(sandbox, clock):
    store = Store()
    clock(at(9))
    sandbox.add_fault("drop_after", call="send_sms")
    with pytest.raises(AirflowException):
        send(store, expires_at=at(10), on_unknown="resend")
    before = dict(store["pindo_sms"])
    clock(at(11))
    with pytest.raises(AirflowSkipException):
        send(store, expires_at=at(10), on_unknown="resend")
    assert store["pindo_sms"] == before
    assert before["status"] == "unknown"


@needs_store
def test_a_message_that_went_out_in_time_stays_the_result_after_it_has_expired(sandbox, clock):
    store = Store()
    clock(at(9))
    receipt = send(store, expires_at=at(10))
    clock(at(11))
    assert send(store, generation=1, expires_at=at(10)) == receipt
    assert len(sandbox.messages()) == 1


def test_without_a_zone_the_dags_counts(sandbox, clock):
    clock(at(9))  # 07:00 in UTC
    with DAG("in_kigali", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=KIGALI)):
        assert operator(send_window="08:00-20:00").execute(context())["to"] == PHONE
    with pytest.raises(TaskDeferred):
        send(send_window="08:00-20:00")


@pytest.fixture
def by_day(sandbox, monkeypatch):
    """The connection says that messages go out by day."""
    connection = json.loads(sandbox.connection_json())
    connection["extra"]["send_window"] = DAY
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))


@pytest.mark.usefixtures("by_day")
def test_the_connections_window_binds_a_message_unless_the_task_has_its_own(sandbox, clock):
    clock(at(22))
    assert PindoHook().settings.send_window == DAY
    assert wait()[0] == at(8, day=25)
    assert wait(send_window="06:00-07:00 Africa/Kigali")[0] == at(6, day=25)
    assert sandbox.messages() == []
    send(send_window="")
    send(send_window="00:00-24:00")
    assert len(sandbox.messages()) == 2


@pytest.mark.usefixtures("by_day")
def test_a_pin_is_bound_by_its_own_window_alone(sandbox, clock):
    clock(at(22))
    PindoVerifyOperator(task_id="pin", number=PHONE).execute(context())
    assert [message["kind"] for message in sandbox.messages()] == ["pin"]
    with pytest.raises(TaskDeferred):
        PindoVerifyOperator(task_id="pin", number=PHONE, send_window=DAY).execute(context())
    with pytest.raises(AirflowSkipException, match="expires_at was"):
        PindoVerifyOperator(task_id="pin", number=PHONE, expires_at=at(21)).execute(context())
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"send_window": "at night"}, "send_window is 'at night': write one such as"),
        ({"outside_window": "hold"}, "outside_window is 'hold': give one of wait, skip, fail"),
        ({"expires_at": "tomorrow"}, "expires_at is 'tomorrow': give an aware time"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(arguments, said):
    for make in (
        lambda: operator(**arguments),
        lambda: PindoVerifyOperator(task_id="pin", number=PHONE, **arguments),
    ):
        with pytest.raises(PindoConfigurationError, match=said):
            make()


def test_bad_input_is_refused_before_it_waits(sandbox, clock):
    clock(at(22))
    with pytest.raises(AirflowFailException, match="text is empty"):
        send(send_window=DAY, text=" ")


TEMPLATED = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), params=PARAMS) as dag:
    PindoSendSmsOperator(
        task_id="text", to="+250781234567", text="Muraho", outside_window="skip",
        send_window="{{ params.window }}", expires_at="{{ params.expires_at }}",
    )
"""


@pytest.mark.parametrize(
    ("window", "expires_at", "messages"),
    [
        ("", "", 1),
        ("", None, 1),
        ("00:00-24:00", "2999-01-01T00:00:00+02:00", 1),
        ("", "2026-01-01T00:00:00+02:00", 0),
    ],
)
def test_the_window_and_the_expiry_are_templates(run_dag, sandbox, window, expires_at, messages):
    run = run_dag(TEMPLATED.replace("PARAMS", repr({"window": window, "expires_at": expires_at})))
    assert run.state == "success"
    assert len(sandbox.messages()) == messages
