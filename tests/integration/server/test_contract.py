"""The API as its OpenAPI document describes it: requests by the hundred, none of which makes it stumble.

`pytest tests/integration/server/test_contract.py --long` plays more than 20,000 on each database.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runyard.testing.live import LiveYard

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance"
)
ENDLESS = ("stream_events", "stream_job_events")
SHORT, LONG = ("fuzzing", 3), ("examples,coverage,fuzzing,stateful", 150)
NOWHERE = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#nobody"
PASSWORD = "correct horse battery"
UNHURRIED = {"RUNYARD_REQUESTS_PER_SECOND": "0", "RUNYARD_MAX_WAITING": "100000"}


@pytest.fixture
def yard(database_url: str, tmp_path: Path) -> Iterator[LiveYard]:
    with LiveYard(tmp_path / "home", UNHURRIED | {"RUNYARD_DATABASE_URL": database_url}) as yard:
        yield yard


@pytest.fixture
def key(yard: LiveYard) -> str:
    """Of an operator; there is something of everything that a path can name."""
    known: dict[str, str] = {"name": "mia", "step": "5"}
    with httpx.Client(base_url=f"{yard.url}/api/v1", timeout=60) as client:
        for name, path, body in (
            ("job_id", "/jobs", {"kind": "script", "command": ["true"]}),
            (
                "schedule",
                "/schedules",
                {"spec": {"kind": "script", "command": ["true"]}, "cron": "0 2 * * *", "name": "mia"},
            ),
            (
                "template",
                "/templates",
                {"spec": {"kind": "script", "command": ["${PROGRAM:-true}"]}, "name": "mia"},
            ),
            ("channel", "/channels", {"name": "mia", "kind": "apprise", "url": NOWHERE}),
            ("delivery_id", "/channels/mia/test", None),
            ("mia", "/users", {"name": "mia", "password": PASSWORD}),
        ):
            answer = client.post(path, json=body)
            assert answer.is_success, answer.text
            known[name] = answer.json().get("id", name)
            if name == "job_id":
                upload = client.post("/datasets", files={"file": ("rows.jsonl", b'{"text": "a row"}\n')})
                known["dataset_id"] = upload.json()["id"]
                made = client.post(
                    "/users", json={"name": "first", "role": "admin", "operator": True, "password": PASSWORD}
                )
                assert made.status_code == 201, made.text
                word = client.post("/session", json={"name": "first", "password": PASSWORD}).json()["csrf_token"]
                client.headers["X-CSRF-Token"] = word
        found = client.post("/keys", json={"name": "contract", "scope": "admin"}).json()
        other = client.post("/keys", json={"name": "to be revoked", "scope": "read"}).json()
    known["key_id"] = other["id"]
    (yard.home / "known.json").write_text(json.dumps(known))
    return str(found["key"])


@pytest.mark.parametrize("who", ["nobody", "operator"])
def test_every_answer_is_as_described(
    yard: LiveYard, key: str, who: str, backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    phases, examples = LONG if request.config.getoption("--long") else SHORT
    headers = {"Authorization": f"Bearer {key}"}
    document = tmp_path / "openapi.json"
    document.write_bytes(httpx.get(f"{yard.url}/api/v1/openapi.json", headers=headers, timeout=60).content)
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", yard.url, "--checks", CHECKS]
    command += ["--phases", phases, "--max-examples", str(examples), "--continue-on-failure", "--no-color"]
    command += ["--request-timeout", "30", "--warnings", "off"]
    for name in ENDLESS:
        command += ["--exclude-operation-id", name]
    if who != "nobody":
        command += ["--header", f"Authorization: {headers['Authorization']}"]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": str(Path(__file__).with_name("contract_hooks.py")),
        "CONTRACT_KNOWN": str(yard.home / "known.json"),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    played = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert played.returncode == 0, played.stdout[-8000:] + played.stderr[-2000:]
    found = re.search(r"(\d+) generated", played.stdout)
    assert found is not None, played.stdout[-2000:]
    print(f"{who} on {backend}: {found[1]} test cases")  # noqa: T201 - what the long form is asked for
    assert int(found[1]) > 100
    assert "Traceback" not in yard.tail()
