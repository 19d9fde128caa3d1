"""The page's numbers: what the tiles, the chart and the tables say of the ledger's entries."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_pindo.operators.verify import PindoVerifyCheckOperator
from airflow_provider_pindo.plugins import _models, _overview
from airflow_provider_pindo.plugins._claims import claimed_ids
from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor
from tests.plugins.metadata import NOW, batch, single
from tests.versions import needs_store


def overview(metadata, window="24h"):
    response = metadata.client().get(f"/ui/api/overview?window={window}")
    assert response.status_code == 200
    return response.json()


def test_the_tiles_add_up_single_messages_and_bulk_sends(metadata):
    metadata.add_task({"pindo_sms": single("sent")}, task_id="one")
    metadata.add_task({"pindo_sms": single("not_sent")}, task_id="two")
    metadata.add_task({"pindo_verify": single("unknown")}, task_id="three", state="failed")
    metadata.add_task({"pindo_bulk_00001": batch(6, rejected={"bad": "2-3"}, not_sent="6")}, task_id="many")
    tiles = overview(metadata)["tiles"]
    assert {name: tiles[name] for name in ("messages", "accepted", "rejected", "unknown", "not_sent")} == {
        "messages": 9,
        "accepted": 4,
        "rejected": 2,
        "unknown": 1,
        "not_sent": 2,
    }
    assert tiles["cost"] == pytest.approx(0.04)


def test_a_rejection_in_an_entry_that_a_person_edited_is_listed(metadata):
    edited = single("not_sent", outcome="rejected", reason="409 Unsupported country", generation="first")
    del edited["v"]
    metadata.add_task({"pindo_sms": edited})
    data = overview(metadata)
    assert data["tiles"]["rejected"] == 1
    assert [rejection["reason"] for rejection in data["rejections"]] == ["409 Unsupported country"]


@pytest.mark.parametrize("key", ["pindo_sms", "pindo_verify"])
def test_a_single_message_that_was_rejected_or_expired_is_not_among_those_not_sent(metadata, key):
    rejected = single("not_sent", outcome="rejected", reason="409 Unsupported country")
    metadata.add_task({key: rejected}, task_id="one", state="failed")
    metadata.add_task({key: single("not_sent", outcome="expired")}, task_id="two", state="skipped")
    metadata.add_task({key: single("not_sent", outcome=["?"])}, task_id="three")
    metadata.add_task({key: single("sent", outcome="rejected")}, task_id="settled")
    data = overview(metadata)
    counts = {name: data["tiles"][name] for name in ("rejected", "expired", "not_sent", "accepted")}
    assert counts == {"rejected": 1, "expired": 1, "not_sent": 1, "accepted": 1}
    assert sum(bar["expired"] for bar in data["bars"]) == data["dags"][0]["expired"] == 1
    (rejection,) = data["rejections"]
    assert (rejection["task_id"], rejection["reason"], rejection["people"], rejection["rows"]) == (
        "one",
        "409 Unsupported country",
        1,
        "",
    )


@pytest.mark.parametrize(
    "entry",
    [
        {PindoInboundSmsSensor.memory_key: {"first_start": "2026-01-01T00:00:00+00:00"}},
        {PindoDeliverySensor.memory_key: {"failures": 1}},
        {PindoVerifyCheckOperator.ledger_key: single("sent")},
    ],
)
def test_a_task_that_waits_or_checks_a_pin_has_sent_nothing(metadata, entry):
    metadata.add_task(entry)
    task = "dag_id=reminders&run_id=run_1&task_id=text"
    for data in (overview(metadata), metadata.client().get(f"/ui/api/run?{task}").json()):
        assert (data["entries"], data["tiles"]["messages"], data["is_cut"]) == (0, 0, False)


def test_people_whose_number_was_invalid_are_rejected_too(metadata):
    header = {"v": 1, "status": "finished", "result": {"rejected": 3, "report_path": "s3://b/report.csv"}}
    metadata.add_task({"pindo_bulk": header, "pindo_bulk_00001": batch(4, rejected={"bad": "2"})})
    data = overview(metadata)
    assert data["tiles"]["rejected"] == 3
    assert data["dags"][0]["rejected"] == 3


def test_whose_message_expired_is_not_among_those_not_sent(metadata):
    header = {"v": 1, "status": "finished", "result": {"rejected": 0, "expired": 2}}
    metadata.add_task({"pindo_bulk": header, "pindo_bulk_00001": batch(5, not_sent="3-5")})
    tiles = overview(metadata)["tiles"]
    assert (tiles["messages"], tiles["accepted"], tiles["not_sent"], tiles["expired"]) == (5, 2, 1, 2)


def test_the_balance_is_the_last_that_pindo_named_and_none_before(metadata):
    metadata.add_task({"pindo_sms": single("unknown")}, task_id="one")
    assert overview(metadata)["tiles"]["balance"] is None
    old, new = single("sent"), single("sent", result={"remaining_balance": 3.25})
    metadata.add_task({"pindo_sms": old}, task_id="old", run_id="old", age=timedelta(hours=2))
    metadata.add_task({"pindo_sms": new}, task_id="new", run_id="new", age=timedelta(hours=1))
    assert overview(metadata)["tiles"]["balance"] == 3.25


@pytest.mark.parametrize("amount", ["12", True, None])
def test_an_amount_that_is_none_is_not_known(metadata, amount):
    result = {"remaining_balance": amount, "total_cost": amount}
    metadata.add_task({"pindo_sms": single("sent", result=result)})
    data = overview(metadata)
    assert (data["tiles"]["balance"], data["tiles"]["cost"], data["dags"][0]["cost"]) == (None, None, None)


@pytest.mark.parametrize(
    ("entries", "cost", "priced"),
    [
        ({}, 0, 0),
        ({"pindo_sms": single("not_sent")}, 0, 0),
        ({"pindo_sms": single("unknown")}, None, 0),
        (
            {"pindo_verify": single("sent", result={"request_id": "1"})},
            None,
            0,
        ),  # Pindo names no price of a PIN
        ({"pindo_sms": single("sent", result={})}, None, 0),  # a person has settled it
        ({"pindo_sms": single("sent"), "pindo_verify": single("sent", result={})}, 0.01, 1),
        ({"pindo_sms": single("sent", result={"total_cost": 0})}, 0, 1),
        ({"pindo_bulk_00001": batch(4)}, 0.04, 4),
        ({"pindo_bulk_00001": batch(4, cost=0)}, None, 0),
        ({"pindo_bulk_00001": batch(4, unknown={"lost": "4"}, cost=0)}, None, 0),
    ],
)
def test_a_cost_that_nobody_named_is_not_zero(metadata, entries, cost, priced):
    metadata.add_task(entries)
    tiles = overview(metadata)["tiles"]
    assert (tiles["cost"], tiles["priced"]) == (pytest.approx(cost) if cost else cost, priced)


@pytest.mark.parametrize(("window", "tasks"), [("1h", 1), ("24h", 2), ("7d", 3), ("30d", 4)])
def test_a_window_has_the_runs_that_were_due_in_it(metadata, window, tasks):
    for number, age in enumerate(({"minutes": 5}, {"hours": 5}, {"days": 5}, {"days": 25}, {"days": 40})):
        metadata.add_task({"pindo_sms": single("sent")}, run_id=f"run_{number}", age=timedelta(**age))
    data = overview(metadata, window)
    assert data["tiles"]["messages"] == tasks
    assert sum(bar["messages"] for bar in data["bars"]) == tasks
    assert len(data["bars"]) < 40


def test_a_backfill_is_in_the_window_in_which_it_started(metadata):
    backfill = {"age": timedelta(days=200), "started": timedelta(minutes=10)}
    metadata.add_task({"pindo_sms": single("unknown")}, task_id="lost", state="failed", **backfill)
    metadata.add_task({"pindo_sms": single("unknown")}, task_id="asks", state="awaiting_input", **backfill)
    metadata.ask("asks", "Did it arrive?")
    metadata.add_task(
        {"pindo_sms": single("sent")}, run_id="earlier", age=timedelta(days=200), started=timedelta(hours=2)
    )
    data = overview(metadata, "1h")
    assert ([task["task_id"] for task in data["unknown"]], len(data["questions"])) == (["lost"], 1)
    assert data["tiles"]["messages"] == sum(bar["messages"] for bar in data["bars"]) == 2
    number = {"number": "+250780000101", "window": "1h"}
    assert len(metadata.client().post("/ui/api/search", json=number).json()["matches"]) == 2


def test_without_a_task_state_store_no_message_is_claimed(metadata, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo.plugins._models.has_store", lambda: False)
    assert claimed_ids(NOW - timedelta(hours=1), {"7"}) == set()


def test_the_message_of_a_backfill_is_claimed(metadata):
    backfill = {"age": timedelta(days=200), "started": timedelta(minutes=10)}
    metadata.add_task({"pindo_sms": single("sent")}, **backfill)
    assert claimed_ids(NOW - timedelta(hours=1), {"7", "8"}) == {"7"}


def test_the_table_has_a_row_for_each_dag(metadata):
    metadata.add_task({"pindo_sms": single("sent")}, run_id="a")
    metadata.add_task({"pindo_sms": single("sent")}, run_id="b")
    metadata.add_task({"pindo_bulk_00001": batch(9)}, dag_id="campaign", display_name="Our campaign")
    rows = [
        (row["dag_id"], row["dag_name"], row["runs"], row["messages"]) for row in overview(metadata)["dags"]
    ]
    assert rows == [("campaign", "Our campaign", 1, 9), ("reminders", "reminders", 2, 2)]


def test_only_what_a_failed_task_left_unknown_needs_a_person(metadata):
    for state in ("failed", "success", "running"):
        metadata.add_task({"pindo_sms": single("unknown")}, task_id=state, state=state)
    data = overview(metadata)
    assert [(task["task_id"], task["unknown"]) for task in data["unknown"]] == [("failed", 1)]
    assert data["tiles"]["unknown"] == 3


def test_an_open_question_of_our_tasks_is_listed(metadata):
    metadata.add_task({"pindo_sms": single("unknown")}, task_id="ours", state="awaiting_input")
    metadata.add_task({"other": 1}, task_id="theirs", state="awaiting_input")
    metadata.ask("ours", "Did it arrive?")
    metadata.ask("theirs", "Approve?")
    assert [question["subject"] for question in overview(metadata)["questions"]] == ["Did it arrive?"]


def test_the_questions_of_others_leave_room_for_ours(metadata, monkeypatch):
    monkeypatch.setattr(_overview, "MAX_LISTED", 2)
    for number in range(3):
        metadata.add_task({"pindo_bulk": {"v": 1}}, task_id=f"ours_{number}", state="deferred")
        metadata.ask(f"ours_{number}", f"Ours {number}", age=timedelta(minutes=10 - number))
    for number in range(5):
        metadata.add_task({"pindo_inbound": 1}, task_id=f"theirs_{number}", state="awaiting_input")
        metadata.ask(f"theirs_{number}", "Approve?")
    assert [question["subject"] for question in overview(metadata)["questions"]] == ["Ours 2", "Ours 1"]


def test_a_question_is_listed_also_when_the_entries_are_too_many_to_read(metadata, monkeypatch):
    monkeypatch.setattr(_overview, "MAX_ENTRIES", 1)
    metadata.add_task(
        {"pindo_sms": single("unknown")},
        dag_id="campaign",
        run_id="old",
        task_id="ours",
        state="awaiting_input",
        age=timedelta(hours=2),
        display_name="Our campaign",
    )
    metadata.ask("ours", "Did it arrive?")
    metadata.add_task({"pindo_sms": single("sent")}, task_id="newer")
    (question,) = overview(metadata)["questions"]
    assert (question["subject"], question["dag_name"]) == ("Did it arrive?", "Our campaign")


def test_a_failed_task_is_listed_also_when_the_entries_are_too_many_to_read(metadata, monkeypatch):
    monkeypatch.setattr(_overview, "MAX_ENTRIES", 3)
    old = {"dag_id": "campaign", "run_id": "old", "age": timedelta(hours=2)}
    lost = {f"pindo_bulk_{number:05d}": batch(2, unknown={"lost": "2"}) for number in (1, 2)}
    entries = {**lost, "pindo_bulk_00003": batch(2), "pindo_bulk": {"v": 1, "status": "started"}}
    metadata.add_task(entries, state="failed", display_name="Our campaign", **old)
    metadata.add_task({"pindo_sms": single("unknown")}, task_id="accepted", state="success", **old)
    metadata.add_task({"pindo_sms": single("not_sent")}, task_id="refused", state="failed", **old)
    for number in range(2):
        metadata.add_task({"pindo_sms": single("sent")}, task_id=f"newer_{number}")
    data = overview(metadata)
    (task,) = data["unknown"]
    assert (data["is_cut"], data["tiles"]["messages"] < 8, data["unknown_count"]) == (True, True, 1)
    assert (task["dag_name"], task["unknown"], task["can_settle"]) == ("Our campaign", 2, True)
    assert task["time"] == (NOW - timedelta(hours=2)).isoformat()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pindo_sms", "unknown"),
        ("pindo_sms", single("sen")),
        ("pindo_sms", single("sen", result={"status": "sent"})),
        ("pindo_verify", single("unknown")),
        ("pindo_bulk_00001", batch(2, unknown={"lost": "2"}, status="arived")),
        ("pindo_bulk_00001", batch(2, unknown={"lost": "2"})),
        ("pindo_bulk_00001", dict(reversed(batch(2, unknown={"lost": "2"}).items()))),
    ],
)
def test_whatever_counts_as_unknown_is_listed_however_many_entries_there_are(
    metadata, monkeypatch, key, value
):
    metadata.add_task({key: value}, task_id="lost", state="failed", age=timedelta(hours=2))
    metadata.add_task({"pindo_sms": single("sent")}, run_id="newer")
    expected = overview(metadata)["unknown"]
    assert [(task["task_id"], task["unknown"]) for task in expected] == [("lost", 1)]
    monkeypatch.setattr(_overview, "MAX_ENTRIES", 1)
    data = overview(metadata)
    assert (data["tiles"]["unknown"], data["unknown"]) == (0, expected)


def test_a_task_shows_its_own_question_alone(metadata):
    for name in ("one", "other"):
        metadata.add_task({"pindo_sms": single("unknown")}, task_id=name, state="awaiting_input")
        metadata.ask(name, f"Did {name} arrive?")
    address = "/ui/api/run?dag_id=reminders&run_id=run_1"
    run = metadata.client().get(address).json()
    assert {question["subject"] for question in run["questions"]} == {"Did one arrive?", "Did other arrive?"}
    task = metadata.client().get(f"{address}&task_id=one&map_index=-1").json()
    assert [question["subject"] for question in task["questions"]] == ["Did one arrive?"]


def test_the_newest_rejections_come_first_with_their_reasons(metadata):
    for hours in (3, 1):
        metadata.add_task(
            {"pindo_bulk_00001": batch(rejected={f"reason {hours}": "2,4"})},
            run_id=f"run_{hours}",
            age=timedelta(hours=hours),
        )
    listed = [(each["reason"], each["rows"], each["people"]) for each in overview(metadata)["rejections"]]
    assert listed == [("reason 1", "2,4", 2), ("reason 3", "2,4", 2)]


def test_of_very_many_rejections_the_newest_are_kept(metadata):
    for hours in (1, 2, 3):
        reasons = {f"reason {hours}.{number}": "2" for number in range(1_001)}
        metadata.add_task(
            {"pindo_bulk_00001": batch(2_000, rejected=reasons)},
            run_id=f"run_{hours}",
            age=timedelta(hours=hours),
        )
    data = overview(metadata)
    assert data["tiles"]["rejected"] == 3_003
    listed = [each["reason"].partition(".")[0] for each in data["rejections"]]
    assert listed == ["reason 1"] * _overview.MAX_LISTED


def test_a_status_that_a_person_edited_counts(metadata):
    for word in ("sent", "not_sent"):
        metadata.add_task({"pindo_bulk_00001": batch(unknown={"lost": "1-2"}, status=word)}, task_id=word)
    tiles = overview(metadata)["tiles"]
    assert (tiles["accepted"], tiles["not_sent"], tiles["unknown"]) == (6, 2, 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pindo_sms", single("sent", v=2)),
        ("pindo_sms", None),
        ("pindo_sms", single("sent", result={"total_cost": float("nan")})),
        ("pindo_bulk_00001", batch(cost="free")),
        ("pindo_bulk_00001", {**batch(), "rejected": {"bad": "no row"}}),
        ("pindo_bulk_00001", [1]),
        ("pindo_sms", {"__airflow_state_ref__": "bucket/7"}),
        ("pindo_bulk_00001", {"__airflow_state_ref__": "bucket/7"}),
        ("pindo_bulk_00001", batch(v=9)),
    ],
)
def test_an_entry_that_cannot_be_read_is_counted_apart(metadata, key, value):
    metadata.add_task({key: value})
    data = overview(metadata)
    assert (data["tiles"]["messages"], data["unreadable"]) == (0, 1)


@needs_store
def test_a_value_that_is_not_json_is_counted_apart(metadata):
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    metadata.add_task({"pindo_sms": single("sent")})
    with create_session() as session:
        session.execute(update(TaskStateStoreModel).values(value="sent"))
    assert overview(metadata)["unreadable"] == 1


@pytest.mark.parametrize("people", [4, 900])
def test_a_summary_reads_a_long_entry_by_its_head_and_in_full_where_the_head_is_too_short(metadata, people):
    reasons = (
        {f"reason {number} {'x' * 60}": f"{3 * number + 1}" for number in range(50)} if people > 4 else {}
    )
    metadata.add_task(
        {"pindo_bulk_00001": batch(people, rejected=reasons), "pindo_bulk_00002": batch(people)}
    )
    data = overview(metadata)
    assert data["tiles"]["messages"] == 2 * people
    assert data["tiles"]["rejected"] == len(reasons)
    assert data["unreadable"] == 0


def test_the_result_of_a_bulk_send_is_read_without_its_list_of_rejections(metadata):
    rejections = [{"row": row, "phonenumber": "+250780000101", "reason": "x"} for row in range(100)]
    result = {"rejected": 1, "remaining_balance": 4.5, "report_path": "/r.csv", "rejections": rejections}
    metadata.add_task({"pindo_bulk": {"v": 1, "status": "finished", "result": result}})
    assert overview(metadata)["tiles"]["balance"] == 4.5


def test_what_is_no_rejection_in_a_result_is_passed_over(metadata):
    rejections = [{"row": 3, "reason": "x"}, "a word", {"row": "4", "reason": "x"}, {"row": 5, "reason": "x"}]
    header = {"v": 1, "status": "finished", "result": {"rejected": 2, "rejections": rejections}}
    metadata.add_task({"pindo_bulk": header})
    assert [(each["reason"], each["rows"]) for each in overview(metadata)["rejections"]] == [("x", "3,5")]


def test_a_summary_that_does_not_read_everything_says_so(metadata, monkeypatch):
    monkeypatch.setattr(_overview, "MAX_ENTRIES", 2)
    monkeypatch.setattr(_overview, "MAX_LISTED", 1)
    for number in range(3):
        reasons = {f"reason {row}": f"{row}" for row in range(4, 16)}
        entry = batch(15, rejected=reasons, unknown={"lost": "3"})
        metadata.add_task({"pindo_bulk_00001": entry}, task_id=f"task_{number}", state="failed")
    data = overview(metadata)
    assert (data["is_cut"], data["entries"], data["tiles"]["messages"]) == (True, 2, 30)
    assert (len(data["unknown"]), len(data["rejections"])) == (1, 1)


def test_a_run_shows_its_tasks_and_a_task_itself_alone(metadata):
    header = {"v": 1, "status": "finished", "result": {"rejected": 0, "report_path": "s3://b/report.csv"}}
    metadata.add_task({"pindo_bulk": header, "pindo_bulk_00001": batch()}, task_id="many")
    metadata.add_task({"pindo_sms": single("sent")}, task_id="each", map_index=1)
    metadata.add_task({"pindo_sms": single("sent")}, task_id="each", run_id="other", map_index=2)
    client = metadata.client()
    run = client.get("/ui/api/run?dag_id=reminders&run_id=run_1").json()
    assert [(task["task_id"], task["map_index"], task["messages"]) for task in run["tasks"]] == [
        ("each", 1, 1),
        ("many", -1, 4),
    ]
    assert run["tasks"][1]["report_path"] == "s3://b/report.csv"
    task = client.get("/ui/api/run?dag_id=reminders&run_id=run_1&task_id=each&map_index=1").json()
    assert [each["task_id"] for each in task["tasks"]] == ["each"]


def test_before_airflow_3_3_there_is_nothing_to_show(metadata, monkeypatch):
    monkeypatch.setattr(_models, "TaskStateStoreModel", None)
    metadata.add_task({})
    assert overview(metadata) == {"has_store": False}
    assert metadata.client().get("/ui/api/run?dag_id=reminders&run_id=r").json() == {"has_store": False}
    place = {"dag_id": "reminders", "run_id": "run_1", "task_id": "text"}
    for name, body in (
        ("people", place),
        ("search", {"number": "+250780000101"}),
        ("settle", {**place, "everybody": True, "seen": NOW.isoformat()}),
    ):
        response = metadata.client().post(f"/ui/api/{name}", json=body)
        assert (response.status_code, response.json()["detail"]) == (
            404,
            "Airflow keeps no record of what was sent before 3.3",
        )


def test_a_query_without_a_window_is_refused():
    from airflow_provider_pindo.plugins._models import Window

    with pytest.raises(ValueError, match="a window needs a time or a run"):
        Window({"reminders"})


def test_no_task_that_needs_a_person_is_hidden_by_those_that_do_not(metadata, monkeypatch):
    monkeypatch.setattr(_models, "_CHUNK", 2)
    for number in range(5):  # accepted as unknown
        entry = {"pindo_sms": single("unknown")}
        metadata.add_task(entry, run_id=f"new_{number}", task_id=f"ended_{number}")
    for number in range(3):
        age = timedelta(hours=2)
        entry = {"pindo_sms": single("unknown")}
        metadata.add_task(entry, run_id="old", task_id=f"z_{number}", state="failed", age=age)
    assert {task["task_id"] for task in overview(metadata)["unknown"]} == {"z_0", "z_1", "z_2"}


def test_the_tab_of_a_large_run_shows_the_task_that_needs_a_person(metadata, monkeypatch):
    monkeypatch.setattr(_overview, "MAX_LISTED", 1)  # 10 tasks are listed
    for number in range(12):
        metadata.add_task({"pindo_sms": single("sent")}, task_id="each", map_index=number)
    metadata.add_task({"pindo_sms": single("unknown")}, task_id="each", map_index=12, state="failed")
    run = metadata.client().get("/ui/api/run?dag_id=reminders&run_id=run_1").json()
    assert [task["map_index"] for task in run["unknown"]] == [12]
    assert (len(run["tasks"]), run["task_count"]) == (10, 13)
    assert {task["state"] for task in run["tasks"]} == {"success"}
