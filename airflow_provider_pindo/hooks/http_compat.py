"""What users of the HTTP provider's hook expect of ours: ``run``, and the methods that it calls.

Only public names of ``HttpHook`` are overridden. A request of ``run`` goes through the same transport as all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import requests
from airflow.providers.http.hooks.http import HttpHook
from requests import PreparedRequest, Session

from airflow_provider_pindo.api.calls import Call
from airflow_provider_pindo.hooks._transport.attempt import begin_attempt
from airflow_provider_pindo.hooks._transport.sync import SyncTransport


class _PindoHttpHook(HttpHook):
    """The part of :class:`~airflow_provider_pindo.hooks.pindo.PindoHook` that makes it an ``HttpHook``."""

    @property
    def _transport(self) -> SyncTransport:
        raise NotImplementedError

    def get_conn(
        self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None
    ) -> Session:
        """Return the session of this hook.

        :param headers: added to the session's.
        :param extra_options: ignored; the connection has them all.
        """
        session = self._transport.session
        if headers:
            session.headers.update(headers)
        self.base_url = self._transport.settings.base_url
        return session

    def url_from_endpoint(self, endpoint: str | None) -> str:
        """Return the address of ``endpoint``, below the connection's host."""
        endpoint = endpoint or ""
        separator = "/" if endpoint and not endpoint.startswith("/") else ""
        return self._transport.settings.url(separator + endpoint)

    def run(
        self,
        endpoint: str | None = None,
        data: dict[str, Any] | str | None = None,
        headers: dict[str, Any] | None = None,
        extra_options: dict[str, Any] | None = None,
        **request_kwargs: Any,
    ) -> requests.Response:
        """Make any request, once, with this hook's ``method``, as the HTTP provider's hook does.

        :param endpoint: path and query below the connection's host.
        :param data: the body; for GET the parameters of the query.
        :param headers: of this request, besides the session's. A body without a ``Content-Type`` counts as JSON.
        :param extra_options: ``{"check_response": False}`` returns a refusal instead of raising it. All others are
            ignored: timeout, certificates and proxies come from the connection. No redirect is followed, and nothing
            is streamed.
        :param request_kwargs: other arguments of ``requests.Request``, such as ``json``.
        :return: the whole response, of at most 32 MiB.
        :raises PindoError: Pindo cannot be reached, or refuses the request.
        """
        session = self.get_conn(None, extra_options)
        url = self.url_from_endpoint(endpoint)
        payload = {} if self.method == "HEAD" else {"params" if self.method == "GET" else "data": data}
        request = requests.Request(self.method, url, headers, **payload, **request_kwargs)
        prepared = session.prepare_request(request)
        if prepared.body is not None:
            prepared.headers.setdefault("Content-Type", "application/json")
        return self.run_and_check(session, prepared, extra_options or {})

    def run_and_check(
        self, session: Session, prepped_request: PreparedRequest, extra_options: dict[Any, Any]
    ) -> requests.Response:
        """Make the request of :meth:`run`, once. Unlike the HTTP provider's hook, it does not log a failure."""
        begin_attempt()
        response = self._transport.send(_call_of_run(prepped_request), session, prepped_request)
        if extra_options.get("check_response", True):
            self.check_response(response)
        return response

    def check_response(self, response: requests.Response) -> None:
        """Raise what a response to :meth:`run` means. Unlike the HTTP provider's hook, it does not log the body."""
        if not response.ok or response.is_redirect:
            self._transport.parse(_call_of_run(response.request), response, response.content)


def _call_of_run(request: PreparedRequest) -> Call[Any]:
    return Call(
        "run",
        request.method or "",
        "",
        lambda body: body,
        safe_to_repeat=request.method in ("GET", "HEAD"),
        private=lambda message: _strings_in(request.body),
    )


def _strings_in(body: object) -> tuple[str, ...]:
    """Return the values in the body of a request (JSON, a form or any text) that no error shows.

    These are all strings, and numbers of four digits or more, since a PIN has as many. The longest come first, so that
    a string that contains another is replaced as a whole.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if not isinstance(text, str):  # no body, or a stream that is read already
        return ()
    try:
        strings = set(_iter_strings(json.loads(text, parse_int=_digits, parse_float=_digits)))
    except (ValueError, RecursionError):
        strings = {text, *(value for _, value in parse_qsl(text))}
    return tuple(sorted(strings, key=len, reverse=True))


def _digits(number: str) -> str | None:
    """Return a number of JSON as text, without the ``.0`` that a table may add; None if it is too short for a PIN."""
    digits = number.removesuffix(".0")
    return digits if len(digits) >= 4 else None


def _iter_strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _iter_strings(item)
