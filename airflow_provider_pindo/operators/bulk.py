"""The bulk send as a task: check everybody, send to those who are to get a message, and account for all.

Functions import the engine where they use it, since it loads the HTTP clients and ``phonenumbers``. Parsing a DAG loads
none of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_pindo._ledger.entry import LEAVE_IT_FAILED, MAX_RECIPIENTS
from airflow_provider_pindo._metrics import count_settled
from airflow_provider_pindo.api.arguments import (
    check_choice,
    check_whole_number,
    masked_repr,
    read_flag,
    read_optional,
)
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators._ask import Form, FormAnswer, PindoAskingOperator, read_form_answer
from airflow_provider_pindo.operators._base import fail_without_retry
from airflow_provider_pindo.operators._evidence import wait_for_evidence

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger, UnknownEntries
    from airflow_provider_pindo._bulk.run import BulkSend

_log = logging.getLogger(__name__)

#: Recipients of a bulk request. At most two are in flight, so a killed worker leaves at most 200 people unknown.
_CHUNK_SIZE = 100
#: Requests in flight at a time. Pindo publishes no limit; this sends 200 a second where a response takes 100 ms.
_CONCURRENCY = 20
#: The most that ``concurrency`` may be. A process opens as many sockets.
_MAX_CONCURRENCY = 1000
#: The most that ``max_segments`` may be. A higher number is a mistake: no message has as many.
_MAX_SEGMENTS = 1000
#: USD for a segment, for estimates: what Pindo's own sample shows. The first receipt replaces it.
_ITEM_PRICE = 0.006

_ON_INVALID = ("fail", "skip")
_ON_DUPLICATE = ("drop", "fail", "send")
_ON_REJECTED = ("report", "fail")


class PindoSendBulkSmsOperator(PindoAskingOperator):
    """Send a text to many, each once, and account for every one of them.

    Before the first message leaves, all recipients are checked. A ledger in Airflow's task state store (Airflow 3.3 and
    later) admits recipients before their request leaves, and records what came of them. So a retry sends only what was
    not sent, whatever ended the task.

    After a killed worker the outcome is *unknown* only for recipients in flight:

    * at most three times ``concurrency``, 60 by default, for texts that go out one by one;
    * the recipients of at most two requests for bulk requests.

    With ``on_unknown="ask"`` (Airflow 3.3 and later) the task sends to all others, and asks one question about all of
    these. A person says that all arrived, none, or which rows did; the task then sends to the others and goes on. What
    a failed task left unknown, a person settles by a button in the task instance's *Pindo* tab. The last resort is to
    change the status of an entry such as ``pindo_bulk_00001`` in the *Storage* tab, and to clear the task.

    Sending stops when ten requests in a row get no certain response. A receipt that does not say who was accepted
    counts as such, unless ``on_unknown`` is ``accept``. Sending also stops when 20 in a row are refused for one reason
    that is not about a number. The rest is *not sent*.

    A text that mentions only ``@contact.name`` is left to Pindo, which fills the name, and goes out in requests of
    ``chunk_size``. One that mentions other fields (``@contact.time``) is filled here, and goes out one by one,
    ``concurrency`` at a time; equal texts of a chunk go out together. The result is the same.

    For a mapped task the promise holds as long as the mapped list keeps its order, since the ledger is kept by map
    index. Before Airflow 3.3 there is no ledger. There a try that fails after it has texted somebody does not retry.
    The retry of a killed worker, and a clear, send to everybody again.

    :param recipients: a list of mappings with ``phonenumber``, ``name`` and any other field, or of bare numbers;
        the XCom of one, also of a mapped task; a callable without arguments that returns or yields the rows; or the
        path or URL of a file that ends in ``.csv``, ``.tsv``, ``.jsonl`` (``.ndjson``), ``.parquet`` (extra
        ``parquet``) or ``.xlsx`` (extra ``excel``). All but Excel are read in a stream. A DataFrame or an Arrow table
        (extra ``parquet``) is a list of its rows, one mapping is one recipient. A retry must find the same there.
        (templated)
    :param text: the message, with mentions such as ``@contact.name``. Every recipient must have a value for each
        field that it mentions. (templated)
    :param sheet: the sheet of an Excel workbook in ``recipients``; the first that is not hidden when None. (templated)
    :param sender: sender ID of at most 11 characters; the connection's when None. (templated)
    :param columns: the name of a field in ``recipients`` where it is another, such as ``{"phonenumber": "Tel"}``. A
        name that ``recipients`` lacks stops the task.
    :param chunk_size: recipients of one bulk request: 1 to 1,000.
    :param concurrency: most requests in flight at a time; a bulk request is one. The connection's
        ``requests_per_second`` holds on top.
    :param on_invalid: what a number that cannot be read does. ``fail`` (default) sends nothing and lists all such rows.
        ``skip`` counts them as rejected and sends to the others.
    :param on_duplicate: what a second row with the same number and text does. ``drop`` (default) sends it once,
        ``fail`` stops the task before the first message, ``send`` sends it again. The same number with another text is
        not a duplicate. With ``expires_field``, a message that is sent once expires at the latest time of its rows.
    :param exclude: numbers that must not be texted: a list, a callable, or a file with one number a line or with a
        column ``phonenumber``. Read again on every try; numbers added since are skipped. Those on the connection's
        ``suppression_list`` are left out as well. (templated)
    :param on_unknown: what an unknown outcome does. ``fail`` (default) sends the rest, then fails without retry until a
        person settles it. ``ask`` (Airflow 3.3 and later) sends the rest, then asks a person in Airflow's UI, and goes
        on with the answer. ``resend`` sends to them again at the next try, so they may get it twice. ``accept``
        succeeds and counts them in the column ``unknown``. (templated)
    :param ask_timeout: how long a person may take to answer, as a ``timedelta``: 7 days by default. Then the task fails
        as with ``fail``. None waits without end.
    :param ask_notifiers: notifiers that are called when a question is asked, such as
        :class:`~airflow_provider_pindo.notifications.sms.PindoNotifier`. Their context has ``question_url``.
    :param on_rejected: what a refusal by Pindo does. ``report`` (default) succeeds. ``fail`` fails after the rest is
        sent. The task fails in any case when everybody was rejected, by Pindo or by ``on_invalid="skip"``. A clear
        then sends only to the rejected.
    :param resend: send to everybody again when a person clears the task after it has sent to all. A task that has not
        is continued. Ignored within the same generation. ``"False"`` as text is false. (templated)
    :param dry_run: check everything and return the counts, ``segments``, ``requests``, ``estimated_cost``,
        ``estimated_seconds`` and ``opens_at`` (when a closed window opens); send nothing. ``"False"`` as text is
        false. (templated)
    :param max_segments: fail before the first message if one would take more segments than this.
    :param min_balance: USD that must stay in the wallet. The wallet is read first, and sending stops before it would
        hold less; unknown outcomes count as sent. A top-up counts from the next try on.
    :param max_cost: USD that the whole send may cost, over all tries. Unknown outcomes count as sent. Sending stops
        before it would cost more. With this or ``min_balance``, the first request goes out alone, since its receipt
        names the price.
    :param item_price: USD for one segment, for estimates until a receipt says it: 0.006, as in Pindo's sample. Give it
        where your messages cost more: requests whose responses are lost before the first receipt count at it, also
        for the limits.
    :param report_path: path or URL of a CSV that gets a line for everybody: ``row, phonenumber, name, outcome,
        reason, sms_id``, as results come in. A later try writes it anew, with what the earlier ones did; if it is
        interrupted, the file ends early. With webhooks on, the column ``evidence`` lets the delivery sensor look for
        messages without an id. It may not be a file that the task reads. Each instance of a mapped task needs a path of
        its own, such as ``report-{{ ti.map_index }}.csv``, since another one replaces the file. (templated)
    :param send_window: the days and hours in which it may send, such as ``mon-sat 08:00-20:00 Africa/Kigali``; several
        are separated by ``;``. Without a zone, the DAG's counts. None (default) takes the connection's window, and
        ``""`` none. See :doc:`/howto/when`. (templated)
    :param outside_window: what to do outside the window. ``wait`` (default) defers the task until it opens. When the
        window closes half way, the task waits too, and goes on where it was. ``skip`` skips the task, and ``fail``
        fails it without retry; once it has started, both stop it and fail the task. Before Airflow 3.3 a send that
        has started is finished.
    :param expires_at: an aware time, or one as ISO text. After it nobody is sent to: those who are left count as
        ``expired``, also while the task waits. (templated)
    :param expires_field: the field of ``recipients`` with the time at which each one's message expires, such as
        ``appointment_time``. A time without a zone is in the DAG's. With ``expires_at``, the earlier one counts.
    :param track_delivery: send every message in a request of its own, so that each has an ``sms_id``. The report names
        the ids, and :class:`~airflow_provider_pindo.sensors.delivery.PindoDeliverySensor` reads them there. It costs
        speed: ``concurrency`` messages go out at a time, 200 a second at the default where a response takes 100 ms. A
        bulk request takes ``chunk_size`` of them, but its response has no ids. A retry must have the same value.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: ``accepted``, ``rejected``, ``unknown``, ``not_sent``, ``duplicates``, ``excluded``, ``expired``, which add
        up to ``given``; ``requests``, ``segments`` (of those whom a response of Pindo accepted), ``total_cost`` (USD;
        estimated where Pindo named no price), ``remaining_balance`` (USD; None when Pindo did not say),
        ``report_path``, and ``rejections``: the first 100 as ``{"row", "phonenumber", "name", "reason"}``. Accepted is
        not yet delivered.
    :raises AirflowFailException: a retry cannot help: bad input, a refused token, everybody rejected, an unknown
        outcome; or, where there is no ledger, somebody was texted. Says how many were texted.
    :raises PindoError: a retry goes on with what was not sent: no connection, too many requests, an empty wallet.
    """

    template_fields: Sequence[str] = (
        "recipients",
        "text",
        "sender",
        "exclude",
        "resend",
        "dry_run",
        "report_path",
        "sheet",
        *PindoAskingOperator.template_fields,
    )
    native_fields = ("recipients", "exclude")

    def __init__(
        self,
        *,
        recipients: Any,
        text: str,
        sender: str | None = None,
        columns: Mapping[str, str] | None = None,
        chunk_size: int = _CHUNK_SIZE,
        concurrency: int = _CONCURRENCY,
        on_invalid: str = "fail",
        on_duplicate: str = "drop",
        exclude: Any = None,
        on_rejected: str = "report",
        resend: bool | str = False,
        dry_run: bool | str = False,
        max_segments: int | None = None,
        min_balance: float | None = None,
        max_cost: float | None = None,
        item_price: float = _ITEM_PRICE,
        report_path: str | None = None,
        sheet: str | None = None,
        expires_field: str | None = None,
        track_delivery: bool = False,
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
        self.on_rejected = on_rejected
        self.resend = resend
        # BaseOperator has a method of this name, for `airflow tasks test --dry-run`, which sends nothing either.
        self.dry_run = dry_run  # type: ignore[assignment,method-assign]
        self.max_segments = max_segments
        self.min_balance = min_balance
        self.max_cost = max_cost
        self.item_price = item_price
        self.report_path = report_path
        self.sheet = sheet
        self.expires_field = expires_field
        self.track_delivery = track_delivery
        self._is_exclude_given = exclude is not None
        self._send: BulkSend | None = None
        self._was_killed = False
        self._check_untemplated()

    def execute(self, context: Context) -> dict[str, Any]:
        """Check everybody, send, and return the counts."""
        return self._run(context)

    def execute_answer(self, context: Context, event: Mapping[str, Any], question: str) -> dict[str, Any]:
        """Write a person's answer into the ledger, then go on as a retry does. Airflow calls this in a new process.

        An answer that is not clear settles nobody, and the question is asked again.

        :param event: what Airflow says of the answer.
        :param question: when the question was asked.
        """
        from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger

        with fail_without_retry():
            ledger = BulkLedger(context)
            unknown = ledger.read_unknown()
            if unknown.question != question:  # Airflow may deliver an answer twice, if its scheduler stops
                _log.warning("The answer is not used: the send has gone on since the question")
            elif not self._settle(ledger, unknown, read_form_answer(event)):
                self._ask(context, ledger, unknown)
        return self._run(context)

    def execute_evidence(self, context: Context, event: Mapping[str, Any], resends: bool) -> dict[str, Any]:
        """Go on after the wait for evidence of the unknown. Airflow calls this in a new process.

        :param event: what the trigger said; what is known by now decides.
        :param resends: whether it may send to those who are unknown still, as ``on_unknown`` says.
        """
        return self._run(context, has_waited=True, resends_unknown=resends)

    def _settle(self, ledger: BulkLedger, unknown: UnknownEntries, answer: FormAnswer) -> bool:
        """Write an answer into the ledger; return False when it is not clear."""
        from airflow_provider_pindo._bulk.question import ARRIVED, read_arrived
        from airflow_provider_pindo._bulk.verdict import leave_unknown

        if not unknown.rows:  # they were settled in the Task State Store meanwhile
            return True
        if answer.option is None:
            raise leave_unknown(unknown, f"Nobody answered within {self.ask_timeout}")
        if answer.option == LEAVE_IT_FAILED:
            raise leave_unknown(unknown, f"{answer.who} answered {LEAVE_IT_FAILED!r}")
        rows = {recipient.row for recipient in unknown.rows}
        try:
            arrived = read_arrived(answer.option, answer.params.get(ARRIVED), rows)
        except ValueError as error:
            _log.warning(
                "The answer of %s was not applied, and nothing was sent: %s. The question is asked again",
                answer.who,
                error,
            )
            return False
        ledger.settle(unknown, arrived, answer.settlement)
        count_settled(answer.settlement.by, len(rows))
        _log.info(
            "%s answered %r: of %s unknown recipients %s got the message",
            answer.who,
            answer.option,
            f"{len(rows):,}",
            f"{len(arrived):,}",
        )
        return True

    def _ask(self, context: Context, ledger: BulkLedger, unknown: UnknownEntries) -> NoReturn:
        """Log who is unknown, and park the task until a person answers."""
        from airflow_provider_pindo._bulk.question import describe_unknown

        for line in describe_unknown(unknown.rows, read_optional(self.report_path)):
            _log.warning(line)
        self._park(context, _form(), question=ledger.open_question())

    def _run(
        self, context: Context, *, has_waited: bool = False, resends_unknown: bool = True
    ) -> dict[str, Any]:
        from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger
        from airflow_provider_pindo._bulk.evidence import WaitForEvidence
        from airflow_provider_pindo._bulk.gate import WaitForWindow
        from airflow_provider_pindo._bulk.run import BulkSend

        with fail_without_retry():
            on_unknown = self._read_on_unknown()
            dry_run, resend = read_flag("dry_run", self.dry_run), read_flag("resend", self.resend)
            self._refuse_shared_report(context)
            send = self._send = BulkSend(
                hook=self.hook,
                recipients=_unwrap("recipients", self.recipients),
                text=self.text,
                sender=read_optional(self.sender),
                columns=self.columns,
                chunk_size=self.chunk_size,
                concurrency=self.concurrency,
                on_invalid=self.on_invalid,
                on_duplicate=self.on_duplicate,
                exclude=self._exclude,
                on_unknown=on_unknown,
                on_rejected=self.on_rejected,
                resend=resend,
                max_segments=self.max_segments,
                min_balance=self.min_balance,
                max_cost=self.max_cost,
                item_price=self.item_price,
                report_path=read_optional(self.report_path),
                sheet=read_optional(self.sheet) or None,
                timing=self._read_timing(),
                expires_field=self.expires_field,
                zone=self._zone(),
                is_callable=isinstance(self.recipients, _Supplier),
                track_delivery=self.track_delivery,
                has_waited=has_waited,
                resends_unknown=resends_unknown,
            )
            if self._was_killed:  # on_kill came before there was anything to interrupt
                send.interrupt()
            try:
                result = send.dry_run() if dry_run else send.run(context)
            except WaitForWindow as wait:
                self._wait(wait.until, str(wait))
            except WaitForEvidence as wait:
                wait_for_evidence(self, wait.until, wait.messages, resends=wait.resends_unknown)
            if result is None:
                ledger = BulkLedger(context)
                self._ask(context, ledger, ledger.read_unknown())
            return result

    def on_kill(self) -> None:
        """Send nothing more; requests in flight get a short grace. Called when the task must end."""
        self._was_killed = True
        if self._send is not None:
            self._send.interrupt()

    def _refuse_shared_report(self, context: Context) -> None:
        """Refuse a report that the instances of a mapped task would take from each other: its path is fixed."""
        if self.report_path is None or getattr(context["ti"], "map_index", -1) < 0:
            return
        # As the DAG has it, with its templates. An operator that another task runs is not in the DAG.
        task: Any = context["dag"].task_dict.get(self.task_id)
        if task and getattr(task, "partial_kwargs", vars(task)).get("report_path") == self.report_path:
            from airflow_provider_pindo._sources.files import address_of

            raise PindoConfigurationError(
                f"report_path {address_of(self.report_path)!r} is the same for every instance of this mapped task, and "
                "nothing was sent: give each a file of its own, such as report-{{ ti.map_index }}.csv"
            )

    def _exclude(self) -> Any:
        """Return who is excluded; None means nobody only where the DAG's author wrote it."""
        exclude = _unwrap("exclude", self.exclude)
        if exclude is None and self._is_exclude_given:
            raise PindoConfigurationError(
                "exclude is None, and nothing was sent: the upstream task or the callable returned nothing. Return an "
                "empty list to exclude nobody"
            )
        return exclude

    def _check_untemplated(self) -> None:
        """Refuse invalid arguments when the DAG is parsed, not when the task runs at night."""
        check_choice("on_invalid", self.on_invalid, _ON_INVALID)
        check_choice("on_duplicate", self.on_duplicate, _ON_DUPLICATE)
        check_choice("on_rejected", self.on_rejected, _ON_REJECTED)
        if self.expires_field is not None and not (
            isinstance(self.expires_field, str) and self.expires_field.strip()
        ):
            raise PindoConfigurationError(
                f"expires_field is {masked_repr(self.expires_field)}: give the name of a field of recipients, such as "
                "'appointment_time'"
            )
        if type(self.track_delivery) is not bool:
            raise PindoConfigurationError(
                f"track_delivery is {masked_repr(self.track_delivery)}: give True or False"
            )
        for name, most in (("chunk_size", MAX_RECIPIENTS), ("concurrency", _MAX_CONCURRENCY)):
            check_whole_number(name, getattr(self, name), most=most)
        if self.max_segments is not None:
            check_whole_number("max_segments", self.max_segments, most=_MAX_SEGMENTS)
        for name in ("min_balance", "max_cost", "item_price"):
            value = getattr(self, name)
            if not _is_amount(value) and (value is not None or name == "item_price"):
                raise PindoConfigurationError(
                    f"{name} is {masked_repr(value)}: give a number of USD, such as 2.5, not as text"
                )


