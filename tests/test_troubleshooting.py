"""The page that tells what to do, error by error: no class is missing, and the messages are what is printed."""

from __future__ import annotations

import importlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, conf

from airflow_provider_pindo._inbox.filter import InboundFilter
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.hooks.pindo import PindoHook
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyCheckOperator, PindoVerifyOperator
from airflow_provider_pindo.sandbox import Sandbox
from tests.operators.bulk import Store, context, people, send
from tests.operators.clock import DAY, at, set_clock

importlib.import_module("airflow_provider_pindo._bulk.sender")

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "troubleshooting.rst").read_text(encoding="utf-8")
MESSAGES = [
    block.replace("\n   ", "\n").strip()
    for block in re.findall(r"^\.\. code-block:: text\n((?:\n   .+)+)", PAGE, flags=re.MULTILINE)
]
PHONE = "+250781234567"
PERSONAL = "Muraho @contact.time"


def classes(base: type[PindoError] = PindoError) -> Iterator[type[PindoError]]:
    """Yield every public class of the tree that this package defines, but for its root."""
    for each in base.__subclasses__():
        if each.__module__.startswith("airflow_provider_pindo.") and not each.__name__.startswith("_"):
            yield each
            yield from classes(each)


@pytest.mark.parametrize("error", sorted(set(classes()), key=lambda each: each.__name__))
def test_every_error_has_a_section_that_shows_a_message_and_says_what_to_do(error):
    section = re.search(
        rf"^{error.__name__}\n-+\n(.*?)(?=^\S+\n---|^\.\. _|\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert section, f"docs/troubleshooting.rst has no section {error.__name__}"
    for part in (".. code-block:: text", "**What happened.**", "**What to do.**"):
        assert part in section[1]


def text(store: Store | None = None, generation: int = 0, **arguments: Any) -> Any:
    """One try of a task that texts one person."""
    operator = PindoSendSmsOperator(task_id="text", **{"to": PHONE, "text": "Muraho", **arguments})
    return operator.execute(context(store, generation))


def check(request_id: int, code: str, store: Store | None = None) -> Any:
    operator = PindoVerifyCheckOperator(task_id="check", request_id=request_id, code=code)
    return operator.execute(context(store))


def at_another_host(monkeypatch: Any, **connection: Any) -> None:
    given = {"conn_type": "pindo", "password": "token", "extra": {"sender": "PindoTest"}, **connection}
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(given))


def changed_input(sandbox: Sandbox, *_: Any) -> None:
    store = Store()
    text(store)
    text(store, generation=1, text="Mwiriwe")


def changed_list(sandbox: Sandbox, *_: Any) -> None:
    store = Store()
    send(store, recipients=people(2), text="Muraho")
    send(store, recipients=people(3), text="Muraho")


def csv_file(content: str) -> Callable[..., None]:
    """Return the provocation of a bulk send that reads this file."""

    def provoke(*_: Any) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "appointments.csv")
            path.write_text(content, encoding="utf-8")
            send(Store(), recipients=path, text="Muraho")

    return provoke


def another_field(sandbox: Sandbox, *_: Any) -> None:
    send(Store(), recipients=[{"Tel": PHONE, "name": "A"}, {"Tel": PHONE, "name": "B"}], text="Muraho")


def replaced_header(sandbox: Sandbox, *_: Any) -> None:
    store = Store()
    send(store, recipients=people(2), text="Muraho")
    store.set("pindo_bulk", "sent")
    send(store, recipients=people(2), text="Muraho")


def newer_entry(sandbox: Sandbox, *_: Any) -> None:
    store = Store()
    store.set("pindo_sms", {"v": 2, "status": "sent"})
    text(store)


def killed_send(sandbox: Sandbox, *_: Any) -> None:
    store = Store()
    text(store)
    store.set("pindo_sms", {**store.get("pindo_sms"), "status": "unknown", "result": None})
    text(store)


def sent_before(sandbox: Sandbox, *_: Any) -> None:
    store = Store()
    text(store)
    text(store)


def closed_half_way(sandbox: Sandbox, monkeypatch: Any) -> None:
    set_clock(monkeypatch, lambda: at(20 if sandbox.messages() else 19))
    one_by_one = {"recipients": people(2), "chunk_size": 1, "concurrency": 1}
    send(Store(), send_window=DAY, outside_window="fail", **one_by_one)


