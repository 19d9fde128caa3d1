"""PindoSendBulkSmsOperator against the sandbox, promise by promise: what the phones got is what counts."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoError,
    PindoInsufficientBalanceError,
    PindoStoppedError,
)
from airflow_provider_pindo.api.values import BulkReceipt
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook
from airflow_provider_pindo.operators.bulk import operator as bulk
from airflow_provider_pindo.operators.bulk.ledger import IN_FLIGHT, ChunkLedger
from airflow_provider_pindo.operators.bulk.report import Report
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from airflow_provider_pindo.sandbox.faults import ACTIONS
from demo.deployment import AIRFLOW_VERSION
from tests.operators.bulk import COLUMNS, Store, context, people, send, times_texted

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
    sizes = [len(each["json"]["recipients"]) for each in sandbox.requests(call="send_bulk_sms")]
    assert sorted(sizes) == [50, 100, 100]
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
    ("name", "content", "says"),
    [
        (
            "a.csv",
            "tel,name\n+250781234567,A\n",
            "a.csv has no column 'phonenumber'; it has 'tel', 'name'. Name the right one: columns={'phonenumber': …}",
        ),
        ("a.csv", "", "a.csv is empty: see that what writes it has written it"),
        ("a.csv", "\nphonenumber,name\n", "the first line of a.csv is blank: take it out"),
        ("a.csv", ",\nphonenumber,name\n", "the first line of a.csv is blank: take it out"),
        (
            "a.csv",
            "phonenumber;name\n+250781234567;A\n",
            "it has 'phonenumber;name', which are separated by semicolons: save it with commas (",
        ),
        ("a.csv", "phonenumber\tname\n", "which are separated by tabs: save it with commas ("),
        (
            "a.jsonl",
            '{"tel": "+250781234567"}\n{"tel": "+250781234568"}',
            "a.jsonl has no field 'phonenumber' in any of its first 2 rows; row 1 has 'tel'. Name the right one: "
            "columns={'phonenumber': …}",
        ),
        ("a.jsonl", "{}", "a.jsonl has no field 'phonenumber' in its first row; row 1 has nothing. Name"),
        ("a.jsonl", '{"phonenumber": "+250781234567"}\n{', "a.jsonl: row 2 is not a JSON object"),
        ("a.jsonl", "[1]", "a.jsonl: row 1 is not a JSON object"),
        (
            "a.csv",
            "phonenumber,name\n+250781234567,A\n+250781234568,Doe, John\n",
            "a.csv: row 2 has 3 fields, and the header 2, so nobody can know which is which: put a field with a comma",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_where(sandbox, tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(AirflowFailException, match=re.escape(says)):
        send(Store(), recipients=tmp_path / name, text="Muraho")
    assert sandbox.messages() == []


@pytest.mark.parametrize("field", ["phonenumber", "time"])
def test_a_file_without_a_header_line_says_so_and_names_nobody(sandbox, tmp_path, field):
    path = tmp_path / "a.csv"
    path.write_text("Aline Uwase,+250781234567\nDoe,+250781234568\n")
    with pytest.raises(
        AirflowFailException, match=r"a\.csv has no column 'phonenumber'; it seems to have no header"
    ) as no:
        send(Store(), recipients=path, text=f"Come at @contact.{field}")
    assert "Aline" not in str(no.value)
    assert "4567" not in str(no.value)
    assert sandbox.messages() == []


@pytest.mark.parametrize("argument", ["recipients", "exclude"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_file_in_another_encoding_says_what_to_do_and_is_not_retried(sandbox, tmp_path, name, argument):
    path = tmp_path / name
    content = {
        "a.csv": "phonenumber,name\n0781234567,René\n",
        "a.jsonl": '{"phonenumber": "0781", "name": "René"}',
    }
    path.write_bytes(content.get(name, "+250781234567\nRené\n").encode("cp1252"))
    says = (
        "must end in"
        if (name, argument) == ("a.txt", "recipients")
        else f"{name} is not encoded in UTF-8: save it"
    )
    with pytest.raises(AirflowFailException, match=says):
        send(Store(), **{"recipients": people(1), argument: str(path)})
    assert sandbox.messages() == []


def test_a_quote_that_is_not_closed_says_what_to_look_for_and_is_not_retried(sandbox, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('phonenumber,name\n+250781234567,"A\n' + "+250781234568,B\n" * 10_000)
    with pytest.raises(
        AirflowFailException, match=r"a\.csv cannot be read as CSV .*double quote that is not closed"
    ):
        send(Store(), recipients=path)
    assert sandbox.messages() == []


def test_a_row_that_is_too_short_is_read_as_far_as_it_goes_and_a_blank_line_is_none(sandbox, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("phonenumber,name\n+250781234567\n\n+250781234568,B\n")
    assert send(Store(), recipients=path, text="Muraho")["accepted"] == 2


def test_a_list_without_the_number_says_so_once_and_shows_no_number(sandbox, caplog):
    rows = [{"Tel": each["phonenumber"], "+250781234567": 1} for each in people(3)]
    says = (
        "has no field 'phonenumber' in any of its first 3 rows; row 1 has 'Tel', '+25078****567'. "
        "Name the right one: columns={'phonenumber': …}"
    )
    with pytest.raises(AirflowFailException, match=re.escape(f"recipients {says}")):
        send(Store(), recipients=rows, text="Muraho")
    assert "of type NoneType" not in caplog.text
    with pytest.raises(
        AirflowFailException, match=r"exclude has no field .* Give the right one of exclude the name"
    ):
        send(Store(), recipients=people(1), exclude=rows)
    assert send(Store(), recipients=rows, columns={"phonenumber": "Tel"}, text="Muraho")["accepted"] == 3


def test_a_long_list_of_bare_numbers_is_read_to_its_end(sandbox):
    numbers = [each["phonenumber"] for each in people(1001)]
    assert send(Store(), recipients=numbers, text="Muraho", dry_run=True)["not_sent"] == 1001


def test_some_rows_without_the_number_are_bad_rows(sandbox):
    result = send(Store(), recipients=[{"name": "A"}, *people(2)], text="Muraho", on_invalid="skip")
    assert (result["accepted"], result["rejected"]) == (2, 1)


@pytest.mark.parametrize("argument", ["recipients", "exclude"])
def test_a_broken_parquet_file_is_named_and_not_retried(sandbox, tmp_path, argument):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(
        AirflowFailException, match=r"a\.parquet cannot be read as Parquet \(.*\): write it anew"
    ):
        send(Store(), **{"recipients": people(1), argument: tmp_path / "a.parquet"})
    assert sandbox.messages() == []


def test_a_parquet_file_without_the_number_says_what_it_has(sandbox, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist([{"tel": "+250780000001"}]), tmp_path / "a.parquet")
    with pytest.raises(
        AirflowFailException, match=r"it has 'tel'\. Give the right one of exclude the name 'phone"
    ):
        send(Store(), recipients=people(1), exclude=tmp_path / "a.parquet")


@pytest.mark.parametrize("columns", [["phone"], "phone", [], {"phone"}])
def test_columns_that_are_no_mapping_say_what_to_write(sandbox, columns):
    with pytest.raises(
        AirflowFailException, match=r"columns is .*: give a mapping from a field to its name"
    ) as no:
        send(Store(), recipients=people(1), columns=columns)
    assert repr(columns) in str(no.value)
    with pytest.raises(AirflowFailException, match=r"columns is \['\+25078\*\*\*\*567'\]"):
        send(Store(), recipients=people(1), columns=["+250781234567"])


@pytest.mark.parametrize("argument", ["recipients", "exclude"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_that_is_not_there_is_named_without_numbers(sandbox, tmp_path, argument, suffix):
    path = f"{tmp_path}/+250781234567.{suffix}"
    with pytest.raises(
        FileNotFoundError, match=rf"there is no file .*\+25078\*\*\*\*567.*, which {argument} names: put"
    ) as missing:
        send(Store(), **{"recipients": people(1), argument: path})
    assert "250781234567" not in str(missing.value)
    assert sandbox.messages() == []


def test_a_parquet_file_without_its_reader_says_what_to_install(sandbox, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(AirflowFailException, match=r"install airflow-provider-pindo\[parquet\]"):
        send(Store(), recipients=tmp_path / "a.parquet")


def test_a_callable_is_shown_by_its_name_and_not_by_its_address():
    operator = PindoSendBulkSmsOperator(task_id="text_all", recipients=people, text="Muraho")
    assert repr(operator.recipients) == "<callable tests.operators.bulk.people>"


@pytest.mark.parametrize(
    "recipients", [iter(["+250781234567"]), (each for each in ["+250781234567"]), {}, 7, None]
)
def test_what_cannot_be_read_twice_is_refused(sandbox, recipients):
    with pytest.raises(AirflowFailException, match="cannot be read twice"):
        send(Store(), recipients=recipients)


def test_the_lists_of_a_mapped_task_are_one(sandbox):
    assert send(Store(), recipients=[people(3), [], people(5)[3:]])["accepted"] == 5


class MappedXCom(Sequence):
    """As what Airflow gives for the XCom of a mapped task: a sequence, and no list."""

    def __init__(self, returned):
        self._returned = returned

    def __getitem__(self, index):
        return self._returned[index]

    def __len__(self):
        return len(self._returned)


@pytest.mark.parametrize(
    "returned",
    [
        [people(3), [], people(5)[3:]],
        [[each["phonenumber"] for each in people(3)], [], ["+250780000004", "+250780000005"]],
        people(5),
        [each["phonenumber"] for each in people(5)],
    ],
)
def test_what_each_of_a_mapped_task_returned_is_one_list(sandbox, returned):
    assert send(Store(), recipients=MappedXCom(returned), text="Muraho")["accepted"] == 5


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("argument", ["recipients", "exclude"])
def test_the_rows_of_a_database_are_refused_since_any_of_their_values_may_be_the_number(
    sandbox, kind, mapped, argument
):
    rows = [kind(("+250781234567", "+250781234568", "Aline")), kind(("+250781234569", None, "Doe"))]
    given = MappedXCom([rows]) if mapped else rows
    with pytest.raises(AirflowFailException, match=f"row 1 is a {kind.__name__} of 3 values") as refused:
        send(Store(), **{"recipients": people(1), argument: given})
    assert "4567" not in str(refused.value)
    assert sandbox.messages() == []


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


@pytest.mark.parametrize("on_disk", [False, True])
def test_half_characters_are_bad_rows_that_the_result_and_the_report_can_hold(sandbox, tmp_path, on_disk):
    bad = [
        {"phonenumber": "+250780000009", "name": "half \ud83d"},
        {"phonenumber": "07812\ud83d", "name": "A"},
    ]
    path = tmp_path / "report.csv"
    result = send(
        Store(),
        recipients=[*people(3), *bad],
        on_invalid="skip",
        **({"report_path": str(path)} if on_disk else {}),
    )
    assert (result["accepted"], result["rejected"]) == (3, 2)
    assert [each["name"] for each in result["rejections"]] == ["half \ufffd", "A"]
    assert result["rejections"][1]["phonenumber"] == "07812\ufffd"
    if on_disk:
        rows = {each["row"]: (each["phonenumber"], each["name"], each["outcome"]) for each in report(path)}
        assert rows["4"] == ("+250780000009", "half ?", "rejected")
        assert rows["5"] == ("07812?", "A", "rejected")
        assert len(rows) == 5


def test_a_repeated_row_is_a_duplicate_and_another_text_is_not(sandbox):
    to_be = [*people(3, time="8:00"), *people(2, time="8:00"), *people(1, time="15:00")]
    result = send(Store(), recipients=to_be, text=PERSONAL)
    assert (result["accepted"], result["duplicates"]) == (4, 2)
    assert times_texted(sandbox) == {"+250780000001": 2, "+250780000002": 1, "+250780000003": 1}
    with pytest.raises(AirflowFailException, match=r"2 of 6 rows repeat an earlier one.*rows 4, 5"):
        send(Store(), recipients=to_be, text=PERSONAL, on_duplicate="fail")
    assert send(Store(), recipients=to_be, text=PERSONAL, on_duplicate="send")["accepted"] == 6


@pytest.mark.parametrize("form", ["list", "set", "plain.txt", "table.csv"])
def test_the_excluded_get_nothing(sandbox, tmp_path, form):
    exclude = ["0780000002", "+250780000003"]
    if "." in form:
        lines = exclude if form == "plain.txt" else ["name,phonenumber", *(f"X,{each}" for each in exclude)]
        (tmp_path / form).write_text("\n".join(lines) + "\n")
    given = {"list": exclude, "set": set(exclude)}.get(form, str(tmp_path / form))
    result = send(Store(), recipients=people(4), exclude=given)
    assert (result["accepted"], result["excluded"]) == (2, 2)
    assert set(times_texted(sandbox)) == {"+250780000001", "+250780000004"}


def test_an_exclusion_that_cannot_be_read_stops_it(sandbox):
    with pytest.raises(AirflowFailException, match="row 2 of exclude cannot be read"):
        send(Store(), recipients=people(4), exclude=["+250780000002", "nobody"])
    assert sandbox.messages() == []


@pytest.mark.parametrize(
    "exclude", [7, b"+250780000002", {"phonenumber": "+250780000002"}, iter(["+250780000002"])]
)
def test_an_exclusion_of_a_wrong_type_is_named_as_what_it_is(sandbox, exclude):
    says = f"exclude is of type {type(exclude).__name__}, .*: (give a list, the path|make a list of it)"
    with pytest.raises(AirflowFailException, match=says):
        send(Store(), recipients=people(4), exclude=exclude)
    assert sandbox.messages() == []


def test_a_set_of_all_sorts_is_read_and_what_is_no_number_in_it_named(sandbox):
    with pytest.raises(AirflowFailException, match=r"row 2 of exclude cannot be read, .* is of type int"):
        send(Store(), recipients=people(4), exclude={"+250780000002", 7})


@pytest.mark.parametrize(
    "numbers", ["+250780000002", "a,b", "0780000002\n0780000003", ",".join(["+250780000002"] * 400)]
)
def test_numbers_in_place_of_a_path_say_what_to_give_and_are_not_retried(sandbox, numbers):
    with pytest.raises(
        AirflowFailException, match=r"exclude is '.* no file of this name: give the numbers as a list"
    ) as no:
        send(Store(), recipients=people(4), exclude=numbers)
    assert "250780000002" not in str(no.value)
    assert len(str(no.value)) < 300
    assert sandbox.messages() == []


def test_a_disk_that_fails_is_no_missing_file(sandbox, tmp_path):
    with pytest.raises(OSError, match="Is a directory"):
        send(Store(), recipients=people(1), exclude=f"{tmp_path}")


@pytest.mark.parametrize(
    ("content", "excluded"), [("", 0), ("0780000002\n", 1), ("phonenumber\n0780000002", 1)]
)
def test_a_csv_of_numbers_alone_may_have_no_header_and_no_numbers(sandbox, tmp_path, content, excluded):
    (tmp_path / "a.csv").write_text(content)
    assert send(Store(), recipients=people(4), exclude=tmp_path / "a.csv")["excluded"] == excluded


def test_exclusions_with_semicolons_say_so(sandbox, tmp_path):
    (tmp_path / "a.csv").write_text("phonenumber;name\n+250780000002;A\n")
    with pytest.raises(AirflowFailException, match="separated by semicolons: save it with commas"):
        send(Store(), recipients=people(4), exclude=tmp_path / "a.csv")


@pytest.mark.parametrize("text", ["['+250780000002', '+250780000003']", " []", "('+250780000002',)"])
def test_a_list_that_a_template_made_text_of_is_no_exclusion(sandbox, text):
    with pytest.raises(AirflowFailException, match="render_template_as_native_obj") as refused:
        send(Store(), recipients=people(4), exclude=text)
    assert "250780000002" not in str(refused.value)
    assert sandbox.messages() == []


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_exclusion_that_a_template_made_nothing_of_stops_it(sandbox, text):
    for exclude in (text, lambda: text):
        with pytest.raises(AirflowFailException, match="exclude is empty text, and nothing was sent"):
            send(Store(), recipients=people(4), exclude=exclude)
    assert sandbox.messages() == []


@pytest.mark.parametrize("exclude", [None, [], (), set(), lambda: []])
def test_an_empty_list_excludes_nobody(sandbox, exclude):
    assert send(Store(), recipients=people(4), exclude=exclude)["accepted"] == 4


def test_a_bad_row_makes_no_later_one_a_duplicate(sandbox):
    to_be = [{"phonenumber": "+250780000009", "name": "half \ud83d"}, *people(9)]
    result = send(Store(), recipients=to_be, text="Muraho", on_invalid="skip")
    assert (result["accepted"], result["rejected"], result["duplicates"]) == (9, 1, 0)
    assert times_texted(sandbox)["+250780000009"] == 1


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


def test_it_stops_when_it_costs_more_than_was_thought(sandbox):
    sandbox.settings(item_price=0.05)
    with pytest.raises(AirflowFailException, match=r"0\.500 USD were spent") as stopped:
        send(Store(), recipients=people(1000), chunk_size=10, max_cost=0.2, concurrency=1)
    assert columns_in(stopped.value)["accepted"] == len(sandbox.messages()) <= 20


def test_what_pindo_gives_no_price_for_costs_what_was_thought(sandbox):
    """Pindo's bulk answer may have no ``item_price``; both the stop and the entries of the ledger count it."""
    sandbox.add_fault("status_after", call="send_bulk_sms", status=201, body={"count": 5}, times=None)
    store, arguments = (
        Store(),
        {"recipients": people(100), "chunk_size": 5, "max_cost": 0.2, "item_price": 0.01},
    )
    for _ in range(2):
        with pytest.raises(AirflowFailException, match=r"max_cost=0\.20") as stopped:
            send(store, concurrency=1, **arguments)
        assert columns_in(stopped.value)["accepted"] == len(sandbox.messages()) == 20
    result = send(store, **{**arguments, "max_cost": None})
    assert (result["accepted"], result["total_cost"]) == (100, 1.0)


