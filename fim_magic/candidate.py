"""What a model answered: the text, why it ended, what was trimmed from it, and how sure the model was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from fim_magic.context import EMPTY_CONTEXT, Context
from fim_magic.document import Document
from fim_magic.engines import GREEDY, Sampling, ServerInfo
from fim_magic.placing import with_imports


class Ending(str, Enum):
    """Why a candidate has no more tokens."""

    STOP_TOKEN = "stop token"  # the model ended it, with a token of its family that says so
    RULE = "rule"  # one of our rules found the end of the hole; `Candidate.cut` says which
    LENGTH = "length"  # it reached max_new_tokens and is probably not finished
    INTERRUPTED = "interrupted"  # the user stopped it; the text is partial
    BROKEN_OFF = "broken off"  # the server that made it failed; the text is partial


@dataclass(frozen=True)
class Cut:
    """Where a rule ended a candidate.

    Attributes:
        rule: The name of the rule, one of `trimming.RULES`, or "statement-end" where ranking ended it; of several holes
            maybe several, with commas.
        at: How many characters of the model's text were kept.
    """

    rule: str
    at: int


@dataclass(frozen=True)
class Check:
    """The outcome of one check of the rebuilt text.

    Attributes:
        name: What was checked: "parses", "names", "doctests", "test", or the user's expression.
        passed: Whether it is as it should be; None where that could not be found out.
        detail: What was found, in a few words for the user, on one line.
        share: How many of its parts are as they should be, from 0.0 to 1.0, where it has several and not all are.
        names: Of the check "names", those that are undefined, in the order in which the text has them.
        confined: Whether the system itself confined what was run for it; True as well where nothing was run.
    """

    name: str
    passed: bool | None
    detail: str = ""
    share: float = 0.0
    names: tuple[str, ...] = ()
    confined: bool = True


def known_of(logprobs: Sequence[float | None]) -> list[float]:
    """Return those log-probabilities that are known: not one that is no finite number, as of weights that overflow."""
    return [logprob for logprob in logprobs if logprob is not None and math.isfinite(logprob)]


def told(logprobs: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return log-probabilities as a candidate has them: nothing at all where none is known."""
    known = set(known_of(logprobs))
    return tuple(logprob if logprob in known else None for logprob in logprobs) if known else ()


@dataclass(frozen=True)
class Candidate:
    """One answer for the hole.

    Attributes:
        raw: The text that the model generated, byte for byte; of several holes the middle, then what was trimmed.
        ending: Why generation ended.
        cut: The rule that trimmed it and where, or None if the text is as the model gave it.
        token_ids: The generated ids, without the stop token.
        logprobs: The natural log-probability of each of `token_ids` under the model, before temperature; None for one
            of which the engine does not tell it, and nothing at all where it tells none.
        token_ends: How many characters of `raw` there are after each of `token_ids`.
        checks: What was found when it was put into the text.
        same: How many of the request's answers say the same; one is shown for all of them.
        reason: Why it stands where it does among several, in a few words.
        kept: Where `middle` is the user's own text, as (start, end): what stands between several holes.
        read_logprob: The mean log-probability of its tokens where the model reads the text from left to right; None
            where it did not.
        suffix_logprob: Likewise the log-probability, all together, of the first tokens of what follows the hole.
        imports: The lines that are offered with it, for names that it uses and nothing defines.
        trimmed_lengths: Of several holes, how many characters were trimmed from each.
    """

    raw: str
    ending: Ending
    cut: Cut | None = None
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float | None, ...] = ()
    token_ends: tuple[int, ...] = ()
    checks: tuple[Check, ...] = ()
    same: int = 1
    reason: str = ""
    kept: tuple[tuple[int, int], ...] = ()
    read_logprob: float | None = None
    suffix_logprob: float | None = None
    imports: tuple[str, ...] = ()
    trimmed_lengths: tuple[int, ...] = ()

    @property
    def middle(self) -> str:
        """The text for the hole: `raw`, less what was trimmed from its end."""
        return self.raw if self.cut is None else self.raw[: self.cut.at]

    @property
    def trimmed(self) -> str:
        return "" if self.cut is None else self.raw[self.cut.at :]

    @property
    def mean_logprob(self) -> float | None:
        """The mean log-probability of the tokens of which it is known, or None where there is none."""
        known = known_of(self.logprobs)
        return sum(known) / len(known) if known else None

    def text_in(self, document: Document, *, imports: bool = True) -> str:
        """Return the whole text with this candidate in the hole, and with the imports that are offered."""
        return with_imports(document.rebuild(self.middle), self.imports if imports else ())

    def describe_ending(self) -> str:
        """Describe in a few words how the candidate ended."""
        words = {
            Ending.STOP_TOKEN: "ended by itself",
            Ending.RULE: "ended",
            Ending.LENGTH: "cut at the token limit, probably unfinished",
            Ending.INTERRUPTED: "partial: interrupted",
            Ending.BROKEN_OFF: "partial: the server broke off",
        }[self.ending]
        if self.cut is None:
            return words
        return f"{words}, trimmed by {self.cut.rule} ({len(self.trimmed)} characters)"


