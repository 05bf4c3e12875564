"""A server that runs each tenant's trainers as a system user of its own: what they reach, and that all else goes on."""

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from runyard.db.database import Database
from runyard.db.queries import users
from runyard.domain.access import LOCAL, Role, Scope
from runyard.domain.lifecycle import FINAL
from runyard.domain.retention import Policy
from runyard.sdk.client import Client
from runyard.services import accounts, keys, retention, tenants
from runyard.services.accounts import Asked
from runyard.services.context import Context
from runyard.testing import users as open_users
from runyard.testing.live import LiveYard
from runyard.testing.users import OTHERS, OURS

pytestmark = pytest.mark.skipif(bool(open_users.lacking()), reason=str(open_users.lacking()))
SECONDS = 120
ROWS = b"".join(b'{"prompt": "say %d", "completion": "one two three"}\n' % number for number in range(8))
STEPS = """
import os, pathlib, signal, sys, time, runyard
os.chdir(os.environ["RUNYARD_RUN_DIR"])  # the folder of the file is the operator's
step = int(os.environ["RUNYARD_RESUME_FROM"].rpartition("-")[2] or 0)
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
def save():
    pathlib.Path("state.pt").write_bytes(b"s")
    runyard.checkpoint(step, "state.pt", loss=1 / step)
enough = pathlib.Path(os.environ["RUNYARD_RUN_DIR"], "enough")
while True:
    step += 1
    runyard.metric(step, loss=1 / step)
    if told:
        save()
        sys.exit(75)
    if enough.exists():
        break
    time.sleep(0.05)
save()
(pathlib.Path(os.environ["RUNYARD_OUTPUT_DIR"]) / "weights.safetensors").write_bytes(b"w")
"""
STUCK = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('[]', flush=True)\ntime.sleep(600)"
LOOK = """
import json, os, pathlib, sys
home, theirs, server = sys.argv[1:]
def can(do, *args):
    try:
        do(*args)
    except PermissionError:
        return False
    return True
folders = [home, theirs, *(f"{home}/{name}" for name in ("runs", "datasets", "cache", "cache/users/64101"))]
found = [path for path in folders if can(os.listdir, path)]
for name in ("runyard.db", "runyard.db-wal", "secret.key", "server.lock", "engine.lock", "server.json", "id"):
    found += [name] * (can(open, f"{home}/{name}") or can(open, f"{home}/{name}", "a"))
found += [name for name in ("spec.json", "events.jsonl", "attempts/1/stdout.log") if can(open, f"{theirs}/{name}")]
found += ["signal"] * can(os.kill, int(server), 0) + ["environ"] * can(open, f"/proc/{server}/environ")
print(json.dumps([os.getuid(), os.environ["HOME"], found]))
"""