def test_money_is_reserved_and_released_at_one_price(sandbox):
    class Slow(Store):
        def set(self, key, value, *, retention=None):
            time.sleep(0.03)  # so that the first receipts come while the second chunk is written down
            super().set(key, value, retention=retention)

    sandbox.settings(item_price=0.006)
    arguments = {"recipients": people(400, time=at), "text": PERSONAL, "chunk_size": 50}
    assert send(Slow(), max_cost=2.6, item_price=0.02, **arguments)["accepted"] == 400


def test_what_pindo_takes_none_of_is_no_longer_reserved(sandbox):
    sandbox.set_balance(100)
    sandbox.settings(item_price=0.01)
    sandbox.add_fault("status", call="send_bulk_sms", status=201, body={"count": 0}, times=3)
    arguments = {"recipients": people(100), "chunk_size": 10, "concurrency": 1, "item_price": 0.01}
    result = send(Store(), max_cost=0.75, **arguments)
    assert (result["accepted"], result["rejected"], result["total_cost"]) == (70, 30, 0.7)


@pytest.mark.parametrize(("word", "phones"), [(None, 50), ("sent", 50), ("not_sent", 100)])
def test_what_may_have_been_sent_counts_as_spent_in_the_next_try_too(sandbox, word, phones):
    store = Store()
    arguments = {"recipients": people(100), "chunk_size": 50, "max_cost": 0.6, "item_price": 0.01}
    sandbox.settings(item_price=0.01)
    sandbox.add_fault("drop_before" if word == "not_sent" else "drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException) as failed:
        send(store, concurrency=1, **arguments)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (0, 0, 50, 50, 0, 0), strict=True))
    assert store.get("pindo_bulk_00001")["unknown_cost"] == 0.5
    if word:
        store.settle(word)
    with pytest.raises(AirflowFailException, match=r"max_cost=0\.60"):
        send(store, go=1, concurrency=1, **arguments)
    assert len(sandbox.messages()) == 50
    if word == "sent":
        assert send(store, go=2, **{**arguments, "max_cost": 2})["total_cost"] == 1.0


