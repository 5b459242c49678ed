"""Where a checkpoint is loaded and in what precision, decided from what it needs and what is free, before it is.

A model goes whole onto one GPU if it fits there, else onto several, else onto GPUs with a part of it in the CPU's
memory, else onto the CPU. What fits nowhere is refused with the numbers: a kernel that runs out of memory dies, with
all that the user has in it.
"""

from __future__ import annotations

import bisect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fim_magic import catalog
from fim_magic.engines.memory import free_memory, gigabytes
from fim_magic.engines.torch.architectures import KNOWN
from fim_magic.engines.torch.devices import QUANTISATIONS, THIS_MACHINE, Devices, dtype_for, require_quantisation
from fim_magic.engines.torch.footprint import (
    BYTES_PACKED_OF_ALL,
    BYTES_QUANTISED,
    TOKENS_CONSIDERED,
    WeightsSize,
    cache_bytes,
    context_of,
)
from fim_magic.errors import ModelError, OptionError

_WORKING = 256_000_000  # bytes: activations of the 512 tokens that are read at once, workspaces of the libraries
# Below this, a prompt has no room. It is all that is demanded beside the weights: their size is known exactly, the rest
# is an estimate, and too low an estimate only means that the context is kept short.
_LEAST_CONTEXT = 512
_CPU_SHARE = 0.9  # of the CPU's free memory, for offloading: loading passes through it as well
_ROUNDING = 0.98  # the catalogue's billions of parameters are rounded


@dataclass(frozen=True)
class Placement:
    """Where a checkpoint is loaded.

    Attributes:
        arguments: For `AutoModelForCausalLM.from_pretrained`: dtype, device_map, max_memory, quantization_config.
        description: For the user: "cuda:0, bfloat16".
        weights: Bytes that the weights take.
        cache: Bytes that one candidate's KV cache takes, for a context of at most 8192 tokens.
        free: Bytes that were free there, the memory of the model that it replaces counted in.
        context: How many tokens the KV cache has room for, if that is fewer than the model reads; else None.
        held: Bytes that unloading it gives back, by device. Weights that a CPU maps from their file are not among them:
            the system counts their memory as free all the time.
        notice: What the user should know of it, or "".
    """

    arguments: Mapping[str, Any]
    description: str
    weights: int
    cache: int
    free: int
    context: int | None = None
    held: Mapping[str, int] = field(default_factory=dict)
    notice: str = ""


def plan(
    weights: WeightsSize,
    config: Mapping[str, Any],
    *,
    name: str,
    quantize: str | None = None,
    free: Mapping[str, int] | None = None,
    devices: Devices = THIS_MACHINE,
) -> Placement:
    """Decide where a checkpoint is loaded. Nothing is loaded yet.

    Args:
        weights: What its weights take.
        config: Its config.json.
        name: What the user called it.
        quantize: "8bit" or "4bit", for bitsandbytes on CUDA and for packed weights on a CPU; None for the precision in
            which the device computes well.
        free: Bytes that it may take on each device; None is what is free now.
        devices: What they can do.

    Raises:
        OptionError: This machine, or this checkpoint, cannot be quantised so.
        ModelError: It does not fit.
    """
    require_quantisation(quantize, devices)
    if quantize is not None:
        require_not_stored_quantised(config, name)
    return _first_that_fits(_Model(name, weights, config, quantize, devices), free_memory() if free is None else free)


def plan_packed(weights: WeightsSize, config: Mapping[str, Any], *, name: str, free: int) -> Placement:
    """Decide how packed weights are loaded on the CPU; arguments and errors are those of [`plan`][]."""
    found = _first_that_fits(_Model(name, weights, config, None, THIS_MACHINE), {"cpu": free})
    return replace(found, description="cpu, packed")


