"""A data set in the browser: uploaded, looked at, used."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.e2e.browser import WAIT_MILLISECONDS, serious_faults, visit

from runyard.testing.live import LiveYard

pytestmark = pytest.mark.xdist_group("page")
expect.set_options(timeout=WAIT_MILLISECONDS)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveYard]:
    with LiveYard(tmp_path_factory.mktemp("data") / "home") as yard:
        yield yard


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_how_long_its_rows_are_and_what_is_wrong_with_it(
    browser: Browser, yard: LiveYard, tmp_path: Path, theme: Any
) -> None:
    rows = [{"prompt": "ab", "completion": "c" * (number + 8)} for number in range(100)]
    rows.insert(5, {"prompt": "ab", "completion": ""})
    file = tmp_path / f"{theme}-with-a-name-that-is-much-longer-than-a-phone-is-wide-{'x' * 20}.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    with visit(browser, yard.url, color_scheme=theme) as page:
        page.goto("/data")
        page.locator("#upload-file").set_input_files(file)
        expect(page.get_by_role("heading", name=file.name)).to_be_visible()
        lengths = page.locator("section").filter(has=page.get_by_role("heading", name="Lengths"))
        expect(lengths).to_contain_text("Half of the rows have up to 59, 95 % up to 104, the longest 109.")
        told = lengths.get_by_role("listitem").all_text_contents()
        assert sum(int(one.split(": ")[1].split()[0]) for one in told) == 100, "each good row once"
        expect(page.get_by_role("listitem").filter(has_text="line 6")).to_contain_text("is empty")
        for width in (1440, 768, 320):
            page.set_viewport_size({"width": width, "height": 900})
            assert not serious_faults(page), width
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("link", name="Train on it").click()
        newest = yard.client.datasets().items[0].id
        expect(page.locator("#f-data-train")).to_have_value(f"dataset:{newest}")