def test_a_try_that_was_cut_off_counts_as_spent_what_was_on_its_way(sandbox):
    """The entry that is written before a chunk is sent is all that a killed try leaves."""

    class Killed(Store):
        def set(self, key, value, *, retention=None):
            if key not in ("pindo_bulk", *self.all()):
                super().set(key, value, retention=retention)
            elif key == "pindo_bulk":
                super().set(key, {**value, "status": "started"}, retention=retention)

    store = Killed()
    sandbox.settings(item_price=0.01)
    arguments = {"recipients": people(100), "chunk_size": 50, "item_price": 0.01}
    send(store, **arguments)
    assert [store.get(f"pindo_bulk_0000{chunk}")["unknown_cost"] for chunk in (1, 2)] == [0.5, 0.5]
    with pytest.raises(AirflowFailException, match="nobody can know"):
        send(store, max_cost=0.6, **arguments)
    assert len(sandbox.messages()) == 100


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
        ({"chunk_size": None}, "chunk_size is None: give a whole number from 1 to 1,000"),
        ({"chunk_size": True}, "chunk_size is True"),
        ({"concurrency": None}, "concurrency is None: give a whole number from 1 to 1,000"),
        ({"concurrency": "many"}, "concurrency is 'many'"),
        ({"max_segments": 0}, "max_segments is 0"),
        ({"min_balance": "5"}, "min_balance is '5': give a number of USD"),
        ({"max_cost": float("nan")}, "max_cost is nan: give a number of USD"),
        ({"max_cost": True}, "max_cost is True: give a number of USD"),
        ({"item_price": None}, "item_price is None: give a number of USD"),
        ({"item_price": -1}, "item_price is -1: give a number of USD"),
    ],
)
def test_what_is_no_template_is_refused_when_the_dag_is_parsed(arguments, says):
    with pytest.raises(PindoConfigurationError, match=re.escape(says)):
        PindoSendBulkSmsOperator(task_id="text_all", recipients=people(1), text="Muraho", **arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"on_unknown": "x"}, "on_unknown is 'x': give one of fail, resend, accept"),
        ({"recipients": "+250781234567"}, "must end in .csv"),
        ({"text": ""}, "text is empty"),
        ({"sender": "PindoTestCompany"}, "has 16 characters"),
    ],
)
def test_a_mistake_in_the_arguments_says_what_to_write(sandbox, arguments, says):
    store = Store()
    with pytest.raises(AirflowFailException, match=re.escape(says)):
        send(store, **{"recipients": people(1), **arguments})
    assert sandbox.messages() == []
    assert store.all() == {}


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


@pytest.mark.parametrize(
    "said", [{"count": 999}, {"count": 10, "total": 4}, {"count": 10, "total": 11}, {"count": 4, "total": 4}]
)
def test_a_receipt_that_does_not_fit_the_request_leaves_its_recipients_unknown(sandbox, monkeypatch, said):
    async def answer(hook, call, attempt):
        attempt.left = True
        return BulkReceipt(**said)

    monkeypatch.setattr(PindoAsyncHook, "send", answer)
    with pytest.raises(AirflowFailException, match="where it was asked for 10") as failed:
        send(Store(), recipients=people(10))
    assert columns_in(failed.value)["unknown"] == 10


@pytest.mark.parametrize("path", ["", "/no/such/folder/\0"])
def test_a_report_that_cannot_be_opened_sends_nothing_and_names_its_path(sandbox, tmp_path, path):
    with pytest.raises(AirflowException, match=r"report_path .* cannot be written, and nothing was sent"):
        send(Store(), recipients=people(2), report_path=f"{tmp_path}{path}")
    assert sandbox.requests() == []


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


def test_none_of_those_asked_for_are_all_rejected(sandbox):
    sandbox.add_fault("status", call="send_bulk_sms", status=201, body={"count": 0, "total": 2})
    result = send(Store(), recipients=people(3), chunk_size=2, concurrency=1)
    assert (result["accepted"], result["rejected"]) == (1, 2)
    assert result["rejections"][1]["reason"] == "Pindo took none of 2"
    assert len(sandbox.messages()) == 1


def test_answers_for_some_are_no_sign_that_pindo_is_down(sandbox):
    to_be = people(30)
    sandbox.settings(bulk_bad_number="partial", rejected_numbers=[each["phonenumber"] for each in to_be[::2]])
    result = send(Store(), recipients=to_be, chunk_size=2, on_unknown="accept")
    assert (result["unknown"], result["not_sent"]) == (30, 0)
    assert len(sandbox.messages()) == 15


