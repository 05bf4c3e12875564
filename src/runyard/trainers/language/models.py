"""Tokenizers and models from a hub name, a folder or a GGUF file.

Of what comes from elsewhere nothing is run: weights are read from safetensors or GGUF alone, never unpickled, and the
code that a model brings is left alone unless the job, and on a server its operator, trusts it.
"""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runyard.protocol.specs.language import DType, LanguageSpec, ModelSpec
from runyard.trainers.failures import TrainingError, is_disk_full
from runyard.trainers.language import arrivals, gguf
from runyard.trainers.machine import Machine

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

WEIGHT_FILES = "*.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
DESCRIPTIONS = ("config.json", "tokenizer_config.json")
CONVERT = "convert it to safetensors first, with save_pretrained(FOLDER) where it is trusted"


@dataclass(frozen=True)
class ModelShape:
    """The sizes that memory depends on."""

    parameters: int
    layers: int
    hidden: int
    max_positions: int | None = None


def load_config(model: ModelSpec, cache: Path) -> "PretrainedConfig":
    """Raises TrainingError(model_not_found) saying where the model was looked for."""
    from transformers import AutoConfig

    return _from_source(AutoConfig, model, cache)


def load_tokenizer(model: ModelSpec, cache: Path) -> "PreTrainedTokenizerBase":
    """Raises TrainingError(model_not_found). A tokenizer with no padding token pads with its end-of-text token."""
    from transformers import AutoTokenizer

    tokenizer = _from_source(AutoTokenizer, model, cache)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    model: ModelSpec, dtype: DType, cache: Path, *, trainable: bool, arrived: Callable[[int], None] | None = None
) -> "PreTrainedModel":
    """The base model with no adapter. Weights are held in `dtype`, but in fp32 when every weight is to be trained.

    Small updates vanish in 16-bit weights, so a fully trained model computes in `dtype` over fp32 weights. `arrived`
    is told, from another thread, how many kilobytes have come from the hub.
    """
    import torch
    from transformers import AutoModelForCausalLM

    weights = torch.float32 if trainable else getattr(torch, TORCH_DTYPES[dtype])
    options: dict[str, Any] = {"dtype": weights, "use_safetensors": True}
    if model.quantization:
        options |= {"quantization_config": _quantization(model, dtype), "device_map": {"": 0}}
    if gguf.is_gguf(model.name):
        loaded = gguf.load_model(Path(model.name), cache, options)
    else:
        is_here = Path(model.name).is_dir() or _looks_like_path(model.name)
        _refuse_adapter(model, is_here=is_here)
        with arrivals.told(model.name, arrived) if arrived and not is_here else nullcontext():
            loaded = _from_source(AutoModelForCausalLM, model, cache, **options)
    # What an adapter names as its base: the name that was asked for, not a cache folder.
    loaded.name_or_path = loaded.config._name_or_path = model.name
    return loaded


TORCH_DTYPES: dict[DType, str] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def adapter_config(spec: LanguageSpec) -> "LoraConfig | None":
    if spec.adapter.type == "none":
        return None
    from peft import LoraConfig

    adapter = spec.adapter
    targets = adapter.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_dora=adapter.type == "dora",
        revision=spec.model.revision,
    )


def shape(config: "PretrainedConfig") -> ModelShape:
    """Sizes from a config; the number of parameters is that of a decoder with gated MLP, close enough to plan with."""
    text = config.get_text_config()
    hidden, layers = text.hidden_size, text.num_hidden_layers
    intermediate = getattr(text, "intermediate_size", None) or 4 * hidden
    heads = text.num_attention_heads
    key_value_share = (getattr(text, "num_key_value_heads", None) or heads) / heads
    block = hidden * hidden * (2 + 2 * key_value_share) + 3 * hidden * intermediate
    embeddings = text.vocab_size * hidden * (1 if getattr(text, "tie_word_embeddings", True) else 2)
    return ModelShape(
        parameters=int(layers * block + embeddings),
        layers=layers,
        hidden=hidden,
        max_positions=getattr(text, "max_position_embeddings", None),
    )


