"""The page's routes: who may ask, what a browser may be made to send, and that nothing of a stranger is HTML."""

from __future__ import annotations

import inspect
import logging
import re
from datetime import timedelta
from pathlib import Path

import pytest
from airflow import settings
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.providers.common.compat.sdk import BaseHook
from sqlalchemy import event

from airflow_provider_pindo.plugins import _event_table, _models, _overview, _pages, _people
from tests.plugins.metadata import NOW, batch, single
from tests.versions import needs_store

STATIC = Path(_pages.__file__).parent / "static"
PLACE = {"dag_id": "reminders", "run_id": "run_1", "task_id": "text"}
SEEN = NOW.isoformat()
POSTS = {
    "/ui/api/people": PLACE,
    "/ui/api/search": {"number": "+250780000101"},
    "/ui/api/settle": {**PLACE, "seen": SEEN, "everybody": True},
}


def requests_of_every_route(app):
    """Yield method, path and arguments: of each body a right one, a broken one, none, and one that is no JSON."""
    for route in app.routes:
        path = route.path.replace("{name}", "page.js")
        if "GET" in route.methods:
            yield "GET", path, {}
            yield "GET", f"{path}?window=broken", {}
        else:
            yield "POST", path, {"json": POSTS[path]}
            for content in (b'{"dag_id": "rem', b"", b"\xff"):
                yield "POST", path, {"content": content, "headers": {"content-type": "application/json"}}
            yield "POST", path, {"content": b"a=b", "headers": {"content-type": "text/plain"}}


@pytest.fixture
def looked_up(monkeypatch):
    """The lookups of a test: queries, permissions and connections. They are not carried out."""
    calls = []

    def note(*call, **_):
        calls.append(call)
        raise LookupError

    with monkeypatch.context() as patch:
        for module in (_models, _event_table):
            for name, _ in inspect.getmembers(module, inspect.isfunction):
                patch.setattr(module, name, note)
        manager = _pages.get_auth_manager()
        for name in filter(re.compile("authorized").search, dir(manager)):
            patch.setattr(manager, name, note)
        patch.setattr(BaseHook, "get_connection", note)
        patch.setattr(settings.engine.dialect, "do_execute", note)
        yield calls


@pytest.mark.parametrize("map_index", [-2, 2**31, 10**30])
def test_a_map_index_that_no_column_holds_is_refused(metadata, map_index):
    params = {**PLACE, "map_index": str(map_index)}
    for path in ("/ui/api/run", "/ui/api/delivery"):
        assert metadata.client().get(path, params=params).status_code == 422


@needs_store  # without one they answer 404
@pytest.mark.parametrize("map_index", [-2, 2**31, 10**30])
def test_nobody_is_listed_or_settled_for_a_map_index_that_no_column_holds(metadata, map_index):
    client, place = metadata.client(), {**PLACE, "map_index": map_index}
    for path in ("/ui/api/people", "/ui/api/settle"):
        response = client.post(path, json={**POSTS[path], **place})
        assert (response.status_code, "map_index" in response.text) == (422, True)


@pytest.mark.parametrize("most", [1, 20_000])
def test_every_query_of_airflows_runs_has_a_limit(metadata, monkeypatch, most):
    monkeypatch.setattr(_overview, "MAX_ENTRIES", most)
    metadata.add_task(
        {
            "pindo_bulk_00001": batch(
                200, unknown={"lost": "1-2"}
            ),  # its value is longer than a summary reads
            "pindo_sms": single("sent"),
        },
        state="failed",
    )
    metadata.add_task({"pindo_sms": single("unknown")}, task_id="asks", state="awaiting_input")
    metadata.ask("asks", "Did it arrive?")
    statements = []

    def note(connection, cursor, statement, parameters, context, many):
        if statement.startswith("SELECT") and re.search(
            r"\b(task_state_store|dag_run|task_instance)\b", statement
        ):
            statements.append(statement)

    event.listen(settings.engine, "before_cursor_execute", note)
    try:
        for method, path, arguments in requests_of_every_route(metadata.app):
            metadata.client().request(method, path, **arguments)
        metadata.client().get("/ui/api/run", params={**PLACE, "map_index": -1})
    finally:
        event.remove(settings.engine, "before_cursor_execute", note)
    assert len(statements) > 10
    assert [statement for statement in statements if "LIMIT" not in statement] == []


