"""What is removed lies where it should: links in a run folder, or in the cache, cost nobody else anything."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.engine.test_retention import Place

from runyard.db.database import Database
from runyard.domain.retention import Item
from runyard.engine import janitor
from runyard.services import paths, retention
from runyard.services.context import Context


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(database, tmp_path / "home")
    yield place
    await place.yard.clean()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("linked", ["checkpoints", "attempts", "checkpoints/step-000010", "attempts/1", "."])
async def test_a_link_costs_another_job_nothing(place: Place, linked: str) -> None:
    victim = await place.job("victim", 0, "running")
    rundir = await place.job("culprit", 9, "failed")  # its logs and all but two checkpoints are due
    before = tree(victim.root)
    link = rundir.root / linked
    shutil.rmtree(link)
    link.symlink_to(victim.root / linked)
    done = await place.clean()
    assert tree(victim.root) == before
    assert done.failed is None
    place.now += 40 * 86400
    await place.clean()
    assert rundir.root.name not in os.listdir(place.limits.runs), "the job itself is due, and goes with its links"
    assert tree(victim.root) == before


async def test_links_in_a_folder_that_goes_are_not_followed(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"mine")
    rundir = await place.job("culprit", 100)
    for name, target in (("file", outside / "precious"), ("folder", outside), ("loop", "loop"), ("root", "/")):
        (rundir.root / name).symlink_to(target)
        (rundir.checkpoint(10) / name).symlink_to(target)
    await place.clean()
    assert not rundir.root.exists()
    assert tree(outside) == {"precious": b"mine"}


async def test_the_cache_is_no_way_out(place: Place, tmp_path: Path) -> None:
    """Trainers write there. The whole cache may be a link, which the operator made."""
    uploads, home = place.limits.datasets / "abc", place.limits.home
    (tmp_path / "disk" / "gguf" / "large").mkdir(parents=True)
    (tmp_path / "disk" / "gguf" / "large" / "weights").write_bytes(bytes(5000))
    uploads.mkdir(parents=True)
    (uploads / "orders.jsonl").write_bytes(bytes(5000))
    (home / "cache").symlink_to(tmp_path / "disk")
    (home / "cache" / "prepared").symlink_to(place.limits.datasets)
    (home / "cache" / "gguf" / "link").symlink_to(uploads)
    (home / "cache" / "gguf" / "broken").symlink_to("nowhere")
    place.now += 10**10
    done = await place.clean()
    assert done.failed is None
    assert (uploads / "orders.jsonl").stat().st_size == 5000
    assert not (tmp_path / "disk" / "gguf" / "large").exists(), "what is really there goes"


def test_a_link_that_comes_late_is_not_followed(tmp_path: Path) -> None:
    """Between the look and the removal, a program swaps its folder for a link."""
    victim, run = tmp_path / "victim" / "checkpoints", tmp_path / "run" / "checkpoints"
    for folder in (victim, run):
        (folder / "step-000010").mkdir(parents=True)
        (folder / "step-000010" / "weights").write_bytes(b"w")
    with paths.held(run) as way:
        assert way is not None
        run.rename(tmp_path / "run" / "old")
        run.symlink_to(victim)
        assert janitor._remove(way / "step-000010") == 1
    assert tree(victim) == {"step-000010/weights": b"w"}
    assert tree(tmp_path / "run" / "old") == {}
    assert janitor.remove(run / "step-000010") == 0
    assert tree(victim) == {"step-000010/weights": b"w"}


def test_what_can_not_be_removed_is_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / ".removed-a").mkdir()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", f"{path}/weights")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(PermissionError) as caught:
        janitor.remove(tmp_path / "a")
    assert caught.value.filename == f"{tmp_path}/.removed-a/weights"


LINKS = st.lists(
    st.tuples(
        st.sampled_from(["checkpoints", "attempts", "attempts/1", "checkpoints/step-000010", "attempts/1/stdout.log"]),
        st.sampled_from(
            ["../victim/checkpoints", "../victim/attempts", "../victim", "..", "../..", ".", "/", "../../outside",
             "../victim/attempts/1/stdout.log", "../../../outside", "../victim/checkpoints/step-000010"]
        ),
    ),
    max_size=3,
)  # fmt: skip
ITEMS = st.sampled_from(
    [
        Item("logs", "n", "", "run"), Item("checkpoint", "n", "", "run", 10), Item("job", "n", "", "run"),
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(LINKS, st.lists(ITEMS, min_size=1, max_size=3))
def test_whatever_is_linked_only_the_jobs_own_goes(links: list[tuple[str, str]], items: list[Item]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch).resolve()
        context = Context(home=base / "home")
        for id_ in ("run", "victim"):
            rundir = context.rundir(id_)
            for folder in (rundir.checkpoint(10), rundir.attempt(1)):
                folder.mkdir(parents=True)
            (rundir.checkpoint(10) / "weights").write_bytes(b"w")
            (rundir.attempt(1) / "stdout.log").write_bytes(b"o")
        (base / "outside").mkdir()
        (base / "outside" / "precious").write_bytes(b"mine")
        for place, target in links:
            path = context.rundir("run").root / place
            if path.is_symlink() or not path.parent.is_dir() or not paths.is_real(path.parent):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.symlink_to(target)
        before = tree(context.rundir("victim").root), tree(base / "outside")
        for item in items:
            for doomed in retention.places(item, context):
                janitor.remove(doomed)
        assert (tree(context.rundir("victim").root), tree(base / "outside")) == before
