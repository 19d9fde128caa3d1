"""Lists of people: everybody of a task, page by page, and whom a phone number finds.

A bulk send's entries hold masked numbers only. So each number is compared in its masked form, and it leaves this module
in no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._ledger.entry import UNKNOWN
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_phone_number, parse_phone_number
from airflow_provider_pindo.plugins import _models
from airflow_provider_pindo.plugins._entries import PREFIX, Person, is_message, people

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from airflow_provider_pindo.plugins._models import StoredValue, Window

#: People of one page.
PAGE = 100
#: Entries that one page of a list reads; a further page continues after them.
_ENTRIES_OF_A_PAGE = 100
#: Entries that a search reads, and people that it lists.
_ENTRIES_OF_A_SEARCH, MAX_FOUND = 500, 200
#: Digits at the end of a masked number.
SHOWN_DIGITS = 3


def list_people(
    session: Session, window: Window, *, ending: str = "", outcome: str = "", start: str = "", skip: int = 0
) -> dict[str, Any]:
    """Return one page of everybody of a task.

    :param window: one task.
    :param ending: digits at the end of the number. Only the last :data:`SHOWN_DIGITS` are compared.
    :param outcome: only this outcome.
    :param start: the entry where the page starts.
    :param skip: people of that entry who were on the page before.
    :return: ``people``, and ``next``: the next page's ``start`` and ``skip``, or None.
    """
    tail = ending[-SHOWN_DIGITS:]
    # The database skips entries without a match, since a page reads only ``_ENTRIES_OF_A_PAGE`` entries.
    containing: tuple[str, ...] = (f"*{tail}",) if len(tail) == SHOWN_DIGITS else ()
    listed: list[dict[str, Any]] = []
    read = 0
    values = _models.iter_values(
        session,
        window,
        PREFIX,
        _ENTRIES_OF_A_PAGE,
        containing=containing,
        may_be_unknown=outcome == UNKNOWN,
        start=start,
    )
    for stored in values:
        read += 1
        for index, person in enumerate(_readable(stored)):
            if stored.key == start and index < skip:
                continue
            if not person.number.endswith(tail) or outcome not in ("", person.outcome):
                continue
            if len(listed) == PAGE:
                return {"people": listed, "next": {"start": stored.key, "skip": index}}
            listed.append(_to_value(person, stored))
    if read == _ENTRIES_OF_A_PAGE:
        return {"people": listed, "next": {"start": f"{stored.key}~", "skip": 0}}
    return {"people": listed, "next": None}


def find_number(session: Session, window: Window, number: str, country: str | None) -> dict[str, Any]:
    """Return what was sent to a phone number in ``window``.

    :param number: as a person types it.
    :param country: whose national numbers are accepted.
    :return: ``mask``; ``matches``, a list of messages; and ``is_cut``, whether there may be more.
    :raises PindoConfigurationError: it is no phone number.
    """
    mask = mask_phone_number(parse_phone_number(number, country))
    matches: list[dict[str, Any]] = []
    read = 0
    for stored in _models.iter_values(session, window, PREFIX, _ENTRIES_OF_A_SEARCH, containing=(mask,)):
        read += 1
        for person in _readable(stored):
            if person.number == mask and len(matches) < MAX_FOUND:
                time = stored.updated_at.isoformat()
                matches.append({**_to_value(person, stored), **stored.task.to_value(), "time": time})
    names = _models.read_dag_names(session, {message["dag_id"] for message in matches})
    for message in matches:
        message["dag_name"] = names.get(message["dag_id"], message["dag_id"])
    return {
        "mask": mask,
        "matches": matches,
        "is_cut": read == _ENTRIES_OF_A_SEARCH or len(matches) == MAX_FOUND,
    }


def _readable(stored: StoredValue) -> Iterator[Person]:
    """Yield the people of an entry; nobody if this version cannot read it, which the tiles count."""
    if is_message(stored.key):
        try:
            yield from people(stored.key, stored.value)
        except PindoConfigurationError:
            return


def _to_value(person: Person, stored: StoredValue) -> dict[str, Any]:
    return {
        "key": person.key,
        "row": person.row,
        "number": person.number,
        "outcome": person.outcome,
        "reason": person.reason,
        "sms_id": person.sms_id,
        "settled": person.settled,
        "run_after": stored.run_after,
    }
