"""Files that are broken, or hold what nobody expects, end in an error that says what to do and is not retried."""

from __future__ import annotations

import errno
import random
import zipfile
from pathlib import Path

import pytest

from airflow_provider_pindo._sources import files
from airflow_provider_pindo._sources.rows import open_source
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators.partitions import write_partitions
from tests.operators.bulk import Store, send
from tests.operators.files import WRITERS, refused, write_xlsx

HEADER = ("phonenumber", "name")
ROWS = [(f"+25078{row:07d}", f"Béa {row}") for row in range(40)]
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def rewrite(path: Path, change) -> None:
    """Rewrite the parts of a workbook: ``change`` takes a name and its content, and returns both."""
    with zipfile.ZipFile(path) as archive:
        parts = [change(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts:
            archive.writestr(name, content)


def damage(content: bytes, chance: random.Random) -> bytes:
    """Return bytes as a bad disk or a connection that was cut leaves them."""
    start, damaged = chance.randrange(len(content)), bytearray(content)
    how = chance.choice(["cut", "flip", "zero", "insert", "remove"])
    if how == "cut":
        del damaged[start:]
    elif how == "flip":
        for _ in range(chance.randint(1, 9)):
            damaged[chance.randrange(len(content))] = chance.randrange(256)
    else:
        there = {"zero": bytes(20), "insert": chance.randbytes(5), "remove": b""}[how]
        damaged[start : start if how == "insert" else start + 20] = there
    return bytes(damaged)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_damaged_file_is_read_or_refused(tmp_path, suffix):
    chance, whole, path = random.Random(suffix), tmp_path / f"whole.{suffix}", tmp_path / f"a.{suffix}"
    WRITERS[suffix](whole, HEADER, ROWS)
    errors = []
    for number in range(150):
        path.write_bytes(whole.read_bytes())
        if suffix == "xlsx" and number % 2:  # a part of the workbook, since the archive has a checksum
            victim = chance.choice(zipfile.ZipFile(path).namelist())
            rewrite(
                path,
                lambda name, part, victim=victim: (name, damage(part, chance) if name == victim else part),
            )
        else:
            path.write_bytes(damage(path.read_bytes(), chance))
        try:
            list(open_source(str(path)).blocks(HEADER))
        except PindoConfigurationError as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert all("a." in error or "recipients" in error for error in errors)


def test_an_error_of_the_storage_stays_one_that_is_retried(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    WRITERS["parquet"](path, HEADER, ROWS)

    class Disk:
        def __init__(self, opened):
            self.opened = opened

        def __getattr__(self, name):
            return getattr(self.opened, name)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.opened.close()

        def read(self, size=-1):
            raise OSError(errno.EIO, "the disk is broken")

    storage_path = files.storage_path

    class Storage:
        def __init__(self, path):
            self.path = storage_path(path)
            self.is_dir = self.path.is_dir

        def open(self, mode):
            return Disk(self.path.open(mode))

    monkeypatch.setattr("airflow_provider_pindo._sources.tables.storage_path", Storage)
    with pytest.raises(OSError, match="the disk is broken"):
        list(open_source(str(path)).blocks(HEADER))


def test_a_workbook_whose_sheets_are_all_hidden_says_so(sandbox, tmp_path):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, HEADER, ROWS[:1], hidden=("Sheet1",))
    refused(
        sandbox, r"a\.xlsx has no sheet to read, .*: show the sheet .* or name it: sheet=…", recipients=path
    )
    assert send(Store(), recipients=path, sheet="Sheet1")["accepted"] == 1


def test_a_chart_before_the_sheet_is_skipped(sandbox, tmp_path):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, HEADER, ROWS[:1], sheets=("Chart", "People"))

    def make_chart(name, part):
        if name.endswith("workbook.xml.rels"):
            sheet = f'{OFFICE}/worksheet" Target="worksheets/sheet1.xml'
            part = part.decode().replace(sheet, f'{OFFICE}/chartsheet" Target="chartsheets/sheet1.xml')
        elif name.endswith("/sheet1.xml"):
            name = "xl/chartsheets/sheet1.xml"
            part = '<chartsheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"/>'
        return name, part

    rewrite(path, make_chart)
    assert send(Store(), recipients=path)["accepted"] == 1


def cannot_be_held(kind):
    """Return a column of Arrow with a value that has no form in Python."""
    import pyarrow

    buffers = [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe")]
    return {
        "timestamp[ns]": lambda: pyarrow.array([1795000000000000123], pyarrow.timestamp("ns")),
        "duration[ns]": lambda: pyarrow.array([1795000000000000123], pyarrow.duration("ns")),
        "date32[day]": lambda: pyarrow.array([2**30], pyarrow.date32()),
        "timestamp[us, tz=Mars/Base]": lambda: pyarrow.array([0], pyarrow.timestamp("us", tz="Mars/Base")),
        "string": lambda: pyarrow.Array.from_buffers(pyarrow.string(), 1, buffers),
    }[kind]()


@pytest.mark.parametrize("is_file", [True, False])
@pytest.mark.parametrize(
    "kind", ["timestamp[ns]", "duration[ns]", "date32[day]", "timestamp[us, tz=Mars/Base]", "string"]
)
def test_a_value_that_python_cannot_hold_names_its_column(sandbox, tmp_path, kind, is_file):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"phonenumber": ["+250781000001"], "name": ["A"], "time": cannot_be_held(kind)})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    message = refused(
        sandbox, "'time', of type .*: write this column as text", recipients=str(path) if is_file else table
    )
    assert ("a.parquet" if is_file else "recipients") in message
    assert kind in message
    assert "1795" not in message
    with pytest.raises(PindoConfigurationError, match="'time', of type"):
        write_partitions(str(path) if is_file else table, tmp_path / "parts", partitions=1)
    assert send(Store(), recipients=table, text="Muraho")["accepted"] == 1
