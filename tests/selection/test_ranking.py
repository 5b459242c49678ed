"""Choosing among answers by what follows the hole."""

from __future__ import annotations

import math

import pytest
import torch
from checkpoints import KINDS
from hypothesis import given
from hypothesis import strategies as st
from scripted import ScriptedEngine, byte_tokenizer, spaced_tokenizer, word_tokenizer

from fim_magic.candidate import Candidate, Cut, Ending
from fim_magic.context import Context, File
from fim_magic.document import Document
from fim_magic.errors import OptionError
from fim_magic.pipeline import follow
from fim_magic.request import Request
from fim_magic.selection.ranking import SUFFIX_TOKENS, Score, endings, scores
from fim_magic.trimming import Hole

MEAN = Document("def mean(xs):\n    total = ", "\n    return total / len(xs)\n")


def by_token(tokenizer, values):
    """A likelihood that says for each token what a test says of its text; -1.0 of the others."""
    return lambda _, ids: [values.get(tokenizer.decode([token], unspaced=True), -1.0) for token in ids]


def test_a_score_tells_the_answer_from_what_follows():
    engine = ScriptedEngine()
    engine.likelihood = lambda prompt, ids: [-9.0] * 5 + [-0.5] * (len(ids) - 5)
    (found,) = scores(engine, Document("", "abc\n"), ["12345"])
    assert found == Score(middle=-45.0, middle_tokens=5, suffix=-2.0, suffix_tokens=4)
    assert found.middle_mean == -9.0


def test_the_model_reads_the_prompt_of_a_completion_then_the_answer_and_what_follows():
    engine = ScriptedEngine()
    list(scores(engine, MEAN, ["sum(xs)", "0"]))
    assert ["".join(pair) for pair in engine.scored] == [MEAN.rebuild("sum(xs)"), MEAN.rebuild("0")]
    assert engine.scored[0][0] == engine.scored[1][0] == MEAN.prefix  # the same for all: it is read once


def test_equal_answers_are_read_once():
    engine = ScriptedEngine()
    assert len(list(scores(engine, MEAN, ["0", "1", "0", "0"]))) == 4
    assert len(engine.scored) == 2


def test_only_the_beginning_of_what_follows_counts():
    engine = ScriptedEngine()
    (found,) = scores(engine, Document("a = ", "\n" + "b" * 5000), ["1"])
    assert found.suffix_tokens == SUFFIX_TOKENS
    assert engine.scored[0][1].endswith("1\n" + "b" * (SUFFIX_TOKENS - 1))
    assert found.suffix == pytest.approx(-0.1 * SUFFIX_TOKENS)


def test_half_a_character_of_what_follows_is_not_read():
    engine = ScriptedEngine()
    list(scores(engine, Document("a = ", "中文"), ["1"], suffix_tokens=4))
    assert engine.scored[0][1].endswith("1中")


def test_a_token_with_characters_of_both_counts_to_what_follows():
    tokenizer = word_tokenizer()
    engine = ScriptedEngine(tokenizer=tokenizer)
    engine.likelihood = by_token(tokenizer, {"()": -5.0})
    (found,) = scores(engine, Document("a = f", ")\nb"), ["("])
    assert found == Score(middle=0.0, middle_tokens=0, suffix=-5.0 - 1.0 - 1.0, suffix_tokens=3)


def test_a_word_that_the_hole_cuts_in_two_is_read_as_the_word():
    tokenizer = word_tokenizer()
    engine = ScriptedEngine(tokenizer=tokenizer)
    engine.likelihood = lambda _, ids: [-0.1] * len(ids)
    read = []
    real = engine.score
    engine.score = lambda prompt, ids: read.append((list(prompt), list(ids))) or real(prompt, ids)
    list(scores(engine, Document("x = 1\npri", "(x)"), ["nt"]))
    ((prompt, ids),) = read
    assert [tokenizer.decode([token]) for token in ids][:1] == ["print"]
    assert tokenizer.decode(prompt) == "x = 1\n"


text = st.text("aprime()n =\n中é", max_size=30)
short_text = st.text("aprime()n =\n中é", max_size=10)  # whose tokens, up to three a character, all count


@pytest.mark.parametrize("kind", ["bytes", "words", "spaces"])
@given(prefix=text, middle=text, suffix=short_text)
def test_what_is_read_is_the_text_itself(kind, prefix, middle, suffix):
    tokenizer = {"bytes": byte_tokenizer, "words": word_tokenizer, "spaces": spaced_tokenizer}[kind]()
    engine = ScriptedEngine(tokenizer=tokenizer)
    read = []

    def score(given, ids):
        assert given
        read.append([*given, *ids])
        return [-1.0] * len(ids)

    engine.score = score
    document = Document("#" + prefix, suffix)
    (found,) = scores(engine, document, [middle])
    (ids,) = read
    assert tokenizer.decode(ids) == document.rebuild(middle)
    assert found.middle <= 0
    assert found.suffix <= 0
    if kind == "bytes":
        assert (found.middle, found.suffix) == (-len(middle.encode()), -len(suffix.encode()))


