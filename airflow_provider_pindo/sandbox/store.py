"""The sandbox's memory: the wallet, every message on every phone, and the verifications.

SQLite, in memory or in a file; a restart with the same file continues where it stopped. Only the server's
one thread uses it. A message and its price are one transaction, so the table ``messages`` has exactly the
messages that were accepted and paid for. Money is stored in whole millionths of a USD, so that a wallet
adds up after any number of sends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_pindo.api.limits import MAX_INTEGER

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY, sms_id TEXT NOT NULL, recipient TEXT NOT NULL, name TEXT, text TEXT NOT NULL,
    sender TEXT NOT NULL, kind TEXT NOT NULL, created_at TEXT NOT NULL, encoding TEXT NOT NULL,
    item_count INTEGER NOT NULL, total_cost INTEGER NOT NULL, pin TEXT, request_id INTEGER);
CREATE INDEX IF NOT EXISTS messages_recipient ON messages (recipient, seq);
CREATE INDEX IF NOT EXISTS messages_sms_id ON messages (sms_id);
CREATE TABLE IF NOT EXISTS inbound (
    id INTEGER PRIMARY KEY, sender TEXT NOT NULL, recipient TEXT NOT NULL, text TEXT NOT NULL,
    created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS inbound_sender ON inbound (sender, id);
CREATE TABLE IF NOT EXISTS verifications (
    request_id INTEGER PRIMARY KEY, number TEXT NOT NULL, brand TEXT NOT NULL, pin TEXT NOT NULL,
    status TEXT NOT NULL, attempts INTEGER NOT NULL, expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS sender_ids (
    id INTEGER PRIMARY KEY, sender_id TEXT NOT NULL UNIQUE, countries TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS account (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_TABLES = ("messages", "inbound", "verifications", "sender_ids", "account")
_MILLION = 1_000_000


class InsufficientBalance(Exception):
    """The wallet holds less than the price. Nothing was charged or accepted."""


class Message(NamedTuple):
    """An accepted message. Its fields are in the order of the table's columns.

    :param kind: ``"sms"``, ``"bulk"`` or ``"pin"``.
    :param created_at: ISO, aware, UTC.
    :param total_cost: millionths of a USD.
    :param pin: the digits and ``request_id`` of a verification, else None.
    """

    sms_id: str
    to: str
    name: str | None
    text: str
    sender: str
    kind: str
    created_at: str
    encoding: str
    item_count: int
    total_cost: int
    pin: str | None = None
    request_id: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The message as the phones show it, with its cost in USD."""
        return {"id": self.sms_id, **self._asdict(), "total_cost": usd(self.total_cost)}


class Inbound(NamedTuple):
    """A message that a phone sent to the account. ``created_at`` is ISO, aware, UTC."""

    id: int
    sender: str
    recipient: str
    text: str
    created_at: str

    def as_json(self) -> dict[str, Any]:
        """The message as the phones show it."""
        return {
            "id": self.id,
            "from": self.sender,
            "to": self.recipient,
            "text": self.text,
            "created_at": self.created_at,
        }


class Verification(NamedTuple):
    """A PIN that was sent. ``expires_at`` is in seconds since the epoch."""

    request_id: int
    number: str
    brand: str
    pin: str
    status: str
    attempts: int
    expires_at: float


def _fold(text: str | None) -> str:
    return (text or "").casefold()


def micros(amount: float) -> int:
    """USD as whole millionths."""
    return round(amount * _MILLION)


def usd(amount: int) -> float:
    """Whole millionths as USD."""
    return amount / _MILLION


#: The columns of the table ``messages`` that a :class:`Message` has.
MESSAGE_COLUMNS = (
    "sms_id, recipient, name, text, sender, kind, created_at, "
    "encoding, item_count, total_cost, pin, request_id"
)


