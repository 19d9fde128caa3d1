"""The bulk send as a task: check everybody, send to those who are to get a message, and account for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._bulk.run import run_apart
from airflow_provider_pindo._ledger.entry import MAX_RECIPIENTS, tell_how_to_settle
from airflow_provider_pindo.api.arguments import check_choice, check_whole_number, read_flag
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoError,
    PindoRejectedError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.phone import mask_phone_number
from airflow_provider_pindo.operators.base import PindoOperator, fail_without_retry
from airflow_provider_pindo.operators.once import ON_UNKNOWN

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo._bulk.chunk_ledger import ChunkLedger
    from airflow_provider_pindo._bulk.recipients import Plan, Preflight
    from airflow_provider_pindo._bulk.sender import BulkSender, Spending
    from airflow_provider_pindo._bulk.sources import Source
    from airflow_provider_pindo._bulk.totals import Counts, Report, Totals
    from airflow_provider_pindo.hooks.settings import PindoSettings

#: Recipients between two entries of the ledger. Two chunks are on their way at a time, so a killed worker leaves
#: at most 200 people of whom nobody knows whether they were texted: as many as a person can look up.
CHUNK_SIZE = 100
#: Requests in flight at a time. Pindo publishes no limit; this sends 200 a second where an answer takes 100 ms.
CONCURRENCY = 20
#: USD for a segment, for estimates: what Pindo's own sample shows. The first receipt replaces it.
ITEM_PRICE = 0.006

ON_INVALID = ("fail", "skip")
ON_DUPLICATE = ("drop", "fail", "send")
ON_REJECTED = ("report", "fail")


class PindoSendBulkSmsOperator(PindoOperator):
    """Send a text to many, each once, and account for every one of them.

    Before the first message leaves, all recipients are checked. What comes of them is written into Airflow's task
    state store (Airflow 3.3 and later), a chunk at a time, so a retry, after whatever ended the task, sends only
    what was not sent. After a killed worker, or a lost machine, the recipients of the chunks on their way are
    *unknown*: at most ``2 * chunk_size``, 200 by default. A person settles them, chunk by chunk, in the *Task State
    Store* of the task instance's *Storage* tab, by changing the status ``unknown`` of an entry ``pindo_bulk_00001`` to
    ``sent`` or ``not_sent``; clearing the task then goes on from there. Sending stops, and the rest is *not sent*, when
    ten requests in a row get no certain answer.

    A text that mentions ``@contact.name`` alone is left to Pindo, which fills the name, and goes out in requests of
    ``chunk_size``. One that mentions other fields (``@contact.time``) is filled here, and goes out one by one,
    ``concurrency`` at a time; equal texts of a chunk go out together. The result is the same.

    For a mapped task the promise holds as long as the mapped list keeps its order, since the ledger is kept by map
    index. Before Airflow 3.3 there is no ledger: a try that fails after it has texted somebody does not retry; the
    retry of a killed worker, and a clear, send to everybody again.

    :param recipients: a list of mappings with ``phonenumber``, ``name`` and any other field, or of bare numbers;
        the XCom of one, also of a mapped task; a callable without arguments that returns one; or the path or URL of
        a file that ends in ``.csv``, ``.jsonl`` (``.ndjson``) or ``.parquet`` (extra ``parquet``), which is read in
        a stream. A retry must find the same there. (templated)
    :param text: the message, with mentions such as ``@contact.name``. Every recipient must have a value for each
        field that it mentions. (templated)
    :param sender: sender ID of at most 11 characters; the connection's when None. (templated)
    :param columns: the name of a field in ``recipients`` where it is another, such as ``{"phonenumber": "Tel"}``.
    :param chunk_size: recipients between two entries of the ledger, and in one bulk request: 1 to 1,000.
    :param concurrency: most requests in flight at a time; a bulk request is one. The connection's
        ``requests_per_second`` holds on top.
    :param on_invalid: ``fail`` (default) sends nothing when a number cannot be read, and lists all such rows;
        ``skip`` counts them as rejected and sends to the others.
    :param on_duplicate: a row with number and text of an earlier one is sent once (``drop``, default), stops the
        task before the first message (``fail``), or is sent again (``send``). The same number with another text is
        no duplicate.
    :param exclude: numbers that must not be texted: a list, a callable, or a file with one number a line or with a
        column ``phonenumber``. It is read at every try, and may have changed: who has come onto it since is texted no
        more. (templated)
    :param on_unknown: when nobody can know whether some were texted: ``fail`` (default) sends the rest, then stops
        without retry until a person settles it; ``resend`` sends to them again at the next try (they may get it
        twice); ``accept`` succeeds, with their number in the column ``unknown``. (templated)
    :param on_rejected: when Pindo rejects some: ``report`` (default) succeeds; ``fail`` fails, after the rest is sent.
        When nobody is left who was not rejected, by Pindo or by ``on_invalid="skip"``, the task fails in any case.
        Cleared after such a failure, it sends to the rejected once more, and to nobody else.
    :param resend: send to everybody again when a person clears the task after it has sent to all; one that has not
        goes on where it was, and a retry within the same go never sends again. ``"False"`` as text is false.
        (templated)
    :param dry_run: check everything and return the counts, ``segments``, ``requests`` and ``estimated_cost``; send
        nothing. ``"False"`` as text is false. (templated)
    :param max_segments: fail before the first message if one would take more segments than this.
    :param min_balance: USD that must stay in the wallet: it is read first, and sending stops before it would hold
        less; a retry after a top-up goes on.
    :param max_cost: USD that the whole may cost, over all tries, with what may have been sent counted as sent;
        sending stops before it would cost more.
    :param item_price: USD for one segment, for estimates until a receipt says it: 0.006, as in Pindo's sample.
    :param report_path: path or URL of a CSV that gets a line for everybody: ``row, phonenumber, name, outcome,
        reason, sms_id``, as results come in. A later try writes it anew, with what the earlier ones did. (templated)
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: ``accepted``, ``rejected``, ``unknown``, ``not_sent``, ``duplicates``, ``excluded``, which add up to
        ``given``; ``requests``, ``segments``, ``total_cost`` (USD; estimated where Pindo named no price),
        ``remaining_balance`` (USD; None when Pindo did not say), ``report_path``, and ``rejections``: the first 100 as
        ``{"row", "phonenumber", "name", "reason"}``. Accepted is not yet delivered.
    :raises AirflowFailException: a retry cannot help: bad input, a refused token, everybody rejected, an unknown
        outcome; or, where there is no ledger, somebody was texted. Says how many were texted.
    :raises PindoError: a retry goes on with what was not sent: no connection, too many requests, an empty wallet.
    """

    template_fields: Sequence[str] = (
        "recipients",
        "text",
        "sender",
        "exclude",
        "on_unknown",
        "resend",
        "dry_run",
        "report_path",
        *PindoOperator.template_fields,
    )

    def __init__(
        self,
        *,
        recipients: Any,
        text: str,
        sender: str | None = None,
        columns: Mapping[str, str] | None = None,
        chunk_size: int = CHUNK_SIZE,
        concurrency: int = CONCURRENCY,
        on_invalid: str = "fail",
        on_duplicate: str = "drop",
        exclude: Any = None,
        on_unknown: str = "fail",
        on_rejected: str = "report",
        resend: bool | str = False,
        dry_run: bool | str = False,
        max_segments: int | None = None,
        min_balance: float | None = None,
        max_cost: float | None = None,
        item_price: float = ITEM_PRICE,
        report_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.recipients = _wrap(recipients)
        self.text = text
        self.sender = sender
        self.columns = columns
        self.chunk_size = chunk_size
        self.concurrency = concurrency
        self.on_invalid = on_invalid
        self.on_duplicate = on_duplicate
        self.exclude = _wrap(exclude)
        self.on_unknown = on_unknown
        self.on_rejected = on_rejected
        self.resend = resend
        # BaseOperator has a method of this name, for `airflow tasks test --dry-run`, which sends nothing either.
        self.dry_run = dry_run  # type: ignore[assignment,method-assign]
        self.max_segments = max_segments
        self.min_balance = min_balance
        self.max_cost = max_cost
        self.item_price = item_price
        self.report_path = report_path
        self._sending: BulkSender | None = None
        self._is_to_end = False
        self._check_what_is_no_template()

    def execute(self, context: Context) -> dict[str, Any]:
        """Check everybody, send, and return the columns."""
        from airflow_provider_pindo._bulk.chunk_ledger import ChunkLedger
        from airflow_provider_pindo._bulk.recipients import preflight
        from airflow_provider_pindo._bulk.sources import open_source
        from airflow_provider_pindo.api.calls import check_sender

        with fail_without_retry():
            check_choice("on_unknown", self.on_unknown, ON_UNKNOWN)
            dry_run, resend = read_flag("dry_run", self.dry_run), read_flag("resend", self.resend)
            settings = self.hook.settings
            sender = check_sender(self.sender or settings.sender)
            plan = self._plan(settings)
            source = open_source(_unwrap(self.recipients), self.columns)
            found = preflight(self._blocks(source, plan), plan, self.log.warning)
            if dry_run:
                return self._rehearse(source, plan, found)
            ledger = ChunkLedger(context)
            earlier = ledger.begin(
                input=found.fingerprint(self.text, sender),
                given=found.given,
                chunk_size=self.chunk_size,
                resend=resend,
            )
            if earlier is not None:
                self.log.warning(
                    "This was sent before: nothing is sent now, and the first result is returned. To send to everybody "
                    "again, clear the task with resend=True"
                )
                return earlier
            return self._send(settings, sender, source, plan, found, ledger)

    def on_kill(self) -> None:
        """Send nothing more; what is in flight gets a short grace. Called when the task is to end."""
        self._is_to_end = True
        if self._sending is not None:
            self._sending.interrupt()

    def _check_what_is_no_template(self) -> None:
        """Refuse arguments that make no sense when the DAG is parsed, not when the task runs at night."""
        for name, choices in (
            ("on_invalid", ON_INVALID),
            ("on_duplicate", ON_DUPLICATE),
            ("on_rejected", ON_REJECTED),
        ):
            check_choice(name, getattr(self, name), choices)
        for name, most in (("chunk_size", MAX_RECIPIENTS), ("concurrency", 1000)):
            check_whole_number(name, getattr(self, name), most=most)
        if self.max_segments is not None:
            check_whole_number("max_segments", self.max_segments, most=1000)
        for name in ("min_balance", "max_cost", "item_price"):
            value = getattr(self, name)
            if not _is_amount(value) and (value is not None or name == "item_price"):
                raise PindoConfigurationError(
                    f"{name} is {value!r}: give a number of USD, such as 2.5, not as text"
                )

    def _plan(self, settings: PindoSettings) -> Plan:
        from airflow_provider_pindo._bulk.recipients import Plan
        from airflow_provider_pindo._bulk.sources import read_numbers
        from airflow_provider_pindo.api.calls import check_text
        from airflow_provider_pindo.api.mentions import Template

        return Plan(
            template=Template(check_text(self.text)),
            country=settings.country,
            excluded=frozenset()
            if self.exclude is None
            else read_numbers(_unwrap(self.exclude), settings.country),
            on_invalid=self.on_invalid,
            on_duplicate=self.on_duplicate,
            max_segments=self.max_segments,
        )

    def _blocks(self, source: Source, plan: Plan) -> Iterator[Any]:
        return source.blocks(("phonenumber", "name", *plan.extra_fields))

    def _rehearse(self, source: Source, plan: Plan, found: Preflight) -> dict[str, Any]:
        from airflow_provider_pindo._bulk.recipients import chunks, requests_of
        from airflow_provider_pindo._bulk.totals import Totals

        requests = segments = 0
        for chunk in chunks(self._blocks(source, plan), plan, found, self.chunk_size):
            places = chunk.places([row for row in chunk.rows if row not in chunk.excluded])
            requests += sum(1 for _ in requests_of(chunk, places))
            segments += chunk.segments(places, plan.template)
        columns, cost = Totals(found).columns(), round(segments * self.item_price, 6)
        self.log.info(
            "Dry run: %s. %s segments in %s requests, about %.2f USD",
            columns,
            f"{segments:,}",
            f"{requests:,}",
            cost,
        )
        return {**asdict(columns), "requests": requests, "segments": segments, "estimated_cost": cost}

    def _send(
        self,
        settings: PindoSettings,
        sender: str,
        source: Source,
        plan: Plan,
        found: Preflight,
        ledger: ChunkLedger,
    ) -> dict[str, Any]:
        from airflow_provider_pindo._bulk.recipients import chunks
        from airflow_provider_pindo._bulk.sender import BulkSender
        from airflow_provider_pindo._bulk.sources import ListSource
        from airflow_provider_pindo._bulk.totals import Totals

        spending = self._spending(ledger)
        totals = Totals(found, self._open_report())
        sending = self._sending = BulkSender(
            plan=plan,
            sender=sender,
            chunks=chunks(self._blocks(source, plan), plan, found, ledger.chunk_size, totals.leave_out),
            ledger=ledger,
            totals=totals,
            spending=spending,
            concurrency=self.concurrency,
            resend_unknown=self.on_unknown == "resend",
            read_to_the_end=ledger.has_earlier or totals.report is not None,
            in_memory=totals.report is None and isinstance(source, ListSource),
        )
        if self._is_to_end:  # it was told so before there was anything to interrupt
            sending.interrupt()
        if ledger.is_kept:
            return self._carry_out(settings, sending, totals, ledger)
        with self._no_retry_once_somebody_was_texted(totals):
            return self._carry_out(settings, sending, totals, ledger)

    def _open_report(self) -> Report | None:
        from airflow_provider_pindo._bulk.totals import Report
        from airflow_provider_pindo.api.redaction import mask_error

        if not self.report_path:
            return None
        try:
            return Report(self.report_path)
        except Exception as error:  # every storage has its own
            raise AirflowException(
                f"report_path {self.report_path!r} cannot be written, and nothing was sent ({mask_error(error)}): "
                "give the path or URL of a file that may be written, or leave it out"
            ) from None

    def _carry_out(
        self, settings: PindoSettings, sending: BulkSender, totals: Totals, ledger: ChunkLedger
    ) -> dict[str, Any]:
        """Send, account for everybody, and return the columns or fail with them."""
        from airflow_provider_pindo.api.redaction import mask_error

        try:
            run_apart(sending, self.pindo_conn_id, settings)
        except BaseException as error:  # the task is being timed out or ended
            columns = self._account(totals, ledger, sending)
            self.log.error("Stopped: %s", columns)
            error.args = (f"{mask_error(error)}. {columns}",)
            raise
        finally:
            totals.close()
        self._account(totals, ledger, sending)
        self._fail_unless_all_had_their_turn(sending.stopped or totals.failure, totals, ledger)
        rejection = self._rejection(totals)
        result = self._result(totals, sending.balance)
        ledger.finish(None if rejection else result)
        if rejection:
            raise rejection
        self.log.info("Done: %s", totals.columns())
        return result

    @contextmanager
    def _no_retry_once_somebody_was_texted(self, totals: Totals) -> Iterator[None]:
        """Without a ledger nothing but this keeps a retry from texting them again, whatever ended this try."""
        from airflow_provider_pindo.api.redaction import mask_error

        try:
            yield
        except BaseException as error:
            if not totals.accepted and (self.on_unknown == "resend" or not totals.unknown):
                raise
            columns = str(totals.columns())
            raise AirflowFailException(
                f"{mask_error(error).removesuffix(columns).rstrip('. ')}. This Airflow keeps no ledger (it came with "
                "3.3): a retry or a clear sends to everybody again, so the task does not retry. To reach the others, "
                "put those who were, or may have been, texted (Pindo's dashboard and the report show them) into "
                f"exclude, and clear the task; if none are left, mark it as success. {columns}"
            ) from error

    def _account(self, totals: Totals, ledger: ChunkLedger, sending: BulkSender) -> Counts:
        """Add what is not in the tally: chunks that only earlier tries came to, and those without an end."""
        from airflow_provider_pindo._bulk.recipients import chunks_by_row

        for chunk, outcome in (
            *sending.on_their_way,
            *ledger.rest(chunks_by_row(totals.found, ledger.chunk_size)),
        ):
            totals.add_counts(chunk, outcome)
        return totals.columns()

    def _fail_unless_all_had_their_turn(
        self, stopped: BaseException | None, totals: Totals, ledger: ChunkLedger
    ) -> None:
        """Raise why there is somebody to send to, or to settle, yet; each error ends in the columns."""
        from airflow_provider_pindo.api.redaction import mask_error

        columns = totals.columns()
        ask_a_person = columns.unknown and self.on_unknown == "fail"
        unknown = f" {self._who_is_unknown(totals, ledger)}" if ask_a_person else ""
        if isinstance(stopped, PindoError):
            raise stopped.with_message(f"{stopped}.{unknown} {columns}") from stopped
        if stopped is not None:
            raise AirflowException(f"sending stopped: {mask_error(stopped)}.{unknown} {columns}") from stopped
        if ask_a_person:
            raise PindoUnknownOutcomeError(f"{self._who_is_unknown(totals, ledger)} {columns}")
        if totals.unknown > totals.unknown_excluded and self.on_unknown == "resend":
            raise AirflowException(
                "nobody can know whether some were texted: the next try sends to them again, as on_unknown says. "
                f"{columns}"
            )

    def _rejection(self, totals: Totals) -> PindoRejectedError | None:
        """Return what the task fails with since people were rejected; None if it does not."""
        columns = totals.columns()
        reasons = ", ".join(dict.fromkeys(each.reason for each in totals.rejections[:10]))
        if columns.rejected and not (columns.accepted or columns.unknown or columns.not_sent):
            return PindoRejectedError(
                f"everybody was rejected ({reasons}). Once that is mended, clear the task. {columns}"
            )
        if totals.rejected and self.on_rejected == "fail":
            return PindoRejectedError(
                f"some were rejected ({reasons}), and on_rejected is 'fail'. Once that is mended, clear the task: it "
                f"sends to them alone; or mark it as success. {columns}"
            )
        return None

    def _who_is_unknown(self, totals: Totals, ledger: ChunkLedger) -> str:
        from airflow_provider_pindo._bulk.chunk_ledger import NOT_AS_WRITTEN
        from airflow_provider_pindo._bulk.recipients import abbreviate

        people = "; ".join(
            f"row {each.row} ({mask_phone_number(each.phonenumber)}: {each.reason})"
            if each.phonenumber
            else f"row {each.row} ({each.reason})"
            for each in totals.unknowns
        )
        more = totals.unknown - len(totals.unknowns)
        who = f"nobody can know whether these were texted: {people}{f'; and {more:,} more' if more > 0 else ''}."
        if not ledger.is_kept:
            return who
        tell_how_to_settle(abbreviate(totals.unknown_entries), "sent", "not_sent")
        mend = (
            " Of an entry that is not as the task wrote it, such as the bare word, first put the value back, with "
            "another status alone; if it is lost, on_unknown='accept' texts nobody of its chunk, and "
            "on_unknown='resend' everybody."
        )
        return (
            f"{who} Find out (Pindo's dashboard shows it), then open the Storage tab of this task instance, in its "
            f"Task State Store change the status of {abbreviate(totals.unknown_entries)} from 'unknown' to 'sent' or "
            "'not_sent', and clear the task: it goes on from there."
            f"{mend if any(each.reason == NOT_AS_WRITTEN for each in totals.unknowns) else ''}"
        )

    def _result(self, totals: Totals, balance: float | None) -> dict[str, Any]:
        from airflow_provider_pindo.api.json_safe import json_safe

        return {
            **asdict(totals.columns()),
            "requests": totals.requests,
            "segments": totals.segments,
            "total_cost": round(totals.cost, 6),
            "remaining_balance": balance,
            "report_path": self.report_path or None,
            "rejections": json_safe([asdict(each) for each in totals.rejections]),
        }

    def _spending(self, ledger: ChunkLedger) -> Spending:
        from airflow_provider_pindo._bulk.sender import Spending

        spending = Spending(self.min_balance, self.max_cost, self.item_price, spent=ledger.spent)
        if self.min_balance is not None or self.max_cost is not None:
            with self.hook as hook:
                spending.balance = hook.get_balance().amount
        return spending


class Supplier:
    """A callable in a template field, wrapped.

    Airflow 3 would call a bare one with its context, and store the result among the rendered templates.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def __repr__(self) -> str:
        """Show the callable's name, which is the same at every parse of the DAG."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return f"<callable {getattr(self.function, '__module__', '')}.{name}>"


def _wrap(value: Any) -> Any:
    """Return ``value``, wrapped if it is a callable."""
    return Supplier(value) if callable(value) else value


def _is_amount(value: Any) -> bool:
    """Return whether ``value`` can be an amount of money."""
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value) and value >= 0


def _unwrap(value: Any) -> Any:
    """Return ``value``, or what it supplies."""
    return value.function() if isinstance(value, Supplier) else value
