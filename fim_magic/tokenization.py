"""Text <-> token ids, with the user's text kept apart from the model's sentinels.

Every tokenizer matches its added tokens inside text, so a notebook about `<|fim_middle|>` would break its own prompt.
Here text is encoded without them, sentinels are looked up by name, and prompts are assembled from ids.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import DecodeStream

from fim_magic.errors import ModelError


class TextTokenizer:
    """A checkpoint's tokenizer, as its own `tokenizer.json` describes it.

    The file is read as it is. transformers' tokenizer classes rebuild parts of it, and for some families (StarCoder2's
    digits, DeepSeek's spaces) they rebuild it wrongly.
    """

    def __init__(self, backend: Tokenizer, vocabulary_rows: int | None = None) -> None:
        """Take over `backend`.

        Args:
            backend: The tokenizer. It is changed in place and must not be used elsewhere.
            vocabulary_rows: How many rows the model's embedding has; an id beyond them is not usable.
        """
        self._backend = backend
        self._rows = backend.get_vocab_size() if vocabulary_rows is None else vocabulary_rows
        self._leading = _leading_ids(backend)
        backend.no_truncation()
        backend.no_padding()
        _take_sentinels_out_of_text(backend)
        self._verbatim = _verbatim(backend)

    @classmethod
    def from_folder(cls, folder: Path, vocabulary_rows: int | None = None) -> TextTokenizer:
        """Read the tokenizer of the checkpoint in `folder`.

        Raises:
            ModelError: There is no readable `tokenizer.json`.
        """
        try:
            backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(
                f"The tokenizer of this checkpoint could not be read ({error}). A checkpoint needs a tokenizer.json "
                "beside its weights; save one with `AutoTokenizer.from_pretrained(…).save_pretrained(folder)`."
            ) from error
        return cls(backend, vocabulary_rows)

    @property
    def leading_ids(self) -> list[int]:
        """What this tokenizer puts before every text: its BOS id, or nothing."""
        return list(self._leading)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`. Sentinels that are spelled out in it stay text."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`, sentinels included."""
        text = ""
        for verbatim, run in itertools.groupby(ids, key=self._verbatim.get):
            same = list(run)
            text += verbatim * len(same) if verbatim else self._backend.decode(same, skip_special_tokens=False)
        return text

    def sentinel(self, token: str) -> int | None:
        """Return the id of a sentinel, or None if the model has no such token.

        A token that the tokenizer has but the embedding does not counts as absent: transformers adds sentinels to
        checkpoints that were trained without them.
        """
        found = self._backend.token_to_id(token)
        return found if found is not None and found < self._rows else None

    def stream(self) -> TextStream:
        """Begin to decode a stream of ids."""
        return TextStream(self._backend, self._verbatim)


class TextStream:
    """Decodes ids one at a time. A character whose bytes are split over tokens comes when it is whole."""

    def __init__(self, backend: Tokenizer, verbatim: Mapping[int, str]) -> None:
        self._backend = backend
        self._verbatim = verbatim
        self._stream = DecodeStream(skip_special_tokens=False)
        self.text = ""

    def push(self, token_id: int) -> str:
        """Add a token and return all the text so far."""
        verbatim = self._verbatim.get(token_id)
        if verbatim is None:
            self.text += self._stream.step(self._backend, token_id) or ""
        else:
            self.text += verbatim
            self._stream = DecodeStream(skip_special_tokens=False)
        return self.text


def _leading_ids(backend: Tokenizer) -> list[int]:
    plain = list(backend.encode("a", add_special_tokens=False).ids)
    full = list(backend.encode("a", add_special_tokens=True).ids)
    extra = len(full) - len(plain)
    return full[:extra] if extra > 0 and full[extra:] == plain else []


def _verbatim(backend: Tokenizer) -> dict[int, str]:
    """Added tokens that the decoder would spoil, and their text.

    DeepSeek's single letters, `ü` among them, stand for themselves; a byte-level decoder takes them for bytes.
    """
    added = {at: token.content for at, token in backend.get_added_tokens_decoder().items()}
    return {at: text for at, text in added.items() if backend.decode([at], skip_special_tokens=False) != text}


def _take_sentinels_out_of_text(backend: Tokenizer) -> None:
    """Make `encode` read added tokens in text as text.

    The library does that for tokens that are marked special; Qwen and DeepSeek do not mark their FIM tokens. Runs of
    white space (CodeGen) and single letters (DeepSeek) are added tokens too, but vocabulary, not sentinels.
    """
    added = backend.get_added_tokens_decoder().values()
    sentinels = [token for token in added if len(token.content) > 1 and token.content.strip()]
    backend.add_special_tokens([AddedToken(t.content, normalized=t.normalized, special=True) for t in sentinels])
    backend.encode_special_tokens = True
