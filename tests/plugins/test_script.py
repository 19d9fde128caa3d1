"""The script of the Pindo page in a real browser, with answers that come late, out of order, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import airflow_provider_pindo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.browser

STATIC = Path(airflow_provider_pindo.__file__).parent / "plugins" / "static"
ORIGIN = "http://airflow.test/pindo/ui/"
TASK = {"dag_id": "reminders", "run_id": "run_1", "task_id": "text", "map_index": -1, "dag_name": "reminders"}
COUNTS = dict.fromkeys(("messages", "accepted", "rejected", "unknown", "not_sent", "expired", "cost"), 0)
DATA = {
    "has_store": True,
    "entries": 1,
    "is_cut": False,
    "unreadable": 0,
    "tiles": {**COUNTS, "balance": None},
    "bars": [{**COUNTS, "start": f"2026-11-{day}T00:00:00+00:00"} for day in (29, 30)],
    "dags": [],
    "tasks": [{**TASK, **COUNTS, "report_path": None}],
    "task_count": 1,
    "rejections": [],
    "questions": [],
    "unknown": [],
    "unknown_count": 0,
}
OF_A_TASK = "?dag_id=reminders&run_id=run_1&task_id=text"


class Airflow:
    """Airflow's API server: a request waits until the test answers it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.waiting: list[Route] = []
        page.route("**/*", self._take)

    def _take(self, route: Route) -> None:
        name = route.request.url.removeprefix(ORIGIN).partition("?")[0]
        if "/api/" in route.request.url:
            self.waiting.append(route)
        else:
            route.fulfill(path=STATIC / (name or "index.html"))

    def request(self, name: str) -> Route:
        """Return the oldest request for this, which then waits no longer."""
        while True:
            for route in self.waiting:
                if f"/api/{name}" in route.request.url:
                    self.waiting.remove(route)
                    return route
            self.page.wait_for_timeout(10)

    def show(self, query: str = "", **data: Any) -> None:
        """Open the page, and answer its first request."""
        self.page.goto(f"{ORIGIN}{query}")
        self.request("run" if query else "overview").fulfill(json={**DATA, **data})


@pytest.fixture
def airflow(browser: Browser) -> Iterator[Airflow]:
    page = browser.new_page(timezone_id="America/New_York")
    page.set_default_timeout(10_000)
    yield Airflow(page)
    page.close()


def people(*numbers: str, more: bool = False) -> dict[str, Any]:
    listed = [
        {"key": "pindo_sms", "row": None, "number": number, "outcome": "accepted"} for number in numbers
    ]
    return {"people": listed, "next": {"start": "x", "skip": 0} if more else None, "has_deliveries": True}


def tile(airflow: Airflow, label: str) -> str:
    return airflow.page.locator(".tile", has=airflow.page.get_by_text(label, exact=True)).inner_text()


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({"status": 500}, "cannot be read now"),
        (
            {"json": {"delivered": None, "not_delivered": None, "of": None, "is_cut": False}},
            "cannot be read now",
        ),
        ({"json": None}, "needs webhooks"),
        ({"json": {"delivered": 2, "not_delivered": 0, "of": 2, "is_cut": False}}, "of 2 with an ID"),
    ],
)
def test_the_tile_of_deliveries_says_why_it_has_no_number(airflow, answer, hint):
    airflow.show()
    airflow.page.get_by_text("is being read").first.wait_for()
    airflow.request("delivery").fulfill(**answer)
    airflow.page.get_by_text(hint).first.wait_for()
    assert ("2" in tile(airflow, "Delivered")) is hint.startswith("of")


@pytest.mark.parametrize(("query", "is_advised"), [("", True), (OF_A_TASK, False)])
def test_a_shorter_window_is_advised_where_there_is_one(airflow, query, is_advised):
    airflow.show(query, is_cut=True)
    notice = airflow.page.get_by_text("Only the newest 1 entries of the ledger are counted.")
    notice.wait_for()
    assert ("Choose a shorter window." in notice.inner_text()) is is_advised


def test_show_more_is_about_the_filter_that_was_searched_with(airflow):
    airflow.show(OF_A_TASK)
    airflow.request("people").fulfill(json=people("+25078****101", more=True))
    airflow.page.get_by_label("Number ends with").fill("555")
    airflow.page.get_by_role("button", name="Show more").click()
    request = airflow.request("people")
    assert (request.request.post_data_json["ending"], request.request.post_data_json["start"]) == ("", "x")
    request.fulfill(json=people("+25078****102"))
    airflow.page.get_by_text("+25078****102").wait_for()
    assert airflow.page.get_by_text("+25078****101").is_visible()
    assert airflow.page.evaluate("document.activeElement.getAttribute('aria-label')") == "People of this task"