def test_an_answer_for_none_is_no_sign_that_pindo_is_down(sandbox, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo.operators.bulk.sender.UNKNOWN_IN_A_ROW", 2)
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    sandbox.add_fault("status", call="send_bulk_sms", status=201, body={"count": 0})
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    result = send(Store(), recipients=people(8), chunk_size=2, concurrency=1, on_unknown="accept")
    assert (result["accepted"], result["rejected"], result["unknown"]) == (2, 2, 4)


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is a device of Linux")
def test_a_report_that_cannot_be_written_stops_it_and_the_next_try_goes_on(sandbox):
    store, arguments = Store(), {"recipients": people(3000), "chunk_size": 100, "concurrency": 1}
    with pytest.raises(Exception, match="No space left on device"):
        send(store, report_path="/dev/full", **arguments)
    assert 0 < len(sandbox.messages()) < 3000
    assert send(store, **arguments)["accepted"] == 3000
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is a device of Linux")
def test_a_full_disk_hides_neither_the_columns_nor_who_is_unknown(sandbox):
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException, match="No space left on device") as failed:
        send(Store(), recipients=people(3000), concurrency=1, report_path="file:///dev/full")
    columns = columns_in(failed.value)
    assert columns["unknown"] == 100
    assert columns["accepted"] + columns["unknown"] == len(sandbox.messages())
    assert "row 1 (+25078****001: " in str(failed.value)
    assert "pindo_bulk_00001" in str(failed.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is a device of Linux")
def test_a_report_that_only_its_end_shows_to_be_cut_short_fails_the_task_with_the_columns(sandbox):
    store, arguments = Store(), {"recipients": ["1", "2"], "on_invalid": "skip", "text": "Muraho"}
    with pytest.raises(AirflowException, match="No space left on device") as failed:
        send(store, report_path="/dev/full", **arguments)
    assert columns_in(failed.value)["rejected"] == 2
    with pytest.raises(AirflowFailException, match="everybody was rejected"):
        send(store, **arguments)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is a device of Linux")
def test_a_report_that_cannot_be_closed_hides_no_other_error(sandbox, monkeypatch, caplog):
    def no_loop():
        raise OSError("too many open files")

    monkeypatch.setattr(bulk, "_fast_loop", lambda: no_loop)
    with pytest.raises(OSError, match="too many open files") as failed:
        send(Store(), recipients=people(3), report_path="/dev/full")
    assert columns_in(failed.value)["not_sent"] == 3
    assert "the report cannot be written ([Errno 28] No space left on device)" in caplog.text


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("gone")])
@pytest.mark.parametrize("lines", ["add", "write"])
def test_a_report_that_fails_once_stops_it_and_leaves_everybody_in_one_column(
    sandbox, tmp_path, monkeypatch, error, lines
):
    def fail_once(self, *args):
        monkeypatch.undo()
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json())
        raise error

    monkeypatch.setattr(Report, lines, fail_once)
    store, arguments = Store(), {"recipients": ["1", *people(3000)], "on_invalid": "skip"}
    arguments |= {"report_path": str(tmp_path / "report.csv"), "text": "Muraho"}
    with pytest.raises(AirflowException, match="the report cannot be written") as failed:
        send(store, **arguments)
    columns = columns_in(failed.value)
    assert columns["accepted"] == len(sandbox.messages()) < 3000
    assert columns["unknown"] == 0
    assert send(store, **arguments)["accepted"] == 3000
    assert len(report(tmp_path / "report.csv")) == 3001
    assert set(times_texted(sandbox).values()) == {1}


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


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    monkeypatch.setattr("airflow_provider_pindo.operators.bulk.sender.PROGRESS", 0.05)
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
    ):
        with pytest.raises(AirflowFailException, match="have changed since"):
            send(store, go=1, **arguments)
    assert set(times_texted(sandbox).values()) == {1}


def test_another_input_is_taken_as_long_as_nobody_was_texted(sandbox):
    store = Store()
    sandbox.add_fault("status", call="send_bulk_sms", status=401, times=None)
    with pytest.raises(AirflowFailException):
        send(store, recipients=people(300), exclude=[each["phonenumber"] for each in people(250)])
    assert "pindo_bulk_00003" in store.all()
    sandbox.clear_faults()
    assert send(store, go=1, recipients=people(200), text="Mended @contact.name")["accepted"] == 200
    assert set(times_texted(sandbox).values()) == {1}


def test_who_is_excluded_between_two_tries_is_texted_no_more_and_the_rest_goes_on(sandbox, tmp_path):
    store, path = Store(), tmp_path / "report.csv"
    arguments = {"recipients": people(40), "chunk_size": 10, "concurrency": 1, "report_path": str(path)}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=2)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, exclude=["+250780000002"], **arguments)
    assert columns_in(stopped.value) == dict(zip(COLUMNS, (19, 0, 0, 20, 0, 1), strict=True))
    stop = ["+250780000002", "+250780000005", "+250780000025", "+250780000040"]
    result = send(store, exclude=lambda: stop, **arguments)
    assert [result[each] for each in COLUMNS] == [37, 0, 0, 0, 0, 3]
    texted = {each["phonenumber"] for each in people(40)} - {stop[0], *stop[2:]}
    assert times_texted(sandbox) == dict.fromkeys(texted, 1)
    assert {each["phonenumber"] for each in report(path) if each["outcome"] == "accepted"} == texted
    assert {each["row"] for each in report(path) if each["outcome"] == "excluded"} == {"2", "25", "40"}
    assert send(store, go=1, **arguments) == result


def test_who_is_excluded_no_more_is_texted_and_shifts_nobody(sandbox):
    store, arguments = Store(), {"recipients": people(40), "chunk_size": 10, "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=2)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, exclude=["+250780000002", "+250780000025"], **arguments)
    assert send(store, **arguments)["accepted"] == 40
    assert times_texted(sandbox) == {each["phonenumber"]: 1 for each in people(40)}


@pytest.mark.parametrize("still", [True, False])
def test_a_long_stretch_of_excluded_hides_no_later_chunk_from_the_next_try(sandbox, still):
    store, arguments = Store(), {"recipients": people(100), "chunk_size": 10, "concurrency": 1}
    exclude = [each["phonenumber"] for each in people(70)]
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, exclude=exclude, **arguments)
    assert columns_in(stopped.value) == dict(zip(COLUMNS, (10, 0, 0, 20, 0, 70), strict=True))
    result = send(store, exclude=exclude if still else [], **arguments)
    assert (result["accepted"], result["excluded"]) == ((30, 70) if still else (100, 0))
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == result["accepted"]


def test_who_is_unknown_stays_so_when_excluded_and_is_texted_no_more_once_settled(sandbox):
    store, arguments = Store(), {"recipients": people(10), "exclude": ["+250780000003"]}
    sandbox.add_fault("drop_before", call="send_bulk_sms")
    with pytest.raises(AirflowFailException) as failed:
        send(store, recipients=people(10))
    assert columns_in(failed.value)["unknown"] == 10
    with pytest.raises(AirflowFailException) as failed:
        send(store, **arguments)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (0, 0, 10, 0, 0, 0), strict=True))
    store.settle("not_sent")
    result = send(store, go=1, **arguments)
    assert (result["accepted"], result["excluded"]) == (9, 1)
    assert "+250780000003" not in times_texted(sandbox)


def test_a_chunk_keeps_who_is_unknown_while_it_is_sent_to_those_that_are_excluded_no_more(
    sandbox, monkeypatch
):
    """Some of a chunk are unknown since an earlier try was cut off, and others are sent to now."""
    store = Store()
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException):
        send(store, recipients=people(10), exclude=["+250780000003"])
    entry = store.get("pindo_bulk_00001")
    rows = entry["unknown"].popitem()[1]
    store.set("pindo_bulk_00001", {**entry, "unknown": {IN_FLIGHT: rows}})
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    about_to_send = []
    monkeypatch.setattr(ChunkLedger, "close", lambda self, *_: about_to_send.append(store.all()))
    assert send(store, recipients=people(10), on_unknown="accept")["unknown"] == 10
    assert about_to_send[0]["pindo_bulk_00001"]["unknown"] == {IN_FLIGHT: "1-10"}


