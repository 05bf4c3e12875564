"""A folder is whole under its name, or not there, whatever it was made from."""

import os
from pathlib import Path

import pytest

from runyard.protocol import folders

OTHER_DISK = Path("/dev/shm")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "step-000010"


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def made(folder: Path, text: str = "weights") -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "model").write_text(text)
    return folder


def test_a_folder_is_moved(tmp_path: Path, target: Path) -> None:
    source = made(tmp_path / "made")
    inode = source.stat().st_ino
    folders.take(source, target)
    assert content(target) == {"deep/model": "weights"}
    assert target.stat().st_ino == inode
    assert not source.exists()


def test_a_file_keeps_its_name_and_costs_no_copy(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "state.pt"
    source.write_text("weights")
    inode = source.stat().st_ino
    folders.take(source, target)
    assert content(target) == {"state.pt": "weights"}
    assert (target / "state.pt").stat().st_ino == inode
    assert not source.exists()


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="needs a second disk")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_from_another_disk_it_is_copied(tmp_path: Path, target: Path, kind: str) -> None:
    if OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second disk")
    source = OTHER_DISK / f"runyard-{os.getpid()}-{kind}"
    if kind == "folder":
        made(source)
    else:
        source.write_text("weights")
    folders.take(source, target)
    assert list(content(target).values()) == ["weights"]
    assert not source.exists()


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_a_link_leads_to_stays(tmp_path: Path, target: Path, is_folder: bool) -> None:
    real = made(tmp_path / "real")
    link = tmp_path / "latest"
    link.symlink_to(real if is_folder else real / "deep" / "model")
    folders.take(link, target)
    assert list(content(target).values()) == ["weights"]
    assert content(real) == {"deep/model": "weights"}
    assert not link.is_symlink()


def test_one_that_is_there_is_replaced(tmp_path: Path, target: Path) -> None:
    folders.take(made(tmp_path / "first", "old"), target)
    folders.take(made(tmp_path / "second", "new"), target)
    assert content(target) == {"deep/model": "new"}
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_one_in_its_place_stays_there(target: Path) -> None:
    made(target)
    folders.take(target, target)
    assert content(target) == {"deep/model": "weights"}


def test_what_can_not_be_moved_is_whole(tmp_path: Path, target: Path) -> None:
    folders.take(made(tmp_path / "first", "old"), target)
    with pytest.raises(OSError, match="Invalid argument"):
        folders.take(tmp_path, target)  # a folder can't go into itself
    with pytest.raises(FileNotFoundError):
        folders.take(tmp_path / "missing", target)
    assert content(target) == {"deep/model": "old"}
    assert [path.name for path in target.parent.iterdir()] == [target.name]
