"""The set-up corner: the webhook addresses, for those who may edit connections."""

from __future__ import annotations

import json

import pytest
from airflow.api_fastapi.app import get_auth_manager
from airflow.models.connection import Connection
from airflow.utils.session import create_session

from airflow_provider_pindo.api.webhooks import Webhook, posting_token
from airflow_provider_pindo.plugins import _event_table, _setup

SECRET = "s" * 32


@pytest.fixture
def webhooks(metadata, monkeypatch):
    """Webhooks are on, with their table, and pindo_default has a secret."""
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "True")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", connection(webhook_secret=SECRET))
    _event_table.create_table()
    _event_table._run(lambda database: database.execute(_event_table.TABLE.delete()))


def connection(**extra):
    return json.dumps({"conn_type": "pindo", "password": "t", "extra": extra})


def setup(metadata, role="admin"):
    return metadata.client(role).get("/ui/api/setup")


@pytest.mark.parametrize(
    ("role", "status"), [("admin", 200), ("op", 200), ("user", 403), ("viewer", 403), (None, 401)]
)
def test_it_is_for_those_who_may_edit_connections(metadata, role, status):
    assert setup(metadata, role).status_code == status


def test_it_says_that_webhooks_are_off(metadata):
    assert setup(metadata).json() == {"are_on": False, "connections": []}


def test_it_has_the_address_and_the_time_of_the_last_webhook(metadata, webhooks):
    (shown,) = setup(metadata).json()["connections"]
    token = posting_token(SECRET, "pindo_default")
    address = "https://airflow.example/pindo/webhooks/pindo_default"
    assert shown["addresses"] == {"any": f"{address}?token={token}", "with_header": address}
    assert (shown["last"], shown["problem"]) == (None, None)
    _event_table.add("pindo_default", Webhook("delivery_report", "1", "DELIVRD"), "{}")
    assert setup(metadata).json()["connections"][0]["last"].startswith("20")


def test_while_the_events_cannot_be_read_the_address_is_shown_all_the_same(metadata, webhooks, monkeypatch):
    def fail(conn_id):
        raise _event_table.DatabaseError("OperationalError")

    monkeypatch.setattr(_event_table, "last_received", fail)
    (shown,) = setup(metadata).json()["connections"]
    assert shown["last"] is None
    assert shown["addresses"] is not None


@pytest.mark.parametrize("extra", [{}, {"webhook_secret": "two\nlines"}])
def test_a_connection_without_a_usable_secret_says_so(metadata, webhooks, monkeypatch, extra):
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", connection(**extra))
    (shown,) = setup(metadata).json()["connections"]
    assert shown["addresses"] is None
    assert "webhook_secret" in shown["problem"]


@pytest.mark.parametrize(
    ("base_url", "says"),
    [("", "the address of the API server is not known"), ("airflow", "'airflow' is no address")],
)
def test_without_an_address_of_the_api_server_it_says_what_to_set(
    metadata, webhooks, monkeypatch, base_url, says
):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    (shown,) = setup(metadata).json()["connections"]
    assert shown["addresses"] is None
    assert shown["problem"] == (
        f"{says}: set [api] base_url to one such as https://airflow.example.org, or give it to "
        "'python -m airflow_provider_pindo.plugins url' as --base-url"
    )


def test_every_pindo_connection_of_the_database_is_listed_once(metadata, webhooks, monkeypatch):
    monkeypatch.setattr(_setup, "_MAX_LISTED", 4)
    kinds = {
        "a_web": "http",
        "clinic": "pindo",
        "hidden": "pindo",  # a variable of the environment says otherwise, and comes first
        "pindo_default": "pindo",
        "second": "pindo",
        "too_many": "pindo",
    }
    value = json.loads(connection(webhook_secret=SECRET))
    with create_session() as session:
        for name, kind in kinds.items():
            session.add(Connection(conn_id=name, conn_type=kind))
            found = {**value, "conn_type": "http" if name == "hidden" else kind}
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(found))
    listed = setup(metadata).json()["connections"]
    assert [shown["conn_id"] for shown in listed] == ["pindo_default", "clinic", "second"]


def test_without_any_connection_nothing_is_listed(metadata, webhooks, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_PINDO_DEFAULT")
    assert setup(metadata).json() == {"are_on": True, "connections": []}


def test_a_connection_that_the_person_may_not_edit_is_not_listed(metadata, webhooks, monkeypatch):
    """An auth manager may have rules for each connection."""

    def is_authorized(*, method, user, details=None):
        return details is None or details.conn_id != "pindo_default"

    monkeypatch.setattr(get_auth_manager(), "is_authorized_connection", is_authorized)
    assert setup(metadata).json() == {"are_on": True, "connections": []}


def test_a_database_that_does_not_answer_hides_the_time_alone(metadata, webhooks, monkeypatch):
    def fail(conn_id):
        raise _event_table.DatabaseError("OperationalError")

    monkeypatch.setattr(_event_table, "last_received", fail)
    (shown,) = setup(metadata).json()["connections"]
    assert shown["last"] is None
    assert shown["addresses"]
