"""Partitions: everybody is in one of them, and the rows of one number are in the same."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators.partitions import write_partitions
from tests.operators.bulk import people


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


def test_the_rows_of_a_cursor_are_split_and_one_number_keeps_together(tmp_path):
    cursor = iter([("0781234567", "A"), ("+250781234567", "B"), ("078 123 4567", "C")])
    parts = read(
        write_partitions(cursor, str(tmp_path), partitions=5, phonenumber="tel", fields=["tel", "name"])
    )
    assert [[row["name"] for row in part] for part in parts if part] == [["A", "B", "C"]]


def test_a_row_without_the_number_names_what_it_has(tmp_path):
    with pytest.raises(PindoConfigurationError, match="row 1 has no 'phonenumber'; it has 'tel'"):
        write_partitions([{"tel": "+250781234567"}], str(tmp_path), partitions=2)
