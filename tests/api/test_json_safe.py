"""What strangers write is kept as it came, but for what Airflow or its database would fail on."""

from __future__ import annotations

import json

import msgspec
import pytest

from airflow_provider_pindo.api.json_safe import MAX_KEY_LENGTH, json_safe

LARGE = 10**30


def deep(levels):
    value = "the end"
    for _ in range(levels):
        value = [value]
    return value


def test_what_no_database_stores_is_replaced():
    assert json_safe("a\0b\ud800c😀") == "a\ufffdb\ufffdc😀"
    assert json_safe({"a\0": ["\0", float("nan"), 1.5, None, True]}) == {
        "a\ufffd": ["\ufffd", None, 1.5, None, True]
    }


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63), True])
def test_a_number_of_64_bits_stays_one(number):
    assert json_safe(number) is number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, LARGE])
def test_a_larger_number_keeps_its_digits_as_text(number):
    assert json_safe({"id": [number]}) == {"id": [str(number)]}


def test_what_lies_too_deep_is_left_out():
    assert json_safe(deep(20)) == deep(20)
    assert json_safe({"a": deep(19)}) == {"a": deep(19)}
    assert "the end" not in json.dumps(json_safe(deep(21)))
    objects = "the end"
    for _ in range(20):
        objects = {"a": objects}
    assert json_safe(objects) == objects
    assert "the end" not in json.dumps(json_safe({"a": objects}))
    assert json.dumps(json_safe({"a": deep(900), "sms_id": "one"})).endswith('"sms_id": "one"}')


@pytest.mark.parametrize("key", ["__classname__", "__id__", "__type", "__var", ""])
def test_a_key_that_airflow_reserves_gets_another_name(key):
    assert json_safe({"a": {key: 1}, "_b": 2}) == {"a": {f"raw{key}": 1}, "_b": 2}


def test_a_key_fits_the_name_of_an_xcom():
    assert json_safe({"k" * 600: 1}) == {"k" * MAX_KEY_LENGTH: 1}


def test_what_is_json_safe_goes_to_airflows_supervisor_and_through_its_xcoms():
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:  # Airflow 2.11
        from airflow.serialization.serde import deserialize, serialize
    odd = {
        "__classname__": "x.Y",
        "__id__": 1,
        "a": [{"__type": "dict", "__var": 2}, deep(900), LARGE, -LARGE],
    }
    kept = json_safe(odd)
    msgspec.msgpack.encode(kept)
    assert deserialize(serialize(kept)) == kept == json_safe(kept)


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("../other_task/return_value", "__other_task_return_value"),
        ("a?b#c%2e", "a_b_c_2e"),
        ("a\\b", "a_b"),
        (".", "_"),
        ("..", "_"),
        ("a.b", "a.b"),
    ],
)
def test_a_key_leads_nowhere_in_a_path(key, kept):
    """Each key of a result may become an XCom, whose key stands in the path of Airflow's API."""
    expected = f"raw{kept}" if kept.startswith("__") else kept
    assert json_safe({key: 1}) == {expected: 1}


def test_keys_that_become_the_same_are_both_kept():
    assert json_safe({"a/b": 1, "a?b": 2, "a#b": 3}) == {"a_b": 1, "a_b_": 2, "a_b__": 3}
