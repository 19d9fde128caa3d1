"""Who is left out of a bulk send, and exclusions that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from tests.operators.bulk import (
    Store,
    people,
    send,
    times_texted,
)

pytestmark = pytest.mark.usefixtures("an_entry_for_each_chunk")
#: It opens, and reading it fails.
FAILING = Path("/proc/self/mem")


@pytest.mark.parametrize("form", ["list", "set", "plain.txt", "table.csv"])
def test_the_excluded_get_nothing(sandbox, tmp_path, form):
    exclude = ["0780000002", "+250780000003"]
    if "." in form:
        lines = exclude if form == "plain.txt" else ["name,phonenumber", *(f"X,{each}" for each in exclude)]
        (tmp_path / form).write_text("\n".join(lines) + "\n")
    given = {"list": exclude, "set": set(exclude)}.get(form, str(tmp_path / form))
    result = send(Store(), recipients=people(4), exclude=given)
    assert (result["accepted"], result["excluded"]) == (2, 2)
    assert set(times_texted(sandbox)) == {"+250780000001", "+250780000004"}


def test_an_exclusion_that_cannot_be_read_stops_it(sandbox):
    with pytest.raises(AirflowFailException, match="row 2 of exclude cannot be read"):
        send(Store(), recipients=people(4), exclude=["+250780000002", "nobody"])
    assert sandbox.messages() == []


@pytest.mark.parametrize(
    "exclude", [7, b"+250780000002", {"phonenumber": "+250780000002"}, iter(["+250780000002"])]
)
def test_an_exclusion_of_a_wrong_type_is_named_as_what_it_is(sandbox, exclude):
    says = f"exclude is of type {type(exclude).__name__}, .*: (give a list, the path|make a list of it)"
    with pytest.raises(AirflowFailException, match=says):
        send(Store(), recipients=people(4), exclude=exclude)
    assert sandbox.messages() == []


def test_a_set_of_all_sorts_is_read_and_what_is_no_number_in_it_named(sandbox):
    with pytest.raises(AirflowFailException, match=r"row 2 of exclude cannot be read, .*not a number"):
        send(Store(), recipients=people(4), exclude={"+250780000002", 7})


@pytest.mark.parametrize(
    "numbers", ["+250780000002", "a,b", "0780000002\n0780000003", ",".join(["+250780000002"] * 400)]
)
def test_numbers_in_place_of_a_path_say_what_to_give_and_are_not_retried(sandbox, numbers):
    with pytest.raises(
        AirflowFailException, match=r"exclude is '.* no file of this name: give the numbers as a list"
    ) as no:
        send(Store(), recipients=people(4), exclude=numbers)
    assert "250780000002" not in str(no.value)
    assert len(str(no.value)) < 300
    assert sandbox.messages() == []


@pytest.mark.skipif(not FAILING.exists(), reason="only Linux has this file")
def test_a_disk_that_fails_is_no_missing_file(sandbox):
    with pytest.raises(OSError, match=r"Input/output error|Invalid argument"):
        send(Store(), recipients=people(1), exclude=str(FAILING))


@pytest.mark.parametrize(
    ("content", "excluded"), [("", 0), ("0780000002\n", 1), ("phonenumber\n0780000002", 1)]
)
def test_a_csv_of_numbers_alone_may_have_no_header_and_no_numbers(sandbox, tmp_path, content, excluded):
    (tmp_path / "a.csv").write_text(content)
    assert send(Store(), recipients=people(4), exclude=tmp_path / "a.csv")["excluded"] == excluded


def test_exclusions_with_another_separator_are_read(sandbox, tmp_path):
    (tmp_path / "a.csv").write_text("phonenumber;name\n+250780000002;A\n")
    assert send(Store(), recipients=people(4), exclude=tmp_path / "a.csv")["excluded"] == 1


@pytest.mark.parametrize("text", ["['+250780000002', '+250780000003']", " []", "('+250780000002',)"])
def test_a_list_that_a_template_made_text_of_is_no_exclusion(sandbox, text):
    with pytest.raises(AirflowFailException, match="render_template_as_native_obj") as refused:
        send(Store(), recipients=people(4), exclude=text)
    assert "250780000002" not in str(refused.value)
    assert sandbox.messages() == []


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_exclusion_that_a_template_made_nothing_of_stops_it(sandbox, text):
    for exclude in (text, lambda: text):
        with pytest.raises(AirflowFailException, match="exclude is empty text, and nothing was sent"):
            send(Store(), recipients=people(4), exclude=exclude)
    assert sandbox.messages() == []


@pytest.mark.parametrize("exclude", [None, [], (), set(), lambda: []])
def test_an_empty_list_excludes_nobody(sandbox, exclude):
    assert send(Store(), recipients=people(4), exclude=exclude)["accepted"] == 4


def test_exclusions_that_cannot_be_read_stop_the_send_to_another_list(sandbox):
    store, gone = Store(), {}
    assert send(store, recipients=people(2), exclude=people(2))["excluded"] == 2
    with pytest.raises(KeyError):
        send(store, 1, recipients=people(3), exclude=lambda: gone["list"])
    assert sandbox.messages() == []
