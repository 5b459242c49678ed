"""Prompts as texts: only what is read as our ids is sent; and answers as texts, turned into ids."""

from __future__ import annotations

import checkpoints
import families
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.context import Context
from fim_magic.context.beside import ContextCell
from fim_magic.document import Document
from fim_magic.engines.server.text_answers import TextAnswer
from fim_magic.engines.server.text_prompts import TextPrompts, UnsayableError
from fim_magic.formats import as_text, completion_prompt, family_of, fim_prompt
from fim_magic.tokenization import TextTokenizer

PREFIX, SUFFIX = "def mean(xs):\n    total = ", "\n    return total / len(xs)\n"
CONTEXT = Context(cells=(ContextCell("import math\nprint(1)", 1),), below=(ContextCell("mean([1, 2])"),))

UNSAYABLE = {
    # The suffix has no space before it, which a SentencePiece tokenizer puts behind each sentinel of a text.
    ("codellama", "psm"),
    ("codellama", "spm"),
    ("aixcoder", "spm"),
}


def model(name):
    row = families.FAMILIES[name]
    bos = row.bos or None
    tokenizer = TextTokenizer(families.raw(row), bos=bos)
    named = row.family if name in families.SPELLING_CANNOT_TELL else ""
    return tokenizer, family_of(row.config, tokenizer, (), named)


def texts(name, **options):
    tokenizer, family = model(name)
    backend = families.raw(families.FAMILIES[name])
    prompts = TextPrompts(backend, tokenizer, family, server="the server", **({"adds_bos": None} | options))
    return tokenizer, family, prompts


def orders(family):
    return [order for order, template in (("psm", family.psm), ("spm", family.spm)) if template is not None]


def prompt(family, tokenizer, order, prefix=PREFIX, suffix=SUFFIX, **options):
    built = fim_prompt(family, tokenizer, Document(prefix, suffix), order=order, room=900, healing=False, **options)
    return as_text(built, tokenizer, family)


CASES = [(name, order) for name in families.INFILLING for order in orders(model(name)[1])]


@pytest.mark.parametrize(("name", "order"), CASES)
@pytest.mark.parametrize("context", [None, CONTEXT], ids=["alone", "with-cells"])
def test_every_family_s_prompt_is_said_as_a_text_or_refused(name, order, context):
    tokenizer, family, prompts = texts(name)
    found = prompt(family, tokenizer, order, **({"context": context} if context else {}))
    if (name, order) in UNSAYABLE:
        with pytest.raises(UnsayableError, match="Nothing was sent"):
            prompts.text_of(found.ids)
        return
    text = prompts.text_of(found.ids)
    leading = tokenizer.leading_ids
    read = families.raw(families.FAMILIES[name]).encode(text, add_special_tokens=False).ids
    assert [*leading, *read] == list(found.ids)
    assert "".join(piece.text for piece in found.pieces if piece.kind == "prefix") in text


@pytest.mark.parametrize("name", families.NATIVE)
def test_what_is_completed_is_said_as_a_text(name):
    tokenizer, family, prompts = texts(name)
    built = completion_prompt(family, tokenizer, Document(PREFIX, ""), room=900, healing=False)
    ids = as_text(built, tokenizer, family).ids
    if list(ids[: len(tokenizer.leading_ids)]) != list(tokenizer.leading_ids):
        with pytest.raises(UnsayableError, match="puts another token before it"):
            prompts.text_of(ids)
        return
    read = families.raw(families.FAMILIES[name]).encode(prompts.text_of(ids), add_special_tokens=False).ids
    assert [*tokenizer.leading_ids, *read] == list(ids)


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in CASES))
def test_text_that_spells_out_a_sentinel_is_refused(name):
    tokenizer, family, prompts = texts(name)
    for sentinel in (*family.sentinels(), family.stop[0]):
        if tokenizer.sentinel(sentinel) is None:
            continue
        order = orders(family)[0]
        for prefix, suffix in (
            (f"x = '{sentinel}'\n", SUFFIX),
            (PREFIX, f"\n# {sentinel}\n"),
            (f"{sentinel}\n", SUFFIX),
        ):
            found = prompt(family, tokenizer, order, prefix, suffix)
            with pytest.raises(UnsayableError, match="Nothing was sent"):
                prompts.text_of(found.ids)


def test_the_message_names_what_looks_like_a_sentinel():
    tokenizer, family, prompts = texts("qwen")
    with pytest.raises(UnsayableError, match=r"<\|fim_middle\|> in it.*--context none"):
        prompts.text_of(prompt(family, tokenizer, "psm", "# <|fim_middle|>\n").ids)


