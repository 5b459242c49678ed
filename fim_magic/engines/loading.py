"""A checkpoint's folder as a model and a tokenizer in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from fim_magic.errors import ModelError
from fim_magic.tokenization import TextTokenizer


def load_checkpoint(folder: Path, name: str) -> tuple[Any, TextTokenizer]:
    """Load the checkpoint in `folder`.

    Weights come from safetensors only, and code that a checkpoint brings along is never run.

    Args:
        folder: In transformers layout: config.json, tokenizer.json, safetensors.
        name: What the user called it, for errors.

    Raises:
        ModelError: It cannot be loaded.
    """
    device = _device()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype_for(device),
            device_map="auto" if device.type == "cuda" else None,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(_cannot_load(name, error)) from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    if loading["missing_keys"]:  # transformers would go on with random numbers in their place
        absent = sorted(loading["missing_keys"])
        raise ModelError(_cannot_load(name, ValueError(f"{len(absent)} weights are absent, such as {absent[0]}")))
    model.eval()
    rows = int(model.get_input_embeddings().weight.shape[0])
    return model, TextTokenizer.from_folder(folder, rows)


def dtype_for(device: torch.device) -> torch.dtype:
    """Return the precision in which this device computes well.

    bfloat16 where CUDA computes it natively (compute capability 8 and up), float16 on older CUDA devices, float32 on
    the CPU: matrix products in 16 bits run many times slower on processors that lack the instructions.
    """
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16  # noqa: PLR2004


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _cannot_load(name: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in str(error):
        reason = "it needs code of its own, which is not run here"
    return (
        f"The model {name} could not be loaded: {reason}. %fim doctor shows versions and memory; %fim models lists "
        "the models that are known to work."
    )