@dataclass(frozen=True)
class Result:
    """The outcome of a request.

    Attributes:
        document: The user's text and where the hole is.
        candidates: At least one, in the order in which they should be offered.
        model: The model's name as the user may type it.
        revision: Which version of the checkpoint it was: a commit, or the start of the file's sha256.
        method: "fim" (the model saw the suffix) or "complete" (it did not).
        order: "psm", "spm", or "" for left to right.
        prompt_tokens: How long the prompt was, sentinels included.
        dropped_prefix_tokens: Tokens cut from the start of the prefix to fit the model's context, or the limit below.
        dropped_suffix_tokens: Tokens cut from the end of the suffix, likewise.
        seed: The seed of the sampler, or None for greedy decoding.
        first_token_seconds: From the request to its first token, loading the model not included.
        seconds: From the request to its last token, likewise.
        order_reason: Why "auto" took that order; "" where the user chose.
        reused_tokens: How many of the prompt's tokens an earlier request had read already.
        sampling: How tokens were chosen.
        max_new_tokens: The most tokens that an answer could have.
        prompt_sha256: Of the prompt's ids, as unsigned 32-bit numbers in this machine's byte order.
        generated: How many tokens were generated, over all answers; None for those of the candidates.
        seen: What the model saw beside the text.
        holes: How many holes the text has.
        lines: How many statements an answer was to have at least.
        left_out: What the request went without, since its engine cannot do it.
        first_answer_seconds: From the request to its first answer, which may be taken then.
        max_prompt_tokens: How many tokens the prompt could have, where it was shortened to that; else None.
        prompt_limit: Why so many; "" without a limit.
        server: What computed, where that is a server.
        broken_off: What the server that failed meanwhile had to say; "" where none did.
        runs_on: On which device of this machine and in what precision it was computed; "" where a server did.
    """

    document: Document
    candidates: tuple[Candidate, ...]
    model: str
    revision: str
    method: str
    order: str
    prompt_tokens: int
    dropped_prefix_tokens: int
    dropped_suffix_tokens: int
    seed: int | None
    first_token_seconds: float
    seconds: float
    order_reason: str = ""
    reused_tokens: int = 0
    sampling: Sampling = GREEDY
    max_new_tokens: int = 0
    prompt_sha256: str = ""
    generated: int | None = None
    seen: Context = EMPTY_CONTEXT
    holes: int = 1
    lines: int = 1
    left_out: tuple[str, ...] = ()
    first_answer_seconds: float = 0.0
    max_prompt_tokens: int | None = None
    prompt_limit: str = ""
    server: ServerInfo | None = None
    broken_off: str = ""
    runs_on: str = ""

    @property
    def middle(self) -> str:
        return self.candidates[0].middle

    @property
    def is_partial(self) -> bool:
        """Whether a server broke off before the first candidate was whole."""
        return self.candidates[0].ending is Ending.BROKEN_OFF

    @property
    def text(self) -> str:
        """The whole text with the first candidate in the hole, and with the imports that are offered with it."""
        return self.candidates[0].text_in(self.document)

    @property
    def context(self) -> str:
        """What the model saw beside the text, in a few words."""
        return self.seen.describe()

    def with_candidate(self, candidate: Candidate) -> Result:
        """Return the result with another candidate behind the others."""
        generated = None if self.generated is None else self.generated + len(candidate.token_ids)
        return replace(self, candidates=(*self.candidates, candidate), generated=generated)

    def beginning_with(self, candidate: Candidate) -> Result:
        """Return the result with the candidate that says the same as `candidate` first."""
        others = [other for other in self.candidates if other.middle != candidate.middle]
        same = next((other for other in self.candidates if other.middle == candidate.middle), candidate)
        return replace(self, candidates=(same, *others))

    @property
    def answers(self) -> int:
        """How many answers there were; fewer are candidates where several say the same."""
        return sum(candidate.same for candidate in self.candidates)

    @property
    def tokens(self) -> int:
        """How many tokens were generated, over all answers."""
        if self.generated is not None:
            return self.generated
        return sum(len(candidate.token_ids) for candidate in self.candidates)

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first step, over the time after it; 0.0 where there is nothing to measure."""
        after_first = self.tokens - self.answers
        elapsed = self.seconds - self.first_token_seconds
        return after_first / elapsed if after_first > 0 and elapsed > 0 else 0.0
