"""Archives that mean harm: nothing is written outside the target, nothing overwrites, nothing grows."""

import io
import itertools
import os
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import runyard
from runyard.protocol import names
from runyard.sdk.errors import ChecksumError

PIECES = [
    "..", ".", "", "a", "A", "etc", "passwd", "%2e%2e", "%252e", "~", "C:", "c:", "\\\\host", "\\", "/", "//", ":",
    ";",
    "\0", "\n", "\u2024\u2024", "\uff0e\uff0e", "\u202e", "con", "nul.txt", "...", ".. ", " ..", "a ", "file:",
    "\ud800",
]  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=20), st.lists(st.sampled_from(PIECES), max_size=6).flatmap(
        lambda parts: st.sampled_from(["/", "\\", ""]).map(lambda joint: joint.join(parts))
    ),
)  # fmt: skip


@given(NAMES)
@example("C:evil")
@example("a/C:evil")
@example("..  /x")
@example("\\\\host\\share\\x")
def test_a_plain_name_stays_below_its_folder_on_every_system(name: str) -> None:
    if not names.is_plain(name):
        return
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(name)
        assert not path.is_absolute()
        assert not path.drive
        assert not path.root
        assert not any(part.rstrip(" .") == "" for part in path.parts), "Windows takes dots and blanks off the end"
    assert "\0" not in name
    assert name.encode()


@given(st.lists(st.from_regex(r"[a-zé_][\w.-]{0,8}", fullmatch=True), min_size=1, max_size=4))
def test_ordinary_names_are_plain(parts: list[str]) -> None:
    assert names.is_plain("/".join(part.rstrip(".") for part in parts))


def archive(entries: Sequence[tuple[zipfile.ZipInfo | str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as written:
        warnings.simplefilter("ignore")  # that a name is there twice
        for entry, content in entries:
            if isinstance(entry, zipfile.ZipInfo):
                entry.compress_type = compression
            written.writestr(entry, content)
    return buffer.getvalue()


def raw(name: str) -> zipfile.ZipInfo:
    """As it stands: the library would tidy it."""
    entry = zipfile.ZipInfo("x")
    entry.filename = name
    return entry


def special(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (kind | 0o777) << 16
    return entry


def unpack(body: bytes, to: Path) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
    with runyard.Client("http://localhost", transport=transport) as client:
        client.download_logs("a", to)


def everything_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")
    }  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(NAMES.filter(lambda name: "\ud800" not in name), min_size=1, max_size=4))
@example(["../evil"])
@example(["/evil"])
@example(["a", "a/b"])
@example(["a/b", "a"])
@example(["a", "a"])
def test_whatever_the_names_all_lands_in_the_target_or_nothing_anywhere(given: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        outer = Path(scratch)
        (outer / "neighbour").write_bytes(b"mine")
        body = archive([(raw(name), b"%d" % number) for number, name in enumerate(given)])
        try:
            unpack(body, outer / "deep" / "target")
        except ChecksumError:
            assert not (outer / "deep" / "target").exists()
            assert list((outer / "deep").iterdir()) == []
        else:
            kept = {path.read_bytes() for path in (outer / "deep" / "target").rglob("*") if path.is_file()}
            files = [name for name in given if not name.partition("\0")[0].endswith("/")]  # as the library reads it
            assert len(kept) == len(files), "each file is there, none in another's place"
        assert (outer / "neighbour").read_bytes() == b"mine"
        assert sorted(os.listdir(outer)) == ["deep", "neighbour"]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (archive([("../../evil", b"x")]), "outside"),
        (archive([(raw("/etc/evil"), b"x")]), "outside"),
        (archive([(raw("C:\\evil"), b"x")]), "outside"),
        (archive([(raw("C:evil"), b"x")]), "outside"),
        (archive([(raw("\\\\host\\share\\evil"), b"x")]), "outside"),
        (archive([(raw("a/../../evil"), b"x")]), "outside"),
        (archive([(raw("a\n../evil"), b"x")]), "outside"),
        (archive([(special("link", stat.S_IFLNK), b"/etc"), ("link/evil", b"x")]), "outside"),
        (archive([(special("pipe", stat.S_IFIFO), b"")]), "outside"),
        (archive([(special("device", stat.S_IFCHR), b"")]), "outside"),
        (archive([("a", b"1"), ("a", b"2")]), "twice"),
        (archive([("a", b"1"), ("a/b", b"2")]), "overwrite"),
        (archive([("a/b", b"1"), ("a", b"2")]), "overwrite"),
        (archive([("bomb", bytes(50_000_000))], zipfile.ZIP_DEFLATED), "larger than itself"),
        (archive([("small", b"x" * 100), ("random", os.urandom(1000))], zipfile.ZIP_DEFLATED), "packed"),
    ],
)
def test_known_attacks(tmp_path: Path, body: bytes, complaint: str) -> None:
    for name in ("target", "target.zip"):
        if complaint == "overwrite" and name.endswith(".zip"):
            continue
        with pytest.raises(ChecksumError, match=complaint):
            unpack(body, tmp_path / name)
        assert everything_below(tmp_path) == {}


def test_files_that_share_their_bytes_are_larger_than_the_archive(tmp_path: Path) -> None:
    """A ZIP whose directory names one file's bytes a thousand times."""
    body = archive([("a", b"x" * 10_000)])
    directory = body.index(b"PK\x01\x02")
    entry, end = body[directory : body.index(b"PK\x05\x06")], bytearray(body[body.index(b"PK\x05\x06") :])
    many = b"".join(entry.replace(b"a", b"%c" % letter, 1) for letter in range(ord("a"), ord("a") + 26))
    end[8:12] = (26).to_bytes(2, "little") * 2
    end[12:16] = len(many).to_bytes(4, "little")
    with pytest.raises(ChecksumError):
        unpack(body[:directory] + many + bytes(end), tmp_path / "target")
    assert everything_below(tmp_path) == {}


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_archive_is_one_complaint(tmp_path: Path, seed: int) -> None:
    body = bytearray(archive([("a.txt", b"hello " * 20), ("b/c.txt", b"world")]))
    for place in itertools.islice(itertools.count(seed * 7 % len(body), 41), 3):
        body[place % len(body)] ^= 0xFF
    try:
        unpack(bytes(body), tmp_path / "target")
    except ChecksumError:
        assert everything_below(tmp_path) == {}
