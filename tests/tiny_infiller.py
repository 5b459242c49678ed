"""Tiny models that learn to infill in the test, so that a prompt in the wrong form is found out by its answers.

The task is one that only a reader of both sides can do: a sum of the first name of the prefix and the first name of
the suffix. The lines of both sides look alike, so nothing but the sentinels tells which names these are. Each layout's
training text is written out here as its vendor has it, and encoded as one string: nothing of `fim_magic` takes part.

A model that sees a sentinel missing may well guess right. These learn to give no answer then: part of the training
texts lack one sentinel and have an empty middle. Texts in another order they never see.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

LATIN = "abcdefghijkl"
CHINESE = "数据求和平均大小"  # three bytes each, most of them shared with others
_LONGEST = 2  # lines on each side
_BATCH = 48
_DAMAGED = 8  # one text of so many lacks a sentinel
_MOST_STEPS = 800
_WARM_UP = 30  # steps
_RATE = 4e-3
_LEARNED = 0.02  # mean loss of an answer's tokens, over the last 20 steps or so
_COOLING = 60  # steps after that, while the rate goes down to nothing
_FORESEEABLE, _NOISE = 1.0, 0.1  # weights of an answer's tokens and of those that nobody could know


@dataclass(frozen=True)
class Example:
    """A text with a hole: what stands on each side, and what belongs into it."""

    prefix: str
    suffix: str
    middle: str


@dataclass(frozen=True)
class Layout:
    """How one family was trained.

    Attributes:
        config: config.json, without the sizes.
        sentinels: Its control tokens; the last one ends an answer.
        texts: Its training texts, by order.
        wrong: Prompts that it should not understand, by what is wrong with them.
    """

    config: Mapping[str, Any]
    sentinels: tuple[str, ...]
    texts: Mapping[str, str]
    wrong: Mapping[str, str]

    def prompts(self) -> dict[str, str]:
        """Its training texts up to the answer."""
        return {order: text.partition("{middle}")[0] for order, text in self.texts.items()}

    def damaged(self) -> dict[str, str]:
        """Its prompts, with one sentinel left out of each."""
        found = {}
        for order, prompt in self.prompts().items():
            for sentinel in re.finditer("|".join(map(re.escape, self.sentinels)), prompt):
                found[f"{order} without {sentinel[0]} at {sentinel.start()}"] = (
                    prompt[: sentinel.start()] + prompt[sentinel.end() :]
                )
        return found


_INITIAL = 0.1  # five times as wide as usual: so small a network learns in a fifth of the steps
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "initializer_range": _INITIAL,
}
_CODEGEN_SIZES = {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 16, "n_positions": 512, "n_ctx": 512}

LAYOUTS = {
    "StarCoder2": Layout(
        config={"model_type": "starcoder2", **_SIZES},
        sentinels=("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<file_sep>", "<|endoftext|>"),
        texts={
            "psm": "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>{middle}<|endoftext|>",
            "spm": "<fim_prefix><fim_suffix>{suffix}<fim_middle>{prefix}{middle}<|endoftext|>",
        },
        wrong={
            "texts exchanged": "<fim_prefix>{suffix}<fim_suffix>{prefix}<fim_middle>",
            "sentinels exchanged": "<fim_suffix>{prefix}<fim_prefix>{suffix}<fim_middle>",
            "texts exchanged, suffix first": "<fim_prefix><fim_suffix>{prefix}<fim_middle>{suffix}",
            "the other suffix-first layout": "<fim_suffix>{suffix}<fim_prefix>{prefix}<fim_middle>",
            "no suffix": "<fim_prefix>{prefix}<fim_suffix><fim_middle>",
        },
    ),
    "Seed-Coder": Layout(
        config={"model_type": "llama", **_SIZES},
        sentinels=("<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>", "<[end▁of▁sentence]>"),
        texts={"spm": "<[fim-suffix]>{suffix}<[fim-prefix]>{prefix}<[fim-middle]>{middle}<[end▁of▁sentence]>"},
        wrong={
            "texts exchanged": "<[fim-suffix]>{prefix}<[fim-prefix]>{suffix}<[fim-middle]>",
            "prefix first": "<[fim-prefix]>{prefix}<[fim-suffix]>{suffix}<[fim-middle]>",
            "the other suffix-first layout": "<[fim-prefix]><[fim-suffix]>{suffix}<[fim-middle]>{prefix}",
            "no suffix": "<[fim-suffix]><[fim-prefix]>{prefix}<[fim-middle]>",
        },
    ),
    "CodeGen2": Layout(
        config={"model_type": "codegen", **_CODEGEN_SIZES, "initializer_range": _INITIAL},
        sentinels=("<mask_1>", "<sep>", "<|endoftext|>", "<eom>"),
        texts={"psm": "{prefix}<mask_1>{suffix}<|endoftext|><sep><mask_1>{middle}<eom>"},
        wrong={
            "texts exchanged": "{suffix}<mask_1>{prefix}<|endoftext|><sep><mask_1>",
            "suffix first": "<mask_1>{suffix}<|endoftext|><sep><mask_1>{prefix}",
            "no suffix": "{prefix}<mask_1><|endoftext|><sep><mask_1>",
        },
    ),
    "Codestral": Layout(
        config={"model_type": "mistral", **_SIZES},
        sentinels=("<s>", "[SUFFIX]", "[PREFIX]", "[MIDDLE]", "</s>"),
        texts={"spm": "<s>[SUFFIX]{suffix}[PREFIX]{prefix}{middle}</s>"},
        wrong={
            "texts exchanged": "<s>[SUFFIX]{prefix}[PREFIX]{suffix}",
            "prefix first": "<s>[PREFIX]{prefix}[SUFFIX]{suffix}",
            "a middle sentinel": "<s>[SUFFIX]{suffix}[PREFIX]{prefix}[MIDDLE]",
            "no suffix": "<s>[SUFFIX][PREFIX]{prefix}",
        },
    ),
}


def tokenizer(layout: Layout) -> Tokenizer:
    """One token a byte, and the sentinels, which are found in text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in layout.sentinels])
    return backend