def quantization_problem(model: ModelSpec, machine: Machine) -> str | None:
    """Why the asked-for 4- or 8-bit loading can't work here."""
    if model.quantization is None:
        return None
    if machine.gpu is None:
        return (
            f"{model.quantization} loading needs an NVIDIA GPU (bitsandbytes computes on it) and there is none here: "
            "leave model.quantization out, or run the job on a machine with a GPU"
        )
    if gguf.is_gguf(model.name):
        return "a GGUF file is unpacked when it is loaded and can't be quantized again: leave model.quantization out"
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        return f"{model.quantization} loading needs the package bitsandbytes: pip install bitsandbytes"
    return None


def _quantization(model: ModelSpec, dtype: DType) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    if model.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, TORCH_DTYPES[dtype]),
    )


def _from_source(auto: Any, model: ModelSpec, cache: Path, **options: Any) -> Any:
    """Load with a transformers Auto class; every way in which the model can be missing becomes one error."""
    name = model.name
    if gguf.is_gguf(name):
        if not Path(name).is_file():
            raise _not_found(f"there is no file {name}")
        return auto.from_pretrained(gguf.described(Path(name), cache), **options)
    if Path(name).is_dir():
        _check_folder(Path(name), model)
        options["trust_remote_code"] = model.trust_remote_code
        return auto.from_pretrained(name, local_files_only=True, **options)
    if _looks_like_path(name):
        raise _not_found(f"there is no folder or file {name}")
    return _from_hub(auto, model, options)


def _from_hub(auto: Any, model: ModelSpec, options: dict[str, Any]) -> Any:
    name, trusted = model.name, model.trust_remote_code
    try:
        return auto.from_pretrained(name, revision=model.revision, trust_remote_code=trusted, **options)
    except OSError as error:
        if is_disk_full(error):
            raise
        if "safetensors" in str(error):
            raise TrainingError("bad_config", f"{name} has no weights in safetensors: {CONVERT}") from error
        raise _not_found(_hub_trouble(model, error)) from error
    except ValueError as error:
        if trusted or "trust_remote_code" not in str(error):
            raise
        raise _brings_code(name) from error


def _check_folder(folder: Path, model: ModelSpec) -> None:
    if not (folder / "config.json").is_file():
        raise _not_found(f"the folder {folder} holds no config.json, so it is not a model")
    if next(folder.glob(WEIGHT_FILES), None) is None:
        if any(next(folder.glob(pattern), None) for pattern in PICKLED):
            raise TrainingError("bad_config", f"the folder {folder} has its weights in pickle files: {CONVERT}")
        raise _not_found(f"the folder {folder} holds no weights ({WEIGHT_FILES})")
    if not model.trust_remote_code and any(_names_code(folder / name) for name in DESCRIPTIONS):
        raise _brings_code(str(folder))


def _names_code(file: Path) -> bool:
    try:
        content = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(content, dict) and bool(content.get("auto_map"))


def _brings_code(name: str) -> TrainingError:
    return TrainingError(
        "bad_config",
        f"{name} brings code of its own (auto_map in its configuration), which is not run: choose a model that "
        "transformers knows by itself, or set model.trust_remote_code once you have read the code; on a server, an "
        "operator has to allow it for that model",
    )


def _refuse_adapter(model: ModelSpec, *, is_here: bool) -> None:
    """The library would load whatever the adapter names as its base, from any folder of this machine."""
    from transformers.utils import find_adapter_config_file

    if is_here and not Path(model.name).is_dir():
        return
    if find_adapter_config_file(model.name, revision=model.revision, local_files_only=is_here):
        raise TrainingError("bad_config", f"{model.name} is an adapter, not a model: merge it with its base first")


def _looks_like_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or name.count("/") > 1


def _not_found(text: str) -> TrainingError:
    return TrainingError("model_not_found", f"model not found: {text}")


def _hub_trouble(model: ModelSpec, error: OSError) -> str:
    from huggingface_hub import constants

    wanted = f"{model.name} at revision {model.revision}" if model.revision else model.name
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    hub = "the hub is switched off (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else f"the hub said: {reason}"
    return (
        f"{wanted} is no folder or GGUF file here, is not in the hub cache, and {hub}. "
        "Check the name, give a local folder, or log in (hf auth login) when the model is private"
    )
