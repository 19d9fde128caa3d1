"""The Pindo page in a browser: how tests open it, read it, and check what everybody needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from demo.reminders import DAG_ID

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Locator, Page

PHONE_WIDTH = {"width": 390, "height": 844}


def run_path(run_id: str, dag_id: str = DAG_ID) -> str:
    """Return the path of a run in Airflow's UI."""
    return f"/dags/{dag_id}/runs/{quote(run_id)}"


def run_tab(run_id: str, dag_id: str = DAG_ID) -> str:
    """Return the path of a run's tab."""
    return f"{run_path(run_id, dag_id)}/plugin/pindo-run"


def task_tab(run_id: str, task_id: str, dag_id: str = DAG_ID) -> str:
    """Return the path of a task's tab."""
    return f"{run_path(run_id, dag_id)}/tasks/{task_id}/plugin/pindo-task"


def open_pindo(page: Page, url: str, path: str = "/plugin/pindo") -> FrameLocator:
    """Open the page, or one of its tabs, and wait until it has loaded.

    :param url: Airflow's address.
    """
    page.goto(f"{url}{path}")
    frame = frame_of(page)
    frame.locator("main:not([aria-busy])").wait_for()
    return frame


def frame_of(page: Page) -> FrameLocator:
    """Return the frame that has Pindo's page."""
    return page.frame_locator("iframe[title=Pindo]")


def tile(frame: FrameLocator, label: str) -> str:
    """Return the number of a tile."""
    return frame.locator(".tile", has=frame.get_by_text(label, exact=True)).locator("dd").first.inner_text()


def cells(table: Locator) -> list[list[str]]:
    """Return the cells of a table without its head."""
    return [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]


def assert_everybody_can_use(page: Page) -> None:
    """No part of the frame is too wide, and axe-core finds nothing that keeps people from using it."""
    from axe_playwright_python.sync_playwright import Axe

    wide = "nodes => nodes.filter((node) => node.scrollWidth > node.clientWidth).length"
    is_phone = page.viewport_size == PHONE_WIDTH  # there, tables become cards
    assert frame_of(page).locator("html, .scroll" if is_phone else "html").evaluate_all(wide) == 0
    (frame,) = (frame for frame in page.frames[1:] if "/pindo/ui/" in frame.url)
    found = Axe().run(frame).response["violations"]
    violations = [f"{each['id']}: {[node['html'] for node in each['nodes']][:3]}" for each in found]
    assert not violations, violations


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until ``target`` has the focus, as somebody without a mouse does."""
    for _ in range(150):
        if target.evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {target}")


def spellings(number: str) -> re.Pattern[str]:
    """Return what finds a number however it is written: with blanks, as part of an address, without its country.

    :param number: E.164 of Rwanda.
    """
    between = r"(?:[\s.()/+-]|%20|%2B)*"
    return re.compile(between.join(number.removeprefix("+250")))
