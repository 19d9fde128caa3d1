"""What Airflow renders of operators and sensors in a DAG with native types: text stays text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators._secret import PrivateArg
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import (
    PindoVerifyCancelOperator,
    PindoVerifyCheckOperator,
    PindoVerifyOperator,
)
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

HAS_OWN_SETTING = hasattr(BaseOperator, "render_template_as_native_obj")  # of a task, in Airflow 3.3
OPERATORS = {
    PindoSendSmsOperator: {"to": "x", "text": "x"},
    PindoSendBulkSmsOperator: {"recipients": ["x"], "text": "x"},
    PindoVerifyOperator: {"number": "x"},
    PindoVerifyCheckOperator: {"request_id": "x", "code": "x"},
    PindoVerifyCancelOperator: {"request_id": "x"},
    PindoInboundSmsSensor: {"pattern": "x"},
}
FIELDS = [(operator, field) for operator in OPERATORS for field in operator.template_fields]
TEXT_FIELDS = [(operator, field) for operator, field in FIELDS if field not in operator.native_fields]
#: Texts that native types would make something else of.
TEXTS = ["+250781234567", "0781234567", "0471", "1e5", "1,500", "True", "None", "[1, 2]", "{'a': 1}", "'x'"]


def field_id(value):
    return value if isinstance(value, str) else value.__name__


def render(operator, field, value, *, context=None, dag_setting=True, **arguments):
    """Render one field as Airflow does; returns its value."""
    dag = DAG(
        "etl", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), user_defined_macros={"three": 3}
    )
    dag.render_template_as_native_obj = dag_setting
    task = operator(task_id="task", dag=dag, **{**OPERATORS[operator], field: value, **arguments})
    task.render_template_fields({"dag": dag, **(context or {})}, dag.get_template_env())
    rendered = getattr(task, field)
    return rendered.reveal() if isinstance(rendered, PrivateArg) else rendered


@pytest.mark.parametrize(("operator", "field"), FIELDS, ids=field_id)
def test_a_literal_stays_as_it_is(operator, field):
    if field in ("send_window", "expires_at"):  # a literal that is neither is refused when the DAG is parsed
        with pytest.raises(PindoConfigurationError):
            render(operator, field, TEXTS[0])
        return
    for text in TEXTS[field == "pattern" :]:  # a pattern cannot start with a plus sign
        assert render(operator, field, text) == text


@pytest.mark.parametrize(("operator", "field"), TEXT_FIELDS, ids=field_id)
def test_a_template_gives_text(operator, field):
    for text in TEXTS:
        assert render(operator, field, "{{ text }}", context={"text": text}) == text
    assert render(operator, field, "{{ number }}", context={"number": 250781234567}) == "250781234567"
    assert render(operator, field, "1,{{ three }}00") == "1,300"
    assert render(operator, field, "{% set a %}0471{% endset %}{{ a }}") == "0471"


@given(text=st.text(), dag_setting=st.booleans())
def test_whatever_a_literal_holds_it_stays_as_it_is(text, dag_setting):
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        rows = [{"phonenumber": text, "name": text}, text]
        assert render(PindoSendSmsOperator, "text", text, dag_setting=dag_setting) == text
        assert render(PindoSendBulkSmsOperator, "recipients", rows, dag_setting=dag_setting) == rows


@pytest.mark.parametrize("field", ["recipients", "exclude"])
def test_a_list_holds_text_and_one_template_gives_a_list_in_a_native_dag(field):
    context = {"text": "1,500", "rows": [{"phonenumber": "+250781234567", "name": "1e5"}]}
    nested = [{"phonenumber": "+250781234567", "name": "{{ text }}"}, "{{ text }}", "0781234567"]
    rendered = [{"phonenumber": "+250781234567", "name": "1,500"}, "1,500", "0781234567"]
    for dag_setting in (True, False):
        assert (
            render(PindoSendBulkSmsOperator, field, nested, context=context, dag_setting=dag_setting)
            == rendered
        )
    assert render(PindoSendBulkSmsOperator, field, "{{ rows }}", context=context) == context["rows"]
    text = render(PindoSendBulkSmsOperator, field, "{{ rows }}", context=context, dag_setting=False)
    assert text == str(context["rows"])


def test_a_dag_may_have_its_own_delimiters():
    own = {"jinja_environment_kwargs": {"variable_start_string": "<<", "variable_end_string": ">>"}}
    dag = DAG("etl", schedule=None, render_template_as_native_obj=True, **own)
    task = PindoSendSmsOperator(task_id="task", dag=dag, to="<< '0781234567' >>", text="{{ 1 }}")
    task.render_template_fields({"dag": dag}, dag.get_template_env())
    assert (task.to, task.text) == ("0781234567", "{{ 1 }}")


def test_a_subclass_may_keep_its_text_in_a_file(tmp_path):
    class FromFile(PindoSendSmsOperator):
        template_ext = (".txt",)

    (tmp_path / "text.txt").write_text("1,{{ 500 }}")
    dag = DAG("etl", schedule=None, render_template_as_native_obj=True, template_searchpath=str(tmp_path))
    task = FromFile(task_id="task", dag=dag, to="0781234567", text="text.txt")
    task.render_template_fields({"dag": dag}, dag.get_template_env())
    assert task.text == "1,500"


@pytest.mark.skipif(not HAS_OWN_SETTING, reason="before Airflow 3.3, only a DAG has the setting")
@pytest.mark.parametrize("dag_setting", [False, True])
def test_the_setting_of_a_task_counts_for_its_lists_and_not_for_its_texts(dag_setting):
    context = {"rows": ["0781234567"], "text": "1,500"}

    def rendered(field, template, task_setting):
        own = {"render_template_as_native_obj": task_setting, "dag_setting": dag_setting}
        return render(PindoSendBulkSmsOperator, field, template, context=context, **own)

    assert rendered("recipients", "{{ rows }}", True) == ["0781234567"]
    assert rendered("recipients", "{{ rows }}", False) == "['0781234567']"
    assert rendered("text", "{{ text }}", True) == "1,500"
    assert rendered("text", "{{ text }}", False) == "1,500"
