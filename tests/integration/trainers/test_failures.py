"""Runs that fail: each for a reason that is named, with nothing lost."""

import errno
import json
import os
import subprocess
import time

import pytest

from runyard.protocol import folders
from runyard.protocol.specs.language import ModelSpec
from runyard.trainers import failures, run
from runyard.trainers.language import models

pytestmark = pytest.mark.llm


def test_a_loss_that_is_not_a_number_stops_the_run(make_run, train, events):
    rundir = make_run(
        training={"epochs": 3, "learning_rate": 1e30, "warmup": 0, "max_grad_norm": 1e30},
        adapter={"type": "none"},
        checkpoints={"every_steps": 1, "keep": 100},
    )
    assert train(rundir) == 1
    word = events(rundir)[-1]
    assert (word.outcome, word.reason) == ("failed", "loss_not_finite")
    report = [event for event in events(rundir, "metric")][-1]
    assert None in (report.values["loss"], report.values["grad_norm"])
    assert all(step < report.step for step in rundir.checkpoint_steps()), "nothing is saved of a broken model"


def test_an_exploding_loss_stops_the_run(make_run, train, events):
    rundir = make_run(
        training={"epochs": 20, "learning_rate": 3.0, "warmup": 2, "schedule": "constant"}, adapter={"type": "none"}
    )
    assert train(rundir) == 1
    word = events(rundir)[-1]
    assert word.reason == "loss_exploded"
    assert "learning_rate" in word.message
    assert len(events(rundir, "metric")) < 100


def test_resuming_with_other_data_is_refused(make_run, train, train_until, events, tmp_path, sft_data):
    data = tmp_path / "mine.jsonl"
    data.write_bytes(sft_data.read_bytes())
    rundir = make_run(training={"epochs": 4}, data={"train": str(data)}, checkpoints={"every_steps": 100})
    step = train_until(rundir, 3, attempt=1)
    data.write_text("".join(reversed(data.read_text().splitlines(keepends=True))))
    assert train(rundir, attempt=2) == 1
    word = events(rundir)[-1]
    assert word.reason == "bad_data"
    assert f"can't resume at step {step}" in word.message
    data.write_bytes(sft_data.read_bytes())
    assert train(rundir, attempt=3) == 0, "with the old file back it goes on"


def test_resuming_a_changed_job_is_refused_with_the_change(make_run, train, train_until, events):
    rundir = make_run(training={"epochs": 4}, checkpoints={"every_steps": 100})
    train_until(rundir, 3, attempt=1)
    spec = json.loads(rundir.spec.read_text())
    rundir.spec.write_text(json.dumps({**spec, "training": {**spec["training"], "batch_size": 8}}))
    assert train(rundir, attempt=2) == 1
    assert events(rundir)[-1].reason == "bad_config"
    assert "training.batch_size was 4, is 8" in events(rundir)[-1].message


def test_a_smaller_micro_batch_may_go_on(make_run, train, train_until, events):
    """The way out of a lack of memory: the optimizer's steps stay the same."""
    rundir = make_run(training={"epochs": 4}, checkpoints={"every_steps": 100})
    step = train_until(rundir, 3, attempt=1)
    spec = json.loads(rundir.spec.read_text())
    rundir.spec.write_text(json.dumps({**spec, "training": {**spec["training"], "micro_batch_size": 2}}))
    assert train(rundir, attempt=2) == 0
    steps = [event.step for event in events(rundir, "metric")]
    assert steps == [*range(1, step + 1), *range(step + 1, 25)]


def test_half_a_checkpoint_is_no_checkpoint(make_run, train, train_until, events):
    rundir = make_run(training={"epochs": 4}, checkpoints={"every_steps": 100})
    step = train_until(rundir, 3, attempt=1)
    half = rundir.checkpoints / ".partial-step-000020"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_step": 20')
    assert train(rundir, attempt=2) == 0
    assert [event.step for event in events(rundir, "resumed")] == [step]
    assert not half.exists()


def test_a_retry_with_no_checkpoint_begins_again_and_says_so(make_run, train, events, model, tmp_path):
    rundir = make_run(model={"name": str(tmp_path / "missing")})
    assert train(rundir) == 1
    assert events(rundir)[-1].reason == "model_not_found"
    spec = json.loads(rundir.spec.read_text())
    rundir.spec.write_text(json.dumps({**spec, "model": {"name": str(model)}}))
    assert train(rundir, attempt=2) == 0
    [resumed] = events(rundir, "resumed")
    assert (resumed.step, resumed.checkpoint, resumed.attempt) == (0, None, 2)


