from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.testing.live import LiveYard


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[LiveYard]:
    with LiveYard(tmp_path / "home", {"OMP_NUM_THREADS": "1"}) as yard:
        yield yard
