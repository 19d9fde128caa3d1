"""The two ways in to Pindo: :class:`PindoHook` on ``requests`` and :class:`PindoAsyncHook` on ``aiohttp``.

They do the same and read alike: the call comes from ``api.calls``, the answer goes to ``api.answers``, and
what is left here is auth, timeouts and safe retries. A message is sent at most once by one call of a method,
whatever happens: a request is repeated only when it is certain that it did not arrive.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseHook
from airflow.providers.http.hooks.http import HttpHook
from asgiref.sync import sync_to_async
from multidict import CIMultiDict

from airflow_provider_pindo import __version__
from airflow_provider_pindo._inbox.scan import Cursor, InboundScan, PollResult
from airflow_provider_pindo.api import calls, values
from airflow_provider_pindo.api.errors import PindoError, PindoUnknownOutcomeError
from airflow_provider_pindo.api.responses import Response, no_connection, no_response, parse_response
from airflow_provider_pindo.get_provider_info import CONNECTION_FIELDS, CONNECTION_FORM
from airflow_provider_pindo.hooks._transport import aio, sync
from airflow_provider_pindo.hooks._transport.attempt import Attempt, begin_attempt, current_attempt
from airflow_provider_pindo.hooks._transport.errors import describe
from airflow_provider_pindo.hooks._transport.limits import MAX_IDLE, Body
from airflow_provider_pindo.hooks._transport.retry import (
    MAX_ATTEMPTS,
    Pacer,
    retry_delay,
    trying_again,
)
from airflow_provider_pindo.hooks._transport.tls import ca_bundle, ssl_context
from airflow_provider_pindo.hooks.settings import PindoSettings, read_settings

if TYPE_CHECKING:
    import requests
    from requests import PreparedRequest, Session

T = TypeVar("T")
Recipients = Iterable[str | Mapping[str, Any]]

_HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": f"airflow-provider-pindo/{__version__}",
}

_LEFT_OUT = "%d messages on page %d of the inbound list have no id that is a number, and are left out"


class _ConnectionType:
    """What both hooks are to Airflow: the connection type, its name and its form."""

    conn_name_attr = "pindo_conn_id"
    default_conn_name = "pindo_default"
    conn_type = "pindo"
    hook_name = "Pindo"


class PindoHook(_ConnectionType, HttpHook):
    """Talk to Pindo over ``requests``, from tasks.

    One session with a pool of connections serves the whole life of the hook; close it with :meth:`close`
    or use the hook in a ``with`` block.

    :param pindo_conn_id: Airflow connection of type ``pindo``.
    :param max_attempts: how often a request is tried in all, where repeating it does no harm; 5 (default) get over
        an outage of some ten seconds, and a longer one is for Airflow's own retries, which hold no worker.
    :param settings: the connection's settings, if they were read before. Default: they are read once.

    Every method, and ``run`` as well, raises a :class:`~airflow_provider_pindo.api.errors.PindoError`, and
    nothing else, when Pindo cannot be reached or does not do what was asked.
    """

    def __init__(
        self,
        pindo_conn_id: str = _ConnectionType.default_conn_name,
        *,
        max_attempts: int = MAX_ATTEMPTS,
        settings: PindoSettings | None = None,
    ) -> None:
        super().__init__(method="GET", http_conn_id=pindo_conn_id, tcp_keep_alive=False)
        if settings is not None:
            self.settings = settings
        self.pindo_conn_id = pindo_conn_id
        self.max_attempts = max_attempts
        self._left_out = 0  # messages on a page, at most, that the log was told of: not at every look again

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:  # pragma: no cover - Airflow 2.11
        """Return the form's fields for Airflow 2.11, built from the declaration in the provider info."""
        return _form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what the form hides and relabels, for Airflow 2.11."""
        return {key.replace("-", "_"): value for key, value in CONNECTION_FORM.items()}

    @cached_property
    def settings(self) -> PindoSettings:
        """What the connection says, read once."""
        settings = read_settings(self.get_connection(self.pindo_conn_id))
        _mask(settings)
        return settings

    def send_sms(self, to: str, text: str, sender: str | None = None) -> values.SmsReceipt:
        """Send one message (``POST /v1/sms/``).

        :param to: the recipient, in E.164 or as a national number of the connection's country.
        :param text: the message.
        :param sender: sender ID of at most 11 characters; the connection's when None.
        :return: Pindo's receipt: the message was accepted, which is not yet delivered.
        :raises PindoUnknownOutcomeError: the request left and no certain answer came: it may have been sent. With
            every other error nothing was.
        :raises PindoConfigurationError: the number, the text, the sender or the connection cannot be used as it is.
        :raises PindoRejectedError: Pindo refused the message, such as for an unsupported country.
        :raises PindoAuthError: Pindo refused the token.
        :raises PindoInsufficientBalanceError: the wallet does not cover it.
        :raises PindoRateLimitError: Pindo asked to slow down, for longer than is waited here.
        :raises PindoConnectionError: no connection could be made.
        """
        settings = self.settings
        return self.send(calls.send_sms(to, text, sender or settings.sender, country=settings.country))

    def send_bulk_sms(
        self, recipients: Recipients, text: str, sender: str | None = None
    ) -> values.BulkReceipt:
        """Send one text to many in one request (``POST /v1/sms/bulk``).

        :param recipients: numbers, or mappings with ``phonenumber`` and ``name``.
        :param text: the message; Pindo replaces ``@contact.name`` for each recipient.
        :param sender: sender ID of at most 11 characters; the connection's when None.
        :return: totals; Pindo does not say which recipients it took.
        :raises PindoUnknownOutcomeError: the request left and no certain answer came: all, some or none
            may have been sent. With every other error nobody was texted.
        :raises PindoRejectedError: Pindo refused the request as a whole, be it for one number.
        :raises PindoError: any other that :meth:`send_sms` raises, for the same reasons.
        """
        settings = self.settings
        return self.send(
            calls.send_bulk_sms(recipients, text, sender or settings.sender, country=settings.country)
        )

    def verify(self, number: str, brand: str | None = None) -> values.Verification:
        """Send a PIN to ``number`` (``POST /v1/sms/verify``).

        :param number: whose PIN it is, in E.164 or as a national number of the connection's country.
        :param brand: who the PIN is from; the connection's sender ID when None.
        :return: the ``request_id``, by which the PIN is checked.
        :raises PindoUnknownOutcomeError: the PIN may have been sent, and its ``request_id`` is not known.
        :raises PindoError: any other that :meth:`send_sms` raises; no PIN was sent.
        """
        settings = self.settings
        return self.send(calls.verify(number, brand or settings.sender, country=settings.country))

    def check_verification(self, request_id: int | str, code: str) -> values.VerificationCheck:
        """Check the PIN that a person typed (``POST /v1/sms/verify/check``).

        :param request_id: what :meth:`verify` returned.
        :param code: the PIN, as a string: a number would lose its leading zeros.
        :return: that it is right; a wrong one is an error.
        :raises PindoRejectedError: it is wrong or has expired.
        :raises PindoUnknownOutcomeError: the check may have used up an attempt.
        """
        return self.send(calls.check_verification(request_id, code))

    def get_verification(self, request_id: int | str) -> values.VerificationState:
        """Return the state of a verification (``GET /v1/sms/verify/status/:request_id``).

        :param request_id: what :meth:`verify` returned.
        :return: its ``status``, if Pindo says one; the shape of the answer is not published, and ``raw`` has all of it.
        :raises PindoNotFoundError: there is no such verification.
        :raises PindoServerError: Pindo could not be reached, or did not answer as it should, also when asked again.
        """
        return self.send(calls.get_verification(request_id))

    def cancel_verification(self, request_id: int | str) -> values.VerificationState:
        """Cancel a verification in progress (``PUT /v1/sms/verify/cancel/:request_id``).

        :param request_id: what :meth:`verify` returned.
        :return: its state, as :meth:`get_verification` returns it.
        :raises PindoNotFoundError: there is no such verification.
        :raises PindoServerError: as for :meth:`get_verification`; it may be cancelled all the same.
        """
        return self.send(calls.cancel_verification(request_id))

    def list_inbound_sms(self, page: int = 1, per_page: int = calls.DEFAULT_PER_PAGE) -> values.InboundPage:
        """Return one page of inbound messages (``GET /v1/sms/inbounds``), in Pindo's order.

        :param page: from 1.
        :param per_page: 20 unless given, the only size that Pindo's reference shows.
        :return: the messages, and which of how many pages this is, as far as Pindo says.
        :raises PindoServerError: Pindo could not be reached, or did not answer as it should, also when asked again.
        """
        return self._read_page(page, per_page, Attempt())

    def iter_inbound_sms(
        self, after_id: int | None = None, since: datetime | None = None
    ) -> Iterator[values.InboundSms]:
        """Yield inbound messages, each once, reading only the pages that hold new ones.

        The order is that in which the pages are read; sort by ``id`` for the order of arrival.

        :param after_id: only messages with a higher id.
        :param since: aware time; only messages created then or later.
        """
        for messages in self._read_pages(InboundScan(after_id, since), Attempt()):
            yield from messages

    def read_inbox(self, cursors: Iterable[Cursor], *, retry_first_page: bool = True) -> PollResult:
        """Return the messages that are new to at least one of ``cursors``, from one pass over the inbound list.

        :param cursors: one for each reader.
        :param retry_first_page: False tries the first page once, since the caller polls again later. The other pages
            are always retried, so that a rate limit does not discard the pages already read.
        """
        scan = InboundScan.for_all(cursors)
        first = Attempt()
        first.is_last = not retry_first_page
        messages = [message for page in self._read_pages(scan, first) for message in page]
        return scan.result(messages, self.settings.country)

    def _read_pages(self, scan: InboundScan, first: Attempt) -> Iterator[list[values.InboundSms]]:
        attempt = first
        while scan.next_page is not None:
            yield scan.feed(self._read_page(scan.next_page, scan.per_page, attempt))
            attempt = Attempt()

    def _read_page(self, number: int, per_page: int, attempt: Attempt) -> values.InboundPage:
        call = calls.list_inbound_sms(number, per_page, timezone=self.settings.timezone)
        page = self.send(call, attempt)
        if page.left_out > self._left_out:
            self._left_out = page.left_out
            self.log.warning(_LEFT_OUT, page.left_out, number)
        return page

    def get_balance(self) -> values.Balance:
        """Return what is in the wallet (``GET /wallets/self``).

        :return: the ``amount``, in USD.
        :raises PindoAuthError: Pindo refused the token.
        :raises PindoServerError: Pindo could not be reached, or did not answer as it should, also when asked again.
        """
        return self.send(calls.get_balance())

    def list_sender_ids(self, name: str | None = None) -> tuple[values.SenderId, ...]:
        """Return the account's sender IDs (``GET /sender_ids/``).

        :param name: only those with this name; all when None.
        :return: the sender IDs, each with its ``status``, if Pindo says one.
        :raises PindoServerError: Pindo could not be reached, or did not answer as it should, also when asked again.
        """
        return self.send(calls.list_sender_ids(name))

    def test_connection(self) -> tuple[bool, str]:
        """Read the wallet, once; return whether that went well, and the balance or what is wrong."""
        with PindoHook(self.pindo_conn_id, max_attempts=1) as hook:
            try:
                return _tested(hook.get_balance())
            except PindoError as error:
                return _not_tested(error, self.pindo_conn_id)

    def get_conn(
        self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None
    ) -> Session:
        """Return the session of this hook.

        :param headers: added to the session's.
        :param extra_options: of these ``check_response`` alone is used, by the next :meth:`run`.
        """
        session = self._session
        if headers:
            session.headers.update(headers)
        # What the HTTP provider's run gives to run_and_check; should it give something else, then
        # test_run_returns_a_refusal_to_whoever_asks_for_it fails.
        self.merged_extra = {"check_response": (extra_options or {}).get("check_response", True)}
        return session

    def run(
        self,
        endpoint: str | None = None,
        data: dict[str, Any] | str | None = None,
        headers: dict[str, Any] | None = None,
        extra_options: dict[str, Any] | None = None,
        **request_kwargs: Any,
    ) -> requests.Response:
        """Make any request, once, as the HTTP provider's hook does, by the HTTP method that is this hook's ``method``.

        :param endpoint: path, and query, below the connection's host.
        :param data: the body; parameters of the query for GET.
        :param headers: added to the session's, for all that follows as well.
        :param extra_options: ``{"check_response": False}`` has a refusal returned and not raised. All others are
            ignored: timeout, certificates and proxies are the connection's, no redirect is followed, and nothing is
            streamed.
        :param request_kwargs: what ``requests.Request`` takes besides, such as ``json``.
        :return: the whole answer, of at most 32 MiB.
        :raises PindoError: Pindo cannot be reached, or does not do what was asked; as for every other call.
        """
        answer: requests.Response = super().run(endpoint, data, headers, extra_options, **request_kwargs)
        return answer

    def run_and_check(
        self, session: Session, prepped_request: PreparedRequest, extra_options: dict[Any, Any]
    ) -> requests.Response:
        """Make the request of :meth:`run`, once; unlike the HTTP provider's, log nothing of a failure."""
        environment = session.merge_environment_settings(prepped_request.url, {}, True, None, None)
        begin_attempt(Attempt(self.settings.whole_timeout))
        try:
            response = session.send(
                prepped_request, timeout=self._timeout, allow_redirects=False, **environment
            )
            sync.hold_body(response)
        except sync.FAILURES as error:
            call = _call_of_run(prepped_request)
            raise _failed(call, str(prepped_request.url).split("?", 1)[0], error) from None
        if extra_options.get("check_response", True):
            self.check_response(response)
        return response

    def check_response(self, response: requests.Response) -> None:
        """Raise what an answer to :meth:`run` means; unlike the HTTP provider's, log nothing of its body."""
        if not response.ok or response.is_redirect:
            call = _call_of_run(response.request)
            parse_response(call, _answer(response, response.content), self.settings.token)

    def request_left(self) -> bool:
        """Return whether the latest request of this thread went out, so that its outcome may be unknown.

        False while a request still waits for its turn, its connection or its next try: whoever interrupts
        the hook then knows that nothing was sent.
        """
        return current_attempt().sent

    def close(self) -> None:
        """Close the connections. The hook may be used again afterwards."""
        if session := self.__dict__.pop("_session", None):
            session.close()

    def __enter__(self) -> PindoHook:
        begin_attempt()  # what another hook of this thread did is none of this one's
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @cached_property
    def _session(self) -> Session:
        settings = self.settings
        session = sync.PindoSession()
        session.auth = sync.BearerAuth(settings.token)
        session.headers.update(_HEADERS)
        session.verify, session.cert = settings.verify, settings.cert
        if settings.verify is True:
            session.verify = ca_bundle(settings) or True
        # The environment is read here, once: requests would go through all of it for every message, and put
        # its proxies and certificates before the connection's.
        session.trust_env = False
        proxy = settings.proxy()
        session.proxies = dict(settings.proxies) or ({"all": proxy} if proxy else {})
        if session.verify is not True or session.cert:
            ssl_context(settings)  # says what is wrong with the files; requests would not
        for scheme in ("https://", "http://"):
            session.mount(scheme, sync.PindoAdapter())
        self._set_base_url(None)
        return session

    def _set_base_url(self, connection: Any) -> None:
        # The HTTP provider's reads a connection without our checks, and takes a bare host for http://. It is its own:
        # should it be renamed, test_the_address_of_an_endpoint_is_read_as_for_every_other_call fails.
        self.base_url = self.settings.base_url

    @property
    def _timeout(self) -> tuple[float, float]:
        return self.settings.connect_timeout, self.settings.timeout

    @cached_property
    def _pacer(self) -> Pacer:
        return Pacer.of_connection(self.pindo_conn_id, self.settings.requests_per_second)

    def send(self, call: calls.Call[T], attempt: Attempt | None = None) -> T:
        """Make a call that was built by ``api.calls``.

        :param attempt: shows to whoever holds it whether the request has left, and lets them end it.
        """
        attempt = attempt or Attempt()
        for number in count(1):
            try:
                return self._once(call, attempt)
            except PindoUnknownOutcomeError:
                raise
            except PindoError as error:
                attempt.failed(error)
                pause = retry_delay(error, number, self.max_attempts)
                if pause is None or attempt.is_last:
                    raise
                self.log.warning(trying_again(error, pause, number, self.max_attempts))
            time.sleep(pause)
        raise AssertionError  # count() has no end

    def _once(self, call: calls.Call[T], attempt: Attempt) -> T:
        attempt.whole_timeout = self.settings.whole_timeout
        begin_attempt(attempt)
        return self._request(call)

    def _request(self, call: calls.Call[T]) -> T:
        url = self.settings.url(call.path)
        body, session = call.content(), self._session
        time.sleep(self._pacer.delay())
        try:
            response = session.request(
                call.method,
                url,
                params=call.params,
                data=body,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            content = sync.read_body(response)
        except sync.FAILURES as error:
            raise _failed(call, url, error) from None
        return parse_response(call, _answer(response, content), self.settings.token)


class PindoAsyncHook(_ConnectionType, BaseHook):
    """Talk to Pindo over ``aiohttp``, from triggers and from tasks that send many messages at a time.

    The same methods as :class:`PindoHook` but ``run``, as coroutines (:meth:`iter_inbound_sms` for ``async for``);
    their parameters, results and errors are told there. One session with a pool of connections serves the whole life
    of the hook: use it in an ``async with`` block or call :meth:`close`.

    :param pindo_conn_id: Airflow connection of type ``pindo``.
    :param max_attempts: how often a request is tried in all, where repeating it does no harm; see there.
    :param concurrency: most connections open at a time; further requests wait; 100 (default) are aiohttp's own.
    :param settings: what the connection says, if it has been read already (it is read once otherwise).
    """

    def __init__(
        self,
        pindo_conn_id: str = _ConnectionType.default_conn_name,
        *,
        max_attempts: int = MAX_ATTEMPTS,
        concurrency: int = 100,
        settings: PindoSettings | None = None,
    ) -> None:
        super().__init__()
        self.pindo_conn_id = pindo_conn_id
        self.max_attempts = max_attempts
        self._left_out = 0  # messages on a page, at most, that the log was told of: not at every look again
        self.concurrency = concurrency
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None
        self._authorization: CIMultiDict[str] = CIMultiDict()
        self._opening = asyncio.Lock()

    async def get_settings(self) -> PindoSettings:
        """Return what the connection says, read once."""
        if self._settings is None:
            settings = read_settings(await get_async_connection(self.pindo_conn_id))
            # Not in a thread of asyncio's: masking tells Airflow's supervisor, on 3.0 to 3.2 over the triggerer's own
            # event loop, and out of other threads only asgiref finds the way back to that.
            await sync_to_async(_mask)(settings)
            self._settings = settings
        return self._settings

    async def send_sms(self, to: str, text: str, sender: str | None = None) -> values.SmsReceipt:
        """Send one message; see :meth:`PindoHook.send_sms`."""
        settings = await self.get_settings()
        return await self.send(calls.send_sms(to, text, sender or settings.sender, country=settings.country))

    async def send_bulk_sms(
        self, recipients: Recipients, text: str, sender: str | None = None
    ) -> values.BulkReceipt:
        """Send one text to many in one request; see :meth:`PindoHook.send_bulk_sms`."""
        settings = await self.get_settings()
        return await self.send(
            calls.send_bulk_sms(recipients, text, sender or settings.sender, country=settings.country)
        )

    async def verify(self, number: str, brand: str | None = None) -> values.Verification:
        """Send a PIN; see :meth:`PindoHook.verify`."""
        settings = await self.get_settings()
        return await self.send(calls.verify(number, brand or settings.sender, country=settings.country))

    async def check_verification(self, request_id: int | str, code: str) -> values.VerificationCheck:
        """Check a PIN; see :meth:`PindoHook.check_verification`."""
        return await self.send(calls.check_verification(request_id, code))

    async def get_verification(self, request_id: int | str) -> values.VerificationState:
        """Return the state of a verification; see :meth:`PindoHook.get_verification`."""
        return await self.send(calls.get_verification(request_id))

    async def cancel_verification(self, request_id: int | str) -> values.VerificationState:
        """Cancel a verification; see :meth:`PindoHook.cancel_verification`."""
        return await self.send(calls.cancel_verification(request_id))

    async def list_inbound_sms(
        self, page: int = 1, per_page: int = calls.DEFAULT_PER_PAGE
    ) -> values.InboundPage:
        """Return one page of inbound messages; see :meth:`PindoHook.list_inbound_sms`."""
        return await self._read_page(page, per_page, Attempt())

    async def iter_inbound_sms(
        self, after_id: int | None = None, since: datetime | None = None
    ) -> AsyncIterator[values.InboundSms]:
        """Yield inbound messages, each once; see :meth:`PindoHook.iter_inbound_sms`."""
        async for messages in self._read_pages(InboundScan(after_id, since), Attempt()):
            for message in messages:
                yield message

    async def read_inbox(self, cursors: Iterable[Cursor], *, retry_first_page: bool = True) -> PollResult:
        """Return the messages that are new to at least one of ``cursors``; see :meth:`PindoHook.read_inbox`."""
        scan = InboundScan.for_all(cursors)
        first = Attempt()
        first.is_last = not retry_first_page
        messages = [message async for page in self._read_pages(scan, first) for message in page]
        return scan.result(messages, (await self.get_settings()).country)

    async def _read_pages(self, scan: InboundScan, first: Attempt) -> AsyncIterator[list[values.InboundSms]]:
        attempt = first
        while scan.next_page is not None:
            yield scan.feed(await self._read_page(scan.next_page, scan.per_page, attempt))
            attempt = Attempt()

    async def _read_page(self, number: int, per_page: int, attempt: Attempt) -> values.InboundPage:
        settings = await self.get_settings()
        call = calls.list_inbound_sms(number, per_page, timezone=settings.timezone)
        page = await self.send(call, attempt)
        if page.left_out > self._left_out:
            self._left_out = page.left_out
            self.log.warning(_LEFT_OUT, page.left_out, number)
        return page

    async def get_balance(self) -> values.Balance:
        """Return what is in the wallet; see :meth:`PindoHook.get_balance`."""
        return await self.send(calls.get_balance())

    async def list_sender_ids(self, name: str | None = None) -> tuple[values.SenderId, ...]:
        """Return the account's sender IDs; see :meth:`PindoHook.list_sender_ids`."""
        return await self.send(calls.list_sender_ids(name))

    async def test_connection(self) -> tuple[bool, str]:
        """Read the wallet, once; see :meth:`PindoHook.test_connection`."""
        async with PindoAsyncHook(self.pindo_conn_id, max_attempts=1) as hook:
            try:
                return _tested(await hook.get_balance())
            except PindoError as error:
                return _not_tested(error, self.pindo_conn_id)

    async def close(self) -> None:
        """Close the connections. The hook may be used again afterwards."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def __aenter__(self) -> PindoAsyncHook:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _get_session(self) -> aiohttp.ClientSession:
        settings = await self.get_settings()
        async with self._opening:
            if self._session is not None:  # another request was first
                return self._session
            self._proxy = settings.proxy()  # read once: going through the environment takes a millisecond
            # As aiohttp takes headers, so that it need not make this of them for every request.
            self._authorization = CIMultiDict({"Authorization": f"Bearer {settings.token}"})
            self._session = await self._open_session(settings)
            return self._session

    async def _open_session(self, settings: PindoSettings) -> aiohttp.ClientSession:
        connector = aio.PindoConnector(
            limit=self.concurrency,
            keepalive_timeout=MAX_IDLE,
            ssl=await asyncio.to_thread(ssl_context, settings),
        )
        return aiohttp.ClientSession(
            headers=_HEADERS,
            connector=connector,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.connect_timeout, sock_read=settings.timeout
            ),
            max_line_size=aio.MAX_HEADER_LINE,
            max_field_size=aio.MAX_HEADER_LINE,
            # Proxies of the environment are read by the settings; here it would also read a .netrc, whose
            # password aiohttp refuses to combine with a header of ours.
            trust_env=False,
        )

    @cached_property
    def _pacer(self) -> Pacer:
        per_second = self._settings.requests_per_second if self._settings else None
        return Pacer.of_connection(self.pindo_conn_id, per_second)

    async def send(self, call: calls.Call[T], attempt: Attempt | None = None) -> T:
        """Make a call that was built by ``api.calls``.

        :param attempt: shows to whoever holds it whether the request has left, and lets them end it.
        """
        attempt = attempt or Attempt()
        for number in count(1):
            try:
                return await self._once(call, attempt)
            except PindoUnknownOutcomeError:
                raise
            except PindoError as error:
                attempt.failed(error)
                pause = retry_delay(error, number, self.max_attempts)
                if pause is None or attempt.is_last:
                    raise
                self.log.warning(trying_again(error, pause, number, self.max_attempts))
            await asyncio.sleep(pause)
        raise AssertionError  # count() has no end

    async def _once(self, call: calls.Call[T], attempt: Attempt) -> T:
        settings = self._settings or await self.get_settings()
        session = self._session or await self._get_session()
        if delay := self._pacer.delay():
            await asyncio.sleep(delay)
        url = settings.url(call.path)
        content = call.content()
        attempt.whole_timeout = settings.whole_timeout
        begin_attempt(attempt)
        try:
            async with (
                aio.bounded_from_its_leaving(content),
                session.request(
                    call.method,
                    url,
                    params=call.params,
                    data=content,
                    # Not a header of the session: aiohttp shows those to a proxy too.
                    headers=self._authorization,
                    allow_redirects=False,
                    proxy=self._proxy,
                ) as response,
            ):
                body = Body()
                async for piece in response.content.iter_any():
                    body.add(piece)
        except aio.FAILURES as error:
            # On its way through a proxy many things end a request that was not yet handed on. Elsewhere nothing but
            # these is taken for certain, should aiohttp ever fail to say that one leaves.
            certain = not attempt.sent and (self._proxy is not None or isinstance(error, aio.NO_CONNECTION))
            failed = no_connection if certain else no_response
            raise failed(call, url, describe(error)) from None  # see _failed
        # These headers are found in whatever case.
        return parse_response(
            call, Response(response.status, response.headers, body.content(), url), settings.token
        )


def _call_of_run(request: PreparedRequest) -> calls.Call[Any]:
    harmless = request.method in ("GET", "HEAD")
    return calls.Call(
        "run",
        request.method or "",
        "",
        lambda body: body,
        safe_to_repeat=harmless,
        private=lambda message: sync.strings_in(request.body),
    )


def _failed(call: calls.Call[Any], url: str, error: BaseException) -> PindoError:
    """Return what a failure of this thread's attempt means.

    It is raised without its cause: Airflow logs the whole chain, and a library's error repeats the server's bytes,
    in which there may be a text or a number.
    """
    failed = no_response if current_attempt().sent else no_connection
    return failed(call, url, describe(error))


def _answer(response: requests.Response, content: bytes) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status_code, headers, content, response.url.split("?", 1)[0])


def _tested(balance: values.Balance) -> tuple[bool, str]:
    return True, f"Connected to Pindo; the wallet holds {balance.amount:,.2f} USD"


def _not_tested(error: PindoError, conn_id: str) -> tuple[bool, str]:
    # Airflow tests what stands in a form under a name that nobody has given it.
    said = str(error).replace(f"connection {conn_id!r}", "this connection")
    # A wallet that is not there, or an answer that is none of Pindo's, where Pindo should be.
    elsewhere = error.status is not None and (error.status in (404, 405) or 200 <= error.status < 300)
    advice = "This does not look like Pindo: check the connection's host. " if elsewhere else ""
    return False, f"{advice}{said}"


def _mask(settings: PindoSettings) -> None:
    """Have Airflow take the token, and the proxies' addresses, which may hold a password, out of all logs."""
    from airflow.providers.common.compat.sdk import mask_secret

    for secret in (settings.token, *settings.proxies.values(), settings.proxy()):
        mask_secret(secret)


def _form_widgets() -> dict[str, Any]:  # pragma: no cover - Airflow 2.11
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import BooleanField, StringField

    def widget(field: dict[str, Any]) -> Any:
        if "boolean" in field["schema"]["type"]:
            return BooleanField(field["label"], description=field["description"])
        return StringField(field["label"], description=field["description"], widget=BS3TextFieldWidget())

    return {name: widget(field) for name, field in CONNECTION_FIELDS.items()}
