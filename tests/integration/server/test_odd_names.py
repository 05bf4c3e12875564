"""Names that no database can look up, or one alone can: an answer, on both, and never a fault."""

from typing import Any

import pytest
from tests.integration.server.people import People, settle

from runyard.server.deps import Yard

PATHS = ["users/{}", "jobs/{}", "keys/{}", "tenants/{}", "schedules/{}", "datasets/{}", "artifacts/{}/content"]
PATHS += ["audit?user={}", "quotas?user={}", "jobs?name={}", "jobs?cursor={}", "audit?cursor={}", "nothing/{}"]
BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "session", {"name": "a\0b", "password": "x"}),
    ("POST", "session", {"name": "max", "password": "a\0b"}),
    ("POST", "users", {"name": "a\0b"}),
    ("POST", "users", {"name": "new", "subject": "a\0b"}),
    ("POST", "users", {"name": "new", "tenant": "a\0b"}),
    ("PATCH", "users/max", {"subject": "a\0b"}),
    ("POST", "tenants", {"name": "a\0b"}),
    ("POST", "keys", {"name": "a\0b"}),
    ("PUT", "quotas", {"of": "user a\0b", "amounts": {"gpus": 1}}),
    ("PUT", "quotas", {"of": "tenant", "tenant": "a\0b", "amounts": {"gpus": 1}}),
    ("PUT", "quotas", {"of": "tenant", "tenant": "nowhere", "amounts": {"gpus": 1}}),
    ("PUT", "secrets/TOKEN", {"value": "abcdef\0ghi"}),
    ("POST", "schedules", {"spec": {"kind": "sft", "model": "a/b", "data": "a/c"}, "cron": "@daily", "name": "a\0b"}),
]


@pytest.fixture
async def people(api: Any, yard: Yard) -> People:
    return await settle(yard)


@pytest.mark.parametrize("odd", ["a%00b", "%ed%a0%80", "%ff", "%f0%9f%92%a9", "a" * 3000])
async def test_in_an_address(api: Any, people: People, odd: str) -> None:
    for who in ("operator", "nobody"):
        for path in PATHS:
            answer = await api.get(f"/api/v1/{path.format(odd)}", headers=people.headers(who))
            assert answer.status_code < 500, (who, path)


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=[f"{path} {body}" for _, path, body in BODIES])
async def test_in_a_body(api: Any, people: People, method: str, path: str, body: dict[str, Any]) -> None:
    answer = await api.request(method, f"/api/v1/{path}", json=body, headers=people.headers("operator"))
    assert 400 <= answer.status_code < 500, answer.text
