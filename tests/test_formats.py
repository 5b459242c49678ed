from __future__ import annotations

import dataclasses

import pytest
from checkpoints import DEEPSEEK, INFILLING, KINDS, PLAIN, QWEN, SANTACODER, STARCODER, tokenizer
from scripted import byte_tokenizer

from fim_magic.document import Document
from fim_magic.errors import ModelError, OptionError
from fim_magic.formats import FAMILIES, completion_prompt, describe, family_of, fim_prompt, stop_ids
from fim_magic.tokenization import TextTokenizer

DOCUMENT = Document("def mean(xs):\n    ", "\n    return 中文\n")
ROOM = 500


def known(name):
    kind = KINDS[name]
    return TextTokenizer(tokenizer(kind.sentinels, special=kind.special, bos=kind.bos))


def family(name):
    return next(family for family in FAMILIES if family.name == KINDS[name].family)


def spell(tokens, ids):
    """`ids` as a list: sentinels by name, text in one piece each."""
    named = {tokens.sentinel(s): s for s in (*QWEN, *STARCODER, *SANTACODER, *DEEPSEEK, "<file_sep>", *PLAIN)}
    spelled = []
    text = []
    for token in [*ids, None]:
        if token is None or token in named:
            if text:
                spelled.append(tokens.decode(text))
            text = []
            spelled += [] if token is None else [named[token]]
        else:
            text.append(token)
    return spelled


P, S = DOCUMENT.prefix, DOCUMENT.suffix
GOLDEN = {
    ("qwen2", "psm"): ["<|fim_prefix|>", P, "<|fim_suffix|>", S, "<|fim_middle|>"],
    ("starcoder", "psm"): ["<fim_prefix>", P, "<fim_suffix>", S, "<fim_middle>"],
    ("starcoder", "spm"): ["<fim_prefix>", "<fim_suffix>", S, "<fim_middle>", P],
    ("santacoder", "psm"): ["<fim-prefix>", P, "<fim-suffix>", S, "<fim-middle>"],
    ("santacoder", "spm"): ["<fim-prefix>", "<fim-suffix>", S, "<fim-middle>", P],
    ("starcoder2", "psm"): ["<fim_prefix>", P, "<fim_suffix>", S, "<fim_middle>"],
    ("starcoder2", "spm"): ["<fim_prefix>", "<fim_suffix>", S, "<fim_middle>", P],
    ("deepseek", "psm"): [DEEPSEEK[0], "<｜fim▁begin｜>", P, "<｜fim▁hole｜>", S, "<｜fim▁end｜>"],
}
STOPS = {
    "qwen2": set(QWEN),
    "starcoder": {"<|endoftext|>", "<filename>"},
    "santacoder": {"<|endoftext|>"},
    "starcoder2": {"<|endoftext|>", "<file_sep>"},
    "deepseek": {"<｜end▁of▁sentence｜>"},
}


@pytest.mark.parametrize(("name", "order"), GOLDEN, ids="-".join)
def test_the_prompt_is_the_vendors(name, order):
    tokens = known(name)
    prompt = fim_prompt(family(name), tokens, DOCUMENT, order=order, room=ROOM)
    assert spell(tokens, prompt.ids) == GOLDEN[name, order]
    assert prompt.order == order
    assert (prompt.dropped_prefix_tokens, prompt.dropped_suffix_tokens) == (0, 0)
    assert [piece.text for piece in prompt.pieces] == GOLDEN[name, order]
    assert sum(piece.tokens for piece in prompt.pieces) == len(prompt.ids)


@pytest.mark.parametrize("name", INFILLING)
def test_auto_is_prefix_suffix_middle(name):
    tokens = known(name)
    auto, psm = (fim_prompt(family(name), tokens, DOCUMENT, order=order, room=ROOM) for order in ("auto", "psm"))
    assert auto == psm


@pytest.mark.parametrize("name", INFILLING)
def test_what_ends_a_middle(name):
    tokens = known(name)
    assert stop_ids(family(name), tokens) == {tokens.sentinel(token) for token in STOPS[name]}


@pytest.mark.parametrize("name", INFILLING)
def test_sentinels_in_the_users_code_do_not_become_sentinels(name):
    tokens = known(name)
    spelled = " ".join(KINDS[name].sentinels)
    prompt = fim_prompt(family(name), tokens, Document(f"a = '{spelled}'", f"# {spelled}\n"), order="psm", room=ROOM)
    for sentinel in KINDS[name].sentinels:
        expected = sentinel in family(name).sentinels() or sentinel == KINDS[name].bos
        assert prompt.ids.count(tokens.sentinel(sentinel)) == expected, sentinel


@pytest.mark.parametrize("name", ["deepseek", "llama"])
def test_exactly_one_bos_where_there_is_one(name):
    tokens = known(name)
    chosen = family_of("llama", tokens)
    document = Document(KINDS[name].bos + "x", "y")
    prompts = [completion_prompt(chosen, tokens, document, room=ROOM)]
    if chosen.can_infill:
        prompts.append(fim_prompt(chosen, tokens, document, order="psm", room=ROOM))
    for prompt in prompts:
        assert prompt.ids.count(tokens.sentinel(KINDS[name].bos)) == 1
        assert prompt.ids[0] == tokens.sentinel(KINDS[name].bos)


@pytest.mark.parametrize("name", ["qwen2", "deepseek"])
def test_an_order_that_was_not_trained_is_refused(name):
    with pytest.raises(OptionError, match="--order"):
        fim_prompt(family(name), known(name), DOCUMENT, order="spm", room=ROOM)


