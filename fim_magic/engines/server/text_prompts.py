"""Prompts for servers that take texts only: sent where the text is proved to be read as the prompt's own ids.

Such a server finds sentinels in a text wherever they are spelled out, in the user's code as well. So a prompt is turned
into a text, and that is encoded by a second tokenizer of the same file, in which sentinels are sentinels, as the server
has it. Only where the same ids come of it is it sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from fim_magic.errors import ModelError, is_failure
from fim_magic.formats import Family
from fim_magic.tokenization import TextTokenizer, read_tokenizer

_MOST_TOLD = 3  # look-alikes in a message


class UnsayableError(ModelError):
    """A prompt that cannot be said as a text, or not for certain."""


class TextPrompts:
    """Turns prompts into texts for one model.

    Args:
        backend: A tokenizer of the model's own file, in which sentinels are found in texts; it is not changed later.
        tokenizer: The one that made the prompts.
        family: Of the model.
        adds_bos: Whether the server puts the token that begins a text before it; None where it does as the tokenizer's
            file says.
        server: What it is called, for messages.
    """

    def __init__(
        self, backend: Tokenizer, tokenizer: TextTokenizer, family: Family, *, adds_bos: bool | None, server: str
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._tokenizer = tokenizer
        controls = (*family.sentinels(), *family.stop, family.bos or "")
        own = {token for token in map(tokenizer.sentinel, controls) if token is not None}
        self._sentinels = tokenizer.sentinels | own
        self._leading = [] if adds_bos is False else list(tokenizer.leading_ids)
        self._server = server

    @classmethod
    def from_folder(
        cls, folder: Path, tokenizer: TextTokenizer, family: Family, *, adds_bos: bool | None, server: str
    ) -> TextPrompts:
        """Read the tokenizer.json in `folder` a second time.

        Raises:
            ModelError: It cannot be read.
        """
        try:
            backend = read_tokenizer(folder / "tokenizer.json")
        except BaseException as error:  # tokenizers raises bare Exception, and panics
            if not is_failure(error):
                raise
            raise ModelError(f"The tokenizer of this checkpoint could not be read ({error}).") from error
        return cls(backend, tokenizer, family, adds_bos=adds_bos, server=server)

    def text_of(self, ids: Sequence[int]) -> str:
        """Return the text that the server reads as these ids.

        Raises:
            UnsayableError: There is none, or it is not certain. The message says why, and what to type next.
        """
        begin = len(self._leading)
        runs = self._runs(ids[begin:]) if list(ids[:begin]) == self._leading else None
        text = None if runs is None else self._text(runs)
        if text:
            return text
        found = self._look_alikes(ids)
        if found:
            raise UnsayableError(
                f"The text has {' and '.join(found)} in it, which {self._server} would read as control tokens of the "
                "model: it takes prompts as text only. Nothing was sent. Write it in two halves in the cell, or leave "
                "the other cells out: --context none. Servers that take token ids know the difference: vLLM, "
                "llama-server, SGLang."
            )
        why = "it puts another token before it" if runs is None else "it would cut it into other tokens"
        raise UnsayableError(
            f"{self._server} takes prompts as text only, and there is none that it would read as this prompt: {why}. "
            "Nothing was sent. Run the model with vLLM, llama-server or SGLang, which take token ids: "
            "%fim use vllm://HOST:PORT"
        )

    def _runs(self, ids: Sequence[int]) -> list[tuple[bool, list[int]]]:
        """The prompt in parts: each sentinel, and the text between two."""
        runs: list[tuple[bool, list[int]]] = []
        for is_sentinel, group in itertools.groupby(ids, key=self._sentinels.__contains__):
            run = list(group)
            runs += [(True, [token]) for token in run] if is_sentinel else [(False, run)]
        return runs

    def _text(self, runs: Sequence[tuple[bool, list[int]]]) -> str | None:
        """Join the parts, each spelled so that all up to it are read as they are; None if one cannot be spelled so."""
        texts = [self._spellings(is_sentinel, run) for is_sentinel, run in runs]
        ids = list(itertools.chain.from_iterable(run for _, run in runs))
        first = "".join(spellings[0] for spellings in texts)
        if self._read(first) == ids:
            return first
        text, length = "", 0
        for (_, run), spellings in zip(runs, texts, strict=True):
            length += len(run)
            found = next((text + other for other in spellings if self._read(text + other) == ids[:length]), None)
            if found is None:
                return None
            text = found
        return text

    def _spellings(self, is_sentinel: bool, run: list[int]) -> list[str]:
        """How a part may be written: SentencePiece puts a space before a text, at its beginning or after sentinels."""
        whole = self._tokenizer.decode(run, unspaced=True)
        return [whole] if is_sentinel else list(dict.fromkeys((self._tokenizer.decode(run), whole)))

    def _read(self, text: str) -> list[int]:
        """Encode a text as the server does, without what it puts before it by itself."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def _look_alikes(self, ids: Sequence[int]) -> list[str]:
        """The sentinels that the prompt's own text spells out."""
        shown = [self._tokenizer.decode([token], unspaced=True) for token in sorted(self._sentinels)]
        texts = [self._tokenizer.decode(run, unspaced=True) for is_sentinel, run in self._runs(ids) if not is_sentinel]
        found = [token for token in shown if any(token in text for text in texts)]
        return [token for token in found if not any(token in other != token for other in found)][:_MOST_TOLD]
