"""When a bulk send stops before its end: the circuit breaker between the sender and Pindo.

It opens for an error that concerns everybody: an interruption, an empty wallet, a closed window. It also opens when
responses show that going on is useless. Pindo is down, or it refuses everybody for one reason.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from airflow_provider_pindo.api.errors import (
    PindoInterruptedError,
    PindoRejectedError,
    PindoStoppedError,
    PindoUnknownOutcomeError,
)

log = logging.getLogger(__name__)

#: Requests in a row without a certain response after which Pindo counts as down. Going on would only make more
#: recipients unknown.
UNKNOWN_IN_A_ROW = 10
#: Refusals in a row with one reason that is not about a number, and nobody accepted in between, after which the reason
#: counts for everybody.
REFUSED_IN_A_ROW = 20
#: Status of a request that is too large, which says nothing about the next.
TOO_LARGE = 413
#: What Pindo documents of numbers: unsupported country, unsupported telco, wrong number format. Any spelling counts.
_ABOUT_A_NUMBER = re.compile(
    r"(?=.*\b(?:country|countries|telcos?)\b)(?=.*\b(?:unsupported|not supported)\b)"
    r"|(?=.*\b(?:phone|numbers?|phonenumbers?)\b(?! of\b))(?=.*\b(?:wrong|invalid|incorrect|not valid|format)\b)"
)
#: A reason with such a word concerns everybody, whatever else it says.
_ABOUT_THE_SEND = re.compile(r"\b(?:sender|account|brand|text)s?\b")
#: What a reason may say of one request alone: a number, masked or not, or an id.
_OF_ONE_REQUEST = re.compile(r"[\w+*-]*[\d*][\w+*-]*")


class Breaker:
    """Decides whether a send goes on.

    :param on_open: called when no further request may start.
    """

    def __init__(self, on_open: Callable[[], None]) -> None:
        self._on_open = on_open
        #: Why it stopped before the end; None when it did not.
        self.error: BaseException | None = None
        self.starts_requests = True
        self.is_interrupted = False
        self._unknown_in_a_row = 0
        self._refused_in_a_row: tuple[object, int] = (None, 0)

    def stop(self, error: BaseException) -> None:
        """Start no further request; those in flight go on."""
        if self.error is None:
            self.error = error
            log.warning("Stopping: no further request starts")
        if self.starts_requests:
            self.starts_requests = False
            self._on_open()

    def interrupt(self) -> None:
        """Start nothing new, since the task must end. May be called from any thread and by a signal handler."""
        self.is_interrupted, self.starts_requests = True, False
        if self.error is None:
            self.error = PindoInterruptedError("The task was asked to end while it was sending")

    def count_response(self) -> None:
        """Note that Pindo is up."""
        self._unknown_in_a_row = 0

    def count_accepted(self) -> None:
        """Note that Pindo is up, and does not refuse everybody."""
        self.count_response()
        self._refused_in_a_row = (None, 0)

    def count_unknown(self, reason: str) -> None:
        """Count a request without a certain response; stop when there were too many in a row."""
        if self._is_last_unknown():
            self.stop(
                PindoStoppedError(
                    f"{UNKNOWN_IN_A_ROW} requests in a row got no certain response ({reason}): Pindo seems to be down"
                )
            )

    def count_unclear(self, reason: str) -> None:
        """Count a receipt that does not say who was accepted; stop when there were too many in a row."""
        if self._is_last_unknown():
            self.stop(
                PindoUnknownOutcomeError(
                    f"{UNKNOWN_IN_A_ROW} requests in a row got no receipt that says who was accepted ({reason})"
                )
            )

    def _is_last_unknown(self) -> bool:
        self._unknown_in_a_row += 1
        return self._unknown_in_a_row == UNKNOWN_IN_A_ROW

    def count_refused(self, error: PindoRejectedError) -> bool:
        """Count a refusal; return whether it is the last of a run that concerns everybody.

        Only refusals with one reason, and nobody accepted in between, make a run. The reason may name the number, which
        differs. Reasons about a number never make a run.
        """
        if error.status == TOO_LARGE or is_about_a_number(error.reason or ""):
            return False
        reason = error.status, _OF_ONE_REQUEST.sub("…", error.reason or "")
        before, count = self._refused_in_a_row
        self._refused_in_a_row = reason, count + 1 if reason == before else 1
        return self._refused_in_a_row[1] >= REFUSED_IN_A_ROW

    def refuse_everybody(self, error: PindoRejectedError, sender: str) -> None:
        """Stop since Pindo refuses every message; the error names the sender ID if the reason does."""
        if self.starts_requests:
            names_sender = re.search(r"\bsender", error.reason or "", re.IGNORECASE)
            what = f"the sender ID {sender!r}" if names_sender else "every message"
            self.stop(
                error.with_message(f"Pindo refuses {what} ({reason_of(error)}), so nobody else was sent to")
            )


def is_about_a_number(reason: str) -> bool:
    """Return whether Pindo refuses a number, and not the sender, the account, the brand or the text."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W]+", " ", reason).lower()
    return bool(_ABOUT_A_NUMBER.match(words)) and not _ABOUT_THE_SEND.search(words)


def reason_of(error: PindoRejectedError) -> str:
    """Return status and reason of a refusal, as the report and the ledger name it."""
    return f"{error.status} {error.reason}" if error.reason else str(error.status)