def test_an_order_that_does_not_exist_is_refused():
    with pytest.raises(OptionError, match="'mps'"):
        fim_prompt(family("qwen2"), known("qwen2"), DOCUMENT, order="mps", room=ROOM)


def test_a_model_that_cannot_infill_says_what_can_be_done():
    tokens = known("llama")
    with pytest.raises(ModelError) as caught:
        fim_prompt(family_of("llama", tokens), tokens, DOCUMENT, order="auto", room=ROOM)
    assert "%%complete" in str(caught.value)
    assert "%fim use" in str(caught.value)


def test_a_sentinel_that_the_checkpoint_lacks_is_named():
    with pytest.raises(ModelError, match="no <fim_prefix>"):
        fim_prompt(family("starcoder"), known("llama"), DOCUMENT, order="psm", room=ROOM)


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_truncation_keeps_what_is_nearest_the_hole_and_says_so(order):
    tokens = known("starcoder")
    long = Document("# far\n" * 50 + "near_before = ", "\nnear_after\n" + "# far\n" * 50)
    prompt = fim_prompt(family("starcoder"), tokens, long, order=order, room=43)
    assert len(prompt.ids) == 43
    assert prompt.dropped_prefix_tokens == len(tokens.encode(long.prefix)) - 30
    assert prompt.dropped_suffix_tokens == len(tokens.encode(long.suffix)) - 10
    text = {piece.kind: piece.text for piece in prompt.pieces}
    assert long.prefix.endswith(text["prefix"])
    assert long.suffix.startswith(text["suffix"])


def test_completion_keeps_the_suffix_from_the_model():
    tokens = known("qwen2")
    prompt = completion_prompt(family("qwen2"), tokens, DOCUMENT, room=ROOM)
    assert spell(tokens, prompt.ids) == [P]
    assert prompt.order == ""


def test_completion_drops_the_start_of_a_long_prefix():
    tokens = known("llama")
    prompt = completion_prompt(family_of("llama", tokens), tokens, Document("x = 1\n" * 60, ""), room=21)
    assert len(prompt.ids) == 21
    assert prompt.ids[0] == tokens.sentinel("<s>")
    assert prompt.dropped_prefix_tokens == len(tokens.encode("x = 1\n" * 60)) - 20


@pytest.mark.parametrize("name", KINDS)
def test_completing_nothing_still_gives_the_model_something(name):
    tokens = known(name)
    chosen = family_of(KINDS[name].config.model_type, tokens)
    prompt = completion_prompt(chosen, tokens, Document("", ""), room=ROOM)
    assert len(prompt.ids) == 1
    assert spell(tokens, prompt.ids)[0] in KINDS[name].sentinels


@pytest.mark.parametrize("name", KINDS)
def test_a_family_is_known_by_its_architecture_and_sentinels(name):
    found = family_of(KINDS[name].config.model_type, known(name))
    assert found.name == KINDS[name].family
    assert found.can_infill == (name != "llama")


@pytest.mark.parametrize(
    ("model_type", "sentinels"),
    [
        pytest.param("llama", STARCODER, id="StarCoder's spelling under llama: Mellum has another order"),
        pytest.param("qwen2", STARCODER, id="StarCoder's spelling under qwen2: CodeQwen1.5"),
        pytest.param("gpt_bigcode", QWEN, id="Qwen's spelling under gpt_bigcode"),
        pytest.param("starcoder2", SANTACODER, id="hyphens under starcoder2"),
        pytest.param("qwen2", tuple(t for t in QWEN if t != "<|fim_suffix|>"), id="one sentinel is absent"),
        pytest.param("llama", (), id="no sentinels"),
    ],
)
def test_a_family_is_not_guessed_from_spelling(model_type, sentinels):
    assert not family_of(model_type, TextTokenizer(tokenizer(sentinels))).can_infill


def test_sentinels_without_embeddings_do_not_make_a_family():
    backend = tokenizer(QWEN, special=False)
    rows = backend.token_to_id("<|fim_prefix|>")
    assert not family_of("qwen2", TextTokenizer(backend, rows)).can_infill


def test_every_row_names_its_source_and_stops():
    assert len({row.name for row in FAMILIES}) == len(FAMILIES)
    for row in FAMILIES:
        assert row.source
        assert row.stop
        assert len(row.sentinels()) == 3
        assert dataclasses.replace(row, psm=None, spm=None).sentinels() == []


def test_a_prompt_is_described_piece_by_piece():
    prompt = fim_prompt(family("qwen2"), known("qwen2"), Document("a\n", ""), order="psm", room=ROOM)
    assert describe(prompt.pieces).splitlines() == [
        "[sentinel, 1 tokens] '<|fim_prefix|>'",
        r"[prefix, 2 tokens] 'a\n'",
        "[sentinel, 1 tokens] '<|fim_suffix|>'",
        "[suffix, 0 tokens] ''",
        "[sentinel, 1 tokens] '<|fim_middle|>'",
    ]


def test_an_unknown_family_ends_where_its_checkpoint_says():
    tokenizer = byte_tokenizer(["<eos>"])
    family = family_of("gemma", tokenizer, ["<eos>"])
    assert stop_ids(family, tokenizer) == {tokenizer.sentinel("<eos>")}


def test_nothing_to_continue_is_told():
    tokenizer = byte_tokenizer([])
    with pytest.raises(OptionError, match="nothing to continue"):
        completion_prompt(family_of("gemma", tokenizer), tokenizer, Document("", ""), room=10)