def test_a_repeated_row_of_an_excluded_number_is_a_duplicate(sandbox):
    result = send(Store(), recipients=[*people(2), *people(1)], exclude=["+250780000001"])
    assert (result["accepted"], result["excluded"], result["duplicates"]) == (1, 1, 1)


numbers_left_out = st.sets(st.sampled_from([each["phonenumber"] for each in people(12)]), max_size=8)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists=st.tuples(*[numbers_left_out] * 3), size=st.integers(1, 3), data=st.data())
def test_whatever_the_exclusions_of_each_try_are_nobody_is_texted_twice_or_against_them(
    sandbox, lists, size, data
):
    sandbox.reset()
    store, before = Store(), Counter()
    for fails, exclude in zip((True, True, False), lists, strict=True):
        if data.draw(st.booleans()):
            sandbox.add_fault("drop_after", call="send_bulk_sms")
        if fails:
            sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=data.draw(st.integers(0, 3)))
        arguments = {"recipients": people(12), "chunk_size": size, "concurrency": 1, "on_unknown": "accept"}
        try:
            columns = send(store, exclude=exclude, **arguments)
        except PindoInsufficientBalanceError as error:
            columns = columns_in(error)
        sandbox.clear_faults()
        texted = times_texted(sandbox)
        assert not (texted - before).keys() & exclude
        assert set(texted.values()) <= {1}
        assert columns["accepted"] <= len(texted) <= columns["accepted"] + columns["unknown"]
        if columns["not_sent"] == 0:
            break
        assert columns["excluded"] == len(exclude - texted.keys())
        before = texted


def change_after_the_check(monkeypatch, path, number, other):
    """Change a number in the file between its two readings."""

    def change_and_begin(self, begin=ChunkLedger.begin, **arguments):
        path.write_text(path.read_text().replace(number, other))
        return begin(self, **arguments)

    monkeypatch.setattr(ChunkLedger, "begin", change_and_begin)


def test_a_file_that_changes_while_it_is_read_is_noticed(sandbox, tmp_path, monkeypatch):
    path = tmp_path / "patients.csv"
    path.write_text("phonenumber,name\n" + "".join(f"{each['phonenumber']},A\n" for each in people(2000)))
    change_after_the_check(monkeypatch, path, "+250780001500", "+250790000000")
    with pytest.raises(AirflowFailException, match="the recipients changed while they were read") as failed:
        send(Store(), recipients=str(path))
    assert columns_in(failed.value)["accepted"] == len(sandbox.messages()) == 1000
    assert sandbox.messages(to="+250790000000") == []


@pytest.mark.parametrize("has_old_list", [True, False])
def test_what_the_error_of_a_changed_list_advises_ends_with_everybody_texted_once(
    sandbox, tmp_path, monkeypatch, has_old_list
):
    path, store = tmp_path / "patients.csv", Store()
    before = "phonenumber,name\n" + "".join(f"{each['phonenumber']},A\n" for each in people(1100))
    path.write_text(before)
    with monkeypatch.context() as patch:
        change_after_the_check(patch, path, "+250780001100", "+250780001101")
        with pytest.raises(
            AirflowFailException, match=r"list as it was.*into exclude, and clear it with resend"
        ):
            send(store, recipients=str(path))
    texted = times_texted(sandbox)
    if has_old_list:
        path.write_text(before)
        send(store, go=1, recipients=str(path))
    else:
        send(store, go=1, recipients=str(path), exclude=[*texted], resend=True)
    last = "+250780001100" if has_old_list else "+250780001101"
    everybody = [*(each["phonenumber"] for each in people(1099)), last]
    assert times_texted(sandbox) == Counter(everybody)


@pytest.mark.parametrize("more", [[], ["+250780001249"]])
@pytest.mark.parametrize("changed", ["+250780000001", "+250780001100"])
def test_what_earlier_tries_did_counts_also_where_this_one_does_not_come_to(
    sandbox, tmp_path, monkeypatch, changed, more
):
    path = tmp_path / "patients.csv"
    path.write_text("phonenumber,name\n" + "".join(f"{each['phonenumber']},A\n" for each in people(1250)))
    store, arguments = Store(), {"recipients": str(path), "concurrency": 1, "exclude": ["+250780001250"]}
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException) as failed:
        send(store, **arguments)
    earlier = columns_in(failed.value)
    assert (earlier["accepted"], earlier["unknown"], earlier["excluded"]) == (1149, 100, 1)
    change_after_the_check(monkeypatch, path, changed, "+250790000000")
    arguments["exclude"] += more
    with pytest.raises(AirflowFailException, match="the recipients changed while they were read") as failed:
        send(store, **arguments)
    assert columns_in(failed.value) == earlier
    assert len(sandbox.messages()) == 1249


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
def test_a_person_settles_an_unknown_chunk(sandbox, word, fault):
    store, arguments = Store(), {"recipients": people(300), "concurrency": 1}
    sandbox.add_fault(fault, call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **arguments)
    store.settle(word)
    assert send(store, go=1, **arguments)["accepted"] == 300
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(300)})


def test_another_word_of_an_entry_than_its_status_settles_nothing(sandbox):
    """A chunk's entry names the rows that are unknown beside its status: renaming that name must not lose them."""
    store, arguments = Store(), {"recipients": people(300), "concurrency": 1}
    sandbox.add_fault("drop_before", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **arguments)
    entry = store.get("pindo_bulk_00002")
    store.set("pindo_bulk_00002", {("sent" if key == "unknown" else key): entry[key] for key in entry})
    with pytest.raises(AirflowFailException, match="pindo_bulk_00002") as failed:
        send(store, go=1, **arguments)
    assert columns_in(failed.value)["unknown"] == 100
    store.set("pindo_bulk_00002", {**entry, "status": "not_sent"})
    assert send(store, go=2, **arguments)["accepted"] == 300
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(300)})


def cut_off_in_the_middle(sandbox):
    """Return the store of a send of two chunks, of which the first is half accepted and half unknown."""
    store = Store()
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **HALVES)
    assert (store.get("pindo_bulk_00001")["accepted"], len(sandbox.messages())) == (2, 6)
    return store


HALVES = {
    "recipients": people(6, time=lambda row: "8:00" if row in (1, 2) else "9:00"),
    "text": "Come at @contact.time",
    "chunk_size": 4,
    "concurrency": 1,
}


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": "sent"},
        {"unknown": ["3-4"]},
        {"unknown": {"why": 3}},
        {"unknown": {"why": "3-x"}},
        {"unknown": {"why": "4-3"}},
        {"unknown": {"why": "1-999999999999"}},
        {"unknown": {"why": "5-6"}},
        {"unknown": None},
        {"rejected": {"why": "3-4"}, "accepted": 0},
        {"not_sent": None},
        {"not_sent": 3},
        {"not_sent": "5", "accepted": 1},
        {"accepted": "2"},
        {"recipients": "many"},
        {"recipients": 5, "accepted": 3},
        {"sms_ids": []},
        {"segments": "some"},
        {"cost": "much"},
        {"cost": float("inf")},
        {"unknown_cost": -1},
        {"requests": float("inf")},
        {"of": None},
        {"of": 7},
        {"of": ""},
        {"of": "0123456789abcdef/0"},
        {"of": "0123456789abcdef/1"},
        {"of": "0123456789abcde/-1"},
    ],
)
@pytest.mark.parametrize("status", ["unknown", "not_sent"])
def test_an_entry_that_no_task_wrote_is_unknown_as_a_whole(sandbox, change, status):
    store = cut_off_in_the_middle(sandbox)
    store.set("pindo_bulk_00001", {**store.get("pindo_bulk_00001"), "status": status, **change})
    with pytest.raises(AirflowFailException, match="pindo_bulk_00001") as failed:
        send(store, go=1, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (2, 0, 4, 0, 0, 0), strict=True))
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("key", ["of", "status", "unknown", "cost", "recipients"])
def test_an_entry_that_misses_something_is_unknown_as_a_whole(sandbox, key):
    store = cut_off_in_the_middle(sandbox)
    entry = store.get("pindo_bulk_00001")
    del entry[key]
    store.set("pindo_bulk_00001", entry)
    with pytest.raises(AirflowFailException, match="pindo_bulk_00001") as failed:
        send(store, go=1, **HALVES)
    assert columns_in(failed.value)["unknown"] == 4
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("value", ["sent", "not_sent", {"status": "sent"}, {"status": "not_sent"}])
def test_the_bare_word_in_place_of_a_chunks_entry_settles_nothing_and_the_error_says_what_does(
    sandbox, value
):
    store = cut_off_in_the_middle(sandbox)
    entry = store.get("pindo_bulk_00001")
    store.set("pindo_bulk_00001", value)
    with pytest.raises(AirflowFailException, match="first put the value back") as failed:
        send(store, go=1, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (2, 0, 4, 0, 0, 0), strict=True))
    result = send(store, go=2, on_unknown="accept", **HALVES)
    assert (result["accepted"], result["unknown"]) == (2, 4)
    store.set("pindo_bulk_00001", {**entry, "status": "sent"})
    assert send(store, go=3, **HALVES)["accepted"] == 6
    assert len(sandbox.messages()) == 6


