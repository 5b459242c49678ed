from __future__ import annotations

import pytest
from checkpoints import DEEPSEEK, QWEN, STARCODER, tokenizer
from hypothesis import example, given
from hypothesis import strategies as st
from scripted import spaced_tokenizer

from fim_magic.errors import ModelError
from fim_magic.tokenization import TextTokenizer

# U+2581 is how SentencePiece writes a space, so a text that has one does not come back.
WITHOUT_LOW_LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SPACES = ("    ", "  ", "\t\t")
TOKENIZERS = {
    "special": TextTokenizer(tokenizer(STARCODER)),
    "not special": TextTokenizer(tokenizer(QWEN, special=False)),
    "with BOS": TextTokenizer(tokenizer(DEEPSEEK, special=False, bos=DEEPSEEK[0])),
    "with runs of spaces": TextTokenizer(tokenizer(QWEN, special=False, vocabulary=SPACES)),
    "with single letters": TextTokenizer(tokenizer(DEEPSEEK, vocabulary=("õ", "Ö"))),
}
SPACED = {
    "normalizer": spaced_tokenizer(["<s>"]),
    "metaspace, always": spaced_tokenizer(["<s>"], metaspace="always"),
    "metaspace, first": spaced_tokenizer(["<s>"], metaspace="first"),
    "no space before": spaced_tokenizer(["<s>"], metaspace="never"),
}
SENTINELS = {"special": STARCODER, "not special": QWEN, "with BOS": DEEPSEEK}


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=TEXT)
def test_text_comes_back_as_it_was(kind, text):
    known = TOKENIZERS[kind]
    assert known.decode(known.encode(text)) == text


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=TEXT)
def test_a_stream_ends_with_the_same_text(kind, text):
    known = TOKENIZERS[kind]
    stream = known.stream()
    so_far = ""
    for token in known.encode(text):
        grown = stream.push(token)
        assert grown.startswith(so_far)
        assert "\ufffd" in text or "\ufffd" not in grown
        so_far = grown
    assert stream.text == text


@pytest.mark.parametrize("unspaced", [True, False])
@pytest.mark.parametrize("kind", SPACED)
@given(text=WITHOUT_LOW_LINE)
@example(" a")
@example("    return")
@example("\n  a")
@example("  ")
def test_a_text_of_a_spaced_tokenizer_keeps_its_own_spaces(kind, unspaced, text):
    known = SPACED[kind]
    assert known.decode(known.encode(text, unspaced=unspaced), unspaced=unspaced) == text


@pytest.mark.parametrize("kind", SPACED)
@given(text=WITHOUT_LOW_LINE)
@example(" a")
@example("中 🎈")
def test_a_stream_keeps_the_first_space(kind, text):
    known = SPACED[kind]
    stream = known.stream()
    for token in known.encode(text, unspaced=True):
        stream.push(token)
    assert stream.text == text


@pytest.mark.parametrize("kind", ["normalizer", "metaspace, always", "metaspace, first"])
def test_the_space_before_a_text_is_sentencepieces(kind):
    known = SPACED[kind]
    spaced, unspaced = (known.encode("a", unspaced=value) for value in (False, True))
    assert [known.token_bytes(token) for token in spaced] == [b" ", b"a"]
    assert unspaced == spaced[1:]
    # SentencePiece puts its space even before a space.
    assert known.decode(known.encode(" a"), unspaced=True) == "  a"
    assert known.encode("") == known.encode("", unspaced=True) == []


def test_byte_level_tokenizers_have_no_space_to_leave_out():
    known = TOKENIZERS["special"]
    assert known.encode("a = 1", unspaced=True) == known.encode("a = 1")


def test_the_bytes_of_tokens():
    known = TOKENIZERS["not special"]
    for text in ("return", " total", "中"):
        assert b"".join(known.token_bytes(token) for token in known.encode(text)) == text.encode()
    assert known.token_bytes(known.sentinel("<|fim_prefix|>")) == b""
    letters = TOKENIZERS["with single letters"]
    assert letters.token_bytes(letters.encode("ü")[0]) != b""


@pytest.mark.parametrize("name", ["special", "not special", "with single letters"])
def test_whether_an_answer_may_begin_with_something(name):
    known = TOKENIZERS[name]
    for wanted in (b" ", b"ret", b"return x", b"zq\x80", "中".encode(), "中".encode()[:2], b"\xff"):
        assert known.can_open(wanted) == bool(known.openings(wanted)), wanted


def test_what_an_answer_may_begin_with():
    known = TOKENIZERS["special"]
    whole = max(map(known.token_bytes, known.encode("numbers, total, return")), key=len)
    cut = whole[:-1]
    openings = {known.token_bytes(token) for token in known.openings(cut)}
    assert whole in openings
    assert whole[:1] in openings
    assert all(token.startswith(cut) or cut.startswith(token) for token in openings)
    assert known.unfinished(known.encode("t")[0]) == "t"
    assert known.unfinished(known.sentinel("<fim_prefix>")) == ""
    part_of_a_character = known.encode("中")[0]
    assert known.unfinished(part_of_a_character) == ""


