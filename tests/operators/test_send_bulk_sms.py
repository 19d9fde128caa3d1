"""PindoSendBulkSmsOperator against the sandbox, promise by promise: what the phones got is what counts."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_pindo.api.errors import PindoError, PindoInsufficientBalanceError
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from airflow_provider_pindo.sandbox.faults import ACTIONS
from demo.deployment import AIRFLOW_VERSION
from tests.operators.bulk import COLUMNS, Store, people, send, times_texted

ROOT = Path(__file__).parent.parent.parent
PERSONAL = "Muraho @contact.name, at @contact.time"


def columns_in(error):
    """Return the columns that an error's message ends in, and check that they add up."""
    found = re.search(
        r"([\d,]+) accepted, ([\d,]+) rejected, ([\d,]+) unknown, ([\d,]+) not sent, ([\d,]+) duplicates, "
        r"([\d,]+) excluded of ([\d,]+)$",
        str(error),
    )
    assert found, str(error)
    *columns, given = [int(each.replace(",", "")) for each in found.groups()]
    assert sum(columns) == given
    return dict(zip(COLUMNS, columns, strict=True))


def report(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def at(row):
    return f"{row // 60}:{row % 60:02}"


# -- what it takes


def test_the_name_is_left_to_pindo_and_goes_out_in_chunks(sandbox):
    result = send(Store(), recipients=people(250))
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(250)})
    assert sandbox.messages(to="+250780000007")[0]["text"] == "Muraho Name 7"
    assert [len(each["json"]["recipients"]) for each in sandbox.requests(call="send_bulk_sms")] == [
        100,
        100,
        50,
    ]
    assert (result["accepted"], result["requests"], result["segments"]) == (250, 3, 250)
    assert result["total_cost"] == 1.5
    assert result["remaining_balance"] == 498.5


def test_other_fields_are_filled_here_and_equal_texts_go_out_together(sandbox):
    to_be = people(20, time=lambda row: "9:00" if row > 15 else at(row))
    send(Store(), recipients=to_be, text="We expect you at @contact.time (@contact.phone)")
    assert {each["to"]: each["text"] for each in sandbox.messages()} == {
        each["phonenumber"]: f"We expect you at {each['time']} ({each['phonenumber']})" for each in to_be
    }
    sandbox.reset()
    result = send(Store(), recipients=to_be, text="We expect you at @contact.time")
    assert result["requests"] == 16
    assert [len(each["json"]["recipients"]) for each in sandbox.requests(call="send_bulk_sms")] == [5]
    assert len(sandbox.requests(call="send_sms")) == 15


