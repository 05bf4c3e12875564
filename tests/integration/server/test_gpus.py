"""What the API tells of GPUs, of processes, and of what a stuck one was doing."""

import time
from pathlib import Path
from typing import Any

from runyard.db.database import Database
from runyard.db.queries import quarantines
from runyard.db.tables import Attempt, Quarantine
from runyard.server.deps import Yard
from runyard.testing.live import LiveYard

HANGS = """
import faulthandler, pathlib, signal, time
import runyard
runyard.progress(1, 10)
pathlib.Path("pid").write_text("here")
def waits_for_godot():
    while True:
        time.sleep(0.1)
waits_for_godot()
"""


async def test_a_gpu_that_is_put_aside_is_told_with_its_cause(api: Any, yard: Yard, database: Database) -> None:
    row = Quarantine(machine="local", gpu=1, attempt_id="a", baseline_mb=0.0, cause="900 MB did not come back", since=1)
    async with database.write() as session:
        await quarantines.put(session, row)
    system = (await api.get("/api/v1/system")).json()
    assert system["warnings"][-1] == "GPU 1 is put aside: 900 MB did not come back"
    async with database.write() as session:
        await quarantines.lift(session, "local", 1)
    assert not any("GPU" in words for words in (await api.get("/api/v1/system")).json()["warnings"])


async def test_an_attempt_tells_which_process_it_is(api: Any, database: Database) -> None:
    job = await api.job()
    process = {"trainer": {"pid": 4242, "start_ticks": 7}, "wrapper": {"pid": 4241}, "boot_id": "this one"}
    row = Attempt(id="a", job_id=job, number=1, executor="local", gpus=[], created_at=time.time(), process=process)
    row.machine, row.stop_reason = "hall", "stalled"
    async with database.write() as session:
        session.add(row)
    [told] = (await api.get(f"/api/v1/jobs/{job}")).json()["attempt_history"]
    expected = {"pid": 4242, "boot_id": "this one", "machine": "hall", "stop_reason": "stalled", "released_at": None}
    assert told | expected == told


def test_declared_gpus_are_given_out_and_a_hanging_script_tells_where(tmp_path: Path) -> None:
    """A real server: each job sees the GPU that it has, and the stacks of one that hangs are among its files."""
    code = tmp_path / "hangs.py"
    code.write_text(HANGS)
    with LiveYard(tmp_path / "home", {"RUNYARD_GPUS": "0:24GB,3:24GB", "RUNYARD_GRACE_SECONDS": "0"}) as yard:
        look = "import os, pathlib; pathlib.Path('seen').write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
        spec = {"kind": "script", "command": ["python3", "-c", look], "resources": {"gpus": 2}}
        job = yard.client.submit(spec)
        yard.wait_for(lambda: yard.client.job(job.id).state == "completed", "the job to end")
        assert (tmp_path / "home" / "runs" / job.id / "seen").read_text() == "0,3"
        yard.wait_for(lambda: yard.client.job(job.id).attempt_history[0].released_at is not None, "its GPUs to be free")
        limits = {"stall_timeout": 10, "retries": 0}
        stuck = yard.client.submit({"kind": "script", "file": str(code), "limits": limits})
        yard.wait_for(lambda: yard.client.job(stuck.id).state == "failed", "the stuck job to be ended")
        assert yard.client.job(stuck.id).reason == "stalled"
        [report] = [item for item in yard.client.artifacts(stuck.id) if item.kind == "report"]
        assert "waits_for_godot" in (tmp_path / "home" / "runs" / stuck.id / report.path).read_text()