@pytest.mark.parametrize(
    ("config", "lead"),
    [
        ('{"add_bos_token": true, "bos_token": "<|endoftext|>"}', ["<|endoftext|>"]),
        ('{"add_bos_token": true, "bos_token": {"content": "<|endoftext|>"}}', ["<|endoftext|>"]),
        ('{"add_bos_token": false, "bos_token": "<|endoftext|>"}', []),
        ('{"bos_token": "<|endoftext|>"}', []),
        ('{"add_bos_token": true, "bos_token": "<absent>"}', []),
        ("[]", []),
        ("{", []),
    ],
)
def test_a_bos_that_only_the_configuration_asks_for(tmp_path, config, lead):
    tokenizer(STARCODER).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(config)
    known = TextTokenizer.from_folder(tmp_path)
    assert [known.decode([token]) for token in known.leading_ids] == lead


@pytest.mark.parametrize("kind", SENTINELS)
def test_sentinels_that_are_spelled_out_stay_text(kind):
    known = TOKENIZERS[kind]
    for sentinel in SENTINELS[kind]:
        text = f"prompt = '{sentinel}' + x{sentinel}{sentinel}"
        ids = known.encode(text)
        assert known.sentinel(sentinel) is not None
        assert known.sentinel(sentinel) not in ids
        assert known.decode(ids) == text


@pytest.mark.parametrize("kind", SENTINELS)
def test_sentinels_are_found_by_name_and_shown_by_it(kind):
    known = TOKENIZERS[kind]
    ids = [known.sentinel(sentinel) for sentinel in SENTINELS[kind]]
    assert len(set(ids)) == len(ids)
    assert [known.decode([token]) for token in ids] == list(SENTINELS[kind])
    assert known.sentinel("<|nonsense|>") is None


def test_added_tokens_that_are_text_stay_tokens():
    spaces = TOKENIZERS["with runs of spaces"]
    for run in SPACES:
        assert spaces.encode(run) == [spaces.sentinel(run)]
    letters = TOKENIZERS["with single letters"]
    assert letters.encode("õ") == [letters.sentinel("õ")]


def test_a_character_that_is_split_over_tokens_comes_when_it_is_whole():
    known = TOKENIZERS["special"]
    ids = known.encode("🎈")
    assert len(ids) > 1
    stream = known.stream()
    assert [stream.push(token) for token in ids] == [""] * (len(ids) - 1) + ["🎈"]


@given(data=st.data())
def test_a_stream_of_any_ids_never_fails(data):
    known = TOKENIZERS["special"]
    ids = data.draw(st.lists(st.integers(0, 260), max_size=20))
    stream = known.stream()
    for token in ids:
        stream.push(token)
    assert known.decode(ids).startswith(stream.text)


def test_a_sentinel_without_an_embedding_counts_as_absent():
    backend = tokenizer(STARCODER)
    last = backend.get_vocab_size() - 1
    known = TextTokenizer(backend, vocabulary_rows=last)
    assert known.sentinel("<fim_prefix>") == last - 4
    assert known.sentinel("<filename>") is None


@pytest.mark.parametrize(("kind", "lead"), [("special", []), ("not special", []), ("with BOS", [DEEPSEEK[0]])])
def test_what_stands_before_every_text(kind, lead):
    known = TOKENIZERS[kind]
    assert [known.decode([token]) for token in known.leading_ids] == lead
    assert not set(known.leading_ids) & set(known.encode("some text"))


def test_what_stands_after_every_text_is_no_lead():
    from tokenizers.processors import TemplateProcessing

    backend = tokenizer(STARCODER)
    end = ("<|endoftext|>", backend.token_to_id("<|endoftext|>"))
    backend.post_processor = TemplateProcessing(single="$A <|endoftext|>", special_tokens=[end])
    assert TextTokenizer(backend).leading_ids == []


def test_truncation_and_padding_in_the_file_are_not_obeyed(tmp_path):
    backend = tokenizer(STARCODER)
    backend.enable_truncation(4)
    backend.enable_padding(length=50)
    backend.save(str(tmp_path / "tokenizer.json"))
    known = TextTokenizer.from_folder(tmp_path)
    text = "total = sum(numbers) / 中文 " * 3
    assert known.decode(known.encode(text)) == text


@pytest.mark.parametrize("content", [None, "{", "{}"], ids=["no file", "broken JSON", "another file"])
def test_an_unreadable_tokenizer_is_told(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"needs a tokenizer\.json"):
        TextTokenizer.from_folder(tmp_path)