def test_a_stranger_gets_401_before_anything_is_looked_up(metadata, looked_up):
    client, requests = metadata.client(role=None), list(requests_of_every_route(metadata.app))
    assert {path for _, path, _ in requests} > {*POSTS, "/ui/", "/ui/api/overview", "/ui/api/setup"}
    assert {client.request(method, path, **body).status_code for method, path, body in requests} == {401}
    client.cookies["_token"] = "not a token"
    refused = {client.request(method, path, **body).status_code for method, path, body in requests}
    assert refused <= {401, 403}
    assert looked_up == []


@needs_store  # without one they answer 404
@pytest.mark.parametrize("path", sorted(POSTS))
@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b'{"dag_id": "rem', 422, "Invalid JSON"),
        (b"[]", 422, "Input should be an object"),
        (b'{"number": "+250780000101", "other": 1}', 422, "Field required|not permitted"),
        (b"\xff", 400, "UTF-8"),
        (b" " * 1024 * 1024 + b"{}", 413, "1048576 bytes"),
    ],
)
def test_a_body_that_is_not_as_the_route_takes_it_is_refused_without_an_echo(
    metadata, path, content, status, words
):
    headers = {"content-type": "application/json"}
    response = metadata.client().post(path, content=content, headers=headers)
    assert response.status_code == status
    assert re.search(words, response.json()["detail"])
    assert "780000101" not in response.text


def test_a_person_sees_the_dags_that_they_may_read(metadata, monkeypatch):
    metadata.add_task({"pindo_sms": single("sent")}, dag_id="mine")
    metadata.add_task({"pindo_sms": single("sent")}, dag_id="theirs")
    manager = _pages.get_auth_manager()
    monkeypatch.setattr(manager, "get_authorized_dag_ids", lambda **_: {"mine"}, raising=False)
    client = metadata.client("viewer")
    assert [row["dag_id"] for row in client.get("/ui/api/overview").json()["dags"]] == ["mine"]
    assert client.get("/ui/api/run?dag_id=theirs&run_id=run_1").status_code == 403
    body = {"dag_id": "theirs", "run_id": "run_1", "task_id": "text"}
    assert client.post("/ui/api/people", json=body).status_code == 403
    assert client.post("/ui/api/settle", json={**body, "seen": SEEN, "everybody": True}).status_code == 403
    found = client.post("/ui/api/search", json={"number": "+250780000101"}).json()["matches"]
    assert [message["dag_id"] for message in found] == ["mine"]


def test_who_may_read_a_dag_and_not_its_task_instances_sees_nothing(metadata, monkeypatch):
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")

    def is_authorized(*, access_entity=None, **_):
        return access_entity is not DagAccessEntity.TASK_INSTANCE

    monkeypatch.setattr(_pages.get_auth_manager(), "is_authorized_dag", is_authorized)
    client = metadata.client("viewer")
    run = "dag_id=reminders&run_id=run_1"
    for path in ("overview", "overview?dag_id=", f"run?{run}", "delivery", f"delivery?{run}"):
        assert client.get(f"/ui/api/{path}").status_code == 403
    assert {client.post(path, json=body).status_code for path, body in POSTS.items()} == {403}


