"""What people's Excel workbooks hold: sheets, titles, dates, and cells that are no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_pindo.operators.partitions import write_partitions
from tests.operators.bulk import PERSONAL, Store, people, send
from tests.operators.files import (
    HEADER,
    ROWS,
    TEXTS,
    Styled,
    refused,
    texts,
    write_xlsx,
)


def test_a_sheet_with_titles_blank_rows_and_numbers_typed_as_numbers_is_read(sandbox, tmp_path):
    path = tmp_path / "clinic.xlsx"
    rows = [[None], [None, "Phonenumber", "Name", "Time"], [None, 781234567, "Aline ", "8:00"], [], [" "]]
    write_xlsx(
        path, ["Kigali Clinic"], [*rows, [None, 250781234568.0, "Bosco", "9:00"], [None, 7999, "C", "1"]]
    )
    result = send(Store(), recipients=path, text=PERSONAL, on_invalid="skip")
    assert texts(sandbox) == TEXTS
    assert [each["row"] for each in result["rejections"]] == [8]


@pytest.mark.parametrize(("titles", "is_read"), [(19, True), (20, False)])
def test_the_header_is_among_the_first_twenty_rows(sandbox, tmp_path, titles, is_read):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, ["Title"], [*[["Title"]] * (titles - 1), HEADER, *ROWS])
    if is_read:
        assert send(Store(), recipients=path, text=PERSONAL)["accepted"] == 2
    else:
        refused(sandbox, "column", recipients=path)


@pytest.mark.parametrize("style", [1, 2])
def test_a_date_cell_of_excel_is_a_bad_row_that_says_what_to_do(sandbox, tmp_path, style):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, HEADER, [(*ROWS[0][:2], Styled(46000.375, style))])
    refused(sandbox, r"row 2 \(.*date or time cell of Excel.*format the column as text", recipients=path)
    assert send(Store(), recipients=path, text="Muraho")["accepted"] == 1
    (part,) = write_partitions(path, tmp_path / "parts", partitions=1)
    sandbox.reset()
    refused(sandbox, r"row 1 \(.*date or time cell of Excel.*format the column as text", recipients=part)


@pytest.mark.parametrize("name", [Styled(46000, 1), "#N/A", True])
def test_a_name_that_is_no_text_stops_nothing_where_the_text_does_not_mention_it(sandbox, tmp_path, name):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, ("phonenumber", "name"), [("+250781234567", name)])
    refused(sandbox, r"row 2 \(.*'name': ", recipients=path, text="Muraho @contact.name")
    assert send(Store(), recipients=path, text="Muraho")["accepted"] == 1
    assert texts(sandbox) == {"+250781234567": "Muraho"}


def test_a_bool_cell_of_excel_is_a_bad_row(sandbox, tmp_path):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, HEADER, [(*ROWS[0][:2], True)])
    refused(sandbox, r"row 2 \(.*'time': a value of type bool", recipients=path)


def test_the_first_visible_sheet_or_the_named_one_is_read(sandbox, tmp_path):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, HEADER, ROWS, sheets=("Old", "Notes", "Patients"), hidden=("Old",))
    refused(sandbox, "has no rows in its sheet.*sheet=", recipients=path)
    refused(sandbox, "no sheet 'X'; it has 'Old', 'Notes', 'Patients'", recipients=path, sheet="X")
    assert send(Store(), recipients=path, text=PERSONAL, sheet="Patients")["accepted"] == 2
    write_xlsx(path, HEADER, ROWS, sheets=("Old", "Patients"), hidden=("Old",))
    assert send(Store(), recipients=path, text=PERSONAL)["accepted"] == 2
    (part,) = write_partitions(path, tmp_path / "parts", partitions=1, sheet="Patients")
    assert len(Path(part).read_text().splitlines()) == 2


def test_a_workbook_without_its_reader_or_under_another_name_says_what_to_do(sandbox, tmp_path, monkeypatch):
    for name in ("a.csv", "a.jsonl", "a.txt"):
        write_xlsx(tmp_path / name, HEADER, ROWS)
        argument = "exclude" if name == "a.txt" else "recipients"
        refused(
            sandbox,
            rf"{name} is an Excel workbook, and not text: let its name end in \.xlsx",
            **{"recipients": people(1), "text": "Muraho", argument: str(tmp_path / name)},
        )
    for content in (b"phonenumber,name\n", b"PK\x03\x04", b"\xd0\xcf\x11\xe0" * 200):
        (tmp_path / "a.xlsx").write_bytes(content)
        refused(sandbox, r"a\.xlsx cannot be read as an Excel workbook", recipients=tmp_path / "a.xlsx")
    monkeypatch.setitem(__import__("sys").modules, "python_calamine", None)
    refused(
        sandbox,
        r"a\.xlsx is an Excel workbook, .*airflow-provider-pindo\[excel\].*CSV",
        recipients=tmp_path / "a.xlsx",
    )


@pytest.mark.parametrize("argument", ["recipients", "exclude"])
def test_a_date_cell_where_the_number_should_be_says_what_it_is(sandbox, tmp_path, argument):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, HEADER, [(Styled(46000, 1), "A", "8:00")])
    refused(
        sandbox,
        "row 2 .*date or time cell of Excel",
        **{"recipients": people(1), "text": "Muraho", argument: path},
    )
