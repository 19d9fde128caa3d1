"""What people's files hold: each person gets only the text of their own row, or nobody gets any."""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators.partitions import write_partitions
from tests.operators.bulk import PERSONAL, Store, people, report, send
from tests.operators.files import (
    HEADER,
    ROWS,
    TEXTS,
    WRITERS,
    refused,
    sandbox_reset,
    texts,
    write_csv,
    write_jsonl,
    write_parquet,
)


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_kind_of_file_gives_each_person_their_text(sandbox, tmp_path, suffix):
    path = tmp_path / f"patients.{suffix}"
    WRITERS[suffix](path, HEADER, ROWS)
    assert send(Store(), recipients=path, text=PERSONAL)["accepted"] == 2
    assert texts(sandbox) == TEXTS


# Quotes

FAULTS = [
    ('0781234567,"A\n0781234568,B\n0781234569,C\n', 2, "not closed"),
    ('0781234567,A\n0781234568,"B', 3, "not closed"),
    ('0781234567,"A\n0781234568,B\n0781234569,"C\n', 2, "text after a closing"),
    ('0781234567,"A"x\n0781234568,B\n', 2, "text after a closing"),
    ('0781234567,A\n\n0781234568,B "the" C\n', 4, "inside a field"),
    ('0781234567, "A"\n', 2, "inside a field"),
    ('0781234567,"A\n0781234568,B\n0781234569,C"\n', 2, "line break in 'name'"),
    ('"0781234567\n0781234568",A\n', 2, "line break in 'phonenumber'"),
    ('"0781234567\r\n",A\n', 2, "line break in 'phonenumber'"),
    ('0781234567,"A\r0781234568,B"\n', 2, "line break in 'name'"),
]


