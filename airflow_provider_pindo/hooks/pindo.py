"""The two clients for Pindo: :class:`PindoHook` on ``requests`` and :class:`PindoAsyncHook` on ``aiohttp``.

Both have the same methods. Each builds a call with :mod:`~airflow_provider_pindo.api.calls`, gives it to its transport,
and tries again where that is safe. One call of a method sends a message at most once: a request that sends is repeated
only when it certainly did not arrive.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from itertools import count
from typing import Any, TypeVar

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseHook
from asgiref.sync import sync_to_async

from airflow_provider_pindo._inbox.scan import Cursor, InboundScan, PollResult, lowest
from airflow_provider_pindo._metrics import timed_request
from airflow_provider_pindo.api import calls, values
from airflow_provider_pindo.api.errors import PindoError, PindoUnknownOutcomeError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID, DEFAULT_PER_PAGE
from airflow_provider_pindo.get_provider_info import CONNECTION_FIELDS, CONNECTION_FORM
from airflow_provider_pindo.hooks._settings import PindoSettings, read_settings
from airflow_provider_pindo.hooks._transport.aio import AsyncTransport
from airflow_provider_pindo.hooks._transport.attempt import Attempt, begin_attempt, current_attempt
from airflow_provider_pindo.hooks._transport.retry import MAX_ATTEMPTS, Pacer, retry_delay
from airflow_provider_pindo.hooks._transport.sync import SyncTransport
from airflow_provider_pindo.hooks.http_compat import _PindoHttpHook

_T = TypeVar("_T")
#: What errors call a connection that is tested: Airflow tests the values of a form under a random ID.
_TESTED = "this connection"
_Recipients = Iterable[str | Mapping[str, Any]]


class _PindoBase(BaseHook):
    """What both hooks share: the connection type, and what they log."""

    conn_name_attr = "pindo_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "pindo"
    hook_name = "Pindo"

    max_attempts: int
    #: Pages, each with its number of messages that are left out. The same page is read again and again.
    _warned: frozenset[tuple[int, int]] = frozenset()

    def _warn_of_left_out(self, number: int, page: values.InboundPage) -> None:
        if page.left_out and (number, page.left_out) not in self._warned:
            self._warned |= {(number, page.left_out)}
            self.log.warning(
                "Page %d of the inbound list: %d messages have no numeric id and are left out",
                number,
                page.left_out,
            )

    def _delay_before_retry(self, error: PindoError, attempt: Attempt, number: int) -> float:
        """Return the seconds until the next try; raise ``error`` if there must not be one.

        :param number: which try ended in ``error``, from 1.
        """
        if isinstance(error, PindoUnknownOutcomeError):
            raise error
        attempt.failed(error)
        delay = retry_delay(error, number, self.max_attempts)
        if delay is None or attempt.is_last:
            raise error
        self.log.warning(
            "Try %d of %d failed: %s. Retrying in %.1f s", number, self.max_attempts, error, delay
        )
        return delay


class PindoHook(_PindoBase, _PindoHttpHook):
    """A client for Pindo on ``requests``, for tasks.

    One session with a pool of connections serves the whole life of the hook. Use the hook in a ``with`` block, or call
    :meth:`close`. Every method, ``run`` included, raises a :class:`~airflow_provider_pindo.api.errors.PindoError` when
    Pindo cannot be reached or refuses the request.

    :param pindo_conn_id: Airflow connection of type ``pindo``.
    :param max_attempts: tries in all of a request that is safe to repeat. The default outlasts an outage of about ten
        seconds. Airflow's own retries, which hold no worker, are for longer ones.
    :param settings: the connection's settings, if they were read before. Default: they are read once.
    """

    def __init__(
        self,
        pindo_conn_id: str = _PindoBase.default_conn_name,
        *,
        max_attempts: int = MAX_ATTEMPTS,
        settings: PindoSettings | None = None,
    ) -> None:
        super().__init__(method="GET", http_conn_id=pindo_conn_id, tcp_keep_alive=False)
        if settings is not None:
            self.settings = settings
        self.pindo_conn_id = pindo_conn_id
        self.max_attempts = max_attempts

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
        """The connection's settings, read once."""
        settings = read_settings(self.get_connection(self.pindo_conn_id))
        _mask(settings)
        return settings

    def send_sms(self, to: str, text: str, sender: str | None = None) -> values.SmsReceipt:
        """Send one message (``POST /v1/sms/``).

        :param to: the recipient, in E.164 or as a national number of the connection's country.
        :param text: the message.
        :param sender: sender ID of at most 11 characters; the connection's when None.
        :return: Pindo's receipt. The message was accepted, which does not mean delivered.
        :raises PindoUnknownOutcomeError: the request was sent and its response is missing or unclear. The message may
            have been sent. After every other error it was not.
        :raises PindoConfigurationError: the number, the text, the sender or the connection is invalid.
        :raises PindoRejectedError: Pindo refused the message, such as for an unsupported country.
        :raises PindoAuthError: Pindo refused the token.
        :raises PindoInsufficientBalanceError: the wallet does not cover it.
        :raises PindoRateLimitError: Pindo asked to slow down, for longer than the hook waits.
        :raises PindoConnectionError: no connection could be made.
        """
        settings = self.settings
        return self.send(calls.send_sms(to, text, sender or settings.sender, country=settings.country))

    def send_bulk_sms(
        self, recipients: _Recipients, text: str, sender: str | None = None
    ) -> values.BulkReceipt:
        """Send one text to many in one request (``POST /v1/sms/bulk``).

        :param recipients: numbers, or mappings with ``phonenumber`` and ``name``. Other keys are left out.
        :param text: the message; Pindo replaces ``@contact.name`` for each recipient, who must have a name then. Any
            other mention is refused:
            :class:`~airflow_provider_pindo.operators.sms.PindoSendBulkSmsOperator` fills it.
        :param sender: sender ID of at most 11 characters; the connection's when None.
        :return: totals. Pindo does not say which recipients it accepted.
        :raises PindoUnknownOutcomeError: the request was sent and its response is missing or unclear. All, some or no
            messages may have been sent. After every other error none was.
        :raises PindoRejectedError: Pindo refused the whole request; one bad number is enough.
        :raises PindoError: any other error of :meth:`send_sms`, for the same reasons.
        """
        settings = self.settings
        return self.send(
            calls.send_bulk_sms(recipients, text, sender or settings.sender, country=settings.country)
        )

    def verify(self, number: str, brand: str | None = None) -> values.Verification:
        """Send a PIN to ``number`` (``POST /v1/sms/verify``).

        :param number: who receives the PIN, in E.164 or as a national number of the connection's country.
        :param brand: who the PIN is from; the connection's sender ID when None.
        :return: the ``request_id``, which checks the PIN.
        :raises PindoUnknownOutcomeError: the PIN may have been sent, and its ``request_id`` is not known.
        :raises PindoError: any other error of :meth:`send_sms`. No PIN was sent.
        """
        settings = self.settings
        return self.send(calls.verify(number, brand or settings.sender, country=settings.country))

    def check_verification(self, request_id: int | str, code: str) -> values.VerificationCheck:
        """Check the PIN that a person typed (``POST /v1/sms/verify/check``).

        :param request_id: what :meth:`verify` returned.
        :param code: the PIN, as a string: a number would lose its leading zeros. Spaces and hyphens between digits and
            invisible characters are dropped, and digits of any script are understood.
        :return: Pindo's response to a right PIN. A wrong one is an error.
        :raises PindoRejectedError: it is wrong or has expired.
        :raises PindoUnknownOutcomeError: the check may have used up an attempt.
        """
        return self.send(calls.check_verification(request_id, code))

    def get_verification(self, request_id: int | str) -> values.VerificationState:
        """Return the state of a verification (``GET /v1/sms/verify/status/:request_id``).

        :param request_id: what :meth:`verify` returned.
        :return: its ``status``, if Pindo gives one. Pindo does not publish the shape of the response; ``raw`` has it
            all.
        :raises PindoNotFoundError: there is no such verification.
        :raises PindoServerError: Pindo could not be reached, or failed on every try.
        """
        return self.send(calls.get_verification(request_id))

    def cancel_verification(self, request_id: int | str) -> values.VerificationState:
        """Cancel a verification in progress (``PUT /v1/sms/verify/cancel/:request_id``).

        :param request_id: what :meth:`verify` returned.
        :return: its state, as :meth:`get_verification` returns it.
        :raises PindoNotFoundError: there is no such verification.
        :raises PindoServerError: as for :meth:`get_verification`. It may be cancelled all the same.
        """
        return self.send(calls.cancel_verification(request_id))

    def list_inbound_sms(self, page: int = 1, per_page: int = DEFAULT_PER_PAGE) -> values.InboundPage:
        """Return one page of inbound messages (``GET /v1/sms/inbounds``), in Pindo's order.

        :param page: from 1.
        :param per_page: messages on a page. The default is the only size that Pindo's reference shows.
        :return: the messages; and the numbers of this page and of all pages, if Pindo gives them.
        :raises PindoServerError: Pindo could not be reached, or failed on every try.
        """
        return self._read_page(page, per_page, Attempt())

    def iter_inbound_sms(
        self, after_id: int | None = None, since: datetime | None = None
    ) -> Iterator[values.InboundSms]:
        """Yield inbound messages, each once, reading only the pages that have new ones.

        They come in the order of the pages. Sort by ``id`` for the order of arrival.

        :param after_id: only messages with a higher id.
        :param since: aware time; only messages created then or later.
        :raises PindoServerError: as for :meth:`list_inbound_sms`; or Pindo returned another page than the requested
            one, twice.
        """
        for messages in self._read_pages(InboundScan(Cursor(after_id, since)), Attempt()):
            yield from messages

    def read_inbox(self, cursors: Iterable[Cursor], *, retry_first_page: bool = True) -> PollResult:
        """Return at least the messages that are new to one of ``cursors``, from one pass over the inbound list.

        Each reader filters them with :meth:`Cursor.new_in`.

        :param cursors: one for each reader.
        :param retry_first_page: False tries the first page once, since the caller polls again later. The other pages
            are always retried, so that a rate limit does not discard the pages already read.
        :raises PindoServerError: as for :meth:`iter_inbound_sms`.
        """
        scan = InboundScan(*lowest(cursors))
        first = Attempt(is_last=not retry_first_page)
        messages = [message for page in self._read_pages(scan, first) for message in page]
        return scan.result(messages, self.settings.country)

    def _read_pages(self, scan: InboundScan, first: Attempt) -> Iterator[list[values.InboundSms]]:
        attempt = first
        while scan.next_page is not None:
            yield scan.feed(self._read_page(scan.next_page, scan.per_page, attempt))
            attempt = Attempt()

    def _read_page(self, number: int, per_page: int, attempt: Attempt) -> values.InboundPage:
        call = calls.list_inbound_sms(number, per_page, self.settings.timezone)
        page = self.send(call, attempt)
        self._warn_of_left_out(number, page)
        return page

    def get_balance(self) -> values.Balance:
        """Return the balance of the wallet (``GET /wallets/self``).

        :return: the ``amount``, in USD.
        :raises PindoAuthError: Pindo refused the token.
        :raises PindoServerError: Pindo could not be reached, or failed on every try.
        """
        return self.send(calls.get_balance())

    def list_sender_ids(self, name: str | None = None) -> tuple[values.SenderId, ...]:
        """Return the account's sender IDs (``GET /sender_ids/``).

        :param name: only those with this name; all when None.
        :return: the sender IDs, each with its ``status``, if Pindo gives one.
        :raises PindoServerError: Pindo could not be reached, or failed on every try.
        """
        return self.send(calls.list_sender_ids(name))

    def test_connection(self) -> tuple[bool, str]:
        """Read the wallet, once. Return whether it worked, and the balance or what is wrong."""
        try:
            settings = read_settings(self.get_connection(self.pindo_conn_id), _TESTED)
            _mask(settings)
            with PindoHook(self.pindo_conn_id, max_attempts=1, settings=settings) as hook:
                return _connected(hook.get_balance())
        except PindoError as error:
            return _not_connected(error)

    def request_sent(self) -> bool:
        """Return whether the latest request of this thread was sent, so that its outcome may be unknown.

        False while a request waits for its turn, its connection or its next try. Code that interrupts the hook then
        knows that nothing was sent.
        """
        return current_attempt().sent

    def send(self, call: calls.Call[_T], attempt: Attempt | None = None) -> _T:
        """Make a call that :mod:`~airflow_provider_pindo.api.calls` built.

        :param attempt: shows other code whether the request was sent, and lets it abort the request.
        """
        attempt = attempt or Attempt()
        for number in count(1):
            begin_attempt(attempt)
            try:
                with timed_request(call.name, attempt):
                    return self._transport.request(call)
            except PindoError as error:
                delay = self._delay_before_retry(error, attempt, number)
            with attempt.waiting(delay) as seconds:
                time.sleep(seconds)
        raise AssertionError  # count() has no end

    @cached_property
    def _transport(self) -> SyncTransport:
        settings = self.settings
        return SyncTransport(settings, Pacer.of_connection(self.pindo_conn_id, settings.requests_per_second))

    def close(self) -> None:
        """Close the connections. The hook may be used again afterwards."""
        if transport := self.__dict__.pop("_transport", None):
            transport.close()

    def __enter__(self) -> PindoHook:
        begin_attempt()  # another hook of this thread may have sent something
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class PindoAsyncHook(_PindoBase):
    """A client for Pindo on ``aiohttp``, for triggers and for tasks that send many messages at a time.

    Its methods are coroutines (``async for`` for :meth:`iter_inbound_sms`), with the parameters, results and errors of
    :class:`PindoHook`. There is no ``run``. One session with a pool of connections serves the whole life of the hook.
    Use the hook in an ``async with`` block, or call :meth:`close`.

    :param pindo_conn_id: Airflow connection of type ``pindo``.
    :param max_attempts: tries in all of a request that is safe to repeat; see :class:`PindoHook`.
    :param concurrency: most requests in flight; further requests wait. The default, 100, is aiohttp's own.
    :param settings: the connection's settings, if they were read before. Default: they are read once.
    """

    def __init__(
        self,
        pindo_conn_id: str = _PindoBase.default_conn_name,
        *,
        max_attempts: int = MAX_ATTEMPTS,
        concurrency: int = 100,
        settings: PindoSettings | None = None,
    ) -> None:
        super().__init__()
        self.pindo_conn_id = pindo_conn_id
        self.max_attempts = max_attempts
        self.concurrency = concurrency
        self._settings = settings
        self._transport: AsyncTransport | None = None
        self._opening = asyncio.Lock()

    async def get_settings(self) -> PindoSettings:
        """Return the connection's settings, read once."""
        if self._settings is None:
            self._settings = await self._read_settings()
        return self._settings

    async def _read_settings(self, name: str | None = None) -> PindoSettings:
        settings = read_settings(await get_async_connection(self.pindo_conn_id), name)
        # Masking sends the secrets to Airflow's supervisor; on 3.0 to 3.2 through the triggerer's own event loop.
        # Only asgiref reaches that loop from another thread, so this is not asyncio.to_thread.
        await sync_to_async(_mask)(settings)
        return settings

    async def send_sms(self, to: str, text: str, sender: str | None = None) -> values.SmsReceipt:
        """Send one message; see :meth:`PindoHook.send_sms`."""
        settings = await self.get_settings()
        return await self.send(calls.send_sms(to, text, sender or settings.sender, country=settings.country))

    async def send_bulk_sms(
        self, recipients: _Recipients, text: str, sender: str | None = None
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

    async def list_inbound_sms(self, page: int = 1, per_page: int = DEFAULT_PER_PAGE) -> values.InboundPage:
        """Return one page of inbound messages; see :meth:`PindoHook.list_inbound_sms`."""
        return await self._read_page(page, per_page, Attempt())

    async def iter_inbound_sms(
        self, after_id: int | None = None, since: datetime | None = None
    ) -> AsyncIterator[values.InboundSms]:
        """Yield inbound messages, each once; see :meth:`PindoHook.iter_inbound_sms`."""
        async for messages in self._read_pages(InboundScan(Cursor(after_id, since)), Attempt()):
            for message in messages:
                yield message

    async def read_inbox(self, cursors: Iterable[Cursor], *, retry_first_page: bool = True) -> PollResult:
        """Return at least the messages that are new to one of ``cursors``; see :meth:`PindoHook.read_inbox`."""
        scan = InboundScan(*lowest(cursors))
        first = Attempt(is_last=not retry_first_page)
        messages = [message async for page in self._read_pages(scan, first) for message in page]
        return scan.result(messages, (await self.get_settings()).country)

    async def _read_pages(self, scan: InboundScan, first: Attempt) -> AsyncIterator[list[values.InboundSms]]:
        attempt = first
        while scan.next_page is not None:
            yield scan.feed(await self._read_page(scan.next_page, scan.per_page, attempt))
            attempt = Attempt()

    async def _read_page(self, number: int, per_page: int, attempt: Attempt) -> values.InboundPage:
        settings = await self.get_settings()
        call = calls.list_inbound_sms(number, per_page, settings.timezone)
        page = await self.send(call, attempt)
        self._warn_of_left_out(number, page)
        return page

    async def get_balance(self) -> values.Balance:
        """Return the balance of the wallet; see :meth:`PindoHook.get_balance`."""
        return await self.send(calls.get_balance())

    async def list_sender_ids(self, name: str | None = None) -> tuple[values.SenderId, ...]:
        """Return the account's sender IDs; see :meth:`PindoHook.list_sender_ids`."""
        return await self.send(calls.list_sender_ids(name))

    async def test_connection(self) -> tuple[bool, str]:
        """Read the wallet, once; see :meth:`PindoHook.test_connection`."""
        try:
            settings = await self._read_settings(_TESTED)
            async with PindoAsyncHook(self.pindo_conn_id, max_attempts=1, settings=settings) as hook:
                return _connected(await hook.get_balance())
        except PindoError as error:
            return _not_connected(error)

    async def send(self, call: calls.Call[_T], attempt: Attempt | None = None) -> _T:
        """Make a call; see :meth:`PindoHook.send`."""
        attempt = attempt or Attempt()
        for number in count(1):
            begin_attempt(attempt)
            try:
                transport = self._transport or await self._open_transport()
                with timed_request(call.name, attempt):
                    return await transport.request(call)
            except PindoError as error:
                delay = self._delay_before_retry(error, attempt, number)
            with attempt.waiting(delay) as seconds:
                await asyncio.sleep(seconds)
        raise AssertionError  # count() has no end

    async def _open_transport(self) -> AsyncTransport:
        settings = await self.get_settings()
        async with self._opening:
            if self._transport is None:  # no other request has opened it meanwhile
                pacer = Pacer.of_connection(self.pindo_conn_id, settings.requests_per_second)
                self._transport = await AsyncTransport.open(settings, pacer, self.concurrency)
            return self._transport

    async def close(self) -> None:
        """Close the connections. The hook may be used again afterwards."""
        if self._transport is not None:
            transport, self._transport = self._transport, None
            await transport.close()

    async def __aenter__(self) -> PindoAsyncHook:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


def _connected(balance: values.Balance) -> tuple[bool, str]:
    return True, f"Connected to Pindo; the wallet holds {balance.amount:,.2f} USD"


def _not_connected(error: PindoError) -> tuple[bool, str]:
    # The host has no wallet, or gives a successful response that Pindo would not give.
    elsewhere = error.status is not None and (error.status in (404, 405) or 200 <= error.status < 300)
    advice = "This does not look like Pindo: check the connection's host. " if elsewhere else ""
    return False, f"{advice}{error}"


def _mask(settings: PindoSettings) -> None:
    """Have Airflow mask the secrets in all logs, and the proxies' addresses, which may hold a password."""
    from airflow.providers.common.compat.sdk import mask_secret

    for secret in (settings.token, settings.webhook_secret, *settings.proxies.values(), settings.proxy()):
        mask_secret(secret)


def _form_widgets() -> dict[str, Any]:  # pragma: no cover - Airflow 2.11
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from wtforms import BooleanField, PasswordField, StringField

    def widget(field: dict[str, Any]) -> Any:
        if "boolean" in field["schema"]["type"]:
            return BooleanField(field["label"], description=field["description"])
        if field["schema"].get("format") == "password":
            return PasswordField(
                field["label"], description=field["description"], widget=BS3PasswordFieldWidget()
            )
        return StringField(field["label"], description=field["description"], widget=BS3TextFieldWidget())

    return {name: widget(field) for name, field in CONNECTION_FIELDS.items()}