class Store:
    """The sandbox's memory. Other parts keep their own tables in its ``database``.

    :param path: the SQLite file; None for memory only.
    :param balance: USD in the wallet of a new store. An existing file keeps its own.
    """

    def __init__(self, path: str | Path | None, balance: float) -> None:
        self.database = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        if path is not None:
            self.database.execute("PRAGMA journal_mode = WAL")
            self.database.execute("PRAGMA synchronous = NORMAL")
            self.database.execute("PRAGMA busy_timeout = 5000")
        self.database.create_function("fold", 1, _fold, deterministic=True)
        self.database.executescript(_SCHEMA)
        if self._account("balance") is None:
            self._set_account("balance", micros(balance))

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def clear(self, balance: float) -> None:
        """Forget everything except the highest id, and put ``balance`` USD into the wallet."""
        newest = max(self._newest_id("inbound"), self._newest_id("verifications"))
        with self.transaction():
            for table in _TABLES:
                self.database.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this module
            self._set_account("balance", micros(balance))
            self._set_account("last_id", newest)

    def _newest_id(self, table: str) -> int:
        """The highest id of a table's rows, including forgotten ones."""
        newest = self.database.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]  # noqa: S608
        return max(newest or 0, self._account("last_id") or 0)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep what the block writes, all or nothing."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    # -- the account

    def _account(self, key: str) -> Any:
        row = self.database.execute("SELECT value FROM account WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _set_account(self, key: str, value: Any) -> None:
        self.database.execute("INSERT OR REPLACE INTO account VALUES (?, ?)", (key, json.dumps(value)))

    @property
    def balance(self) -> int:
        """The wallet's balance, in millionths of a USD."""
        return int(self._account("balance"))

    def set_balance(self, amount: int) -> None:
        """Put exactly this many millionths of a USD into the wallet."""
        self._set_account("balance", amount)

    def _charge(self, amount: int) -> None:
        balance = self.balance
        if amount > balance:
            raise InsufficientBalance
        self._set_account("balance", balance - amount)

    @property
    def organisation(self) -> dict[str, Any]:
        """The values that ``PUT /orgs/self`` has set."""
        return dict(self._account("organisation") or {})

    def set_organisation(self, organisation: dict[str, Any]) -> None:
        """Keep the values of ``PUT /orgs/self``."""
        self._set_account("organisation", organisation)

    def sender_ids(self) -> list[tuple[int, str, list[str]]]:
        """The requested sender IDs, each with its number and its countries."""
        rows = self.database.execute("SELECT id, sender_id, countries FROM sender_ids ORDER BY id")
        return [(row[0], row[1], json.loads(row[2])) for row in rows]

    def add_sender_id(self, sender_id: str, countries: list[str]) -> None:
        """Approve a sender ID."""
        self.database.execute(
            "INSERT OR REPLACE INTO sender_ids (sender_id, countries) VALUES (?, ?)",
            (sender_id, json.dumps(countries)),
        )

    def has_sender_id(self, sender_id: str) -> bool:
        """Whether a sender ID was requested."""
        row = self.database.execute("SELECT 1 FROM sender_ids WHERE sender_id = ?", (sender_id,)).fetchone()
        return row is not None

    # -- messages to phones

    def accept(self, messages: Iterable[Message], cost: int) -> None:
        """Charge the price and deliver the messages, in one transaction.

        :raises InsufficientBalance: the wallet holds less than ``cost`` millionths of a USD.
        """
        with self.transaction():
            self._charge(cost)
            self._deliver(messages)

    def _deliver(self, messages: Iterable[Message]) -> None:
        marks = ", ".join("?" * len(Message._fields))
        self.database.executemany(
            f"INSERT INTO messages ({MESSAGE_COLUMNS}) VALUES ({marks})",  # noqa: S608
            messages,
        )

    def messages(self, to: str | None = None) -> list[Message]:
        """Every accepted message, oldest first; with ``to``, only those to that phone."""
        where, values = ("", ()) if to is None else ("WHERE recipient = ?", (to,))
        rows = self.database.execute(
            f"SELECT {MESSAGE_COLUMNS} FROM messages {where} ORDER BY seq",  # noqa: S608
            values,
        )
        return [Message._make(row) for row in rows]

    def message(self, sms_id: str) -> Message:
        """The message with this id, which must exist."""
        (row,) = self.database.execute(
            f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE sms_id = ?",  # noqa: S608
            (sms_id,),
        )
        return Message._make(row)

    def newest_phones(self, limit: int, find: str = "") -> list[str]:
        """The numbers of the phones with the newest messages, newest first.

        It returns at most ``limit`` numbers, from the newest 2,000 messages of each direction. A search reads
        every message.

        :param find: what a number, a name or a message's text must contain, in any case.
        """
        text = find.strip().casefold()
        digits = re.sub(r"[\s().+-]", "", text)
        values = {"text": text, "digits": digits if digits.isdecimal() else text}
        rows = self.database.execute(
            "SELECT recipient, created_at FROM messages WHERE :text = '' OR instr(recipient, :digits) "
            "OR instr(fold(text), :text) OR instr(fold(name), :text) ORDER BY seq DESC LIMIT 2000",
            values,
        ).fetchall()
        rows += self.database.execute(
            "SELECT sender, created_at FROM inbound WHERE :text = '' OR instr(sender, :digits) "
            "OR instr(fold(text), :text) ORDER BY id DESC LIMIT 2000",
            values,
        ).fetchall()
        rows.sort(key=lambda row: row[1], reverse=True)
        return list(dict.fromkeys(row[0] for row in rows))[:limit]

    def thread(self, number: str, limit: int) -> tuple[list[Message], list[Inbound]]:
        """The newest messages to and from one phone, oldest first."""
        sent = self.database.execute(
            f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE recipient = ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (number, limit),
        )
        received = self.database.execute(
            "SELECT * FROM inbound WHERE sender = ? ORDER BY id DESC LIMIT ?", (number, limit)
        )
        return (
            [Message._make(row) for row in sent][::-1],
            [Inbound._make(row) for row in received][::-1],
        )

    def counts(self) -> dict[str, int]:
        """The numbers of messages, segments and inbound messages."""
        sent, items = self.database.execute("SELECT count(*), total(item_count) FROM messages").fetchone()
        inbound = self.database.execute("SELECT count(*) FROM inbound").fetchone()[0]
        return {"messages": sent, "segments": int(items), "inbound": inbound}

    def sent_by_day(self) -> list[tuple[str, int, int]]:
        """Each day (UTC) with messages: the day, their number, and their cost in millionths of a USD."""
        return self.database.execute(
            "SELECT substr(created_at, 1, 10), count(*), sum(total_cost) FROM messages GROUP BY 1 ORDER BY 1"
        ).fetchall()

    # -- messages from phones

    def add_inbound(self, rows: Iterable[tuple[str, str, str, str]], first_id: int) -> list[Inbound]:
        """Store inbound messages.

        :param rows: sender, recipient (one of the account's numbers), text and created_at.
        :param first_id: the lowest id that they may get.
        """
        ids = itertools.count(max(first_id, self._newest_id("inbound") + 1))
        added = [Inbound(number, *row) for number, row in zip(ids, rows, strict=False)]
        with self.transaction():
            self.database.executemany("INSERT INTO inbound VALUES (?, ?, ?, ?, ?)", added)
        return added

    def inbound_page(self, newest_first: bool, limit: int, offset: int) -> tuple[list[Inbound], int]:
        """One page of the inbound list, and the total number of messages."""
        order = "DESC" if newest_first else "ASC"
        rows = self.database.execute(
            f"SELECT * FROM inbound ORDER BY id {order} LIMIT ? OFFSET ?",  # noqa: S608
            (limit, offset),
        )
        total = self.database.execute("SELECT count(*) FROM inbound").fetchone()[0]
        return [Inbound._make(row) for row in rows], total

    # -- verifications

    def next_request_id(self, first_id: int) -> int:
        """The id of the next verification, ``first_id`` or above."""
        return max(first_id, self._newest_id("verifications") + 1)

    def start_verification(self, verification: Verification, message: Message) -> None:
        """Store a PIN and deliver it to its phone, in one transaction. It costs nothing yet."""
        with self.transaction():
            self.database.execute("INSERT INTO verifications VALUES (?, ?, ?, ?, ?, ?, ?)", verification)
            self._deliver([message])

    def verification(self, request_id: int) -> Verification | None:
        """The verification with this id."""
        if not -MAX_INTEGER - 1 <= request_id <= MAX_INTEGER:
            return None
        row = self.database.execute(
            "SELECT * FROM verifications WHERE request_id = ?", (request_id,)
        ).fetchone()
        return None if row is None else Verification._make(row)

    def set_verification(self, request_id: int, status: str, attempts: int) -> None:
        """Update the state of a verification."""
        self.database.execute(
            "UPDATE verifications SET status = ?, attempts = ? WHERE request_id = ?",
            (status, attempts, request_id),
        )

    def complete_verification(self, request_id: int, cost: int) -> None:
        """Mark a verification as verified, and charge the price.

        :raises InsufficientBalance: the wallet holds less than ``cost`` millionths of a USD.
        """
        with self.transaction():
            self._charge(cost)
            self.database.execute(
                "UPDATE verifications SET status = 'verified' WHERE request_id = ?", (request_id,)
            )
            self.database.execute(
                "UPDATE messages SET total_cost = ? WHERE request_id = ?", (cost, request_id)
            )
