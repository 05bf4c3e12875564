"""GGUF files as training sees them: unpacked once, kept as an ordinary model folder in the cache.

Reading a GGUF's header takes transformers tens of seconds, again for config, tokenizer and weights. The first use pays
for it; later ones load the folder in about a second. The folder is a cache: it may be deleted at any time.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runyard.trainers.failures import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf")


def described(file: Path, cache: Path) -> Path:
    """A folder with the file's config and tokenizer."""
    folder = _folder(file, cache) / "description"
    if not folder.is_dir():
        with _made_whole(folder) as unfinished:
            _write_description(file, unfinished)
    return folder


def load_model(file: Path, cache: Path, options: dict[str, Any]) -> "PreTrainedModel":
    """The model with every weight unpacked. `options` go to `from_pretrained`."""
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

    folder = _folder(file, cache) / f"weights-{str(options['dtype']).removeprefix('torch.')}"
    if folder.is_dir():
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        config=AutoConfig.from_pretrained(described(file, cache)),
        quantization_config=GgufConfig(dequantize=True),
        local_files_only=True,
        trust_remote_code=False,
        **options,
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # or a saved copy would claim to be a GGUF still
    with contextlib.suppress(OSError), _made_whole(folder) as unfinished:  # a full cache disk is no reason to fail
        model.save_pretrained(unfinished)
    return model


def _write_description(file: Path, folder: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    try:
        source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name, "trust_remote_code": False}
        AutoConfig.from_pretrained(**source, local_files_only=True).save_pretrained(folder)
        AutoTokenizer.from_pretrained(**source, local_files_only=True).save_pretrained(folder)
    except (ValueError, KeyError, OSError, IndexError) as error:
        raise TrainingError("model_not_found", f"{file} can't be read as a GGUF language model: {error}") from error


def _folder(file: Path, cache: Path) -> Path:
    status = file.stat()
    identity = f"{file.resolve()}:{status.st_size}:{status.st_mtime_ns}"
    folder = cache / "gguf" / f"{file.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    with contextlib.suppress(OSError):
        os.utime(folder)  # what is used last is removed last
    return folder


@contextlib.contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """A folder that appears under its name only when everything in it is written; the first of two writers wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        with contextlib.suppress(OSError):
            os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