def require_room_for(
    name: str,
    parameters: float,
    *,
    quantize: str | None = None,
    free: Mapping[str, int] | None = None,
    devices: Devices = THIS_MACHINE,
) -> None:
    """Refuse a model that cannot fit, before it is fetched.

    Args:
        name: What the user called it.
        parameters: Billions of them, from the catalogue.
        quantize: As of [`plan`][].
        free: As of [`plan`][].
        devices: As of [`plan`][].

    Raises:
        OptionError: This machine cannot quantise.
        ModelError: It does not fit.
    """
    require_quantisation(quantize, devices)
    elements = int(parameters * 1e9 * _ROUNDING)
    model = _Model(name, WeightsSize(elements, linear=elements), {}, quantize, devices)
    _first_that_fits(model, free_memory() if free is None else free)


def require_not_stored_quantised(config: Mapping[str, Any], name: str) -> None:
    """Refuse to quantise a checkpoint that is stored so.

    Args:
        config: Its config.json.
        name: What the user called it.

    Raises:
        OptionError: It is.
    """
    stored = config.get("quantization_config")
    if stored is not None:
        method = stored.get("quant_method", "") if isinstance(stored, Mapping) else ""
        raise OptionError(f"{name} is stored quantised already{f' ({method})' if method else ''}. Omit --quantize.")


@dataclass(frozen=True)
class _Model:
    """What is to be placed, and on which devices."""

    name: str
    weights: WeightsSize
    config: Mapping[str, Any]
    quantize: str | None
    devices: Devices

    @property
    def tokens(self) -> int:
        """For how much context memory is computed."""
        return min(context_of(self.config) or TOKENS_CONSIDERED, TOKENS_CONSIDERED)

    @property
    def is_packed(self) -> bool:
        """Whether it is quantised on the CPU."""
        return self.quantize is not None and not self.devices.has_cuda()

    @property
    def can_be_packed(self) -> bool:
        """Whether `--quantize` takes it on a CPU, as far as that is known."""
        entry = catalog.find(self.name) or catalog.by_repo(self.name)
        if entry is not None:
            return entry.can_be_packed
        return self.config.get("model_type") in KNOWN and not self.weights.packed

    def bytes_at(self, dtype: torch.dtype) -> int:
        if self.quantize is not None and self.is_packed:
            return self.weights.bytes_packed(self.quantize)
        return self.weights.bytes_at(dtype.itemsize, self.quantize)

    def cache_at(self, dtype: torch.dtype) -> int:
        return self._cache_bytes(self.tokens, dtype)

    def tokens_in(self, room: int, dtype: torch.dtype) -> int:
        """How many tokens' KV cache fits into `room` bytes, at most `tokens`; -1 if not even none does."""
        sizes = range(self.tokens + 1)
        return bisect.bisect_right(sizes, room, key=lambda count: self._cache_bytes(count, dtype)) - 1

    def _cache_bytes(self, tokens: int, dtype: torch.dtype) -> int:
        ours = self.config.get("model_type") in KNOWN
        return cache_bytes(self.config, tokens, dtype.itemsize, beyond_windows=ours)


def _first_that_fits(model: _Model, free: Mapping[str, int]) -> Placement:
    placement = next(_fitting(model, free), None)
    if placement is None:
        raise ModelError(_refusal(model, free))
    return placement


def _fitting(model: _Model, free: Mapping[str, int]) -> Iterator[Placement]:
    """The places where the model fits, the best first: one GPU needs no copying between devices."""
    gpus = _gpus(free)
    if gpus:
        one = list(_on_one(model, max(gpus, key=lambda device: gpus[device]), free))
        yield from (placement for placement in one if placement.context is None)
        yield from _on_several(model, gpus, free["cpu"])
        yield from one  # with a shorter context; better than with layers elsewhere
        yield from _offloaded(model, gpus, free["cpu"])
    elif "mps" in free:
        yield from _on_one(model, "mps", free)
    if model.quantize is None or model.is_packed:
        too_little = [f"{gigabytes(size)} are free on {device}" for device, size in free.items() if device != "cpu"]
        notice = f"It runs on the CPU, which is slow, because only {' and '.join(too_little)}." if too_little else ""
        yield from _on_one(model, "cpu", free, notice)


