"""Tiny checkpoints with random weights: real architectures, real tokenizer files, every family's own sentinels.

Weights are drawn wide, so that greedy decoding does not just repeat one token.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, GPTBigCodeConfig, LlamaConfig, Qwen2Config, Starcoder2Config

CORPUS = (
    "def mean(numbers):\n    total = sum(numbers)\n    return total / len(numbers)\n",
    "for index, value in enumerate(values):\n    if value is None:\n        continue\n    print(index, value)\n",
    "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        self.y = y\n",
    'raise ValueError(f"expected {first}, got {second}")\n',
)
CONTEXT = 1024
LETTERS = 400  # rows of the vocabulary before the sentinels

QWEN = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
STARCODER = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>")
SANTACODER = ("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>")
STARCODER2 = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<file_sep>")
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")
PLAIN = ("<s>", "</s>")

_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.4,
}
_GPT_SHAPE = {
    "n_embd": 32,
    "n_inner": 48,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT,
    "initializer_range": 0.4,
}


@dataclass(frozen=True)
class Kind:
    """One architecture with the sentinels of one family."""

    family: str
    config: type
    shape: dict[str, Any]
    sentinels: tuple[str, ...]
    special: bool = True  # whether tokenizer.json marks the sentinels as special; Qwen's does not
    bos: str | None = None


KINDS = {
    "qwen2": Kind("Qwen2.5-Coder", Qwen2Config, _SHAPE, QWEN, special=False),
    "starcoder": Kind("StarCoder", GPTBigCodeConfig, _GPT_SHAPE, STARCODER),
    "santacoder": Kind("SantaCoder", GPTBigCodeConfig, _GPT_SHAPE, SANTACODER),
    # A window shorter than the tests' prompts, as the real model's is shorter than its context.
    "starcoder2": Kind("StarCoder2", Starcoder2Config, _SHAPE | {"sliding_window": 64}, STARCODER2),
    "deepseek": Kind("DeepSeek-Coder", LlamaConfig, _SHAPE, DEEPSEEK, special=False, bos=DEEPSEEK[0]),
    "llama": Kind("llama", LlamaConfig, _SHAPE, PLAIN, bos="<s>"),
}
INFILLING = tuple(name for name in KINDS if name != "llama")


@functools.cache
def _trained() -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LETTERS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(CORPUS * 4, trainer)
    return backend.to_str()


def tokenizer(
    sentinels: Sequence[str],
    *,
    special: bool = True,
    bos: str | None = None,
    vocabulary: Sequence[str] = (),
) -> Tokenizer:
    """A byte-level BPE tokenizer that knows some Python.

    Args:
        sentinels: Its control tokens.
        special: Whether they are marked as special.
        bos: Which of them it puts before every text.
        vocabulary: Added tokens that are text, such as runs of spaces.
    """
    backend = Tokenizer.from_str(_trained())
    backend.add_tokens([AddedToken(token, normalized=False, special=False) for token in vocabulary])
    backend.add_tokens([AddedToken(token, normalized=False, special=special) for token in sentinels])
    if bos is not None:
        at = backend.token_to_id(bos)
        backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, at)])
    return backend


def build(name: str, folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write the checkpoint called `name` in `KINDS` to `folder`, and return the folder.

    Args:
        name: A key of `KINDS`.
        folder: Made if need be.
        seed: Of the weights.
        **changes: To its config.json.
    """
    kind = KINDS[name]
    backend = tokenizer(kind.sentinels, special=kind.special, bos=kind.bos)
    values = {"vocab_size": backend.get_vocab_size(), "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = kind.config(**(kind.shape | values | changes))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    as_float16_holds_them(model)
    model.save_pretrained(folder)
    backend.save(str(folder / "tokenizer.json"))
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    """Change a written checkpoint's config.json, its weights left as they are."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def as_float16_holds_them(model):
    """Round a model's weights so that packing them in float16 on a CPU loses nothing: tokens can then be compared."""
    for weight in model.parameters():
        weight.data = weight.data.half().to(weight.dtype)
