"""Added tokens that a checkpoint declares beside its tokenizer, for tokenizers that were saved in several files.

A fine-tune's chat tokens, and now and then a vendor's sentinels, stand in tokenizer_config.json or added_tokens.json
only. Without them the model's own words for "stop" would be unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from fim_magic.regular_files import read_optional_object

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def declared(folder: Path) -> dict[int, AddedToken]:
    """Return the added tokens of the checkpoint in `folder` by their ids.

    They are in added_tokens.json, or with their flags in tokenizer_config.json, which then decides.
    """
    bare = {
        index: AddedToken(str(text), normalized=False)
        for text, index in read_optional_object(folder / "added_tokens.json").items()
    }
    decoder = read_optional_object(folder / "tokenizer_config.json").get("added_tokens_decoder")
    entries = decoder.items() if isinstance(decoder, dict) else ()
    flagged = {int(index): _token(entry) for index, entry in entries if isinstance(entry, dict)}
    return {int(index): token for index, token in (bare | flagged).items() if token.content}


def control_tokens(folder: Path) -> set[str]:
    """Return the texts that a checkpoint's configuration gives a role, such as ending a text."""
    found: set[str] = set()
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        values = read_optional_object(folder / name)
        more = values.get("additional_special_tokens")
        roles = [*(values.get(role) for role in _ROLES), *(more if isinstance(more, list) else [])]
        texts = (role.get("content") if isinstance(role, dict) else role for role in roles)
        found.update(text for text in texts if isinstance(text, str) and text)
    return found


def add(backend: Tokenizer, tokens: Mapping[int, AddedToken]) -> Tokenizer:
    """Add to `backend` those of `tokens` that it lacks, if it gives them the ids that they are stated to have."""
    for index, token in sorted(tokens.items(), key=lambda item: item[0]):
        if backend.token_to_id(token.content) is None and index == backend.get_vocab_size():
            backend.add_tokens([token])
    return backend


def _token(entry: Mapping[str, Any]) -> AddedToken:
    return AddedToken(str(entry.get("content", "")), **{flag: bool(entry[flag]) for flag in _FLAGS if flag in entry})
