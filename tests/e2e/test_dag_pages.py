"""The example DAGs in Airflow's UI: their graphs, descriptions, forms and links."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from demo.deployment import AIRFLOW_VERSION, EXAMPLE_DAGS

browser_test = pytest.mark.browser
on_airflow_3 = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="the UI of Airflow 2.11 is another one")
LINKS = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

with DAG("links", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    PindoSendSmsOperator(task_id="one", to="+250780000101", text="Muraho")
    PindoSendSmsOperator.partial(task_id="each", text="Murakoze").expand(to=["+250780000102", "+250780000103"])
"""


@browser_test
@on_airflow_3
@pytest.mark.parametrize("dag_id", sorted(file.stem for file in EXAMPLE_DAGS.glob("*.py")))
def test_the_page_of_each_example_is_in_words(examples, page, picture, dag_id):
    source = (EXAMPLE_DAGS / f"{dag_id}.py").read_text(encoding="utf-8")
    nobody_watches = re.sub(
        r"watchers=\[.*\]", "watchers=[]", source
    )  # otherwise it replies to every message
    examples.add_dag(dag_id, nobody_watches)
    page.set_viewport_size({"width": 1600, "height": 600})
    page.goto(f"{examples.url}/dags/{dag_id}")

    page.get_by_label("Show Graph").click(no_wait_after=True)
    page.locator(".react-flow__node").first.wait_for()
    if (expand := page.get_by_label("Expand all")).count():
        expand.first.click()
    tasks = examples.rest.request("GET", f"/dags/{dag_id}/tasks")["tasks"]
    for task in tasks:
        page.locator(".react-flow__node", has_text=task["task_display_name"]).first.wait_for()
    if dag_id == "pindo_confirm_appointment":
        page.get_by_label("Fit View").click()
        page.wait_for_timeout(1000)  # the page scrolls there slowly
        picture(page.locator(".react-flow"), "graph")

    page.get_by_label("Dag Docs").click()
    shown = " ".join(page.get_by_role("dialog").inner_text().split())
    written = examples.rest.request("GET", f"/dags/{dag_id}/details")["doc_md"]
    assert " ".join(written.split())[:60] in shown
    assert "``" not in shown
    page.keyboard.press("Escape")

    page.get_by_label("Trigger Dag").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Advanced Options").wait_for()
    for param in examples.rest.request("GET", f"/dags/{dag_id}/details")["params"].values():
        dialog.get_by_text(param["schema"]["title"]).first.wait_for()
        dialog.get_by_text(param["description"], exact=True).wait_for()
    assert "[object Object]" not in dialog.inner_html()


@pytest.fixture(scope="module")
def links(deployment) -> str:
    """The ID of a run that has texted three people, one by a plain task and two by a mapped one."""
    deployment.sandbox.reset()
    deployment.add_dag("links", LINKS)
    run_id = deployment.rest.trigger("links")
    assert deployment.rest.wait_for_run("links", run_id) == "success"
    return run_id


@browser_test
@on_airflow_3
@pytest.mark.parametrize(("task", "phone"), [("one", "+250780000101"), ("each/mapped/1", "+250780000103")])
def test_the_link_button_opens_the_phone_that_got_the_message(links, page, deployment, task, phone):
    page.goto(f"{deployment.url}/dags/links/runs/{quote(links)}/tasks/{task}/details")
    with page.expect_popup() as opened:
        page.locator(
            "a[target=_blank]", has_text=re.compile("^Pindo$")
        ).click()  # the others lead to the page
    phones = opened.value.locator(".phone")
    phones.first.wait_for()
    assert [phone.get_attribute("data-number") for phone in phones.all()] == [phone]


def test_airflow_knows_where_the_button_leads(links, deployment):
    path = f"/dags/links/dagRuns/{quote(links)}/taskInstances/one/links"
    answer = deployment.rest.request("GET", path)
    assert answer.get("extra_links", answer)["Pindo"] == f"{deployment.sandbox.url}/?find=%2B250780000101"
