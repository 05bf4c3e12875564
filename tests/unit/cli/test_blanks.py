"""The job file that `init` prints is the spec, in words; so is the schema for editors."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runyard.cli import blanks, editors
from runyard.domain import yamlfile
from runyard.protocol.specs import SPEC_CLASSES
from runyard.sdk import jobfile

KINDS = sorted(SPEC_CLASSES)
NOWHERE = Path("/nowhere")


def defaults(kind: str) -> dict[str, Any]:
    required = {"file": "/a/b.py"} if kind == "script" else {"model": "a/b", "data": "c/d"}
    return SPEC_CLASSES[kind].model_validate({"kind": kind, **required}).model_dump()


def printed(kind: str) -> str:
    return blanks.job_file(kind, model="a/b", data="c/d", file="/a/b.py")


@pytest.mark.parametrize("kind", KINDS)
def test_as_printed_it_means_the_defaults(kind: str) -> None:
    spec = jobfile.parse(printed(kind), NOWHERE)
    assert spec.model_dump() == defaults(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_stands_there_with_its_default(kind: str) -> None:
    text = printed(kind)
    uncommented = re.sub(r"(?m)^( *)# (\w+: )", r"\1\2", text)
    assert yamlfile.parse(uncommented).value == defaults(kind)
    assert jobfile.parse(uncommented, NOWHERE).model_dump() == defaults(kind)


def test_a_name_with_signs_is_quoted() -> None:
    spec = jobfile.parse(blanks.job_file("sft", model="a/b", data="dataset:abc"), NOWHERE)
    assert spec.data.train == "dataset:abc"


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_knows_every_field_of_the_job_file(kind: str) -> None:
    schema = json.loads(editors.schema())
    definition = resolve(schema, schema["discriminator"]["mapping"][kind])
    for section, value in defaults(kind).items():
        known = definition["properties"][section]
        reference = (known.get("anyOf") or [known])[0].get("$ref")
        if isinstance(value, dict) and reference:
            full = resolve(schema, reference)
            assert set(value) == set(full["properties"])
            assert full["additionalProperties"] is False
    assert definition["required"] == (["kind"] if kind == "script" else ["kind", "model", "data"])


def test_the_schema_allows_the_short_forms() -> None:
    schema = json.loads(editors.schema())
    for section in ("model", "data", "adapter"):
        assert {"type": "string"} in schema["$defs"]["SftSpec"]["properties"][section]["anyOf"]


def resolve(schema: dict[str, Any], reference: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][reference.removeprefix("#/$defs/")]
    return found
