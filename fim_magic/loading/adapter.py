"""Folders that hold an adapter (LoRA) and no model: what it changes, and how the two become one.

`save_pretrained()` of a model that peft has trained writes such a folder. It names the model that it was trained on;
that name comes from whoever made the adapter, so nothing is fetched for it.
"""

from __future__ import annotations

import json
from pathlib import Path

CONFIG = "adapter_config.json"

_LARGEST_CONFIG = 2**20  # bytes; a usual one has some hundred
_LONGEST_NAME = 200  # characters of the model's name that are shown


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def base_of(folder: Path) -> str:
    """Return the name of the model that an adapter was trained on, or "" where its configuration does not tell."""
    path = folder / CONFIG
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            return ""
        name = json.loads(path.read_text("utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""


def explain(folder: Path) -> str:
    """Say what such a folder is, and the lines that make a model of it."""
    base = base_of(folder)
    named = f"of {_shown(base)}" if base else "of the model that it was trained on, which it does not name"
    merged = f"{folder}-merged"
    return (
        f"The folder {str(folder)!r} holds an adapter (LoRA) and no model: it changes the weights {named}. Make one "
        f"checkpoint of both, in Python, and name that. It fetches that model if it is not here. First: "
        f"%pip install peft. Then: from peft import AutoPeftModelForCausalLM as A; "
        f"A.from_pretrained({str(folder)!r}).merge_and_unload().save_pretrained({merged!r}). "
        f"Then copy tokenizer.json from where that model is to {merged!r}, and: %fim use {merged}"
    )


def _shown(name: str) -> str:
    """Show a name that somebody else has chosen: without control characters, and not at any length."""
    return ascii(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")
