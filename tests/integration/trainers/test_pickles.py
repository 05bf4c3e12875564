"""Loading is executing: nothing that comes from elsewhere is unpickled or run, on resuming neither."""

import json
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from runyard.protocol.emitter import Emitter
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.language import ModelSpec
from runyard.trainers import checkpoints
from runyard.trainers.failures import TrainingError
from runyard.trainers.language import models

pytestmark = pytest.mark.llm

SETTINGS: dict[str, Any] = {
    "training": {"epochs": 2, "batch_size": 4, "micro_batch_size": 4}, "checkpoints": {"every_steps": 3, "keep": 9},
}  # fmt: skip


class Canary:
    """Leaves a file where it is unpickled."""

    def __init__(self, nest: Path) -> None:
        self.nest = nest

    def __reduce__(self) -> Any:
        return Path.touch, (self.nest,)


@pytest.fixture
def nest(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture
def canary(nest: Path) -> bytes:
    return pickle.dumps(Canary(nest))


def test_the_canary_sings(canary: bytes, nest: Path) -> None:
    pickle.loads(canary)
    assert nest.exists()


def zipped(nest: Path, tmp_path: Path) -> bytes:
    """As torch writes it."""
    import torch

    torch.save({"state": Canary(nest)}, tmp_path / "saved")
    return (tmp_path / "saved").read_bytes()


FILES = ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"]


@pytest.mark.parametrize("file", [*FILES, "adapter_model.safetensors", "pytorch_model.bin", "adapter_model.bin"])
def test_a_checkpoint_with_another_file_is_not_gone_on_from(
    file: str, make_run: Any, train: Any, train_until: Any, events: Any, canary: bytes, nest: Path
) -> None:
    rundir = make_run(**SETTINGS)
    step = train_until(rundir, 3, attempt=1)
    (rundir.checkpoint(step) / file).unlink(missing_ok=True)
    (rundir.checkpoint(step) / file).write_bytes(canary)
    assert train(rundir, attempt=2) == 1
    last = events(rundir)[-1]
    assert (last.reason, nest.exists()) == ("bad_config", False)
    assert file in last.message
    assert "not as it was written" in last.message
    shutil.rmtree(rundir.checkpoint(step))
    assert train(rundir, attempt=3) == 0, "it begins anew, or with the one before"


def forget_the_checkpoint(rundir: Any) -> None:
    """As if the run had been killed before it could tell."""
    lines = rundir.events.read_bytes().splitlines(keepends=True)
    told = next(number for number, line in enumerate(lines) if b'"type":"checkpoint"' in line)
    rundir.events.write_bytes(b"".join(lines[:told]))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_nor_runs_what_nobody_has_told_of(
    file: str, wrapped: bool, make_run: Any, train: Any, train_until: Any, canary: bytes, nest: Path, tmp_path: Path
) -> None:
    """Without a record, as after a kill in the wrong moment, the library's own care is left."""
    rundir = make_run(**SETTINGS)
    step = train_until(rundir, 3, attempt=1)
    forget_the_checkpoint(rundir)
    (rundir.checkpoint(step) / file).write_bytes(zipped(nest, tmp_path) if wrapped else canary)
    train(rundir, attempt=2)
    assert not nest.exists()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "deep/model.pt"])
def test_nor_has_it_kinds_of_files_that_we_do_not_write(
    file: str, make_run: Any, train: Any, train_until: Any, events: Any, canary: bytes, nest: Path
) -> None:
    rundir = make_run(**SETTINGS)
    step = train_until(rundir, 3, attempt=1)
    forget_the_checkpoint(rundir)
    (rundir.checkpoint(step) / file).parent.mkdir(exist_ok=True)
    (rundir.checkpoint(step) / file).write_bytes(canary)
    assert train(rundir, attempt=2) == 1
    assert file in events(rundir)[-1].message
    assert not nest.exists()


@pytest.mark.parametrize("file", ["optimizer.pt", "rng_state.pth"])
def test_nor_is_that_of_another_run(
    file: str, make_run: Any, train: Any, events: Any, canary: bytes, nest: Path
) -> None:
    first = make_run("first", **SETTINGS)
    assert train(first) == 0
    (first.checkpoint(6) / file).write_bytes(canary)
    second = make_run("second", **SETTINGS, continue_from=str(first.checkpoint(6)))
    assert train(second) == 1
    assert "not as it was written" in events(second)[-1].message
    assert not nest.exists()


