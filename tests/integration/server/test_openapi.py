"""The description of the interface says everything a client needs, and can be read without a network."""

import re
from typing import Any

import pytest

from runyard.protocol.specs import job_spec


@pytest.fixture
def backend() -> str:
    return "sqlite"


async def test_every_route_is_described(api: Any) -> None:
    answer = await api.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    tags = {tag["name"] for tag in document["tags"]}
    names = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert set(operation["tags"]) <= tags, where
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"]), where
            names.add(operation["operationId"])
            for status, response in operation["responses"].items():
                assert "503" in operation["responses"], where
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], f"{where} {status}"
    assert len(names) == sum(len(operations) for operations in document["paths"].values())
    assert {"submit_job", "stream_job_events", "download_model", "upload_dataset", "health"} <= names


async def test_its_examples_are_jobs(api: Any) -> None:
    document = (await api.get("/api/v1/openapi.json")).json()
    content = document["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert len(content["examples"]) == 3
    for example in content["examples"].values():
        job_spec.validate_python(example["value"])
    assert {"SftSpec", "DpoSpec", "ProblemDetails"} <= document["components"]["schemas"].keys()


async def test_there_is_no_page_that_needs_the_web(api: Any) -> None:
    for path in ("/docs", "/redoc"):
        assert (await api.get(path)).status_code == 404
