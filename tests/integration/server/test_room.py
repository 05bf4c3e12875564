"""On a disk that is nearly full nothing is accepted, and the server says so."""

from pathlib import Path
from typing import Any

import pytest

from runyard.server.instance import make_private
from runyard.services.context import Context


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """More must stay free than any disk has."""
    make_private(tmp_path / "home")
    return Context(home=tmp_path / "home", min_free=10**18)


async def test_jobs_and_uploads_are_refused_and_the_system_warns(api: Any) -> None:
    said = "the server's disk is nearly full: 1000000000.0 GB must stay free"
    refused = await api.post("/api/v1/jobs", json={"kind": "sft", "model": "owner/model", "data": "owner/rows"})
    assert (refused.status_code, refused.json()["code"]) == (507, "no_room")
    assert said in refused.json()["detail"]
    assert "RUNYARD_MIN_FREE" in refused.json()["hint"]
    assert (await api.upload("rows.jsonl")).status_code == 507
    warnings = (await api.get("/api/v1/system")).json()["warnings"]
    assert any(warning.startswith("no job is accepted or started: ") and said in warning for warning in warnings)
