"""The Pindo page in Airflow's UI, as people in an office use it: find a person, settle and go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from demo.deployment import AIRFLOW_VERSION, VIEWER, Deployment
from demo.reminders import DAG_ID, expected_reminders, lose_a_response
from demo.rest import wait_until
from tests.e2e.conftest import add_examples
from tests.e2e.noticed import wait_until_noticed
from tests.e2e.pindo_page import (
    PHONE_WIDTH,
    assert_everybody_can_use,
    cells,
    frame_of,
    open_pindo,
    run_tab,
    spellings,
    tab_to,
    task_tab,
    tile,
)

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

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
#: A hundred and twenty people. Number 101 has the mask of Aline's, +250780000101.
CAMPAIGN = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator

with DAG("campaign", schedule=None, start_date=datetime(2026, 1, 1)):
    PindoSendBulkSmsOperator(
        task_id="text",
        recipients=[f"+250781110{row:03}" for row in range(1, 121)],
        text="Muraho",
        chunk_size=117,
        concurrency=1,
        report_path=REPORT_PATH,
    )
"""
#: Nobody has this number. It is typed into the page and is nowhere else.
SEARCHED = "+250788123457"

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


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The file that the campaign writes."""
    return tmp_path_factory.mktemp("reports") / "campaign.csv"


@pytest.fixture(scope="module")
def campaign(deployment, report) -> str:
    """The ID of a failed run: nothing is known of the rows 118 to 120. In fact they did not arrive."""
    deployment.sandbox.clear_faults()
    deployment.sandbox.add_fault("drop_before", call="send_bulk_sms", skip=1)
    deployment.add_dag("campaign", CAMPAIGN.replace("REPORT_PATH", repr(str(report))))
    run_id = deployment.rest.trigger("campaign")
    assert deployment.rest.wait_for_run("campaign", run_id) == "failed"
    return run_id


@pytest.fixture
def pindo_is_not_called(deployment) -> Iterator[None]:
    """No request reaches Pindo meanwhile."""
    before = deployment.sandbox.requests()
    yield
    assert deployment.sandbox.requests() == before


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


def test_before_anything_was_sent_it_says_so(page, deployment):
    frame = open_pindo(page, deployment.url)
    frame.get_by_text("No run of the last 24 hours has sent anything with Pindo.").wait_for()
    assert frame.locator(".tile").count() == 0
    assert_everybody_can_use(page)


def test_a_question_leads_to_airflows_own_form(parked, page, deployment):
    frame = open_pindo(page, deployment.url)
    frame.get_by_text("1 task needs a person").wait_for()
    frame.get_by_text("Open the question and choose an answer: then the run goes on.").wait_for()
    assert_everybody_can_use(page)
    frame.get_by_role("link", name="Answer the question").click()
    page.wait_for_url(re.compile(rf"{re.escape(quote(parked))}|{re.escape(parked)}"))
    for option in ("All arrived", "None arrived: send to them", "Some arrived", "Leave it failed"):
        page.get_by_role("button", name=option).wait_for()


def test_while_it_loads_and_when_airflow_fails_it_says_so(parked, page, deployment, pindo_is_not_called):
    held: list[Route] = []
    page.route("**/pindo/ui/api/overview*", lambda route: held.append(route))
    page.goto(f"{deployment.url}/plugin/pindo")
    frame = frame_of(page)
    frame.get_by_text("Loading…").wait_for()
    assert_everybody_can_use(page)
    held.pop().abort()
    alert = frame.get_by_role("alert")
    alert.get_by_text("Airflow does not respond.").wait_for()
    assert_everybody_can_use(page)
    for status, words in ((401, "You are logged out."), (500, "Airflow returned 500.")):
        alert.get_by_role("button", name="Try again").click()
        wait_until(lambda: page.wait_for_timeout(50) or held, "it asks again", timeout=30)
        held.pop().fulfill(status=status, body="no JSON")
        alert.get_by_text(words).wait_for()
    page.unroute("**/pindo/ui/api/overview*")
    alert.get_by_role("button", name="Try again").click()
    frame.get_by_text("1 task needs a person").wait_for()
    assert alert.count() == 0


def test_the_navigation_leads_to_what_was_sent_and_what_needs_a_person(
    lost, page, deployment, picture, pindo_is_not_called
):
    page.set_viewport_size({"width": 1280, "height": 1060})
    page.goto(deployment.url)
    page.get_by_role("link", name="Pindo").click()
    frame = frame_of(page)
    frame.get_by_text("1 task needs a person").wait_for()
    assert int(tile(frame, "Messages")) >= len(expected_reminders()[0])
    assert tile(frame, "Delivered") == NOT_KNOWN
    segments = float(tile(frame, "Cost").removeprefix("$")) / SEGMENT_PRICE
    assert segments == pytest.approx(round(segments)), "the cost is rounded"
    assert segments >= int(tile(frame, "Accepted"))
    frame.get_by_role("group", name="Row 1").get_by_role("button", name="Arrived").wait_for()
    frame.get_by_role("region", name="Set up webhooks").get_by_text("[pindo] webhooks = True").wait_for()
    assert_everybody_can_use(page)
    picture(page, "page")
    frame.get_by_role("group", name="By DAG").get_by_role("link").click()
    page.wait_for_url(f"{deployment.url}/dags/{DAG_ID}/runs")


def test_each_window_has_its_chart(lost, page, deployment, pindo_is_not_called):
    frame = open_pindo(page, deployment.url)
    messages = tile(frame, "Messages")
    for name in ("hour", "7 days", "30 days", "24 hours"):
        frame.get_by_role("button", name=f"The last {name}", exact=True).click()
        chart = frame.get_by_role("img", name=f"{messages} messages in the last {name},")
        chart.wait_for()
        assert chart.locator("rect.accepted").count() == chart.locator("rect.unknown").count() == 1
        assert frame.get_by_role("button", name=f"The last {name}", exact=True, pressed=True).count() == 1


def test_find_a_person(lost, page, deployment, picture, pindo_is_not_called):
    page.set_viewport_size({"width": 1280, "height": 700})
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    frame = open_pindo(page, deployment.url)
    frame.get_by_label("Phone number").fill("+250 780 000 101")
    frame.get_by_label("Phone number").press("Enter")
    results = frame.get_by_role("group", name="Messages that were found")
    results.get_by_role("link", name="text_patients").first.wait_for()
    assert "Unknown" in results.inner_text()
    assert "+25078****101" in frame.locator("main").inner_text()
    frame.get_by_role("region", name="Find a person").get_by_text("[pindo] webhooks = True").wait_for()
    assert_everybody_can_use(page)
    picture(frame.get_by_role("region", name="Find a person"), "page-find")
    results.get_by_role("link", name=re.compile("^manual")).first.click()
    page.wait_for_url(re.compile(rf"/dags/{DAG_ID}/runs/manual"))
    page.get_by_text("Task Instances").first.wait_for()
    assert [url for url in urls if "/pindo/ui/api/search" in url] != []
    assert [url for url in [*urls, page.url] if spellings("+250780000101").search(url)] == []


def test_a_number_is_searched_and_kept_nowhere(page, deployment, pindo_is_not_called):
    frame = open_pindo(page, deployment.url)
    frame.get_by_label("Phone number").fill("hello")
    frame.get_by_role("button", name="Find").click()
    assert "E.164" in frame.get_by_role("alert").inner_text()
    for typed in (SEARCHED, "+250 788 123 457", "0788-123-457"):
        frame.get_by_label("Phone number").fill(typed)
        with page.expect_response("**/pindo/ui/api/search"):
            frame.get_by_role("button", name="Find").click()
        frame.get_by_text("Nothing was sent to +25078****457 in the last 24 hours.").wait_for()
    assert_everybody_can_use(page)
    frame.get_by_role("button", name="The last 7 days").click()  # and the number need not be typed again
    frame.get_by_text("Nothing was sent to +25078****457 in the last 7 days.").wait_for()
    log = deployment.component_log("api-server").read_text(encoding="utf-8", errors="replace")
    assert len(re.findall("method=POST path=/pindo/ui/api/search.*status_code=200", log)) >= 3
    files = [file for file in deployment.home.rglob("*") if file.is_file()]
    assert {"api-server.log", "scheduler.log", "airflow.db"} <= {file.name for file in files}
    known = spellings(SEARCHED)
    assert [file for file in files if known.search(file.read_text("utf-8", "replace"))] == []


def test_the_tabs_of_a_run_and_of_a_task_show_their_people(
    lost, page, deployment, picture, pindo_is_not_called
):
    page.set_viewport_size({"width": 1280, "height": 1000})
    frame = open_pindo(page, deployment.url, run_tab(lost))
    frame.get_by_role("group", name="Tasks").get_by_text("text_patients").wait_for()
    assert_everybody_can_use(page)
    frame = open_pindo(page, deployment.url, task_tab(lost, "text_patients"))
    people = frame.get_by_role("group", name="People of this task")
    people.get_by_text("+25078****101").first.wait_for()
    assert people.get_by_role("row").count() == 1 + len(expected_reminders()[0])
    assert {row[-1] for row in cells(people)} == {NOT_KNOWN}
    frame.get_by_text(
        "Deliveries are not known. To know them, switch webhooks on: [pindo] webhooks = True"
    ).wait_for()
    assert_everybody_can_use(page)
    picture(page, "page-task")
    frame.get_by_label("Number ends with").fill("0000103")
    frame.get_by_role("button", name="Search").click()
    frame.get_by_text("only the last three digits").wait_for()
    assert people.get_by_role("row").count() == 2
    frame.get_by_label("Number ends with").fill("999")
    frame.get_by_role("button", name="Search").click()
    frame.get_by_text("Nobody matches.").wait_for()
    assert_everybody_can_use(page)
    frame = open_pindo(page, deployment.url, task_tab(lost, "read_appointments"))
    frame.get_by_text("This task has sent nothing with Pindo.").wait_for()
    assert_everybody_can_use(page)


def test_a_viewer_cannot_settle(lost, viewer_page, deployment, picture, pindo_is_not_called):
    frame = open_pindo(viewer_page, deployment.url)
    frame.get_by_text("you need the permission to edit this task instance").first.wait_for()
    assert frame.get_by_role("button", name="Arrived").count() == 0
    assert frame.get_by_role("region", name="Set up webhooks").count() == 0
    assert_everybody_can_use(viewer_page)
    picture(frame.get_by_role("region", name="Needs a person"), "page-viewer")
    body = {"dag_id": DAG_ID, "run_id": lost, "task_id": "text_patients", "everybody": True}
    body["seen"] = "2030-01-01T00:00:00Z"
    ask = """async (body) => (await fetch("/pindo/ui/api/settle", {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)})).status"""
    assert viewer_page.evaluate(ask, body) == 403


def test_it_has_the_colours_and_the_font_of_airflow_light_and_dark(
    lost, page, deployment, pindo_is_not_called
):
    frame = open_pindo(page, deployment.url)
    frame.get_by_role("heading", name="Needs a person").wait_for()
    looks = """(node) => {
        const {color, fontFamily} = getComputedStyle(node);
        const background = (node) => getComputedStyle(node).backgroundColor;
        while (background(node) === "rgba(0, 0, 0, 0)" && node.parentElement) node = node.parentElement;
        return [background(node), color, fontFamily];
    }"""
    seen = []
    for before, after in (("light", "light"), ("light", "dark")):
        page.evaluate(f"document.documentElement.classList.replace('{before}', '{after}')")
        frame.locator(f"html{'.dark' if after == 'dark' else ':not(.dark)'}").wait_for()
        page.wait_for_timeout(500)  # for the transitions of colours
        seen.append(page.locator("iframe[title=Pindo]").evaluate(looks))
        assert frame.locator("body").evaluate(looks) == seen[-1]
        assert_everybody_can_use(page)
    assert seen[0] != seen[1]
    # An Airflow with a theme of its own.
    page.evaluate("document.documentElement.style.setProperty('--chakra-colors-bg', 'rgb(1, 2, 3)')")
    page.evaluate("document.documentElement.classList.replace('dark', 'light')")
    frame.locator("html:not(.dark)").wait_for()
    assert frame.locator("body").evaluate(looks)[0] == "rgb(1, 2, 3)"


def test_it_fits_a_phone(lost, page, deployment, picture, pindo_is_not_called):
    page.set_viewport_size(PHONE_WIDTH)
    frame = open_pindo(page, deployment.url, run_tab(lost))
    frame.get_by_role("group", name="Tasks").get_by_text("text_patients").wait_for()
    assert_everybody_can_use(page)
    frame = open_pindo(page, deployment.url, task_tab(lost, "text_patients"))
    frame.get_by_role("group", name="People of this task").get_by_text("+25078****101").first.wait_for()
    assert_everybody_can_use(page)
    frame = open_pindo(page, deployment.url)
    frame.get_by_role("heading", name="Needs a person").wait_for()
    frame.get_by_role("region", name="Set up webhooks").wait_for()
    assert_everybody_can_use(page)
    picture(page, "page-phone")


def test_settle_and_go_on(lost, page, deployment, picture):
    texts = len(deployment.sandbox.messages())
    page.set_viewport_size({"width": 1280, "height": 1060})
    frame = open_pindo(page, deployment.url)
    arrived = frame.get_by_role("button", name=re.compile("Row 1.*: arrived"))
    arrived.click()
    assert arrived.get_attribute("aria-pressed") == "true"
    frame.get_by_text("Nobody who got this message gets it again.").wait_for()
    arrived.hover()
    assert_everybody_can_use(page)
    frame.get_by_role("button", name="Settle and clear").click()
    frame.get_by_text("Settled and cleared.").wait_for()
    frame.get_by_text("Nothing needs a person.").wait_for()
    assert_everybody_can_use(page)
    picture(page, "page-settled")
    assert deployment.rest.wait_for_run(DAG_ID, lost) == "success"
    assert len(deployment.sandbox.messages()) == texts
    log = deployment.rest.request("GET", f"/eventLogs?dag_id={DAG_ID}&run_id={quote(lost)}&limit=100")
    events = {(event["event"], event["owner"]) for event in log["event_logs"]}
    assert {("pindo_settle", "admin"), ("post_clear_task_instances", "admin")} <= events


def test_several_people_with_one_mask_are_all_listed(campaign, page, deployment, pindo_is_not_called):
    frame = open_pindo(page, deployment.url)
    frame.get_by_label("Phone number").fill("+250780000101")
    frame.get_by_role("button", name="Find").click()
    frame.get_by_text("several people may have it. Compare the run, the row and the time.").wait_for()
    results = frame.get_by_role("group", name="Messages that were found")
    found = [dict(zip(results.locator("th").all_inner_texts(), row, strict=True)) for row in cells(results)]
    reminders = deployment.rest.run_ids(DAG_ID)
    assert sorted((row["Run"], row["Row"]) for row in found) == sorted(
        [(campaign, "101"), *((run, row) for run in reminders for row in ("1", "9"))]
    )
    assert all(re.fullmatch(r"\d+ \w{3,4} \d{4}, \d\d:\d\d:\d\d", row["Time"]) for row in found)
    assert_everybody_can_use(page)


def test_settle_one_of_three(campaign, page, deployment, pindo_is_not_called):
    frame = open_pindo(page, deployment.url)
    frame.get_by_role("heading", name="3 messages may or may not have arrived").wait_for()
    frame.get_by_role("button", name="Row 118, +25078****118: arrived").click()
    frame.get_by_text("The task is cleared once all are settled.").wait_for()
    frame.get_by_role("button", name="Settle 1 of 3").click()
    frame.get_by_text("Settled 1 message. 2 messages still need a person.").wait_for()
    frame.get_by_role("heading", name="2 messages may or may not have arrived").wait_for()
    assert frame.get_by_role("group", name="Row 118").count() == 0
    assert deployment.rest.run_state("campaign", campaign) == "failed"


def test_by_tab_alone_those_who_got_nothing_are_texted_once_and_a_person_is_found(campaign, page, deployment):
    def texted() -> list[str]:
        return [message["to"] for message in deployment.sandbox.messages() if message["text"] == "Muraho"]

    before = texted()
    frame = open_pindo(page, deployment.url)
    week = frame.get_by_role("button", name="The last 7 days")
    tab_to(page, week)
    page.keyboard.press("Enter")
    frame.locator("#window-7d[aria-pressed=true]").wait_for()
    assert week.evaluate("node => node === document.activeElement"), "the focus is lost"
    tab_to(page, frame.get_by_role("button", name="Everybody: did not arrive"))
    page.keyboard.press("Space")
    frame.get_by_text("2 messages are sent again.").wait_for()
    tab_to(page, frame.get_by_role("button", name="Settle and clear"))
    page.keyboard.press("Enter")
    frame.get_by_text("Settled and cleared.").wait_for()
    assert frame.locator(".done").evaluate("node => node === document.activeElement"), "the focus is lost"
    assert deployment.rest.wait_for_run("campaign", campaign) == "success"
    assert texted() == [*before, "+250781110119", "+250781110120"]
    tab_to(page, frame.get_by_label("Phone number"))
    page.keyboard.type("+250781110119")
    page.keyboard.press("Enter")
    results = frame.get_by_role("group", name="Messages that were found")
    results.get_by_text("Accepted").wait_for()
    tab_to(page, results.get_by_role("link", name=campaign))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/dags/campaign/runs/manual"))


def test_more_people_and_the_path_of_a_report_that_the_page_never_opens(
    campaign, report, page, deployment, pindo_is_not_called
):
    assert report.exists()
    report.unlink()
    frame = open_pindo(page, deployment.url, run_tab(campaign, "campaign"))
    frame.get_by_role("group", name="Tasks").get_by_text(str(report)).wait_for()
    frame = open_pindo(page, deployment.url, task_tab(campaign, "text", "campaign"))
    frame.get_by_role("region", name="Report").get_by_text(str(report)).wait_for()
    people = frame.get_by_role("group", name="People of this task")
    people.wait_for()
    assert [row[0] for row in cells(people)] == [str(row) for row in range(1, 101)]
    assert_everybody_can_use(page)
    frame.get_by_role("button", name="Show more").dblclick()
    people.get_by_text("+25078****120").wait_for()
    page.wait_for_timeout(500)
    assert [row[0] for row in cells(people)] == [str(row) for row in range(1, 121)]


def test_what_strangers_wrote_is_text(page, deployment):
    deployment.sandbox.reset()
    deployment.sandbox.add_fault(
        "status", call="texts", to="+250780000104", status=409, body={"message": REASON}, times=None
    )
    deployment.add_dag("strange", STRANGE)
    run_id = deployment.rest.trigger("strange")
    deployment.rest.wait_for_run("strange", run_id)
    # The name is on the first two, the reason is on all.
    for path in ("/plugin/pindo", run_tab(run_id, "strange"), task_tab(run_id, "text", "strange")):
        frame = open_pindo(page, deployment.url, path)
        frame.get_by_text(REASON).first.wait_for()
        assert frame.locator("img, [onload], [onerror]").count() == 0
        assert page.evaluate("[window.hacked, window.bad]") == [None, None]
        assert_everybody_can_use(page)