@pytest.mark.parametrize("path", sorted(POSTS))
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_another_site_cannot_make_a_browser_settle_or_search(metadata, path, headers, status):
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")
    client = metadata.client()
    content = b'{"number": "+250780000101"}'
    response = client.post(path, content=content, headers={"content-type": "application/json", **headers})
    assert response.status_code == status
    assert metadata.value("pindo_sms")["status"] == "unknown"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://airflow.example"},
        {"origin": "http://airflow.clinic.example:8080"},  # a proxy in front replaces the Host
        {},
    ],
)
def test_the_page_itself_and_a_script_with_a_token_may(metadata, headers, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.clinic.example:8080/team")
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")
    body = {**PLACE, "seen": SEEN, "everybody": False}
    assert metadata.client().post("/ui/api/settle", json=body, headers=headers).status_code == 200


def test_the_files_come_with_a_strict_policy(metadata):
    client = metadata.client("viewer")
    for name, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        response = client.get(f"/ui/{name}")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'self'" in policy
    assert client.get("/ui/_pages.py").status_code == 404
    for path in ("/docs", "/openapi.json", "/redoc"):
        assert client.get(path).status_code == 404


def test_the_page_makes_no_html_of_data_and_loads_nothing_from_elsewhere():
    script = (STATIC / "page.js").read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"):
        assert way not in script
    everything = "".join(file.read_text(encoding="utf-8") for file in STATIC.iterdir())
    assert set(re.findall(r"https?://[^\"' )]+", everything)) == {"http://www.w3.org/2000/svg"}
    html = (STATIC / "index.html").read_text(encoding="utf-8")
    assert "style=" not in html
    assert re.findall(r"<script(?! src=\"page.js\" defer>)", html) == []


def people(metadata, **body):
    response = metadata.client("viewer").post("/ui/api/people", json={**PLACE, **body})
    assert response.status_code == 200
    return response.json()


def test_everybody_of_a_task_is_listed_page_by_page(metadata):
    metadata.add_task({f"pindo_bulk_{number:05d}": batch(90) for number in (1, 2)})
    first = people(metadata)
    assert (len(first["people"]), first["next"]) == (100, {"start": "pindo_bulk_00002", "skip": 10})
    second = people(metadata, **first["next"])
    assert (len(second["people"]), second["next"]) == (80, None)
    assert second["people"][0] == {
        "key": "pindo_bulk_00002",
        "row": 11,
        "number": "+25078****111",
        "outcome": "accepted",
        "reason": "",
        "sms_id": "",
        "settled": None,
    }


def test_a_page_reads_a_bounded_number_of_entries(metadata, monkeypatch):
    monkeypatch.setattr(_people, "_ENTRIES_OF_A_PAGE", 2)
    metadata.add_task({f"pindo_bulk_{number:05d}": batch(2, rejected={"bad": "2"}) for number in (1, 2, 3)})
    first = people(metadata, outcome="rejected")
    assert [person["row"] for person in first["people"]] == [2, 2]
    second = people(metadata, outcome="rejected", **first["next"])
    assert ([person["key"] for person in second["people"]], second["next"]) == (["pindo_bulk_00003"], None)


def test_who_is_unknown_is_listed_first_of_all_in_a_bulk_send_of_many(metadata, monkeypatch):
    monkeypatch.setattr(_people, "_ENTRIES_OF_A_PAGE", 2)
    entries = {f"pindo_bulk_{number:05d}": batch(2) for number in range(1, 6)}
    entries["pindo_bulk_00004"] = batch(2, unknown={"lost": "2"})
    entries["pindo_bulk_00005"] = batch(2, unknown={"lost": "1"}, status="no such word")
    metadata.add_task({**entries, "pindo_sms": single("unknown")}, state="failed")
    listed = people(metadata, outcome="unknown")
    assert [(one["key"], one["row"]) for one in listed["people"]] == [
        ("pindo_bulk_00004", 2),
        ("pindo_bulk_00005", 1),
    ]
    assert [one["key"] for one in people(metadata, outcome="unknown", **listed["next"])["people"]] == [
        "pindo_sms"
    ]


def test_a_message_whose_status_is_no_known_word_is_unknown(metadata):
    metadata.add_task({"pindo_sms": single("sen")}, state="failed")
    assert [one["outcome"] for one in people(metadata, outcome="unknown")["people"]] == ["unknown"]
    assert people(metadata, outcome="accepted")["people"] == []


@pytest.mark.parametrize(("ending", "rows"), [("2", [2, 12]), ("12", [12]), ("112", [12])])
def test_one_digit_is_enough_for_the_end_of_a_number(metadata, ending, rows):
    metadata.add_task({"pindo_bulk_00001": batch(12)})
    assert [person["row"] for person in people(metadata, ending=ending)["people"]] == rows


def test_people_are_found_by_the_end_of_their_number_and_by_outcome(metadata):
    entry = batch(60, rejected={"bad": "3"}, unknown={"lost": "7"})
    metadata.add_task({"pindo_bulk_00001": entry, "pindo_sms": single("sent", to="+25078****155")})
    assert [person["row"] for person in people(metadata, ending="155")["people"]] == [55, None]
    assert [person["row"] for person in people(metadata, ending="0780000155")["people"]] == [55, None]
    assert [(one["row"], one["reason"]) for one in people(metadata, outcome="rejected")["people"]] == [
        (3, "bad")
    ]
    assert [(one["row"], one["reason"]) for one in people(metadata, outcome="unknown")["people"]] == [
        (7, "lost")
    ]
    assert metadata.client().post("/ui/api/people", json={**PLACE, "ending": "a%"}).status_code == 422


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"reason": "Pindo returned 503"}, "Pindo returned 503; it began at 2026-11-24 06:00:00 UTC"),
        ({}, "no response to the request; it began at 2026-11-24 06:00:00 UTC"),
        ({"reason": "Pindo returned 503", "began": "today"}, "Pindo returned 503"),
        ({"began": None}, "no response to the request"),
    ],
)
def test_a_single_unknown_message_says_why_and_when_it_began(metadata, entry, reason):
    entry = {"began": "2026-11-24T06:00:00+00:00", **entry}
    metadata.add_task({"pindo_sms": {**single("unknown"), **entry}})
    assert [one["reason"] for one in people(metadata)["people"]] == [reason]


