"""A real browser on a real server, and what every test asks of a page: that nothing goes wrong in it unseen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright

from runyard.testing.browser import chromium

WAIT_MILLISECONDS = 30_000
EXPECTED = ("net::ERR_", "Failed to load resource")
"""What the browser itself says of a server that does not answer, or refuses."""


@contextmanager
def launched() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def serious_faults(page: Page) -> list[tuple[str, list[Any]]]:
    """What axe knows to keep somebody from reading the page, with the places."""
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["target"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@contextmanager
def visit(browser: Browser, url: str, *, refusals: bool = False, **options: Any) -> Iterator[Page]:
    """A page of a new visitor; what it says on its console is a fault, but for refusals that are wanted."""
    context = browser.new_context(base_url=url, timezone_id="Europe/Berlin", **options)
    context.set_default_timeout(WAIT_MILLISECONDS)
    page = context.new_page()
    faults: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (refusals and message.text.startswith(EXPECTED)):
            faults.append(f"{page.url}: {message.text}")

    def thrown(error: Error) -> None:
        faults.append(f"{page.url}: {error}")

    page.on("console", heard)
    page.on("pageerror", thrown)
    yield page
    page.unroute_all(behavior="wait")
    context.close()
    assert not faults, faults
