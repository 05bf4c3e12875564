"""What is done at once can be taken back for ten seconds, on the page where it was done or on the one that it opens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.e2e.browser import WAIT_MILLISECONDS, serious_faults, visit

from runyard.testing.live import LiveYard

pytestmark = pytest.mark.xdist_group("page")
expect.set_options(timeout=WAIT_MILLISECONDS)

SAVES_LONG = """
import os, signal, sys, time

def save(*_):
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
    sys.exit(75)

signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(600)
"""
WAITS = {"kind": "script", "command": "sleep 600"}


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveYard]:
    """One place, and it is taken."""
    home = tmp_path_factory.mktemp("line") / "home"
    with LiveYard(home, {"RUNYARD_SLOTS": "1"}) as yard:
        running = yard.client.submit({**WAITS, "name": "in the way"}).id
        yard.wait_for(lambda: yard.client.job(running).state == "running", "the job that takes the place")
        yield yard
        yard.client.cancel(running)


@pytest.fixture
def line(yard: LiveYard) -> Iterator[list[str]]:
    """Ids of three that wait, in this order."""
    ids = [yard.client.submit({**WAITS, "name": name}).id for name in ("plum", "pear", "quince")]
    yield ids
    for id_ in ids:
        yard.client.cancel(id_)


def standing(yard: LiveYard, id_: str) -> tuple[Any, ...]:
    job = yard.client.job(id_)
    return job.state, job.priority, job.queue_position


def test_a_priority_is_changed_from_the_row_and_taken_back(browser: Browser, yard: LiveYard, line: list[str]) -> None:
    with visit(browser, yard.url) as page:
        page.goto("/")
        places = page.locator(".waits .name")
        expect(places).to_have_text(["plum", "pear", "quince"])
        page.get_by_role("link", name="quince").focus()
        page.keyboard.press("m")
        menu = page.get_by_role("dialog", name="quince")
        expect(menu.get_by_role("listitem").filter(has_text="High")).to_contain_text("passes plum, pear")
        expect(menu.get_by_role("listitem").filter(has_text="Low")).to_contain_text("nobody passes it")
        assert not serious_faults(page)
        menu.get_by_role("button", name="High").click()
        expect(places).to_have_text(["quince", "plum", "pear"])
        expect(menu).to_be_hidden()
        assert standing(yard, line[2]) == ("queued", "high", 1)
        page.get_by_role("button", name="Undo").click()
        expect(places).to_have_text(["plum", "pear", "quince"])
        assert standing(yard, line[2]) == ("queued", "normal", 3)


def test_a_job_that_is_held_and_let_go_again_keeps_its_place(browser: Browser, yard: LiveYard, line: list[str]) -> None:
    with visit(browser, yard.url) as page:
        page.goto("/jobs")
        page.locator(f"#job-{line[0]} [data-part]").click()
        menu = page.get_by_role("dialog", name="plum")
        expect(menu.get_by_role("listitem").filter(has_text="Hold")).to_contain_text("pear, quince pass it")
        menu.get_by_role("button", name="Hold").click()
        state = page.locator(f"#job-{line[0]} .state")
        expect(state).to_have_text("Paused")
        assert standing(yard, line[1]) == ("queued", "normal", 1)
        page.get_by_role("button", name="Undo").click()
        expect(state).to_have_text("Waiting")
        assert standing(yard, line[0]) == ("queued", "normal", 1)


def test_who_cancels_is_told_who_goes_next(browser: Browser, yard: LiveYard, line: list[str]) -> None:
    holder = yard.client.jobs(state=["running"]).items[0].id
    with visit(browser, yard.url) as page:
        page.goto(f"/jobs/{holder}")
        page.get_by_role("button", name="Cancel…").first.click()
        dialog = page.get_by_role("dialog", name="Cancel in the way?")
        expect(dialog).to_contain_text("plum is next in line.")
        page.keyboard.press("Escape")
        yard.client.cancel(line[0])
        page.get_by_role("button", name="Cancel…").first.click()
        expect(dialog).to_contain_text("pear is next in line.")
        page.goto(f"/jobs/{line[1]}")
        page.get_by_role("button", name="Cancel…").first.click()
        expect(page.get_by_role("dialog")).not_to_contain_text("next in line")


def test_a_pause_is_taken_back_on_the_page_of_the_job(browser: Browser, yard: LiveYard, line: list[str]) -> None:
    with visit(browser, yard.url) as page:
        page.goto(f"/jobs/{line[0]}")
        state = page.locator(".state.filled").first
        page.get_by_role("button", name="Pause").click()
        expect(state).to_have_text("Paused")
        page.get_by_role("button", name="Undo").click()
        expect(state).to_have_text("Waiting")
        expect(page.get_by_role("alert")).to_have_count(0)
        page.keyboard.press("p")
        expect(state).to_have_text("Paused")
        expect(page.get_by_role("alert")).to_have_count(0, timeout=15_000)


def test_a_pause_is_taken_back_while_the_checkpoint_is_still_written(browser: Browser, tmp_path: Path) -> None:
    program, gate = tmp_path / "saves.py", tmp_path / "saved"
    program.write_text(SAVES_LONG)
    with LiveYard(tmp_path / "home") as yard, visit(browser, yard.url) as page:
        spec = {"kind": "script", "name": "saves long", "file": str(program), "args": [str(gate)], "resumable": True}
        job_id = yard.client.submit(spec).id
        page.goto(f"/jobs/{job_id}")
        state, says = page.locator(".state.filled").first, page.locator("p.says")
        expect(page.locator("#log")).to_contain_text("ready")
        page.get_by_role("button", name="Pause").click()
        expect(state).to_have_text("Pausing")
        page.get_by_role("button", name="Undo").click()
        expect(says).to_contain_text("It then goes on by itself")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        gate.touch()
        expect(state).to_have_text("Running")
        yard.wait_for(lambda: yard.client.job(job_id).attempts == 2, "the second attempt")
        yard.client.cancel(job_id)


def test_a_retry_is_cancelled_from_where_it_was_asked_for(browser: Browser, yard: LiveYard, line: list[str]) -> None:
    yard.client.cancel(line[1])
    with visit(browser, yard.url) as page:
        page.goto(f"/jobs/{line[1]}")
        state = page.locator(".state.filled").first
        page.get_by_role("button", name="Retry").click()
        expect(state).to_have_text("Waiting")
        page.get_by_role("button", name="Cancel it").click()
        expect(state).to_have_text("Cancelled")


def test_a_menu_is_of_the_job_as_it_is_by_then(browser: Browser, yard: LiveYard, line: list[str]) -> None:
    """Another has cancelled it meanwhile; and the focus returns to the row."""
    with visit(browser, yard.url) as page:
        page.goto("/jobs")
        yard.client.cancel(line[0])
        more = page.get_by_role("button", name="More of plum").first
        more.click()
        menu = page.get_by_role("dialog", name="plum")
        expect(menu.get_by_role("button", name="Retry")).to_be_visible()
        expect(menu.get_by_role("button", name="Hold")).to_have_count(0)
        menu.get_by_role("button", name="Close").click()
        expect(more).to_be_focused()


def test_rows_stay_where_they_are_under_a_hand(browser: Browser, yard: LiveYard, line: list[str]) -> None:
    with visit(browser, yard.url) as page:
        page.goto("/jobs?state=queued")
        names = page.locator("#job-rows a.name")
        expect(names).to_have_text(["quince", "pear", "plum"])
        names.filter(has_text="pear").hover()
        added = yard.client.submit({**WAITS, "name": "medlar"}).id
        note = page.get_by_role("button", name="1 new job")
        expect(note).to_be_visible()
        expect(names).to_have_text(["quince", "pear", "plum"])
        note.click()
        expect(names).to_have_text(["medlar", "quince", "pear", "plum"])
        expect(note).to_have_count(0)
        yard.client.cancel(added)
        expect(names, "nobody is pointing at them now").to_have_text(["quince", "pear", "plum"])

        page.goto("/")
        places = page.locator(".waits .name")
        first = places.filter(has_text="plum")
        first.focus()
        yard.client.change_job(line[2], priority="high")
        expect(page.locator("#waiting-rows").get_by_text("high", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="order changed")).to_be_visible()
        expect(places).to_have_text(["plum", "pear", "quince"])
        first.blur()
        yard.client.change_job(line[1], priority="urgent")
        expect(places).to_have_text(["pear", "quince", "plum"])
        expect(page.get_by_role("button", name="order changed")).to_have_count(0)


def test_a_job_that_has_ended_is_seen_where_it_ran_for_a_moment(browser: Browser, yard: LiveYard) -> None:
    gate = yard.home / "ends"
    with visit(browser, yard.url) as page:
        page.goto("/")
        blocking = next(job for job in yard.client.jobs(state=["running"]).items)
        short = yard.client.submit({"kind": "script", "command": f"until test -e {gate}; do sleep 0.05; done"}).id
        yard.client.cancel(blocking.id)
        row = page.locator(f"#running-{short}")
        expect(row).to_be_visible()
        gate.touch()
        expect(row).to_contain_text("completed")
        expect(row).to_have_count(0)
