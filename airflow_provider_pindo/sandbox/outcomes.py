"""What becomes of a message: the outcomes, the numbers that always have one, and the rules for the others.

An :class:`Outcome` is a value: the reports that the network makes after a message was sent. It makes each
of them once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import msgspec

from airflow_provider_pindo.sandbox.book import Book
from airflow_provider_pindo.sandbox.store import Message
from airflow_provider_pindo.sandbox.validation import Count, Text, check_fields, one_of


class Step(NamedTuple):
    """One thing that happens after a message was sent.

    :param report: status of a delivery report; None for a reply of the phone.
    :param late: whether it takes ``late_report_seconds`` instead of ``delivery_seconds``.
    """

    report: str | None
    retries_count: int = 0
    late: bool = False


class Outcome(NamedTuple):
    """What becomes of a message, in words and in steps."""

    description: str
    steps: tuple[Step, ...]


_DELIVERED = Step("DELIVRD")

#: What can become of a message, by name.
OUTCOMES = {
    "delivered": Outcome("delivered: a report DELIVRD", (_DELIVERED,)),
    "undelivered": Outcome("not delivered: a report UNDELIV", (Step("UNDELIV"),)),
    "expired": Outcome("not delivered in time: a report EXPIRED", (Step("EXPIRED"),)),
    "rejected": Outcome("rejected by the network: a report REJECTED", (Step("REJECTED"),)),
    "failed": Outcome("failed: a report UNKNOWN", (Step("UNKNOWN"),)),
    "no_report": Outcome("stays sent: no report", ()),
    "late_report": Outcome("delivered: a report DELIVRD, late", (Step("DELIVRD", late=True),)),
    "report_twice": Outcome("delivered: the report DELIVRD twice", (_DELIVERED, _DELIVERED)),
    "reports_out_of_order": Outcome(
        "delivered: a report DELIVRD, then ACCEPTED", (_DELIVERED, Step("ACCEPTED"))
    ),
    "delivered_after_retry": Outcome(
        "delivered by a retry: a report UNDELIV, then DELIVRD", (Step("UNDELIV"), Step("DELIVRD", 1))
    ),
    "auto_reply": Outcome("delivered: a report DELIVRD, then the phone replies", (_DELIVERED, Step(None))),
}

#: Numbers that always have one outcome.
NUMBERS = {
    "+250789900001": "undelivered",
    "+250789900002": "expired",
    "+250789900003": "rejected",
    "+250789900004": "no_report",
    "+250789900005": "late_report",
    "+250789900006": "report_twice",
    "+250789900007": "reports_out_of_order",
    "+250789900008": "delivered_after_retry",
    "+250789900009": "auto_reply",
    "+250789900010": "failed",
}

#: The status of a message in words, by the status of the report. ACCEPTED is not final and changes nothing.
STATUS_BY_REPORT = {
    "DELIVRD": "delivered",
    "UNDELIV": "undelivered",
    "EXPIRED": "expired",
    "REJECTED": "rejected",
    "UNKNOWN": "failed",
}
#: The report of a status that a person sets.
REPORT_BY_STATUS = {"accepted": "ACCEPTED", **{status: code for code, status in STATUS_BY_REPORT.items()}}
#: Every status that a message can have.
STATUSES = ("accepted", "sent", *STATUS_BY_REPORT.values())


class Rule(msgspec.Struct, frozen=True):
    """What becomes of some messages.

    :param outcome: one of :data:`~airflow_provider_pindo.sandbox.outcomes.OUTCOMES`.
    :param to: only messages to this number; None for all.
    :param sender: only messages of this sender ID; None for all.
    :param times: number of messages; None for no limit.
    """

    outcome: Annotated[str, one_of(OUTCOMES)]
    to: Text | None = None
    sender: Text | None = None
    times: Count | None = None

    @classmethod
    def from_json(cls, definition: Any) -> Rule:
        """A rule as JSON defines it.

        :raises ValueError: an unknown field, or a value that a field does not take.
        """
        if not isinstance(definition, dict):
            raise ValueError("a rule is a JSON object with at least an 'outcome'")
        return cls(**check_fields(cls, {"outcome": None, **definition}, "rule field"))

    def matches(self, message: Message) -> bool:
        """Whether this rule is for this message."""
        return self.to in (None, message.to) and self.sender in (None, message.sender)


class RuleBook(Book[Rule]):
    """The active rules, oldest first."""

    def outcomes(self, messages: list[Message], default: str) -> Iterator[str]:
        """Yield the outcome of each message.

        It is that of its number in :data:`NUMBERS`, else of the oldest rule that matches, else ``default``.
        """
        for message in messages:
            yield NUMBERS.get(message.to) or self._by_rule(message) or default

    def _by_rule(self, message: Message) -> str | None:
        for rule_id, rule in self.entries.items():
            if rule.matches(message):
                self.count_down(rule_id)
                return rule.outcome
        return None
