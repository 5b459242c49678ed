r"""How probable a candidate makes what follows the hole, beside its own probability.

A model that was never trained to infill sees only what stands before the hole. But it can say how probable the text
after the hole is once an answer stands in it, and by Bayes' rule that is what tells the answers apart:

    P(middle | prefix, suffix)  ~  P(middle | prefix) P(suffix | prefix, middle)

Candidates are drawn from the first factor; the second is computed here, and so is, of each, where it had best ended. It
helps to choose among the answers of models that infill as well: they look at the suffix less than they should. Only the
beginning of the suffix counts: over two thousand tokens, the few that hang on the hole would drown in the noise of the
others.

Prefix, middle and suffix are encoded as one text, as the model saw texts in training. Encoded by itself, an answer that
ends in `)` before a line end would become the tokens `)` and `\n`, where texts have the one token `)\n`: after `)`, the
model finds a line end most unlikely, and the right answer would be the worst. A token that has characters of both
counts to the suffix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fim_magic.candidate import Candidate, Cut, Ending, told
from fim_magic.context import EMPTY_CONTEXT, Context
from fim_magic.document import Document
from fim_magic.engines import Engine
from fim_magic.engines.reuse import common_prefix
from fim_magic.errors import OptionError
from fim_magic.formats import Prompt, completion_prompt
from fim_magic.tokenization import TextTokenizer
from fim_magic.trimming import Hole, end_before, own_statement_ends, says_nothing, statement_count, statement_ends

SUFFIX_TOKENS = 32
"""How many tokens of the suffix count at most."""

FOLLOWING_TOKENS = 16
"""How many count where the model was shown the suffix: it copies the rest."""

_MOST_ENDINGS = 4  # statements; each is read with what follows
_REOPENED = 16  # tokens at the end of the prompt that may become others with what follows: more than a word has
_LEAST_ROOM = 16  # tokens of prompt without which scores make no sense


@dataclass(frozen=True)
class Score:
    """How likely a middle and what follows it are, left to right.

    Attributes:
        middle: The natural log-probability of the middle after the prefix; None where it was not read.
        middle_tokens: How many tokens of their own the middle has.
        suffix: That of the first tokens of the suffix after both.
        suffix_tokens: How many tokens of the suffix counted: the same number for every middle, though the first of
            them may have been read as other tokens.
    """

    middle: float | None
    middle_tokens: int
    suffix: float
    suffix_tokens: int

    @property
    def middle_mean(self) -> float | None:
        """The log-probability of the middle, per token; 0.0 where it has none, None where it was not read."""
        if self.middle is None:
            return None
        return self.middle / self.middle_tokens if self.middle_tokens else 0.0


def scores(
    engine: Engine,
    document: Document,
    middles: Sequence[str],
    context: Context = EMPTY_CONTEXT,
    suffix_tokens: int = SUFFIX_TOKENS,
) -> Iterator[Score]:
    """Read the text with each of `middles` in its hole, left to right. The caller may stop between any two.

    The prompt is that of a completion, so what an engine has kept of one is not read again.

    Args:
        engine: The loaded model.
        document: The text with the hole.
        middles: Texts for the hole; their scores come in their order.
        context: What the model sees beside the document.
        suffix_tokens: How many tokens of the suffix count at most.

    Raises:
        ModelError: There is not enough memory.
        OptionError: They leave no room for a prompt.
    """
    known, tokenizer = document.for_model(), engine.tokenizer
    suffix, counted = _beginning(tokenizer, known.suffix, suffix_tokens)
    longest = max((len(tokenizer.encode(middle)) for middle in middles), default=0)
    room = engine.context_length - longest - counted - _REOPENED
    if room < _LEAST_ROOM:
        raise OptionError(
            f"The longest answer has {longest} tokens, which leaves no room for what stands before it: the model's "
            f"context is {engine.context_length} tokens in all. Ask for shorter ones (--max-new-tokens 64)."
        )
    prompt = completion_prompt(engine.family, tokenizer, known, room=room, context=context)
    opened = _Opened.at_the_end_of(prompt, tokenizer)
    found: dict[str, Score] = {}
    for middle in middles:
        if middle not in found:
            found[middle] = _score(engine, opened, middle, suffix, counted)
        yield found[middle]


def following(
    engine: Engine, prompt: Prompt, middles: Sequence[str], suffix: str, suffix_tokens: int = FOLLOWING_TOKENS
) -> Iterator[Score]:
    """Score how probable a model that infills finds it that what follows the hole comes next, after each of `middles`.

    It knows the suffix from its prompt. After a middle that is whole, it goes on with it; after one that wants more, or
    has gone too far, less so. Nothing but the middle and a few tokens is read: the prompt was, for the request.

    Args:
        engine: The loaded model.
        prompt: That the middles were answers to.
        middles: Texts for the hole; their scores come in their order, and have of the middle only its number of tokens.
        suffix: What follows it.
        suffix_tokens: How many tokens of it count at most.

    Raises:
        ModelError: There is not enough memory, or no room in the model's context.
    """
    start, _ = _beginning(engine.tokenizer, suffix, 2 * suffix_tokens)
    for middle in middles:
        own, whole = (
            engine.tokenizer.encode(text, unspaced=True, apart=prompt.stop_ids)
            for text in (prompt.healed + middle, prompt.healed + middle + start)
        )
        split = common_prefix(own, whole)
        counted = whole[split : split + suffix_tokens]
        yield Score(None, split, sum(engine.score([*prompt.ids, *whole[:split]], counted)), len(counted))


def endings(hole: Hole, candidate: Candidate) -> list[Candidate]:
    """Return a candidate as it is, and as it would be if it had ended after one of its first statements.

    These are the first of all, also inside blocks, and the first of the hole's own block, each with what it opens.

    A model that does not know the suffix goes on where the hole has ended; often what it wrote first is right.
    """
    text = candidate.middle
    ends = {*statement_ends(hole, text)[:_MOST_ENDINGS], *own_statement_ends(hole, text)[:_MOST_ENDINGS]}
    least = hole.least_statements or 1
    cuts = (
        cut
        for cut in sorted({end_before(hole, text, end) for end in ends})
        if 0 < cut < len(text)
        and not says_nothing(hole, text[:cut])
        and (least == 1 or statement_count(hole, text[:cut]) >= least)
    )
    return [candidate, *(_ended_at(candidate, cut) for cut in cuts)]


def _ended_at(candidate: Candidate, cut: int) -> Candidate:
    kept = max(1, sum(end <= cut for end in candidate.token_ends))
    return replace(
        candidate,
        ending=Ending.RULE,
        cut=Cut("statement-end", cut),
        token_ids=candidate.token_ids[:kept],
        logprobs=told(candidate.logprobs[:kept]),
        token_ends=candidate.token_ends[:kept],
    )


@dataclass(frozen=True)
class _Opened:
    """A prompt whose last tokens are text again, since they may become others with what follows."""

    ids: tuple[int, ...]
    text: str
    controls: frozenset[int]

    @classmethod
    def at_the_end_of(cls, prompt: Prompt, tokenizer: TextTokenizer) -> _Opened:
        ids = prompt.ids
        last = prompt.pieces[-1]
        open_to = min(_REOPENED, last.tokens) if last.kind == "prefix" else 0
        for start in range(max(1, len(ids) - open_to), len(ids)):  # an engine needs one token at least
            text = tokenizer.decode(list(ids[start:]), unspaced=True)
            # Not within a character, nor where a text that begins there would be encoded in another way.
            if tokenizer.encode(text, unspaced=True, apart=prompt.stop_ids) == list(ids[start:]):
                return cls(ids[:start], text + prompt.healed, prompt.stop_ids)
        return cls(ids, prompt.healed, prompt.stop_ids)


def _beginning(tokenizer: TextTokenizer, suffix: str, tokens: int) -> tuple[str, int]:
    """Return the beginning of a suffix, and how many tokens it has by itself."""
    ids = tokenizer.encode(suffix, unspaced=True)
    if len(ids) <= tokens:
        return suffix, len(ids)
    # Without the half of a character.
    return tokenizer.decode(ids[:tokens], unspaced=True).rstrip("\ufffd"), tokens


def _score(engine: Engine, opened: _Opened, middle: str, suffix: str, counted: int) -> Score:
    def encoded(text: str) -> list[int]:
        return engine.tokenizer.encode(opened.text + text, unspaced=True, apart=opened.controls)

    whole = encoded(middle + suffix)
    begin, end = (common_prefix(encoded(text), whole) for text in ("", middle))
    logprobs = engine.score([*opened.ids, *whole[:begin]], whole[begin:])
    split = max(0, end - begin)
    return Score(sum(logprobs[:split]), split, sum(logprobs[split:]), counted)
