"""Ask a person about an unknown outcome, through a form in Airflow's UI (*Required Actions*).

The task parks itself and takes no worker or pool slot until a person answers. Then Airflow resumes it with the answer.
Airflow keeps the first form of a task instance over retries and clears. So a form has fixed options and names no
recipient, time or reason; those are in the task's log. No answer is ever a default.

Airflow 3.3 and later have this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo._ledger.entry import ON_UNKNOWN, Settlement
from airflow_provider_pindo.api.arguments import check_choice, masked_repr
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators._timed import PindoTimedOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Form:
    """A question. Airflow shows the first one of a task instance for ever.

    :param subject: the headline.
    :param body: what to find out, where to look, and what each option does. Markdown.
    :param options: the buttons.
    :param params: fields to fill in, each as ``Param.serialize()`` returns it.
    """

    subject: str
    body: str
    options: tuple[str, ...]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FormAnswer:
    """What came back from a question.

    :param option: the button that was pressed; None when nobody answered in time.
    :param who: name of the person.
    :param at: when, in ISO 8601 and UTC.
    :param params: what was filled in. Airflow does not check it.
    """

    option: str | None
    who: str
    at: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settlement(self) -> Settlement:
        """The answer as an entry of the ledger names it."""
        return Settlement(by="person", who=self.who, at=self.at)


def read_form_answer(event: Mapping[str, Any]) -> FormAnswer:
    """Return the answer in the event with which Airflow resumes the task."""
    at = event.get("responded_at")
    at = (at if isinstance(at, datetime) else datetime.now(UTC)).astimezone(UTC).isoformat()
    if "error" in event:
        return FormAnswer(None, who="nobody", at=at)
    user = event.get("responded_by_user") or {}
    options = event.get("chosen_options") or ("",)
    return FormAnswer(
        option=options[0],
        who=user.get("name") or user.get("id") or "a person whom Airflow did not name",
        at=at,
        params=event.get("params_input") or {},
    )


class PindoAskingOperator(PindoTimedOperator):
    """Base of the operators that send: what they do about an unknown outcome.

    :param on_unknown: ``fail``, ``ask``, ``resend`` or ``accept``.
    :param ask_timeout: how long a person may take to answer; None: as long as they like.
    :param ask_notifiers: called when a question is asked, with the task's context and ``question_url``, the address of
        the form.
    """

    template_fields: Sequence[str] = ("on_unknown", *PindoTimedOperator.template_fields)

    def __init__(
        self,
        *,
        on_unknown: str = "fail",
        ask_timeout: timedelta | None = timedelta(days=7),
        ask_notifiers: Sequence[Callable[[Any], Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_unknown = on_unknown
        self.ask_timeout = _check_timeout(ask_timeout)
        self.ask_notifiers = _check_notifiers(ask_notifiers)
        _check_can_ask(on_unknown)

    def _read_on_unknown(self) -> str:
        """Return the rendered ``on_unknown``, checked."""
        on_unknown = check_choice("on_unknown", self.on_unknown, ON_UNKNOWN)
        _check_can_ask(on_unknown)
        return on_unknown

    def _park(self, context: Context, form: Form, **kwargs: Any) -> NoReturn:
        """Ask, tell the notifiers, and park the task. Airflow deletes the answer to an earlier question.

        A notifier that fails is logged: the question stands without it.

        :param kwargs: arguments of ``execute_answer``, which Airflow calls with the answer, besides ``event``.
        """
        from airflow.sdk.exceptions import TaskAwaitingInput
        from airflow.sdk.execution_time.hitl import upsert_hitl_detail

        upsert_hitl_detail(
            ti_id=context["ti"].id,
            options=list(form.options),
            subject=form.subject,
            body=form.body,
            params=dict(form.params),
        )
        # The page of the task instance, without the number of the try.
        url = f"{context['ti'].log_url.partition('?')[0]}/required_actions"
        log.info("Waiting for a person to answer: %s", url)
        for notifier in self.ask_notifiers:
            try:
                notifier({**context, "question_url": url})
            except Exception as error:
                log.warning(
                    "A notifier of ask_notifiers failed (%s); the question stands", type(error).__name__
                )
        raise TaskAwaitingInput(method_name="execute_answer", kwargs=kwargs, timeout=self.ask_timeout)


def _check_can_ask(on_unknown: str) -> None:
    if on_unknown == "ask" and not AIRFLOW_V_3_3_PLUS:
        raise PindoConfigurationError(
            "on_unknown is 'ask', and this Airflow cannot park a task until a person answers: that came with Airflow "
            "3.3. Give 'fail', 'resend' or 'accept', or upgrade Airflow"
        )


def _check_timeout(value: object) -> timedelta | None:
    if value is None or (isinstance(value, timedelta) and value > timedelta(0)):
        return value
    raise PindoConfigurationError(
        f"ask_timeout is {masked_repr(value)}: give a timedelta greater than 0, such as timedelta(days=7), or None for "
        "no end"
    )


def _check_notifiers(value: object) -> tuple[Callable[[Any], Any], ...]:
    if isinstance(value, list | tuple) and all(map(callable, value)):
        return tuple(value)
    raise PindoConfigurationError(
        f"ask_notifiers is a {type(value).__name__}: give a list of notifiers, such as [PindoNotifier(ON_CALL)]"
    )
