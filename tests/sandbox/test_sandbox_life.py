"""The life of a message: its steps on the clock, the numbers and rules that decide them, and what a test sets."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from airflow_provider_pindo.sandbox import Sandbox, SandboxError
from airflow_provider_pindo.sandbox.clock import Clock
from airflow_provider_pindo.sandbox.numbers import number_check
from airflow_provider_pindo.sandbox.outcomes import NUMBERS, OUTCOMES, REPORT_BY_STATUS, STATUSES
from airflow_provider_pindo.sandbox.request_log import RequestLog
from airflow_provider_pindo.sandbox.settings import Settings
from tests.sandbox.conftest import Api

PHONE, OTHER = "+250781234567", "+250781230142"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose clock stands still until the test advances it. Its webhooks reach nobody."""
    with Sandbox(webhook_url="http://127.0.0.1:9/nobody") as running:
        running.stop_clock()
        yield running


def reports(sandbox: Sandbox) -> list[tuple[str, int]]:
    """The delivery reports in the order in which they were sent."""
    sandbox.wait_for_webhooks()
    return [
        (call["body"]["status"], call["body"]["retries_count"])
        for call in sandbox.webhooks("delivery_report")
    ]


def test_a_message_is_accepted_then_sent_then_delivered(api, sandbox):
    sandbox.settings(sent_seconds=2, delivery_seconds=3)
    api.send(PHONE)

    def now() -> tuple[str, int]:
        sandbox.wait_for_webhooks()
        return sandbox.messages()[0]["status"], len(sandbox.webhooks())

    assert now() == ("accepted", 0)
    sandbox.advance_clock(1.9)
    assert now() == ("accepted", 0)
    sandbox.advance_clock(0.1)
    assert now() == ("sent", 1)
    sandbox.advance_clock(3)
    assert now() == ("delivered", 2)
    sandbox.advance_clock(100_000)
    assert now() == ("delivered", 2)


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        ("undelivered", "undelivered", [("UNDELIV", 0)]),
        ("expired", "expired", [("EXPIRED", 0)]),
        ("rejected", "rejected", [("REJECTED", 0)]),
        ("failed", "failed", [("UNKNOWN", 0)]),
        ("no_report", "sent", []),
        ("report_twice", "delivered", [("DELIVRD", 0), ("DELIVRD", 0)]),
        ("reports_out_of_order", "delivered", [("DELIVRD", 0), ("ACCEPTED", 0)]),
        ("delivered_after_retry", "delivered", [("UNDELIV", 0), ("DELIVRD", 1)]),
        ("auto_reply", "delivered", [("DELIVRD", 0)]),
    ],
)
def test_a_number_always_has_its_outcome(api, sandbox, outcome, status, expected):
    number = next(number for number, name in NUMBERS.items() if name == outcome)
    sandbox.add_rule("expired" if outcome != "expired" else "failed")  # a rule is for other numbers only
    assert api.send(number).status_code == 201
    sandbox.advance_clock(10)
    assert reports(sandbox) == expected
    (message,) = sandbox.messages()
    assert (message["status"], message["outcome"]) == (status, outcome)
    assert message["reports"] == [code for code, _ in expected]


def test_a_late_report_comes_after_a_minute(api, sandbox):
    api.send("+250789900005")
    sandbox.advance_clock(59)
    assert (sandbox.messages()[0]["status"], reports(sandbox)) == ("sent", [])
    sandbox.advance_clock(1)
    assert (sandbox.messages()[0]["status"], reports(sandbox)) == ("delivered", [("DELIVRD", 0)])


def test_a_phone_that_replies_on_its_own_replies_after_the_delivery(api, sandbox):
    sandbox.settings(auto_reply="YES 4821")
    api.send("+250789900009")
    sandbox.advance_clock(1)
    assert api.inbound()["inbound_sms"] == []
    sandbox.advance_clock(1)
    (reply,) = api.inbound()["inbound_sms"]
    assert reply["text"] == "YES 4821"
    sandbox.wait_for_webhooks()
    assert sandbox.webhooks("inbound")[0]["body"]["from"] == "+250789900009"


