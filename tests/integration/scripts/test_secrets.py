"""A secret is given when a trainer is started, to it alone, and what it tells of it is covered."""

import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from runyard.db.database import Database
from runyard.db.queries import checkpoints
from runyard.db.tables import Tenant
from runyard.domain.access import LOCAL, Caller, Role
from runyard.engine.engine import Engine
from runyard.executors.local import LocalExecutor
from runyard.services import secrets
from runyard.testing.yard import Yard, appears

OWN = "the-servers-own-token"
SEE = "import json, os\njson.dump(dict(os.environ), open(os.environ['RUNYARD_RUN_DIR'] + '/seen', 'w'))\n"
OTHER = Caller("otto", "other", role=Role.ADMIN)
TELL = """
import os, sys, time, json
from pathlib import Path
from urllib.parse import quote
from runyard.protocol.emitter import Emitter
from runyard.protocol.rundir import RunDir
value, root = os.environ["TOKEN"], Path(os.environ["RUNYARD_RUN_DIR"])
with Emitter(RunDir(root), int(os.environ["RUNYARD_ATTEMPT"]), time.time) as emitter:
    emitter.phase("training")
"""


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    database = Database(f"sqlite:///{tmp_path / 'runyard.db'}")
    await database.migrate()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_TOKEN": OWN}
    yard = Yard(database, tmp_path / "runs", executor=LocalExecutor(environ), grace_seconds=0.5, hub_token=OWN)
    async with database.write() as session:
        session.add(Tenant(name="other", scripts=True, created_at=0))
    yard.start()
    yield yard
    await yard.clean()
    await database.close()


async def put(yard: Yard, name: str, value: str, caller: Caller = LOCAL) -> None:
    async with yard.database.write(tenant=caller.tenant) as session:
        await secrets.set_(session, caller, name, value, yard.context.limits, 0)


async def remove(yard: Yard, name: str) -> None:
    async with yard.database.write() as session:
        await secrets.remove(session, LOCAL, name)


def seen(yard: Yard, id_: str = "job") -> dict[str, str]:
    found: dict[str, str] = json.loads((yard.run(id_) / "seen").read_text())
    return found


async def test_the_value_of_its_tenant_is_in_its_environment(yard: Yard) -> None:
    value = 'odd "\\ ü\nsecond line\n'
    await put(yard, "MINE", value)
    await put(yard, "MINE", "that of the other tenant", OTHER)
    await yard.submit_script("job", SEE, env={"TOKEN": "secret:MINE", "PLAIN": "secretly:MINE"})
    await yard.reaches("job", "completed")
    assert (seen(yard)["TOKEN"], seen(yard)["PLAIN"]) == (value, "secretly:MINE")


async def test_each_attempt_gets_what_the_secret_is_by_then(yard: Yard) -> None:
    """Attempt 2 by a retry, and by another engine than the one that started attempt 1."""
    await put(yard, "MINE", "first-value")
    code = SEE + (
        "import time\nroot, attempt = os.environ['RUNYARD_RUN_DIR'], os.environ['RUNYARD_ATTEMPT']\n"
        "print(os.environ['TOKEN'], flush=True)\n"
        "open(f'{root}/began{attempt}', 'w')\n"
        "while not os.path.exists(f'{root}/go{attempt}'): time.sleep(0.01)\n"
        "raise SystemExit(0 if attempt == '2' else f'failed with {os.environ[\"TOKEN\"]}')"
    )
    await yard.submit_script("job", code, limits={"retries": 1}, env={"TOKEN": "secret:MINE"})
    await appears(yard.run("job") / "began1")
    await yard.restart()
    await put(yard, "MINE", "second-value")
    (yard.run("job") / "go1").touch()
    await appears(yard.run("job") / "began2")
    assert seen(yard)["TOKEN"] == "second-value"
    (yard.run("job") / "go2").touch()
    await yard.reaches("job", "completed")
    [first, _] = await yard.attempts("job")
    assert first.message == "the trainer ended with code 1: failed with ***********"
    mask = secrets.mask(yard.context.limits.rundir("job"), yard.context.limits)
    assert mask.hide_text("first-value second-value") == "*********** ************"