def no_answer_to_many(sandbox: Sandbox, *_: Any) -> None:
    sandbox.add_fault("drop_after", call="send_sms", times=None)
    send(Store(), recipients=people(30, time=str), text=PERSONAL, concurrency=1)


def nobody_knows(sandbox: Sandbox, *_: Any) -> None:
    sandbox.add_fault("drop_after", call="send_sms")
    send(Store(), recipients=[{"phonenumber": PHONE, "time": "9"}], text=PERSONAL)


def unknown_sender(sandbox: Sandbox, *_: Any) -> None:
    sandbox.settings(approved_senders=[])
    send(Store(), recipients=people(30, time=str), text=PERSONAL, concurrency=1)


def too_dear(sandbox: Sandbox, *_: Any) -> None:
    send(Store(), recipients=people(2, time=str), text=PERSONAL, max_cost=0.01)


def forgets(sandbox: Sandbox, monkeypatch: Any) -> None:
    monkeypatch.setattr(conf, "getboolean", lambda section, key, **_: key == "clear_on_success")
    text(Store())


def no_store(sandbox: Sandbox, *_: Any) -> None:
    class OutOfReach(Store):
        def set(self, key: str, value: Any, **retention: Any) -> None:
            if key != "pindo_bulk":
                raise OSError("the task state store is out of reach")
            super().set(key, value, **retention)

    send(OutOfReach(), recipients=people(2, time=str), text=PERSONAL)


def no_read(sandbox: Sandbox, *_: Any) -> None:
    class OutOfReach(Store):
        def get(self, *_: Any) -> None:
            raise OSError("the task state store is out of reach")

    text(OutOfReach())


def no_first_write(sandbox: Sandbox, *_: Any) -> None:
    class OutOfReach(Store):
        def set(self, *_: Any, **__: Any) -> None:
            raise OSError("the task state store is out of reach")

    text(OutOfReach())


def ended(sandbox: Sandbox, monkeypatch: Any) -> None:
    from airflow_provider_pindo._bulk.sender import BulkSender

    coordinate = BulkSender._coordinate

    async def ended_at_once(sender: BulkSender) -> None:
        sender.interrupt()
        await coordinate(sender)

    monkeypatch.setattr(BulkSender, "_coordinate", ended_at_once)
    send(Store(), recipients=people(2, time=str), text=PERSONAL)


def fault(action: str, call: Callable[[], Any], **details: Any) -> Callable[..., None]:
    """Return what makes ``call`` meet a fault."""

    def provoke(sandbox: Sandbox, *_: Any) -> None:
        sandbox.add_fault(action, **details)
        call()

    return provoke


def a_text() -> Any:
    return PindoHook(max_attempts=1).send_sms(PHONE, "Muraho")


def a_wrong_code(sandbox: Sandbox, *_: Any) -> None:
    check(PindoHook().verify(PHONE).request_id, "0")


def an_empty_wallet(sandbox: Sandbox, *_: Any) -> None:
    sandbox.set_balance(0)
    a_text()


def a_lapsed_pin(sandbox: Sandbox, *_: Any) -> None:
    sandbox.settings(pin_ttl=0)
    store = Store()
    for generation in (0, 1):
        PindoVerifyOperator(task_id="send", number=PHONE).execute(context(store, generation))


def an_interrupted_check(sandbox: Sandbox, *_: Any) -> None:
    request_id, store = PindoHook().verify(PHONE).request_id, Store()
    with suppress(AirflowFailException):
        check(request_id, "0", store)
    store.set("pindo_verify_check", {**store.get("pindo_verify_check"), "status": "unknown", "result": None})
    check(request_id, "0", store)


def no_ledger(sandbox: Sandbox, *_: Any) -> None:
    sandbox.add_fault("status", call="send_sms", status=402, skip=1)
    send(None, recipients=people(3, time=str), text=PERSONAL, concurrency=1)


def no_token(sandbox: Sandbox, monkeypatch: Any) -> None:
    at_another_host(monkeypatch, password="")
    a_text()


def no_list(sandbox: Sandbox, monkeypatch: Any) -> None:
    at_another_host(
        monkeypatch, extra={"sender": "PindoTest", "suppression_list": "variable:pindo_stop_list"}
    )
    text()


