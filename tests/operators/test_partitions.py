"""Partitions: each row is in one of them, and all rows of a number are in the same."""

from __future__ import annotations

import csv
import json
import sys
from collections import ChainMap, Counter, UserDict
from pathlib import Path
from types import MappingProxyType

import phonenumbers
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators.partitions import write_partitions
from tests.operators.bulk import PERSONAL, Store, people, send


def read(paths):
    return [[json.loads(line) for line in Path(path).read_text().splitlines()] for path in paths]


def test_everybody_is_in_one_partition_and_again_in_the_same(tmp_path):
    path = tmp_path / "all.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["phonenumber", "name"])
        writer.writeheader()
        writer.writerows(people(1000))
    paths = write_partitions(str(path), str(tmp_path / "parts"), partitions=4)
    first = read(paths)
    assert sorted((row for part in first for row in part), key=lambda row: row["phonenumber"]) == people(1000)
    assert all(150 < len(part) < 350 for part in first)
    assert read(write_partitions(str(path), str(tmp_path / "parts"), partitions=4)) == first


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_and_the_folder_may_be_paths(tmp_path, kind):
    (tmp_path / "a.csv").write_text("phonenumber,name\n+250781234567,A\n")
    (part,) = read(write_partitions(kind(tmp_path / "a.csv"), kind(tmp_path / "parts"), partitions=1))
    assert part == [{"phonenumber": "+250781234567", "name": "A"}]


def test_half_a_character_is_left_to_the_send_to_report(sandbox, tmp_path):
    given = [
        *people(2),
        {"phonenumber": "+250780000009", "name": "half \ud83d"},
        {**people(3)[2], "name": "Béa €"},
    ]
    (path,) = write_partitions(given, str(tmp_path), partitions=1)
    result = send(Store(), recipients=path, on_invalid="skip")
    assert (result["accepted"], result["rejections"][0]["name"]) == (3, "half \ufffd")
    assert sandbox.messages(to="+250780000003")[0]["text"] == "Muraho Béa €"


def test_a_row_may_be_any_mapping(tmp_path):
    row = {"phonenumber": "+250781234567", "name": "A"}
    rows = [row, MappingProxyType(row), UserDict(row), ChainMap(row)]
    assert read(write_partitions(rows, str(tmp_path), partitions=1)) == [[row] * 4]


@pytest.mark.parametrize("row", ["+250781234567", b"+250781234567", 250781234567, None])
def test_a_bare_value_says_what_to_give(tmp_path, row):
    with pytest.raises(
        PindoConfigurationError, match=r"row 1 is a bare value of type .*: give mappings"
    ) as no:
        write_partitions([row], str(tmp_path), partitions=2)
    assert "4567" not in str(no.value)


@pytest.mark.parametrize("recipients", [7, None])
def test_what_are_no_rows_is_named(tmp_path, recipients):
    with pytest.raises(
        PindoConfigurationError, match=r"recipients is of type .*: give the path of a file, or rows"
    ):
        write_partitions(recipients, str(tmp_path), partitions=2)


def test_the_rows_of_a_cursor_are_split_and_one_number_keeps_together(tmp_path):
    cursor = iter([("0781234567", "A"), ("+250781234567", "B"), ("078 123 4567", "C")])
    parts = read(
        write_partitions(cursor, str(tmp_path), partitions=5, phonenumber="tel", fields=["tel", "name"])
    )
    assert [[row["name"] for row in part] for part in parts if part] == [["A", "B", "C"]]


def spellings(region, number):
    """Return how a number is written in its region and from abroad, and in E.164."""
    formats = phonenumbers.PhoneNumberFormat
    international = phonenumbers.format_number(number, formats.INTERNATIONAL)
    return [
        phonenumbers.format_number(number, formats.NATIONAL),
        phonenumbers.national_significant_number(number),
        international,
        international.replace("+", "00 "),
        phonenumbers.format_out_of_country_calling_number(number, region),
        phonenumbers.format_number(number, formats.E164),
    ]


@pytest.mark.parametrize("partitions", [7, 1000])
def test_the_spellings_of_a_number_are_in_one_file_in_every_country(tmp_path, partitions):
    kinds = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    numbers = {
        (region, kind): phonenumbers.example_number_for_type(region, kind)
        for region in phonenumbers.SUPPORTED_REGIONS
        for kind in kinds
    }
    rows = [
        {"phonenumber": text, "name": f"{region} {kind}"}
        for (region, kind), number in numbers.items()
        if number is not None
        for text in spellings(region, number)
    ]
    parts = read(write_partitions(rows, tmp_path, partitions=partitions))
    files = Counter(name for part in parts for name in {row["name"] for row in part})
    assert len(files) > 450
    assert set(files.values()) == {1}


@pytest.mark.parametrize(
    "spelling",
    [
        "781000001.00\u202c",
        "\u202a+250781000001\u202c",
        "tel:+250781000001",
        "(+250) 781-000-001",
        "0781000001,0 ",
        781000001.0,
        "\u0667\u0668\u0661\u0660\u0660\u0660\u0660\u0660\u0661",
        "\uff10\uff17\uff18\uff11000001",
    ],
)
def test_a_number_with_odd_characters_is_in_the_file_of_its_plain_spelling(tmp_path, spelling):
    parts = read(
        write_partitions([{"phonenumber": "0781000001"}, {"phonenumber": spelling}], tmp_path, partitions=997)
    )
    assert [len(part) for part in parts if part] == [2]


