"""Tokenizers that are spelled out as vocab.json and merges.txt, the files that GPT-2 came with.

Those two say which pieces there are and how they merge. How a text is cut before that they leave to the vendor's code,
so they are read only where it is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from fim_magic.engines.torch.conversions import added_tokens
from fim_magic.regular_files import LARGEST_VOCABULARY, read_json, read_text

_GPT2_REGEX = ("gpt2", "gpt_neo", "gptj", "codegen")
"""Architectures whose checkpoints cut text with GPT-2's regex alone (openai/gpt-2, encoder.py)."""

_DIGITS_APART = ("gpt_bigcode", "starcoder2")
"""BigCode's set each digit apart first, as the tokenizer.json of StarCoder and of StarCoder2 do."""

_END = "<|endoftext|>"


def from_folder(folder: Path, config: Mapping[str, Any]) -> Tokenizer | None:
    """Build the tokenizer of a checkpoint from its vocab.json and merges.txt.

    Args:
        folder: Of the checkpoint, with added_tokens.json and tokenizer_config.json where there are any.
        config: Its config.json.

    Returns:
        The tokenizer, or None where the files are not there, or it is not known how this architecture cuts text.

    Raises:
        ValueError: The files cannot be understood.
        OSError: They cannot be read.
    """
    files = read(folder)
    model_type = config.get("model_type")
    if files is None or model_type not in _GPT2_REGEX + _DIGITS_APART:
        return None
    vocabulary, merges = files
    pieces = {index: piece for piece, index in vocabulary.items()}
    # One that the vocabulary has by another id is a piece like any other; one whose id is taken cannot be.
    added = {
        index: token
        for index, token in added_tokens.declared(folder).items()
        if pieces.get(index, token.content) == token.content and vocabulary.get(token.content, index) == index
    }
    # In the vocabulary, each has the id that is stated, and no merge leads to it.
    vocabulary |= {token.content: index for index, token in added.items()}
    controls = added_tokens.control_tokens(folder) | {_END}
    marked = [AddedToken(text, normalized=False, special=True) for text in sorted(controls & vocabulary.keys())]
    return tokenizer(vocabulary, merges, [*added.values(), *marked], digits_apart=model_type in _DIGITS_APART)


def tokenizer(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    added: Iterable[AddedToken] = (),
    *,
    digits_apart: bool = False,
) -> Tokenizer:
    """Build a byte-level BPE tokenizer that cuts text with GPT-2's regex.

    Args:
        vocabulary: Pieces and their ids, in GPT-2's writing of bytes as characters.
        merges: The pairs of pieces that merge, the first first.
        added: Tokens that are matched in text as a whole. One that is not in the vocabulary gets the next free id.
        digits_apart: Set each digit apart before the regex.
    """
    backend = Tokenizer(models.BPE(vocab=dict(vocabulary), merges=list(merges)))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, words]) if digits_apart else words
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(list(added))
    return backend


def read(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]] | None:
    """Read vocab.json and merges.txt.

    Returns:
        The pieces and their ids, and the pairs that merge, the first first; None where the files are not there.

    Raises:
        ValueError: The files cannot be understood.
        OSError: They cannot be read.
    """
    pieces, pairs = folder / "vocab.json", folder / "merges.txt"
    if not (pieces.is_file() and pairs.is_file()):
        return None
    vocabulary = {str(piece): int(index) for piece, index in dict(read_json(pieces, LARGEST_VOCABULARY)).items()}
    lines = read_text(pairs, LARGEST_VOCABULARY).split("\n")  # splitlines() knows more line ends than the file
    if lines[0].startswith("#version"):
        del lines[0]
    return vocabulary, [_pair(line) for line in lines if line.strip()]


def _pair(line: str) -> tuple[str, str]:
    pieces = line.rstrip("\r").split(" ")
    if len(pieces) != 2:
        raise ValueError(f"merges.txt has a line that is no pair: {line[:40]!r}")
    return pieces[0], pieces[1]
