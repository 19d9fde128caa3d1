"""How a bulk send ends: with a result, or with an error that names the next step.

:func:`judge` is a pure function of the totals, the reason of a stop, and the task's policies. It sends nothing and
reads nothing. An error has two lines: what happened, with the first rows and the counts, and what to do next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._bulk.bulk_ledger import UnknownEntries
from airflow_provider_pindo._bulk.row_numbers import abbreviate
from airflow_provider_pindo._bulk.totals import Counts, RecipientResult, Totals
from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT, how_to_settle
from airflow_provider_pindo.api.errors import (
    PindoError,
    PindoRejectedError,
    PindoUnknownOutcomeError,
    PindoWindowClosedError,
)
from airflow_provider_pindo.api.phone import mask_phone_number
from airflow_provider_pindo.api.redaction import mask_error

#: Rows and reasons that an error names. The report and the ledger have all of them.
MAX_NAMED = 10

_NO_LEDGER = (
    "This Airflow keeps no ledger (it came with 3.3): a retry or a clear sends to everybody again, so the task does "
    "not retry. Put all who were or may have been texted into exclude (the report and Pindo's dashboard show them), "
    "then clear the task. If nobody is left, mark it as success."
)

_ASK_AGAIN = "To be asked again, clear the task."


@dataclass(frozen=True, slots=True)
class Policies:
    """What the task's arguments say about its end.

    :param on_unknown: ``fail``, ``ask``, ``resend`` or ``accept``.
    :param on_rejected: ``report`` or ``fail``.
    :param is_ledger_kept: whether this Airflow keeps a ledger.
    """

    on_unknown: str = "fail"
    on_rejected: str = "report"
    is_ledger_kept: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a send ends.

    :param error: the error to raise; None for success.
    :param is_finished: whether every recipient was processed, so that there is nothing left to continue. The expired
        are left: a later expiry sends to them.
    :param asks: whether a person is asked about the unknown before the send can end.
    """

    error: Exception | None = None
    is_finished: bool = False
    asks: bool = False


@dataclass(frozen=True, slots=True)
class _Failure:
    """The parts of an error: what happened, what to do next, and how the exception is made of its message."""

    what: str
    next_step: str
    make: Callable[[str], Exception]
    is_finished: bool = False


def judge(totals: Totals, stopped: BaseException | None, policies: Policies) -> Verdict:
    """Return how a send ends.

    :param totals: the counts, and the recipients that an error names.
    :param stopped: why the send stopped early; None when it did not.
    """
    if stopped is None and totals.unknown and _can_ask(totals, policies):
        return Verdict(asks=True)
    counts = totals.counts()
    failure = _failure(totals, counts, stopped, policies)
    if failure is None:
        return Verdict(is_finished=not counts.expired)
    return Verdict(_error(failure, counts, policies), failure.is_finished and not counts.expired)


def leave_unknown(unknown: UnknownEntries, why: str) -> PindoUnknownOutcomeError:
    """Return the error of a send whose question got no answer that settles something.

    :param unknown: what is unknown still.
    :param why: what became of the question.
    """
    people = ((person.row, person.number, person.reason) for person in unknown.rows[:MAX_NAMED])
    what = _name_unknown(people, len(unknown.rows), unknown.given)
    return PindoUnknownOutcomeError(f"{why}. {what}.\n{_ASK_AGAIN} Or {_by_hand(list(unknown.values))}.")


def prevent_retry(error: BaseException, totals: Totals, policies: Policies) -> Exception | None:
    """Return the error that replaces a foreign one, such as a timeout, where a retry would text people again.

    :return: None where a ledger is kept, or nobody was texted: then ``error`` may be raised as it is.
    """
    counts = totals.counts()
    if policies.is_ledger_kept or not _may_have_texted(counts, policies):
        return None
    return _error(_Failure(mask_error(error), _NO_LEDGER, AirflowException), counts, policies)


def _error(failure: _Failure, counts: Counts, policies: Policies) -> Exception:
    if not policies.is_ledger_kept and _may_have_texted(counts, policies):
        error: Exception = AirflowFailException(f"{failure.what}. {counts}.\n{_NO_LEDGER}")
    else:
        error = failure.make(f"{failure.what}. {counts}.\n{failure.next_step}")
    if isinstance(error, PindoError):
        error.counts = asdict(counts)
    return error


def _may_have_texted(counts: Counts, policies: Policies) -> bool:
    return counts.accepted > 0 or (counts.unknown > 0 and policies.on_unknown != "resend")


def _failure(
    totals: Totals, counts: Counts, stopped: BaseException | None, policies: Policies
) -> _Failure | None:
    needs_person = counts.unknown > 0 and policies.on_unknown in ("fail", "ask")
    settling_step = _settling_step(totals, policies) if needs_person else None
    resent = totals.unknown - totals.unknown_not_resendable if policies.on_unknown == "resend" else 0
    if stopped is not None:
        return _stop(totals, counts, stopped, settling_step, resent)
    if settling_step is not None:
        return _Failure(_unknown(totals, counts), settling_step, PindoUnknownOutcomeError)
    if resent:
        next_step = "The next try sends to them again, as on_unknown says."
        return _Failure(_unknown(totals, counts), next_step, AirflowException)
    return _rejection(totals, counts, policies)