@pytest.mark.parametrize("change", [{"chunk_size": 1}, {"go": 1}, {"input": "x"}, {"given": 2}])
def test_an_entry_of_the_whole_that_was_changed_has_nobody_texted_again(sandbox, change):
    store, arguments = Store(), {"recipients": people(20), "chunk_size": 2, "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=8)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    header = store.get("pindo_bulk")
    store.set("pindo_bulk", {**header, **change})
    for go in (0, 1, 2):
        with pytest.raises(AirflowFailException, match="Put its value back if you have it"):
            send(store, go=go, **arguments)
    store.set("pindo_bulk", header)
    assert send(store, go=2, **arguments)["accepted"] == 20
    assert set(times_texted(sandbox).values()) == {1}


def test_entries_that_were_deleted_hide_no_later_ones(sandbox):
    store, arguments = Store(), {"recipients": people(40), "chunk_size": 2, "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=16)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    for chunk in range(1, 10):
        store.delete(f"pindo_bulk_{chunk:05}")
    assert send(store, **arguments)["accepted"] == 40
    deleted = {each["phonenumber"] for each in people(18)}
    assert times_texted(sandbox) == {
        each["phonenumber"]: 2 if each["phonenumber"] in deleted else 1 for each in people(40)
    }


def test_what_a_send_left_that_texted_nobody_is_not_taken_for_another_of_the_same_go(sandbox):
    store = Store()
    sandbox.add_fault("status", call="send_bulk_sms", status=402, times=2)
    for text in ("Muraho", "Mwaramutse"):
        with pytest.raises(PindoInsufficientBalanceError):
            send(store, recipients=people(300), text=text, concurrency=1)
    assert send(store, recipients=people(300), text="Mwaramutse")["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {1}


HEADER = {"status": "finished", "input": "0123456789abcdef", "go": 0, "given": 5, "chunk_size": 2}


@pytest.mark.parametrize(
    "value",
    [
        "sent",
        "not_sent",
        "",
        0,
        [],
        {},
        {"status": "sent"},
        {**HEADER, "input": None},
        {**HEADER, "go": "0"},
        {**HEADER, "chunk_size": None},
        {**HEADER, "chunk_size": 0},
        {**HEADER, "chunk_size": 10_000},
    ],
)
def test_anything_else_in_place_of_the_entry_of_the_whole_has_nobody_texted_again(sandbox, value):
    store, arguments = Store(), {"recipients": people(5), "chunk_size": 2}
    send(store, **arguments)
    store.set("pindo_bulk", value)
    for go, resend in ((0, False), (1, False), (1, True)):
        with pytest.raises(AirflowFailException, match="delete that entry and clear the task") as refused:
            send(store, go=go, resend=resend, **arguments)
        assert "'pindo_bulk'" in str(refused.value)
    assert set(times_texted(sandbox).values()) == {1}
    store.delete("pindo_bulk")
    assert send(store, go=1, **arguments)["accepted"] == 5
    assert set(times_texted(sandbox).values()) == {2}


def test_unknown_recipients_can_be_sent_to_again_at_the_next_try(sandbox):
    store, arguments = Store(), {"recipients": people(30, time=at), "text": PERSONAL, "on_unknown": "resend"}
    sandbox.add_fault("drop_after", to="+250780000007")
    with pytest.raises(AirflowException, match="the next try sends to them again") as failed:
        send(store, **arguments)
    assert not isinstance(failed.value, AirflowFailException)
    assert send(store, **arguments)["accepted"] == 30
    assert times_texted(sandbox)["+250780000007"] == 2
    assert len(sandbox.messages()) == 31


@pytest.mark.parametrize("personal", [False, True])
def test_unknown_recipients_stay_so_until_they_are_sent_to_again(sandbox, tmp_path, personal):
    store, path = Store(), tmp_path / "report.csv"
    arguments = {"recipients": people(6, time=at), "chunk_size": 2, "concurrency": 1, "on_unknown": "resend"}
    arguments |= {"text": PERSONAL if personal else "Muraho", "report_path": str(path)}
    sandbox.add_fault("drop_after", to="+250780000001")
    with pytest.raises(AirflowException, match="the next try sends to them again"):
        send(store, **arguments)
    unknown = 1 if personal else 2
    entry = store.get("pindo_bulk_00001")
    sandbox.add_fault("rate_limit", retry_after=3600, times=None)
    with pytest.raises(PindoError, match="429") as stopped:
        send(store, **arguments)
    assert columns_in(stopped.value) == dict(zip(COLUMNS, (6 - unknown, 0, unknown, 0, 0, 0), strict=True))
    assert Counter(each["outcome"] for each in report(path)) == {"accepted": 6 - unknown, "unknown": unknown}
    assert store.get("pindo_bulk_00001")["unknown"] == entry["unknown"]
    sandbox.clear_faults()
    with pytest.raises(AirflowFailException, match="max_cost"):
        send(store, max_cost=0.0001, **arguments)
    assert store.get("pindo_bulk_00001")["unknown"] == entry["unknown"]
    assert send(store, **arguments)["accepted"] == 6
    assert len(sandbox.messages()) == 6 + unknown


def test_who_is_unknown_and_excluded_since_is_not_sent_to_again(sandbox):
    store, arguments = Store(), {"recipients": people(3), "on_unknown": "resend"}
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException, match="the next try sends to them again"):
        send(store, **arguments)
    result = send(store, exclude=["+250780000002"], **arguments)
    assert (result["accepted"], result["unknown"], result["excluded"]) == (2, 1, 0)
    assert times_texted(sandbox)["+250780000002"] == 1


@pytest.mark.parametrize("word", ["sent", "not_sent"])
def test_what_is_settled_after_it_was_accepted_as_unknown_is_taken_up(sandbox, word):
    store, arguments = Store(), {"recipients": people(6), "chunk_size": 2, "concurrency": 1}
    arguments["on_unknown"] = "accept"
    sandbox.add_fault("drop_after" if word == "sent" else "drop_before", call="send_bulk_sms", skip=1)
    first = send(store, **arguments)
    assert (first["accepted"], first["unknown"]) == (4, 2)
    assert send(store, go=1, **arguments) == first
    store.settle(word)
    if word == "not_sent":
        sandbox.add_fault("status", call="send_bulk_sms", status=402)
        with pytest.raises(PindoInsufficientBalanceError):
            send(store, go=2, **arguments)
    assert send(store, go=2, **arguments)["accepted"] == 6
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(6)})


