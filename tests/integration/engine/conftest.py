from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from runyard.db.database import Database
from runyard.testing.yard import Yard

for name in ("medium", "long"):  # for test_sequences; pytest asks for them before it has seen any test
    settings.register_profile(name)


@pytest.fixture
async def yard(database: Database, tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(database, tmp_path / "runs", grace_seconds=0.3)
    yield yard
    await yard.clean()


@pytest.fixture
async def running(yard: Yard) -> Yard:
    """A yard whose engine runs."""
    yard.start()
    return yard
