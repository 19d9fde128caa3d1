"""Both hooks against the sandbox over a real socket: what is sent, what is repeated, and what never is."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConfigurationError,
    PindoConnectionError,
    PindoError,
    PindoInsufficientBalanceError,
    PindoNotFoundError,
    PindoRateLimitError,
    PindoRejectedError,
    PindoServerError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.hooks._transport.retry import retry_delay
from airflow_provider_pindo.sandbox import Sandbox

PHONE = "+250781234567"


def connect(monkeypatch, sandbox, **changes):
    """Point the connection to the sandbox, with some fields and extras changed."""
    connection = json.loads(sandbox.connection_json())
    extra = {**connection.pop("extra"), **changes.pop("extra", {})}
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps({**connection, **changes, "extra": extra}))


def test_a_message_reaches_the_phone(pindo, sandbox):
    receipt = pindo.send_sms(PHONE, "Muraho, Rémy")
    (message,) = sandbox.messages(PHONE)
    assert (message["text"], message["sender"]) == ("Muraho, Rémy", "PindoTest")
    assert receipt.sms_id == message["sms_id"]
    assert receipt.raw["status"] == "sent"


def test_a_connection_that_does_not_exist_is_airflows_own_error(make_pindo, airflow_database):
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        make_pindo(pindo_conn_id="nowhere").get_balance()


def test_a_national_number_is_read_by_the_connections_country(pindo, sandbox):
    pindo.send_sms("078 123 4567", "Muraho")
    assert [message["to"] for message in sandbox.messages()] == [PHONE]


@pytest.mark.parametrize("country", ["rw", " RW "])
def test_a_country_may_be_written_in_small_letters_and_with_spaces(make_pindo, sandbox, monkeypatch, country):
    connect(monkeypatch, sandbox, extra={"country": country})
    make_pindo().send_sms("078 123 4567", "Muraho")
    assert [message["to"] for message in sandbox.messages()] == [PHONE]


def test_a_bulk_send_reaches_everybody_with_the_own_name(pindo, sandbox):
    receipt = pindo.send_bulk_sms(
        [{"phonenumber": PHONE, "name": "Rémy"}, {"phonenumber": "0781234568", "name": "Aline"}],
        "Hello @contact.name",
    )
    assert (receipt.count, receipt.total) == (2, 2)
    assert {message["to"]: message["text"] for message in sandbox.messages()} == {
        PHONE: "Hello Rémy",
        "+250781234568": "Hello Aline",
    }


@pytest.mark.parametrize("text", ["Hello @contact.name", "We expect you at @contact.time"])
def test_a_bulk_send_with_a_mention_that_nobody_fills_sends_nothing(pindo, sandbox, text):
    with pytest.raises(PindoConfigurationError, match="the text mentions"):
        pindo.send_bulk_sms([{"phonenumber": PHONE, "time": "9:00"}], text)
    assert sandbox.requests() == []


def test_a_pin_is_sent_checked_and_cancelled(pindo, sandbox):
    verification = pindo.verify(PHONE)
    assert pindo.get_verification(verification.request_id).status == "pending"
    pin = sandbox.messages(PHONE)[0]["pin"]
    wrong = "0000" if pin != "0000" else "1111"
    with pytest.raises(PindoRejectedError) as refused:
        pindo.check_verification(verification.request_id, wrong)
    assert wrong not in str(refused.value)
    assert pindo.check_verification(str(verification.request_id), pin).request_id == verification.request_id
    other = pindo.verify(PHONE, "PindoTest")
    assert pindo.cancel_verification(other.request_id).status == "cancelled"


def test_inbound_messages_are_read(pindo, sandbox):
    before = datetime.now(UTC) - timedelta(minutes=1)
    first = sandbox.reply(PHONE, "YES 4821")
    second = sandbox.reply(PHONE, "NO 4821")
    page = pindo.list_inbound_sms()
    assert [message.id for message in page.messages] == [second["id"], first["id"]]
    assert page.messages[0].created_at > before
    assert [message.text for message in pindo.read_inbound(after_id=first["id"])] == ["NO 4821"]
    assert len(pindo.read_inbound(since=before)) == 2
    assert pindo.read_inbound(since=datetime.now(UTC) + timedelta(minutes=1)) == []


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_messages_that_arrive_between_two_pages_are_read_once(pindo, sandbox, order):
    sandbox.reply_all([{"from": PHONE, "text": f"number {each}"} for each in range(50)])
    sandbox.settings(
        inbound_order=order,
        inject_between_pages=[{"from": PHONE, "text": f"late {each}"} for each in range(25)],
    )
    ids = [message.id for message in pindo.read_inbound()]
    assert len(ids) == len(set(ids))
    assert set(range(1, 51)) <= set(ids)
    ids += [message.id for message in pindo.read_inbound(after_id=max(ids))]
    assert sorted(ids) == list(range(1, 76))


def test_the_balance_and_the_sender_ids_are_read(pindo, sandbox):
    assert pindo.get_balance().amount == 500.0
    assert [each.sender_id for each in pindo.list_sender_ids()] == ["PindoTest"]
    assert pindo.list_sender_ids("PindoTest")[0].raw["status"] == "approved"


@pytest.mark.parametrize(
    ("to", "text", "sender"),
    [
        ("not a number", "x", None),
        (PHONE, "", None),
        (PHONE, "x", "PindoTestCompany"),
        (PHONE, "x", "half \ud83d"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(pindo, sandbox, to, text, sender):
    with pytest.raises(PindoConfigurationError):
        pindo.send_sms(to, text, sender)
    assert sandbox.requests() == []


def test_a_send_without_any_sender_is_refused(make_pindo, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, extra={"sender": ""})
    with pytest.raises(PindoConfigurationError, match="no sender was given"):
        make_pindo().send_sms(PHONE, "x")


# What a send that went wrong means.


@pytest.mark.parametrize(
    ("fault", "delivered"),
    [
        ({"action": "drop_before"}, 0),
        ({"action": "drop_before", "reset": False}, 0),
        ({"action": "drop_after"}, 1),
        ({"action": "drop_after", "reset": False}, 1),
        ({"action": "status", "status": 500}, 0),
        ({"action": "status", "status": 503}, 0),
        ({"action": "status_after", "status": 500}, 1),
        ({"action": "status_after", "status": 504}, 1),
        ({"action": "truncate"}, 1),
        ({"action": "not_json"}, 1),
        ({"action": "empty_body"}, 1),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_a_lost_answer_is_an_unknown_outcome_and_never_repeated(pindo, sandbox, fault, delivered):
    sandbox.add_fault(call="send_sms", times=None, **fault)
    with pytest.raises(PindoUnknownOutcomeError, match="may have been sent") as raised:
        pindo.send_sms(PHONE, "a private text")
    assert len(sandbox.messages()) == delivered
    assert len(sandbox.requests(call="send_sms")) == 1
    assert "a private text" not in str(raised.value)
    assert PHONE not in str(raised.value)


def test_an_answer_that_takes_too_long_is_an_unknown_outcome(make_pindo, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, extra={"timeout": 0.3})
    sandbox.add_fault(call="send_sms", action="slow_answer", seconds=3)
    with pytest.raises(PindoUnknownOutcomeError, match="it took too long"):
        make_pindo().send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("call", ["send_bulk_sms", "verify", "check_verification"])
def test_every_call_that_does_something_is_sent_once(pindo, sandbox, call):
    sandbox.add_fault(call=call, action="status", status=502, times=None)
    arguments = {
        "send_bulk_sms": ([PHONE], "x"),
        "verify": (PHONE,),
        "check_verification": (1, "123456"),
    }[call]
    with pytest.raises(PindoUnknownOutcomeError):
        getattr(pindo, call)(*arguments)
    assert len(sandbox.requests(call=call)) == 1


@pytest.mark.parametrize("fault", ["extra_keys", "wrong_types"])
def test_an_answer_that_can_still_be_read_is_a_receipt(pindo, sandbox, fault):
    sandbox.add_fault(call="send_sms", action=fault)
    assert pindo.send_sms(PHONE, "Muraho").sms_id
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 401, "body": {"message": "unauthorized"}}, PindoAuthError),
        ({"status": 400}, PindoRejectedError),
        ({"status": 409}, PindoRejectedError),
        ({"status": 404}, PindoNotFoundError),
        ({"status": 402}, PindoInsufficientBalanceError),
    ],
)
def test_a_refused_send_is_certain_and_not_repeated(pindo, sandbox, fault, error):
    sandbox.add_fault(call="send_sms", action="status", times=None, **fault)
    with pytest.raises(error):
        pindo.send_sms(PHONE, "Muraho")
    assert sandbox.messages() == []
    assert len(sandbox.requests(call="send_sms")) == 1


@pytest.mark.parametrize("status", [402, 409])
def test_an_empty_wallet_has_its_own_error(pindo, sandbox, status):
    sandbox.settings(insufficient_balance_status=status)
    sandbox.set_balance(0)
    with pytest.raises(PindoInsufficientBalanceError, match="top it up"):
        pindo.send_sms(PHONE, "Muraho")


def test_a_number_that_pindo_refuses_is_told_with_its_reason(pindo, sandbox):
    with pytest.raises(PindoRejectedError, match="unsupported") as raised:
        pindo.send_sms("+12025550123", "Muraho")
    assert raised.value.status == 409


@pytest.mark.parametrize(
    ("setting", "count"),
    [("reject", None), ("partial", 1)],
)
def test_one_bad_number_in_a_bulk_send_is_told_as_pindo_tells_it(pindo, sandbox, setting, count):
    sandbox.settings(bulk_bad_number=setting)
    if count is None:
        with pytest.raises(PindoRejectedError):
            pindo.send_bulk_sms([PHONE, "+12025550123"], "Muraho")
        assert sandbox.messages() == []
    else:
        receipt = pindo.send_bulk_sms([PHONE, "+12025550123"], "Muraho")
        assert (receipt.count, receipt.total) == (count, 2)


def test_a_bulk_send_that_is_too_large_is_refused(pindo, sandbox):
    sandbox.settings(bulk_limit=1)
    with pytest.raises(PindoRejectedError) as raised:
        pindo.send_bulk_sms([PHONE, "+250781234568"], "Muraho")
    assert raised.value.status == 413


# What is repeated.


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_refused_connection_is_tried_again_and_sends_once(make_pindo, monkeypatch, sandbox):
    port = free_port()
    late = Sandbox(port=port)
    connect(monkeypatch, sandbox, host=f"http://127.0.0.1:{port}")
    timer = threading.Timer(0.8, late.start)
    timer.start()
    try:
        make_pindo().send_sms(PHONE, "Muraho")
        assert len(late.messages()) == 1
    finally:
        timer.join()
        late.stop()


def test_a_connection_that_never_comes_is_certain(make_pindo, monkeypatch, sandbox):
    connect(monkeypatch, sandbox, host=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(PindoConnectionError, match=r"the connection was refused. Nothing was sent"):
        make_pindo(max_attempts=1).send_sms(PHONE, "Muraho")


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
def test_a_429_is_waited_for_as_asked_and_the_message_goes_once(pindo, sandbox, form):
    wait = {
        "seconds": 1,
        "date": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True),
        "none": None,
    }[form]
    sandbox.add_fault(call="send_sms", action="rate_limit", retry_after=wait)
    started = time.monotonic()
    pindo.send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1
    assert len(sandbox.requests(call="send_sms")) == 2
    if form == "seconds":
        assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(None, 2, 2.5), (0, 2, 2.5), (1, 2, 2.5), (30, 30.2, 30.25)]
)
def test_a_429_is_never_asked_again_sooner_than_any_other_failure(asked, least, most):
    pause = retry_delay(PindoRateLimitError("slow down", retry_after=asked), 3, 5)
    assert least <= pause <= most


def test_a_429_that_asks_for_too_long_is_raised_at_once(pindo, sandbox):
    sandbox.add_fault(call="send_sms", action="rate_limit", retry_after=3600)
    with pytest.raises(PindoRateLimitError) as raised:
        pindo.send_sms(PHONE, "Muraho")
    assert raised.value.retry_after == 3600
    assert len(sandbox.requests(call="send_sms")) == 1


def test_a_429_on_every_try_ends_in_its_error(make_pindo, sandbox):
    sandbox.add_fault(call="*", action="rate_limit", times=None)
    with pytest.raises(PindoRateLimitError):
        make_pindo(max_attempts=2).get_balance()
    assert len(sandbox.requests(call="get_balance")) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "status", "status": 503},
        {"action": "drop_before"},
        {"action": "not_json"},
        {"action": "truncate"},
    ],
    ids=lambda fault: fault["action"],
)
def test_a_call_that_changes_nothing_is_repeated(pindo, sandbox, fault):
    sandbox.add_fault(call="get_balance", times=2, **fault)
    assert pindo.get_balance().amount == 500.0
    assert len(sandbox.requests(call="get_balance")) == 3


def test_a_call_that_changes_nothing_ends_in_a_server_error(make_pindo, sandbox):
    sandbox.add_fault(call="*", action="status", status=500, times=None)
    with pytest.raises(PindoServerError):
        make_pindo(max_attempts=2).list_inbound_sms()


# How it is sent.


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(pindo, sandbox):
    with Sandbox() as elsewhere:
        sandbox.add_fault(call="*", action="redirect", location=f"{elsewhere.url}/v1/sms/", times=None)
        with pytest.raises(PindoConfigurationError) as raised:
            pindo.send_sms(PHONE, "Muraho")
        with pytest.raises(PindoConfigurationError):
            pindo.get_balance()
        assert f"{sandbox.url}/v1/sms/" in str(raised.value)
        assert f"{elsewhere.url}/v1/sms/" in str(raised.value)
        assert elsewhere.requests() == []
        assert sandbox.messages() == []


def test_a_connection_that_the_server_closed_while_it_idled_is_no_false_alarm(pindo, sandbox):
    for wait in (0.2, 0.6, 1.2):
        sandbox.add_fault(call="send_sms", action="close_idle", seconds=wait / 10)
        pindo.send_sms(PHONE, "before")
        pindo.pause(wait)
        pindo.send_sms(PHONE, "after")
    assert len(sandbox.messages()) == 6


def test_no_extra_becomes_a_header(make_pindo, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, extra={"X-Private": "from the extra", "headers": {"X-Other": "1"}})
    make_pindo().send_sms(PHONE, "Muraho")
    (request,) = sandbox.requests()
    names = {name.lower() for name in request["headers"]}
    assert names.isdisjoint({"x-private", "x-other", "headers", "sender", "country"})
    assert request["authorized"]


def test_every_call_says_that_it_is_json(make_pindo, sandbox):
    pindo = make_pindo()
    pindo.send_sms(PHONE, "Muraho")
    pindo.send_bulk_sms([{"phonenumber": PHONE, "name": "Uwase"}], "Muraho")
    pindo.get_balance()
    headers = [
        {name.lower(): value for name, value in request["headers"].items()} for request in sandbox.requests()
    ]
    assert [each["content-type"] for each in headers] == ["application/json"] * 3


def test_a_netrc_does_not_replace_the_token(make_pindo, sandbox, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    make_pindo().send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


def test_neither_token_nor_text_nor_number_is_logged(make_pindo, sandbox, monkeypatch, caplog, capfd):
    with Sandbox(token="a-token-that-must-not-show") as sandbox, caplog.at_level(logging.DEBUG):
        connect(monkeypatch, sandbox)
        sandbox.add_fault(call="send_sms", action="rate_limit", retry_after=0)
        sandbox.add_fault(call="send_sms", action="drop_after", skip=1)
        pindo = make_pindo()
        pindo.send_sms(PHONE, "a private text")
        with pytest.raises(PindoError):
            pindo.send_sms(PHONE, "a private text")
        pindo.test_connection()
    logged = caplog.text + "".join(capfd.readouterr())
    assert "Retrying in" in logged
    for secret in ("a-token-that-must-not-show", "a private text", PHONE):
        assert secret not in logged


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_may_follow_a_send_is_an_unknown_outcome(pindo, sandbox, status):
    sandbox.add_fault(call="send_sms", action="redirect", status=status, location="/v1/sms/out_sms_1")
    with pytest.raises(PindoUnknownOutcomeError, match="/v1/sms/out_sms_1"):
        pindo.send_sms(PHONE, "Muraho")


# Where nothing is published, every reading is taken.


@pytest.mark.parametrize(("timezone", "hours"), [(None, 0), ("UTC", 0), ("Africa/Kigali", 2)])
def test_times_without_a_zone_are_utc_unless_the_connection_says_otherwise(
    make_pindo, sandbox, monkeypatch, timezone, hours
):
    connect(monkeypatch, sandbox, extra={"timezone": timezone})
    sandbox.reply(PHONE, "YES 4821", created_at="2026-11-22T15:00:00.196907")
    (message,) = make_pindo().list_inbound_sms().messages
    assert message.raw["created_at"] == "2026-11-22T15:00:00.196907"
    assert message.created_at == datetime(2026, 11, 22, 15 - hours, 0, 0, 196907, tzinfo=UTC)


@pytest.mark.parametrize("call", ["get_verification", "cancel_verification"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"status": "pending", "request_id": 1}, "pending"),
        ({"state": "open"}, None),
        ({"message": "success"}, None),
    ],
)
def test_the_state_of_a_verification_is_passed_through_whatever_its_shape(pindo, sandbox, call, body, status):
    sandbox.add_fault(call=call, action="status_after", status=200, body=body)
    state = getattr(pindo, call)(pindo.verify(PHONE).request_id)
    assert (state.status, state.raw) == (status, body)


def test_keys_that_no_page_documents_are_passed_on(pindo, sandbox):
    sandbox.settings(extra_keys=True)
    sandbox.reply(PHONE, "YES 4821")
    for answer in (
        pindo.send_sms(PHONE, "Muraho"),
        pindo.send_bulk_sms([PHONE], "Muraho"),
        pindo.verify(PHONE),
        pindo.list_inbound_sms(),
        pindo.get_balance(),
    ):
        assert "sandbox_extra" in answer.raw


@pytest.mark.parametrize(
    "call", ["send_bulk_sms", "verify", "get_balance", "list_inbound_sms", "list_sender_ids"]
)
def test_every_call_honours_a_429(pindo, sandbox, call):
    sandbox.add_fault(call=call, action="rate_limit", retry_after=0)
    arguments = {"send_bulk_sms": ([PHONE], "x"), "verify": (PHONE,)}.get(call, ())
    assert getattr(pindo, call)(*arguments) is not None
    assert len(sandbox.requests(call=call)) == 2