@pytest.mark.parametrize(("rows", "row", "says"), FAULTS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_quote_that_stands_wrong_stops_it_and_names_the_row(sandbox, tmp_path, rows, row, says, separator):
    path = tmp_path / "a.csv"
    path.write_bytes(f"phonenumber,name\n{rows}".replace(",", separator).encode())
    message = refused(sandbox, re.escape(says), recipients=path, text="Muraho @contact.name")
    assert f"row {row} " in message
    assert "1234567" not in message
    with pytest.raises(PindoConfigurationError, match=re.escape(says)):
        write_partitions(path, tmp_path / "parts", partitions=2)


@pytest.mark.parametrize(("rows", "row", "says"), FAULTS)
def test_a_quote_that_stands_wrong_hides_nobody_who_opted_out(sandbox, tmp_path, rows, row, says):
    path = tmp_path / "opted_out.csv"
    path.write_bytes(f"phonenumber,name\n{rows}".encode())
    refused(sandbox, "opted_out.csv", recipients=people(2), text="Muraho", exclude=path)


@pytest.mark.parametrize("note", ["x\n0781234568,B,", "call\n0781234568", "one\ntwo,three,four"])
def test_a_column_that_nothing_reads_swallows_no_row(sandbox, tmp_path, note):
    path = tmp_path / "a.csv"
    write_csv(path, ("phonenumber", "name", "note"), [("+250781234567", "A", note)])
    refused(sandbox, "row 2 has a line break in 'note'", recipients=path, text="Muraho")
    refused(
        sandbox, "row 2 has a line break in 'note'", recipients=people(1), text="Muraho", exclude=str(path)
    )


def test_a_column_that_nothing_reads_may_have_notes_of_several_lines(sandbox, tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ("phonenumber", "name", "note"), [("+250781234567", "A", 'the "first"\nthe second')])
    assert send(Store(), recipients=path, text="Muraho")["accepted"] == 1


def test_quotes_that_stand_right_are_read(sandbox, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"phonenumber","name"\n"+250781234567","Doe, ""Jo"""\n+250781234568,""\n')
    send(Store(), recipients=path, text="Muraho", report_path=str(tmp_path / "report.csv"))
    assert [each["name"] for each in report(tmp_path / "report.csv")] == ['Doe, "Jo"', ""]


# Cells


@pytest.mark.parametrize("value", [None, float("nan"), "", " ", "\u00a0"])
def test_a_missing_value_is_no_text(sandbox, value):
    row = {"phonenumber": "+250781234567", "name": value}
    refused(sandbox, "these rows have no 'name': 1", recipients=[row], text="Muraho @contact.name")


@pytest.mark.parametrize("value", [{"a": 1}, ["A"], ("A",), b"A", True, {"A"}, math.inf, Decimal("-inf")])
@pytest.mark.parametrize("field", ["name", "time"])
def test_a_value_that_is_not_a_text_is_a_bad_row(sandbox, value, field):
    row = {"phonenumber": "+250781234567", "name": "A", "time": "8:00", field: value}
    refused(sandbox, rf"row 2 \(.*'{field}': a value of type", recipients=[*people(1, time="9:00"), row])
    result = send(Store(), recipients=[*people(1, time="9:00"), row], text=PERSONAL, on_invalid="skip")
    assert (result["accepted"], result["rejected"]) == (1, 1)


@pytest.mark.parametrize("error", ["#N/A", "#REF!", " #DIV/0! "])
@pytest.mark.parametrize("suffix", [*WRITERS, "list"])
def test_a_cell_whose_formula_has_failed_is_a_bad_row(sandbox, tmp_path, suffix, error):
    header, rows = ("phonenumber", "name"), [("+250781234567", "Aline"), ("+250781234568", error)]
    recipients = tmp_path / f"a.{suffix}"
    if suffix == "list":
        recipients = [dict(zip(header, row, strict=True)) for row in rows]
    else:
        WRITERS[suffix](recipients, header, rows)
    says = rf"'name': the formula of the cell has failed \({re.escape(error.strip())}\)"
    refused(sandbox, says, recipients=recipients, text="Muraho @contact.name")
    assert send(Store(), recipients=recipients, on_invalid="skip")["rejected"] == 1
    assert texts(sandbox) == {"+250781234567": "Muraho Aline"}


@pytest.mark.parametrize("name", [{"first": "A"}, False, "#N/A"])
def test_a_name_that_nobody_reads_stops_no_message(sandbox, tmp_path, name):
    rows = [{"phonenumber": "+250781234567", "name": name}, {"phonenumber": "+250781234568", "name": "B"}]
    lines = tmp_path / "report.csv"
    assert send(Store(), recipients=rows, text="Muraho", report_path=str(lines))["accepted"] == 2
    assert [each["name"] for each in sandbox.requests()[0]["json"]["recipients"]] == ["", "B"]
    assert [line["name"] for line in report(lines)] == ["", "B"]


class NumpyString(str):
    """A string as an array of NumPy holds it, which has the type ``numpy.str_``."""


def test_numbers_in_strings_of_numpy_are_read(sandbox):
    numbers = [NumpyString("+250781234567"), NumpyString("+250781234568")]
    rows = [{"phonenumber": number, "name": NumpyString("Aline")} for number in numbers]
    assert send(Store(), recipients=numbers, text="Muraho")["accepted"] == 2
    assert send(Store(), recipients=rows, text="Muraho @contact.name")["accepted"] == 2


@pytest.mark.parametrize(("value", "text"), [(1500.0, "1500"), (1500, "1500"), (1500.5, "1500.5")])
def test_a_whole_number_has_no_decimal_point(sandbox, value, text):
    row = {"phonenumber": "+250781234567", "amount": value}
    send(Store(), recipients=[row], text="Pay @contact.amount")
    assert texts(sandbox) == {"+250781234567": f"Pay {text}"}


@pytest.mark.parametrize("suffix", WRITERS)
def test_white_space_and_decomposed_accents_make_no_second_text(sandbox, tmp_path, suffix):
    name = "Ren\u00e9"
    names = [name, f"{name} ", f"\u00a0{name}", unicodedata.normalize("NFD", name)]
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, HEADER[:2], [("+250781234567", each) for each in names])
    result = send(Store(), recipients=path)
    assert (result["accepted"], result["duplicates"]) == (1, 3)
    assert texts(sandbox) == {"+250781234567": f"Muraho {name}"}


# Headers


@pytest.mark.parametrize("suffix", ["csv", "parquet", "xlsx"])
@pytest.mark.parametrize("twice", ["phonenumber", "time"])
def test_a_column_that_stands_twice_is_refused_by_name(sandbox, tmp_path, suffix, twice):
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, (*HEADER, twice), [(*row, row[0]) for row in ROWS])
    refused(sandbox, f"has the column '{twice}' 2 times", recipients=path)
    with pytest.raises(PindoConfigurationError, match=f"has the column '{twice}' 2 times"):
        write_partitions(path, tmp_path / "parts", partitions=2)
    if twice == "phonenumber":
        refused(sandbox, "has the column 'phonenumber' 2 times", recipients=people(2, time=""), exclude=path)


