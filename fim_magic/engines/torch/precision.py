"""Whether packed weights are the faster ones on this processor, and in what a prompt is multiplied with them.

It is measured once, on products of the size of the model's own, and noted in the cache for the processor, its
instructions and the version of torch. Nothing of it changes what a model says by more than `packed_conversion` allows.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn import functional

from fim_magic import weights
from fim_magic.engines.cores import processor, usable_cores
from fim_magic.engines.gguf_header import read_gguf_header
from fim_magic.engines.torch import packed
from fim_magic.engines.torch.linear import has_float16_products
from fim_magic.progress import silent
from fim_magic.regular_files import read_json, read_optional_object

_log = logging.getLogger(__name__)

_PROMPT, _ANSWER = 500, 64  # tokens of a usual request: rows once, and single rows
_MUCH_LARGER = 1.1  # how much longer packed weights may take: they take a fraction of the memory
_TOKEN_ROUNDS, _PROMPT_ROUNDS = 7, 5
_MOST_COPIES = 16
_BEYOND_CACHES = 60_000_000  # numbers, which are twice as many bytes in float16

Shape = tuple[int, int]
"""Rows and columns of a weight."""


@dataclass(frozen=True)
class Costs:
    """Seconds that the products of a usual request with one weight take.

    Attributes:
        plain: In float16 or float32, as without packed weights.
        bfloat16: Packed, and unpacked to bfloat16 for the prompt.
        float32: Packed, and unpacked to float32 for the prompt.
    """

    plain: float
    bfloat16: float
    float32: float

    @property
    def favours_packed(self) -> bool:
        return min(self.bfloat16, self.float32) <= _MUCH_LARGER * self.plain

    @property
    def prefill(self) -> torch.dtype:
        return torch.bfloat16 if self.bfloat16 <= self.float32 else torch.float32


_COSTS = tuple(field.name for field in fields(Costs))


def measure(shape: Shape) -> Costs | None:
    """Measure products with a weight of a shape; None where torch cannot compute with packed ones.

    Raises:
        RuntimeError: It could not be measured this time, as where memory is short.
    """
    rows, columns = packed.padded(shape[0]), shape[1] // packed.GROUP * packed.GROUP
    try:
        with torch.inference_mode():
            return _measured(rows, columns)
    except (AttributeError, NotImplementedError):
        _log.info("Packed weights cannot be computed with here.", exc_info=True)
        return None


def is_busy() -> bool:
    """Return whether other processes have kept all cores busy in the last minute."""
    return bool(psutil.getloadavg()[0] > usable_cores() + 0.5)


def costs(
    shape: Shape, measure: Callable[[Shape], Costs | None] = measure, busy: Callable[[], bool] = is_busy
) -> Costs | None:
    """Return what was measured here for weights of a shape, and measure it first if need be; see [`measure`][].

    None where it could not be measured, too.
    """
    machine, key = describe_processor(), f"{shape[0]}x{shape[1]}"
    found = _records().get(machine, {}).get(key)
    if found == {}:
        return None
    if isinstance(found, dict) and all(type(found.get(name)) is float for name in _COSTS):
        return Costs(*(found[name] for name in _COSTS))
    try:
        measured = measure(shape)  # for the first time, or the file is damaged
    except RuntimeError:  # which may be otherwise the next time, so that it is not noted
        _log.info("Products could not be measured.", exc_info=True)
        return None
    if busy():  # others compute, too: the order of what was measured is chance
        return measured
    try:
        with weights.locked("precision", silent, ""):
            records = _records()
            here = records.setdefault(machine, {})
            here[key] = {} if measured is None else asdict(measured)
            weights.write_whole(_path(), json.dumps(records, indent=2).encode())
    except OSError:
        _log.info("What was measured cannot be noted.", exc_info=True)
    return measured


def shape_in(gguf: Path) -> Shape | None:
    """Return the shape of the MLP's first weight in a GGUF file, or None where it does not say it or cannot hold it."""
    header = read_gguf_header(gguf)
    rows, columns = (
        header.values.get(f"{header.architecture}.{key}") for key in ("feed_forward_length", "embedding_length")
    )
    shape = _shape(rows, columns)
    return shape if shape is not None and shape[0] * shape[1] <= header.elements else None