def test_columns_may_have_other_names_and_numbers_may_be_bare(sandbox):
    send(
        Store(),
        recipients=[{"Tel": "0781234567", "Patient": "Aline", "Saa": "8:00"}],
        columns={"phonenumber": "Tel", "name": "Patient", "time": "Saa"},
        text=PERSONAL,
    )
    send(Store(), recipients=["+250781234568"], text="Muraho")
    assert [(each["to"], each["text"]) for each in sandbox.messages()] == [
        ("+250781234567", "Muraho Aline, at 8:00"),
        ("+250781234568", "Muraho"),
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_is_read_in_a_stream(sandbox, tmp_path, suffix):
    path = tmp_path / f"patients.{suffix}"
    rows = people(2500, time=at)
    if suffix == "csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    for recipients in (path, f"file://{path}", lambda: str(path)):
        result = send(Store(), recipients=recipients, chunk_size=1000)
        assert (result["accepted"], result["requests"]) == (2500, 3)
    assert set(times_texted(sandbox).values()) == {3}


def test_a_parquet_file_is_read(sandbox, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(people(1200)), tmp_path / "patients.parquet")
    assert send(Store(), recipients=tmp_path / "patients.parquet")["accepted"] == 1200


@pytest.mark.parametrize(
    "recipients", [iter(["+250781234567"]), (each for each in ["+250781234567"]), {}, 7, None]
)
def test_what_cannot_be_read_twice_is_refused(sandbox, recipients):
    with pytest.raises(AirflowFailException, match="cannot be read twice"):
        send(Store(), recipients=recipients)


def test_the_lists_of_a_mapped_task_are_one(sandbox):
    assert send(Store(), recipients=[people(3), [], people(5)[3:]])["accepted"] == 5


def test_a_mention_without_a_value_names_the_field_and_the_rows(sandbox):
    to_be = people(5, time=at)
    to_be[1]["time"] = " "
    del to_be[3]["time"]
    with pytest.raises(AirflowFailException, match=r"@contact\.time, and these rows have no 'time': 2, 4\."):
        send(Store(), recipients=to_be, text=PERSONAL, on_invalid="skip")
    assert sandbox.messages() == []


def test_values_that_make_a_mention_of_their_own_are_bad_rows(sandbox):
    to_be = [{**people(3)[0], "name": "@contact.phone"}, *people(3)[1:]]
    for text in ("Muraho @contact.name", "Muraho @contact.name @contact.phone"):
        with pytest.raises(AirflowFailException, match=r"row 1 \(.*mention of their own"):
            send(Store(), recipients=to_be, text=text)
    assert sandbox.messages() == []


def test_bad_rows_stop_it_before_the_first_message_and_are_all_listed(sandbox):
    to_be = [*people(3), {"phonenumber": "0799912", "name": "A"}, {"phonenumber": None, "name": "B"}]
    with pytest.raises(AirflowFailException) as failed:
        send(Store(), recipients=to_be)
    assert "2 of 5 recipients cannot be texted" in str(failed.value)
    assert "row 4 (" in str(failed.value)
    assert "row 5 (" in str(failed.value)
    assert "0799912" not in str(failed.value)
    assert sandbox.messages() == []


def test_bad_rows_can_be_skipped_and_count_as_rejected(sandbox):
    result = send(Store(), recipients=[*people(3), {"phonenumber": "07812", "name": "A"}], on_invalid="skip")
    assert (result["accepted"], result["rejected"]) == (3, 1)
    assert result["rejections"][0]["row"] == 4
    assert result["rejections"][0]["phonenumber"] == "07812"


def test_a_repeated_row_is_a_duplicate_and_another_text_is_not(sandbox):
    to_be = [*people(3, time="8:00"), *people(2, time="8:00"), *people(1, time="15:00")]
    result = send(Store(), recipients=to_be, text=PERSONAL)
    assert (result["accepted"], result["duplicates"]) == (4, 2)
    assert times_texted(sandbox) == {"+250780000001": 2, "+250780000002": 1, "+250780000003": 1}
    with pytest.raises(AirflowFailException, match=r"2 of 6 rows repeat an earlier one.*rows 4, 5"):
        send(Store(), recipients=to_be, text=PERSONAL, on_duplicate="fail")
    assert send(Store(), recipients=to_be, text=PERSONAL, on_duplicate="send")["accepted"] == 6


@pytest.mark.parametrize("form", ["list", "plain.txt", "table.csv"])
def test_the_excluded_get_nothing(sandbox, tmp_path, form):
    exclude = ["0780000002", "+250780000003"]
    if form != "list":
        lines = exclude if form == "plain.txt" else ["name,phonenumber", *(f"X,{each}" for each in exclude)]
        (tmp_path / form).write_text("\n".join(lines) + "\n")
    result = send(Store(), recipients=people(4), exclude=exclude if form == "list" else str(tmp_path / form))
    assert (result["accepted"], result["excluded"]) == (2, 2)
    assert set(times_texted(sandbox)) == {"+250780000001", "+250780000004"}


def test_an_exclusion_that_cannot_be_read_stops_it(sandbox):
    with pytest.raises(AirflowFailException, match="row 2 of exclude cannot be read"):
        send(Store(), recipients=people(4), exclude=["+250780000002", "nobody"])
    assert sandbox.messages() == []


def test_a_dry_run_counts_and_sends_nothing(sandbox):
    store = Store()
    to_be = [*people(150, time=at), *people(1, time=at)]
    result = send(store, recipients=to_be, text=PERSONAL, dry_run="True", exclude=["+250780000003"])
    assert result == {
        "accepted": 0,
        "rejected": 0,
        "unknown": 0,
        "not_sent": 149,
        "duplicates": 1,
        "excluded": 1,
        "given": 151,
        "requests": 149,
        "segments": 149,
        "estimated_cost": 0.894,
    }
    assert sandbox.requests() == []
    assert store.all() == {}


def test_a_message_of_too_many_segments_stops_it_before_the_first(sandbox):
    to_be = [*people(2), {"phonenumber": "+250780000003", "name": "”" * 80}]
    assert send(Store(), recipients=people(2), max_segments=1)["accepted"] == 2
    sandbox.reset()
    with pytest.raises(AirflowFailException, match="row 3 takes 2 segments, more than max_segments=1"):
        send(Store(), recipients=to_be, max_segments=1)
    assert sandbox.messages() == []
    assert (
        send(Store(), recipients=to_be)["segments"]
        == sum(each["item_count"] for each in sandbox.messages())
        == 4
    )


def test_it_stops_before_the_wallet_holds_less_than_it_must(sandbox):
    store, arguments = Store(), {"recipients": people(100, time=at), "text": PERSONAL, "chunk_size": 10}
    sandbox.set_balance(1.0)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, min_balance=0.7, **arguments)
    columns = columns_in(stopped.value)
    assert 0 < columns["accepted"] == len(sandbox.messages()) <= 50
    assert sandbox.state()["balance"] >= 0.7
    sandbox.set_balance(5)
    assert send(store, min_balance=0.7, **arguments)["accepted"] == 100
    assert set(times_texted(sandbox).values()) == {1}