def test_a_json_field_that_stands_twice_is_refused_by_name(sandbox, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"phonenumber": "+250781234567", "phonenumber": "+250781234568"}')
    refused(sandbox, "row 1 has the field 'phonenumber' twice", recipients=path, text="Muraho")


@pytest.mark.parametrize("suffix", WRITERS)
def test_case_and_outer_spaces_of_a_header_do_not_matter(sandbox, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, ("PhoneNumber ", "NAME", " Time"), ROWS)
    send(Store(), recipients=path, text=PERSONAL)
    assert texts(sandbox) == TEXTS
    (part,) = write_partitions(path, tmp_path / "parts", partitions=1)
    assert send(Store(), recipients=part, text=PERSONAL, exclude=str(path))["excluded"] == 2


def written(tmp_path, suffix, header):
    """Return recipients with these names: a file, or a list."""
    if suffix == "list":
        return [dict(zip(header, row, strict=True)) for row in ROWS]
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, header, ROWS)
    return str(path)


@pytest.mark.parametrize("suffix", [*WRITERS, "list"])
@pytest.mark.parametrize("names", [("Name", "NAME"), ("name", "Name"), ("name ", "name")])
@pytest.mark.parametrize("text", ["Muraho", "Muraho @contact.name"])
def test_two_columns_that_differ_only_in_case_are_refused(sandbox, tmp_path, suffix, names, text):
    recipients = written(tmp_path, suffix, ("phonenumber", *names))
    says = (
        f"more than one column that could be 'name': {', '.join(map(repr, names))}. Rename or remove the others, or "
        "name the right one: columns={'name': …}"
    )
    refused(sandbox, re.escape(says), recipients=recipients, text=text)


@pytest.mark.parametrize("suffix", [*WRITERS, "list"])
def test_two_columns_that_could_be_the_number_are_refused(sandbox, tmp_path, suffix):
    recipients = written(tmp_path, suffix, ("PhoneNumber", "phonenumber", "name"))
    says = "more than one column that could be 'phonenumber': 'PhoneNumber', 'phonenumber'. Rename or remove the others"
    refused(sandbox, re.escape(f"{says}, or name the"), recipients=recipients, text="Muraho")
    refused(sandbox, f"{re.escape(says)}$", recipients=["+250780000001"], exclude=recipients)
    with pytest.raises(PindoConfigurationError, match=re.escape(says)):
        write_partitions(recipients, tmp_path / "parts", partitions=2)


@pytest.mark.parametrize("suffix", [*WRITERS, "list"])
def test_a_name_that_the_user_wrote_finds_its_exact_spelling(sandbox, tmp_path, suffix):
    recipients = written(tmp_path, suffix, ("phonenumber", "name", "Name"))
    send(Store(), recipients=recipients, columns={"name": "Name"}, text="Muraho @contact.name")
    send(Store(), recipients=recipients, columns={"name": "name"}, text="Muraho @contact.name")
    assert {each["text"] for each in sandbox.messages()} == {
        "Muraho Aline",
        "Muraho Bosco",
        "Muraho 8:00",
        "Muraho 9:00",
    }
    assert len(write_partitions(recipients, tmp_path / "parts", partitions=2)) == 2


