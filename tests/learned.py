"""Tiny models that learn to infill in the test, so that a prompt in the wrong form is found out by its answers.

The task needs both sides of the hole: every line gives a value to a name, and the line that is missing adds the first
name before the hole to the first name behind it. The lines of both sides look alike, so only the sentinels tell which
names these are. There is one model for each layout. The training texts are written out here as the vendors have them
and made into ids one character at a time: nothing of `fim_magic` takes part.

A model that has seen nothing but whole prompts may well guess right where a sentinel is missing. So one training text
of eight is damaged, a sentinel or a space short or a space too long, and has an empty middle. Other orders and other
layouts are in no training text.
"""

from __future__ import annotations

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
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

LATIN = "abcdefghijkl"
CHINESE = "数据求和平均大小短左高低"  # three bytes each, and a token is a byte
_OTHERS = "123456789=+\n▁"
_LINES = 2  # on each side, at most
_BATCH = 32
_DAMAGED = 8  # one text of so many
_RATE = 4e-3
_WARM_UP = 30  # steps
_KNOWABLE, _CHANCE = 1.0, 0.05  # weights of the answer's tokens, and of those that nobody could foresee
_LEARNED = 0.03  # nats a token of an answer, the mean of some 20 steps
_COOLING = 90  # steps after that, while the rate goes down to nothing
_MOST_STEPS = 700  # 250 to 450 are usual


@dataclass(frozen=True)
class Example:
    """What stands before a hole and behind it, and what belongs into it."""

    prefix: str
    suffix: str
    middle: str


@dataclass(frozen=True)
class Layout:
    """How one family was trained in one order.

    Attributes:
        family: The family, as `fim_magic` calls it.
        order: "psm" or "spm".
        text: A training text. U+2581 in front of a text is the space that SentencePiece puts there.
        sentinels: The control tokens; the last one ends an answer.
        config: config.json, without what depends on the vocabulary.
        sentencepiece: Whether the tokenizer is of that kind, with single bytes for what it has no piece for; others
            are byte-level.
        named: Whether nothing in the checkpoint tells its family, so that it has to be stated.
    """

    family: str
    order: str
    text: str
    sentinels: tuple[str, ...]
    config: Mapping[str, Any]
    sentencepiece: bool = False
    named: bool = False

    @property
    def prompt(self) -> str:
        """The training text up to the answer."""
        return self.text.partition("{middle}")[0]

    def damaged(self) -> list[str]:
        """The prompt without one of its sentinels, and with wrong spaces in front of its texts."""
        sentinels = re.finditer("|".join(map(re.escape, self.sentinels)), self.prompt)
        found = [self.prompt[: at.start()] + self.prompt[at.end() :] for at in sentinels]
        if self.sentencepiece:
            found += [self.prompt.replace("▁{prefix}", "{prefix}"), self.prompt.replace("{suffix}", "▁{suffix}")]
        return found


_WIDE = 0.1  # initial weights five times as wide as usual: so small a network then learns in a fifth of the steps
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "initializer_range": _WIDE,
}
_GPT_SIZES = {
    "n_embd": 64,
    "n_inner": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "initializer_range": _WIDE,
    # Dropout, with so few neurons, makes learning three times as long.
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
}
_STARCODER = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<|endoftext|>")
_CODE_LLAMA = ("<s>", "</s>", "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")

LAYOUTS = {
    "starcoder-psm": Layout(
        family="StarCoder",
        order="psm",
        text="<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>{middle}<|endoftext|>",
        sentinels=_STARCODER,
        config={"model_type": "gpt_bigcode", **_GPT_SIZES},
    ),
    "starcoder-spm": Layout(
        family="StarCoder",
        order="spm",
        text="<fim_prefix><fim_suffix>{suffix}<fim_middle>{prefix}{middle}<|endoftext|>",
        sentinels=_STARCODER,
        config={"model_type": "gpt_bigcode", **_GPT_SIZES},
    ),
    "mellum": Layout(
        family="Mellum",
        order="spm",
        text="<fim_suffix>{suffix}<fim_prefix>{prefix}<fim_middle>{middle}<|endoftext|>",
        sentinels=_STARCODER,
        config={"model_type": "llama", **_SIZES},
        named=True,
    ),
    "seed-coder": Layout(
        family="Seed-Coder",
        order="spm",
        text="<[fim-suffix]>{suffix}<[fim-prefix]>{prefix}<[fim-middle]>{middle}<[end▁of▁sentence]>",
        sentinels=("<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>", "<[end▁of▁sentence]>"),
        config={"model_type": "llama", **_SIZES},
    ),
    "codegen2": Layout(
        family="CodeGen2",
        order="psm",
        text="{prefix}<mask_1>{suffix}<|endoftext|><sep><mask_1>{middle}<eom>",
        sentinels=("<mask_1>", "<sep>", "<|endoftext|>", "<eom>"),
        config={"model_type": "codegen", "rotary_dim": 16, **_GPT_SIZES},
    ),
    "codestral": Layout(
        family="Codestral",
        order="spm",
        text="<s>[SUFFIX]{suffix}[PREFIX]▁{prefix}{middle}</s>",
        sentinels=("<s>", "[SUFFIX]", "[PREFIX]", "[MIDDLE]", "</s>"),
        config={"model_type": "mistral", **_SIZES},
        sentencepiece=True,
    ),
    "codellama-psm": Layout(
        family="CodeLlama",
        order="psm",
        text="<s>▁<PRE>▁{prefix}▁<SUF>{suffix}▁<MID>{middle}▁<EOT>",
        sentinels=_CODE_LLAMA,
        config={"model_type": "llama", **_SIZES},
        sentencepiece=True,
    ),
    "codellama-spm": Layout(
        family="CodeLlama",
        order="spm",
        text="<s>▁<PRE>▁<SUF>{suffix}▁<MID>▁{prefix}{middle}▁<EOT>",
        sentinels=_CODE_LLAMA,
        config={"model_type": "llama", **_SIZES},
        sentencepiece=True,
    ),
}


