"""``track_delivery``: everybody gets a message of their own, whose id the report names."""

from __future__ import annotations

import pytest

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import PERSONAL, Store, at, people, report, send, times_texted

NAMED = "Muraho @contact.name"


@pytest.mark.parametrize("text", ["Muraho 100%", NAMED, PERSONAL])
def test_everybody_has_the_id_of_their_message_in_the_report(sandbox, tmp_path, text):
    path = tmp_path / "report.csv"
    arguments = {"recipients": people(5, time=at), "text": text, "report_path": str(path)}
    result = send(Store(), track_delivery=True, **arguments)
    assert (result["accepted"], result["requests"]) == (5, 5)
    messages = {message["to"]: message for message in sandbox.messages()}
    assert {row["phonenumber"]: row["sms_id"] for row in report(path)} == {
        to: str(message["sms_id"]) for to, message in messages.items()
    }
    assert sandbox.requests(call="send_bulk_sms") == []
    sandbox.reset()
    send(Store(), **arguments)
    assert {message["to"]: message["text"] for message in sandbox.messages()} == {
        to: message["text"] for to, message in messages.items()
    }, "the texts are the same as without it"


def test_only_the_request_whose_response_is_lost_is_unknown_and_the_rest_is_not_sent_again(sandbox):
    store, arguments = Store(), {"recipients": people(6), "text": NAMED, "track_delivery": True}
    sandbox.add_fault("drop_after", to="+250780000003")
    result = send(store, on_unknown="accept", **arguments)
    assert (result["accepted"], result["unknown"]) == (5, 1)
    store.settle("sent")
    assert send(store, generation=1, **arguments)["accepted"] == 6
    assert set(times_texted(sandbox).values()) == {1}


def test_a_dry_run_counts_a_request_for_everybody(sandbox):
    arguments = {"recipients": people(250), "text": NAMED, "dry_run": True}
    assert send(Store(), **arguments)["requests"] == 3
    assert send(Store(), track_delivery=True, **arguments)["requests"] == 250
    assert sandbox.requests() == []


def test_a_repeated_row_is_still_a_duplicate(sandbox):
    result = send(Store(), recipients=[*people(2), *people(1)], text="Muraho", track_delivery=True)
    assert (result["accepted"], result["duplicates"]) == (2, 1)


@pytest.mark.parametrize("value", ["True", 1, None])
def test_a_wrong_track_delivery_is_refused_when_the_dag_is_parsed(value):
    with pytest.raises(PindoConfigurationError, match=r"track_delivery is .*: give True or False"):
        PindoSendBulkSmsOperator(task_id="text", recipients=[], text="Muraho", track_delivery=value)
