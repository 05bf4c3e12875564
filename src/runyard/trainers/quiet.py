"""Libraries that keep quiet: no bars, no advice, no calls home."""

import os
import sys
import warnings


def environment(*, offline: bool) -> None:
    """To be called before any of the libraries is imported."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # else it may take weights from somebody's pull request
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def without_bitsandbytes() -> None:
    """Hide a library that PEFT would import unasked: seconds of start-up, and a complaint where there is no GPU."""
    if "bitsandbytes" not in sys.modules:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]


def libraries() -> None:
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for module in ("transformers", "trl", "peft", "torch", "accelerate", "datasets", "bitsandbytes"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")


def hub() -> None:
    """Everything is loaded: from here on the hub is not asked again, not even whether a file exists."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
