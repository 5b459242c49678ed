"""Token healing: a token that the hole cut in two is taken back from the prompt, and generated again.

A prefix that ends in `pri` would leave a model that knows `print` as one token with a prompt that no text of its
training had. So the builder leaves `pri` out, and the answer has to begin with it: until it has, only tokens may come
that agree with it. What the user sees begins after it.
"""

from __future__ import annotations

from fim_magic.tokenization import TextTokenizer


class Continuation:
    """The text of an answer while its tokens come, less what had been taken back."""

    def __init__(self, tokenizer: TextTokenizer, healed: str) -> None:
        """Begin an answer, which has to begin with `healed` (`Prompt.healed`)."""
        self._tokenizer = tokenizer
        self._stream = tokenizer.stream()
        self._healed = len(healed)
        self._missing = healed.encode()

    @property
    def text(self) -> str:
        return self._stream.text[self._healed :]

    @property
    def is_repeating(self) -> bool:
        """Whether what was taken back is not all there yet."""
        return bool(self._missing)

    def push(self, token_id: int) -> str:
        """Add a token and return all the text so far."""
        self._stream.push(token_id)
        self._missing = self._missing[len(self._tokenizer.token_bytes(token_id)) :]
        return self.text
