"""What does not fit at once: charts that are opened when somebody wants them, and what stays at hand on a phone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.e2e.browser import WAIT_MILLISECONDS, serious_faults, visit

from runyard.testing.live import LiveYard

pytestmark = pytest.mark.xdist_group("page")
expect.set_options(timeout=WAIT_MILLISECONDS)

TELLS_MUCH = """
import runyard
for step in range(1, 11):
    runyard.metric(step, loss=1 / step, learning_rate=0.1, **{f"own_{number}": number * step for number in range(7)})
    runyard.metric(step, split="eval", eval_loss=2 / step)
"""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveYard]:
    with LiveYard(tmp_path_factory.mktemp("folded") / "home") as yard:
        yield yard


@pytest.fixture(scope="module")
def ended(yard: LiveYard, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ids of two runs that told nine values."""
    program: Path = tmp_path_factory.mktemp("programs") / "tells.py"
    program.write_text(TELLS_MUCH)
    spec = {"kind": "script", "file": str(program)}
    ids = [yard.client.submit({**spec, "name": name}).id for name in ("night-a", "night-b")]
    for id_ in ids:
        yard.wait_for_end(id_)
    return ids


def test_six_small_charts_lie_open_and_the_others_are_one_click_away(
    browser: Browser, yard: LiveYard, ended: list[str]
) -> None:
    with visit(browser, yard.url) as page:
        page.goto(f"/jobs/{ended[0]}")
        charts = page.locator("#charts .chart")
        more = page.locator("#charts summary")
        expect(more).to_have_text(re.compile(r"^\d+ more charts$"))
        hidden = int((more.text_content() or "").split()[0])
        expect(charts.filter(visible=True)).to_have_count(7)
        expect(charts).to_have_count(7 + hidden)
        names = page.locator("#charts h3").all_text_contents()
        assert {f"Own {number}" for number in range(7)} < set(names), "whatever was reported has its chart"
        assert names[0] == "Learning rate", "what most look for comes first"
        more.click()
        charts.last.scroll_into_view_if_needed()
        expect(charts.last.locator("canvas")).to_be_visible()
        page.reload()
        expect(charts.filter(visible=True)).to_have_count(7 + hidden)


def test_the_losses_lie_open_side_by_side_with_the_results_below(
    browser: Browser, yard: LiveYard, ended: list[str]
) -> None:
    with visit(browser, yard.url) as page:
        page.goto(f"/compare?jobs={','.join(ended)}")
        expect(page.locator("#charts h3").filter(visible=True)).to_have_text(["Eval loss", "Loss"])
        expect(page.locator("#charts .legend").first.get_by_role("button")).to_have_text(["a 0.200", "b 0.200"])
        page.get_by_text(re.compile(r"^\d+ settings are the same$")).click()
        expect(page.get_by_text("kind", exact=True)).to_be_visible()
        assert not serious_faults(page)


def test_runs_of_one_name_are_told_apart_by_their_ids(browser: Browser, yard: LiveYard) -> None:
    ids = [yard.client.submit({"kind": "script", "name": "twin", "command": "true"}).id for _ in range(2)]
    with visit(browser, yard.url) as page:
        page.goto(f"/compare?jobs={','.join(ids)}")
        heads = page.get_by_role("region", name="Results").get_by_role("columnheader")
        expect(heads).to_have_text(["", *(f"twin {id_[:4]}" for id_ in ids)])


def test_the_plan_and_its_button_stay_at_hand_on_a_phone(browser: Browser, yard: LiveYard) -> None:
    with visit(browser, yard.url, viewport={"width": 360, "height": 700}) as page:
        page.goto("/new?kind=script")
        bar = page.locator("#start-bar")
        expect(page.get_by_text("Can start")).to_be_visible()
        expect(bar).to_be_hidden()
        page.get_by_label("Job file").fill("kind: script\ncomand: echo hello\n")
        expect(bar).to_contain_text("did you mean command?")
        expect(bar.get_by_role("button")).to_have_attribute("aria-disabled", "true")
        page.get_by_label("Job file").fill("kind: script\ncommand: echo hello\n")
        expect(bar).to_contain_text("Starts at once")
        assert not serious_faults(page)
        bar.get_by_role("button", name="Start job").click()
        expect(page).to_have_url(re.compile(r"/jobs/\w{12}$"))
