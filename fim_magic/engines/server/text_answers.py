"""Answers that come as text, turned into the ids that the rest of fim-magic works with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from fim_magic.engines.server.dialect import AnswerPiece, Asked, Dialect, ServedToken
from fim_magic.errors import ServerError
from fim_magic.tokenization import TextTokenizer


class MisreadError(ServerError):
    """A server has read a prompt as another number of tokens than it has.

    Attributes:
        count: That number.
    """

    def __init__(self, count: int, length: int) -> None:
        super().__init__(
            f"The server has read the prompt as {count} tokens, and it has {length}: what it answers is no answer to "
            "it. See its own log, and whether its context is long enough."
        )
        self.count = count


class TextAnswer:
    """Reads an answer's text as it comes. The ids' text is the same text.

    What may be the beginning of a stop token waits until it is known, and half a character for its other half.

    Args:
        tokenizer: The model's.
        stop_ids: The tokens that end the answer: spelled out in the text, they are meant.
    """

    def __init__(self, tokenizer: TextTokenizer, stop_ids: AbstractSet[int]) -> None:
        self._tokenizer = tokenizer
        self._stops = {tokenizer.decode([token], unspaced=True): token for token in sorted(stop_ids)}
        self._held = ""
        self.is_over = False

    def push(self, text: str, logprobs: Sequence[float] = ()) -> list[ServedToken]:
        """Add text, and return the tokens that are known now.

        Args:
            text: What comes next.
            logprobs: Of the server's tokens of it; they are given on if ours are as many.
        """
        if self.is_over or not text:
            return []
        was_held = bool(self._held)
        whole = _joined(self._held + text)
        places = [(whole.find(stop), stop) for stop in self._stops if stop in whole]
        if places:
            place, stop = min(places, key=lambda item: (item[0], -len(item[1])))
            self._held, self.is_over = "", True
            return [*self._tokens(whole[:place]), ServedToken(self._stops[stop])]
        kept = len(whole) - self._unknown(whole)
        self._held = whole[kept:]
        return self._tokens(whole[:kept], () if was_held or self._held else logprobs)

    def end(self) -> list[ServedToken]:
        """Return the tokens of what waits: nothing comes behind it."""
        held, self._held = self._held, ""
        return [] if self.is_over else self._tokens(held)

    def _tokens(self, text: str, logprobs: Sequence[float] = ()) -> list[ServedToken]:
        ids = self._tokenizer.spelled(text.encode("utf-8", "replace").decode()) if text else []
        if len(ids) != len(logprobs):
            return [ServedToken(token) for token in ids]
        return [ServedToken(token, logprob) for token, logprob in zip(ids, logprobs, strict=True)]

    def _unknown(self, text: str) -> int:
        """How many characters at the end of a text may become something else with what follows."""
        if text[-1:] and "\ud800" <= text[-1] <= "\udbff":
            return 1
        longest = max(map(len, self._stops), default=0)
        lengths = range(min(longest - 1, len(text)), 0, -1)
        return next((n for n in lengths if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)


def pieces_of(dialect: Dialect, events: Iterable[Any], asked: Asked, tokenizer: TextTokenizer) -> Iterator[AnswerPiece]:
    """Read a stream by its dialect, with ids for everything that comes.

    Args:
        dialect: Of the server.
        events: Its events.
        asked: What they answer.
        tokenizer: The model's.

    Raises:
        ServerError: The server says that it failed.
        MisreadError: It has read another prompt than ours.
        Exception: The stream has another form than it should have.
    """
    answer = TextAnswer(tokenizer, asked.stop_ids)
    for piece in dialect.pieces(events, asked):
        if piece.prompt_tokens is not None and piece.prompt_tokens != len(asked.ids):
            raise MisreadError(piece.prompt_tokens, len(asked.ids))
        if piece.text:
            yield _with(answer.push(piece.text, piece.logprobs), piece)
        elif piece.tokens or piece.ended:
            waiting = answer.end()
            yield _with([*waiting, *piece.tokens], piece) if not answer.is_over else AnswerPiece(ended=piece.ended)
        else:
            yield piece
    waiting = answer.end()
    if waiting:
        yield AnswerPiece(tuple(waiting))


def _with(tokens: Sequence[ServedToken], piece: AnswerPiece) -> AnswerPiece:
    return AnswerPiece(tuple(tokens), ended=piece.ended, cached=piece.cached, prompt_tokens=piece.prompt_tokens)


def _joined(text: str) -> str:
    """Join the halves of characters that came one after the other, as JSON writes them."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
