"""Folders that hold an adapter (LoRA) and no model: what it changes, and how the two become one.

`save_pretrained()` of a model that peft has trained writes such a folder. It names the model that it was trained on;
that name comes from whoever made the adapter, so nothing is fetched for it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fim_magic.regular_files import read_json
from fim_magic.weights.shards import WEIGHTS

CONFIG = "adapter_config.json"

_MODELS = (*WEIGHTS, *(f"{name}.index.json" for name in WEIGHTS))
_LONGEST_NAME = 200  # characters of the model's name that are shown


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no weights of a model, whatever else is there."""
    return (folder / CONFIG).is_file() and not any((folder / name).exists() for name in _MODELS)


def base_of(folder: Path) -> str:
    """Return the name of the model that an adapter was trained on, or "" where its configuration does not tell."""
    try:
        name = read_json(folder / CONFIG).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) else ""


def can_merge() -> bool:
    """Whether what merges adapters is installed."""
    return importlib.util.find_spec("peft") is not None


def explain(folder: Path) -> str:
    """Say what such a folder is, and the lines that make a model of it: to install, or to merge by hand."""
    base = base_of(folder)
    named = f"of {_shown(base)}" if base else "of the model that it was trained on, which it does not name"
    merged = f"{folder}-merged"
    return (
        f"The folder {str(folder)!r} holds an adapter (LoRA) and no model: it changes the weights {named}. To load "
        f"both together, type %pip install peft and then %fim use {folder}. Or make one checkpoint of them, in Python, "
        f"with peft as well (this fetches the model if it is not here): from peft import AutoPeftModelForCausalLM as "
        f"A; A.from_pretrained({str(folder)!r}).merge_and_unload().save_pretrained({merged!r}). It needs the model's "
        f"tokenizer.json beside it; then: %fim use {merged}"
    )


def explain_base(folder: Path) -> str:
    """Say that the model that an adapter changes is not on this machine, and how it comes here."""
    base = _shown(base_of(folder))
    return (
        f"The folder {str(folder)!r} holds an adapter (LoRA): it changes the weights of {base}, which is not on this "
        f"machine as a checkpoint of transformers. Its name comes from the adapter, so nothing was fetched. If it is "
        f"the one that you want, bring it with: fim-magic fetch {base}. Then again: %fim use {folder}"
    )


def _shown(name: str) -> str:
    """Show a name that somebody else has chosen: without control characters, and not at any length."""
    return ascii(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")
