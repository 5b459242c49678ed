"""Whether a loaded model gets the prompts that it was trained on, found out from its tokenizer and by its answers.

A prompt in the wrong order, or with a sentinel missing, is no error: the model answers something that looks like code.
So each probe here has a text after its hole that alone decides the answer. A model that answers from it has read it as
what stands after the hole; that is what a right prompt is for.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from fim_magic.candidate import Ending
from fim_magic.document import Document, parse
from fim_magic.engines import Engine
from fim_magic.errors import ServerError
from fim_magic.formats import Family, Prompt, completion_prompt, fim_prompt
from fim_magic.generation import Answered, decode_loop
from fim_magic.progress import OnProgress, Progress, silent
from fim_magic.request import Request
from fim_magic.trimming import Hole, trim

EXAMPLE = """\
def hello(name):
    print(<游標在這>)


def goodbye(name):
    print(FAREWELL + name)


GREETING = "你好，"
FAREWELL = "再見，"
"""
"""Ten lines whose right middle is `GREETING + name`.

What stands before the hole leads to `"Hello, " + name`, and does so in every order but the right one. Only the text
after the hole has the name `GREETING`, that it is a string and not a function, and with `goodbye` the way in which to
use it. Its value is Chinese, so that a tokenizer which breaks characters of several bytes breaks here.
"""

_LIMIT = 32  # tokens of an answer; the longest right one has 12
_ROOM = 1024  # tokens of a prompt; the longest has 120


class Verdict(str, Enum):
    """The outcome of a check."""

    OK = "ok"
    FAILED = "FAILED"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class PromptCheck:
    """One check of the tokenizer, or of an answer.

    Attributes:
        name: What was checked, in a few words.
        verdict: The outcome.
        detail: What was found, for the user. May hold anything that a model or a vocabulary says.
    """

    name: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Probe:
    """A text with a hole, and how to see that the model read what it had to.

    Attributes:
        name: Where its hole is, in a few words.
        text: With a marker, or to be continued at its end.
        right: What a programmer would write there.
        needs: The pattern that every answer has which follows from the text. Models may word the rest differently.
    """

    name: str
    text: str
    right: str
    needs: str

    @property
    def document(self) -> Document:
        return parse(self.text, required=False)


@dataclass(frozen=True)
class ProbeAnswer:
    """The model's answer to one probe.

    Attributes:
        text: All that the model generated, up to its stop token or the limit.
        middle: What the rules of `trimming` keep of it.
        stopped: Whether it ended with one of the prompt's stop tokens.
        check: What it shows.
    """

    probe: Probe
    prompt: Prompt
    text: str
    middle: str
    stopped: bool
    check: PromptCheck


@dataclass(frozen=True)
class Proof:
    """All checks of a model."""

    checks: tuple[PromptCheck, ...]  # of the tokenizer and of the prompts
    answers: tuple[ProbeAnswer, ...]  # the first one is the example's, in the order that the family takes by itself

    @property
    def failed(self) -> list[PromptCheck]:
        return [check for check in self.all_checks if check.verdict is Verdict.FAILED]

    @property
    def all_checks(self) -> list[PromptCheck]:
        """The checks, those of the answers included."""
        return [*self.checks, *(answer.check for answer in self.answers)]


_CHINESE_NAME = """\
def hello(name):
    print(<cursor>)


def goodbye(name):
    print(再見 + name)


你好 = "你好，"
再見 = "再見，"
"""

_CONTINUED = """\
GREETING = "你好，"
FAREWELL = "再見，"


def hello(name):
    print(GREETING + name)