@pytest.mark.parametrize(
    ("sections", "reason", "named"),
    [
        ({"model": {"name": "nobody/nothing-here"}}, "model_not_found", "nobody/nothing-here"),
        ({"model": {"name": "/nowhere/model.gguf"}}, "model_not_found", "/nowhere/model.gguf"),
        ({"data": {"train": "/nowhere/rows.jsonl"}}, "bad_data", "/nowhere/rows.jsonl"),
        ({"model": {"quantization": "4bit"}}, "bad_config", "needs an NVIDIA GPU"),
        ({"training": {"optimizer": "adamw_8bit"}}, "bad_config", "training.optimizer"),
        ({"adapter": {"target_modules": ["lm_head"]}}, "bad_config", "lm_head"),
        ({"adapter": {"target_modules": ["no_such_layer"]}}, "bad_config", "no_such_layer"),
        ({"nonsense": 1}, "bad_config", "nonsense"),
    ],
)
def test_what_cannot_work_fails_with_its_reason(sections, reason, named, make_run, train, events):
    rundir = make_run(**sections)
    assert train(rundir) == 1
    word = events(rundir)[-1]
    assert (word.outcome, word.reason) == ("failed", reason)
    assert named in word.message
    assert "Traceback" not in word.message


def test_data_with_nothing_to_learn_are_refused(make_run, train, events, tmp_path):
    data = tmp_path / "empty.jsonl"
    data.write_text("")
    rundir = make_run(data={"train": str(data)})
    assert train(rundir) == 1
    assert events(rundir)[-1].reason == "bad_data"


def test_a_full_disk_fails_the_run_and_keeps_older_checkpoints(make_run, cache, events, small_disk):
    rundir = make_run(training={"epochs": 4}, checkpoints={"every_steps": 4, "keep": 10}, name=small_disk)

    def clock() -> float:
        if len(rundir.checkpoint_steps()) == 2 and not (rundir.root / "filler").exists():
            free = os.statvfs(rundir.root).f_bavail * os.statvfs(rundir.root).f_bsize
            (rundir.root / "filler").write_bytes(bytes(max(0, free - 65536)))
        return time.time()

    assert run.main(rundir.root, 1, cache, clock) == 1
    word = events(rundir)[-1]
    assert (word.outcome, word.reason) == ("failed", "disk_full")
    assert rundir.checkpoint_steps() == [4, 8]
    assert [path.name for path in rundir.checkpoints.iterdir() if path.name.startswith(".")] == []
    (rundir.root / "filler").unlink()
    assert run.main(rundir.root, 2, cache, time.time) == 0
    assert [event.step for event in events(rundir, "resumed")] == [8]


def test_a_disk_too_full_for_the_last_word_is_told_by_the_exit_code(make_run, cache, capsys):
    rundir = make_run()
    rundir.events.symlink_to("/dev/full")
    assert run.main(rundir.root, 1, cache, time.time) == run.DISK_FULL
    assert capsys.readouterr().err.endswith(f"no room left on the disk of {rundir.root}\n")


class FullCache:
    """What transformers' Auto classes do when the hub cache's disk is full."""

    @staticmethod
    def from_pretrained(name, **_):
        raise OSError(f"can't load {name}") from OSError(errno.ENOSPC, "full")


def test_a_disk_that_fills_while_a_model_comes_is_no_missing_model(cache):
    with pytest.raises(OSError, match="can't load") as caught:
        models._from_source(FullCache, ModelSpec(name="owner/model"), cache)
    assert failures.classify(caught.value)[0] == "disk_full"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB, where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("making a small disk needs root")
    yield "disk/run"
    subprocess.run(["umount", "--lazy", folder], check=True)  # the library may still hold a file open


def test_a_failed_save_leaves_the_checkpoint_before_it(tmp_path):
    folder = tmp_path / "step-000010"
    with folders.written_whole(folder) as scratch:
        (scratch / "weights").write_text("good")
    with pytest.raises(OSError, match="full"):
        _write_badly(folder)
    assert (folder / "weights").read_text() == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["step-000010"]


def test_every_librarys_full_disk_is_known_as_one(small_disk, tmp_path):
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = (tmp_path / small_disk).parent
    tensors = {"weight": torch.zeros(1_000_000)}
    writers = {
        "torch": lambda: torch.save(tensors, folder / "weights.pt"),
        "safetensors": lambda: save_file(tensors, folder / "weights.safetensors"),
        "python": lambda: (folder / "weights").write_bytes(bytes(4_000_000)),
    }
    for name, write in writers.items():
        with pytest.raises((OSError, RuntimeError, SafetensorError)) as caught:
            write()
        assert failures.classify(caught.value)[0] == "disk_full", name
        for path in folder.iterdir():
            path.unlink()


def _write_badly(folder):
    with folders.written_whole(folder) as scratch:
        (scratch / "weights").write_text("bad")
        raise OSError(errno.ENOSPC, "full")


def test_memory_that_cannot_be_had_is_known_as_such():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert failures.classify(caught.value)[0] == "out_of_memory"
    assert failures.classify(torch.OutOfMemoryError("CUDA out of memory."))[0] == "gpu_out_of_memory"
