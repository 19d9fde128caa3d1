"""Send messages: one, or the same text to many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_provider_pindo._metrics import SINGLE
from airflow_provider_pindo.api.arguments import check_sender, check_text, read_optional
from airflow_provider_pindo.api.phone import parse_phone_number
from airflow_provider_pindo.operators._once import Message, OnceRequest, PindoOnceOperator
from airflow_provider_pindo.operators.bulk import PindoSendBulkSmsOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

__all__ = ["PindoMessageLink", "PindoSendBulkSmsOperator", "PindoSendSmsOperator"]

_DASHBOARD = "https://app.pindo.io"


class PindoMessageLink(BaseOperatorLink):
    """A button to the message on the sandbox's page, or to Pindo's dashboard."""

    name = "Pindo"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address that the button opens."""
        # Airflow 3 calls this in the process that ran the task; Airflow 2.11 in the webserver.
        if isinstance(operator, PindoSendSmsOperator):
            receipt = operator.result
        else:  # pragma: no cover - Airflow 2.11
            receipt = XCom.get_value(key="return_value", ti_key=ti_key)
        return _page_of(receipt) if isinstance(receipt, dict) else _DASHBOARD


def _page_of(receipt: dict[str, Any]) -> str:
    """Return the page that shows the message. Only the sandbox has one that needs no token."""
    from urllib.parse import quote, urlsplit

    address = urlsplit(str(receipt.get("self_url")))
    if address.hostname not in ("127.0.0.1", "localhost", "::1"):
        return _DASHBOARD
    return f"{address.scheme}://{address.netloc}/?find={quote(str(receipt.get('to')))}"


class PindoSendSmsOperator(PindoOnceOperator):
    """Send one message, once: no retry, crash or clear sends it again.

    The task records in Airflow's task state store (Airflow 3.3 and later) what it sends, and the outcome.

    - A clear with the same input returns the first receipt.
    - A clear with another recipient, text or sender fails and says what to do.
    - When the request was sent and no certain response arrived, the outcome is unknown, and the task fails without
      retry. With ``on_unknown="ask"`` it asks a person instead. What a failed task left unknown, a person settles by a
      button in the task instance's *Pindo* tab. The last resort is to change the status of the entry ``pindo_sms`` in
      the *Storage* tab to ``sent`` or ``not_sent``, and to clear the task.

    Before Airflow 3.3 the retry of a killed task looks like a first try and sends again; the task logs this. For a
    mapped task, the promise holds while the mapped list keeps its order, since the ledger is kept by map index.

    .. warning::

       Airflow renders the values of ``expand_kwargs`` as templates, unlike those of ``expand``. Do not put other
       people's words, such as a name from a file, into ``expand_kwargs``. :class:`PindoSendBulkSmsOperator` does not
       render them.

    :param to: the recipient, in E.164 (``+250781234567``), or a national number if the connection names a
        country. (templated)
    :param text: the message. (templated)
    :param sender: sender ID of at most 11 characters; the connection's when None. (templated)
    :param on_unknown: what to do when the outcome is unknown. With ``[pindo] webhooks`` on, the task first waits up to
        30 s, without a worker slot, for Pindo's ``sent`` webhook. If it names the message, the task succeeds and
        returns ``{"sms_id": …, "status": "sent", "to": …}``. ``fail`` (default) stops without retry until a person
        settles it. ``ask`` asks a person in Airflow's UI (*Required Actions*, Airflow 3.3 and later) and goes on with
        the answer. When it arrived, the task returns ``{"status": "sent", "to": …}``. ``resend`` sends again at the
        next try: at least once, so the person may get it twice. ``accept`` counts it as sent and returns
        ``{"status": "unknown", "to": …}``. (templated)
    :param ask_timeout: how long a person may take to answer, as a ``timedelta``: 7 days by default. Then the task fails
        as with ``fail``. None: as long as they like.
    :param ask_notifiers: notifiers that are called when a question is asked, such as
        ``[PindoNotifier(ON_CALL, "Did it arrive? {{ question_url }}")]``. ``question_url`` is the address of the form.
    :param resend: send again when a person clears the task after it has sent. Ignored within the same generation, for
        unknown outcomes, and for an entry just settled as sent that no try has read yet. ``"False"`` as text is
        false. (templated)
    :param send_window: the days and hours in which it may be sent, such as ``mon-sat 08:00-20:00 Africa/Kigali``;
        several are separated by ``;``. Without a zone, the DAG's counts. None (default) takes the connection's window,
        and ``""`` none. See :doc:`/howto/when`. (templated)
    :param outside_window: what to do outside the window. ``wait`` (default) defers the task until it opens. ``skip``
        skips the task, and ``fail`` fails it without retry.
    :param expires_at: an aware time, or one as ISO text. After it nothing is sent: the task is skipped, also while it
        waits. (templated)
    :param respect_suppression: skip the task when the number is on the connection's ``suppression_list``, without a
        message. The list is read by each try that would send; a list that cannot be read fails the task. False sends
        in any case, such as the answer to a message just received. Default True.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: Pindo's receipt with its own keys: ``sms_id``, ``status``, ``to``, ``item_count`` (segments),
        ``item_price``, ``total_cost``, ``remaining_balance`` (USD), ``self_url`` and any others. Accepted is not yet
        delivered.
    :raises AirflowSkipException: the number is on the connection's ``suppression_list``, the message expired, or its
        window is closed and ``outside_window`` is ``skip``.
    :raises AirflowFailException: a retry cannot help: refused token or number, bad input, unknown outcome.
    :raises PindoError: a retry may help: no connection, too many requests, an empty wallet. Nothing was sent.
    """

    template_fields: Sequence[str] = ("to", "text", "sender", *PindoOnceOperator.template_fields)
    operator_extra_links = (PindoMessageLink(),)

    ledger_key = "pindo_sms"
    kind = SINGLE
    what = "message"
    recipient_key = "to"

    def __init__(self, *, to: str, text: str, sender: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.to = to
        self.text = text
        self.sender = sender

    def prepare(self) -> OnceRequest:
        """Check recipient, text and sender."""
        from airflow_provider_pindo.api.calls import send_checked_sms

        settings = self.hook.settings
        to = parse_phone_number(self.to, settings.country)
        text = check_text(self.text)
        sender = check_sender(read_optional(self.sender) or settings.sender)
        return OnceRequest(
            recipient=to,
            identity=(to, text, sender),
            send=lambda attempt: dict(self.hook.send(send_checked_sms(to, text, sender), attempt).raw),
            message=Message(text, sender),
        )
