"""A candidate while its tokens come: it ends where the hole does."""

from __future__ import annotations

from fim_magic.candidate import Candidate, Cut, Ending, told
from fim_magic.engines import Token, TokenLogprob
from fim_magic.formats import Prompt
from fim_magic.healing import Continuation
from fim_magic.request import Request
from fim_magic.tokenization import TextTokenizer
from fim_magic.trimming import Hole, last_whole, trim


class Draft:
    """A candidate that is still being written."""

    def __init__(self, hole: Hole, tokenizer: TextTokenizer, request: Request, prompt: Prompt) -> None:
        self._hole = hole
        self._limit = request.max_new_tokens
        self._trimming = request.trimming
        self._stop_ids = prompt.stop_ids
        self._answer = Continuation(tokenizer, prompt.healed)
        self.token_ids: list[int] = []
        self.logprobs: list[float | None] = []
        self.token_ends: list[int] = []
        self.alternatives: list[tuple[TokenLogprob, ...]] = []  # those of the stop token as well
        self.tokens = 0  # less those that only generate the user's own text again
        self.cut: Cut | None = None
        self.ending: Ending | None = None

    @property
    def middle(self) -> str:
        text = self._answer.text
        return text if self.cut is None else text[: self.cut.at]

    def push(self, token: Token) -> None:
        """Add a token, and end the candidate if it is the last one."""
        self.alternatives.append(token.alternatives)
        if token.id in self._stop_ids:
            self._end(Ending.STOP_TOKEN)
            return
        self.token_ids.append(token.id)
        self.logprobs.append(token.logprob)
        repeats = self._answer.is_repeating  # what the prompt lacks of the user's own text
        text = self._answer.push(token.id)
        self.token_ends.append(len(text))
        self.tokens += bool(text) or not repeats
        if self._trimming:
            self.cut = trim(self._hole, text, final=False)
        if self.cut is not None:
            self.ending = Ending.RULE
        elif self.tokens >= self._limit:
            self._end(Ending.LENGTH)

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        if self._trimming:
            self.cut = trim(self._hole, self._answer.text, final=True)
        if ending is Ending.LENGTH and self.cut is not None:
            self.ending = Ending.RULE
        elif ending is Ending.LENGTH and self._trimming:
            end = last_whole(self._hole, self._answer.text)
            self.cut = None if end is None else Cut("token-limit", end)

    def end_early(self) -> None:
        """End where the engine gives no more tokens."""
        if self.ending is None:
            self._end(Ending.LENGTH)

    def break_off(self) -> None:
        """End where the server that makes it has failed."""
        if self.ending is None:
            self.ending = Ending.BROKEN_OFF

    def finished(self) -> Candidate:
        return Candidate(
            raw=self._answer.text,
            ending=self.ending or Ending.INTERRUPTED,
            cut=self.cut,
            token_ids=tuple(self.token_ids),
            logprobs=told(self.logprobs),
            token_ends=tuple(self.token_ends),
        )