@pytest.mark.parametrize("unknown", [100, 101])
def test_the_entries_to_settle_are_named_also_where_this_try_does_not_come_to_them(
    sandbox, tmp_path, monkeypatch, unknown
):
    monkeypatch.setattr("airflow_provider_pindo.operators.bulk.sender.UNKNOWN_IN_A_ROW", 200)
    path = tmp_path / "patients.csv"
    path.write_text("phonenumber,name\n" + "".join(f"{each['phonenumber']},A\n" for each in people(110)))
    store, arguments = Store(), {"recipients": str(path), "chunk_size": 1, "concurrency": 1}
    sandbox.add_fault("drop_before", call="send_bulk_sms", times=unknown, skip=2)
    with pytest.raises(AirflowFailException):
        send(store, **arguments)

    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(ChunkLedger, "open", fail)
    monkeypatch.setattr("airflow_provider_pindo.operators.bulk.sender.BulkSender._read", fail)
    with pytest.raises(AirflowException, match="ZeroDivisionError") as failed:
        send(store, **arguments)
    columns_in(failed.value)
    assert "row 3 (POST" in str(failed.value)
    assert ("pindo_bulk_00102, … from" in str(failed.value)) is (unknown > 100)
    assert ("pindo_bulk_00102 from" in str(failed.value)) is (unknown == 100)


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


def test_what_earlier_tries_did_counts_when_the_chunk_cannot_be_opened_again(sandbox):
    class Gone(Store):
        gone = False

        def set(self, key, value, *, retention=None):
            if self.gone and key != "pindo_bulk":
                raise ConnectionError("503 of +250781234567")
            super().set(key, value, retention=retention)

    store = Gone()
    sandbox.add_fault("drop_before", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException) as failed:
        send(store, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (4, 0, 2, 0, 0, 0), strict=True))
    store.settle("not_sent")
    store.gone = True
    with pytest.raises(AirflowException, match=r"503 of \+25078\*\*\*\*567") as failed:
        send(store, go=1, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (4, 0, 0, 2, 0, 0), strict=True))
    store.gone = False
    assert send(store, go=1, **HALVES)["accepted"] == 6
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("has_left", [False, True])
@pytest.mark.parametrize("personal", [False, True])
def test_an_error_that_is_none_of_pindos_stops_it_and_leaves_everybody_in_one_column(
    sandbox, monkeypatch, has_left, personal
):
    async def fail(hook, call, attempt, send=PindoAsyncHook.send):
        if has_left:
            await send(hook, call, attempt)
        raise ZeroDivisionError(f"cannot send {call.json}")

    store, arguments = Store(), {"recipients": people(300, time=at), "concurrency": 1}
    arguments["text"] = PERSONAL if personal else "Muraho"
    with monkeypatch.context() as patch:
        patch.setattr(PindoAsyncHook, "send", fail)
        with pytest.raises(PindoStoppedError, match=r"^ZeroDivisionError in fail \(") as failed:
            send(store, **arguments)
    shown = "".join(traceback.format_exception(failed.value))
    assert "Muraho" not in shown
    assert "+250780000001" not in shown
    columns = columns_in(failed.value)
    assert columns["unknown"] == len(sandbox.messages()) == (0, 1 if personal else 100)[has_left]
    assert columns["not_sent"] == 300 - columns["unknown"]
    assert ("ZeroDivisionError came up before" in str(failed.value)) is has_left
    result = send(store, **arguments, on_unknown="accept")
    assert (result["accepted"], result["unknown"]) == (columns["not_sent"], columns["unknown"])
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(300)})


def test_a_mistake_while_a_chunk_is_begun_stops_it(sandbox, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(ChunkLedger, "find", fail)
    with pytest.raises(AirflowException, match="sending stopped: ZeroDivisionError") as failed:
        send(Store(), recipients=people(500))
    assert columns_in(failed.value)["not_sent"] == 500
    assert sandbox.messages() == []


def test_a_send_that_does_not_end_in_time_still_says_what_earlier_tries_did(sandbox, monkeypatch):
    """The task is ended while the ledger hangs, and is not waited for."""
    hangs = threading.Event()

    class Hangs(Store):
        ready = False

        def set(self, key, value, *, retention=None):
            if self.ready and key != "pindo_bulk":
                operator.on_kill()
                hangs.wait(30)
            super().set(key, value, retention=retention)

    store = Hangs()
    sandbox.add_fault("drop_before", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **HALVES)
    store.settle("not_sent")
    store.ready = True
    operator = PindoSendBulkSmsOperator(task_id="text_all", **HALVES)

    def give_up(sending, *args, run_apart=bulk.run_apart):
        threading.Thread(target=run_apart, args=(sending, *args), daemon=True).start()
        while not sending._is_interrupted:
            time.sleep(0.01)
        raise TimeoutError("the grace is over")

    monkeypatch.setattr(bulk, "run_apart", give_up)
    try:
        with pytest.raises(TimeoutError) as ended:
            operator.execute.__wrapped__(operator, context(store))
    finally:
        hangs.set()
    assert columns_in(ended.value) == dict(zip(COLUMNS, (4, 0, 0, 2, 0, 0), strict=True))


def test_what_fails_before_the_first_request_fails_the_task(sandbox, monkeypatch):
    def no_loop():
        raise OSError("too many open files")

    monkeypatch.setattr(bulk, "_fast_loop", lambda: no_loop)
    with pytest.raises(OSError, match="too many open files") as failed:
        send(Store(), recipients=people(3))
    assert columns_in(failed.value)["not_sent"] == 3


def test_it_needs_no_faster_event_loop(sandbox, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert send(Store(), recipients=people(3))["accepted"] == 3


@pytest.mark.parametrize(
    "stopped_by",
    [
        {"action": "status", "status": 402, "skip": 1},
        {"action": "drop_after", "skip": 1},
    ],
)
def test_resend_goes_on_with_what_has_not_finished_and_repeats_what_has(sandbox, stopped_by):
    store = Store()
    arguments = {"recipients": people(6), "chunk_size": 2, "concurrency": 1, "resend": True}
    sandbox.add_fault(call="send_bulk_sms", **stopped_by)
    with pytest.raises((AirflowFailException, PindoInsufficientBalanceError)):
        send(store, **arguments)
    store.settle("sent")
    for go in (1, 1):  # a clear, and a retry of what came of it
        assert send(store, go=go, **arguments)["accepted"] == 6
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(6)})
    assert send(store, go=2, **arguments)["accepted"] == 6
    assert set(times_texted(sandbox).values()) == {2}


def test_resend_does_not_repeat_whom_a_person_settled_as_sent(sandbox):
    store, arguments = Store(), {"recipients": people(2), "resend": True}
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowFailException, match="'sent' or 'not_sent', and clear the task"):
        send(store, **arguments)
    store.settle("sent")
    assert send(store, go=1, **arguments)["accepted"] == 2
    assert len(sandbox.messages()) == 2


def test_everybody_who_was_rejected_can_be_sent_to_again_once_that_is_mended(sandbox):
    store, arguments = Store(), {"recipients": people(2), "exclude": ["+250780000002"]}
    sandbox.settings(rejected_numbers=["+250780000001"])
    for go, resend in ((0, False), (1, False), (2, True)):
        with pytest.raises(
            AirflowFailException, match=r"everybody was rejected .* is mended, clear the task\."
        ):
            send(store, go=go, resend=resend, **arguments)
    sandbox.settings(rejected_numbers=[])
    assert send(store, go=3, **arguments)["accepted"] == 1
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("changed", [{}, {"text": "Mwiriwe @contact.name"}, {"sender": "Ubuzima"}])
def test_where_everybody_was_rejected_it_may_be_mended_by_another_text_or_sender(sandbox, changed):
    store, arguments = Store(), {"recipients": people(3)}
    sandbox.settings(approved_senders=[])
    with pytest.raises(AirflowFailException, match="sender is not approved"):
        send(store, **arguments)
    sandbox.settings(approved_senders="any")
    assert send(store, go=1, **arguments, **changed)["accepted"] == 3
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("personal", [False, True])
def test_a_task_that_failed_since_some_were_rejected_sends_to_them_alone_when_it_is_cleared(
    sandbox, personal
):
    store = Store()
    arguments = {"recipients": people(6, time=at), "chunk_size": 2, "on_rejected": "fail"}
    arguments["text"] = PERSONAL if personal else "Muraho"
    sandbox.settings(rejected_numbers=["+250780000002", "+250780000005"])
    for go in (0, 1):
        with pytest.raises(
            AirflowFailException, match=r"some were rejected .* it sends to them alone"
        ) as failed:
            send(store, go=go, **arguments)
        assert columns_in(failed.value) == dict(zip(COLUMNS, (4, 2, 0, 0, 0, 0), strict=True))
    sandbox.settings(rejected_numbers=[])
    assert send(store, go=2, **arguments)["accepted"] == 6
    assert set(times_texted(sandbox).values()) == {1}