def test_the_number_that_partitions_name_is_found_by_its_exact_spelling(tmp_path):
    rows = [{"Tel": "+250781234567", "tel": "+250780000001"}, {"Tel": "0781234567", "tel": "+250780000002"}]
    paths = write_partitions(rows, tmp_path, partitions=997, phonenumber="Tel")
    assert [size for size in (len(Path(path).read_text().splitlines()) for path in paths) if size] == [2]


@pytest.mark.parametrize("suffix", [*WRITERS, "list"])
def test_a_missing_column_is_named_with_what_the_file_has(sandbox, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "list":
        path = [dict(zip(("phonenumber", "names"), row[:2], strict=True)) for row in ROWS]
    else:
        WRITERS[suffix](path, ("phonenumber", "names"), [row[:2] for row in ROWS])
    message = refused(sandbox, "has no (column|field) 'name'", recipients=path, text="Muraho @contact.name")
    assert (
        "'phonenumber', 'names'; the nearest is 'names'. Name the right one: columns={'name': …}" in message
    )
    assert send(Store(), recipients=path, text="Muraho")["accepted"] == 2


@pytest.mark.parametrize("suffix", [*WRITERS, "list"])
@pytest.mark.parametrize("field", ["name", "time", "visit"])
def test_columns_that_point_to_no_column_are_refused(sandbox, tmp_path, suffix, field):
    path = tmp_path / f"a.{suffix}"
    if suffix == "list":
        path = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    else:
        WRITERS[suffix](path, HEADER, ROWS)
    refused(sandbox, "has no (column|field) 'Saa'", recipients=path, columns={field: "Saa"}, text="Muraho")


# Blank rows and row numbers


@pytest.mark.parametrize("suffix", [*WRITERS, "list"])
def test_blank_rows_are_no_rows_and_keep_their_numbers(sandbox, tmp_path, suffix):
    blank = [("", "", ""), (" ", "", "  ")] if suffix in ("csv", "list") else [(None, None, None)] * 2
    rows = [ROWS[0], *blank, ("0799912", "C", "7:00"), *blank * 1200, ROWS[1], *blank]
    path, exclude = tmp_path / f"a.{suffix}", tmp_path / f"exclude.{suffix}"
    if suffix == "list":
        path = [dict(zip(HEADER, row, strict=True)) for row in rows]
        exclude = [path[0], *path[1:3], path[-3]]
    else:
        WRITERS[suffix](path, HEADER, rows)
        WRITERS[suffix](exclude, HEADER, [ROWS[0], *blank, ROWS[1], *blank])
    first = 2 if suffix in ("csv", "xlsx") else 1
    result = send(
        Store(),
        recipients=path,
        text=PERSONAL,
        on_invalid="skip",
        report_path=str(tmp_path / "report.csv"),
        chunk_size=1,
    )
    assert (result["given"], result["accepted"], result["rejected"]) == (3, 2, 1)
    assert texts(sandbox) == TEXTS
    numbers = [str(first), str(first + 3), str(first + 4 + 2400)]
    assert sorted((each["row"] for each in report(tmp_path / "report.csv")), key=int) == numbers
    assert result["rejections"][0]["row"] == first + 3
    assert (
        send(Store(), recipients=path, text=PERSONAL, on_invalid="skip", exclude=exclude, dry_run=True)[
            "excluded"
        ]
        == 2
    )
    (part,) = write_partitions(path, tmp_path / "parts", partitions=1)
    assert len(Path(part).read_text().splitlines()) == 3


def test_a_row_with_anything_in_it_is_a_row(sandbox, tmp_path):
    for suffix, write in WRITERS.items():
        path = tmp_path / f"a.{suffix}"
        write(path, ("phonenumber", "name", "note"), [(*ROWS[0][:2], "x"), ("", "", "x")])
        refused(sandbox, "1 of 2 recipients cannot be texted", recipients=path, text="Muraho")


def test_a_retry_finds_the_rows_of_a_list_with_blank_rows(sandbox, tmp_path):
    path, store = tmp_path / "a.csv", Store()
    path.write_text("phonenumber,name\n,\n+250781234567,A\n\n \n+250781234568,B\n")
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowFailException, match=r"row 3 \(\+25078\*\*\*\*567\)"):
        send(store, recipients=path, chunk_size=1, concurrency=1)
    store.settle("sent")
    assert send(store, generation=1, recipients=path, chunk_size=1)["accepted"] == 2
    assert len(sandbox.messages()) == 2


