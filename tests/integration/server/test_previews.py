"""Rows as a model will see them, told by a real trainer."""

import asyncio
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runyard.domain.access import Owner
from runyard.domain.errors import InvalidError, TooManyRequestsError
from runyard.protocol.specs import job_spec
from runyard.server.deps import Yard
from runyard.services import asides, previews
from runyard.testing.tiny import save_tiny_model

pytestmark = [pytest.mark.llm, pytest.mark.parametrize("backend", ["sqlite"], indirect=True)]
CHAT = [
    {"messages": [{"role": "user", "content": f"say {word}"}, {"role": "assistant", "content": word}]}
    for word in ("apple", "plum", "pear")
]
PAIRS = [{"prompt": "say one", "chosen": "one", "rejected": "two"}]


@pytest.fixture
def tiny(yard: Yard) -> str:
    save_tiny_model(yard.context.models / "tiny")
    return "tiny"


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def ask(api: Any, content: bytes, count: int = 3, **fields: Any) -> Any:
    name = (await api.upload(f"rows {hash(content)}.jsonl", content)).json()["id"]
    spec = {"kind": "sft", "model": "tiny", "data": f"dataset:{name}", **fields}
    return await api.post("/api/v1/previews", json=spec, params={"count": count}, timeout=150)


def trained(example: dict[str, Any]) -> str:
    return "".join(text for text, is_trained in example["pieces"] if is_trained)


async def test_the_first_rows_with_what_is_trained_of_them_and_nothing_is_kept(
    api: Any, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    answer = await ask(api, lines(CHAT), 2)
    assert answer.status_code == 200, answer.text
    assert not os.listdir(place)
    assert (await api.get("/api/v1/jobs")).json()["items"] == []
    found = answer.json()
    assert (found["rows"], found["dropped"], found["sample_rows"]) == (3, 0, 3)
    assert [example["title"] for example in found["examples"]] == ["row 1", "row 2"]
    for example, word in zip(found["examples"], ("apple", "plum"), strict=True):
        assert trained(example) == f"{word}<|end|>"
        assert "".join(text for text, _ in example["pieces"]).startswith(f"<|user|>say {word}<|end|>")
        assert 0 < example["trained_tokens"] < example["tokens"]
    assert 0 < found["trained_share"] < 1


async def test_both_answers_of_a_pair(api: Any, tiny: str) -> None:
    found = (await ask(api, lines(PAIRS), kind="dpo")).json()
    assert [example["title"] for example in found["examples"]] == ["row 1, chosen", "row 1, rejected"]
    assert [trained(example).removesuffix("<|end|>").strip() for example in found["examples"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "fields", "said"),
    [
        (lines([*CHAT, {"messages": "none"}]), {}, '"line":4'),
        (lines(CHAT), {"model": "nosuch"}, "is no model that this server may read"),
        (lines(CHAT), {"data": "dataset:nosuch"}, "nosuch"),
        (lines(CHAT), {"kind": "dpo"}, "dpo"),
        (lines(CHAT), {"data": "owner/rows"}, "fetched by a job alone"),
    ],
)
async def test_what_is_wrong_is_said_without_folders_of_the_server(
    api: Any, tiny: str, yard: Yard, content: bytes, fields: dict[str, Any], said: str
) -> None:
    answer = await ask(api, content, **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert answer.json()["problems"]
    assert str(yard.context.home) not in answer.text


async def test_a_model_without_a_chat_template_is_said(api: Any, tiny: str, yard: Yard) -> None:
    (yard.context.models / "tiny" / "chat_template.jinja").unlink()
    answer = await ask(api, lines(CHAT))
    assert answer.status_code == 422
    assert "chat template" in answer.text
    assert str(yard.context.home) not in answer.text


async def test_a_script_has_no_rows_to_show_and_code_of_a_model_is_not_run(api: Any, yard: Yard) -> None:
    script = await api.post("/api/v1/previews", json={"kind": "script", "command": ["true"]})
    assert script.status_code == 422
    assert "reads its own data" in script.text
    object.__setattr__(yard.context, "trusted_models", ("owner/model",))
    own_code = await ask(api, lines(CHAT), model={"name": "owner/model", "trust_remote_code": True})
    assert own_code.status_code == 422
    assert "run by a job alone" in own_code.text


class Slow:
    """A trainer that takes as long as we like."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.environments: list[dict[str, str]] = []

    async def run(self, *_: Any, environ: dict[str, str], **__: Any) -> asides.Ended:
        self.environments.append(environ)
        await self.go_on.wait()
        return asides.Ended(2, b'{"problems": [{"message": "slow"}]}', b"")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(asides, "run", slow.run)
    return slow


def resolved(path: Path) -> Any:
    return job_spec.validate_python({"kind": "sft", "model": "tiny", "data": str(path)})


async def test_so_many_wait_for_it_and_no_more_and_few_of_one_user(slow: Slow, yard: Yard) -> None:
    shown, spec = previews.Previews(yard.context), resolved(yard.context.home / "rows.jsonl")
    users = [f"user {number // previews.MOST_OF_ONE}" for number in range(previews.MOST_ASKING)]
    asking = [asyncio.create_task(shown.of(spec, spec, 1, Owner(user, "main"))) for user in users[:3]]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequestsError):
        await shown.of(spec, spec, 1, Owner("user 0", "main"))
    asking += [asyncio.create_task(shown.of(spec, spec, 1, Owner(user, "main"))) for user in users[3:]]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequestsError):
        await shown.of(spec, spec, 1, Owner("somebody else", "main"))
    assert len(slow.environments) == 1, "one at a time"
    slow.go_on.set()
    assert [type(one) for one in await asyncio.gather(*asking, return_exceptions=True)] == [InvalidError] * len(users)
    with pytest.raises(InvalidError):
        await shown.of(spec, spec, 1, Owner("user 0", "main"))


async def test_the_servers_login_to_the_hub_is_the_first_tenants_alone(slow: Slow, yard: Yard) -> None:
    """And where tenants have system users of their own, nobody's data are read as the server's."""
    shown, spec = previews.Previews(yard.context), resolved(yard.context.home / "rows.jsonl")
    slow.go_on.set()
    for tenant in ("main", "other"):
        with pytest.raises(InvalidError, match="can't be shown"):
            await shown.of(spec, spec, 1, Owner("max", tenant))
    assert [one.get("HF_TOKEN_PATH") for one in slow.environments] == [None, os.devnull]
    apart = previews.Previews(replace(yard.context, trainer_environment=None))
    with pytest.raises(InvalidError) as refused:
        await apart.of(spec, spec, 1, Owner("max", "main"))
    assert "system user" in refused.value.problems[0].message
    assert len(slow.environments) == 2


async def test_one_that_takes_too_long_is_given_up(yard: Yard) -> None:
    """To load what a trainer needs alone takes longer."""
    hasty = previews.Previews(replace(yard.context, preview_seconds=0.05))
    spec = resolved(yard.context.home / "rows.jsonl")
    with pytest.raises(InvalidError) as refused:
        await hasty.of(spec, spec, 1, Owner("max", "main"))
    assert "RUNYARD_PREVIEW_SECONDS" in refused.value.problems[0].message
