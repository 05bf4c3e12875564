"""Models from files: a GGUF is unpacked once and trained like any other."""

import json

import pytest

from runyard.protocol.specs.language import ModelSpec
from runyard.trainers.failures import TrainingError
from runyard.trainers.language import models

pytestmark = pytest.mark.llm


@pytest.fixture
def gguf_file(tmp_path, model):
    """The tiny model in 8-bit blocks, with its tokenizer inside."""
    import gguf
    from safetensors.torch import load_file
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in special else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_pad_token_id(config.pad_token_id)
    writer.add_chat_template((model / "chat_template.jinja").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    block = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in load_file(model / "model.safetensors").items():
        short = names.get_name(name, try_suffixes=(".weight",))
        values = tensor.numpy()
        if values.ndim == 2:
            writer.add_tensor(short, gguf.quants.quantize(values, block), raw_dtype=block)
        else:
            writer.add_tensor(short, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "tiny.gguf"


def test_a_gguf_file_is_trained_merged_and_kept_unpacked(gguf_file, make_run, train, cache, events):
    from transformers import AutoModelForCausalLM

    rundir = make_run(model={"name": str(gguf_file)}, output={"merge": True})
    assert train(rundir) == 0, events(rundir)[-1]
    config = json.loads((rundir.merged / "config.json").read_text())
    assert "quantization_config" not in config
    assert json.loads((rundir.final / "adapter_config.json").read_text())["base_model_name_or_path"] == str(gguf_file)
    AutoModelForCausalLM.from_pretrained(rundir.merged)
    [unpacked] = (cache / "gguf").iterdir()
    assert sorted(path.name for path in unpacked.iterdir()) == ["description", "weights-float32"]


def test_a_gguf_model_can_be_fully_fine_tuned(gguf_file, make_run, train, events):
    rundir = make_run(kind="dpo", model={"name": str(gguf_file)}, adapter={"type": "none"})
    assert train(rundir) == 0, events(rundir)[-1]
    assert (rundir.final / "model.safetensors").exists()


def test_a_broken_gguf_file_is_named(tmp_path, cache):
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(TrainingError, match=r"broken\.gguf can't be read"):
        models.load_tokenizer(ModelSpec(name=str(file)), cache)


@pytest.mark.parametrize(
    ("files", "missing"), [([], "holds no config.json"), (["config.json"], r"no weights \(\*\.safetensors")]
)
def test_a_folder_that_is_no_model_is_named(files, missing, tmp_path, cache):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(TrainingError, match=missing):
        models.load_config(ModelSpec(name=str(tmp_path)), cache)


def test_the_plan_knows_the_sizes_of_a_model(model, cache):
    from transformers import AutoModelForCausalLM

    shape = models.shape(models.load_config(ModelSpec(name=str(model)), cache))
    assert (shape.layers, shape.hidden, shape.max_positions) == (2, 32, 256)
    counted = AutoModelForCausalLM.from_pretrained(model).num_parameters()
    assert shape.parameters == pytest.approx(counted, rel=0.02)