async def test_one_that_was_placed_before_the_server_was_killed_gets_it(yard: Yard) -> None:
    """The launch is made anew: what it needs is looked up again."""
    await put(yard, "MINE", "hunter2hunter2")
    await yard.stop()
    yard.context = replace(yard.context, token="", executor=LocalExecutor({}))
    yard.engine = Engine(yard.context)
    await yard.submit_script("job", SEE, env={"TOKEN": "secret:MINE"})
    yard.start()
    await yard.reaches("job", "completed")
    assert seen(yard)["TOKEN"] == "hunter2hunter2"


async def test_one_that_was_removed_meanwhile_fails_the_attempt_and_says_so(yard: Yard) -> None:
    await put(yard, "MINE", "hunter2hunter2")
    await remove(yard, "MINE")
    await yard.submit_script("job", SEE, env={"TOKEN": "secret:MINE"})
    job = await yard.reaches("job", "failed")
    assert job.reason == "not_started"
    assert job.message is not None
    assert "env.TOKEN names the secret MINE, which is not there any more" in job.message
    assert "`runyard secrets set MINE`" in job.message
    assert not (yard.run("job") / "seen").exists()


async def test_with_another_key_file_the_attempt_fails_and_says_so(yard: Yard) -> None:
    await put(yard, "MINE", "hunter2hunter2")
    await yard.restart(limits=replace(yard.context.limits, private_key=bytes(32)))
    await yard.submit_script("job", SEE, env={"TOKEN": "secret:MINE"})
    job = await yard.reaches("job", "failed")
    assert job.message is not None
    assert "another key than that in secret.key" in job.message


async def test_the_servers_own_token_is_for_the_first_tenant(yard: Yard) -> None:
    await yard.submit_script("ours", SEE)
    await yard.reaches("ours", "completed")
    assert seen(yard, "ours")["HF_TOKEN"] == OWN
    values = {"kind": "script", "resolved_spec": (await yard.job("ours")).resolved_spec}
    await yard.submit("other", tenant="other", user="otto", **values)
    await yard.reaches("other", "completed")
    assert "HF_TOKEN" not in seen(yard, "other")
    assert (seen(yard, "other")["HF_TOKEN_PATH"], seen(yard, "ours").get("HF_TOKEN_PATH")) == (os.devnull, None)


@pytest.mark.parametrize(("caller", "given"), [(LOCAL, "our-own-token"), (OTHER, "our-own-token"), (None, None)])
async def test_a_language_job_gets_its_tenants_token_of_the_hub(
    yard: Yard, caller: Caller | None, given: str | None
) -> None:
    if caller:
        await put(yard, "HF_TOKEN", "our-own-token", caller)
    tenant = (caller or OTHER).tenant
    code = "json.dump(os.environ.get('HF_TOKEN'), open('seen', 'w'))\nsay('finished', outcome='completed')"
    await yard.submit("job", code, tenant=tenant)
    await yard.reaches("job", "completed")
    assert json.loads((yard.run("job") / "seen").read_text()) == given


async def test_a_script_gets_no_secret_that_it_does_not_name(yard: Yard) -> None:
    await put(yard, "HF_TOKEN", "our-own-token", LOCAL)
    await yard.submit_script("job", SEE, env={"HF_TOKEN": "its own"})
    await yard.reaches("job", "completed")
    assert seen(yard)["HF_TOKEN"] == "its own"


REPORT = (
    TELL
    + """
    emitter.metric(123456, {value: 1.5, "loss": 2.5})
    emitter.message(f"it is {value}!", note=[{value: json.dumps(value)}])
    emitter.checkpoint(1, f"checkpoints/{quote(value)}", 5, {value: 1.0}, best=False, files={value: value})
    emitter.finished("failed", "bad_data", f"wrong: {value}")
print(value, file=sys.stderr)
with (root / "events.jsonl").open("a") as events:
    events.write(json.dumps({"n": 99, "at": 1, "attempt": 1, "type": "phase", "phase": value * 3}) + "\\n")
    events.write(f"no event {value!r}\\n")
sys.exit(1)
"""
)