def test_nothing_follows_nothing_is_said_about_it():
    engine = ScriptedEngine()
    assert [each.suffix for each in scores(engine, Document("a = ", ""), ["1", "2"])] == [0.0, 0.0]


def test_an_empty_text_can_be_read():
    engine = ScriptedEngine()
    assert [each.suffix for each in scores(engine, Document("", ""), ["", "a"])] == [0.0, 0.0]
    assert next(scores(engine, Document("", ""), [""])).middle_mean == 0.0


def test_windows_line_ends_are_not_shown_to_the_model():
    engine = ScriptedEngine()
    list(scores(engine, Document("a = 1\r\n", "\r\nb = 2\r\n"), ["x"]))
    assert "\r" not in "".join(engine.scored[0])


def test_other_files_are_shown_as_for_a_completion():
    engine = ScriptedEngine("0")
    context = Context(path="mean.py", files=(File("other.py", "OTHER = 1\n"),))
    list(scores(engine, MEAN, ["0"], context))
    request = Request(MEAN, method="complete", context=context)
    follow(request, engine)
    assert "OTHER" in engine.scored[0][0]
    assert engine.tokenizer.decode(engine.prompts[0]) == engine.scored[0][0]


def test_a_long_text_loses_its_beginning():
    engine = ScriptedEngine()
    list(scores(engine, Document("x = 1\n" * 2000, "\ny"), ["z"]))
    whole = "".join(engine.scored[0])
    assert whole.endswith("x = 1\nz\ny")
    assert len(whole) <= engine.context_length


def test_answers_without_room_are_told():
    engine = ScriptedEngine()
    engine.context_length = 64
    with pytest.raises(OptionError, match="leaves no room"):
        list(scores(engine, MEAN, ["a" * 60]))


@pytest.mark.parametrize("name", KINDS)
def test_scores_are_those_of_one_forward_over_the_text(engine, name):
    loaded, document = engine(name), Document("def mean(xs):\n    total =", MEAN.suffix)
    (found,) = scores(loaded, document, [" sum(xs)"])
    tokenizer = loaded.tokenizer
    before, rest = (
        [*tokenizer.leading_ids, *tokenizer.encode(document.prefix)],
        tokenizer.encode(" sum(xs)" + MEAN.suffix),
    )
    with torch.no_grad():
        rows = torch.log_softmax(loaded._model.module(torch.tensor([before + rest])).logits[0].float(), dim=-1)
    each = [float(row[token]) for row, token in zip(rows[len(before) - 1 :], rest, strict=False)]
    assert found.middle + found.suffix == pytest.approx(math.fsum(each), abs=0.05)
    assert found.suffix == pytest.approx(math.fsum(each[-found.suffix_tokens :]), abs=0.05)


# --- where an answer had best ended --------------------------------------------------------------


def ended(document, text):
    candidate = Candidate(
        text,
        Ending.LENGTH,
        token_ids=tuple(range(len(text))),
        logprobs=(-0.1,) * len(text),
        token_ends=tuple(range(1, len(text) + 1)),
    )
    return [each.middle for each in endings(Hole(document), candidate)]


@pytest.mark.parametrize(
    ("document", "text", "ways"),
    [
        pytest.param(Document("x = ", "\n"), "1\ny = 2", ["1\ny = 2", "1"], id="a line"),
        pytest.param(Document("def f():\n    ", "\n    return x\n"), "x = 1", ["x = 1"], id="nothing to cut"),
        pytest.param(Document("", "y = x\n"), "x = 1\nz = 2\n", ["x = 1\nz = 2\n", "x = 1\n"], id="whole lines"),
        pytest.param(Document("", "\n"), "x = [\n1,\n]\ny", ["x = [\n1,\n]\ny", "x = [\n1,\n]"], id="not in brackets"),
        pytest.param(Document("", "\n"), '"""\na\n"""\ny', ['"""\na\n"""\ny', '"""\na\n"""'], id="not in strings"),
        pytest.param(Document("", "\n"), "\n\nx\ny", ["\n\nx\ny", "\n\nx"], id="not after nothing"),
    ],
)
def test_answers_may_end_after_each_statement(document, text, ways):
    assert ended(document, text) == ways


def test_only_the_first_statements_count():
    assert len(ended(Document("", "\n"), "\n".join("abcdefgh"))) == 5


def test_an_answer_that_ends_earlier_has_fewer_tokens():
    text = "a\nb"
    whole = Candidate(text, Ending.LENGTH, token_ids=(7, 8), logprobs=(-1.0, -3.0), token_ends=(1, 3))
    _, early = endings(Hole(Document("", "\n")), whole)
    assert (early.middle, early.token_ids, early.mean_logprob, early.trimmed) == ("a", (7,), -1.0, "\nb")
    assert early.cut == Cut("statement-end", 1)