def test_it_stops_before_it_costs_more_than_it_may(sandbox):
    store, arguments = Store(), {"recipients": people(100), "chunk_size": 10}
    with pytest.raises(AirflowFailException) as stopped:
        send(store, max_cost=0.2, **arguments)
    assert columns_in(stopped.value)["accepted"] == len(sandbox.messages()) == 30
    with pytest.raises(AirflowFailException):
        send(store, max_cost=0.2, **arguments)
    assert len(sandbox.messages()) == 30
    assert send(store, max_cost=1, **arguments)["accepted"] == 100


def test_nobody_to_text_is_no_failure(sandbox):
    assert send(Store(), recipients=[])["given"] == 0
    assert send(Store(), recipients=people(1), exclude=["+250780000001"])["excluded"] == 1
    assert sandbox.messages() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"on_invalid": "ignore"}, "on_invalid is 'ignore': give one of fail, skip"),
        ({"on_rejected": "x"}, "on_rejected is 'x'"),
        ({"chunk_size": 0}, "chunk_size is 0: give a whole number from 1 to 1,000"),
        ({"concurrency": "many"}, "concurrency is 'many'"),
        ({"recipients": "+250781234567"}, "must end in .csv"),
        ({"text": ""}, "text is empty"),
        ({"sender": "PindoTestCompany"}, "has 16 characters"),
    ],
)
def test_a_mistake_in_the_arguments_says_what_to_write(sandbox, arguments, says):
    with pytest.raises(AirflowFailException, match=re.escape(says)):
        send(Store(), **{"recipients": people(1), **arguments})
    assert sandbox.messages() == []


# -- what came of everybody


def test_a_409_is_split_until_the_bad_ones_are_alone(sandbox):
    sandbox.settings(rejected_numbers=["+250780000003", "+250780000077", "+250780000078"])
    result = send(Store(), recipients=people(120))
    assert (result["accepted"], result["rejected"]) == (117, 3)
    assert [(each["row"], each["reason"]) for each in result["rejections"]] == [
        (3, "409 unsupported telco"),
        (77, "409 unsupported telco"),
        (78, "409 unsupported telco"),
    ]
    assert len(sandbox.messages()) == len(times_texted(sandbox)) == 117


def test_a_request_that_is_too_large_is_split(sandbox):
    sandbox.settings(bulk_limit=30)
    assert send(Store(), recipients=people(100))["accepted"] == 100
    assert set(times_texted(sandbox).values()) == {1}


def test_fewer_than_asked_for_makes_the_whole_request_unknown(sandbox):
    sandbox.settings(bulk_bad_number="partial", rejected_numbers=["+250780000003"])
    with pytest.raises(AirflowFailException) as failed:
        send(Store(), recipients=people(150))
    assert "Pindo took 99 of 100 and does not say which" in str(failed.value)
    assert "pindo_bulk_00001" in str(failed.value)
    assert "+250780000001" not in str(failed.value)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (50, 0, 100, 0, 0, 0), strict=True))


