"""Tiny GGUF files with random weights."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

LAYERS, WIDTH, HIDDEN, HEADS, KV_HEADS = 2, 64, 96, 2, 1
SPECIALS = ("<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
TEXTS = (
    "你好，世界：游標在這",
    "🎉 👩‍👩‍👧 ½ é",
    "\tif x:\n\t\treturn  1\r\n",
    "a    b\n\n\n   c  \n        d",
    "12345 3.14 x1y22",
)


@dataclass(frozen=True)
class Tiny:
    """A GGUF file, and what went into it."""

    path: Path
    tensors: dict[str, np.ndarray]  # as the file holds them, dequantised
    kinds: dict[str, Kind]


def byte_alphabet() -> list[str]:
    """The 256 characters that byte-level BPE writes bytes with, in GPT-2's order."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return list(bytes_to_unicode().values())


def write_tokenizer(writer: gguf.GGUFWriter, pre: str) -> int:
    """Write a byte-level tokenizer, and return how many tokens it has."""
    merges = [("Ġ", "Ġ"), ("Ġ", "x"), ("i", "f")]
    tokens = [*byte_alphabet(), *("".join(pair) for pair in merges), *SPECIALS]
    types = [1] * (len(tokens) - len(SPECIALS)) + [3] * len(SPECIALS)
    while len(tokens) % 32:  # rows beyond the vocabulary, as the real file has them
        types.append(5)
        tokens.append(f"[PAD{len(tokens)}]")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    first_special = tokens.index(SPECIALS[0])
    writer.add_bos_token_id(first_special)
    writer.add_eos_token_id(first_special + 1)
    writer.add_pad_token_id(first_special)
    return len(tokens)


def write_gguf(path: Path, *, pre: str = "qwen2", tied: bool = False, exact: bool = False, context: int = 128) -> Tiny:
    """Write a Qwen2 model of two layers with random weights.

    Args:
        path: Where.
        pre: How its tokenizer cuts text.
        tied: Whether the output layer is the embedding.
        exact: Whether all weights are float32; else each tensor has another kind.
        context: How many tokens it says that it can see.
    """
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("Tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    rows = write_tokenizer(writer, pre)
    random = np.random.default_rng(7)
    held: dict[str, np.ndarray] = {}
    kinds: dict[str, Kind] = {}

    def add(name: str, shape: tuple[int, ...], kind: Kind) -> None:
        kind = Kind.F32 if exact else kind
        values = (random.standard_normal(shape) * 0.3).astype(np.float32)
        stored = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        held[name] = gguf.quants.dequantize(stored, kind)
        kinds[name] = kind

    key_value = WIDTH // HEADS * KV_HEADS
    add("token_embd.weight", (rows, WIDTH), Kind.Q8_0)
    if not tied:
        add("output.weight", (rows, WIDTH), Kind.Q5_0)
    add("output_norm.weight", (WIDTH,), Kind.F32)
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        add(f"{at}.attn_norm.weight", (WIDTH,), Kind.F32)
        add(f"{at}.ffn_norm.weight", (WIDTH,), Kind.F32)
        add(f"{at}.attn_q.weight", (WIDTH, WIDTH), Kind.F16)
        add(f"{at}.attn_q.bias", (WIDTH,), Kind.F32)
        add(f"{at}.attn_k.weight", (key_value, WIDTH), Kind.Q4_0)
        add(f"{at}.attn_k.bias", (key_value,), Kind.F32)
        add(f"{at}.attn_v.weight", (key_value, WIDTH), Kind.BF16)
        add(f"{at}.attn_v.bias", (key_value,), Kind.F32)
        add(f"{at}.attn_output.weight", (WIDTH, WIDTH), Kind.F32)
        add(f"{at}.ffn_gate.weight", (HIDDEN, WIDTH), Kind.Q8_0)
        add(f"{at}.ffn_up.weight", (HIDDEN, WIDTH), Kind.Q8_0)
        add(f"{at}.ffn_down.weight", (WIDTH, HIDDEN), Kind.Q4_1 if layer == 0 else Kind.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Tiny(path, held, kinds)


def text(value: str | bytes) -> bytes:
    """A text as GGUF writes it: its length and its bytes."""
    content = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(content)) + content


def header(
    *keys: tuple[str | bytes, int, bytes],
    tensors: Sequence[bytes] = (),
    version: int = 3,
    key_count: int | None = None,
    tensor_count: int | None = None,
    architecture: bool = True,
) -> bytes:
    """The beginning of a GGUF file, true or not.

    Args:
        *keys: Each a name, a kind and the bytes of the value.
        tensors: Their entries, by `tensor`.
        version: Of the format.
        key_count: What it says that there are.
        tensor_count: As `key_count`.
        architecture: Whether it names one.
    """
    if architecture:
        keys = (("general.architecture", 8, text("qwen2")), *keys)
    counts = (
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    written = b"".join(text(name) + struct.pack("<I", kind) + value for name, kind, value in keys)
    return b"GGUF" + struct.pack("<IQQ", version, *counts) + written + b"".join(tensors)


def tensor(name: str | bytes, shape: Sequence[int], kind: int = 0, offset: int = 0) -> bytes:
    """The entry of a tensor; kind 0 is float32."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def array(kind: int, count: int, content: bytes = b"") -> bytes:
    """An array that says that it has `count` elements."""
    return struct.pack("<IQ", kind, count) + content