def test_a_thousand_partitions_are_filled_evenly(tmp_path):
    parts = read(write_partitions(people(20_000), tmp_path, partitions=1000))
    assert {len(part) for part in parts} == {20}


def test_the_rows_of_a_parquet_file_are_split(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(people(10)), tmp_path / "all.parquet")
    parts = read(write_partitions(str(tmp_path / "all.parquet"), str(tmp_path / "parts"), partitions=2))
    assert sorted((row for part in parts for row in part), key=lambda row: row["phonenumber"]) == people(10)


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(PindoConfigurationError, match=r"must end in \.csv"):
        write_partitions(str(tmp_path / "all.docx"), str(tmp_path), partitions=2)


def test_a_row_without_the_number_names_what_it_has(tmp_path):
    with pytest.raises(PindoConfigurationError, match="row 1 has no 'phonenumber'; it has 'tel'"):
        write_partitions([{"tel": "+250781234567"}], str(tmp_path), partitions=2)


def test_a_file_without_a_header_line_says_so_and_names_nobody(tmp_path):
    (tmp_path / "a.csv").write_text("078 123 4567,Aline\n0781234568,Doe\n")
    with pytest.raises(PindoConfigurationError, match="seems to have no header line") as refused:
        write_partitions(str(tmp_path / "a.csv"), str(tmp_path / "parts"), partitions=2)
    assert "Aline" not in str(refused.value)
    assert "4567" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "a.csv",
            "phonenumber,name\n+250781234567,A\n+250781234568,Doe, John\n",
            "a.csv: row 3 has 3 fields",
        ),
        ("a.csv", "", "a.csv is empty: check the program that writes it"),
        ("a.csv", "\nphonenumber,name\n+250781234567,A\n", "the first line of a.csv is blank"),
        ("a.csv", "phonenumber|name\n+250781234567|A\n", "separated by pipes: save it with commas"),
        ("a.jsonl", '{"phonenumber": "+250781234567"}\n\n{', "a.jsonl: row 2 is not a JSON object"),
        ("a.ndjson", "[1]", "a.ndjson: row 1 is not a JSON object"),
        (
            "a.csv",
            "phonenumber,name\n+250781234567,Ren\u00e9\n",
            "a.csv is not encoded in UTF-8: save it as UTF-8",
        ),
    ],
)
def test_a_row_that_cannot_be_read_says_where(tmp_path, name, content, says):
    (tmp_path / name).write_text(content, encoding="cp1252")
    with pytest.raises(PindoConfigurationError, match=says):
        write_partitions(str(tmp_path / name), str(tmp_path / "parts"), partitions=2)


def test_a_row_that_is_too_short_has_empty_fields(tmp_path):
    (tmp_path / "a.csv").write_text("phonenumber,name\n+250781234567\n")
    (part,) = read(write_partitions(str(tmp_path / "a.csv"), str(tmp_path / "parts"), partitions=1))
    assert part == [{"phonenumber": "+250781234567", "name": ""}]


@pytest.mark.parametrize("fields", [None, ["phonenumber"], ["phonenumber", "name", "time"]])
def test_a_row_whose_values_have_no_names_says_so(tmp_path, fields):
    with pytest.raises(
        PindoConfigurationError, match="row 2 is not a mapping, and fields does not name each"
    ):
        write_partitions([people(1)[0], ("+250781234567", "A")], str(tmp_path), partitions=2, fields=fields)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (["phonenumber", "name", "phonenumber", "name"], "fields has 'phonenumber' twice"),
        ("phonenumber", r"fields is the text 'phonenumber': give a list of names, such as \['phonenumber'\]"),
    ],
)
def test_fields_that_do_not_name_each_value_are_refused(tmp_path, fields, says):
    rows = [("+250781234567", "A", "+250780000001", "B")]
    with pytest.raises(PindoConfigurationError, match=says):
        write_partitions(rows, tmp_path / "parts", partitions=2, fields=fields)
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("partitions", [0, -1, "4", None, True])
def test_there_is_at_least_one_partition(tmp_path, partitions):
    with pytest.raises(PindoConfigurationError, match=r"partitions is .*: give a whole number from 1"):
        write_partitions(people(2), str(tmp_path / "parts"), partitions=partitions)
    assert not (tmp_path / "parts").exists()


def test_a_file_that_is_broken_or_missing_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(PindoConfigurationError, match=r"a\.parquet cannot be read as Parquet"):
        write_partitions(str(tmp_path / "a.parquet"), str(tmp_path / "parts"), partitions=2)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*b\.csv', which recipients names"):
        write_partitions(str(tmp_path / "b.csv"), str(tmp_path / "parts"), partitions=2)


def test_parquet_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(PindoConfigurationError, match=r"install airflow-provider-pindo\[parquet\]"):
        write_partitions(str(tmp_path / "a.parquet"), str(tmp_path / "parts"), partitions=2)


def test_a_value_that_is_not_a_text_is_refused_as_if_it_were_not_split(sandbox, tmp_path):
    rows = [{**people(1)[0], "time": b"8:00"}]
    (path,) = write_partitions(rows, tmp_path, partitions=1)
    for recipients in (rows, path):
        with pytest.raises(AirflowFailException, match="'time': a value of type bytes is not a text"):
            send(Store(), recipients=recipients, text=PERSONAL)
    assert sandbox.messages() == []