def test_a_rejection_does_not_fail_the_task_unless_it_is_to_or_all_are(sandbox):
    sandbox.settings(rejected_numbers=["+250780000003"])
    arguments = {"recipients": people(5, time=at), "text": PERSONAL}
    assert send(Store(), **arguments)["rejected"] == 1
    with pytest.raises(AirflowFailException, match="409 unsupported telco") as failed:
        send(Store(), on_rejected="fail", **arguments)
    assert columns_in(failed.value)["accepted"] == 4
    with pytest.raises(AirflowFailException, match="everybody was rejected") as failed:
        send(Store(), sender="Nobody", **arguments)
    assert columns_in(failed.value)["rejected"] == 5


def test_an_empty_wallet_stops_it_and_a_top_up_goes_on(sandbox):
    store, arguments = Store(), {"recipients": people(300), "chunk_size": 50}
    sandbox.set_balance(1.0)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, **arguments)
    assert columns_in(stopped.value)["accepted"] == 150
    sandbox.set_balance(10)
    assert send(store, **arguments)["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {1}


def test_a_refused_token_stops_it_at_once(sandbox):
    sandbox.add_fault("status", call="send_sms", status=401, times=None, skip=30)
    with pytest.raises(AirflowFailException) as failed:
        send(Store(), recipients=people(500, time=at), text=PERSONAL, concurrency=5)
    columns = columns_in(failed.value)
    assert columns["accepted"] == 30
    assert columns["not_sent"] == 470
    assert len(sandbox.requests(call="send_sms")) < 50


def test_it_stops_when_pindo_seems_to_be_down(sandbox):
    sandbox.add_fault("status", call="send_sms", status=500, times=None, skip=10)
    with pytest.raises(PindoError, match="10 requests in a row") as stopped:
        send(Store(), recipients=people(500, time=at), text=PERSONAL, concurrency=4)
    columns = columns_in(stopped.value)
    assert columns["accepted"] == 10
    assert columns["unknown"] <= 14


def test_the_result_is_small_and_the_report_names_everybody(sandbox, tmp_path):
    path = tmp_path / "reports" / "tonight.csv"
    to_be = [*people(3000), {"phonenumber": "1", "name": 'Ann "A"\nB'}, people(1)[0]]
    sandbox.settings(rejected_numbers=[each["phonenumber"] for each in people(300)])
    result = send(
        Store(), recipients=to_be, exclude=["+250780000400"], on_invalid="skip", report_path=str(path)
    )
    assert len(json.dumps(result)) < 20_000
    assert [each["row"] for each in result["rejections"]] == list(range(1, 101))
    lines = report(result["report_path"])
    assert Counter(each["outcome"] for each in lines) == {
        "accepted": result["accepted"],
        "rejected": result["rejected"],
        "duplicate": 1,
        "excluded": 1,
    }
    assert sorted(int(each["row"]) for each in lines) == list(range(1, 3003))
    assert {each["phonenumber"] for each in lines if each["outcome"] == "accepted"} == set(
        times_texted(sandbox)
    )


def test_the_report_has_the_ids_of_single_sends_also_of_an_earlier_try(sandbox, tmp_path):
    store, path = Store(), tmp_path / "report.csv"
    arguments = {
        "recipients": people(100, time=at),
        "text": PERSONAL,
        "report_path": str(path),
        "chunk_size": 20,
    }
    sandbox.add_fault("status", call="send_sms", status=402, skip=50)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    assert Counter(each["outcome"] for each in report(path)).total() == 100
    path.unlink()
    send(store, **arguments)
    assert {each["phonenumber"]: each["sms_id"] for each in report(path)} == {
        each["to"]: each["sms_id"] for each in sandbox.messages()
    }
    assert len(sandbox.messages()) == 100


recipients_of_any_kind = st.lists(
    st.builds(
        lambda number, name: {"phonenumber": number, "name": name},
        st.sampled_from(
            [*(f"+2507800000{row:02}" for row in range(40)), "0780000001", "12", "", None, 7, "+33612345678"]
        ),
        st.sampled_from(["A", "Béa", "“”", "\ud800", "@contact.phone"]),
    ),
    max_size=60,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipients=recipients_of_any_kind, duplicates=st.sampled_from(["drop", "send"]), data=st.data())
def test_the_columns_add_up_to_what_was_given(sandbox, recipients, duplicates, data):
    sandbox.reset()
    sandbox.settings(rejected_numbers=["+250780000011", "+250780000012"])
    if data.draw(st.booleans()):
        sandbox.add_fault(
            data.draw(st.sampled_from(["drop_after", "drop_before", "truncate"])), call="send_bulk_sms"
        )
    try:
        columns = send(
            Store(),
            recipients=recipients,
            chunk_size=data.draw(st.integers(1, 20)),
            on_invalid="skip",
            on_unknown="accept",
            on_duplicate=duplicates,
            exclude=["+250780000005"],
        )
    except AirflowException as error:  # everybody was rejected
        columns = columns_in(error)
    assert sum(columns[each] for each in COLUMNS) == len(recipients)
    assert columns["accepted"] <= len(sandbox.messages()) <= columns["accepted"] + columns["unknown"]


def test_progress_is_logged_while_it_sends(sandbox, monkeypatch, caplog):
    monkeypatch.setattr("airflow_provider_pindo.operators.bulk_sender.PROGRESS", 0.05)
    sandbox.settings(latency=0.02, rejected_numbers=["+250780000001"])
    with caplog.at_level("INFO", logger="airflow_provider_pindo"):
        send(Store(), recipients=people(100, time=at), text=PERSONAL, chunk_size=10, concurrency=5)
    lines = [each.message for each in caplog.records if " done, " in each.message]
    assert len(lines) > 2
    assert re.fullmatch(r"\d+ of 100 done, 1 rejected, \d+/s, \d+ s left", lines[-1])


# -- never twice


@pytest.mark.parametrize("personal", [False, True])
def test_a_cleared_task_returns_its_first_result_and_texts_nobody(sandbox, personal):
    store, arguments = (
        Store(),
        {"recipients": people(30, time=at), "text": PERSONAL if personal else "Muraho"},
    )
    first = send(store, **arguments)
    assert send(store, go=1, **arguments) == first
    assert len(sandbox.messages()) == 30
    assert send(store, go=2, resend="True", **arguments)["accepted"] == 30
    assert send(store, go=2, resend="True", **arguments)["accepted"] == 30
    assert set(times_texted(sandbox).values()) == {2}


def test_another_input_is_refused_once_somebody_was_texted(sandbox):
    store = Store()
    send(store, recipients=people(30))
    for arguments in (
        {"recipients": people(31)},
        {"recipients": people(30), "text": "Other @contact.name"},
        {"recipients": people(30), "sender": "Other"},
        {"recipients": people(30), "exclude": ["+250780000001"]},
    ):
        with pytest.raises(AirflowFailException, match="have changed since"):
            send(store, go=1, **arguments)
    assert set(times_texted(sandbox).values()) == {1}


def test_another_input_is_taken_as_long_as_nobody_was_texted(sandbox):
    store = Store()
    sandbox.add_fault("status", call="send_bulk_sms", status=401, times=None)
    with pytest.raises(AirflowFailException):
        send(store, recipients=people(300))
    sandbox.clear_faults()
    assert send(store, go=1, recipients=people(200), text="Mended @contact.name")["accepted"] == 200
    assert set(times_texted(sandbox).values()) == {1}


def test_a_file_that_changes_while_it_is_read_is_noticed(sandbox, tmp_path, monkeypatch):
    path = tmp_path / "patients.csv"
    path.write_text("phonenumber,name\n" + "".join(f"{each['phonenumber']},A\n" for each in people(2000)))
    begin = "airflow_provider_pindo.operators.chunk_ledger.ChunkLedger.begin"
    from airflow_provider_pindo.operators.chunk_ledger import ChunkLedger

    def change_and_begin(self, begin=ChunkLedger.begin, **arguments):
        path.write_text(path.read_text().replace("+250780001500", "+250790000000"))
        return begin(self, **arguments)

    monkeypatch.setattr(begin, change_and_begin)
    with pytest.raises(AirflowFailException, match="the recipients changed while they were read") as failed:
        send(Store(), recipients=str(path))
    assert columns_in(failed.value)["accepted"] == len(sandbox.messages()) == 1000
    assert sandbox.messages(to="+250790000000") == []


def test_a_lost_answer_leaves_its_chunk_unknown_and_sends_the_rest(sandbox):
    store, arguments = Store(), {"recipients": people(500), "concurrency": 1}
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=2)
    with pytest.raises(AirflowFailException, match="pindo_bulk_00003") as failed:
        send(store, **arguments)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (400, 0, 100, 0, 0, 0), strict=True))
    with pytest.raises(AirflowFailException, match="pindo_bulk_00003"):
        send(store, **arguments)
    assert len(sandbox.messages()) == 500


