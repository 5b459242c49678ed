"""CodeGen2.5: a Llama checkpoint that has no tokenizer file, only code that no longer runs.

Its repository brings Python for tiktoken, written against transformers of 2023 (salesforce/CodeGen#82, #85). What that
code builds is GPT-2's vocabulary with more behind it: runs of spaces and of tabs, which merge like any other piece,
and control tokens. Here the same is built for the tokenizers library; GPT-2's vocabulary comes from GPT-2.

Source: tokenization_codegen25.py in Salesforce/codegen25-7b-multi.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from fim_magic import weights
from fim_magic.engines.torch.conversions import byte_level
from fim_magic.errors import FetchError, ModelError
from fim_magic.progress import OnProgress, silent
from fim_magic.regular_files import LARGEST_VOCABULARY, read_json, read_text

_log = logging.getLogger(__name__)

GPT2 = "openai-community/gpt2"
"""Where GPT-2's vocabulary is on the Hugging Face Hub."""

_GPT2_SHA256 = "9e52e2d09323136cf31fca11e3a80463fe013e9ccfa1c04ac36c8bb825af904d"
"""Of its pieces in the order of their ids and then its merges, one a line."""

_SPACE, _TAB = "Ġ", "ĉ"  # in GPT-2's writing of bytes
_RUNS = ((_SPACE, 31), (_TAB, 9))
"""White space that comes in runs, and the longest run of each: the longest has the first id, a run of two the last."""

_END = "<|endoftext|>"
_STARCODER = (
    *("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>", "<gh_stars>"),
    *("<issue_start>", "<issue_comment>", "<issue_closed>"),
    *("<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<empty_output>"),
    *("<commit_before>", "<commit_msg>", "<commit_after>", "<reponame>"),
)
_CODEGEN2 = (*(f"<dummy_{n}>" for n in range(4)), "<sep>", "<eom>", *(f"<mask_{n}>" for n in range(881, 0, -1)))


def is_codegen25(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the checkpoint in `folder` has CodeGen2.5's tokenizer and nothing else to read it from.

    Args:
        folder: Of the checkpoint.
        config: Its config.json.
    """
    if config.get("model_type") != "llama" or (folder / "tokenizer.json").is_file():
        return False
    if (folder / "tokenization_codegen25.py").is_file():
        return True
    try:
        return "CodeGen25Tokenizer" in read_text(folder / "tokenizer_config.json")
    except (OSError, ValueError):
        _log.debug("The tokenizer's configuration cannot be read.", exc_info=True)
        return False


def from_folder(folder: Path, on_progress: OnProgress = silent) -> Tokenizer:
    """Build the tokenizer of a CodeGen2.5 checkpoint.

    GPT-2's vocab.json and merges.txt are taken from `folder` if they are there, else from the Hub, or from its cache.

    Args:
        folder: Of the checkpoint. Nothing is written to it.
        on_progress: Called while fetching.

    Raises:
        ModelError: The files in `folder` are not GPT-2's.
        FetchError: There are none, and the Hub could not be reached.
    """
    files = byte_level.read(folder)
    vocabulary, merges = files if files is not None else _read_tokenizer_json(_fetched(folder, on_progress))
    if _sha256(vocabulary, merges) != _GPT2_SHA256:
        raise ModelError(
            f"CodeGen2.5's tokenizer is made from GPT-2's vocabulary, and what is in "
            f"{folder if files is not None else GPT2} is another one. Take vocab.json and merges.txt away from the "
            "folder of the checkpoint if they are there, and try again: GPT-2's own is then fetched."
        )
    return tokenizer(vocabulary, merges)


def tokenizer(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> Tokenizer:
    """Put CodeGen2.5's tokens behind GPT-2's.

    tiktoken joins any two neighbours that are a piece together, the one with the lowest id first. A longer run has a
    lower id, so a run grows from its left end by one character at a time, and these are the only merges that occur.

    Args:
        vocabulary: GPT-2's pieces and their ids, without gaps, `<|endoftext|>` among them.
        merges: Its pairs of pieces that merge, the first first.

    Returns:
        A tokenizer in which `<sep>` is 50317 and `<mask_1>` is 51199, with GPT-2's 50257 pieces.
    """
    runs = [character * length for character, longest in _RUNS for length in range(longest, 1, -1)]
    more = {run: index for index, run in enumerate(runs, start=len(vocabulary))}
    growth = [(run[:-1], run[-1]) for run in runs]
    controls = (AddedToken(token, normalized=False, special=True) for token in (_END, *_STARCODER, *_CODEGEN2))
    return byte_level.tokenizer({**vocabulary, **more}, [*merges, *growth], controls)


def _fetched(folder: Path, on_progress: OnProgress) -> Path:
    try:
        return weights.snapshot_file(GPT2, "tokenizer.json", on_progress)
    except FetchError as error:
        raise FetchError(
            f"CodeGen2.5 has GPT-2's vocabulary and its repository does not bring it. {error} You can also put GPT-2's "
            f"vocab.json and merges.txt into {folder}, or type `hf download {GPT2} tokenizer.json` in a terminal."
        ) from error


def _read_tokenizer_json(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = read_json(path, LARGEST_VOCABULARY)["model"]
    return dict(model["vocab"]), list(_pairs(model["merges"]))


def _pairs(merges: Sequence[str | Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Newer files have a pair as two texts, older ones as one with a space between."""
    for pair in merges:
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        yield left, right


def _sha256(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> str:
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    return hashlib.sha256("\n".join([*pieces, *(f"{left} {right}" for left, right in merges)]).encode()).hexdigest()
