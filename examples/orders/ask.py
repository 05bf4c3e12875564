"""Answers the held-out orders with a model, before or after training, and counts exact matches.

`python examples/orders/ask.py MODEL [--adapter FOLDER]` prints one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from runyard.protocol.specs.language import ModelSpec
from runyard.trainers import quiet
from runyard.trainers.language import models

HELDOUT = Path(__file__).parent / "heldout.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a GGUF file, or a folder")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="where a GGUF file is unpacked, once")
    arguments = parser.parse_args()
    conversations = [json.loads(line)["messages"] for line in HELDOUT.read_text().splitlines()]
    questions = [conversation[:1] for conversation in conversations]
    expected = [conversation[1]["content"] for conversation in conversations]
    given = answers(load(arguments.model, arguments.adapter, arguments.cache), questions)
    rows = [
        {"order": question[0]["content"].partition("\n")[2], "expected": wanted, "given": answer,
         "exact": is_same_json(wanted, answer)}
        for question, wanted, answer in zip(questions, expected, given, strict=True)
    ]  # fmt: skip
    json.dump({"exact": sum(row["exact"] for row in rows), "of": len(rows), "rows": rows}, sys.stdout)


def load(model_path: Path, adapter: Path | None, cache: Path) -> tuple[Any, Any]:
    """Model and tokenizer, as the trainer sees them."""
    quiet.libraries()
    spec = ModelSpec(name=str(model_path))
    model = models.load_model(spec, "fp32", cache, trainable=False)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model, models.load_tokenizer(spec, cache)


def answers(model_and_tokenizer: tuple[Any, Any], questions: list[list[dict[str, str]]]) -> list[str]:
    """Greedy answers, one for each conversation."""
    model, tokenizer = model_and_tokenizer
    tokenizer.padding_side = "left"
    batch = tokenizer.apply_chat_template(
        questions, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
    )
    with torch.inference_mode():
        output = model.generate(**batch, max_new_tokens=48, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    return list(tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True))


def is_same_json(wanted: str, answer: str) -> bool:
    try:
        return bool(json.loads(answer) == json.loads(wanted))
    except ValueError:
        return False


if __name__ == "__main__":
    main()