def test_a_model_in_pickles_is_refused_with_what_to_do(
    model: Path, tmp_path: Path, cache: Path, canary: bytes, nest: Path
) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(model, folder)
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt"):
        (folder / name).write_bytes(canary)
        with pytest.raises(TrainingError, match="convert it to safetensors"):
            models.load_config(ModelSpec(name=str(folder)), cache)
        with pytest.raises(TrainingError, match="convert it to safetensors"):
            models.load_model(ModelSpec(name=str(folder)), "fp32", cache, trainable=False)
        (folder / name).unlink()
    assert not nest.exists()


def test_pickles_beside_safetensors_are_left_alone(
    model: Path, tmp_path: Path, cache: Path, canary: bytes, nest: Path
) -> None:
    folder = tmp_path / "both"
    shutil.copytree(model, folder)
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(canary)
    models.load_model(ModelSpec(name=str(folder)), "fp32", cache, trainable=False)
    models.load_tokenizer(ModelSpec(name=str(folder)), cache)
    assert not nest.exists()


def test_an_adapter_is_not_followed_to_its_base(model: Path, tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(model, folder)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    with pytest.raises(TrainingError, match="is an adapter"):
        models.load_model(ModelSpec(name=str(folder)), "fp32", cache, trainable=False)


def with_code(model: Path, folder: Path, nest: Path, where: str, kind: str) -> Path:
    """The model with code beside it, named in one of its files."""
    shutil.copytree(model, folder)
    (folder / "own.py").write_text(
        f"from pathlib import Path\nPath({str(nest)!r}).touch()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    content = json.loads((folder / where).read_text())
    content["auto_map"] = (
        {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
        if where == "config.json"
        else {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    )
    if kind == "unknown" and where == "config.json":
        content["model_type"] = "own"
    (folder / where).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", ["known", "unknown"])
def test_a_model_that_brings_code_is_refused(
    where: str, kind: str, model: Path, make_run: Any, train: Any, events: Any, tmp_path: Path, nest: Path
) -> None:
    folder = with_code(model, tmp_path / "coded", nest, where, kind)
    rundir = make_run(model={"name": str(folder)})
    assert train(rundir) == 1
    last = events(rundir)[-1]
    assert (last.reason, nest.exists()) == ("bad_config", False)
    assert "auto_map" in last.message
    assert "model.trust_remote_code" in last.message


def test_and_is_run_where_it_is_trusted(
    model: Path, tmp_path: Path, cache: Path, nest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = with_code(model, tmp_path / "coded", nest, "config.json", "unknown")
    found = models.load_model(ModelSpec(name=str(folder), trust_remote_code=True), "fp32", cache, trainable=False)
    assert type(found).__name__ == "OwnModel"
    assert nest.exists()


def test_code_in_the_folder_of_a_gguf_file_is_none_of_it(model: Path, tmp_path: Path, cache: Path, nest: Path) -> None:
    folder = with_code(model, tmp_path / "coded", nest, "tokenizer_config.json", "known")
    (folder / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(TrainingError, match="can't be read as a GGUF"):
        models.load_tokenizer(ModelSpec(name=str(folder / "broken.gguf")), cache)
    assert not nest.exists()


def test_a_run_from_before_the_setting_goes_on(make_run: Any, train: Any, train_until: Any, events: Any) -> None:
    rundir = make_run(**SETTINGS)
    train_until(rundir, 3, attempt=1)
    choices = json.loads((rundir.root / "choices.json").read_text())
    assert "model.trust_remote_code" not in choices["spec"]
    assert train(rundir, attempt=2) == 0, events(rundir)[-1]


def test_what_was_told_of_a_checkpoint_is_void_once_the_run_was_set_back_before_it(tmp_path: Path) -> None:
    """Written again, and killed before it could tell, it has other files than those that were told of."""
    rundir = RunDir(tmp_path)
    told = {"weights": "of the first"}
    with Emitter(rundir, 1, time.time) as emitter:
        emitter.checkpoint(10, "checkpoints/step-000010", 1, {}, best=True, files=told)
    assert checkpoints.reported(rundir, 10) == told
    assert checkpoints.reported(rundir, 5) is None
    with Emitter(rundir, 2, time.time) as emitter:
        emitter.resumed(10, "checkpoints/step-000010")
    assert checkpoints.reported(rundir, 10) == told, "it goes on from it"
    with Emitter(rundir, 3, time.time) as emitter:
        emitter.resumed(5, "checkpoints/step-000005")
    assert checkpoints.reported(rundir, 10) is None
