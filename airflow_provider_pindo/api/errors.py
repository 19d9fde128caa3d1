"""Everything that can go wrong with Pindo, as one tree.

Each class answers the questions a person has when a task is red: can it simply be tried again
(:attr:`PindoError.retry_helps`), and may this request have texted somebody
(:class:`PindoUnknownOutcomeError`, and that class alone)? Of a bulk send, which makes many requests, the numbers at
the end of the message say how many were texted before. Messages never carry the token, a message's text, a PIN or a
full phone number.
"""

from __future__ import annotations

from copy import copy
from typing import ClassVar, Self


class PindoError(Exception):
    """Base of every error of this provider.

    :param message: what happened, to what, and what to do next.
    :param status: HTTP status of Pindo's answer; None when there was no answer.
    :param reason: what Pindo itself said (the ``message`` of its error body), cleaned of secrets.
    """

    #: Whether the same call may succeed later without anybody changing anything.
    retry_helps: ClassVar[bool] = False

    def __init__(self, message: str, *, status: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    def with_message(self, message: str) -> Self:
        """Return a copy with another message; its class and all facts stay."""
        error = copy(self)
        error.args = (message,)
        return error


class PindoConfigurationError(PindoError, ValueError):
    """The connection, or an argument, cannot be used as it is. Nothing was sent."""


class PindoAuthError(PindoError):
    """Pindo refused the token (401, 403). This request sent nothing."""


class PindoRejectedError(PindoError):
    """Pindo refused the request itself (400, 409, 422 and other 4xx). This request sent nothing."""


class PindoNotFoundError(PindoError):
    """There is no such resource (404), or the host is not Pindo's API. This request sent nothing."""


class PindoInsufficientBalanceError(PindoError):
    """The wallet does not cover the request, which sent nothing; a retry helps once it is topped up."""

    retry_helps = True


class PindoRateLimitError(PindoError):
    """Pindo asked to slow down (429) for longer than the hook waits. This request sent nothing.

    :param retry_after: seconds that Pindo asked to wait; None when it did not say.
    """

    retry_helps = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = 429,
        reason: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after = retry_after


class PindoServerError(PindoError):
    """Pindo cannot be reached or does not answer as it should, and asking again does no harm.

    A call that is safe to repeat got a 5xx, no answer or an unreadable one; or, as
    :class:`PindoConnectionError`, any call got no connection.
    """

    retry_helps = True


class PindoConnectionError(PindoServerError):
    """No connection could be made (name, refusal, TLS, proxy). Nothing was sent, whatever the call."""


class PindoUnknownOutcomeError(PindoError):
    """A call that sends left this machine and no certain answer came back: it may have been carried out.

    Never repeated by itself, since that could text somebody twice.
    """


class PindoStoppedError(PindoError):
    """A bulk send stopped, since Pindo seems to be down or something broke; a retry sends to those who are left."""

    retry_helps = True


class PindoInterruptedError(PindoError):
    """A bulk send was asked to end (SIGTERM, mark as failed, a timeout); a retry sends to those who are left."""

    retry_helps = True


class PindoCostLimitError(PindoError):
    """A bulk send would cost more than its ``max_cost``; with a higher one, it goes on with those who are left."""