@pytest.mark.parametrize(("word", "fault"), [("sent", "drop_after"), ("not_sent", "drop_before")])
@pytest.mark.parametrize("bare", [False, True])
def test_a_person_settles_an_unknown_chunk(sandbox, word, fault, bare):
    store, arguments = Store(), {"recipients": people(300), "concurrency": 1}
    sandbox.add_fault(fault, call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **arguments)
    if bare:
        store.set("pindo_bulk_00002", word)
    else:
        store.settle(word)
    assert send(store, go=1, **arguments)["accepted"] == 300
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(300)})


def test_unknown_recipients_can_be_sent_to_again_at_the_next_try(sandbox):
    store, arguments = Store(), {"recipients": people(30, time=at), "text": PERSONAL, "on_unknown": "resend"}
    sandbox.add_fault("drop_after", to="+250780000007")
    with pytest.raises(AirflowException, match="the next try sends to them again") as failed:
        send(store, **arguments)
    assert not isinstance(failed.value, AirflowFailException)
    assert send(store, **arguments)["accepted"] == 30
    assert times_texted(sandbox)["+250780000007"] == 2
    assert len(sandbox.messages()) == 31


def test_nothing_is_sent_when_the_ledger_cannot_be_written(sandbox):
    class Gone(Store):
        def set(self, key, value, *, retention=None):
            if self.writes == 2:
                raise ConnectionError("404 task instance not found")
            super().set(key, value, retention=retention)

    store = Gone()
    with pytest.raises(AirflowException) as failed:
        send(store, recipients=people(300), chunk_size=100)
    assert columns_in(failed.value)["accepted"] == len(sandbox.messages()) <= 100


