"""What a bulk send takes beside files: Arrow tables, DataFrames, one mapping; and its report in a spreadsheet."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoInsufficientBalanceError
from airflow_provider_pindo.operators.partitions import write_partitions
from tests.api.float32 import Float32
from tests.operators.bulk import PERSONAL, Store, people, report, send
from tests.operators.files import HEADER, ROWS, TEXTS, refused, sandbox_reset, texts


def test_an_arrow_table_is_a_list_of_its_rows(sandbox, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    columns = dict(zip(HEADER, map(list, zip(*ROWS, (None, None, None), strict=True)), strict=True))
    table = pyarrow.table({**columns, "__index_level_0__": [3, 5, 7]})
    for recipients in (table, lambda: table, lambda: table.to_batches()[0]):
        sandbox.reset()
        assert send(Store(), recipients=recipients, text=PERSONAL)["given"] == 2
        assert texts(sandbox) == TEXTS
    sandbox.reset()
    assert send(Store(), recipients=people(1), text="Muraho", exclude=table)["excluded"] == 0
    (part,) = write_partitions(table, tmp_path, partitions=1)
    assert send(Store(), recipients=part, text=PERSONAL)["accepted"] == 2


def test_a_retry_finds_the_rows_of_an_arrow_table_in_other_chunks(sandbox):
    """polars, DuckDB and pandas cut the same rows as their threads and their memory want it."""
    pyarrow = pytest.importorskip("pyarrow")
    rows = pyarrow.Table.from_pylist([{"phonenumber": None, "name": None}, *people(2500)])
    chunks = [rows.slice(start, length) for start, length in ((0, 1), (1, 0), (1, 700), (701, 1800))]
    in_chunks = pyarrow.concat_tables(chunks)
    assert [len(batch) for batch in in_chunks.to_batches()] == [1, 0, 700, 1800]
    store, arguments = Store(), {"text": "Muraho", "on_unknown": "accept", "chunk_size": 500}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, recipients=rows, **arguments)
    assert send(store, generation=1, recipients=in_chunks, **arguments)["accepted"] == 2500
    assert len(sandbox.messages()) == 2500


@pytest.mark.parametrize("rows", [999, 1000, 1001, 2000])
def test_every_row_of_an_arrow_table_is_read_whatever_its_length(sandbox, rows):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pylist(people(rows))
    result = send(Store(), recipients=table, text="Muraho", dry_run=True)
    assert result["given"] == rows


def test_an_arrow_table_with_a_column_twice_is_refused(sandbox):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table([["+250781234567"], ["+250781234568"]], names=["phonenumber", "phonenumber"])
    refused(sandbox, "recipients has the column 'phonenumber' 2 times", recipients=table)


class Frame:
    """A DataFrame that Arrow cannot read, or without the interface of Arrow."""

    columns = ("phonenumber",)

    def iterrows(self):
        raise AssertionError


class Broken(Frame):
    def __arrow_c_stream__(self, requested_schema=None):
        raise ValueError("Duplicate column names found: ['phonenumber', 'phonenumber']")


def test_a_data_frame_that_cannot_be_read_says_why(sandbox, tmp_path):
    pytest.importorskip("pyarrow")
    refused(sandbox, "recipients is a Broken, and Arrow cannot read it .Duplicate", recipients=Broken())
    refused(sandbox, r"of type Frame, which has no Arrow interface: .*to_dict", recipients=Frame())
    with pytest.raises(PindoConfigurationError, match="recipients is of type Frame"):
        write_partitions(Frame(), tmp_path, partitions=1)


def test_an_arrow_array_is_a_list_of_numbers(sandbox, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    numbers = pyarrow.chunked_array([[row[0] for row in ROWS]])
    assert send(Store(), recipients=numbers, text="Muraho")["accepted"] == 2
    assert send(Store(), recipients=people(1), exclude=numbers)["excluded"] == 0
    with pytest.raises(PindoConfigurationError, match="has no columns: give a DataFrame"):
        write_partitions(numbers, tmp_path, partitions=1)


def short_floats(values, kind):
    """Return an Arrow array of floats with 16 or 32 bits: plain, or as pandas' categories."""
    import pyarrow

    short = pyarrow.array(values, getattr(pyarrow, kind.split()[0])())
    return short.dictionary_encode() if kind.endswith("categories") else short


@pytest.mark.parametrize("kind", ["float32", "float16", "float32 categories"])
def test_a_number_in_a_short_float_texts_no_stranger(sandbox, tmp_path, kind):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    column = short_floats([64000.0 if kind == "float16" else 781234560.0], kind)
    table, path = pyarrow.table({"phonenumber": column}), tmp_path / "a.parquet"
    parquet.write_table(table, path)
    why = r"is of type .*float.*: floats of 16 or 32 bits lose the last digits of a number. Write it as text"
    for source, name in ((table, "recipients"), (path, "a.parquet")):
        says = f"the column 'phonenumber' of {name} {why}"
        refused(sandbox, says, recipients=source, text="Muraho")
        says_of_list = says.replace("recipients", "exclude")
        refused(sandbox, says_of_list, recipients=people(1), text="Muraho", exclude=source)
        with pytest.raises(PindoConfigurationError, match=says):
            write_partitions(source, tmp_path / "parts", partitions=1)
    series = pyarrow.chunked_array([column])
    refused(sandbox, f"recipients {why}", recipients=series, text="Muraho")
    refused(sandbox, f"exclude {why}", recipients=people(1), text="Muraho", exclude=series)


