"""The server never unpickles, whatever lies in a run folder; and it lets nobody run a model's code unasked."""

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from runyard.domain.lifecycle import Cause
from runyard.server.deps import Yard

AUDITED = """
# A server that tells of everything that is unpickled in it.
import sys
def tell(event, arguments):
    if event.startswith(("pickle.", "shelve.")):
        import os
        os.write(2, f"UNPICKLED {event} {arguments}\\n".encode())
sys.addaudithook(tell)
from runyard.cli.main import app
if sys.argv[1] == "itself":
    import pickle
    pickle.loads(pickle.dumps(int))
else:
    app(sys.argv[1:])
"""
SECONDS = 60
PICKLES = ("optimizer.pt", "rng_state.pth", "training_args.bin", "model.pkl", "model.safetensors", "metadata.json")
SCRIPT = """
import json, os, pickle, sys
nest, names = sys.argv[1], sys.argv[2].split(",")
class Canary:
    def __reduce__(self):
        return open, (nest, "w")
for folder in (os.environ["RUNYARD_OUTPUT_DIR"], os.environ["RUNYARD_CHECKPOINT_DIR"], "."):
    for name in names:
        with open(os.path.join(folder, name), "wb") as file:
            pickle.dump(Canary(), file)
import runyard
with open("state.pt", "wb") as file:
    pickle.dump(Canary(), file)
runyard.checkpoint(1, "state.pt", loss=0.5)
"""


@pytest.fixture
def backend() -> str:
    return "sqlite"


def test_a_server_unpickles_nothing(tmp_path: Path) -> None:
    """Every route that reads goes over a job whose files are canaries."""
    nest, script, log = tmp_path / "it-ran", tmp_path / "train.py", tmp_path / "server.log"
    script.write_text(SCRIPT)
    environment = {**os.environ, "RUNYARD_HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", AUDITED, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE,
            stderr=errors, text=True,
        ) as server,
    ):  # fmt: skip
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert "http://" in line, log.read_text()
            url = next(word for word in line.split() if word.startswith("http"))
            with httpx.Client(base_url=url, timeout=30) as client:
                spec = {"kind": "script", "file": str(script), "args": [str(nest), ",".join(PICKLES)]}
                job = client.post("/api/v1/jobs", json=spec).raise_for_status().json()["id"]
                deadline = time.monotonic() + SECONDS
                while (state := client.get(f"/api/v1/jobs/{job}").json()["state"]) != "completed":
                    assert state != "failed", client.get(f"/api/v1/jobs/{job}").text
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                ask_everything(client, job)
        finally:
            server.terminate()
            server.wait()
    assert not nest.exists()
    assert "UNPICKLED" not in log.read_text()


def ask_everything(client: httpx.Client, job: str) -> None:
    routes = client.get("/openapi.json")
    known = [path for path, methods in routes.json()["paths"].items() if "get" in methods] if routes.is_success else []
    paths = {path for path in known if "{" not in path and "stream" not in path}
    paths |= {
        f"/api/v1/jobs/{job}{rest}"
        for rest in (
            "", "/logs", "/events", "/metrics", "/checkpoints", "/artifacts", "/download/model", "/download/logs",
            "/download/checkpoints/1",
        )
    }  # fmt: skip
    artifacts = client.get(f"/api/v1/jobs/{job}/artifacts").raise_for_status().json()
    assert {Path(item["path"]).name for item in artifacts} >= set(PICKLES)
    paths |= {f"/api/v1/artifacts/{item['artifact_id']}/content" for item in artifacts}
    for path in sorted(paths):
        assert client.get(path).status_code < 500, path
    canary = pickle.dumps(Path("/"))
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        assert client.post("/api/v1/datasets", files={"file": (name, canary)}).status_code == 422
    again = {"kind": "sft", "model": "owner/model", "data": "owner/rows", "continue_from": f"{job}:1"}
    assert client.post("/api/v1/jobs", json=again).status_code in (201, 422)
    assert client.post("/api/v1/retention").status_code == 202


def test_the_watch_would_have_seen_it() -> None:
    done = subprocess.run([sys.executable, "-c", AUDITED, "itself"], capture_output=True, text=True, timeout=60)
    assert "UNPICKLED pickle.find_class" in done.stderr


@pytest.mark.parametrize(
    ("trusted", "model", "status"),
    [
        ((), {"name": "owner/own"}, 422),
        ((), {"name": "owner/own", "revision": "abc"}, 422),
        (("owner/own",), {"name": "owner/own"}, 201),
        (("owner/own",), {"name": "owner/own", "revision": "abc"}, 201),
        (("owner/own@abc",), {"name": "owner/own", "revision": "abc"}, 201),
        (("owner/own@abc",), {"name": "owner/own", "revision": "abd"}, 422),
        (("owner/own@abc",), {"name": "owner/own", "revision": "main"}, 422),
        (("owner/own@abc",), {"name": "owner/own"}, 422),
        (("owner/own@None",), {"name": "owner/own"}, 422),
        (("owner/own",), {"name": "owner/other"}, 422),
        (("owner/own",), {"name": "Owner/own"}, 422),
        (("here",), {"name": "here"}, 201),
        (("here",), {"name": "./here"}, 422),
    ],
)
async def test_a_models_own_code_needs_an_operators_word(
    api: Any, yard: Yard, trusted: tuple[str, ...], model: dict[str, str], status: int
) -> None:
    folder = yard.context.models / "here"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    object.__setattr__(yard.context, "trusted_models", trusted)
    answer = await api.submit(model=model | {"trust_remote_code": True})
    assert answer.status_code == status, answer.text
    if status == 422:
        [problem] = answer.json()["problems"]
        assert problem["field"] == "model.name"
        assert "RUNYARD_TRUSTED_MODELS" in problem["message"]
    assert (await api.submit(model=model)).status_code == 201, "without its code anybody may train it"


async def test_a_model_in_pickles_is_refused_when_it_is_named(api: Any, yard: Yard) -> None:
    folder = yard.context.models / "old"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Path("/")))
    for name in ("old", "old/pytorch_model.bin"):
        refused = await api.submit(model=name)
        assert refused.status_code == 422
        assert "convert it to safetensors" in refused.json()["problems"][0]["message"]
    (folder / "model.safetensors").write_bytes(b"")
    assert (await api.submit(model="old")).status_code == 201


async def test_trust_that_was_taken_back_is_asked_for_again_when_a_job_is_taken_up(
    api: Any, yard: Yard, engine: Any
) -> None:
    object.__setattr__(yard.context, "trusted_models", ("owner/own@abc",))
    model = {"name": "owner/own", "revision": "abc", "trust_remote_code": True}
    failed, paused = await api.job(model=model), await api.job(model=model)
    await engine.move(failed, Cause.PLACED, Cause.STARTED, Cause.FAILED)
    await engine.move(paused, Cause.PAUSE_ASKED)
    object.__setattr__(yard.context, "trusted_models", ())
    for path in (f"{failed}/retry", f"{paused}/resume"):
        refused = await api.post(f"/api/v1/jobs/{path}")
        assert refused.status_code == 422, refused.text
        assert "RUNYARD_TRUSTED_MODELS" in refused.json()["problems"][0]["message"]
    object.__setattr__(yard.context, "trusted_models", ("owner/own",))
    for path in (f"{failed}/retry", f"{paused}/resume"):
        assert (await api.post(f"/api/v1/jobs/{path}")).status_code == 200
