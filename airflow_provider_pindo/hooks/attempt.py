"""A call on its way, apart from the HTTP client that makes it, so that looking at one loads no client."""

from __future__ import annotations


class Attempt:
    """
    One call on its way, for whoever may have to interrupt it.

    :ivar left: whether a connection stood and the request was handed to it, so that its outcome may be unknown.
    :ivar is_last: set it, and the call is not tried again.
    """

    __slots__ = ("is_last", "left")

    def __init__(self) -> None:
        self.left = False
        self.is_last = False