def test_without_a_ledger_it_still_sends_each_once(sandbox):
    assert send(None, recipients=people(250))["accepted"] == 250
    assert set(times_texted(sandbox).values()) == {1}


def start_task(store, **arguments):
    """Start the operator in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.operators.bulk"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        text=True,
    )
    process.stdin.write(json.dumps({"store": str(store), **arguments}))
    process.stdin.close()
    return process


@pytest.mark.parametrize("seed", range(10))
def test_kill_9_at_any_moment_texts_nobody_twice_and_forgets_nobody(sandbox, tmp_path, seed):
    chance = random.Random(seed)
    arguments = {
        "recipients": people(2000, time=at),
        "text": PERSONAL if seed % 3 else "Muraho @contact.name",
    }
    moment = chance.randrange(1, 2000)
    sandbox.settings(latency=0.002)
    task = start_task(tmp_path / "store", **arguments)
    while sandbox.state()["messages"] < moment:
        assert task.poll() is None, task.stderr.read()
    task.kill()
    task.wait()
    task.stderr.close()
    path = tmp_path / "report.csv"
    result = send(Store(tmp_path / "store"), **arguments, on_unknown="accept", report_path=str(path))
    texted = times_texted(sandbox)
    assert set(texted.values()) == {1}
    unknown = {each["phonenumber"] for each in report(path) if each["outcome"] == "unknown"}
    assert {each["phonenumber"] for each in arguments["recipients"]} - set(texted) <= unknown
    assert len(unknown) == result["unknown"] <= 200
    assert result["accepted"] + result["unknown"] == 2000


def test_every_fault_at_random_and_the_columns_still_tell_the_truth(sandbox, tmp_path, monkeypatch):
    connection = json.loads(sandbox.connection_json())
    connection["extra"]["timeout"] = 0.5
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    monkeypatch.setattr("airflow_provider_pindo.operators.bulk_sender.UNKNOWN_IN_A_ROW", 50)
    details = {
        "latency": {"seconds": 0.05},
        "slow_answer": {"seconds": 1.0},
        "status": {"status": 409},
        "status_after": {"status": 502},
        "rate_limit": {"retry_after": 0},
        "redirect": {"location": "/elsewhere", "probability": 0.0005},
    }
    for action in ACTIONS:
        sandbox.add_fault(
            action, call="send_sms", **{"times": None, "probability": 0.004, **details.get(action, {})}
        )
    sandbox.add_fault("status", call="send_sms", status=401, times=2, skip=1500)
    store, path = Store(), tmp_path / "report.csv"
    arguments = {"recipients": people(5000, time=at), "text": PERSONAL, "report_path": str(path)}
    for _ in range(30):
        try:
            result = send(store, on_unknown="accept", **arguments)
            break
        except (AirflowException, PindoError) as error:
            columns_in(error)
    outcomes = {each["phonenumber"]: each["outcome"] for each in report(path)}
    texted = times_texted(sandbox)
    assert len(outcomes) == 5000
    assert set(texted.values()) == {1}
    assert {number for number, outcome in outcomes.items() if outcome == "accepted"} <= set(texted)
    assert not {number for number, outcome in outcomes.items() if outcome == "rejected"} & set(texted)
    counts = Counter(outcomes.values())
    assert (counts["accepted"], counts["rejected"], counts["unknown"]) == (
        result["accepted"],
        result["rejected"],
        result["unknown"],
    )
    assert counts["unknown"] > 20
    assert counts["rejected"] > 5


def test_a_task_that_is_to_end_starts_nothing_new_and_knows_what_is_unknown(sandbox, tmp_path):
    import signal
    import threading
    import time

    sandbox.add_fault("slow_answer", call="send_sms", seconds=30, to="+250780000060")
    store, arguments = Store(), {"recipients": people(400, time=at), "text": PERSONAL}
    sandbox.settings(latency=0.05)
    operator = PindoSendBulkSmsOperator(task_id="text_all", **arguments)

    def end_it():
        while len(sandbox.messages()) < 70:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())  # as Airflow's task runner does
    ending = threading.Thread(target=end_it)
    ending.start()
    from tests.operators.bulk import context

    started = time.monotonic()
    try:
        with pytest.raises(PindoError, match="asked to end") as ended:
            operator.execute.__wrapped__(operator, context(store))
    finally:
        signal.signal(signal.SIGTERM, before)
        ending.join()
    assert time.monotonic() - started < 20
    columns = columns_in(ended.value)
    assert columns["unknown"] == 1
    assert columns["accepted"] + 1 == len(sandbox.messages()) < 200
    result = send(store, **arguments, on_unknown="accept")
    assert (result["accepted"], result["unknown"]) == (399, 1)
    assert set(times_texted(sandbox).values()) == {1}


DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import people

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    @task
    def part(number):
        return [{**each, "time": "8:00"} for each in people(30)[number * 10 : number * 10 + 10]]

    PindoSendBulkSmsOperator(
        task_id="text_all", recipients=part.expand(number=[0, 1, 2]), retries=2, retry_delay=timedelta(0), **ARGUMENTS
    )
"""


def test_the_xcom_of_a_mapped_task_is_texted_by_a_dag(run_dag, sandbox):
    run = run_dag(DAG.replace("ARGUMENTS", repr({"text": PERSONAL})))
    assert run.state == "success"
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(30)})


@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="the task state store came with Airflow 3.3")
def test_execution_timeout_ends_it_and_the_retry_sends_the_rest(run_dag, sandbox):
    sandbox.add_fault("slow_answer", call="send_bulk_sms", seconds=30, skip=1)
    source = DAG.replace(
        "ARGUMENTS", repr({"text": "Muraho", "chunk_size": 10, "on_unknown": "accept"})
    ).replace("retries=2", "retries=2, execution_timeout=timedelta(seconds=4)")
    run = run_dag(source)
    assert run.state == "success"
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == 30
