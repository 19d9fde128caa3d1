"""Send messages: each task texts whom it was told to, once, and can prove it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_provider_pindo.api.calls import check_sender, check_text
from airflow_provider_pindo.api.phone import parse_phone_number
from airflow_provider_pindo.operators.bulk import PindoSendBulkSmsOperator
from airflow_provider_pindo.operators.once import OnceRequest, PindoOnceOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

__all__ = ["PindoMessageLink", "PindoSendBulkSmsOperator", "PindoSendSmsOperator"]

DASHBOARD = "https://app.pindo.io"


class PindoMessageLink(BaseOperatorLink):
    """A button to the message on the sandbox's page, or to Pindo's dashboard."""

    name = "Pindo"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address that the button opens."""
        # Airflow 3 asks in the task's own process, where it ran; Airflow 2.11 in the webserver.
        if isinstance(operator, PindoSendSmsOperator):
            receipt = operator.result
        else:  # pragma: no cover - Airflow 2.11
            receipt = XCom.get_value(key="return_value", ti_key=ti_key)
        return _page_of(receipt) if isinstance(receipt, dict) else DASHBOARD


def _page_of(receipt: dict[str, Any]) -> str:
    """Return where a browser sees the message: the sandbox's page, since Pindo's ``self_url`` wants the token."""
    from urllib.parse import quote, urlsplit

    address = urlsplit(str(receipt.get("self_url")))
    if address.hostname not in ("127.0.0.1", "localhost", "::1"):
        return DASHBOARD
    return f"{address.scheme}://{address.netloc}/?find={quote(str(receipt.get('to')))}"


class PindoSendSmsOperator(PindoOnceOperator):
    """Send one message, once: no retry, crash or clear sends it again by itself.

    The task writes into Airflow's task state store (Airflow 3.3 and later) what it is about to send and what
    came of it. Cleared with the same input, it returns its first receipt and sends nothing; cleared with
    another recipient, text or sender, it fails and says what to do. When the request left and no certain
    answer came, it fails without retry, and a person settles the entry ``pindo_sms`` in the *Task State Store*,
    within the task instance's *Storage* tab, by changing its status from ``unknown`` to ``sent`` or ``not_sent``;
    clearing the task then goes on from there. Before Airflow 3.3 a killed worker cannot be told from a first try,
    and the task says so in its log.

    For a mapped task the promise holds as long as the mapped list keeps its order, since the ledger is kept
    by map index. Mind that Airflow renders what ``expand_kwargs`` maps over as templates (and what ``expand``
    maps over not): do not put other people's words, such as a name from a file, into ``expand_kwargs``;
    :class:`PindoSendBulkSmsOperator` takes them as they are.

    :param to: the recipient, in E.164 (``+250781234567``), or a national number if the connection names a
        country. (templated)
    :param text: the message. (templated)
    :param sender: sender ID of at most 11 characters; the connection's when None. (templated)
    :param on_unknown: when nobody can know whether the message went out: ``fail`` (default) stops without
        retry until a person settles it; ``resend`` sends again at the next try (at least once: the person
        may get it twice); ``accept`` counts it as sent and returns ``{"status": "unknown", "to": …}``.
        (templated)
    :param resend: send again when a person clears the task after it has sent; a retry within the same go
        never does. It does not act on an unknown outcome, and after a person settled that as ``sent`` only from
        the second clear on. ``"False"`` as text is false. (templated)
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: Pindo's receipt with its own keys: ``sms_id``, ``status``, ``to``, ``item_count`` (segments),
        ``item_price``, ``total_cost``, ``remaining_balance`` (USD), ``self_url`` and whatever else it sends.
        Accepted is not yet delivered.
    :raises AirflowFailException: a retry cannot help: refused token or number, bad input, unknown outcome.
    :raises PindoError: a retry may help: no connection, too many requests, an empty wallet. Nothing was sent.
    """

    template_fields: Sequence[str] = ("to", "text", "sender", *PindoOnceOperator.template_fields)
    operator_extra_links = (PindoMessageLink(),)

    ledger_key = "pindo_sms"
    what = "message"
    recipient_key = "to"

    def __init__(self, *, to: str, text: str, sender: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.to = to
        self.text = text
        self.sender = sender

    def prepare(self) -> OnceRequest:
        """Check recipient, text and sender."""
        settings = self.hook.settings
        to = parse_phone_number(self.to, settings.country)
        text = check_text(self.text)
        sender = check_sender(self.sender or settings.sender)
        return OnceRequest(
            recipient=to,
            identity=(to, text, sender),
            send=lambda: dict(self.hook.send_sms(to, text, sender).raw),
        )