def goodbye(name):
    print("""

_LINE = "def mean(numbers):\n    <cursor>\n    return total / len(numbers)\n"
_WORD = "def area(width, height):\n    return wid<cursor> * height\n"

_HELLO = Probe("the ten lines", EXAMPLE, "GREETING + name", r"\bGREETING\b")
_INFILLING = (
    Probe("a line of its own", _LINE, "total = sum(numbers)", r"\btotal\b\s*(:.*)?[+]?="),
    Probe("a name in Chinese", _CHINESE_NAME, "你好 + name", "你好|再見"),
    Probe("the rest of a word", _WORD, "th", r"^th\b"),
)
_CONTINUING = Probe("the ten lines", _CONTINUED, "FAREWELL + name)", r"\bFAREWELL\b")
"""For models that only complete: the same ten lines with the hole at their end, so that what stands before decides."""

_SCRIPTS = {
    "Latin": "def größe(naïve): # œuvre",
    "Greek and Cyrillic": "α, β = 'Привет', 'Γειά'",
    "Arabic and Hebrew": "print('مرحبا', 'שלום')",
    "Devanagari and Thai": "नमस्ते = 'สวัสดี'",
    "Chinese and Japanese": "print('你好，世界', 'こんにちは')",
    "Korean": "안녕 = 1",
    "emoji": "# 👩‍💻 🇯🇵 🎉",
    "white space": "\tif x:\n\n        y = 1  \n \n",
}
_DIGITS_AND_SPACES = ("    1", "2023", "a b", "x = 10 + 200")  # digits and spaces, which rebuilt tokenizers get wrong


def prove(engine: Engine, on_progress: OnProgress = silent) -> Proof:
    """Check the engine's tokenizer, and let the model answer the probes, greedily.

    A model that infills answers in every order that its family has; others only continue.

    Args:
        engine: The loaded model.
        on_progress: Called before each probe, and after the last.

    Returns:
        All checks; without answers where the checkpoint lacks a sentinel, so that it cannot be asked.
    """
    checks = list(_check_tokenizer(engine))
    if _missing_sentinels(engine):
        return Proof(tuple(checks), ())
    probes = list(_prompts(engine))
    answers = []
    for index, (probe, prompt) in enumerate(probes):
        on_progress(Progress("Asking the model", index, len(probes), "probes"))
        answers.append(_answer(engine, probe, prompt))
    on_progress(Progress("Asking the model", len(probes), len(probes), "probes"))
    return Proof((*checks, _check_bos(engine, probes[0][1]), _check_stopping(answers)), tuple(answers))


def recognised(family: Family, stated_by: str = "") -> str:
    """Say how a checkpoint's family was found; `stated_by` says who named it, if anybody did: "the catalogue"."""
    by = f"{stated_by} names it" if stated_by else f"its architecture is {' or '.join(family.model_types)}"
    if not family.can_infill:
        return f"{by}; it completes from left to right, because {family.why_not}"
    return f"{by}, and its vocabulary has {', '.join(family.sentinels())}"


def _prompts(engine: Engine) -> Iterator[tuple[Probe, Prompt]]:
    family, tokenizer = engine.family, engine.tokenizer
    options: dict[str, Any] = {"room": _ROOM, "healing": engine.capabilities.constrains}
    if not family.can_infill:
        yield _CONTINUING, completion_prompt(family, tokenizer, _CONTINUING.document, **options)
        return
    usual = fim_prompt(family, tokenizer, _HELLO.document, order="auto", **options)
    yield _HELLO, usual
    other = "spm" if usual.order == "psm" else "psm"
    if getattr(family, other) is not None:
        yield _HELLO, fim_prompt(family, tokenizer, _HELLO.document, order=other, **options)
    for probe in _INFILLING:
        yield probe, fim_prompt(family, tokenizer, probe.document, order="auto", **options)
    yield _HELLO, completion_prompt(family, tokenizer, _HELLO.document, **options)


# --- the tokenizer -------------------------------------------------------------------------------


def _check_tokenizer(engine: Engine) -> Iterator[PromptCheck]:
    yield _check_sentinels(engine)
    yield _check_stop_tokens(engine)
    yield _check_sentinels_in_text(engine)
    yield _check_scripts(engine)
    yield _check_digits_and_spaces(engine)


def _check_sentinels(engine: Engine) -> PromptCheck:
    check = partial(PromptCheck, "sentinels")
    missing = _missing_sentinels(engine)
    if missing:
        return check(Verdict.FAILED, f"not in the vocabulary, or beyond the embedding: {', '.join(missing)}")
    if not engine.family.sentinels():
        return check(Verdict.NOT_JUDGED, "its prompts need none")
    ids = ", ".join(f"{token} {engine.tokenizer.sentinel(token)}" for token in engine.family.sentinels())
    return check(Verdict.OK, f"each is one id inside the embedding: {ids}")


def _missing_sentinels(engine: Engine) -> list[str]:
    wanted = [*engine.family.sentinels(), *filter(None, [engine.family.bos])]
    return [token for token in wanted if engine.tokenizer.sentinel(token) is None]


def _check_stop_tokens(engine: Engine) -> PromptCheck:
    ids = {token: engine.tokenizer.sentinel(token) for token in engine.family.stop}
    present = ", ".join(f"{token} {token_id}" for token, token_id in ids.items() if token_id is not None)
    if not present:
        return PromptCheck("stop tokens", Verdict.FAILED, f"the vocabulary has none of {', '.join(ids)}")
    absent = ", ".join(token for token, token_id in ids.items() if token_id is None)
    return PromptCheck("stop tokens", Verdict.OK, present + (f"; it has no {absent}" if absent else ""))


def _check_sentinels_in_text(engine: Engine) -> PromptCheck:
    """A notebook about sentinels must not break its own prompt. SentencePiece reads a space as the `▁` of a name."""
    tokenizer = engine.tokenizer
    names = [*engine.family.sentinels(), *engine.family.stop]
    ids = {token_id for token_id in map(tokenizer.sentinel, names) if token_id is not None}
    spellings = [spelling for name in names for spelling in (name, name.replace("▁", " "))]
    active = [text for text in dict.fromkeys(spellings) if ids.intersection(tokenizer.encode(f"x = '{text}'"))]
    if active:
        return PromptCheck("sentinels in text", Verdict.FAILED, f"spelt out in code, they act: {', '.join(active)}")
    return PromptCheck("sentinels in text", Verdict.OK, "spelt out in code, they are text")


def _check_scripts(engine: Engine) -> PromptCheck:
    check = partial(PromptCheck, "round trip")
    lost = [script for script, text in _SCRIPTS.items() if not _survives_round_trip(engine, text)]
    if lost:
        return check(Verdict.FAILED, f"what is encoded and decoded again is another text: {', '.join(lost)}")
    return check(Verdict.OK, f"encoded and decoded again, also streamed: {', '.join(_SCRIPTS)}")


def _survives_round_trip(engine: Engine, text: str) -> bool:
    tokenizer = engine.tokenizer
    stream = tokenizer.stream()
    for token in tokenizer.encode(text, unspaced=True):
        stream.push(token)
    return text == tokenizer.decode(tokenizer.encode(text)) == stream.text


def _check_digits_and_spaces(engine: Engine) -> PromptCheck:
    tokenizer = engine.tokenizer
    lost = [text for text in _DIGITS_AND_SPACES if not _survives_round_trip(engine, text)]
    if lost:
        return PromptCheck("digits and spaces", Verdict.FAILED, f"lost something: {', '.join(map(repr, lost))}")
    encoded = ", ".join(f"{text!r} {tokenizer.encode(text, unspaced=True)}" for text in _DIGITS_AND_SPACES)
    return PromptCheck("digits and spaces", Verdict.OK, encoded)


def _check_bos(engine: Engine, prompt: Prompt) -> PromptCheck:
    family, tokenizer = engine.family, engine.tokenizer
    if family.bos is None:
        wanted = tokenizer.leading_ids
    else:
        bos = tokenizer.sentinel(family.bos)
        wanted = [bos] if family.bos and bos is not None else []
    name = tokenizer.decode(wanted) or "none"
    own = tokenizer.decode(tokenizer.leading_ids) or "none"
    detail = f"{name}, as the family wants it; by itself, the tokenizer puts {own} before a text"
    if not wanted:
        return PromptCheck("BOS", Verdict.NOT_JUDGED if tokenizer.leading_ids else Verdict.OK, detail)
    if list(prompt.ids[: len(wanted)]) == wanted and prompt.ids.count(wanted[0]) == 1:
        return PromptCheck("BOS", Verdict.OK, detail)
    return PromptCheck("BOS", Verdict.FAILED, f"not {name} exactly once")


# --- the answers ---------------------------------------------------------------------------------


def _answer(engine: Engine, probe: Probe, prompt: Prompt) -> ProbeAnswer:
    """Let the model answer without our rules, which would end it before it can show whether it stops by itself."""
    text, stopped = _generate(engine, probe.document, prompt)
    cut = trim(Hole(probe.document), text, final=True)
    middle = text if cut is None else text[: cut.at]
    return ProbeAnswer(probe, prompt, text, middle, stopped, _judge(engine, probe, prompt, middle))


def _generate(engine: Engine, document: Document, prompt: Prompt) -> tuple[str, bool]:
    request = Request(document, max_new_tokens=_LIMIT, trimming=False)
    loop = decode_loop(request, prompt=prompt, engine=engine, stop=threading.Event(), began=time.perf_counter())
    answered = next(event for event in loop if isinstance(event, Answered))
    if answered.broken_off:
        raise ServerError(answered.broken_off)
    (candidate,) = answered.candidates
    return candidate.raw, candidate.ending is Ending.STOP_TOKEN


def _judge(engine: Engine, probe: Probe, prompt: Prompt, middle: str) -> PromptCheck:
    """Judge an answer: by what it needs, and without the suffix by not having it."""
    is_right = re.search(probe.needs, middle) is not None and "\ufffd" not in middle
    check = partial(PromptCheck, f"{probe.name}, {prompt.order.upper() or 'left to right'}")
    if engine.family.can_infill and not prompt.order:
        if is_right:
            return check(Verdict.NOT_JUDGED, "it answers the same without the text after the hole")
        return check(Verdict.OK, "without the text after the hole it answers something else, so it had read it")
    if not is_right:
        return check(Verdict.FAILED, f"expected: {probe.right}")
    is_exact = middle.strip() == probe.right
    return check(Verdict.OK, "as expected" if is_exact else f"in other words than {probe.right}")


def _check_stopping(answers: list[ProbeAnswer]) -> PromptCheck:
    stopped = sum(answer.stopped for answer in answers)
    detail = f"{stopped} of {len(answers)} answers ended with a stop token"
    if stopped:
        return PromptCheck("ends by itself", Verdict.OK, detail)
    return PromptCheck("ends by itself", Verdict.NOT_JUDGED, f"{detail}; %%fim ends them where the hole does")
