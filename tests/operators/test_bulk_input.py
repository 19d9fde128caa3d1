"""What a bulk send takes: recipients from everywhere, mistakes in them, exclusions, limits on money and length."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo._sources import files
from airflow_provider_pindo.api.errors import (
    PindoInsufficientBalanceError,
)
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import (
    PERSONAL,
    Store,
    at,
    people,
    report,
    send,
    times_texted,
)

pytestmark = pytest.mark.usefixtures("an_entry_for_each_chunk")


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
        ("a.csv", "", "a.csv is empty: check the program that writes it"),
        ("a.csv", "\nphonenumber,name\n", "the first line of a.csv is blank: take it out"),
        ("a.csv", ",\nphonenumber,name\n", "the first line of a.csv is blank: take it out"),
        (
            "a.csv",
            "phonenumber|name\n+250781234567|A\n",
            "it has 'phonenumber|name', which are separated by pipes: save it with commas, semicolons or tabs",
        ),
        (
            "a.jsonl",
            '{"tel": "+250781234567"}\n{"tel": "+250781234568"}',
            "a.jsonl has no field 'phonenumber' in any of its first 2 rows; row 1 has 'tel'. Name the right one: "
            "columns={'phonenumber': …}",
        ),
        ("a.jsonl", "{}", "a.jsonl has no field 'phonenumber' in its first row; row 1 has nothing. Name"),
        ("a.jsonl", '{"phonenumber": "+250781234567"}\n{', "a.jsonl: row 2 is not a JSON object"),
        ("a.jsonl", "[1]", "a.jsonl: row 1 is not a JSON object"),
        pytest.param("a.jsonl", "[" * 100_000, "a.jsonl: row 1 is not a JSON object", id="deep"),
        pytest.param(
            "a.csv",
            f"phonenumber,{'x' * 200_000}\n",
            "the first line of a.csv cannot be read as the names of its columns (field larger than field limit",
            id="long",
        ),
        ("a.csv", "sep=\r\nphonenumber\r\n", "a.csv has no column 'phonenumber'; it has 'sep='"),
        (
            "a.csv",
            "phonenumber,name\n+250781234567,A\n+250781234568,Doe, John\n",
            "a.csv: row 3 has 3 fields, and the header 2, so it is not clear which is which: put a field with a comma",
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
        AirflowFailException, match=r"a\.parquet cannot be read as Parquet \(.*\): write it again"
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


@pytest.mark.parametrize("argument", ["recipients", "exclude"])
def test_a_path_that_cannot_be_opened_is_named_without_numbers(sandbox, tmp_path, argument):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"/file/\+25078\*\*\*\*567\.csv'"):
        send(Store(), **{"recipients": people(1), argument: f"{tmp_path}/file/+250781234567.csv"})


@pytest.mark.parametrize("argument", ["recipients", "exclude"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "xlsx"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("clinic\0.{}", "null byte"),
        ("clinic\ud83d.{}", "can't encode"),
        ("foo://secret:key@clinic/patients.{}", "foo"),
        ("http://[clinic/patients.{}", "Invalid IPv6 URL"),
    ],
)
def test_a_path_that_can_be_none_is_named_and_not_retried(sandbox, argument, path, reason, suffix):
    says = rf"{argument} '.*\.{suffix}' cannot be opened .*{reason}.*: give the path or URL of a file"
    with pytest.raises(AirflowFailException, match=says) as refused:
        send(Store(), **{"recipients": people(1), argument: path.format(suffix)})
    assert "secret" not in str(refused.value)
    str(refused.value).encode()


@pytest.mark.parametrize("argument", ["recipients", "exclude"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "xlsx"])
def test_a_folder_where_a_file_should_be_is_named_and_not_retried(sandbox, tmp_path, argument, suffix):
    folder = tmp_path / f"+250781234567.{suffix}"
    folder.mkdir()
    says = rf"{argument} '.*\+25078\*\*\*\*567\.{suffix}' cannot be opened \(it is a folder\): give"
    with pytest.raises(AirflowFailException, match=says):
        send(Store(), **{"recipients": people(1), argument: str(folder)})


def test_a_parquet_file_without_its_reader_says_what_to_install(sandbox, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(AirflowFailException, match=r"install airflow-provider-pindo\[parquet\]"):
        send(Store(), recipients=tmp_path / "a.parquet")


def test_a_callable_is_shown_by_its_name_and_not_by_its_address():
    operator = PindoSendBulkSmsOperator(task_id="text_all", recipients=people, text="Muraho")
    assert repr(operator.recipients) == "<callable tests.operators.bulk.people>"


@pytest.mark.parametrize(
    ("recipients", "says"),
    [
        (iter(["+250781234567"]), "recipients is of type list_iterator, which a retry finds empty"),
        ((number for number in ["+250781234567"]), "type generator, which a retry finds empty: make a list"),
        ({}, "recipients is of type dict, which is not a list of rows: give a list"),
        ({"+250781234567"}, "of type set"),
        (7, "of type int"),
        (None, "of type NoneType"),
    ],
)
def test_what_a_retry_would_read_differently_is_refused(sandbox, recipients, says):
    with pytest.raises(AirflowFailException, match=says):
        send(Store(), recipients=recipients)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_callable_may_return_a_generator_which_is_read_once(sandbox, dry_run):
    rows_read = []

    def cursor():
        for person in people(2500, time=at):
            rows_read.append(person["phonenumber"])
            yield person

    result = send(Store(), recipients=cursor, text="Muraho @contact.time", dry_run=dry_run)
    assert len(rows_read) == len(set(rows_read)) == 2500
    assert result["not_sent" if dry_run else "accepted"] == 2500
    assert len(sandbox.messages()) == (0 if dry_run else 2500)


def test_a_generator_that_yields_other_rows_at_the_retry_is_refused(sandbox):
    store, counts = Store(), iter([30, 31, 30])
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
    arguments = {"recipients": lambda: iter(people(next(counts))), "chunk_size": 10, "concurrency": 1}
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    with pytest.raises(AirflowFailException, match="have changed since"):
        send(store, **arguments)
    assert send(store, **arguments)["accepted"] == 30
    assert set(times_texted(sandbox).values()) == {1}


def test_a_file_is_opened_once_at_each_try(sandbox, tmp_path, monkeypatch):
    path, opened = tmp_path / "patients.csv", []
    path.write_text("phonenumber,name\n" + "".join(f"{each['phonenumber']},A\n" for each in people(300)))
    before = files.storage_path
    monkeypatch.setattr(files, "storage_path", lambda name: opened.append(name) or before(name))
    send(Store(), recipients=str(path), dry_run=True)
    assert send(Store(), recipients=str(path))["accepted"] == 300
    assert opened == [str(path)] * 2


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
        {"phonenumber": "\ud83dAline", "name": "A"},
    ]
    path = tmp_path / "report.csv"
    result = send(
        Store(),
        recipients=[*people(3), *bad],
        on_invalid="skip",
        **({"report_path": str(path)} if on_disk else {}),
    )
    assert (result["accepted"], result["rejected"]) == (3, 3)
    assert [each["name"] for each in result["rejections"]] == ["half \ufffd", "A", "A"]
    assert result["rejections"][2]["reason"].startswith(r"phone number ?A**** has the character '\ud83d'")
    assert result["rejections"][1]["phonenumber"] == "07812\ufffd"
    if on_disk:
        rows = {each["row"]: (each["phonenumber"], each["name"], each["outcome"]) for each in report(path)}
        assert rows["4"] == ("+250780000009", "half ?", "rejected")
        assert rows["5"] == ("07812?", "A", "rejected")
        assert rows["6"] == ("?Aline", "A", "rejected")
        assert len(rows) == 6


def test_a_repeated_row_is_a_duplicate_and_another_text_is_not(sandbox):
    to_be = [*people(3, time="8:00"), *people(2, time="8:00"), *people(1, time="15:00")]
    result = send(Store(), recipients=to_be, text=PERSONAL)
    assert (result["accepted"], result["duplicates"]) == (4, 2)
    assert times_texted(sandbox) == {"+250780000001": 2, "+250780000002": 1, "+250780000003": 1}
    with pytest.raises(AirflowFailException, match=r"2 of 6 rows repeat an earlier one.*rows 4, 5"):
        send(Store(), recipients=to_be, text=PERSONAL, on_duplicate="fail")
    assert send(Store(), recipients=to_be, text=PERSONAL, on_duplicate="send")["accepted"] == 6


def test_a_bad_row_makes_no_later_one_a_duplicate(sandbox):
    to_be = [{"phonenumber": "+250780000009", "name": "half \ud83d"}, *people(9)]
    result = send(Store(), recipients=to_be, text="Muraho @contact.name", on_invalid="skip")
    assert (result["accepted"], result["rejected"], result["duplicates"]) == (9, 1, 0)
    assert times_texted(sandbox)["+250780000009"] == 1