def _on_one(model: _Model, device: str, free: Mapping[str, int], notice: str = "") -> Iterator[Placement]:
    dtype = _dtype(model, [device])
    weights = model.bytes_at(dtype)
    tokens = model.tokens_in(free[device] - weights - _WORKING, dtype)
    if tokens < min(_LEAST_CONTEXT, model.tokens):
        return
    short = tokens < model.tokens
    # On a CPU, weights that are stored as they are computed with are read through a memory map; but not on Windows.
    stored = weights if model.is_packed else model.weights.float32
    mapped = stored if device == "cpu" and sys.platform != "win32" else 0
    yield Placement(
        arguments=_arguments(model, dtype) | ({} if device == "cpu" else {"device_map": device}),
        description=f"{device}, {_precision(model, dtype)}",
        weights=weights,
        cache=model.cache_at(dtype),
        free=free[device],
        context=tokens if short else None,
        held={device: max(0, weights - mapped)},
        notice=" ".join(filter(None, (notice, _short_notice(tokens, model) if short else "", _experts(model)))),
    )


def _on_several(model: _Model, gpus: Mapping[str, int], ram: int) -> Iterator[Placement]:
    """Layers on every GPU, evenly, as accelerate's "auto" spreads them."""
    dtype = _dtype(model, gpus)
    weights, cache = model.bytes_at(dtype), model.cache_at(dtype)
    budgets = _budgets(gpus, _WORKING + cache // len(gpus))
    if len(budgets) < 2 or _reach(model, weights, budgets) < weights:
        return
    yield Placement(
        arguments=_arguments(model, dtype) | _spread(budgets, ram),
        description=f"{' and '.join(budgets)}, {_precision(model, dtype)}",
        weights=weights,
        cache=cache,
        free=sum(gpus.values()),
        held={device: weights // len(budgets) for device in budgets},
        notice=_experts(model),
    )


def _offloaded(model: _Model, gpus: Mapping[str, int], ram: int) -> Iterator[Placement]:
    """As much on the GPUs as fits, the other layers in the CPU's memory: they are copied over for every token."""
    dtype = _dtype(model, gpus)
    weights, cache = model.bytes_at(dtype), model.cache_at(dtype)
    # The layers that are copied compute on the first GPU, so all of the cache may come to be there.
    budgets = _budgets(gpus, _WORKING + cache)
    if model.quantize is not None or any(model.devices.shares_memory(torch.device(device)) for device in budgets):
        return  # bitsandbytes computes on GPUs only; and where the memory is one, there is nothing to gain
    layer = int(model.weights.largest * weights)
    on_gpus = min(weights, _reach(model, weights, budgets))
    if on_gpus < layer or on_gpus + _CPU_SHARE * ram - layer < weights:
        return
    on_cpu = weights - on_gpus
    yield Placement(
        arguments=_arguments(model, dtype) | _spread(budgets, ram),
        description=f"{' and '.join(budgets)} with {gigabytes(on_cpu)} in the CPU's memory, {_precision(model, dtype)}",
        weights=weights,
        cache=cache,
        free=sum(gpus.values()) + ram,
        held={device: on_gpus // len(budgets) for device in budgets} | {"cpu": on_cpu},
        notice=(
            f"{gigabytes(on_cpu)} of its {gigabytes(weights)} do not fit the GPU and stay in the CPU's memory. They "
            "are copied over for every token, which is slow; a smaller model, or --quantize 4bit, is much faster."
        ),
    )


def _gpus(free: Mapping[str, int]) -> dict[str, int]:
    return {device: size for device, size in free.items() if device.startswith("cuda")}


def _dtype(model: _Model, devices: Iterable[str]) -> torch.dtype:
    """The precision in which all of these devices compute well."""
    if model.quantize == "8bit" and not model.is_packed:
        return torch.float16  # LLM.int8() computes in it, and warns at every layer that is handed another
    dtypes = {dtype_for(torch.device(device), model.devices) for device in devices}
    return dtypes.pop() if len(dtypes) == 1 else torch.float16


def _budgets(gpus: Mapping[str, int], reserved: int) -> dict[str, int]:
    """What each GPU can give to weights, the GPUs that can give nothing left out."""
    return {device: size - reserved for device, size in gpus.items() if size > reserved}


def _reach(model: _Model, weights: int, budgets: Mapping[str, int]) -> int:
    """How many bytes of weights accelerate's "auto" is sure to get onto the GPUs.

    It gives each but the last no more than an even share and 1.25 layers, leaves room for one layer on the first, and
    cannot split a layer, so each may stay empty by nearly one.
    """
    layer = int(model.weights.largest * weights)
    share = weights // max(1, len(budgets)) + int(1.25 * layer)
    *others, last = budgets.values() if budgets else [0]
    return sum(min(size, share) for size in others) + last - (len(budgets) + 1) * layer


def _spread(budgets: Mapping[str, int], ram: int) -> dict[str, Any]:
    limits: dict[int | str, int] = {int(device.removeprefix("cuda:")): size for device, size in budgets.items()}
    return {"device_map": "auto", "max_memory": limits | {"cpu": int(_CPU_SHARE * ram)}}


def _arguments(model: _Model, dtype: torch.dtype) -> dict[str, Any]:
    if model.quantize is None or model.is_packed:
        return {"dtype": dtype}
    from transformers import BitsAndBytesConfig

    if model.quantize == "8bit":
        return {"dtype": dtype, "quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    # NF4 rather than FP4: its levels are those of normally distributed weights (arXiv 2305.14314, section 3).
    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"dtype": dtype, "quantization_config": four}


# --- in words ------------------------------------------------------------------------------------


def _precision(model: _Model, dtype: torch.dtype) -> str:
    named = str(dtype).removeprefix("torch.")
    return named if model.quantize is None else f"{model.quantize.removesuffix('bit')} bit ({named} inside)"


def _short_notice(tokens: int, model: _Model) -> str:
    whole = context_of(model.config)
    instead = f" instead of {whole}" if whole else ""
    return f"Beside the weights there is memory for a context of {tokens} tokens{instead}; longer prompts are cut."


def _experts(model: _Model) -> str:
    if model.quantize is None or model.is_packed or model.weights.linear * 2 > model.weights.elements:
        return ""
    return f"Most of {model.name} are experts or embeddings, which --quantize leaves as they are."


def _refusal(model: _Model, free: Mapping[str, int]) -> str:
    dtype = _dtype(model, [next(iter(free))])  # of a GPU, if there is one
    left = " and ".join(f"{gigabytes(size)} on {device}" for device, size in free.items())
    size = gigabytes(model.bytes_at(dtype))
    return (
        f"{model.name} does not fit: its weights take {size} in {_precision(model, dtype)}, and free are {left}. "
        f"{_quantised_instead(model, free)}{_smaller_instead(model, free)}"
    )


def _quantised_instead(model: _Model, free: Mapping[str, int]) -> str:
    if model.quantize is not None or model.weights.packed:
        return ""
    on_cpu = free.keys() == {"cpu"}
    if on_cpu and not model.can_be_packed:
        return ""
    for quantize in QUANTISATIONS:
        if on_cpu:
            size, rooms = model.weights.bytes_packed(quantize), list(free.values())
        else:
            size, rooms = model.weights.bytes_at(torch.float16.itemsize, quantize), list(_gpus(free).values())
        if any(size + _WORKING < room for room in rooms):
            bits = quantize.removesuffix("bit")
            return f"In {bits} bits it takes {gigabytes(size)}: %fim use {model.name} --quantize {quantize}. "
    return ""


def _smaller_instead(model: _Model, free: Mapping[str, int]) -> str:
    on_gpu = any(device != "cpu" for device in free)
    room = max(size for device, size in free.items() if (device != "cpu") == on_gpu)
    element_size: float = torch.float16.itemsize if on_gpu else torch.float32.itemsize
    option, entries = "", catalog.ENTRIES
    if model.quantize is not None:
        sizes = BYTES_PACKED_OF_ALL if model.is_packed else BYTES_QUANTISED
        element_size, option = sizes[model.quantize], f" --quantize {model.quantize}"
    if model.is_packed:
        entries = tuple(entry for entry in entries if entry.can_be_packed)
    entry = catalog.largest_that_fits(room, element_size, entries=entries)
    if entry is None or entry.name == model.name:
        return "No model of the catalogue fits what is free. Close what else uses it, and try again."
    return f"The largest of %fim models that fits is {entry.name}: %fim use {entry.name}{option}."
