"""Everything that can go wrong with Pindo, as one tree.

The class of an error tells two things:

* Whether a later try may succeed without a change: :attr:`PindoError.retry_helps`.
* Whether the request may have texted somebody: only after :class:`PindoUnknownOutcomeError`.

A bulk send makes many requests. ``PindoError.counts`` says how many recipients were texted before the error.
No message contains the token, a text, a PIN or a whole phone number. Facts are attributes, so no code has to parse a
message.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self


class PindoError(Exception):
    """Base of every error of this provider.

    :param message: what happened, to what, and what to do next.
    :param status: HTTP status of Pindo's response; None when there was no response.
    :param reason: the ``message`` and ``error`` of Pindo's response, without secrets; or what else is wrong with it, or
        why none came.
    :param summary: what happened in one clause, without advice. Default: the message.
    :ivar counts: how many recipients of a bulk send ended in each column; None for a single call.
    """

    #: Whether the same call may succeed later although nothing was changed.
    retry_helps: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reason: str | None = None,
        summary: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.summary = summary or message
        self.counts: dict[str, int] | None = None

    def with_message(self, message: str) -> Self:
        """Return a copy of this error with another message; class and facts stay."""
        other = copy.copy(self)
        other.args = (message,)
        return other


class PindoConfigurationError(PindoError, ValueError):
    """The connection or an argument is invalid. Nothing was sent."""


class PindoAuthError(PindoError):
    """Pindo refused the token (401, 403). This request sent nothing."""


class PindoRejectedError(PindoError):
    """Pindo refused the request itself (400, 409, 422 and other 4xx). This request sent nothing."""


class PindoNotFoundError(PindoError):
    """The resource does not exist (404), or the host is not Pindo's API. This request sent nothing."""


class PindoInsufficientBalanceError(PindoError):
    """The wallet does not cover the request, which sent nothing. A retry helps once the wallet is topped up."""

    retry_helps = True


class PindoRateLimitError(PindoError):
    """Pindo asked to slow down (429) for longer than the hook waits. This request sent nothing.

    :param retry_after: seconds that Pindo asked to wait, 0 or more; None when it did not ask.
    :param facts: as for :class:`PindoError`.
    """

    retry_helps = True

    def __init__(self, message: str, *, retry_after: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after


class PindoServerError(PindoError):
    """A call that is safe to repeat got a 5xx, a malformed response or none.

    Its subclass :class:`PindoConnectionError` may be raised by any call, also by one that sends: nothing was sent.
    """

    retry_helps = True


class PindoConnectionError(PindoServerError):
    """No connection was made: the name, the server, TLS or the proxy failed. Nothing was sent."""


class PindoUnknownOutcomeError(PindoError):
    """A call that is not safe to repeat was sent and got no certain response: it may have been carried out.

    The hook never repeats it, since that could text somebody twice.
    """

    @property
    def why(self) -> str:
        """Why the outcome is unknown, in one clause."""
        if self.status is None:
            return self.reason or self.summary
        return f"Pindo returned {self.status}" + (f" ({self.reason})" if self.reason else "")


class PindoStoppedError(PindoError):
    """A bulk send stopped, since Pindo seems to be down or an error stopped it. A retry sends to the others."""

    retry_helps = True


class PindoInterruptedError(PindoError):
    """A bulk send was ended by Airflow (SIGTERM, mark as failed, a timeout). A retry sends to the others."""

    retry_helps = True


class PindoWindowClosedError(PindoError):
    """A bulk send was stopped, since its send window closed. A clear within the window sends to the others."""


class PindoCostLimitError(PindoError):
    """A bulk send would cost more than its ``max_cost``. With a higher one, a retry sends to the others."""
