"""Writers of the files that people send to, one for each kind of file; and what the tests of them share."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from tests.operators.bulk import PERSONAL, Store, send

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


class Styled:
    """A number cell with a style: 1 is a date, 2 a time."""

    def __init__(self, number: float, style: int) -> None:
        self.number = number
        self.style = style


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], **options: Any) -> None:
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        csv.writer(file, **options).writerows([header, *rows])


def write_jsonl(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    lines = (json.dumps(dict(zip(header, row, strict=True))) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_parquet(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = [pyarrow.array(list(column)) for column in zip(*rows, strict=True)]
    parquet.write_table(pyarrow.table(columns, names=list(header)), path)


def write_xlsx(
    path: Path,
    header: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    sheets: Sequence[str] = ("Sheet1",),
    hidden: Sequence[str] = (),
) -> None:
    """Write a workbook; the rows stand in its last sheet, and the others have none."""
    last = len(sheets)
    body = "".join(_row(number, row) for number, row in enumerate([header, *rows], start=1))
    names = "".join(
        f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"'
        f"{' state=' + chr(34) + 'hidden' + chr(34) if name in hidden else ''}/>"
        for number, name in enumerate(sheets, start=1)
    )
    links = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, last + 1)
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" '
        'ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{names}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{links}<Relationship '
        f'Id="rIdStyles" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14"/>'
        '<xf numFmtId="20"/></cellXfs></styleSheet>',
    }
    for number in range(1, last + 1):
        content = body if number == last else ""
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{_MAIN}"><sheetData>{content}</sheetData></worksheet>'
        )
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def _row(number: int, row: Sequence[Any]) -> str:
    cells = (_cell(f"{chr(65 + column)}{number}", value) for column, value in enumerate(row))
    return f'<row r="{number}">{"".join(cells)}</row>'


def _cell(place: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Styled):
        return f'<c r="{place}" s="{value.style}"><v>{value.number}</v></c>'
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value!r}</v></c>'
    text = escape(value).replace("\r", "_x000D_")
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet, "xlsx": write_xlsx}

HEADER = ("phonenumber", "name", "time")
ROWS = [("+250781234567", "Aline", "8:00"), ("+250781234568", "Bosco", "9:00")]
TEXTS = {"+250781234567": "Muraho Aline, at 8:00", "+250781234568": "Muraho Bosco, at 9:00"}


def texts(sandbox):
    return {each["to"]: each["text"] for each in sandbox.messages()}


def refused(sandbox, says, **arguments):
    with pytest.raises(AirflowFailException, match=says) as error:
        send(Store(), **{"text": PERSONAL, **arguments})
    assert sandbox.messages() == []
    return str(error.value)


def sandbox_reset(sandbox):
    sandbox.reset()
    return sandbox