@pytest.mark.parametrize("adds_bos", [True, False])
def test_what_the_server_puts_before_a_text_is_left_to_it(adds_bos):
    tokenizer, family, prompts = texts("deepseek", adds_bos=adds_bos)
    text = prompts.text_of(prompt(family, tokenizer, "psm").ids)
    assert text.startswith("<｜begin▁of▁sentence｜>") == (not adds_bos)


def test_a_prompt_without_what_the_server_puts_before_it_is_refused():
    tokenizer, family, prompts = texts("deepseek")
    ids = prompt(family, tokenizer, "psm").ids
    with pytest.raises(UnsayableError, match="puts another token before it"):
        prompts.text_of(ids[1:])


def test_neighbours_are_encoded_as_one_and_what_a_cut_leaves_of_a_character_goes():
    tokenizer, family = model("qwen")
    document = Document("# 🙂🙂🙂🙂🙂🙂🙂🙂\nx = ", "\n")
    for room in range(12, 40):
        built = fim_prompt(family, tokenizer, document, order="psm", room=room, healing=False)
        joined = as_text(built, tokenizer, family)
        assert "\ufffd" not in tokenizer.decode(list(joined.ids))
        assert [piece.kind for piece in joined.pieces] == [piece.kind for piece in built.pieces]
    whole = as_text(fim_prompt(family, tokenizer, document, order="psm", room=900, healing=False), tokenizer, family)
    prefix = next(piece for piece in whole.pieces if piece.kind == "prefix")
    assert tokenizer.decode(list(prefix.ids)) == document.prefix


# --- answers -------------------------------------------------------------------------------------


def byte_level():
    return TextTokenizer(checkpoints.tokenizer(checkpoints.QWEN, special=False))


def sentencepiece():
    return model("codellama")[0]


def read(tokenizer, parts, stops=()):
    answer = TextAnswer(tokenizer, frozenset(stops))
    tokens = [token for part in parts for token in answer.push(part)]
    return [*tokens, *answer.end()]


PIECES = st.lists(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=6), max_size=6)


@given(PIECES)
def test_ids_of_an_answer_say_its_text(parts):
    for tokenizer in (byte_level(), sentencepiece()):
        stream = tokenizer.stream()
        for token in read(tokenizer, parts):
            stream.push(token.id)
        assert stream.text == "".join(parts)


@given(st.text(alphabet="<|fim_pad>e\n", max_size=12), st.integers(0, 24))
def test_a_stop_token_that_is_spelled_out_ends_an_answer_wherever_it_is_cut(text, cut):
    tokenizer = byte_level()
    stop = tokenizer.sentinel("<|fim_pad|>")
    whole = f"{text}<|fim_pad|>more"
    tokens = read(tokenizer, [whole[:cut], whole[cut:]], [stop])
    assert tokens[-1].id == stop
    said = tokenizer.decode([token.id for token in tokens[:-1]])
    assert said == whole[: whole.index("<|fim_pad|>")]


def test_half_a_character_waits_for_its_other_half():
    tokenizer = byte_level()
    answer = TextAnswer(tokenizer, frozenset())
    assert answer.push("\ud83d") == []
    assert tokenizer.decode([token.id for token in answer.push("\ude42")]) == "🙂"
    assert answer.push("\ud83d") == []
    assert tokenizer.decode([token.id for token in answer.end()]) == "?"


def test_a_text_that_the_tokenizer_would_change_is_spelled_as_it_is():
    from tokenizers import normalizers

    backend = checkpoints.tokenizer(checkpoints.QWEN, special=False)
    backend.normalizer = normalizers.NFC()
    tokenizer = TextTokenizer(backend)
    text = "e\u0301 = 1"
    assert tokenizer.decode(tokenizer.encode(text)) != text
    assert tokenizer.decode(tokenizer.spelled(text)) == text


def test_log_probabilities_are_given_on_where_tokens_are_as_many():
    tokenizer = byte_level()
    answer = TextAnswer(tokenizer, frozenset())
    (token,) = answer.push(" total", [-0.5])
    assert token.logprob == -0.5
    assert {token.logprob for token in answer.push(" total / len", [-0.5])} == {None}


def test_nothing_comes_after_the_stop_token():
    tokenizer = byte_level()
    stop = tokenizer.sentinel("<|endoftext|>")
    answer = TextAnswer(tokenizer, frozenset([stop]))
    assert [token.id for token in answer.push("<|endoftext|>x")] == [stop]
    assert answer.is_over
    assert answer.push("more") == answer.end() == []