def _stop(
    totals: Totals, counts: Counts, stopped: BaseException, settling_step: str | None, resent: int
) -> _Failure:
    """Return the parts of the error of a send that stopped early.

    :param resent: how many unknown the next try sends to again.
    """
    what, sends = mask_error(stopped).rstrip("."), _sends(counts.not_sent, resent)
    if isinstance(stopped, PindoWindowClosedError):
        next_step = f"Clear the task when the window is open: it {sends}."
    elif isinstance(stopped, PindoRejectedError):
        next_step = (
            "Fix what the reason names (Pindo's dashboard shows the approved sender IDs), then clear the task: it "
            "sends to everybody who was not accepted."
        )
    elif isinstance(stopped, PindoUnknownOutcomeError):
        next_step = (
            f"Let on_unknown='accept' count them as sent, and clear the task: it {_sends(counts.not_sent)}. "
            "For the next list, track_delivery=True tells who was accepted."
        )
    elif isinstance(stopped, PindoError) and not stopped.retry_helps:
        next_step = f"Fix this and clear the task: it {sends}."
    else:
        next_step = f"The next try {sends}."
    if settling_step is not None:
        next_step += f" {settling_step}"
    if settling_step is not None or resent:
        what += f". {_unknown(totals, counts)}"
    next_step += totals.what_report_lacks()
    if isinstance(stopped, PindoError):
        return _Failure(what, next_step, stopped.with_message)
    return _Failure(f"Sending stopped: {what}", next_step, AirflowException)


def _sends(not_sent: int, resent: int = 0) -> str:
    groups = [
        *([f"to the {not_sent:,} recipients who were not sent to"] if not_sent else ()),
        *([f"again to the {resent:,} whose outcome is unknown, who may get it twice"] if resent else ()),
    ]
    return f"sends {' and '.join(groups)}" if groups else "goes on"


def _rejection(totals: Totals, counts: Counts, policies: Policies) -> _Failure | None:
    if counts.rejected and not (counts.accepted or counts.unknown or counts.not_sent or counts.expired):
        return _Failure(
            f"Everybody was rejected ({_reasons(totals.rejections)})",
            "Fix what the reason names, then clear the task: it sends to them again.",
            PindoRejectedError,
            is_finished=True,
        )
    if totals.refused and policies.on_rejected == "fail":
        return _Failure(
            f"Pindo refused {totals.refused:,} of {counts.given:,} recipients ({_reasons(totals.refused_people)}), and "
            "on_rejected is 'fail'",
            "Fix what the reason names, then clear the task: it sends only to them. Or mark the task as success.",
            PindoRejectedError,
            is_finished=True,
        )
    return None


def _reasons(people: Sequence[RecipientResult]) -> str:
    return ", ".join(dict.fromkeys(person.reason for person in people[:MAX_NAMED]))


def _unknown(totals: Totals, counts: Counts) -> str:
    people = (
        (person.row, mask_phone_number(person.phonenumber) if person.phonenumber else "", person.reason)
        for person in totals.unknowns[:MAX_NAMED]
    )
    return _name_unknown(people, totals.unknown, counts.given)


def _name_unknown(people: Iterable[tuple[int, str, str]], unknown: int, given: int) -> str:
    """Name the first recipients whose outcome is unknown, with the reason once for all who share it.

    :param people: row, masked number and reason of each.
    """
    rows: dict[str, list[str]] = {}
    for row, number, reason in people:
        rows.setdefault(reason, []).append(f"row {row}{f' ({number})' if number else ''}")
    named = "; ".join(f"{', '.join(some)}, {reason}" for reason, some in rows.items())
    more = unknown - sum(map(len, rows.values()))
    return (
        f"Outcome unknown for {unknown:,} of {given:,} recipients: {named}"
        f"{f'; and {more:,} more' if more > 0 else ''}"
    )


def _can_ask(totals: Totals, policies: Policies) -> bool:
    """Return whether a question can settle the unknown: none of them is in an entry that a person has changed."""
    return policies.on_unknown == "ask" and policies.is_ledger_kept and not totals.has_changed_entry


def _settling_step(totals: Totals, policies: Policies) -> str:
    if _can_ask(totals, policies):
        return "Once the others are sent to, a person is asked about the unknown."
    restore = (
        " First restore an entry that is not as the task wrote it, and change only its status. If its value is lost, "
        "on_unknown='accept' texts nobody of it, and on_unknown='resend' everybody."
    )
    return (
        "Find out whether they were texted (Pindo's dashboard shows it), then "
        f"{_by_hand(sorted(totals.unknown_entries))}.{restore if totals.has_changed_entry else ''}"
    )


def _by_hand(entries: Sequence[str]) -> str:
    return how_to_settle(abbreviate(entries), SENT, NOT_SENT)
