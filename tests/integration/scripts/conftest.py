"""A yard with a real database and real processes, for scripts."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runyard.db.database import Database
from runyard.domain.placement import Machine
from runyard.executors.local import LocalExecutor
from runyard.testing.yard import Yard


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    """It looks after several jobs at once; scripts can import this package."""
    database = Database(f"sqlite:///{tmp_path / 'runyard.db'}")
    await database.migrate()
    (tmp_path / "runs").mkdir()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    machine = Machine(slots=2)
    yard = Yard(database, tmp_path / "runs", executor=LocalExecutor(environ), machine=machine, grace_seconds=0.5)
    yard.start()
    yield yard
    await yard.clean()
    await database.close()