# What Excel writes


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_separators_and_encodings_of_excel_are_read(sandbox, tmp_path, separator, encoding, suffix):
    path = tmp_path / f"a.{suffix}"
    rows = [(*row[:2], f"{row[2]}, room 1") for row in ROWS]
    write_csv(path, HEADER, rows, delimiter=separator, encoding=encoding)
    send(Store(), recipients=path, text=PERSONAL)
    assert texts(sandbox) == {number: f"{text}, room 1" for number, text in TEXTS.items()}
    assert send(Store(), recipients=people(1), text="Muraho", exclude=path)["given"] == 1


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_the_line_that_names_the_separator_is_no_row(sandbox, tmp_path, separator):
    path = tmp_path / "a.csv"
    path.write_text(f"sep={separator}\nphonenumber,name\n0799912,A\n".replace(",", separator))
    refused(sandbox, r"row 2 \(", recipients=path, text="Muraho")


def test_a_header_with_two_possible_separators_is_refused(sandbox, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("phonenumber,a;phonenumber\n+250781234567,b;+250781234568\n")
    refused(sandbox, "could be separated by commas or semicolons", recipients=path, text="Muraho")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PAR1", "is a Parquet file, and not text"),
        (b"\x1f\x8b\x08", "is compressed with gzip"),
        ("phonenumber,name\n".encode("utf-16-le"), "has zero bytes in it, as UTF-16 without"),
        ("phonenumber".encode("utf-16") + b"\n", "is not encoded in UTF-8"),
    ],
)
def test_what_is_no_text_is_named(sandbox, tmp_path, content, says):
    (tmp_path / "a.csv").write_bytes(content)
    refused(sandbox, says, recipients=tmp_path / "a.csv")


