"""Verification: a PIN goes out, a code comes back, within its time and its attempts."""

from __future__ import annotations

import time

import pytest

PHONE = "+250781234567"


def test_a_pin_goes_to_the_phone_and_costs_nothing_yet(api, sandbox):
    sandbox.settings(approved_senders=["Ubuzima"])
    answer = api.verify(PHONE, "Ubuzima")
    assert answer.status_code == 201
    body = answer.json()
    assert body == {"message": "success", "network": "63510", "remaining_balance": 500.0, "request_id": 1}
    (message,) = sandbox.messages(to=PHONE)
    assert (message["kind"], message["request_id"], message["total_cost"]) == ("pin", 1, 0)
    assert message["text"] == f"Your Ubuzima verification code is {message['pin']}"
    assert len(message["pin"]) == 6


def test_the_right_code_verifies_and_is_paid_for(api, sandbox):
    request_id = api.verify().json()["request_id"]
    pin = sandbox.messages()[0]["pin"]
    answer = api.check(request_id, pin)
    assert answer.status_code == 200
    assert answer.json() == {"message": "success", "remaining_balance": 499.994, "request_id": request_id}
    assert sandbox.messages()[0]["total_cost"] == 0.006
    assert api.check(request_id, pin).json() == {"message": "verification is verified"}
    assert api.balance() == 499.994


def test_a_wrong_code_costs_an_attempt_and_no_money(api, sandbox):
    sandbox.settings(pin="007123", pin_attempts=2)
    request_id = api.verify().json()["request_id"]
    for _ in range(2):
        answer = api.check(request_id, "7123")
        assert (answer.status_code, answer.json()) == (400, {"message": "wrong code"})
    assert api.check(request_id, "007123").json() == {"message": "too many attempts"}
    assert api.balance() == 500


@pytest.mark.parametrize("status", [400, 404, 409])
def test_the_status_of_a_wrong_code_is_a_setting(api, sandbox, status):
    sandbox.settings(pin="752623", wrong_code_status=status)
    assert api.check(api.verify().json()["request_id"], "000000").status_code == status


def test_a_code_that_has_expired_is_refused(api, sandbox):
    sandbox.settings(pin="752623", pin_ttl=0.05)
    request_id = api.verify().json()["request_id"]
    time.sleep(0.06)
    answer = api.check(request_id, "752623")
    assert (answer.status_code, answer.json()) == (400, {"message": "verification is expired"})
    assert api.ask("GET", f"/v1/sms/verify/status/{request_id}").json()["status"] == "expired"


@pytest.mark.parametrize(
    ("request_id", "code", "word"),
    [(1, 752623, "code"), (1, None, "code"), ("1", "752623", "request_id"), (True, "752623", "request_id")],
)
def test_the_code_is_a_text_and_the_request_id_an_integer(api, request_id, code, word):
    api.verify()
    answer = api.check(request_id, code)
    assert answer.status_code == 400
    assert word in answer.json()["message"]


@pytest.mark.parametrize("request_id", [2, 0, -1, 10**30])
def test_a_verification_that_never_was_is_not_found(api, request_id):
    api.verify()
    assert api.check(request_id, "752623").status_code == 404


def test_the_request_id_of_a_forgotten_pin_never_checks_the_pin_of_somebody_else(api, sandbox):
    sandbox.settings(pin="752623")
    forgotten = api.verify(PHONE).json()["request_id"]
    sandbox.reset()
    sandbox.settings(pin="752623")
    assert api.verify("+250781230142").json()["request_id"] > forgotten
    assert api.check(forgotten, "752623").status_code == 404


def test_status_and_cancel(api, sandbox):
    sandbox.settings(pin="752623", approved_senders=["Ubuzima"])
    request_id = api.verify(PHONE, "Ubuzima").json()["request_id"]
    expected = {"request_id": request_id, "status": "pending", "number": PHONE, "brand": "Ubuzima"}
    assert api.ask("GET", f"/v1/sms/verify/status/{request_id}").json() == expected
    answer = api.ask("PUT", f"/v1/sms/verify/cancel/{request_id}")
    assert (answer.status_code, answer.json()) == (200, {**expected, "status": "cancelled"})
    assert api.ask("PUT", f"/v1/sms/verify/cancel/{request_id}").status_code == 409
    assert api.check(request_id, "752623").json() == {"message": "verification is cancelled"}
    assert api.ask("GET", "/v1/sms/verify/status/99").status_code == 404
    assert api.ask("GET", "/v1/sms/verify/status/x").status_code == 400


def test_brand_and_number_are_required(api, sandbox):
    assert api.verify(brand="").status_code == 400
    assert api.verify(number="").status_code == 400
    assert sandbox.messages() == []


def test_an_empty_wallet_sends_no_pin(api, sandbox):
    sandbox.set_balance(0)
    assert api.verify().status_code == 402
    assert sandbox.messages() == []


def test_a_pin_has_as_many_digits_as_set(api, sandbox):
    sandbox.settings(pin_length=4)
    api.verify()
    assert len(sandbox.messages()[0]["pin"]) == 4