def test_an_answer_that_a_newer_search_overtook_is_not_shown(airflow):
    airflow.show(OF_A_TASK)
    first = airflow.request("people")
    airflow.page.get_by_label("Number ends with").fill("102")
    airflow.page.get_by_role("button", name="Search").click()
    airflow.request("people").fulfill(json=people("+25078****102"))
    airflow.page.get_by_text("+25078****102").wait_for()
    first.fulfill(json=people("+25078****101"))
    airflow.page.wait_for_timeout(200)
    assert airflow.page.locator("td code").all_inner_texts() == ["+25078****102"]


def test_a_window_that_a_newer_one_overtook_is_not_shown_and_the_keyboard_stays_at_its_button(airflow):
    airflow.show()
    airflow.page.get_by_role("button", name="The last 30 days").press("Enter")
    slow = airflow.request("overview")
    airflow.page.get_by_role("button", name="The last hour").press("Enter")
    airflow.request("overview").fulfill(json={**DATA, "tiles": {**DATA["tiles"], "messages": 111}})
    airflow.page.get_by_text("111", exact=True).wait_for()
    slow.fulfill(json={**DATA, "tiles": {**DATA["tiles"], "messages": 3030}})
    airflow.page.wait_for_timeout(200)
    assert "111" in tile(airflow, "Messages")
    assert airflow.page.evaluate("document.activeElement.textContent") == "1 h"


def test_the_number_that_was_searched_is_searched_again_in_another_window(airflow):
    airflow.show()
    airflow.page.get_by_label("Phone number").fill("+250780000101")
    airflow.page.get_by_role("button", name="Find").click()
    airflow.request("search").fulfill(json={"mask": "+25078****101", "matches": []})
    airflow.page.get_by_text("in the last 24 hours.", exact=False).first.wait_for()
    airflow.page.get_by_role("button", name="The last 7 days").click()
    body = airflow.request("search").request.post_data_json
    assert body == {"number": "+250780000101", "window": "7d"}
    airflow.request("overview").fulfill(json=DATA)
    airflow.page.get_by_role("button", name="The last 7 days", pressed=True).wait_for()
    assert airflow.page.get_by_label("Phone number").input_value() == "+250780000101"


def test_bars_of_days_have_the_dates_of_utc(airflow):
    airflow.show()
    airflow.page.get_by_role("button", name="The last 30 days").click()
    airflow.request("overview").fulfill(json=DATA)
    airflow.page.get_by_text("Days in UTC.").wait_for()
    assert airflow.page.locator("svg text").all_text_contents()[-2:] == ["29 Nov", "30 Nov"]
    assert airflow.page.locator("svg.chart").get_attribute("aria-label") == "0 messages in the last 30 days"


def test_the_keyboard_stays_at_what_it_opened(airflow):
    unknown = {**TASK, "unknown": 1, "time": "2026-11-30T09:00:00+00:00", "can_settle": True}
    airflow.show(unknown=[unknown] * 4, unknown_count=4)
    for _ in range(3):  # the first three are open
        airflow.request("people").fulfill(json=people())
    airflow.page.get_by_role("button", name="Settle", exact=True).press("Enter")
    focused = "document.activeElement.textContent"
    assert airflow.page.evaluate(focused) == "Loading…"
    answer = people("+25078****104")
    answer["people"][0]["outcome"] = "unknown"
    airflow.request("people").fulfill(json=answer)
    airflow.page.wait_for_function("document.activeElement.textContent !== 'Loading…'")
    fourth = "document.querySelectorAll('[aria-labelledby=title-needs-a-person] > .panel')[3]"
    assert airflow.page.evaluate(f"{fourth}.contains(document.activeElement)")


def test_a_settlement_without_a_time_hides_nobody(airflow):
    airflow.show(OF_A_TASK)
    listed = people("+25078****101", "+25078****102")
    for person, settled in zip(listed["people"], (None, "2026-11-30T10:00:00+00:00"), strict=True):
        person["settled"] = {"by": "ada", "at": settled}
    airflow.request("people").fulfill(json=listed)
    airflow.page.get_by_text("settled by ada, 30 Nov 2026").wait_for()
    assert airflow.page.get_by_text("settled by ada, \N{EN DASH}").is_visible()