def test_fields_too_many_are_no_fault_when_they_are_blank(sandbox, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("phonenumber,name,time\n+250781234567,Aline,8:00,,\n+250781234568,Bosco,9:00, \n")
    send(Store(), recipients=path, text=PERSONAL)
    assert texts(sandbox) == TEXTS


@pytest.mark.parametrize("argument", ["recipients", "exclude"])
def test_a_folder_of_parquet_files_is_one_list(sandbox, tmp_path, argument):
    folder = tmp_path / "patients.parquet"
    folder.mkdir()
    write_parquet(folder / "part-0.parquet", HEADER, ROWS[:1])
    write_parquet(folder / "part-1.parquet", HEADER, ROWS[1:])
    (folder / "_SUCCESS").touch()
    result = send(
        Store(), **{"recipients": [row[0] for row in ROWS], "text": "Muraho", argument: f"{folder}/"}
    )
    assert result["excluded" if argument == "exclude" else "accepted"] == 2
    (folder / "country=RW").mkdir()
    refused(sandbox_reset(sandbox), "patients.parquet is a folder, and not all", recipients=f"{folder}/")


def test_a_folder_of_unlike_parquet_files_is_refused(sandbox, tmp_path):
    folder = tmp_path / "patients.parquet"
    folder.mkdir()
    write_parquet(folder / "part-0.parquet", HEADER, ROWS)
    write_parquet(folder / "part-1.parquet", HEADER[:2], [row[:2] for row in ROWS])
    refused(sandbox, "do not all have the same columns", recipients=folder)


# The property

CELL = st.lists(
    st.sampled_from([*'AbZ ,;"\t\n\r\u00e9\u0301=@.', "\n+250781234568,B,9:00\n"]), min_size=1, max_size=8
).map("".join)
PEOPLE = st.lists(
    st.tuples(st.integers(0, 99).map(lambda digits: f"+2507812345{digits:02}"), CELL, CELL),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row[0],
)


def normal(text):
    return unicodedata.normalize("NFC", text.strip())


@pytest.mark.parametrize("suffix", WRITERS)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(rows=PEOPLE, cut=st.none() | st.integers(0, 200), quote=st.booleans())
def test_each_person_gets_only_the_text_of_their_own_row_or_nobody_gets_any(
    sandbox, suffix, rows, cut, quote
):
    assume(all(normal(name) and normal(time) for _, name, time in rows))
    if suffix == "xlsx":  # XML has one line break
        rows = [(number, name.replace("\r", " "), time.replace("\r", " ")) for number, name, time in rows]
    sandbox.reset()
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{suffix}"
        WRITERS[suffix](path, HEADER, rows)
        if cut is not None and suffix == "csv":  # a quote is lost, or one too many
            content = path.read_bytes()
            position = content.find(b'"', cut % len(content)) if quote else cut % len(content)
            assume(position > len("phonenumber,name,time"))
            path.write_bytes(content[:position] + (b"" if quote else b'"') + content[position + quote :])
        try:
            send(Store(), recipients=path, text="@contact.name|@contact.time")
        except AirflowFailException:
            assert sandbox.messages() == []
            return
    own = {number: f"{normal(name)}|{normal(time)}" for number, name, time in rows}
    received = {each["to"]: each["text"] for each in sandbox.messages()}
    assert set(received) == set(own)
    if cut is None or suffix != "csv":
        assert received == own


def test_json_lines_with_blank_objects_and_lines_are_counted_by_object(sandbox, tmp_path):
    path = tmp_path / "a.jsonl"
    write_jsonl(path, HEADER[:2], [ROWS[0][:2], ("", None), ("07", "B")])
    path.write_text(path.read_text().replace("\n", "\n\n"))
    refused(sandbox, r"row 3 \(", recipients=path, text="Muraho")


def test_a_value_of_another_type_where_the_number_should_be_is_not_shown(sandbox):
    row = {"phonenumber": ["+250781234567"], "name": "A"}
    result = send(Store(), recipients=[*people(1), row], text="Muraho", on_invalid="skip")
    assert [(each["row"], each["phonenumber"]) for each in result["rejections"]] == [(2, "")]


@pytest.mark.parametrize("header", ['"phonenumber,name\n', 'phonenumber,na"me\n', '"phonenumber"x,name\n'])
def test_a_quote_that_stands_wrong_in_the_header_is_named(sandbox, tmp_path, header):
    path = tmp_path / "a.csv"
    path.write_text(f"{header}+250781234567,A\n")
    refused(sandbox, r"a\.csv cannot be read as CSV \(row 1 has", recipients=path, text="Muraho")


def test_a_field_that_no_name_is_as_long_as_is_named(sandbox, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"phonenumber,name\n+250781234567,A\n+250781234568,{'B' * 200_000}\n")
    refused(sandbox, r"a\.csv cannot be read as CSV \(row 3: field larger", recipients=path, text="Muraho")


def test_a_workbook_and_json_lines_may_say_who_is_excluded(sandbox, tmp_path):
    for suffix in ("xlsx", "jsonl"):
        path = tmp_path / f"a.{suffix}"
        WRITERS[suffix](path, HEADER, ROWS[:1])
        result = send(Store(), recipients=[row[0] for row in ROWS], text="Muraho", exclude=str(path))
        assert (result["accepted"], result["excluded"]) == (1, 1)


@pytest.mark.parametrize("name", ["opted_out.txt", "opted_out.csv"])
def test_blank_lines_above_the_excluded_count_and_are_no_numbers(sandbox, tmp_path, name):
    path = tmp_path / name
    path.write_text("\n \nPhoneNumber \n\n0781234567\n")
    result = send(Store(), recipients=[row[0] for row in ROWS], text="Muraho", exclude=str(path))
    assert result["excluded"] == 1
    path.write_text("\n\n0781234567\n\n07812\n")
    refused(sandbox_reset(sandbox), "row 5 of exclude", recipients=people(1), text="Muraho", exclude=path)