def test_every_number_is_one_that_pindo_delivers_to_and_every_outcome_but_the_usual_one_has_a_number():
    assert {number_check(Settings().supported_countries)(number) for number in NUMBERS} == {None}
    assert set(OUTCOMES) - set(NUMBERS.values()) == {"delivered"}


def test_a_report_says_when_it_was_due_and_not_when_the_clock_was_advanced(api, sandbox):
    begin = datetime.fromisoformat(sandbox.advance_clock(0)["now"])
    api.send()
    sandbox.advance_clock(3600)
    sandbox.wait_for_webhooks()
    (call,) = sandbox.webhooks("delivery_report")
    modified_at = datetime.fromisoformat(call["body"]["modified_at"]).replace(tzinfo=UTC)
    assert abs((modified_at - begin).total_seconds()) <= 2


def test_the_oldest_rule_that_matches_decides_as_often_as_it_says(api, sandbox):
    sandbox.settings(approved_senders="any", delivery_outcome="no_report")
    sandbox.add_rule("expired", to=PHONE, times=1)
    rule = sandbox.add_rule("rejected", sender="Ubuzima")
    sandbox.add_rule("failed", sender="Ubuzima")
    api.send(PHONE)
    api.send(PHONE)
    api.send(PHONE, sender="Ubuzima")
    assert [message["outcome"] for message in sandbox.messages()] == ["expired", "no_report", "rejected"]
    assert [(each["id"], each["outcome"]) for each in sandbox.rules()] == [(2, "rejected"), (3, "failed")]
    sandbox.clear_rules(rule)
    api.send(OTHER, sender="Ubuzima")
    assert sandbox.messages(OTHER)[0]["outcome"] == "failed"
    sandbox.clear_rules()
    assert sandbox.rules() == []


@pytest.mark.parametrize(
    ("outcome", "details", "sentence"),
    [
        ("lost", {}, "'outcome' must be one of delivered, undelivered"),
        ("expired", {"number": PHONE}, "no rule field 'number'; there are outcome, sender, times, to"),
        ("expired", {"times": 0}, "an integer of 1 or more"),
    ],
)
def test_an_invalid_rule_is_refused_and_the_message_says_what_is_valid(sandbox, outcome, details, sentence):
    with pytest.raises(SandboxError, match=sentence):
        sandbox.add_rule(outcome, **details)


def test_a_rule_is_an_object(api):
    answer = api.ask("POST", "/sandbox/rules", json=["expired"])
    assert (answer.status_code, "a rule is a JSON object" in answer.text) == (400, True)


def test_the_recipients_of_a_bulk_request_each_have_a_life(api, sandbox):
    api.send_bulk([{"phonenumber": number} for number in (PHONE, "+250789900001", "+250789900004")])
    sandbox.advance_clock(1)
    assert [message["status"] for message in sandbox.messages()] == ["delivered", "undelivered", "sent"]


@pytest.mark.parametrize("status", [status for status in STATUSES if status not in ("accepted", "sent")])
def test_a_status_that_a_test_sets_is_reported_at_once_and_nothing_follows(api, sandbox, status):
    sms_id = api.send().json()["sms_id"]
    message = sandbox.set_status(sms_id, status)
    assert (message["sms_id"], message["status"]) == (sms_id, status)
    sandbox.advance_clock(1000)
    assert reports(sandbox) == [(REPORT_BY_STATUS[status], 0)]


def test_a_late_accepted_takes_nothing_back(api, sandbox):
    sms_id = api.send().json()["sms_id"]
    sandbox.set_status(sms_id, "delivered")
    assert sandbox.set_status(sms_id, "accepted")["status"] == "delivered"
    assert reports(sandbox) == [("DELIVRD", 0), ("ACCEPTED", 0)]


def test_a_message_is_sent_before_anything_is_reported(api, sandbox):
    sandbox.settings(sent_seconds=10)
    first, second = (api.send().json()["sms_id"] for _ in range(2))
    sandbox.set_status(first, "delivered")
    sandbox.set_status(second, "sent")
    sandbox.advance_clock(1000)
    sandbox.wait_for_webhooks()
    assert [call["event"] for call in sandbox.webhooks()] == ["sent", "delivery_report", "sent"]


