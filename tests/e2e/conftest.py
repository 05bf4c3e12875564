from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.e2e.browser import launched

from runyard.testing.live import LiveYard


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[LiveYard]:
    with LiveYard(tmp_path / "home", {"OMP_NUM_THREADS": "1"}) as yard:
        yield yard
