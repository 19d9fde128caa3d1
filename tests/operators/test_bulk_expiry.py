"""A bulk send whose messages expire: after that nobody is sent to, and the columns add up."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators.partitions import write_partitions
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import COLUMNS, PERSONAL, Store, context, people, report, send, times_texted
from tests.operators.bulk import at as time_of
from tests.operators.clock import DAY, KIGALI, at, set_clock
from tests.operators.files import WRITERS, Styled, write_csv, write_xlsx

ALL_COLUMNS = (*COLUMNS, "expired")


@pytest.fixture
def clock(monkeypatch):
    return lambda moment: set_clock(monkeypatch, moment)


def run(store, generation=0, **arguments):
    """Run a try; return the columns that are not empty, which add up."""
    operator = PindoSendBulkSmsOperator(task_id="text_all", **{"text": "Muraho @contact.name", **arguments})
    result = operator.execute.__wrapped__(operator, context(store, generation))
    assert sum(result[column] for column in ALL_COLUMNS) == result["given"]
    return {column: result[column] for column in ALL_COLUMNS if result[column]}


def test_after_the_expiry_nobody_is_sent_to_and_the_task_succeeds(sandbox, clock):
    clock(at(9))
    assert run(Store(), recipients=people(5), expires_at=at(9)) == {"expired": 5}
    assert sandbox.requests() == []


def test_those_who_were_left_when_it_expired_are_expired_and_a_later_expiry_sends_to_them(sandbox, clock):
    store = Store()
    arguments = {"recipients": people(200, time=time_of), "text": PERSONAL, "concurrency": 4}
    clock(lambda: at(9) if len(sandbox.messages()) < 50 else at(10))
    columns = run(store, expires_at=at(10), **arguments)
    assert 50 <= columns["accepted"] == len(sandbox.messages()) < 60
    assert columns == {"accepted": columns["accepted"], "expired": 200 - columns["accepted"]}
    assert run(store, expires_at=at(10), **arguments) == columns  # cleared with the same expiry
    assert run(store, generation=1, expires_at=at(11), **arguments) == {"accepted": 200}
    assert set(times_texted(sandbox).values()) == {1}


def test_a_waiting_send_ends_when_it_expires_and_not_when_the_window_opens(sandbox, clock):
    store, arguments = (
        Store(),
        {"recipients": people(5), "send_window": DAY, "expires_at": at(23).isoformat()},
    )
    clock(at(22))
    with pytest.raises(TaskDeferred) as deferred:
        run(store, **arguments)
    assert deferred.value.trigger.moment == at(23)
    clock(at(23))
    assert run(store, **arguments) == {"expired": 5}
    assert sandbox.requests() == []


def test_each_recipient_has_an_expiry_of_their_own(sandbox, clock, tmp_path):
    clock(at(9, 30))
    lines = tmp_path / "report.csv"
    appointments = people(6, appointment_time=lambda row: f"2026-11-24T{row + 6:02}:00:00+02:00")
    columns = run(
        Store(),
        recipients=appointments,
        expires_field="appointment_time",
        report_path=str(lines),
        exclude=["+250780000001"],
    )
    assert columns == {"accepted": 3, "excluded": 1, "expired": 2}
    assert sorted(times_texted(sandbox)) == ["+250780000004", "+250780000005", "+250780000006"]
    assert [line["outcome"] for line in report(lines)] == [
        "excluded",
        "expired",
        "expired",
        *["accepted"] * 3,
    ]


@pytest.mark.parametrize("hours", [(9, 20), (20, 9), (9, 20, 9)])
def test_a_repeated_message_is_sent_until_the_last_of_its_rows_expires(sandbox, clock, hours):
    rows = [{"phonenumber": "+250780000001", "name": "A", "until": at(hour)} for hour in hours]
    duplicates = len(rows) - 1
    clock(at(10))
    assert run(Store(), recipients=rows, expires_field="until") == {"accepted": 1, "duplicates": duplicates}
    assert len(sandbox.messages()) == 1
    clock(at(20))
    assert run(Store(), recipients=rows, expires_field="until") == {"duplicates": duplicates, "expired": 1}
    assert len(sandbox.messages()) == 1


def test_the_earlier_of_both_expiries_counts(sandbox, clock):
    clock(at(9, 30))
    appointments = people(4, appointment_time=lambda row: f"2026-11-24T{row + 7:02}:00:00+02:00")
    both = {"recipients": appointments, "expires_field": "appointment_time"}
    assert run(Store(), expires_at=at(9), **both) == {"expired": 4}
    assert run(Store(), expires_at=at(23), **both) == {"accepted": 2, "expired": 2}


def test_a_field_that_the_text_mentions_may_be_the_expiry_and_its_zone_is_the_dags(sandbox, clock):
    clock(at(9))  # 07:00 in UTC
    appointments = people(2, time=lambda row: at(7 + row, 30).replace(tzinfo=None))
    with DAG("in_kigali", schedule=None, start_date=at(0)):
        columns = run(Store(), recipients=appointments, text="Come at @contact.time", expires_field="time")
    assert columns == {"accepted": 1, "expired": 1}
    assert [message["text"] for message in sandbox.messages()] == ["Come at 2026-11-24 09:30:00"]


def test_a_send_whose_messages_expire_one_after_the_other_ends_with_the_last(sandbox, clock):
    clock(at(22))
    appointments = people(3, appointment_time=lambda row: at(22, 10 * row).isoformat())
    arguments = {"recipients": appointments, "send_window": DAY, "expires_field": "appointment_time"}
    store = Store()
    with pytest.raises(TaskDeferred) as deferred:
        run(store, **arguments)
    assert deferred.value.trigger.moment == at(22, 30)
    clock(at(22, 30))
    assert run(store, **arguments) == {"expired": 3}


def test_the_expired_of_a_bulk_request_are_left_out_of_it(sandbox, clock):
    clock(lambda: at(9) if len(sandbox.messages()) < 10 else at(10))
    half = people(40, until=lambda row: (at(10) if row % 2 else at(11)).isoformat())
    columns = run(Store(), recipients=half, expires_field="until", chunk_size=10, concurrency=1)
    assert columns["accepted"] == len(sandbox.messages())
    assert columns["expired"] == 40 - columns["accepted"] > 10
    assert set(times_texted(sandbox).values()) == {1}


def test_an_equal_text_whose_other_recipients_have_expired_goes_to_one(sandbox, clock):
    clock(at(9))
    two = people(2, time=lambda row: "10:00", until=lambda row: at(8 + row - 1, 30).isoformat())
    assert run(Store(), recipients=two, text="Come at @contact.time", expires_field="until") == {
        "accepted": 1,
        "expired": 1,
    }
    assert [request["path"] for request in sandbox.requests()] == ["/v1/sms/"]


@pytest.mark.parametrize(
    "value", ["", None, "2026-11-24", "09:30", "soon and later", 45000.5, "+250780000001"]
)
def test_a_recipient_without_a_time_is_bad_input(sandbox, clock, value):
    clock(at(9))
    recipients = [{"phonenumber": "+250780000001", "name": "A", "until": value}]
    with pytest.raises(
        AirflowFailException, match="'until' is not a date with a time of day: write one"
    ) as refused:
        run(Store(), recipients=recipients, expires_field="until")
    assert "+250780000001" not in str(refused.value)
    skipped = [*recipients, {"phonenumber": "+250780000002", "name": "B", "until": at(10)}]
    assert run(Store(), recipients=skipped, expires_field="until", on_invalid="skip") == {
        "accepted": 1,
        "rejected": 1,
    }
    with pytest.raises(AirflowFailException, match="'till'"):
        run(Store(), recipients=recipients, expires_field="till")


def test_an_unknown_recipient_who_has_expired_is_not_sent_to_again(sandbox, clock):
    store, arguments = Store(), {"recipients": people(1), "on_unknown": "resend", "expires_at": at(10)}
    clock(at(9))
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(Exception, match="The next try sends to them again"):
        run(store, **arguments)
    clock(at(10))
    assert run(store, **arguments) == {"unknown": 1}
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("name", ["", " ", 3])
def test_a_field_without_a_name_is_refused_when_the_dag_is_parsed(name):
    with pytest.raises(PindoConfigurationError, match=r"expires_field is .*: give the name of a field"):
        PindoSendBulkSmsOperator(task_id="text_all", recipients=[], text="Muraho", expires_field=name)


def test_everybody_rejected_or_expired_is_not_everybody_rejected(sandbox, clock):
    clock(at(9))
    sandbox.settings(rejected_numbers=["+250780000001"])
    two = people(2, until=lambda row: (at(10) if row == 1 else at(8)).isoformat())
    assert run(Store(), recipients=two, expires_field="until") == {"rejected": 1, "expired": 1}


def test_the_result_of_send_adds_up_too(sandbox, clock):
    clock(at(9))
    assert send(Store(), recipients=people(2), expires_at=at(10))["expired"] == 0


def test_a_clear_sends_to_the_rejected_again_though_somebody_has_expired(sandbox, clock):
    clock(at(9))
    sandbox.settings(rejected_numbers=["+250780000001"])
    three = people(3, until=lambda row: (at(8) if row == 3 else at(10)).isoformat())
    store, arguments = Store(), {"recipients": three, "expires_field": "until", "on_rejected": "fail"}
    with pytest.raises(AirflowFailException, match="it sends only to them"):
        run(store, **arguments)
    sandbox.settings(rejected_numbers=[])
    assert run(store, generation=1, **arguments) == {"accepted": 2, "expired": 1}


@pytest.mark.parametrize(
    "far",
    [
        datetime.max,
        "9999-12-31T23:59:59.999999",
        "9999-12-31T23:59:59-05:00",
        datetime.max.replace(tzinfo=UTC),
    ],
)
def test_an_expiry_at_the_end_of_time_is_no_end(sandbox, clock, far):
    """Databases write it for "no end"."""
    two = people(2, until=lambda row: at(8) if row == 1 else far)
    clock(at(9))
    assert run(Store(), recipients=two, expires_field="until") == {"accepted": 1, "expired": 1}
    clock(at(22))
    with pytest.raises(TaskDeferred) as deferred:
        run(Store(), recipients=two, send_window=DAY, expires_field="until")
    assert deferred.value.trigger.moment == at(8, day=25)


@pytest.mark.parametrize("far", [datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59-05:00"])
def test_an_expiry_for_all_at_the_end_of_time_is_no_end(sandbox, clock, far):
    clock(at(9))
    assert run(Store(), recipients=people(1), expires_at=far) == {"accepted": 1}
    clock(at(22))
    with pytest.raises(TaskDeferred) as deferred:
        run(Store(), recipients=people(1), send_window=DAY, expires_at=far)
    assert deferred.value.trigger.moment == at(8, day=25)


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_rows_that_nobody_is_texted_for_do_not_prolong_the_wait(sandbox, clock, tmp_path, suffix):
    """A header and a blank row have no expiry. That of a bad or an excluded row does not count."""
    path = tmp_path / f"patients.{suffix}"
    rows = [
        ("+250780000001", "A", at(22, 10).isoformat()),
        ("", "", ""),
        ("+250780000002", "B", "soon"),
        ("07", "C", at(23).isoformat()),
        ("+250780000001", "A", at(22, 5).isoformat()),
        ("+250780000003", "D", at(23).isoformat()),
    ]
    WRITERS[suffix](path, ("phonenumber", "name", "until"), rows)
    arguments = {"recipients": path, "expires_field": "until", "on_invalid": "skip", "send_window": DAY}
    arguments["exclude"] = ["+250780000003"]
    clock(at(22))
    with pytest.raises(TaskDeferred) as deferred:
        run(Store(), **arguments)
    assert deferred.value.trigger.moment == at(22, 10)
    clock(at(22, 10))
    columns = {"rejected": 2, "duplicates": 1, "excluded": 1, "expired": 1}
    assert run(Store(), **arguments) == columns


def test_a_list_of_bad_rows_alone_waits_for_no_window(sandbox, clock, caplog):
    clock(at(22))
    bad = people(2, until=lambda row: "soon")
    arguments = {"recipients": bad, "expires_field": "until", "on_invalid": "skip", "send_window": DAY}
    with pytest.raises(AirflowFailException, match="Everybody was rejected"):
        run(Store(), **arguments)
    assert run(Store(), dry_run=True, **arguments) == {"rejected": 2}
    assert "does not fit" not in caplog.text


def test_a_file_that_does_not_fit_is_warned_of(sandbox, clock, caplog, tmp_path):
    clock(at(9))
    path = tmp_path / "patients.csv"
    rows = [(f"+2507800000{row:02}", f"P{row}", at(9, 0).replace(second=1).isoformat()) for row in range(60)]
    write_csv(path, ("phonenumber", "name", "until"), rows)
    arguments = {"text": "Come at @contact.until, @contact.name", "concurrency": 1}
    run(Store(), recipients=path, expires_field="until", dry_run=True, **arguments)
    assert "The list does not fit: it takes about 0:00:06" in caplog.text


@pytest.mark.parametrize("is_split", [False, True])
def test_a_date_cell_of_excel_is_an_expiry_in_the_dags_zone_and_no_text(sandbox, clock, tmp_path, is_split):
    """Excel makes such a cell of a time that somebody types. Only its display format cannot be read."""
    path = tmp_path / "patients.xlsx"
    half_past_nine = 46000 + 9.5 / 24
    header = ("phonenumber", "name", "until")
    write_xlsx(path, header, [("+250780000001", "A", Styled(half_past_nine, 1))])
    if is_split:
        (path,) = write_partitions(path, tmp_path, partitions=1)
    arguments = {"recipients": path, "expires_field": "until", "on_invalid": "skip"}

    def run_in_kigali(**others):
        with DAG("in_kigali", schedule=None, start_date=at(0)):
            return run(Store(), **arguments, **others)

    clock(datetime(2025, 12, 9, 9, 29, tzinfo=KIGALI))
    assert run_in_kigali() == {"accepted": 1}
    clock(datetime(2025, 12, 9, 9, 30, tzinfo=KIGALI))
    assert run_in_kigali() == {"expired": 1}
    with pytest.raises(AirflowFailException, match="'until': it is a date or time cell of Excel"):
        run_in_kigali(text="Come at @contact.until")


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize(("number", "style"), [(46000, 1), (0.375, 2)])
def test_a_cell_of_excel_with_a_date_or_a_time_alone_is_no_expiry(sandbox, tmp_path, number, style, is_split):
    path = tmp_path / "patients.xlsx"
    write_xlsx(path, ("phonenumber", "name", "until"), [("+250780000001", "A", Styled(number, style))])
    if is_split:
        (path,) = write_partitions(path, tmp_path, partitions=1)
    with pytest.raises(
        AirflowFailException, match="'until' is not a date with a time of day: write one such as"
    ):
        run(Store(), recipients=path, expires_field="until")