def test_deliver_is_for_all_messages_that_have_no_final_status(api, sandbox):
    ids = [api.send(number).json()["sms_id"] for number in (PHONE, OTHER, PHONE, "+250789900001")]
    sandbox.set_status(ids[0], "expired")
    assert sandbox.deliver(to=PHONE) == [ids[2]]
    assert sandbox.deliver() == [ids[1], ids[3]]
    assert sandbox.deliver(ids[0]) == [ids[0]]
    assert {message["status"] for message in sandbox.messages()} == {"delivered"}


def test_the_outcome_of_one_message_can_be_changed_before_and_after_it_is_sent(api, sandbox):
    sandbox.settings(sent_seconds=10)
    waiting = api.send().json()["sms_id"]
    sandbox.settings(sent_seconds=0)
    sent = api.send().json()["sms_id"]
    assert sandbox.set_outcome(waiting, "expired")["outcome"] == "expired"
    sandbox.set_outcome(sent, "no_report")
    sandbox.advance_clock(100)
    assert [message["status"] for message in sandbox.messages()] == ["expired", "sent"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda sandbox, sms_id: sandbox.set_status("nobody", "delivered"), "no message 'nobody'"),
        (lambda sandbox, sms_id: sandbox.set_status(sms_id, "lost"), "no status 'lost'; there are accepted"),
        (lambda sandbox, sms_id: sandbox.set_outcome(sms_id, "lost"), "no outcome 'lost'; there are"),
        (lambda sandbox, sms_id: sandbox.set_clock("2020-01-01"), "does not go back to 2020-01-01"),
        (lambda sandbox, sms_id: sandbox.set_clock("tomorrow"), "Invalid isoformat"),
        (lambda sandbox, sms_id: sandbox.advance_clock(-1), "send {'advance': seconds}"),
    ],
)
def test_what_cannot_be_set_is_refused(api, sandbox, change, sentence):
    sms_id = api.send().json()["sms_id"]
    with pytest.raises(SandboxError, match=sentence):
        change(sandbox, sms_id)


def test_a_refused_time_neither_stops_nor_starts_the_clock(api, sandbox):
    sandbox.run_clock()
    refused = api.ask("POST", "/sandbox/clock", json={"now": "2020-01-01", "running": False})
    assert (refused.status_code, api.ask("GET", "/sandbox/clock").json()["running"]) == (400, True)


def test_of_all_messages_only_delivered_can_be_set(api):
    answer = api.ask("PATCH", "/sandbox/messages", json={"status": "expired"})
    assert (answer.status_code, "only the status 'delivered'" in answer.text) == (400, True)


def test_the_clock_passes_on_its_own_until_it_is_stopped(api, sandbox):
    sandbox.run_clock()
    sandbox.settings(delivery_seconds=0.2)
    api.send()
    deadline = time.monotonic() + 10
    while sandbox.messages()[0]["status"] != "delivered" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sandbox.messages()[0]["status"] == "delivered"
    sandbox.settings(delivery_seconds=0)
    stopped = sandbox.stop_clock()
    assert stopped["running"] is False
    assert sandbox.advance_clock(0)["now"] == stopped["now"]


def test_a_clock_goes_to_a_time_and_runs_on_from_there():
    clock = Clock()
    clock.move_to(clock.time() + 1000)
    assert 999 < clock.time() - time.time() <= 1000.1
    clock.stop()
    clock.advance(10)
    before = clock.time()
    clock.run()
    assert 0 <= clock.time() - before < 5
    clock.reset()
    assert abs(clock.time() - time.time()) < 5


def test_the_clock_of_a_sandbox_also_ends_a_pin(api, sandbox):
    request_id = api.verify().json()["request_id"]
    sandbox.set_clock("2099-01-01")
    assert api.ask("GET", f"/v1/sms/verify/status/{request_id}").json()["status"] == "expired"