class TenantYard(LiveYard):
    """The first tenant has ada, its admin, the other one otto; a key of each."""

    def __init__(self, place: Path) -> None:
        super().__init__(
            place / "home",
            {
                "RUNYARD_TENANT_USERS": f"main={OURS},other={OTHERS}",
                "PYTHONPATH": open_users.packages(),
                "RUNYARD_ALLOWED_PATHS": str(place),
                "RUNYARD_RETRY_SECONDS": "0.1",
                "RUNYARD_GRACE_SECONDS": "1",
                "RUNYARD_SLOTS": "2",
                "RUNYARD_KEEP_LOGS_DAYS": "1e-9",
                "RUNYARD_KEEP_CHECKPOINTS_DAYS": "1e-9",
                "OMP_NUM_THREADS": "1",
            },
        )
        self.program[0] = str(open_users.python())
        self.place = place
        self.keys = asyncio.run(_settle(self.home))
        self.client = Client(self.url, key=self.keys["ada"])

    def http(self, who: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.keys[who]}"}, timeout=30)

    def submit(self, who: str, code: str, *args: str, **fields: Any) -> str:
        file = self.place / f"{who}-{time.time_ns()}.py"
        file.write_text(code)
        file.chmod(0o644)
        spec = {"kind": "script", "file": str(file), "args": args, "limits": {"retries": 0}, **fields}
        return self.post(who, "jobs", json=spec)

    def post(self, who: str, path: str, **content: Any) -> str:
        with self.http(who) as http:
            return str(http.post(f"/api/v1/{path}", **content).raise_for_status().json()["id"])

    def reaches(self, who: str, job: str, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        with self.http(who) as http:
            while (found := http.get(f"/api/v1/jobs/{job}").json())["state"] not in states:
                assert found["state"] not in FINAL, (found, self.tail())
                assert time.monotonic() < deadline, (found, self.tail())
                time.sleep(0.1)
        return dict(found)

    def output(self, job: str) -> Any:
        return json.loads((self.home / "runs" / job / "attempts" / "1" / "stdout.log").read_text())


async def _settle(home: Path) -> dict[str, str]:
    made = {}
    database = Database(f"sqlite:///{home}/runyard.db")
    await database.migrate()
    async with database.write() as session:
        await tenants.create(session, "other", scripts=True, at=1.0)
        for name, tenant in (("ada", "main"), ("otto", "other")):
            await accounts.create(session, LOCAL, name, tenant, Asked(role=Role.ADMIN), 1.0)
            known = await users.known(session, name)
            assert known is not None
            asked = keys.Asked(name, Scope.ADMIN, None)
            _, made[name] = await keys.create(session, accounts.as_caller(known), asked, name, time.time())
    await database.close()
    return made


@pytest.fixture
def yard() -> Iterator[TenantYard]:
    place = Path(tempfile.mkdtemp(prefix="runyard-tenants-"))
    place.chmod(0o711)
    before = os.umask(0o077)
    with TenantYard(place) as yard:
        yield yard
    os.umask(before)
    shutil.rmtree(place, ignore_errors=True)  # what was killed may still be going


def test_a_tenant_reaches_nothing_of_the_server_or_of_another(yard: TenantYard) -> None:
    running = yard.submit("ada", STEPS)
    yard.reaches("ada", running, "running")
    theirs = yard.home / "runs" / running
    for who, uid in (("otto", OTHERS), ("ada", OURS)):
        job = yard.submit(who, LOOK, str(yard.home), str(theirs), str(yard.pid))
        yard.reaches(who, job, "completed")
        own = [] if who == "otto" else [str(theirs), str(yard.home / "cache" / "users" / str(OURS))]
        own += [] if who == "otto" else ["spec.json", "events.jsonl", "attempts/1/stdout.log"]
        assert yard.output(job) == [uid, str(yard.home / "cache" / "users" / str(uid)), own]
    (theirs / "enough").touch()
    yard.reaches("ada", running, "completed")


def test_pause_restart_resume_download_and_retention_go_on_as_ever(yard: TenantYard) -> None:
    job = yard.submit("otto", STEPS, resumable=True)
    yard.reaches("otto", job, "running")
    yard.kill()
    yard.start()
    yard.reaches("otto", job, "running")
    yard.post("otto", f"jobs/{job}/pause")
    yard.reaches("otto", job, "paused")
    yard.post("otto", f"jobs/{job}/resume")
    yard.reaches("otto", job, "running")
    (yard.home / "runs" / job / "enough").touch()
    yard.reaches("otto", job, "completed")
    with yard.http("otto") as http:
        assert len(http.get(f"/api/v1/jobs/{job}/checkpoints").json()) == 2
        steps = [point["step"] for point in http.get(f"/api/v1/jobs/{job}/metrics").json()]
        assert steps == sorted(set(steps)), "the curve is whole"
        for what in ("model", "logs"):
            assert http.get(f"/api/v1/jobs/{job}/download/{what}").status_code == 200
    stuck = yard.submit("otto", STUCK)
    yard.wait_for(lambda: _output(yard, stuck) == b"[]\n", "it to begin")
    yard.post("otto", f"jobs/{stuck}/cancel")
    yard.reaches("otto", stuck, "cancelled")
    failing = yard.submit("otto", "import os\nraise SystemExit(0 if os.environ['RUNYARD_ATTEMPT'] == '2' else 1)")
    yard.reaches("otto", failing, "failed")
    yard.post("otto", f"jobs/{failing}/retry")
    yard.reaches("otto", failing, "completed")
    with yard.http("ada") as http:
        http.post("/api/v1/retention").raise_for_status()
    run = yard.home / "runs" / job
    yard.wait_for(lambda: not (run / "attempts" / "1" / "stdout.log").exists(), "the logs to go")
    yard.wait_for(lambda: len(list((run / "checkpoints").iterdir())) == 1, "all but the best checkpoint to go")


def _output(yard: TenantYard, job: str) -> bytes:
    file = yard.home / "runs" / job / "attempts" / "1" / "stdout.log"
    return file.read_bytes() if file.exists() else b""


@pytest.mark.llm
def test_a_training_reads_its_data_set_and_the_checkpoint_that_it_goes_on_from(yard: TenantYard) -> None:
    if find_spec("torch") is None:
        pytest.skip("needs torch")
    from runyard.testing.tiny import save_tiny_model

    model = yard.home / "models" / "tiny"
    model.mkdir(mode=0o755)
    save_tiny_model(model)
    for file in (model, *model.iterdir()):
        file.chmod(0o755)
    data = yard.post("otto", "datasets", files={"file": ("a.jsonl", ROWS)})
    spec = {
        "kind": "sft", "model": "tiny", "data": f"dataset:{data}",
        "training": {"max_steps": 2, "max_length": 64, "batch_size": 2}, "checkpoints": {"every_steps": 1},
    }  # fmt: skip
    first = yard.post("otto", "jobs", json=spec)
    yard.reaches("otto", first, "completed")
    own = yard.home / "cache" / "users" / str(OTHERS)
    assert list((own / "prepared").iterdir()), "what was prepared is in the tenant's own cache"
    assert not (yard.home / "cache" / "prepared").exists()
    second = yard.post("otto", "jobs", json={**spec, "continue_from": f"{first}:2"})
    yard.reaches("otto", second, "completed")


def test_before_there_are_accounts_it_does_not_start(yard: TenantYard) -> None:
    yard.kill()
    for file in yard.home.glob("runyard.db*"):
        file.unlink()
    with pytest.raises(AssertionError, match="runyard users create"):
        yard.start()


def test_caches_of_users_are_kept_small_like_the_servers_own(tmp_path: Path) -> None:
    context = Context(home=tmp_path, retention=Policy(cache_bytes=1))
    for folder in ("cache/prepared/a", "cache/users/64101/prepared/b", "cache/users/64102/gguf/c"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_bytes(b"12")
    found = {item.name for item in retention.in_cache(context, None)}
    assert found == {"prepared/a", "users/64101/prepared/b", "users/64102/gguf/c"}