def examples(seed: int, alphabet: str = "", *, held_out: bool = False) -> Iterator[Example]:
    """Texts with names in `alphabet`, or else in either of the two: two letters, or one Chinese character.

    One middle of five is held out: no training has a text with it, so that it cannot be known by heart.
    """
    choose = random.Random(seed)
    while True:
        letters = alphabet or choose.choice((LATIN, CHINESE))
        before, behind = choose.randint(1, _LINES), choose.randint(1, _LINES)
        possible = list(CHINESE) if letters == CHINESE else ["".join(pair) for pair in itertools.permutations(LATIN, 2)]
        names = choose.sample(possible, before + behind)
        lines = [f"{name}={choose.randint(1, 9)}\n" for name in names]
        middle = f"{names[0]}+{names[before]}\n"
        if (zlib.crc32(middle.encode()) % 5 == 0) is held_out:
            yield Example("".join(lines[:before]), "".join(lines[before:]), middle)


def write(name: str, folder: Path) -> Path:
    """Train the model for a layout and write it as a checkpoint, in 5 to 10 seconds of one core. Return the folder."""
    layout = LAYOUTS[name]
    backend = tokenizer(layout)
    trained(layout, backend).save_pretrained(folder)
    backend.save(str(folder / "tokenizer.json"))
    return folder


def tokenizer(layout: Layout) -> Tokenizer:
    """A token for each character or each byte, and the sentinels."""
    if layout.sentencepiece:
        letters = (*LATIN, *_OTHERS.replace("\n", ""))
        pieces = ("<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters)
        backend = Tokenizer(models.BPE(_numbered(pieces), [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        backend.decoder = decoders.Sequence(steps)
    else:
        backend = Tokenizer(models.BPE(_numbered(sorted(pre_tokenizers.ByteLevel.alphabet())), []))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in layout.sentinels])
    return backend


def trained(layout: Layout, backend: Tokenizer) -> Any:
    """Return a model that has learned `layout` in the ids of `backend`. Same numbers on the same machine."""
    end = backend.token_to_id(layout.sentinels[-1])
    sizes = {"vocab_size": backend.get_vocab_size(), "bos_token_id": None, "eos_token_id": end}
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**layout.config, **sizes), dtype=torch.float32)
        optimizer = torch.optim.AdamW(model.train().parameters(), betas=(0.9, 0.98))
        batches = _batches(layout, backend)
        recent, cooled = 1.0, 0
        for step in range(_MOST_STEPS):
            rate = _RATE * min(1.0, (step + 1) / _WARM_UP) * (1 - cooled / _COOLING)
            recent += 0.05 * (_learn(model, optimizer, rate, *next(batches)) - recent)
            cooled += cooled > 0 or recent < _LEARNED
            if cooled == _COOLING:
                break
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


def _numbered(pieces: tuple[str, ...] | list[str]) -> dict[str, int]:
    return {piece: at for at, piece in enumerate(pieces)}


def _learn(
    model: Any, optimizer: torch.optim.Optimizer, rate: float, ids: torch.Tensor, weights: torch.Tensor
) -> float:
    """Make one step, and return the mean loss of the answers' tokens. Both tensors are (texts, tokens)."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    weights = weights[:, 1:]
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    ((losses * weights).sum() / weights.sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(losses.detach()[weights == _KNOWABLE].mean())


def _batches(layout: Layout, backend: Tokenizer) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and the weights of their losses, both (texts, tokens). Shorter texts end in zeros of no weight."""
    encode = _Encoder(layout, backend)
    stream, damaged = examples(seed=0), itertools.cycle(layout.damaged())
    while True:
        ids, weights = [], []
        for at, example in enumerate(itertools.islice(stream, _BATCH)):
            whole = at % _DAMAGED > 0
            prompt = layout.prompt if whole else next(damaged)
            known = encode(prompt.format(prefix=example.prefix, suffix=example.suffix))
            answer = encode((example.middle if whole else "") + layout.sentinels[-1])
            ids.append(torch.tensor(known + answer))
            weights.append(torch.tensor([_CHANCE] * len(known) + [_KNOWABLE] * len(answer)))
        yield tuple(torch.nn.utils.rnn.pad_sequence(part, batch_first=True) for part in (ids, weights))


class _Encoder:
    """A training text as ids: sentinels by name, everything else one character at a time."""

    def __init__(self, layout: Layout, backend: Tokenizer) -> None:
        self._pieces = re.compile("|".join([*map(re.escape, layout.sentinels), "."]), re.DOTALL)
        self._ids = {token: [backend.token_to_id(token)] for token in layout.sentinels}
        for character in (*LATIN, *CHINESE, *_OTHERS):
            # SentencePiece's normalizer would put a space before every one.
            pieces = backend.model.tokenize(character) if layout.sentencepiece else None
            self._ids[character] = [p.id for p in pieces] if pieces else backend.encode(character).ids

    def __call__(self, text: str) -> list[int]:
        return [token for piece in self._pieces.findall(text) for token in self._ids[piece]]