def prefill_dtype(folder: Path) -> torch.dtype:
    """Return in what prompts are multiplied by the weights in a folder with packed weights."""
    config = read_json(folder / "config.json")
    shape = _shape_of_mlp(config) if isinstance(config, dict) else None
    measured = None if shape is None else costs(shape)
    return torch.float32 if measured is None else measured.prefill  # which no processor is very slow with


def describe_processor() -> str:
    """Return what a measurement counts for."""
    threads = f"{torch.get_num_threads()} threads on {usable_cores()} cores"
    return f"{processor()}, {threads}, {packed.capability()}, torch {torch.__version__}"


def _measured(rows: int, columns: int) -> Costs:
    groups = columns // packed.GROUP
    in_float32: Any = {"dtype": torch.float32, "device": "cpu"}  # the user may have set others
    token, prompt = torch.ones(1, columns, **in_float32), torch.ones(_PROMPT, columns, **in_float32)
    # Several weights in turn, as a model has them: one alone would stay in the processor's cache.
    copies = min(_MOST_COPIES, -(-_BEYOND_CACHES // (rows * columns)))
    # Of 8 bits: those of most files' weights. What the numbers are does not matter.
    several = [
        packed.PackedWeight(
            torch.zeros(rows, columns, dtype=torch.uint8, device="cpu"),
            torch.ones(2 * groups, rows, 2, dtype=torch.bfloat16, device="cpu"),
            rows,
            columns,
        )
        for _ in range(copies)
    ]
    one = _ANSWER * _seconds(lambda: [packed.multiply(token, weight) for weight in several], _TOKEN_ROUNDS) / copies
    many = {
        dtype: _seconds(partial(packed.Unpacker(dtype).multiply, prompt, several[0]), _PROMPT_ROUNDS)
        for dtype in (torch.bfloat16, torch.float32)
    }

    plain = [_plain_product(torch.zeros(rows, columns, **in_float32)) for _ in range(copies)]
    plain_one = _ANSWER * _seconds(lambda: [product(token) for product in plain], _TOKEN_ROUNDS) / copies
    return Costs(
        plain=plain_one + _seconds(lambda: plain[0](prompt), _PROMPT_ROUNDS),
        bfloat16=one + many[torch.bfloat16],
        float32=one + many[torch.float32],
    )


def _plain_product(weight: Tensor) -> Callable[[Tensor], Any]:
    """Return the product with a weight as it is without packed weights."""
    if not has_float16_products():
        return lambda rows: functional.linear(rows, weight)
    half = torch.ops.quantized.linear_prepack_fp16(weight, None)
    return lambda rows: torch.ops.quantized.linear_dynamic_fp16(rows, half)


def _seconds(compute: Callable[[], Any], rounds: int) -> float:
    """Return the shortest of some times, as others compute here, too; the first, to make ready, is not one of them."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        compute()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _shape_of_mlp(config: Mapping[str, Any]) -> Shape | None:
    """Return the shape of the MLP's first weight, by a config.json: StarCoder's names things as GPT-2's."""
    columns = config.get("hidden_size", config.get("n_embd"))
    rows = config.get("intermediate_size") or config.get("n_inner")
    return _shape(4 * columns if rows is None and type(columns) is int else rows, columns)


def _shape(rows: Any, columns: Any) -> Shape | None:
    if all(type(size) is int and packed.GROUP <= size < 2**20 for size in (rows, columns)):
        return rows, columns
    return None


def _path() -> Path:
    return weights.cache_dir() / "precision.json"


def _records() -> dict[str, dict[str, Any]]:
    return {machine: shapes for machine, shapes in read_optional_object(_path()).items() if isinstance(shapes, dict)}