@pytest.mark.parametrize("value", ["hf_hunter2hunter2", 'odd "\\ ü hunter2\nsecond line\n'])
async def test_what_it_reports_is_covered_as_it_comes_in(yard: Yard, value: str) -> None:
    await put(yard, "MINE", value)
    await yard.submit_script("job", REPORT, env={"TOKEN": "secret:MINE"})
    job = await yard.reaches("job", "failed")
    kept = [event.data for event in await yard.feed("job")], job.message, job.snapshot, await checkpoint(yard)
    texts = json.dumps(kept, ensure_ascii=False)
    for line in value.splitlines():
        assert json.dumps(line, ensure_ascii=False)[1:-1] not in texts
        assert quote(line) not in texts
    assert (job.reason, job.message) == ("bad_data", f"wrong: {stars(value)}")
    assert await yard.curve("job") == {123456: 2.5}
    assert "skipped 2 lines" in texts


@pytest.mark.parametrize("value", ["training", "metric", "bad_data", "123456"])
async def test_a_secret_that_is_one_of_our_own_words_breaks_no_report(yard: Yard, value: str) -> None:
    await put(yard, "MINE", value)
    await yard.submit_script("job", REPORT, env={"TOKEN": "secret:MINE"})
    job = await yard.reaches("job", "failed")
    assert (job.reason, job.message) == ("bad_data", f"wrong: {stars(value)}")
    assert await yard.curve("job") == {123456: 2.5}
    assert job.snapshot is not None
    assert job.snapshot["phase"] == "training"


async def checkpoint(yard: Yard) -> tuple[object, ...]:
    async with yard.database.read() as session:
        [row] = await checkpoints.of_job(session, "job")
    return row.path, row.metrics, row.files


def stars(value: str) -> str:
    """One for each byte; lines stay lines."""
    return re.sub(rb"[^\n]", b"*", value.encode()).decode()


async def test_when_the_key_is_another_nothing_that_it_says_is_shown(yard: Yard) -> None:
    """A trainer that outlives the server whose key was lost: it is seen to its end, with its texts covered."""
    await put(yard, "MINE", "hunter2hunter2")
    code = TELL + (
        "    (root / 'began').touch()\n"
        "    while not (root / 'go').exists(): time.sleep(0.01)\n"
        "    emitter.finished('failed', 'bad_data', f'wrong: {value}')\nsys.exit(1)"
    )
    await yard.submit_script("job", code, env={"TOKEN": "secret:MINE"})
    await appears(yard.run("job") / "began")
    await yard.restart(limits=replace(yard.context.limits, private_key=bytes(32)))
    (yard.run("job") / "go").touch()
    job = await yard.reaches("job", "failed")
    assert (job.reason, job.message) == ("bad_data", "*" * len("wrong: hunter2hunter2"))


async def test_what_a_stuck_one_was_doing_is_told_without_it(yard: Yard, tmp_path: Path) -> None:
    """It may have given it to a program as an argument."""
    began = tmp_path / "began"
    await yard.stop()
    # No time passes before there is that program, however long it takes to start.
    yard.context = replace(yard.context, token="", monotonic=lambda: time.monotonic() if began.exists() else 0.0)
    yard.engine = Engine(yard.context)
    yard.start()
    await put(yard, "MINE", "hunter2hunter2")
    code = TELL + "    import subprocess\n    subprocess.run(['sh', '-c', 'touch began; sleep 600; true ' + value])"
    await yard.submit_script("job", code, limits={"stall_timeout": 1}, env={"TOKEN": "secret:MINE"})
    await yard.reaches("job", "failed")
    text = (yard.run("job") / "attempts" / "1" / "stacks.txt").read_text()
    assert "touch began; sleep 600; true **************" in text
    assert "hunter2" not in text
