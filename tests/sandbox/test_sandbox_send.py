"""Sending through the sandbox: one message, many messages, and every documented way to be refused."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

PHONE, OTHER = "+250781234567", "+250781230142"


def test_a_send_answers_with_exactly_the_published_keys(api):
    answer = api.send(PHONE, "Hello from Pindo")
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {
        "bonus", "discount", "item_count", "item_price", "remaining_balance", "self_url", "sms_id", "status",
        "to", "total_cost",
    }  # fmt: skip
    assert re.fullmatch("out_sms_[0-9A-HJKMNP-TV-Z]{26}", body["sms_id"])
    assert body["self_url"].endswith("/v1/sms/" + body["sms_id"])
    assert (body["status"], body["to"], body["item_count"], body["total_cost"]) == ("sent", PHONE, 1, 0.006)


def test_what_was_sent_is_on_the_phone(api, sandbox):
    sms_id = api.send(PHONE, "Muraho, Thérèse").json()["sms_id"]
    api.send(OTHER, "Not for the first phone")
    (message,) = sandbox.messages(to=PHONE)
    assert message["id"] == message["sms_id"] == sms_id
    assert (message["text"], message["sender"], message["kind"]) == ("Muraho, Thérèse", "PindoTest", "sms")
    assert message["created_at"].endswith("+00:00")


def test_segments_are_billed(api, sandbox):
    sandbox.set_balance(1)
    body = api.send(text="n\u2019" * 40).json()
    assert (body["item_count"], body["total_cost"], body["remaining_balance"]) == (2, 0.012, 0.988)
    assert sandbox.messages()[0]["encoding"] == "UCS-2"


def test_a_wallet_adds_up_after_many_sends(api, sandbox):
    for _ in range(100):
        api.send()
    assert api.balance() == 499.4


@pytest.mark.parametrize("status", [402, 409])
def test_an_empty_wallet_sends_nothing(api, sandbox, status):
    sandbox.settings(insufficient_balance_status=status)
    sandbox.set_balance(0.011)
    assert api.send().status_code == 201
    answer = api.send()
    assert (answer.status_code, answer.json()) == (status, {"message": "insufficient balance"})
    answer = api.send_bulk([{"phonenumber": OTHER}])
    assert (answer.status_code, answer.json()) == (status, {"message": "insufficient balance"})
    assert len(sandbox.messages()) == 1
    assert sandbox.top_up(1) == 1.005
    assert api.send().status_code == 201


@pytest.mark.parametrize("header", [None, "Bearer wrong", "sandbox-token", "Basic c2FuZGJveC10b2tlbg=="])
def test_a_request_without_the_token_is_unauthorized(api, sandbox, header):
    api.session.headers["Authorization"] = header
    answer = api.send()
    assert (answer.status_code, answer.json()) == (401, {"message": "unauthorized"})
    assert sandbox.messages() == []
    assert [request["authorized"] for request in sandbox.requests()] == [False]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_without_the_trailing_slash_it_redirects_to_itself(api, sandbox, method):
    answer = api.ask(method, "/v1/sms", json={"to": PHONE, "text": "Muraho", "sender": "PindoTest"})
    assert (answer.status_code, answer.headers["Location"]) == (308, sandbox.url + "/v1/sms")
    assert sandbox.messages() == []


@pytest.mark.parametrize("path", ["/v1/sms/bulk/", "/v1/sms/verify/", "/wallets/self/", "/nowhere"])
def test_a_misspelt_path_is_not_found(api, path):
    answer = api.ask("POST", path, json={})
    assert (answer.status_code, answer.json()) == (404, {"message": "not found"})


def test_a_wrong_method_is_refused(api):
    answer = api.ask("DELETE", "/wallets/self")
    assert (answer.status_code, answer.json()) == (405, {"message": "method not allowed"})


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("+12025550123", "unsupported country"),
        ("+33612345678", "unsupported country"),
        ("0781234567", "wrong number format"),
        ("250781234567", "wrong number format"),
        ("+25078123456", "wrong number format"),
        ("+250 781 234 567", "wrong number format"),
        ("+250781234567\n", "wrong number format"),
        ("+250252123456", "wrong number format"),  # a landline
        ("+25078123456७", "wrong number format"),
    ],
)
def test_a_number_that_cannot_be_reached_is_a_409_with_the_reason(api, sandbox, number, reason):
    for answer in (api.send(to=number), api.verify(number=number), api.send_bulk([{"phonenumber": number}])):
        assert (answer.status_code, answer.json()) == (409, {"message": reason})
    assert sandbox.messages() == []
    assert api.balance() == 500


def test_which_countries_are_supported_is_a_setting(api, sandbox):
    assert api.send("+254712345678").status_code == 201
    sandbox.settings(supported_countries=["RW"])
    assert api.send("+254712345678").json() == {"message": "unsupported country"}
    sandbox.settings(supported_countries=[])
    assert api.send().json() == {"message": "unsupported country"}


def test_a_number_can_be_refused_by_its_network_only(api, sandbox):
    sandbox.settings(rejected_numbers=[PHONE])
    answer = api.send(PHONE)
    assert (answer.status_code, answer.json()) == (409, {"message": "unsupported telco"})
    assert api.send(OTHER).status_code == 201


@pytest.mark.parametrize("key", ["to", "text", "sender"])
@pytest.mark.parametrize("value", [None, "", "  ", 7, ["x"]])
def test_every_key_of_a_send_is_required(api, sandbox, key, value):
    body = {"to": PHONE, "text": "Muraho", "sender": "PindoTest", key: value}
    answer = api.ask("POST", "/v1/sms/", json=body)
    assert answer.status_code == 400
    assert key in answer.json()["message"]
    assert sandbox.messages() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_a_json_object_is_refused(api, body):
    answer = api.ask("POST", "/v1/sms/", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "JSON" in answer.json()["message"]


def test_a_body_of_another_content_type_is_refused(api, sandbox):
    body = b'{"to": "+250781234567", "text": "Muraho", "sender": "PindoTest"}'
    answer = api.ask("POST", "/v1/sms/", data=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 400
    assert sandbox.messages() == []


def test_half_a_surrogate_pair_is_refused(api):
    answer = api.send(text="\ud83d")
    assert (answer.status_code, "$.text" in answer.json()["message"]) == (400, True)
    assert api.send_bulk([{"phonenumber": PHONE, "name": "\ud83d"}]).status_code == 400


def test_a_sender_must_be_short_and_approved(api, sandbox):
    answer = api.send(sender="PindoTestCompany")
    assert (answer.status_code, answer.json()) == (400, {"message": "sender must have at most 11 characters"})
    unknown = {"error": "Unknown sender id Ubuzima", "message": "Unknown sender id Ubuzima", "status": 409}
    for answer in (
        api.send(sender="Ubuzima"),
        api.send_bulk([{"phonenumber": PHONE}], sender="Ubuzima"),
        api.verify(brand="Ubuzima"),
    ):
        assert (answer.status_code, answer.json()) == (409, unknown)
    assert sandbox.messages() == []
    body = {"sender_id": "Ubuzima", "countries": ["RW"]}
    assert api.ask("POST", "/sender_ids", json=body).status_code == 201
    assert api.send(sender="Ubuzima").status_code == 201
    sandbox.settings(approved_senders="any")
    assert api.send(sender="Anybody").status_code == 201


# -- many


def test_a_bulk_send_answers_with_totals_only(api, sandbox):
    answer = api.send_bulk([{"phonenumber": PHONE, "name": "Remy Muhire"}, {"phonenumber": OTHER}])
    assert answer.status_code == 201
    assert answer.json() == {
        "bonus": 0.0,
        "count": 2,
        "discount": 0.4,
        "item_price": 0.006,
        "network": "63510",
        "remaining_balance": 499.988,
        "status": "sent",
        "total": 2,
    }
    assert [(m["to"], m["name"], m["kind"]) for m in sandbox.messages()] == [
        (PHONE, "Remy Muhire", "bulk"),
        (OTHER, None, "bulk"),
    ]


def test_mentions_are_filled_for_each_phone(api, sandbox):
    recipients = [{"phonenumber": PHONE, "name": "Chloé"}, {"phonenumber": OTHER, "time": "09:30"}]
    api.send_bulk(recipients, "Hi @contact.name (@contact.phone), @contact.time, @contact.names")
    assert [message["text"] for message in sandbox.messages()] == [
        f"Hi Chloé ({PHONE}), @contact.time, @contact.names",
        f"Hi @contact.name ({OTHER}), @contact.time, @contact.names",
    ]


def test_a_filled_mention_is_billed_by_its_own_length(api, sandbox):
    text = "x" * 150 + "@contact.name"
    api.send_bulk(
        [{"phonenumber": PHONE, "name": "Li"}, {"phonenumber": OTHER, "name": "Uwimana Marie"}], text
    )
    assert [message["item_count"] for message in sandbox.messages()] == [1, 2]
    assert api.balance() == 499.982


@pytest.mark.parametrize(
    "body",
    [
        {"recipients": [{"phonenumber": PHONE}], "text": "Muraho"},
        {"recipients": [{"phoneNumber": PHONE}], "text": "Muraho", "sender": "PindoTest"},
        {"recipients": [PHONE], "text": "Muraho", "sender": "PindoTest"},
    ],
    ids=["no sender", "phoneNumber", "plain number"],
)
def test_a_bulk_body_without_sender_or_misspelt_gets_500_and_nothing_in_it(api, sandbox, body):
    answer = api.ask("POST", "/v1/sms/bulk", json=body)
    assert (answer.status_code, answer.json()) == (500, {})
    assert sandbox.messages() == []


@pytest.mark.parametrize("recipients", [None, [], {}, "x"])
def test_a_bulk_body_without_recipients_is_refused(api, recipients):
    assert api.send_bulk(recipients).status_code == 400


def test_one_bad_number_refuses_the_whole_request(api, sandbox):
    answer = api.send_bulk([{"phonenumber": PHONE}, {"phonenumber": "12"}, {"phonenumber": OTHER}])
    assert (answer.status_code, answer.json()) == (409, {"message": "wrong number format"})
    assert sandbox.messages() == []


def test_one_bad_number_can_be_left_out_instead(api, sandbox):
    sandbox.settings(bulk_bad_number="partial")
    answer = api.send_bulk([{"phonenumber": PHONE}, {"phonenumber": "12"}, {"phonenumber": OTHER}])
    assert answer.status_code == 201
    assert (answer.json()["count"], answer.json()["total"]) == (2, 3)
    assert [message["to"] for message in sandbox.messages()] == [PHONE, OTHER]
    assert api.send_bulk([{"phonenumber": "12"}]).status_code == 409


def test_too_many_recipients_get_413(api, sandbox):
    sandbox.settings(bulk_limit=2)
    answer = api.send_bulk([{"phonenumber": PHONE}] * 3)
    assert (answer.status_code, answer.json()) == (413, {"message": "at most 2 recipients in one request"})
    assert sandbox.messages() == []
    assert api.send_bulk([{"phonenumber": PHONE}] * 2).status_code == 201


def test_a_number_given_twice_gets_it_twice(api, sandbox):
    api.send_bulk([{"phonenumber": PHONE}] * 2)
    assert len(sandbox.messages(to=PHONE)) == 2


def test_a_thousand_recipients_in_one_request_all_get_it(api, sandbox):
    recipients = [{"phonenumber": f"+25078{n:07d}", "name": f"N{n}"} for n in range(1000)]
    assert api.send_bulk(recipients, "Muraho @contact.name").json()["count"] == 1000
    messages = sandbox.messages()
    assert [message["text"] for message in messages] == [f"Muraho N{n}" for n in range(1000)]
    assert len({message["id"] for message in messages}) == 1000


def test_requests_at_the_same_time_each_pay_and_arrive_once(api, sandbox):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: api.send(text=f"number {n}"), range(200)))
    assert {answer.status_code for answer in answers} == {201}
    assert sorted(message["text"] for message in sandbox.messages()) == sorted(
        f"number {n}" for n in range(200)
    )
    assert api.balance() == 498.8


# -- the account


def test_the_account_calls_answer(api):
    assert api.ask("GET", "/wallets/self").json() == {"amount": 500.0}
    assert set(api.ask("GET", "/orgs/self/").json()) == {"id", "name", "sms_retries", "webhook_url"}
    body = {"name": "Ubuzima Clinic", "webhook_url": "http://127.0.0.1:9/hook", "sms_retries": 5}
    assert api.ask("PUT", "/orgs/self", json=body).status_code == 200
    assert body.items() <= api.ask("GET", "/orgs/self/").json().items()
    assert api.ask("PUT", "/orgs/self", json={"webhook_url": "nonsense"}).status_code == 400
    half = {"webhook_url": "http://127.0.0.1:9/", "name": 5}
    assert api.ask("PUT", "/orgs/self", json=half).status_code == 400
    assert body.items() <= api.ask("GET", "/orgs/self/").json().items()  # a refused request has no effect


def test_sender_ids_are_listed_and_found_by_name(api):
    api.ask("POST", "/sender_ids", json={"sender_id": "Ubuzima", "countries": ["RW"]})
    listed = api.ask("GET", "/sender_ids/").json()
    assert [row["sender_id"] for row in listed] == ["PindoTest", "Ubuzima"]
    assert [row["sender_id"] for row in api.ask("GET", "/sender_ids/?name=Ubuzima").json()] == ["Ubuzima"]
    body = {"sender_id": "UbuzimaClinic", "countries": ["RW"]}
    assert api.ask("POST", "/sender_ids", json=body).status_code == 400
    assert api.ask("POST", "/sender_ids", json={"sender_id": "Ubuzima"}).status_code == 400


def test_analytics_count_by_day(api):
    api.send()
    answer = api.ask("GET", "/v2/sms/analytics?timezone_offset=120&start=2024-07-20&timeframe=30d").json()
    assert [(day["count"], day["total_cost"]) for day in answer["data"]] == [(1, 0.006)]