def test_lives_in_a_file_continue_after_a_restart_and_a_reset_forgets_them(tmp_path):
    with Sandbox(state=tmp_path / "state.db") as first:
        first.stop_clock()
        Api(first).send(PHONE)
        assert first.messages()[0]["status"] == "sent"
    with Sandbox(state=tmp_path / "state.db") as second:
        second.advance_clock(10)
        assert second.messages()[0]["status"] == "delivered"
        assert second._ask("GET", f"messages/{second.messages()[0]['sms_id']}")["exchange"] is None
        second.reset()
        assert (second.messages(), second.deliver()) == ([], [])


def test_a_message_of_an_older_state_file_has_no_status(tmp_path):
    with Sandbox(state=tmp_path / "state.db") as first:
        Api(first).send(PHONE)
    with sqlite3.connect(tmp_path / "state.db") as database:
        database.execute("DROP TABLE lives")
    with Sandbox(state=tmp_path / "state.db") as second:
        (message,) = second.messages()
        assert (message["to"], "status" in message) == (PHONE, False)


def test_a_message_has_its_request_and_response_as_they_went_over_the_wire(api, sandbox):
    answer = api.send(text="n\u2019igice")
    shown = api.ask("GET", f"/sandbox/messages/{answer.json()['sms_id']}").json()
    exchange = shown["exchange"]
    assert (shown["text"], exchange["method"], exchange["path"]) == ("n\u2019igice", "POST", "/v1/sms/")
    assert exchange["body"] == '{"to": "+250781234567", "text": "n\\u2019igice", "sender": "PindoTest"}'
    assert (exchange["response"], exchange["status"]) == (answer.text, 201)
    assert "sandbox-token" not in str(exchange)


def test_a_response_that_was_never_written_is_not_shown(api, sandbox):
    sandbox.add_fault("drop_after", call="send_sms")
    with pytest.raises(OSError, match="Connection"):
        api.send()
    sms_id = sandbox.messages()[0]["sms_id"]
    exchange = api.ask("GET", f"/sandbox/messages/{sms_id}").json()["exchange"]
    assert (exchange["response"], exchange["status"], exchange["faults"]) == (None, "dropped", ["drop_after"])


def test_old_responses_leave_the_log_with_their_requests(api, sandbox, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo.sandbox.request_log.MAX_BODY_BYTES", 400)
    ids = [api.send().json()["sms_id"] for _ in range(4)]
    exchanges = [api.ask("GET", f"/sandbox/messages/{sms_id}").json()["exchange"] for sms_id in ids]
    assert (exchanges[0]["body"], exchanges[0]["response"]) == (None, None)
    assert exchanges[-1]["body"] is not None


def test_an_unknown_message_or_request_is_not_shown(api):
    assert RequestLog().get(1) is None
    assert api.ask("GET", "/sandbox/messages/nobody").status_code == 400


def test_the_next_request_that_sends_fails_and_reading_does_not(api, sandbox):
    sandbox.fail_next()
    assert api.balance() == 500.0
    assert api.send().status_code == 503
    assert api.send().status_code == 201
    sandbox.fail_next("rate_limit", retry_after=1)
    assert api.send_bulk([{"phonenumber": PHONE}]).status_code == 429
    sandbox.fail_next(status=500, call="*")
    assert api.ask("GET", "/wallets/self").status_code == 500
    assert sandbox.faults() == []


def test_the_state_says_what_numbers_and_outcomes_there_are(sandbox):
    state = sandbox.state()
    assert state["numbers"] == NUMBERS
    assert set(state["outcomes"]) == set(OUTCOMES)
    assert state["clock"]["running"] is False


def test_many_messages_become_due_at_a_time_and_all_are_delivered(api, sandbox):
    sandbox.settings(bulk_limit=3000, webhook_url=None)
    api.send_bulk([{"phonenumber": f"+25078{n:07d}"} for n in range(3000)])
    sandbox.run_clock()
    deadline = time.monotonic() + 20
    while {message["status"] for message in sandbox.messages()} != {"delivered"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