CLEARED = "The task is cleared, with what follows it,"


@pytest.mark.parametrize(
    ("unknown", "row", "choice", "promise"),
    [
        (
            3,
            1,
            "Everybody: arrived",
            f"Nobody who got this message gets it again. {CLEARED} and sends to all who are left.",
        ),
        (
            3,
            1,
            "Everybody: did not arrive",
            f"3 messages are sent again. {CLEARED} and also sends to all who are left.",
        ),
        (1, None, "+25078****101: arrived", f"The message is not sent again. {CLEARED} so the run goes on."),
        (1, None, "+25078****101: did not arrive", f"1 message is sent again. {CLEARED} so the run goes on."),
    ],
)
def test_the_page_promises_what_its_clear_does(airflow, unknown, row, choice, promise):
    """A bulk send that stopped continues with those who are left. What follows it may text, too."""
    lost = {**TASK, **COUNTS, "unknown": unknown, "can_settle": True, "time": "2026-11-30T10:00:00+00:00"}
    airflow.show(unknown=[lost], unknown_count=1)
    listed = people("+25078****101")
    listed["people"][0] |= {"row": row, "key": "pindo_sms" if row is None else "pindo_bulk_00001"}
    airflow.request("people").fulfill(json=listed)
    airflow.page.get_by_label(choice).click()
    airflow.page.get_by_text(promise, exact=True).wait_for()


def test_a_task_of_which_more_is_unknown_is_not_cleared(airflow):
    lost = {**TASK, **COUNTS, "unknown": 3, "can_settle": True, "time": "2026-11-30T10:00:00+00:00"}
    airflow.show(unknown=[lost], unknown_count=1)
    airflow.request("people").fulfill(json={**people("+25078****101"), "next": None})
    airflow.page.get_by_label("Everybody: did not arrive").click()
    airflow.page.get_by_role("button", name="Settle and clear").click()
    settled = airflow.request("settle")
    assert settled.request.post_data_json["seen"] == lost["time"]
    settled.fulfill(json={"arrived": 0, "not_arrived": 2, "unknown": 1})
    airflow.request("overview").fulfill(json=DATA)  # and no request that clears the task
    airflow.page.get_by_text("Settled 2 messages. 1 message still needs a person.").wait_for()


def test_whoever_settles_the_last_message_clears_the_task(airflow):
    """Somebody else has settled the others since this person opened the page."""
    lost = {**TASK, **COUNTS, "unknown": 3, "can_settle": True, "time": "2026-11-30T10:00:00+00:00"}
    airflow.show(unknown=[lost], unknown_count=1)
    airflow.request("people").fulfill(json=people("+25078****101"))
    airflow.page.get_by_label("+25078****101: arrived").click()
    airflow.page.get_by_role("button", name="Settle 1 of 3").click()
    airflow.request("settle").fulfill(json={"arrived": 1, "not_arrived": 0, "unknown": 0})
    airflow.request("v2/dags/reminders/clearTaskInstances").fulfill(json={"task_instances": []})
    airflow.request("overview").fulfill(json=DATA)
    airflow.page.get_by_text("Settled and cleared. The run goes on.").wait_for()


def test_a_clear_that_failed_is_repeated_alone(airflow):
    lost = {**TASK, **COUNTS, "unknown": 1, "can_settle": True, "time": "2026-11-30T10:00:00+00:00"}
    airflow.show(unknown=[lost], unknown_count=1)
    airflow.request("people").fulfill(json=people("+25078****101"))
    airflow.page.get_by_label("+25078****101: arrived").click()
    airflow.page.get_by_role("button", name="Settle and clear").click()
    airflow.request("settle").fulfill(json={"arrived": 1, "not_arrived": 0, "unknown": 0})
    for _ in range(2):
        airflow.request("v2/dags/reminders/clearTaskInstances").fulfill(status=503)
        problem = "The messages are settled, but the task is not cleared: Airflow returned 503."
        airflow.page.get_by_text(problem).wait_for()
        airflow.page.get_by_role("button", name="Try again").click()
    airflow.request("v2/dags/reminders/clearTaskInstances").fulfill(json={"task_instances": []})
    airflow.request("overview").fulfill(json=DATA)
    airflow.page.get_by_text("Settled and cleared. The run goes on.").wait_for()
