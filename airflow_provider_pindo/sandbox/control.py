"""The control API, ``/sandbox/…``: reads and sets everything about a sandbox.

It has no token, since the sandbox listens on loopback. Changes are taken as JSON or by DELETE. A browser sends
neither for a web page of another site, unless the server allows it, and this one allows no site. The server refuses
names that a stranger can point here, so no other site can pass for this one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from airflow_provider_pindo.sandbox import page
from airflow_provider_pindo.sandbox.address import export_lines
from airflow_provider_pindo.sandbox.faults import Fault
from airflow_provider_pindo.sandbox.json_response import json_response
from airflow_provider_pindo.sandbox.outcomes import NUMBERS, OUTCOMES, Rule
from airflow_provider_pindo.sandbox.request_log import decoded
from airflow_provider_pindo.sandbox.settings import INBOUND, InboundSms
from airflow_provider_pindo.sandbox.store import micros, usd
from airflow_provider_pindo.sandbox.validation import in_utc
from airflow_provider_pindo.sandbox.world import World

_LINES_SHOWN = 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ControlHandler = Callable[[web.Request, Any], Any]
_Change = TypeVar("_Change", bound=msgspec.Struct)
_Usd = Annotated[float, msgspec.Meta(gt=-1e9, lt=1e9)]


class _WalletChange(msgspec.Struct, forbid_unknown_fields=True):
    balance: _Usd | msgspec.UnsetType = msgspec.UNSET
    add: _Usd = 0.0


class _MessageChange(msgspec.Struct, forbid_unknown_fields=True):
    status: str | None = None
    outcome: str | None = None


class _ClockChange(msgspec.Struct, forbid_unknown_fields=True):
    advance: Annotated[float, msgspec.Meta(ge=0, lt=1e9)] = 0.0
    now: str | None = None
    running: bool | None = None


class Control:
    """The control API of one sandbox.

    :param token: the API token that the page shows and uses.
    """

    def __init__(self, world: World, token: str) -> None:
        self._world = world
        self._token = token

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes below ``/sandbox/``."""
        for method, path, handler in self._routes():
            router.add_route(method, f"/sandbox/{path}", self._wrapped(handler))

    def _routes(self) -> list[tuple[str, str, ControlHandler]]:
        """Method, path below ``/sandbox/``, and handler of the request and its JSON."""
        world = self._world
        return [
            ("GET", "state", lambda request, body: self._state(f"{request.scheme}://{request.host}")),
            ("GET", "messages", lambda request, body: self._messages(request.query.get("to"))),
            ("PATCH", "messages", self._deliver),
            ("GET", "messages/{id}", lambda request, body: self._message(request.match_info["id"])),
            ("PATCH", "messages/{id}", self._change_message),
            ("GET", "clock", lambda request, body: world.clock.as_json()),
            ("POST", "clock", self._change_clock),
            ("GET", "rules", lambda request, body: world.rules.as_json()),
            ("POST", "rules", lambda request, body: {"id": world.rules.add(Rule.from_json(body))}),
            ("DELETE", "rules", lambda request, body: world.rules.remove()),
            ("DELETE", "rules/{id:[0-9]+}", lambda request, body: world.rules.remove(_id(request))),
            ("GET", "phones", lambda request, body: page.phones(world, request.query.get("find", ""))),
            (
                "GET",
                "requests",
                lambda request, body: world.log.as_json(request.query.get("path"), request.query.get("call")),
            ),
            ("GET", "settings", lambda request, body: world.pindo.settings.as_json()),
            ("PATCH", "settings", self._change_settings),
            ("GET", "faults", lambda request, body: world.faults.as_json()),
            ("POST", "faults", lambda request, body: {"id": world.faults.add(Fault.from_json(body))}),
            ("DELETE", "faults", lambda request, body: world.faults.remove()),
            ("DELETE", "faults/{id:[0-9]+}", lambda request, body: world.faults.remove(_id(request))),
            ("GET", "webhooks", lambda request, body: world.webhooks.as_json(request.query.get("event"))),
            ("POST", "webhooks/{id:[0-9]+}", lambda request, body: world.webhooks.send_again(_id(request))),
            ("POST", "inbound", self._receive),
            ("POST", "wallet", self._change_wallet),
            ("POST", "reset", lambda request, body: world.reset()),
        ]

    def _wrapped(self, handler: ControlHandler) -> Handler:
        """Wrap a handler of the control API: JSON in and out, and 400 for a ``ValueError``."""

        async def handle(request: web.Request) -> web.StreamResponse:
            body = None
            if request.method in ("POST", "PATCH"):
                if request.content_type != "application/json":
                    return json_response(415, {"message": "send JSON, with Content-Type: application/json"})
                body = decoded(await request.read())
            try:
                value = handler(request, body)
            except ValueError as error:
                return json_response(400, {"message": str(error)})
            if request.method != "GET":
                self._world.touch()
            return json_response(200, {} if value is None else value)

        return handle

    def _state(self, url: str) -> dict[str, Any]:
        """What the page shows beside the phones."""
        world = self._world
        return {
            "balance": usd(world.store.balance),
            **world.store.counts(),
            "requests": world.log.count,
            "most_in_flight": world.log.most_in_flight,
            "newest_requests": world.log.newest(_LINES_SHOWN),
            "newest_webhooks": world.webhooks.newest(_LINES_SHOWN),
            "webhooks_pending": world.webhooks.pending,
            "settings": world.pindo.settings.as_json(),
            "clock": world.clock.as_json(),
            "outcomes": {name: outcome.description for name, outcome in OUTCOMES.items()},
            "numbers": NUMBERS,
            "faults": world.faults.as_json(),
            "phones_shown": page.PHONES_SHOWN,
            "token": self._token,
            "exports": export_lines(url, self._token, world.pindo.settings.webhook_url),
        }

    def _messages(self, to: str | None) -> list[dict[str, Any]]:
        return self._world.lives.as_json(self._world.store.messages(to))

    def _message(self, sms_id: str) -> dict[str, Any]:
        """A message with the request that sent it and the response, as they went over the wire."""
        life = self._world.lives.get(sms_id)
        entry = None if life.request is None else self._world.log.get(life.request)
        (shown,) = self._world.lives.as_json([self._world.store.message(sms_id)])
        return {**shown, "exchange": None if entry is None else entry.exchange()}

    def _change_message(self, request: web.Request, body: Any) -> dict[str, Any]:
        sms_id, lives = request.match_info["id"], self._world.lives
        change = _convert(body, _MessageChange, "{'status': …} or {'outcome': …}")
        if change.outcome is not None:
            lives.set_outcome(sms_id, change.outcome)
        if change.status is not None:
            lives.set_status(sms_id, change.status)
        return self._message(sms_id)

    def _deliver(self, request: web.Request, body: Any) -> list[str]:
        change = _convert(body, _MessageChange, "{'status': 'delivered'}")
        if change.status != "delivered":
            raise ValueError("of all messages together only the status 'delivered' can be set")
        return self._world.lives.deliver(request.query.get("to"))

    def _change_clock(self, request: web.Request, body: Any) -> dict[str, Any]:
        clock = self._world.clock
        change = _convert(body, _ClockChange, "{'advance': seconds}, {'now': ISO time} or {'running': flag}")
        if change.now is not None:  # first, since it may be refused
            clock.move_to(in_utc(change.now).timestamp())
        if change.running is not None:
            (clock.run if change.running else clock.stop)()
        clock.advance(change.advance)
        self._world.lives.run_due()
        self._world.lives.wake()
        return clock.as_json()

    def _change_settings(self, request: web.Request, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict):
            raise ValueError("send an object of settings and their values")
        pindo = self._world.pindo
        pindo.settings = pindo.settings.changed(body)
        if "balance" in body:
            self._world.store.set_balance(micros(body["balance"]))
        return pindo.settings.as_json()

    def _receive(self, request: web.Request, body: Any) -> list[dict[str, Any]]:
        definitions = body if isinstance(body, list) else [body]
        try:
            messages = msgspec.convert(definitions, list[InboundSms])
        except msgspec.ValidationError as error:
            raise ValueError(f"{error}; send {INBOUND}, or a list of them") from None
        return [message.as_json() for message in self._world.pindo.receive(messages)]

    def _change_wallet(self, request: web.Request, body: Any) -> dict[str, Any]:
        change = _convert(body, _WalletChange, "{'add': USD} or {'balance': USD}")
        store = self._world.store
        balance = store.balance if change.balance is msgspec.UNSET else micros(change.balance)
        store.set_balance(max(0, balance + micros(change.add)))
        return {"balance": usd(store.balance)}


def _convert(body: Any, kind: type[_Change], takes: str) -> _Change:
    """The body as a struct.

    :raises ValueError: it is not one; the message says what to send.
    """
    try:
        return msgspec.convert(body or None, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{error}; send {takes}") from None


def _id(request: web.Request) -> int:
    return int(request.match_info["id"])