def no_sender(sandbox: Sandbox, monkeypatch: Any) -> None:
    at_another_host(monkeypatch, extra={})
    a_text()


def no_tls(sandbox: Sandbox, monkeypatch: Any) -> None:
    at_another_host(monkeypatch, host="http://api.pindo.io")
    a_text()


def no_country(sandbox: Sandbox, monkeypatch: Any) -> None:
    at_another_host(monkeypatch)
    PindoHook().send_sms("078123455678", "Muraho")


def nobody_there(sandbox: Sandbox, *_: Any) -> None:
    sandbox.stop()
    a_text()


MAINTENANCE = {"status": 503, "body": {"message": "maintenance"}}
ELSEWHERE = {"location": "https://elsewhere.example/v1/sms/"}

PROVOKED: list[Callable[..., Any]] = [
    lambda *_: PindoHook().send_sms(PHONE, "Muraho", sender="PindoTestCompany"),
    no_country,
    no_token,
    no_sender,
    no_tls,
    lambda *_: send(Store(), recipients=[{"phonenumber": PHONE}, {"phonenumber": "0781"}], text="Muraho"),
    lambda *_: send(Store(), recipients=[*people(1), {"phonenumber": PHONE, "name": "#N/A"}]),
    lambda *_: send(Store(), recipients=[*people(1, time="9"), *people(1)], text=PERSONAL),
    csv_file("Tel,name\n"),
    another_field,
    csv_file(f'phonenumber,name\n{PHONE},A\n{PHONE},"B\n'),
    csv_file(f'phonenumber,name\n{PHONE},"A\n{PHONE},B"\n'),
    csv_file("phonenumber,phonenumber\n"),
    csv_file("PK\x03\x04"),
    lambda *_: send(Store(), recipients=None, text="Muraho"),
    lambda *_: send(Store(), recipients=(each for each in people(2)), text="Muraho"),
    lambda *_: send(Store(), recipients=people(2), text="Muraho", exclude=f"['{PHONE}']"),
    no_list,
    lambda *_: InboundFilter("YES", from_number=PHONE).check_senders(False),
    fault("redirect", a_text, **ELSEWHERE),
    changed_input,
    newer_entry,
    changed_list,
    replaced_header,
    fault("status", a_text, status=401, body={"message": "unauthorized"}),
    lambda *_: PindoHook().send_sms("+4917012345678", "Muraho"),
    lambda *_: send(Store(), recipients=[{"phonenumber": "+4917012345678", "time": "9"}], text=PERSONAL),
    unknown_sender,
    lambda *_: send(Store(), recipients=[PHONE, "+4917012345678"], text="Muraho", on_rejected="fail"),
    a_wrong_code,
    a_lapsed_pin,
    lambda *_: PindoHook().get_verification(4),
    an_empty_wallet,
    lambda *_: send(Store(), recipients=people(2, time=str), text=PERSONAL, min_balance=1000),
    fault("rate_limit", a_text),
    fault("status", lambda: PindoHook(max_attempts=1).get_balance(), **MAINTENANCE),
    nobody_there,
    fault("drop_after", a_text),
    fault("status_after", a_text, **MAINTENANCE),
    killed_send,
    fault("not_json", a_text),
    an_interrupted_check,
    nobody_knows,
    no_ledger,
    too_dear,
    closed_half_way,
    no_answer_to_many,
    no_store,
    no_read,
    no_first_write,
    ended,
    lambda *_: text(),
    forgets,
    sent_before,
]


@pytest.mark.parametrize(
    ("message", "provoke"),
    [pytest.param(*each, id=each[0][:40]) for each in zip(MESSAGES, PROVOKED, strict=True)],
)
def test_each_message_on_the_page_is_what_is_printed(message, provoke, sandbox, monkeypatch, caplog, capsys):
    said = []
    with caplog.at_level(logging.WARNING, "airflow_provider_pindo"):
        try:
            provoke(sandbox, monkeypatch)
        except Exception as error:
            said.append(str(error))
    said += [
        *caplog.messages,
        capsys.readouterr().out,
    ]  # where it is logged differs by the version of Airflow
    printed = "\n".join(said).replace(sandbox.url, "https://api.pindo.io")
    assert message in printed
