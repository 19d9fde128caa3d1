"""The Pindo page in Airflow's UI, as people in an office use it: find a person, settle and go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from demo.deployment import AIRFLOW_VERSION, VIEWER, Deployment
from demo.reminders import DAG_ID, expected_reminders, lose_a_response
from tests.e2e.conftest import add_examples
from tests.e2e.noticed import wait_until_noticed

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, FrameLocator, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2.11 has no pages of plugins"),
]
NOT_KNOWN = "\N{EN DASH}"
MARKUP = "<img src=x onerror='top.hacked=1'>"
REASON = (
    "<svg onload=parent.bad=2>"  # unlike the name, since an error never repeats a part of a message's text
)
STRANGE = f"""
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator

with DAG("strange", schedule=None, start_date=datetime(2026, 1, 1), dag_display_name={MARKUP!r}):
    PindoSendBulkSmsOperator(
        task_id="text",
        task_display_name={MARKUP!r},
        recipients=[
            {{"phonenumber": "+250780000104", "name": {MARKUP!r}}},
            {{"phonenumber": "+250780000105", "name": "Aline"}},
        ],
        text="Muraho @contact.name " + {MARKUP!r},
        on_invalid="skip",
    )
"""


#: USD, of the sandbox.
SEGMENT_PRICE = 0.006


@pytest.fixture(scope="module")
def deployment(sigterm_is_heard, tmp_path_factory) -> Iterator[Deployment]:
    """An Airflow of its own: the page shows the failed tasks of every DAG, and those of other tests would count."""
    with Deployment(tmp_path_factory.mktemp("dags")) as running:
        yield running


@pytest.fixture(scope="module")
def examples(deployment) -> Deployment:
    """The same Airflow with the example DAGs."""
    return add_examples(deployment)


@pytest.fixture(scope="module")
def parked(examples) -> str:
    """The ID of a run of the reminders that asks a person, since one response was lost. An earlier run went well."""
    examples.sandbox.reset()
    examples.rest.wait_for_dag(DAG_ID)
    examples.rest.wait_for_run(DAG_ID, examples.rest.trigger(DAG_ID))
    run_id = lose_a_response(examples)
    wait_until_noticed(examples, run_id, "text_patients")
    return run_id


@pytest.fixture(scope="module")
def lost(examples, parked) -> str:
    """The same run, which a person left failed."""
    examples.rest.answer(DAG_ID, parked, "text_patients", "Leave it failed")
    assert examples.rest.wait_for_run(DAG_ID, parked) == "failed"
    return parked


@pytest.fixture
def viewer_page(browser, deployment) -> Iterator[Page]:
    """A page of a browser in which the viewer is logged in."""
    context: BrowserContext = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(deployment.url)
    page.locator("input[name=username]").fill(VIEWER)
    page.locator("input[name=password]").fill(deployment.viewer_password)
    page.locator("[type=submit]").click()
    page.wait_for_url(re.compile(rf"{deployment.url}/(home)?(\?.*)?$"))
    yield page
    context.close()


def open_pindo(page: Page, deployment, path: str = "/plugin/pindo") -> FrameLocator:
    """Open the page, or one of its tabs, and wait until it has loaded."""
    page.goto(f"{deployment.url}{path}")
    frame = page.frame_locator("iframe[title=Pindo]")
    frame.locator("main:not([aria-busy])").wait_for()
    return frame


def run_path(run_id: str, dag_id: str = DAG_ID) -> str:
    return f"/dags/{dag_id}/runs/{quote(run_id)}"


def tile(frame: FrameLocator, label: str) -> str:
    return frame.locator(".tile", has=frame.get_by_text(label, exact=True)).locator("dd").first.inner_text()


def violations(page: Page) -> list[str]:
    """What keeps people from using the page, as axe-core finds it."""
    from axe_playwright_python.sync_playwright import Axe

    (frame,) = (frame for frame in page.frames[1:] if "/pindo/ui/" in frame.url)
    found = Axe().run(frame).response["violations"]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']][:3]}" for each in found]


def test_a_question_leads_to_airflows_own_form(parked, page, deployment):
    frame = open_pindo(page, deployment)
    frame.get_by_text("1 task needs a person").wait_for()
    assert violations(page) == []
    frame.get_by_role("link", name="Answer the question").click()
    page.wait_for_url(re.compile(rf"{re.escape(quote(parked))}|{re.escape(parked)}"))
    for option in ("All arrived", "None arrived: send to them", "Some arrived", "Leave it failed"):
        page.get_by_role("button", name=option).wait_for()


def test_the_navigation_leads_to_what_was_sent_and_what_needs_a_person(lost, page, deployment, picture):
    page.set_viewport_size({"width": 1280, "height": 1060})
    page.goto(deployment.url)
    page.get_by_role("link", name="Pindo").click()
    frame = page.frame_locator("iframe[title=Pindo]")
    frame.get_by_text("1 task needs a person").wait_for()
    assert int(tile(frame, "Messages")) >= len(expected_reminders()[0])
    assert tile(frame, "Delivered") == NOT_KNOWN
    segments = float(tile(frame, "Cost").removeprefix("$")) / SEGMENT_PRICE
    assert segments == pytest.approx(round(segments)), "the cost is rounded"
    assert segments >= int(tile(frame, "Accepted"))
    frame.get_by_role("group", name="Row 1").get_by_role("button", name="Arrived").wait_for()
    assert violations(page) == []
    picture(page, "page")


def test_find_a_person(lost, page, deployment, picture):
    page.set_viewport_size({"width": 1280, "height": 700})
    frame = open_pindo(page, deployment)
    frame.get_by_label("Phone number").fill("+250 780 000 101")
    frame.get_by_label("Phone number").press("Enter")
    results = frame.get_by_role("group", name="Messages that were found")
    results.get_by_role("link", name="text_patients").first.wait_for()
    assert "Unknown" in results.inner_text()
    assert "+25078****101" in frame.locator("main").inner_text()
    assert "780" not in re.sub(r"\+25078\*+\d+", "", page.url)
    assert violations(page) == []
    picture(frame.get_by_role("region", name="Find a person"), "page-find")
    results.get_by_role("link", name=re.compile("^manual")).first.click()
    page.wait_for_url(re.compile(rf"/dags/{DAG_ID}/runs/manual"))
    page.get_by_text("Task Instances").first.wait_for()


def test_a_number_that_is_none_says_how_to_write_it(page, deployment):
    frame = open_pindo(page, deployment)
    frame.get_by_label("Phone number").fill("hello")
    frame.get_by_role("button", name="Find").click()
    assert "E.164" in frame.get_by_role("alert").inner_text()


def test_the_tabs_of_a_run_and_of_a_task_show_their_people(lost, page, deployment, picture):
    page.set_viewport_size({"width": 1280, "height": 1000})
    frame = open_pindo(page, deployment, f"{run_path(lost)}/plugin/pindo-run")
    frame.get_by_role("group", name="Tasks").get_by_text("text_patients").wait_for()
    assert violations(page) == []
    frame = open_pindo(page, deployment, f"{run_path(lost)}/tasks/text_patients/plugin/pindo-task")
    people = frame.get_by_role("group", name="People of this task")
    people.get_by_text("+25078****101").first.wait_for()
    assert people.get_by_role("row").count() == 1 + len(expected_reminders()[0])
    assert violations(page) == []
    picture(page, "page-task")
    frame.get_by_label("Number ends with").fill("0000103")
    frame.get_by_role("button", name="Search").click()
    frame.get_by_text("only the last three digits").wait_for()
    assert people.get_by_role("row").count() == 2


def test_a_viewer_cannot_settle(lost, viewer_page, deployment):
    frame = open_pindo(viewer_page, deployment)
    frame.get_by_text("you need the permission to edit this task instance").first.wait_for()
    assert frame.get_by_role("button", name="Arrived").count() == 0
    body = {"dag_id": DAG_ID, "run_id": lost, "task_id": "text_patients", "everybody": True}
    body["seen"] = "2030-01-01T00:00:00Z"
    ask = """async (body) => (await fetch("/pindo/ui/api/settle", {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)})).status"""
    assert viewer_page.evaluate(ask, body) == 403


def test_it_is_dark_when_airflow_is_and_fits_a_phone(lost, page, deployment, picture):
    frame = open_pindo(page, deployment)
    frame.get_by_role("heading", name="Needs a person").wait_for()
    colour = "getComputedStyle(document.body).backgroundColor"
    light = frame.locator("html").evaluate(f"() => {colour}")
    page.evaluate("document.documentElement.classList.replace('light', 'dark')")
    frame.locator("html.dark").wait_for()
    assert frame.locator("html").evaluate(f"() => {colour}") != light
    assert violations(page) == []
    page.evaluate("document.documentElement.classList.replace('dark', 'light')")
    page.set_viewport_size({"width": 390, "height": 844})
    frame = open_pindo(page, deployment)
    frame.get_by_role("heading", name="Needs a person").wait_for()
    body = frame.locator("html")
    assert body.evaluate("root => root.scrollWidth <= root.clientWidth")
    assert violations(page) == []
    picture(page, "page-phone")


def test_settle_and_go_on(lost, page, deployment, sandbox_as_it_is):
    texts = len(sandbox_as_it_is.messages())
    frame = open_pindo(page, deployment)
    arrived = frame.get_by_role("button", name=re.compile("Row 1.*: arrived"))
    arrived.focus()
    page.keyboard.press("Enter")
    assert arrived.get_attribute("aria-pressed") == "true"
    frame.get_by_text("Nobody is texted again").wait_for()
    arrived.hover()
    assert violations(page) == []
    settle = frame.get_by_role("button", name="Settle and clear")
    settle.focus()
    page.keyboard.press("Enter")
    frame.get_by_text("Settled and cleared.").first.wait_for()
    frame.get_by_text("Nothing needs a person.").wait_for()
    assert deployment.rest.wait_for_run(DAG_ID, lost) == "success"
    assert len(sandbox_as_it_is.messages()) == texts
    log = deployment.rest.request("GET", f"/eventLogs?dag_id={DAG_ID}&run_id={quote(lost)}&limit=100")
    events = {(event["event"], event["owner"]) for event in log["event_logs"]}
    assert {("pindo_settle", "admin"), ("post_clear_task_instances", "admin")} <= events


@pytest.fixture
def sandbox_as_it_is(deployment):
    """The sandbox, with the messages of the tests before."""
    return deployment.sandbox


def test_what_strangers_wrote_is_text(page, deployment):
    deployment.sandbox.reset()
    deployment.sandbox.add_fault(
        "status", call="texts", to="+250780000104", status=409, body={"message": REASON}, times=None
    )
    deployment.add_dag("strange", STRANGE)
    run_id = deployment.rest.trigger("strange")
    deployment.rest.wait_for_run("strange", run_id)
    for path in (  # the name is on the first two, the reason is on all
        "/plugin/pindo",
        f"{run_path(run_id, 'strange')}/plugin/pindo-run",
        f"{run_path(run_id, 'strange')}/tasks/text/plugin/pindo-task",
    ):
        frame = open_pindo(page, deployment, path)
        frame.get_by_text(REASON).first.wait_for()
        assert frame.locator("img, [onload], [onerror]").count() == 0
        assert page.evaluate("[window.hacked, window.bad]") == [None, None]
