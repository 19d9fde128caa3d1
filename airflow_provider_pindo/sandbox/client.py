"""A client of a sandbox's control API, for any process."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_pindo.sandbox.address import DEFAULT_HOST, DEFAULT_TOKEN, EXTRAS, connection_json


class SandboxError(Exception):
    """The sandbox refused a control request. The message says what it takes."""


class SandboxClient:
    """A client of a sandbox's control API.

    :param url: its address, such as ``http://127.0.0.1:8025``.
    :param token: the API token that it was started with. Only :meth:`connection_json` and
        :meth:`connection_uri` use it.
    """

    def __init__(self, url: str, token: str = DEFAULT_TOKEN) -> None:
        self.url = url.rstrip("/")
        self.token = token

    def connection_json(self) -> str:
        """The value of ``AIRFLOW_CONN_PINDO_DEFAULT`` for this sandbox, as JSON."""
        return connection_json(self.url, self.token)

    def connection_uri(self) -> str:
        """The same as a URI.

        The brackets and colons of an IPv6 address are quoted, since Airflow would drop the brackets.
        """
        parts = urlsplit(self.url)
        extras = urlencode(EXTRAS)
        token = quote(self.token, safe="")
        host = parts.hostname or ""
        host = quote(f"[{host}]") if ":" in host else host
        port = f":{parts.port}" if parts.port else ""
        return f"pindo://{parts.scheme}://:{token}@{host}{port}/?{extras}"

    # -- messages and requests

    def messages(self, to: str | None = None) -> list[dict[str, Any]]:
        """The accepted messages, oldest first, as the phones show them.

        :param to: only the messages to this number.
        :return: objects with these keys. ``id`` and ``sms_id`` are the same. ``name`` is of a bulk
            recipient. ``text`` has its mentions filled in. ``kind`` is ``"sms"``, ``"bulk"`` or ``"pin"``.
            ``pin`` and ``request_id`` are of a verification. ``status`` is one of
            :data:`~airflow_provider_pindo.sandbox.outcomes.STATUSES`, since ``status_at``. ``outcome`` is
            what becomes of it, and ``reports`` are the statuses of its delivery reports. The others are
            ``to``, ``sender``, ``created_at``, ``encoding``, ``item_count`` and ``total_cost``.
        """
        messages: list[dict[str, Any]] = self._ask("GET", "messages", query={"to": to})
        return messages

    def requests(self, path: str | None = None, call: str | None = None) -> list[dict[str, Any]]:
        """The API requests that reached the sandbox, oldest first.

        :param path: only those of this path, such as ``"/v1/sms/"``.
        :param call: only those of this call, such as ``"send_sms"``.
        :return: objects with these keys. ``headers`` are without the token. ``size`` is that of the body,
            and ``json`` its value. ``status`` can be ``"dropped"``. The others are ``number``, ``at``,
            ``method``, ``path``, ``query``, ``call``, ``authorized`` and ``faults``.
        """
        requests: list[dict[str, Any]] = self._ask("GET", "requests", query={"path": path, "call": call})
        return requests

    def state(self) -> dict[str, Any]:
        """The wallet's ``balance``, and the numbers of ``messages``, ``segments``, ``inbound``, ``requests``.

        ``most_in_flight`` is the most requests that were in flight at one time since the last reset.
        """
        state: dict[str, Any] = self._ask("GET", "state")
        return state

    # -- settings and faults

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings, if there are changes, and return all settings.

        :raises SandboxError: an unknown setting, or a value that it does not take.
        """
        method, body = ("PATCH", changes) if changes else ("GET", None)
        settings: dict[str, Any] = self._ask(method, "settings", body=body)
        return settings

    def add_fault(self, action: str, call: str = "*", **details: Any) -> int:
        """Add a fault; :class:`~.faults.Fault` describes its fields.

        :param action: such as ``"drop_after"``.
        :param call: such as ``"send_sms"``; ``"*"`` for every call.
        :param details: ``to``, ``times`` (default 1; None for no limit), ``skip``, ``probability``, and the
            fields of the action.
        :return: the fault's id.
        :raises SandboxError: an unknown action, call or field, or a value that it does not take.
        """
        return int(self._ask("POST", "faults", body={"action": action, "call": call, **details})["id"])

    def fail_next(self, action: str = "status", call: str = "texts", **details: Any) -> int:
        """Let the next request that sends fail; by default with 503, and not accepted.

        :param action: such as ``"drop_after"``: accepted, but the response gets lost.
        :param call: such as ``"*"`` for the next call of any kind.
        :param details: the fields of the action, as of :meth:`add_fault`.
        :return: the fault's id.
        :raises SandboxError: an unknown action, call or field, or a value that it does not take.
        """
        if action == "status":
            details = {"status": 503, **details}
        return self.add_fault(action, call, **details)

    def faults(self) -> list[dict[str, Any]]:
        """The active faults, with the ``times`` and ``skip`` that remain."""
        faults: list[dict[str, Any]] = self._ask("GET", "faults")
        return faults

    def clear_faults(self, fault_id: int | None = None) -> None:
        """Remove one fault, or all of them."""
        self._ask("DELETE", "faults" if fault_id is None else f"faults/{fault_id}")

    def reply(
        self, from_: str, text: str, to: str | None = None, created_at: str | None = None
    ) -> dict[str, Any]:
        """Text the account from a phone.

        :param to: one of the account's numbers; by default the one of the settings.
        :param created_at: ISO time; without a zone it is UTC. By default now.
        :return: the inbound message: ``id``, ``from``, ``to``, ``text``, ``created_at``.
        """
        return self.reply_all([{"from": from_, "text": text, "to": to, "created_at": created_at}])[0]

    def reply_all(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Text the account many times at once.

        :param messages: objects ``{"from", "text", "to"?, "created_at"?}``.
        """
        received: list[dict[str, Any]] = self._ask("POST", "inbound", body=messages)
        return received

    # -- what becomes of a message

    def deliver(self, sms_id: str | None = None, to: str | None = None) -> list[str]:
        """Deliver messages now, and send their delivery reports.

        :param sms_id: this message, whatever its status is. By default all that have no final status.
        :param to: only those to this number.
        :return: the ids of the messages, oldest first.
        :raises SandboxError: no message has this id.
        """
        if sms_id is not None:
            self.set_status(sms_id, "delivered")
            return [sms_id]
        delivered: list[str] = self._ask("PATCH", "messages", query={"to": to}, body={"status": "delivered"})
        return delivered

    def set_status(self, sms_id: str, status: str) -> dict[str, Any]:
        """Make the network report a status of a message now. Nothing follows on its own.

        :param status: one of :data:`~airflow_provider_pindo.sandbox.outcomes.STATUSES`. ``"sent"`` sends the
            event ``sent``. ``"accepted"`` sends a report that is not final. A message that was only accepted
            becomes sent first.
        :return: the message.
        :raises SandboxError: an unknown message or status.
        """
        message: dict[str, Any] = self._ask("PATCH", f"messages/{quote(sms_id)}", body={"status": status})
        return message

    def set_outcome(self, sms_id: str, outcome: str) -> dict[str, Any]:
        """Change what becomes of a message, from now on.

        :param outcome: one of :data:`~airflow_provider_pindo.sandbox.outcomes.OUTCOMES`.
        :return: the message.
        :raises SandboxError: an unknown message or outcome.
        """
        message: dict[str, Any] = self._ask("PATCH", f"messages/{quote(sms_id)}", body={"outcome": outcome})
        return message

    def add_rule(self, outcome: str, **details: Any) -> int:
        """Add a rule for what becomes of messages; :class:`~.outcomes.Rule` describes its fields.

        :param outcome: one of :data:`~airflow_provider_pindo.sandbox.outcomes.OUTCOMES`.
        :param details: ``to``, ``sender``, ``times`` (default None: no limit).
        :return: the rule's id.
        :raises SandboxError: an unknown outcome or field, or a value that it does not take.
        """
        return int(self._ask("POST", "rules", body={"outcome": outcome, **details})["id"])

    def rules(self) -> list[dict[str, Any]]:
        """The active rules, with the ``times`` that remain."""
        rules: list[dict[str, Any]] = self._ask("GET", "rules")
        return rules

    def clear_rules(self, rule_id: int | None = None) -> None:
        """Remove one rule, or all of them."""
        self._ask("DELETE", "rules" if rule_id is None else f"rules/{rule_id}")

    def advance_clock(self, seconds: float) -> dict[str, Any]:
        """Let this time pass at once. What becomes due happens before this returns.

        :return: ``{"now": …, "running": …}``.
        """
        return self._set_clock({"advance": seconds})

    def set_clock(self, now: str) -> dict[str, Any]:
        """Go forward to an ISO time; without a zone it is UTC.

        :raises SandboxError: the time has passed.
        """
        return self._set_clock({"now": now})

    def stop_clock(self) -> dict[str, Any]:
        """Let no time pass but what :meth:`advance_clock` and :meth:`set_clock` add."""
        return self._set_clock({"running": False})

    def run_clock(self) -> dict[str, Any]:
        """Let the time pass again."""
        return self._set_clock({"running": True})

    def _set_clock(self, change: dict[str, Any]) -> dict[str, Any]:
        clock: dict[str, Any] = self._ask("POST", "clock", body=change)
        return clock

    # -- webhooks

    def set_webhooks(
        self,
        delivery_url: str | None = None,
        sender_url: str | None = None,
        *,
        sender: str = "*",
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Set where events go, as Pindo's dashboard does. What is None goes nowhere.

        :param delivery_url: address that delivery reports are POSTed to, without headers.
        :param sender_url: address that the events ``sent`` and ``inbound`` of a sender ID go to.
        :param sender: the sender ID, or the number that phones text to; ``"*"`` for all.
        :param method: ``"POST"`` or ``"GET"``, for ``sender_url``.
        :param headers: headers of the calls to ``sender_url``, such as a shared secret.
        :raises SandboxError: an invalid address or method.
        """
        webhook = {"url": sender_url, "method": method, "headers": headers or {}}
        self.settings(
            webhook_url=None,
            delivery_webhook_url=delivery_url,
            sender_webhooks={} if sender_url is None else {sender: webhook},
        )

    def webhooks(self, event: str | None = None) -> list[dict[str, Any]]:
        """The calls of webhooks, oldest first.

        :param event: only those of one event: ``"sent"``, ``"delivery_report"`` or ``"inbound"``.
        :return: objects with these keys. ``status`` can be ``"refused"`` or ``"timeout"``, and is None
            before the response. ``again`` is the number of the call that this one repeats. The others are
            ``number``, ``at``, ``event``, ``phone``, ``method``, ``url``, ``body`` and ``faults``.
        """
        calls: list[dict[str, Any]] = self._ask("GET", "webhooks", query={"event": event})
        return calls

    def resend_webhook(self, number: int) -> None:
        """Send the event of a call once more. The sandbox never does so on its own.

        :raises SandboxError: the log has no such call.
        """
        self._ask("POST", f"webhooks/{number}", body={})

    def wait_for_webhooks(self, timeout: float = 10.0) -> None:
        """Wait until every event that is due has been sent.

        :param timeout: seconds.
        :raises TimeoutError: some events still wait then.
        """
        deadline = time.monotonic() + timeout
        while pending := self.state()["webhooks_pending"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pending} webhooks still wait after {timeout:g} s")
            time.sleep(0.01)

    # -- the account

    def set_balance(self, amount: float) -> None:
        """Put exactly this many USD into the wallet."""
        self._ask("POST", "wallet", body={"balance": amount})

    def top_up(self, amount: float) -> float:
        """Add USD to the wallet, and return its new balance."""
        return float(self._ask("POST", "wallet", body={"add": amount})["balance"])

    def reset(self) -> None:
        """Forget all messages, requests and faults, and restore the first settings and balance.

        A request that waits out a latency is dropped and not accepted. Ids keep growing, as Pindo's do, so
        that a task that waits for a higher id gets the next message.
        """
        self._ask("POST", "reset", body={})

    def _ask(
        self, method: str, path: str, query: dict[str, str | None] | None = None, body: Any = None
    ) -> Any:
        parameters = {key: value for key, value in (query or {}).items() if value is not None}
        parts = urlsplit(self.url)
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = connect(parts.hostname or DEFAULT_HOST, parts.port, timeout=60)
        try:
            connection.request(
                method,
                f"/sandbox/{path}?{urlencode(parameters)}",
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            value = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise SandboxError(value["message"])
        return value