def _form() -> Form:
    """Return the question. Airflow shows the first one of a task instance for ever, so it names no recipient."""
    from airflow.sdk import Param

    from airflow_provider_pindo._bulk.question import (
        ALL_ARRIVED,
        ARRIVED,
        NONE_ARRIVED,
        OPTIONS,
        SOME_ARRIVED,
    )

    return Form(
        subject="Which recipients got the message? The outcome of some is unknown",
        body=(
            "Their requests were sent, and no certain response came back. Everybody else was sent to.\n\n"
            "**Where to look.** The end of this task's log lists the rows, with masked numbers and the reason. So does "
            "its Pindo tab, and the report file if the task has a `report_path`. Pindo's dashboard shows what was "
            "sent.\n\n"
            f"- **{ALL_ARRIVED}**: they count as accepted, and nobody is sent to.\n"
            f"- **{NONE_ARRIVED}**: the message is sent to all of them now, once.\n"
            f"- **{SOME_ARRIVED}**: `{ARRIVED}` holds the rows that got it, such as `58-77,80`. The message is sent to "
            "the others now, once.\n"
            f"- **{LEAVE_IT_FAILED}**: the task fails. Clear it to be asked again.\n\n"
            "If an answer is not clear, nothing is sent and you are asked again. The log says what was wrong."
        ),
        options=OPTIONS,
        params={
            ARRIVED: Param(
                "",
                type=["null", "string"],
                title="Rows that arrived",
                description=f"Only with {SOME_ARRIVED!r}: row numbers and ranges, such as 58-77,80",
            ).serialize()
        },
    )


class _Supplier:
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
    return _Supplier(value) if callable(value) else value


def _is_amount(value: Any) -> bool:
    """Return whether ``value`` can be an amount of money."""
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value) and value >= 0


def _unwrap(argument: str, value: Any) -> Any:
    """Return ``value``, or what its callable returns."""
    if isinstance(value, Iterator):
        raise PindoConfigurationError(
            f"{argument} is of type {type(value).__name__}, which a retry finds empty: make a list of it, or "
            "give a callable that returns it"
        )
    return value.function() if isinstance(value, _Supplier) else value