def test_a_list_of_which_nobody_can_be_texted_fails_also_where_bad_rows_are_skipped(sandbox):
    arguments = {"recipients": ["1", "2"], "on_invalid": "skip", "text": "Muraho"}
    with pytest.raises(
        AirflowFailException, match=r"everybody was rejected .* is mended, clear the task\. 0 accepted"
    ):
        send(Store(), **arguments)
    assert sandbox.requests() == []


def test_what_an_earlier_send_wrote_of_its_chunks_is_not_taken_for_this_ones(sandbox):
    store = Store()
    send(store, recipients=people(300))
    sandbox.add_fault("status", call="send_bulk_sms", status=401)
    with pytest.raises(AirflowFailException):
        send(store, go=1, resend=True, recipients=people(300))
    assert send(store, go=1, resend=True, recipients=people(300))["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {2}


def test_without_a_ledger_it_still_sends_each_once(sandbox):
    assert send(None, recipients=people(250))["accepted"] == 250
    assert set(times_texted(sandbox).values()) == {1}


class TaskTimeout(BaseException):
    """As Airflow's AirflowTaskTimeout: no Exception."""


def too_many_requests(sandbox, _):
    sandbox.add_fault("rate_limit", call="send_sms", retry_after=3600, times=None, skip=20)


def an_empty_wallet(sandbox, _):
    sandbox.add_fault("status", call="send_sms", status=402, skip=20)


def lost_answers(sandbox, _):
    sandbox.add_fault("drop_after", call="send_sms", times=None, skip=20)


def a_timeout(sandbox, monkeypatch):
    def time_out(*arguments, run_apart=bulk.run_apart):
        run_apart(*arguments)
        raise TaskTimeout("Timeout, PID: 7")

    too_many_requests(sandbox, monkeypatch)
    monkeypatch.setattr(bulk, "run_apart", time_out)


def a_report_that_is_not_uploaded(_, monkeypatch):
    def fail(*_):
        raise OSError("upload failed")

    monkeypatch.setattr(Report, "close", fail)


def a_timeout_while_the_report_is_uploaded(_, monkeypatch):
    def time_out(*_):
        raise TaskTimeout

    monkeypatch.setattr(Report, "close", time_out)


ENDS = [
    too_many_requests,
    an_empty_wallet,
    lost_answers,
    a_timeout,
    a_report_that_is_not_uploaded,
    a_timeout_while_the_report_is_uploaded,
]


@pytest.mark.parametrize("end", ENDS)
def test_without_a_ledger_a_try_that_has_texted_somebody_does_not_retry(sandbox, tmp_path, monkeypatch, end):
    end(sandbox, monkeypatch)
    arguments = {"recipients": people(50, time=at), "text": PERSONAL, "concurrency": 1, "chunk_size": 10}
    with pytest.raises(AirflowFailException, match="keeps no ledger") as failed:
        send(None, report_path=str(tmp_path / "report.csv"), **arguments)
    columns = columns_in(failed.value)
    assert columns["accepted"] + columns["unknown"] == len(sandbox.messages()) >= 20
    assert str(failed.value).count(" accepted, ") == 1
    assert "Task State Store" not in str(failed.value)
    texted = times_texted(sandbox)
    monkeypatch.undo()
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json())
    sandbox.clear_faults()
    send(None, exclude=[*texted], **arguments)
    assert set(times_texted(sandbox).values()) == {1}


def test_without_a_ledger_a_try_that_has_texted_nobody_retries(sandbox):
    sandbox.add_fault("rate_limit", call="send_bulk_sms", retry_after=3600, times=None)
    with pytest.raises(PindoError, match="429") as stopped:
        send(None, recipients=people(50))
    assert stopped.value.retry_helps


@pytest.mark.parametrize(("skip", "retries"), [(0, True), (1, False)])
def test_without_a_ledger_resend_repeats_those_who_are_unknown_as_long_as_they_are_all(
    sandbox, skip, retries
):
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=skip, times=None)
    with pytest.raises(AirflowException) as failed:
        send(None, recipients=people(20), chunk_size=10, concurrency=1, on_unknown="resend")
    assert isinstance(failed.value, AirflowFailException) is not retries


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
    monkeypatch.setattr("airflow_provider_pindo.operators.bulk.sender.UNKNOWN_IN_A_ROW", 50)
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


def test_a_task_that_is_told_to_end_while_its_requests_wait_has_not_sent_them(sandbox):
    sandbox.add_fault("rate_limit", call="send_sms", retry_after=30, times=None, skip=20)
    store, arguments = Store(), {"recipients": people(50, time=at), "text": PERSONAL}
    operator = PindoSendBulkSmsOperator(task_id="text_all", **arguments)

    def end_it():
        while len(sandbox.requests(call="send_sms")) < 21:
            time.sleep(0.02)
        operator.on_kill()

    ending = threading.Thread(target=end_it)
    ending.start()
    with pytest.raises(PindoError, match="asked to end") as ended:
        operator.execute.__wrapped__(operator, context(store))
    ending.join()
    columns = columns_in(ended.value)
    assert (columns["accepted"], columns["not_sent"], len(sandbox.messages())) == (20, 30, 20)
    sandbox.clear_faults()
    assert send(store, **arguments)["accepted"] == 50
    assert set(times_texted(sandbox).values()) == {1}


def test_a_task_that_is_told_to_end_before_it_began_sends_nothing(sandbox, monkeypatch):
    operator = PindoSendBulkSmsOperator(task_id="text_all", recipients=people(50), text="Muraho")
    operator.on_kill()  # not even begun

    def end_first(sending, *args, run_apart=bulk.run_apart):
        operator.on_kill()
        run_apart(sending, *args)

    monkeypatch.setattr(bulk, "run_apart", end_first)
    with pytest.raises(PindoError, match="asked to end") as ended:
        operator.execute.__wrapped__(operator, context(Store()))
    assert columns_in(ended.value)["not_sent"] == 50
    assert sandbox.messages() == []


@pytest.mark.parametrize("entry", ["pindo_bulk", "pindo_bulk_00001"])
def test_a_task_that_is_told_to_end_while_it_reads_the_ledger_sends_nothing(sandbox, entry):
    class Told(Store):
        told = False

        def get(self, key):
            if self.told and key == entry:
                operator.on_kill()
            return super().get(key)

    store, arguments = Told(), {"recipients": people(50), "chunk_size": 10, "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    store.told = True
    operator = PindoSendBulkSmsOperator(task_id="text_all", text="Muraho @contact.name", **arguments)
    with pytest.raises(PindoError, match="asked to end") as ended:
        operator.execute.__wrapped__(operator, context(store))
    assert columns_in(ended.value) == dict(zip(COLUMNS, (10, 0, 0, 40, 0, 0), strict=True))
    assert len(sandbox.messages()) == 10


def test_a_task_that_is_to_end_starts_nothing_new_and_knows_what_is_unknown(sandbox, tmp_path):
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


@pytest.mark.skipif(AIRFLOW_VERSION >= 3, reason="the task state store came with Airflow 3.3")
def test_without_a_ledger_execution_timeout_ends_it_for_good(run_dag, sandbox):
    sandbox.add_fault("slow_answer", call="send_bulk_sms", seconds=30, skip=1)
    source = DAG.replace("ARGUMENTS", repr({"text": "Muraho", "chunk_size": 10})).replace(
        "retries=2", "retries=2, execution_timeout=timedelta(seconds=4)"
    )
    run = run_dag(source)
    assert run.state == "failed"
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == 30


def test_a_try_that_is_taken_for_dead_does_not_write_into_the_report_of_the_next(tmp_path):
    path = tmp_path / "report.csv"
    earlier = Report(str(path))
    earlier.write([(1, "+250781234567", "Aline", "accepted", "", "one")])
    later = Report(str(path))
    earlier.write([(2, "+250781234567", "Eric", "accepted", "", "two")])
    later.write([(1, "+250781234567", "Aline", "accepted", "", "one")])
    later.close()
    earlier.close()
    assert [row["row"] for row in csv.DictReader(path.open(newline=""))] == ["1"]
