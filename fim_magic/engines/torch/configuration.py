"""A checkpoint's config.json as transformers' configuration, without what would make transformers reach out for more.

A configuration comes from somebody else. Beside the shape of the model it can name an implementation of the attention
that is then fetched from the Hub and run (`_attn_implementation: "owner/kernel"`), another file to read in its place,
other weights, or patches to transformers' classes. What we have read is what is loaded, and none of those are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from fim_magic.engines.torch.footprint import require_plausible
from fim_magic.quiet import without_warnings
from fim_magic.regular_files import read_json

_NOT_THEIRS = frozenset(
    {
        "attn_implementation",  # how it is computed is for this machine to decide; a name with a slash is a kernel
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "_experts_implementation_internal",
        "use_kernels",
        "kernel_config",
        "fusion_config",  # patches the classes of the whole process
        "distributed_config",
        "configuration_files",  # names another file that is read instead
        "transformers_weights",  # names other weights
        "custom_generate",
        "auto_map",  # where its own code is
        "_name_or_path",
        "name_or_path",
        "_commit_hash",
        "num_labels",  # of a classifier: each gets a name, and there may be 2^63 of them
        "id2label",
        "label2id",
    }
)
"""Keys that are left out, on every level."""

_READ_BY_PACKAGES = frozenset(
    {
        *("aqlm", "auto-round", "awq", "bitnet", "bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"),
        *("compressed-tensors", "eetq", "fbgemm_fp8", "fp_quant", "gptq", "higgs", "hqq", "quanto", "quark", "sinq"),
        *("spqr", "torchao", "vptq"),
    }
)
"""How weights may be stored: what reads these is a package that the user has installed, or nothing does.

transformers fetches the programs for the others (fp8, mxfp4, metal, nvfp4) from the Hub as it loads them.
"""

_FLOAT = "__float__"  # how transformers writes numbers that JSON does not have
_IDS = 2**31  # more than there are ids
_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def without_foreign_parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the keys that reach beyond the checkpoint, on every level.

    Args:
        config: As `read_json` gives it, which bounds how deep it nests.
    """
    return {key: _cleaned(value) for key, value in config.items() if key not in _NOT_THEIRS}


def read_configuration(config: Mapping[str, Any]) -> PretrainedConfig:
    """Return the configuration that a config.json describes, of an architecture that transformers knows.

    Raises:
        ValueError: It does not name one, or has more layers than any model, or its weights are stored in a way that
            needs programs from the Hub.
    """
    require_plausible(config)
    for stored in _quantisations(config):
        _require_readable(stored)
    values = without_foreign_parts(config)
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"its config.json names {model_type!r} as its model_type, which this version of transformers does not know"
        )
    if model_type == "mistral" and "layer_types" in values and "ministral" in CONFIG_MAPPING:  # as AutoConfig has it
        values["model_type"] = model_type = "ministral"
    found: PretrainedConfig = CONFIG_MAPPING[model_type].from_dict(values)
    return found


def read_configuration_with_code(folder: Path) -> PretrainedConfig:
    """Return the configuration that a checkpoint's own code makes. That runs it."""
    found: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=True)
    return found


def read_generation_config(folder: Path, config: PretrainedConfig) -> GenerationConfig:
    """Return the tokens that a checkpoint says begin, end and fill a text, and nothing else of how to generate.

    Args:
        folder: Of the checkpoint; its generation_config.json says it, or else its configuration.
        config: Its configuration.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        stated = read_json(folder / "generation_config.json")
    except FileNotFoundError:
        stated = {key: getattr(config, key, None) for key in _ENDS}
    if not isinstance(stated, dict):
        raise TypeError("generation_config.json is no JSON object")
    return GenerationConfig(**{key: _ids(key, stated.get(key)) for key in _ENDS})


def _ids(key: str, value: Any) -> Any:
    """The ids of tokens that a key names, or None: -1 is how some say that there is none."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if any(isinstance(token, bool) or not isinstance(token, int) for token in ids):
        raise ValueError(f"its {key} is {str(value)[:40]!r}, which is no token")
    known = [token for token in ids if 0 <= token < _IDS]
    return known if isinstance(value, list) else next(iter(known), None)


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {_FLOAT}:
            return float(value[_FLOAT])
        return without_foreign_parts(value)
    return [_cleaned(part) for part in value] if isinstance(value, list) else value


def _quantisations(value: Any) -> Iterator[Any]:
    """What is said of how weights are stored, on every level: transformers may take a part for the whole."""
    if isinstance(value, Mapping):
        if value.get("quantization_config") is not None:
            yield value["quantization_config"]
        value = [*value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _quantisations(part)


def _require_readable(stored: Any) -> None:
    if not isinstance(stored, Mapping):
        raise TypeError("the quantization_config in its config.json is no JSON object")
    method: Any = stored.get("quant_method") or ("bitsandbytes" if _is_bitsandbytes(stored) else None)
    if not isinstance(method, str) or method not in _READ_BY_PACKAGES:
        raise ValueError(
            f"its weights are stored in the form {method!r}, for which transformers fetches programs from the Hub, or "
            "knows nothing; take a copy in safetensors that is not quantised, or a .gguf file"
        )


def _is_bitsandbytes(stored: Mapping[str, Any]) -> bool:
    return bool(stored.get("load_in_8bit") or stored.get("load_in_4bit"))


def model_without_numbers(config: PretrainedConfig) -> Any:
    """Return the model of transformers that a configuration describes, with shapes and without numbers."""
    # In the process's own dtype: while transformers makes a model, its dtype is the default of all threads. It also
    # writes it into the configuration.
    dtype, described = torch.get_default_dtype(), copy.deepcopy(config)
    with without_warnings(), torch.device("meta"):
        return AutoModelForCausalLM.from_config(described, dtype=dtype)
