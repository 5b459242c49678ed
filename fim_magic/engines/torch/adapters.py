"""LoRA adapters: merged into the weights of the model that they were trained on, by peft.

What an adapter's configuration says comes from somebody else, and peft imports modules that it names
(`megatron_core`) and computes weights anew by it (`init_lora_weights`). So only those of its fields are taken that say
where its numbers belong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fim_magic.engines.torch.quiet import quiet_transformers
from fim_magic.errors import ModelError
from fim_magic.regular_files import read_json, require_regular

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_LARGEST_RANK = 4096  # more is more than the weights themselves have

_TAKEN = frozenset(
    "r lora_alpha target_modules exclude_modules fan_in_fan_out bias use_rslora use_dora lora_bias modules_to_save "
    "layers_to_transform layers_pattern rank_pattern alpha_pattern".split()
)
"""The fields that say where an adapter's numbers belong, and how they are scaled."""

_NEEDLESS = frozenset(
    "task_type peft_type auto_mapping peft_version base_model_name_or_path revision inference_mode lora_dropout "
    "init_lora_weights megatron_core runtime_config eva_config corda_config loftq_config lora_ga_config "
    "ensure_weight_tying qalora_group_size".split()
)
"""The fields that training needs, or that say what is known here."""


def require_none_beside(folder: Path) -> None:
    """Refuse an adapter beside a model's own weights: transformers would merge it if peft is installed, and else not.

    Raises:
        ModelError: There is one.
    """
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"The folder {str(folder)!r} holds a model and an adapter (LoRA), adapter_config.json, and which of them "
            "is meant is not clear. Move adapter_config.json and adapter_model.safetensors to a folder of their own. "
            "%fim use with that one loads both together, and with this one the model alone."
        )


def merge(model: Any, folder: Path) -> Any:
    """Return a model with the adapter in a folder merged into its weights. It takes no random numbers.

    Raises:
        ValueError: The adapter is of another kind, or does not belong to this model. The message is half a sentence.
    """
    from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict

    config = LoraConfig(task_type="CAUSAL_LM", inference_mode=True, **_fields(folder))
    file = next((folder / name for name in _WEIGHTS if (folder / name).exists()), None)
    if file is None:  # peft would look for it on the Hub
        raise ValueError(f"there is neither {_WEIGHTS[0]} nor {_WEIGHTS[1]} in {folder}")
    require_regular(file)
    weights = load_peft_weights(str(folder), device="cpu")
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        adapted = get_peft_model(model, config, low_cpu_mem_usage=True)
        loaded = set_peft_model_state_dict(adapted, weights, low_cpu_mem_usage=True)
    unknown = list(loaded.unexpected_keys)
    missing = [key for key in loaded.missing_keys if "lora_" in key]
    if unknown or missing:
        raise ValueError(f"the adapter is of another model: {(unknown or missing)[0]} belongs to nothing")
    with quiet_transformers():
        merged = adapted.merge_and_unload(safe_merge=True)
    merged.eval()
    return merged


def _fields(folder: Path) -> dict[str, Any]:
    found = read_json(folder / "adapter_config.json")
    if not isinstance(found, dict):
        raise TypeError("adapter_config.json is no JSON object")
    if found.get("peft_type") != "LORA":
        raise ValueError(
            f"its adapter is of the kind {ascii(found.get('peft_type'))[:40]}, and only LORA can be merged"
        )
    others = sorted(name for name, value in found.items() if value and name not in _TAKEN | _NEEDLESS)
    if others:
        raise ValueError(f"its adapter_config.json has {ascii(others[0])[:40]}, which cannot be merged here")
    taken = {name: value for name, value in found.items() if name in _TAKEN and value is not None}
    for rank in (taken.get("r"), *_values(taken.get("rank_pattern", {}))):
        if type(rank) is not int or not 1 <= rank <= _LARGEST_RANK:
            raise ValueError(f"its adapter_config.json says that the rank is {ascii(rank)[:40]}")
    return taken


def _values(pattern: Any) -> list[Any]:
    return list(pattern.values()) if isinstance(pattern, dict) else [pattern]
