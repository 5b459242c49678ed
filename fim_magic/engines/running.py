"""Which candidates of a request still go on, and which tokens may come next for them: the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from fim_magic.engines import Beginning, Token
from fim_magic.tokenization import TextTokenizer


class Running:
    """The candidates that have not ended.

    Attributes:
        candidates: Their numbers, rising.
    """

    def __init__(
        self, beginnings: Sequence[Beginning], stop_ids: AbstractSet[int], limit: int, tokenizer: TextTokenizer
    ) -> None:
        self.candidates = list(range(len(beginnings)))
        self._beginnings = beginnings
        self._stop_ids = stop_ids
        self._limit = limit
        self._tokenizer = tokenizer
        self._generated: list[list[int]] = [[] for _ in beginnings]
        self._bound = [True for _ in beginnings]

    def allowed(self) -> dict[int, list[int]]:
        """Return the only ids that may come now, for the candidates that have not yet begun as they must."""
        found = {}
        for candidate in self.candidates:
            if not self._bound[candidate]:
                continue
            ids = self._beginnings[candidate].allowed(self._generated[candidate], self._tokenizer)
            if ids is None:
                self._bound[candidate] = False
            else:
                found[candidate] = ids
        return found

    def close(self, candidate: int | None = None) -> None:
        """Let a candidate end, or all. One that has ended already stays so."""
        self.candidates = [] if candidate is None else [other for other in self.candidates if other != candidate]

    def push(self, tokens: Sequence[Token]) -> list[int]:
        """Note tokens that were generated, and return the candidates that end with one of them."""
        ended = []
        for token in tokens:
            generated = self._generated[token.candidate]
            generated.append(token.id)
            is_last = token.id in self._stop_ids or len(generated) >= self._limit
            if is_last and token.candidate not in ended:
                ended.append(token.candidate)
        return ended