def search(metadata, number, **body):
    return metadata.client("viewer").post("/ui/api/search", json={"number": number, **body})


@pytest.mark.parametrize("number", ["+250780000101", "+250 780 000 101", "tel:+250-780-000-101"])
def test_a_number_finds_what_was_sent_to_it(metadata, number):
    metadata.add_task({"pindo_sms": single("sent"), "pindo_bulk_00001": batch(3)}, display_name="Our DAG")
    metadata.add_task({"pindo_sms": single("sent", to="+25078****102")}, task_id="another")
    answer = search(metadata, number).json()
    assert answer["mask"] == "+25078****101"
    assert {one["time"] for one in answer["matches"]} == {(NOW - timedelta(minutes=30)).isoformat()}
    assert [(one["task_id"], one["row"], one["dag_name"]) for one in answer["matches"]] == [
        ("text", 1, "Our DAG"),
        ("text", None, "Our DAG"),
    ]


@pytest.mark.parametrize("part", ["101", "0101", "+25078****101", "25078"])
def test_a_part_of_a_number_is_not_searched_for(metadata, part):
    metadata.add_task({"pindo_sms": single("sent")})
    answer = metadata.client().post("/ui/api/search", json={"number": part})
    assert answer.status_code == 400
    assert "E.164" in answer.json()["detail"]


def test_a_national_number_is_of_the_country_of_the_default_connection(metadata, monkeypatch):
    metadata.add_task({"pindo_sms": single("sent", sms_id=1)})
    assert search(metadata, "0780000101").status_code == 400
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", '{"conn_type": "pindo", "extra": {"country": "RW"}}')
    answer = search(metadata, "0780000101").json()
    assert [one["sms_id"] for one in answer["matches"]] == ["7"]


def test_a_search_finds_what_was_sent_in_its_window(metadata):
    for hours in (0.5, 25, 24 * 8, 24 * 31):
        metadata.add_task({"pindo_sms": single("sent")}, run_id=f"{hours}", age=timedelta(hours=hours))
    found = {
        window: [one["run_id"] for one in search(metadata, "+250780000101", window=window).json()["matches"]]
        for window in ("1h", "24h", "7d", "30d")
    }
    assert found["1h"] == found["24h"] == ["0.5"]
    assert found["7d"] == ["0.5", "25"]
    assert found["30d"] == ["0.5", "25", "192"]


def test_a_number_is_neither_logged_nor_returned(metadata, caplog):
    caplog.set_level(logging.DEBUG)
    metadata.add_task({"pindo_sms": single("sent")})
    for number in ("+250780000101", "0780000101x"):
        assert number not in search(metadata, number).text
        assert number not in caplog.text


def test_a_search_that_is_not_complete_says_so(metadata, monkeypatch):
    monkeypatch.setattr(_people, "MAX_FOUND", 1)
    metadata.add_task({"pindo_sms": single("sent"), "pindo_bulk_00001": batch(3)})
    answer = search(metadata, "+250780000101").json()
    assert (len(answer["matches"]), answer["is_cut"]) == (1, True)


def test_an_entry_that_cannot_be_read_lists_nobody(metadata):
    metadata.add_task({"pindo_sms": single("sent", v=2), "pindo_inbound": {"to": "+25078****101"}})
    assert people(metadata)["people"] == []
    assert search(metadata, "+250780000101").json()["matches"] == []


def test_who_settled_is_listed_with_the_time(metadata):
    settled = {"by": "page", "who": "claudine", "at": "2026-11-24T10:00:00+00:00"}
    entry = batch(2, settled=[{**settled, "arrived": "2"}])
    metadata.add_task({"pindo_sms": single("sent", settled=settled), "pindo_bulk_00001": entry})
    shown = [person["settled"] for person in people(metadata)["people"]]
    assert shown == [None, *[{"by": "claudine", "at": "2026-11-24T10:00:00+00:00"}] * 2]