def examples(seed: int, alphabet: str = "", *, held_out: bool = False) -> Iterator[Example]:
    """Texts with names in `alphabet`, or else in either of the two: two letters, or one Chinese character.

    One middle of five is held out: no training has a text with it, so that it cannot be known by heart.
    """
    choose = random.Random(seed)
    while True:
        letters = alphabet or choose.choice((LATIN, CHINESE))
        before, behind = choose.randint(1, _LONGEST), choose.randint(1, _LONGEST)
        names: list[str] = []
        while len(names) < before + behind:
            name = "".join(choose.sample(letters, 1 if letters == CHINESE else 2))
            if name not in names:
                names.append(name)
        lines = [f"{name}={choose.randint(1, 9)}\n" for name in names]
        middle = f"{names[0]}+{names[before]}"
        if (zlib.crc32(middle.encode()) % 5 == 0) is held_out:
            yield Example("".join(lines[:before]) + "x=", "\n" + "".join(lines[before:]), middle)


@functools.cache
def trained(name: str) -> Any:
    """Return the model that has learned the layout called `name`: 10 to 15 seconds of one core."""
    layout = LAYOUTS[name]
    encoder = tokenizer(layout)
    end = encoder.token_to_id(layout.sentinels[-1])
    sizes = {"vocab_size": encoder.get_vocab_size(), "bos_token_id": end, "eos_token_id": end}
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**layout.config, **sizes), dtype=torch.float32)
        optimizer = torch.optim.AdamW(model.train().parameters(), betas=(0.9, 0.98))
        batches = _batches(encoder, layout)
        recent, step, cooled = 1.0, 0, 0
        while cooled < _COOLING:
            rate = _RATE * min(1.0, (step + 1) / _WARM_UP) * (1 - 0.9 * step / _MOST_STEPS) * (1 - cooled / _COOLING)
            loss = _learn(model, optimizer, rate, *next(batches))
            recent += 0.05 * (loss - recent)
            step += 1
            cooled += cooled > 0 or recent < _LEARNED or step > _MOST_STEPS
    return model.eval()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, which is fastest for so small a network: others only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _learn(
    model: Any, optimizer: torch.optim.Optimizer, rate: float, ids: torch.Tensor, weights: torch.Tensor
) -> float:
    """Make one step, and return the mean loss of the answers' tokens. Both tensors are (texts, tokens)."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    loss = (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(losses.detach()[weights[:, 1:] == _FORESEEABLE].mean())


def _batches(encoder: Tokenizer, layout: Layout) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and the weights of their losses, both (texts, tokens)."""
    stream = examples(seed=0)
    prompts, damaged = itertools.cycle(layout.prompts().values()), itertools.cycle(layout.damaged().values())
    while True:
        rows, weights = [], []
        for at, example in enumerate(itertools.islice(stream, _BATCH)):
            whole = at % _DAMAGED > 0
            prompt = next(prompts if whole else damaged)
            known = encoder.encode(prompt.format(**vars(example))).ids
            answer = encoder.encode((example.middle if whole else "") + layout.sentinels[-1]).ids
            rows.append(torch.tensor(known + answer))
            weights.append(torch.tensor([_NOISE] * len(known) + [_FORESEEABLE] * len(answer)))
        yield tuple(torch.nn.utils.rnn.pad_sequence(part, batch_first=True) for part in (rows, weights))


def write(name: str, folder: Path) -> Path:
    """Write the trained model as a checkpoint, and return the folder."""
    trained(name).save_pretrained(folder)
    tokenizer(LAYOUTS[name]).save(str(folder / "tokenizer.json"))
    return folder