@pytest.mark.parametrize(
    ("kind", "amounts"),
    [
        ("float32", {19.99: "19.99", 0.00001: "0.00001", 1e10: "10000000000", 50000008.0: "50000008"}),
        ("float32 categories", {19.99: "19.99"}),
        ("float16", {19.98: "19.98", 0.1: "0.1", 2048.0: "2048"}),
    ],
)
def test_an_amount_in_a_short_float_is_texted_as_it_was_written(sandbox, tmp_path, kind, amounts):
    pyarrow = pytest.importorskip("pyarrow")
    rows = people(len(amounts) + 2)
    columns = {
        "phonenumber": [row["phonenumber"] for row in rows],
        "amount": short_floats([*amounts, None, float("nan")], kind),
    }
    table = pyarrow.table(columns)
    (part,) = write_partitions(table, tmp_path, partitions=1)
    for recipients in (table, part):
        sandbox.reset()
        refused(sandbox, "have no 'amount'", recipients=recipients, text="Pay @contact.amount")
        excluded = [row["phonenumber"] for row in rows[-2:]]
        send(Store(), recipients=recipients, text="Pay @contact.amount", exclude=excluded)
        assert sorted(texts(sandbox).values()) == sorted(f"Pay {amount}" for amount in amounts.values())


def test_a_series_of_mappings_is_a_list_of_rows(sandbox):
    pytest.importorskip("pyarrow")

    class Series(list):
        def __arrow_c_stream__(self, requested_schema=None):
            raise ValueError("cannot mix struct and non-struct values")

    assert send(Store(), recipients=Series(people(2)))["accepted"] == 2


def test_a_short_float_of_another_library_stays_refused_in_a_partition(sandbox, tmp_path):
    rows = [{"phonenumber": Float32(781234567), "amount": Float32(19.99)}]
    (part,) = write_partitions(rows, tmp_path, partitions=1)
    line = json.loads(Path(part).read_text())
    assert line == {"phonenumber": ["a value of type Float32"], "amount": "19.99"}
    refused(sandbox, "of type list, not a string", recipients=part, text="Muraho")


def test_one_mapping_is_one_recipient(sandbox, tmp_path):
    row = dict(zip(HEADER, ROWS[0], strict=True))
    assert send(Store(), recipients=row, text=PERSONAL)["accepted"] == 1
    assert len(write_partitions(row, tmp_path, partitions=1)) == 1
    refused(sandbox_reset(sandbox), "one mapping with 'phonenumber'", recipients={"+250781234567": "Aline"})


def test_a_set_and_nothing_say_what_to_give(sandbox, tmp_path):
    refused(sandbox, r"of type set, whose order .*sorted\(", recipients={"+250781234567"})
    refused(sandbox, "of type NoneType, so the upstream task .* returned nothing", recipients=lambda: None)
    refused(sandbox, "exclude is None, .* returned nothing", recipients=people(1), exclude=lambda: None)
    with pytest.raises(PindoConfigurationError, match=r"sorted\("):
        write_partitions({"+250781234567"}, tmp_path, partitions=1)


def test_values_that_json_does_not_know_are_no_text_in_a_partition(sandbox, tmp_path):
    class NAType:
        def __eq__(self, other):
            raise TypeError

        __hash__ = None

    rows = [
        {"phonenumber": "+250781234567", "name": b"A"},
        {"phonenumber": "+250781234568", "name": NAType()},
        {"phonenumber": "+250781234569", "name": datetime(2026, 11, 29, 9, 30)},
        {"phonenumber": [1], "name": "A"},
    ]
    (part,) = write_partitions(rows, tmp_path, partitions=1)
    refused(sandbox, "these rows have no 'name': 2", recipients=part, text="@contact.name", on_invalid="skip")
    with_a_name = {"recipients": part, "text": "@contact.name", "exclude": ["+250781234568"]}
    refused(sandbox, r"row 1 \(.*'name': a value of type", **with_a_name)
    result = send(Store(), recipients=part, text="Muraho", on_invalid="skip")
    assert [each["row"] for each in result["rejections"]] == [4]


def test_one_number_in_two_types_stays_in_one_partition(tmp_path):
    for numbers in (
        ["0781234567", 781234567.0],
        ["0781234567.0", "\u0660\u0667\u0668\u0661\u0662\u0663\u0664\u0665\u0666\u0667"],
    ):
        paths = write_partitions([{"phonenumber": each} for each in numbers], tmp_path, partitions=7)
        assert sorted(Path(path).read_text().count("\n") for path in paths)[-1] == 2


# The report


def test_a_spreadsheet_takes_nothing_in_the_report_for_a_formula(sandbox, tmp_path):
    path = tmp_path / "report.csv"
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "a=1"]
    rows = [{"phonenumber": f"+25078123456{digit}", "name": name} for digit, name in enumerate(names)]
    rows.append({"phonenumber": "=HYPERLINK(1)", "name": "A"})
    send(Store(), recipients=rows, text="Muraho", on_invalid="skip", report_path=str(path))
    lines = sorted(report(path), key=lambda line: int(line["row"]))
    assert [line["name"] for line in lines] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "a=1", "A"]
    assert [line["phonenumber"] for line in lines[:2]] == ["+250781234560", "+250781234561"]
    assert lines[5]["phonenumber"] == "'=HYPERLINK(1)"
