"""Weights and tokenizer as files that others load: used for checkpoints and for the final model alike."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def write(model: Any, tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """The adapter (never a frozen reference beside it) or the whole model, as safetensors, with the tokenizer."""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        # Embeddings are never resized here; letting PEFT find out would ask the hub at every checkpoint.
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
    else:
        model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card: an empty form with local paths in it
    tokenizer.save_pretrained(folder)
