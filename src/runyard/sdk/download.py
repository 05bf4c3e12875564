"""Bringing files home: streamed beside the target, checked against the server's SHA-256, and only then named."""

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from runyard.protocol import names
from runyard.schemas.artifacts import ArtifactRead
from runyard.sdk import calls
from runyard.sdk.errors import ChecksumError, ClientError

Steps = calls.Call[Any] | calls.Work[Any]
CHUNK = 1 << 20
ENCRYPTED = 1


@dataclass(frozen=True)
class Saved:
    """`checked` counts the files whose SHA-256 the server knew and that agreed."""

    path: Path
    files: int
    size_bytes: int
    checked: int


def download_model(job_id: str, to: Path | str) -> Generator[Steps, Any, Saved]:
    """The final model or adapter, into a new folder, or as it comes when `to` ends in .zip.

    Raises ChecksumError when a file is missing or differs from what the trainer recorded; then nothing is kept.
    """
    known = yield from calls.artifacts(job_id)
    wanted = {a.path: a.hash_sha256 for a in known if a.kind in ("model", "merged_model")}
    return (yield from _download(f"/jobs/{job_id}/download/model", Path(to), wanted))


def download_checkpoint(job_id: str, step: int, to: Path | str) -> Generator[Steps, Any, Saved]:
    """The checkpoint of one step, into a new folder, or as it comes when `to` ends in .zip; checked like a model."""
    known = yield from calls.checkpoints(job_id)
    wanted = {f"{c.path}/{name}": digest for c in known if c.step == step for name, digest in c.files.items()}
    return (yield from _download(f"/jobs/{job_id}/download/checkpoints/{step}", Path(to), wanted))


def download_logs(job_id: str, to: Path | str) -> Generator[Steps, Any, Saved]:
    """Every attempt's output, into a new folder, or as it comes when `to` ends in .zip."""
    return (yield from _download(f"/jobs/{job_id}/download/logs", Path(to), {}))


def download_artifact(artifact: ArtifactRead, to: Path | str) -> Generator[Steps, Any, Saved]:
    """One file, under its own name where `to` is a folder."""
    to = Path(to)
    to = free(to / Path(artifact.path).name if to.is_dir() else to)
    with beside(to) as part:
        yield from calls.content(f"/artifacts/{artifact.artifact_id}/content", part.write)
        part.seek(0)
        digest = yield from calls.Work(lambda: hashlib.file_digest(part, "sha256").hexdigest())
        if digest != artifact.hash_sha256:
            raise ChecksumError(artifact.path, [f"SHA-256 is {digest}"])
        keep(part, to)
    return Saved(to, 1, to.stat().st_size, 1)


def _download(path: str, to: Path, wanted: Mapping[str, str]) -> Generator[Steps, Any, Saved]:
    to = free(to)
    with beside(to) as part:
        yield from calls.content(path, part.write)
        part.seek(0)
        if to.suffix != ".zip":
            return (yield from calls.Work(lambda: _unpack(part, to, wanted)))
        saved = yield from calls.Work(lambda: _check(part, to, wanted))
        keep(part, to)
        return saved


def free(to: Path) -> Path:
    to = to.absolute()
    is_empty = to.is_dir() and not any(to.iterdir())
    if to.exists() and not is_empty:
        raise _taken(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    return to


def _taken(to: Path) -> ClientError:
    return ClientError(f"{to} exists already", hint="choose another place with --output, or remove it first")


@contextmanager
def beside(to: Path) -> Iterator[BufferedRandom]:
    """A file in the target's folder, gone at the end unless it was given its name."""
    path = to.with_name(f".{to.name}.{token_hex(8)}")
    try:
        with path.open("wb+") as part:
            yield part
    finally:
        path.unlink(missing_ok=True)


def keep(part: BufferedRandom, to: Path) -> None:
    """Raises ClientError when something else came there meanwhile."""
    part.flush()
    try:
        os.link(part.name, to)
    except FileExistsError:
        raise _taken(to) from None
    except OSError:  # a disk without such links
        Path(part.name).rename(to)


def _unpack(part: BufferedRandom, to: Path, wanted: Mapping[str, str]) -> Saved:
    folder = to.with_name(f"{Path(part.name).name}.folder")
    try:
        folder.mkdir()
        saved = _check(part, to, wanted, folder)
        _rename(folder, to)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return saved


def _rename(folder: Path, to: Path) -> None:
    """Where there is an empty folder, it is filled rather than replaced: somebody may be in it."""
    if not to.is_dir():
        folder.rename(to)
        return
    for path in folder.iterdir():
        path.rename(to / path.name)


def _check(part: BufferedRandom, to: Path, wanted: Mapping[str, str], folder: Path | None = None) -> Saved:
    """Read every file of the ZIP, compare it, and write it below `folder` where one is given."""
    size, found, wrong = 0, dict[str, str](), list[str]()
    try:
        with zipfile.ZipFile(part) as archive:
            members = [member for member in archive.infolist() if not member.filename.endswith("/")]
            _require_harmless(members, part)
            for member in members:
                size += member.file_size
                found[member.filename] = _read(archive, member, folder)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError, zlib.error, EOFError) as error:
        raise ChecksumError(to.name, [f"the ZIP is damaged ({error})"]) from None
    wanted = wanted or _enclosed(part)
    checked = 0
    for path, digest in wanted.items():
        got = next((found[name] for name in found if path == name or path.endswith(f"/{name}")), None)
        checked += got == digest
        if got != digest:
            wrong.append(f"{path} is missing" if got is None else f"{path} has another SHA-256")
    if wrong:
        raise ChecksumError(to.name, wrong)
    return Saved(to, len(members), size, checked)


def _enclosed(part: BufferedRandom) -> dict[str, str]:
    """The sums that the server put into the ZIP."""
    with zipfile.ZipFile(part) as archive:
        if "SHA256SUMS" not in archive.namelist():
            return {}
        lines = archive.read("SHA256SUMS").decode(errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _require_harmless(members: Sequence[zipfile.ZipInfo], part: BufferedRandom) -> None:
    """A ZIP of a server has plain files under plain names, each once, as they are: neither packed nor encrypted.

    Raises ChecksumError for anything else, be it to write elsewhere or to grow beyond what was downloaded.
    """
    if sum(member.file_size for member in members) > part.seek(0, os.SEEK_END):
        raise ChecksumError("the ZIP", ["its files are larger than itself"])
    seen = set[str]()
    for member in members:
        name, kind = member.filename, member.external_attr >> 16
        if not names.is_plain(name) or (stat.S_IFMT(kind) and not stat.S_ISREG(kind)):
            raise ChecksumError("the ZIP", [f"{name!r} would be written outside the target folder"])
        if name in seen or member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ENCRYPTED:
            raise ChecksumError("the ZIP", [f"{name!r} is there twice, packed or encrypted, as no server sends it"])
        seen.add(name)


def _created(path: Path) -> BinaryIO:
    """A new file. Raises ChecksumError where two names of a ZIP mean one file, as they may on other systems."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise ChecksumError("the ZIP", [f"{path.name!r} would overwrite another of its files"]) from None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path | None) -> str:
    """The SHA-256 of one file, which is written below `folder` under its own name."""
    digest = hashlib.sha256()
    with archive.open(member) as source, ExitStack() as stack:
        if folder is not None:
            out = stack.enter_context(_created(folder / member.filename))
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            if folder is not None:
                out.write(chunk)
    return digest.hexdigest()
