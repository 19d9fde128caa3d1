"""Reading the connection's list of those who must not be texted, from a file and from a Variable."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException

from airflow_provider_pindo._policy.suppression import read_suppression_list, skip_if_suppressed
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.hooks._settings import PindoSettings

LISTED, OTHER = "+250780000201", "+250780000202"


def settings(source, country="RW"):
    return PindoSettings("http://127.0.0.1:1", "token", country=country, suppression_list=source)


def test_a_connection_without_a_list_suppresses_nobody():
    assert read_suppression_list(settings(None)) == frozenset()
    skip_if_suppressed(settings(None), LISTED)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.txt", f"0780000201\n\n{OTHER}\n"),
        ("table.csv", f"since,phonenumber\n2026-11-01,0780000201\n2026-11-02,{OTHER}\n"),
        ("lines.jsonl", f'{{"phonenumber": "0780000201"}}\n{{"phonenumber": "{OTHER}"}}\n'),
    ],
)
def test_a_list_is_a_file_of_any_kind_that_exclude_takes(tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content)
    for source in (str(file), f"file://{file}"):
        assert read_suppression_list(settings(source)) == {LISTED, OTHER}


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (json.dumps([LISTED, "0780000202"]), {LISTED, OTHER}),
        (json.dumps([{"phonenumber": LISTED, "since": "2026-11-01"}]), {LISTED}),
        (f"{LISTED}\n\n 0780000202 \n", {LISTED, OTHER}),
        (" [] ", set()),
    ],
)
def test_a_list_is_a_variable_with_json_or_lines(monkeypatch, value, numbers):
    monkeypatch.setenv("AIRFLOW_VAR_PINDO_STOP_LIST", value)
    assert read_suppression_list(settings("variable:pindo_stop_list")) == numbers


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, r"there is no Variable 'pindo_stop_list'. Write \[\] into it for an empty list"),
        ("", r"the Variable is empty. Write \[\] into it"),
        (" \n", "the Variable is empty"),
        (f'["{LISTED}"', r"the Variable is not JSON. Write a list such as \[\"\+2507XXXXXXXX\"\]"),
        ('{"numbers": []}', r"the Variable holds an object. Write a list such as \[\"\+2507XXXXXXXX\"\]"),
        (json.dumps({"phonenumber": LISTED}), "the Variable holds an object"),
        (f'["{LISTED}", "nobody"]', "row 2 of suppression_list 'variable:pindo_stop_list' cannot be read"),
        ("[7]", "row 1 of suppression_list 'variable:pindo_stop_list' cannot be read"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named_with_the_next_step(monkeypatch, value, says):
    if value is not None:
        monkeypatch.setenv("AIRFLOW_VAR_PINDO_STOP_LIST", value)
    with pytest.raises(PindoConfigurationError, match=says) as error:
        read_suppression_list(settings("variable:pindo_stop_list"))
    assert "suppression_list 'variable:pindo_stop_list'" in str(error.value)
    assert "80000201" not in str(error.value)


def test_a_file_with_a_bad_line_is_named_with_its_row(tmp_path):
    (tmp_path / "list.txt").write_text(f"{LISTED}\n12345\n")
    with pytest.raises(
        PindoConfigurationError, match=r"row 2 of suppression_list '.*list.txt' cannot be read"
    ):
        read_suppression_list(settings(f"{tmp_path}/list.txt"))


@pytest.mark.parametrize(("scheme", "where"), [("", " on this worker"), ("file://", "")])
def test_a_file_that_is_missing_may_come_later(tmp_path, scheme, where):
    with pytest.raises(AirflowException) as error:
        read_suppression_list(settings(f"{scheme}{tmp_path}/none.txt"))
    assert str(error.value) == (
        f"the connection's suppression_list '{scheme}{tmp_path}/none.txt' does not exist{where}, and nothing was sent. "
        "Put the file there, or name another list in the connection"
    )


def test_a_file_that_cannot_be_opened_may_be_readable_later(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("airflow_provider_pindo._sources.files.storage_path", refuse)
    with pytest.raises(
        AirflowException, match=r"list.txt' cannot be read, and nothing was sent \(.*denied"
    ) as no:
        read_suppression_list(settings(f"{tmp_path}/list.txt"))
    assert "Make it readable for the worker, or name another list in the connection" in str(no.value)


def test_without_a_country_a_national_number_on_the_list_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("0780000201\n")
    with pytest.raises(PindoConfigurationError, match="row 1 of suppression_list"):
        read_suppression_list(settings(f"{tmp_path}/list.txt", country=None))


def test_the_reason_of_a_skip_masks_the_number_and_names_the_list(tmp_path):
    (tmp_path / "list.txt").write_text(f"{LISTED}\n")
    with pytest.raises(
        AirflowSkipException, match=r"Nothing is sent to \+25078\*{4}201: .* suppression_list '.*list.txt'"
    ):
        skip_if_suppressed(settings(f"{tmp_path}/list.txt"), LISTED)
    skip_if_suppressed(settings(f"{tmp_path}/list.txt"), OTHER)


@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_an_error_names_no_credentials_of_an_address(scheme):
    with pytest.raises((AirflowException, PindoConfigurationError)) as refusal:
        read_suppression_list(settings(f"{scheme}://key:hidden@bucket/stop.csv?signature=hidden"))
    assert f"suppression_list '{scheme}://bucket/stop.csv' " in str(refusal.value)
    assert "hidden" not in str(refusal.value)
