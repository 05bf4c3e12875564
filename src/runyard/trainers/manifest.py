"""What a run delivers: every file with its size and SHA-256."""

import json
from pathlib import Path
from typing import Any

from runyard.protocol import folders
from runyard.protocol.emitter import Emitter
from runyard.protocol.events import ArtifactKind
from runyard.protocol.rundir import RunDir, write_atomically


def add(rundir: RunDir, emitter: Emitter, folder: Path, kind: ArtifactKind, about: dict[str, Any]) -> None:
    """Hash every file of a folder, put it in `manifest.json` beside what is there, and report it."""
    entries = [_entry(rundir.root, path) for path in _files(folder) if _is_inside(rundir, path)]
    prefix = f"{folder.relative_to(rundir.root)}/"
    before = _read(rundir)
    kept = [entry for entry in before.get("files", []) if not entry["path"].startswith(prefix)]
    write_atomically(rundir.manifest, json.dumps({**before, **about, "files": kept + entries}, indent=2) + "\n")
    for entry in entries:
        emitter.artifact(entry["path"], kind, entry["size_bytes"], entry["sha256"])


def report(rundir: RunDir, emitter: Emitter) -> None:
    """Tell of the manifest itself, when it is final."""
    entry = _entry(rundir.root, rundir.manifest)
    emitter.artifact(entry["path"], "report", entry["size_bytes"], entry["sha256"])


def astray(rundir: RunDir, folder: Path) -> list[str]:
    """Files of a folder that are links out of the run folder: they can't be kept with it."""
    return [str(path.relative_to(folder)) for path in _files(folder) if not _is_inside(rundir, path)]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _is_inside(rundir: RunDir, path: Path) -> bool:
    return path.resolve().is_relative_to(rundir.root.resolve())


def _read(rundir: RunDir) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(rundir.manifest.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content


def _entry(root: Path, path: Path) -> dict[str, Any]:
    return {"path": str(path.relative_to(root)), "size_bytes": path.stat().st_size, "sha256": folders.digest(path)}
