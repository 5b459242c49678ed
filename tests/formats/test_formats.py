from __future__ import annotations

import dataclasses
import re

import pytest
from scripted import byte_tokenizer, indenting_tokenizer, spaced_tokenizer, word_tokenizer
from tokenizers import processors

from fim_magic.context import Context, File
from fim_magic.document import Document, parse
from fim_magic.errors import ModelError, OptionError
from fim_magic.formats import (
    FAMILIES,
    Family,
    Part,
    Text,
    completion_prompt,
    family_names,
    family_of,
    fim_prompt,
    stop_ids,
)
from fim_magic.tokenization import TextTokenizer

ROOM = 500
P, S = "def mean(xs):\n    x = (", " )\n    return 中文\n"
DOCUMENT = Document(P, S)
UNSPACED = ("CodeLlama", "Codestral", "aiXcoder")  # their tokenizers are SentencePiece's

BEGIN, HOLE, END = "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"
PRE, SUF, MID = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"

# Written out from the vendors' sources, and not derived from the table.
GOLDEN = {
    ("SantaCoder", "psm"): ["<fim-prefix>", P, "<fim-suffix>", S, "<fim-middle>"],
    ("SantaCoder", "spm"): ["<fim-prefix>", "<fim-suffix>", S, "<fim-middle>", P],
    ("StarCoder", "psm"): ["<fim_prefix>", P, "<fim_suffix>", S, "<fim_middle>"],
    ("StarCoder", "spm"): ["<fim_prefix>", "<fim_suffix>", S, "<fim_middle>", P],
    ("StarCoder2", "psm"): ["<fim_prefix>", P, "<fim_suffix>", S, "<fim_middle>"],
    ("StarCoder2", "spm"): ["<fim_prefix>", "<fim_suffix>", S, "<fim_middle>", P],
    ("CodeGen2", "psm"): [P, "<mask_1>", S, "<|endoftext|>", "<sep>", "<mask_1>"],
    ("CodeGen2.5", "psm"): [P, "<mask_1>", S, "<|endoftext|>", "<sep>", "<mask_1>"],
    ("CodeLlama", "psm"): ["<s>", "▁<PRE>", P, "▁<SUF>", S, "▁<MID>"],
    ("CodeLlama", "spm"): ["<s>", "▁<PRE>", "▁<SUF>", S, "▁<MID>", P],
    ("DeepSeek-Coder", "psm"): ["<｜begin▁of▁sentence｜>", BEGIN, P, HOLE, S, END],
    ("DeepSeek-Coder-V2", "psm"): ["<｜begin▁of▁sentence｜>", BEGIN, P, HOLE, S, END],
    ("DeepSeek-V4", "psm"): [BEGIN, P, HOLE, S, END],
    ("CodeQwen1.5", "psm"): ["<fim_prefix>", P, "<fim_suffix>", S, "<fim_middle>"],
    ("Qwen2.5-Coder", "psm"): [PRE, P, SUF, S, MID],
    ("Qwen3-Coder", "psm"): [PRE, P, SUF, S, MID],
    ("CodeGemma", "psm"): ["<bos>", PRE, P, SUF, S, MID],
    ("Codestral", "spm"): ["<s>", "[SUFFIX]", S, "[PREFIX]", P],
    ("Granite Code", "psm"): ["<fim_prefix>", P, "<fim_suffix>", S, "<fim_middle>"],
    ("Granite Code", "spm"): ["<fim_prefix>", "<fim_suffix>", S, "<fim_middle>", P],
    ("Granite 3.3", "psm"): ["<fim_prefix>", P, "<fim_suffix>", S, "<fim_middle>"],
    ("Granite 4", "psm"): [PRE, P, SUF, S, MID],
    ("Stable Code", "psm"): ["<fim_prefix>", P, "<fim_suffix>", S, "<fim_middle>"],
    ("Refact", "spm"): ["<fim_suffix>", S, "<fim_prefix>", P, "<fim_middle>"],
    ("InCoder", "psm"): ["<|endoftext|>", P, "<|mask:0|>", S, "<|mask:1|>", "<|mask:0|>"],
    ("aiXcoder", "spm"): ["<s>", "▁<AIX-SPAN-PRE>", "▁<AIX-SPAN-POST>", S, "▁<AIX-SPAN-MIDDLE>", P],
    ("Seed-Coder", "spm"): ["<[fim-suffix]>", S, "<[fim-prefix]>", P, "<[fim-middle]>"],
    ("Mellum", "spm"): ["<fim_suffix>", S, "<fim_prefix>", P, "<fim_middle>"],
    ("CodeGeeX4", "spm"): [
        "<|user|>",
        "\n###PATH:\n###LANGUAGE:Python\n###MODE:BLOCK\n",
        "<|code_suffix|>",
        S,
        "<|code_prefix|>",
        P,
        "<|code_middle|>",
        "<|assistant|>",
        "\n",
    ],
    ("GLM-4.5", "psm"): ["<|code_prefix|>", P, "<|code_suffix|>", S, "<|code_middle|>"],
    ("Falcon-H1-Tiny-Coder", "psm"): ["<|prefix|>", P, "<|suffix|>", S, "<|middle|>"],
}
COMPLETIONS = {
    "CodeGen": [P],
    "CodeLlama": ["<s>", P],
    "StarCoder": [P],
    "DeepSeek-Coder": ["<｜begin▁of▁sentence｜>", P],
    # As bigcode-project/starcoder chat/dialogues.py writes a dialogue; the answer is begun with the user's code.
    "StarChat": [
        *("<|system|>", "\n", "<|end|>", "\n", "<|user|>", "\nContinue this code.", "<|end|>", "\n", "<|assistant|>"),
        f"\n```python\n{P}",
    ],
}
STOPS = {
    "StarCoder2": {"<|endoftext|>", "<file_sep>", "<fim_pad>"},
    "StarChat": {"<|end|>", "<|endoftext|>"},
    "CodeGen2": {"<eom>", "<|endoftext|>"},
    "CodeLlama": {"▁<EOT>", "</s>"},
    "DeepSeek-Coder": {"<｜end▁of▁sentence｜>"},
    "DeepSeek-V4": {"<｜end▁of▁sentence｜>"},
    "CodeGemma": {"<|file_separator|>", PRE, SUF, MID, "<eos>"},
    "Qwen2.5-Coder": {PRE, SUF, MID, "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_pad|>"}
    | {"<|repo_name|>", "<|file_sep|>"},
    "InCoder": {"<|endofmask|>"},
    "Mellum": {"<|endoftext|>", "<filename>", "<fim_pad>"},
    "Granite 3.3": {"<|end_of_text|>", "<fim_pad>", "<reponame>", "<filename>"},
    "GLM-4.5": {"<|endoftext|>", "<|user|>", "<|observation|>"}
    | {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},
}
_STARCODER = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>")
# What a tokenizer of each family has beside the tokens that its prompts need.
FURTHER = {
    "StarCoder": ("<filename>", "<reponame>"),
    "StarCoder2": ("<repo_name>", "<file_sep>"),
    "Mellum": ("<filename>",),
    "StarChat": _STARCODER,
}


def row(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


def tokens_of(family: Family) -> TextTokenizer:
    wanted = [*family.sentinels(), *family.stop, *FURTHER.get(family.name, ()), *([family.bos] if family.bos else [])]
    wanted += [t for t in family.layout.file + family.layout.repository + family.layout.own if isinstance(t, str)]
    names = list(dict.fromkeys(wanted))
    return spaced_tokenizer(names) if family.name in UNSPACED else byte_tokenizer(names)


def spell(pieces):
    """A prompt's pieces as a list, with neighbouring texts as one."""
    spelled = []
    for piece in pieces:
        if spelled and piece.kind != "sentinel" and not spelled[-1][0]:
            spelled[-1] = (False, spelled[-1][1] + piece.text)
        else:
            spelled.append((piece.kind == "sentinel", piece.text))
    return [text for _, text in spelled]


def expected_ids(tokens, golden, *, unspaced):
    ids = []
    for text in golden:
        sentinel = tokens.sentinel(text)
        ids += tokens.encode(text, unspaced=text == S and unspaced) if sentinel is None else [sentinel]
    return ids


@pytest.mark.parametrize(("name", "order"), GOLDEN, ids=str)
def test_the_prompt_is_the_vendors(name, order):
    family, golden = row(name), GOLDEN[name, order]
    tokens = tokens_of(family)
    prompt = fim_prompt(family, tokens, DOCUMENT, order=order, room=ROOM)
    assert [piece.text for piece in prompt.pieces if piece.text] == golden
    assert list(prompt.ids) == expected_ids(tokens, golden, unspaced=name in UNSPACED)
    assert prompt.order == order
    assert prompt.order_reason == ""
    assert (prompt.dropped_prefix_tokens, prompt.dropped_suffix_tokens) == (0, 0)


def test_every_order_that_a_family_was_trained_in_has_its_golden_prompt():
    trained = {(f.name, order) for f in FAMILIES for order in ("psm", "spm") if getattr(f, order) is not None}
    assert trained == set(GOLDEN)


@pytest.mark.parametrize("name", COMPLETIONS)
def test_left_to_right_is_the_text_alone_or_the_vendors_dialogue(name):
    family = row(name)
    tokens = tokens_of(family)
    prompt = completion_prompt(family, tokens, DOCUMENT, room=ROOM)
    assert "".join(piece.text for piece in prompt.pieces) == "".join(COMPLETIONS[name])
    sentinels = [piece.text for piece in prompt.pieces if piece.kind == "sentinel"]
    assert sentinels == [text for text in COMPLETIONS[name] if tokens.sentinel(text) is not None]
    assert prompt.order == ""
    assert S not in "".join(piece.text for piece in prompt.pieces)


@pytest.mark.parametrize("name", STOPS)
def test_what_ends_an_answer(name):
    tokens = tokens_of(row(name))
    ends = STOPS[name] | set(row(name).sentinels())
    assert stop_ids(row(name), tokens) == {tokens.sentinel(token) for token in ends}


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.can_infill], ids=lambda f: f.name)
def test_sentinels_in_the_users_code_do_not_become_sentinels(family):
    tokens = tokens_of(family)
    spelled = " ".join([*family.sentinels(), *family.stop])
    order = "psm" if family.psm else "spm"
    asked = Document(f"a = '{spelled}'", f"# {spelled}\n")
    prompt = fim_prompt(family, tokens, asked, order=order, room=5000)
    empty = fim_prompt(family, tokens, Document("", ""), order=order, room=5000)
    for sentinel in (*family.sentinels(), *family.stop):
        at = tokens.sentinel(sentinel)
        assert prompt.ids.count(at) == empty.ids.count(at), sentinel
    # To SentencePiece, U+2581 is how a space is written, in the user's text as well.
    seen = [text.replace("▁", " ") if family.name in UNSPACED else text for text in (asked.prefix, asked.suffix)]
    assert [next(p.text for p in prompt.pieces if p.kind == kind) for kind in ("prefix", "suffix")] == seen


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.can_infill], ids=lambda f: f.name)
def test_nothing_around_the_hole_is_a_prompt_too(family):
    tokens = tokens_of(family)
    order = "psm" if family.psm else "spm"
    prompt = fim_prompt(family, tokens, Document("", ""), order=order, room=ROOM)
    template = family.psm or family.spm
    assert [p.text for p in prompt.pieces if p.kind == "sentinel" and p.text != family.bos] == [
        piece for piece in template if isinstance(piece, str)
    ]


def test_the_example_with_chinese_text_and_a_chinese_marker():
    source = 'def hello():\n    name = "世界，你好"\n    print(<游標在這>)\n\ndef goodbye():\n    return "再見"\n'
    document = parse(source)
    for family in FAMILIES:
        if not family.can_infill:
            continue
        prompt = fim_prompt(family, tokens_of(family), document, order="auto", room=ROOM)
        texts = {p.kind: p.text for p in prompt.pieces if p.kind in ("prefix", "suffix")}
        assert texts["prefix"] + prompt.healed == 'def hello():\n    name = "世界，你好"\n    print(', family.name
        assert texts["suffix"] == ')\n\ndef goodbye():\n    return "再見"\n', family.name
        assert "游標" not in "".join(p.text for p in prompt.pieces)


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prefix", "order", "reason"),
    [
        pytest.param("Qwen2.5-Coder", P, "psm", "only order", id="one order"),
        pytest.param("Codestral", P, "spm", "only order", id="the other order"),
        pytest.param("StarCoder", P, "psm", "vendor's examples", id="both"),
        pytest.param("CodeLlama", "x = 1\n    ", "spm", "whole lines", id="CodeLlama, a line"),
        pytest.param("CodeLlama", "", "spm", "whole lines", id="CodeLlama, the beginning"),
        pytest.param("CodeLlama", "x = pri", "psm", "inside a line", id="CodeLlama, inside a token"),
    ],
)
def test_auto_takes_the_order_that_is_best_and_says_why(name, prefix, order, reason):
    family = row(name)
    prompt = fim_prompt(family, tokens_of(family), Document(prefix, S), order="auto", room=ROOM)
    assert prompt.order == order
    assert reason in prompt.order_reason


@pytest.mark.parametrize(("name", "order", "other"), [("Qwen2.5-Coder", "spm", "psm"), ("Codestral", "psm", "spm")])
def test_an_order_that_was_not_trained_is_refused(name, order, other):
    with pytest.raises(OptionError, match=f"--order {other}"):
        fim_prompt(row(name), tokens_of(row(name)), DOCUMENT, order=order, room=ROOM)


def test_an_order_that_does_not_exist_is_refused():
    with pytest.raises(OptionError, match="'mps'"):
        fim_prompt(row("StarCoder"), tokens_of(row("StarCoder")), DOCUMENT, order="mps", room=ROOM)


# --- token healing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "order", "prefix", "healed"),
    [
        pytest.param("Qwen2.5-Coder", "psm", "x = pri", "pri", id="inside a token"),
        pytest.param("Qwen2.5-Coder", "psm", "x = print", "", id="after a whole one"),
        pytest.param("Qwen2.5-Coder", "psm", "x\n  ", "  ", id="all of the indentation of a line"),
        pytest.param("Qwen2.5-Coder", "psm", "pri", "", id="nothing before it"),
        pytest.param("Qwen2.5-Coder", "psm", "print(", "", id="after a bracket, though () is a token"),
        pytest.param("Qwen2.5-Coder", "psm", "x = ", " ", id="after a space"),
        pytest.param("StarCoder", "psm", "x = pri", "", id="StarCoder splits between characters"),
        pytest.param("StarCoder", "spm", "x = pri", "", id="in both orders"),
    ],
)
def test_a_token_that_the_hole_cuts_is_taken_back(name, order, prefix, healed):
    family = row(name)
    tokens = word_tokenizer([*family.sentinels(), *family.stop])
    prompt = fim_prompt(family, tokens, Document(prefix, S), order=order, room=ROOM)
    assert prompt.healed == healed
    assert next(p.text for p in prompt.pieces if p.kind == "prefix") + healed == prefix


def test_left_to_right_every_family_is_healed():
    for family in FAMILIES:
        tokens = word_tokenizer([*family.sentinels(), *family.stop, *([family.bos] if family.bos else [])])
        assert completion_prompt(family, tokens, Document("x = pri", ""), room=ROOM).healed == "pri", family.name


@pytest.mark.parametrize(
    ("prefix", "healed"),
    [
        pytest.param("def f():\n", "\n", id="the indentation is to be generated with the line end"),
        pytest.param("def f():\n ", "", id="no token goes on from here"),
        pytest.param("f(", "", id="inside a line"),
    ],
)
def test_a_model_that_cannot_infill_generates_the_line_end_again(prefix, healed):
    """Such as GPT-2's tokenizer: a line end and the indentation behind it are one token."""
    for family in FAMILIES:
        tokens = indenting_tokenizer([*family.sentinels(), *family.stop, *([family.bos] if family.bos else [])])
        prompt = completion_prompt(family, tokens, Document(prefix, ""), room=ROOM)
        # One that infills has only the indentation before the hole to generate again.
        indentation = (
            re.search(r"\s*\Z", prefix.rpartition("\n")[2]).group() if prefix.rstrip(" ").endswith("\n") else ""
        )
        assert prompt.healed == (indentation if family.can_infill else healed), family.name
    plain = byte_tokenizer([*row("CodeGen").sentinels(), *row("CodeGen").stop])
    assert completion_prompt(row("CodeGen"), plain, Document(prefix, ""), room=ROOM).healed == ""


def test_code_llama_is_healed_only_with_the_suffix_first():
    family = row("CodeLlama")
    tokens = word_tokenizer([*family.sentinels(), *family.stop, "<s>"])
    healed = {
        order: fim_prompt(family, tokens, Document("x = pri", S), order=order, room=ROOM).healed
        for order in ("psm", "spm")
    }
    assert healed == {"psm": "", "spm": "pri"}


# --- room and context ----------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_truncation_keeps_what_is_nearest_the_hole_and_says_so(order):
    tokens = tokens_of(row("StarCoder"))
    long = Document("# far\n" * 50 + "near_before = ", "\nnear_after\n" + "# far\n" * 50)
    prompt = fim_prompt(row("StarCoder"), tokens, long, order=order, room=43)
    # Beside the 3 sentinels there is room for 30 + 10, but the prefix's 314 tokens are cut in steps of 3: 285, not 284.
    assert len(prompt.ids) == 42
    assert prompt.dropped_prefix_tokens == len(tokens.encode(long.prefix)) - 29 == 285
    assert prompt.dropped_suffix_tokens == len(tokens.encode(long.suffix)) - 10
    text = {piece.kind: piece.text for piece in prompt.pieces}
    assert long.prefix.endswith(text["prefix"])
    assert long.suffix.startswith(text["suffix"])


def test_a_cut_prefix_is_shown_as_it_stands_in_the_text():
    tokens = tokens_of(row("CodeLlama"))
    prompt = fim_prompt(row("CodeLlama"), tokens, Document("a" * 50 + "      b = ", ""), order="psm", room=11)
    (shown,) = [piece.text for piece in prompt.pieces if piece.kind == "prefix"]
    assert shown == "      b = "[-len(shown) :]


CONTEXT = Context("tools", "a.py", (File("b.py", "B = 1\n"), File("c.py", "C = 2\n")))
WITH_FILES = {
    # arXiv 2402.19173, section 5.1
    ("StarCoder2", "psm"): "<repo_name>tools<file_sep>b.py\nB = 1\n<file_sep>c.py\nC = 2\n"
    f"<file_sep><fim_prefix>a.py\n{P}<fim_suffix>{S}<fim_middle>",
    # QwenLM/Qwen2.5-Coder examples/Qwen2.5-Coder.md
    ("Qwen2.5-Coder", "psm"): "<|repo_name|>tools\n<|file_sep|>b.py\nB = 1\n\n<|file_sep|>c.py\nC = 2\n\n"
    f"<|file_sep|>a.py\n{PRE}{P}{SUF}{S}{MID}",
    ("Mellum", "spm"): "<filename>b.py\nB = 1\n\n<filename>c.py\nC = 2\n\n"
    f"<filename>a.py\n<fim_suffix>{S}<fim_prefix>{P}<fim_middle>",
    # deepseek-ai/DeepSeek-Coder README.md, section 4: files behind comments with their paths
    (
        "DeepSeek-Coder",
        "psm",
    ): f"<｜begin▁of▁sentence｜>{BEGIN}#b.py\nB = 1\n\n#c.py\nC = 2\n\n#a.py\n{P}{HOLE}{S}{END}",
    ("CodeLlama", "spm"): f"<s>▁<PRE>▁<SUF>{S}▁<MID># b.py\nB = 1\n\n# c.py\nC = 2\n\n# a.py\n{P}",
}


@pytest.mark.parametrize(("name", "order"), WITH_FILES, ids=str)
def test_other_files_are_shown_as_the_family_was_trained(name, order):
    prompt = fim_prompt(row(name), tokens_of(row(name)), DOCUMENT, order=order, room=ROOM, context=CONTEXT)
    assert "".join(piece.text for piece in prompt.pieces) == WITH_FILES[name, order]
    assert {piece.kind for piece in prompt.pieces} >= {"context", "prefix", "suffix"}


def test_other_files_that_do_not_fit_are_left_out():
    asked = Context("", "", (File("big.py", "x" * 600), File("small.py", "y = 1\n")))
    prompt = fim_prompt(row("StarCoder2"), tokens_of(row("StarCoder2")), DOCUMENT, order="psm", room=80, context=asked)
    text = "".join(piece.text for piece in prompt.pieces)
    assert "small.py" in text
    assert "big.py" not in text
    assert len(prompt.ids) <= 80
    assert prompt.dropped_prefix_tokens == 0


def test_typing_in_a_text_that_is_cut_brings_no_other_file_in():
    # A cut leaves a little room that changes with every token: a small file would come and go, ahead of all else.
    asked = Context("", "", (File("small.py", "y = 1\n"),))
    family, tokens = row("StarCoder2"), tokens_of(row("StarCoder2"))
    behind = "\n" + "z = 1\n" * 200
    for typed in range(0, 200, 5):
        document = Document("far = 0\n" * 200 + "x" * typed, behind)
        prompt = fim_prompt(family, tokens, document, order="psm", room=1000, context=asked)
        assert prompt.dropped_prefix_tokens > 0
        assert "small.py" not in "".join(piece.text for piece in prompt.pieces)


def test_a_context_never_takes_room_from_the_document():
    asked = Context("repository" * 20, "", ())
    prompt = fim_prompt(row("StarCoder2"), tokens_of(row("StarCoder2")), DOCUMENT, order="psm", room=60, context=asked)
    assert "repository" not in "".join(piece.text for piece in prompt.pieces)
    assert len(prompt.ids) <= 60


# --- left to right -------------------------------------------------------------------------------


def test_completion_drops_the_start_of_a_long_prefix():
    tokens = tokens_of(row("DeepSeek-Coder"))
    prompt = completion_prompt(row("DeepSeek-Coder"), tokens, Document("x = 1\n" * 60, ""), room=21)
    assert len(prompt.ids) == 21
    assert prompt.ids[0] == tokens.sentinel("<｜begin▁of▁sentence｜>")
    assert prompt.dropped_prefix_tokens == 6 * 60 - 20


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_completing_nothing_still_gives_the_model_something(family):
    prompt = completion_prompt(family, tokens_of(family), Document("", ""), room=ROOM)
    assert prompt.ids


def test_nothing_to_continue_is_told():
    tokenizer = byte_tokenizer([])
    with pytest.raises(OptionError, match="nothing to continue"):
        completion_prompt(family_of({"model_type": "mpt"}, tokenizer), tokenizer, Document("", ""), room=10)


# --- recognition ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.by_name], ids=lambda f: f"{f.name}-{f.model_types[0]}")
def test_a_family_is_known_by_its_architecture_and_its_tokens(family):
    for model_type in family.model_types:
        found = family_of({"model_type": model_type, **family.config}, tokens_of(family))
        assert dataclasses.replace(found, stop=family.stop) == family


@pytest.mark.parametrize(
    ("model_type", "sentinels"),
    [
        pytest.param("llama", _STARCODER, id="StarCoder's spelling under llama: Mellum or Granite"),
        pytest.param("gpt_bigcode", (PRE, SUF, MID), id="pipes under gpt_bigcode"),
        pytest.param("starcoder2", ("<fim-prefix>", "<fim-middle>", "<fim-suffix>"), id="hyphens under starcoder2"),
        pytest.param("qwen2", (PRE, MID), id="one sentinel is absent"),
        pytest.param("llama", (), id="no sentinels"),
    ],
)
def test_a_family_is_not_guessed_from_spelling(model_type, sentinels):
    found = family_of({"model_type": model_type}, byte_tokenizer(sentinels))
    assert not found.can_infill
    assert found.why_not


def test_where_spelling_cannot_settle_it_the_user_can():
    tokens = byte_tokenizer([*_STARCODER, "<|endoftext|>"])
    config = {"model_type": "llama"}
    unknown = family_of(config, tokens)
    assert "--family Mellum" in unknown.why_not
    assert "StarCoder" in unknown.why_not
    named = family_of(config, tokens, named="mellum")
    assert (named.name, named.psm) == ("Mellum", None)
    prompt = fim_prompt(named, tokens, DOCUMENT, order="auto", room=ROOM)
    assert spell(prompt.pieces) == GOLDEN["Mellum", "spm"]


def test_granite_code_is_told_from_mellum_by_its_biases():
    tokens = byte_tokenizer([*_STARCODER, "<|endoftext|>"])
    config = {"model_type": "llama", "attention_bias": True, "mlp_bias": True}
    assert family_of(config, tokens).name == "Granite Code"


def test_a_chat_model_is_told_from_the_model_that_it_came_from():
    tokens = tokens_of(row("StarChat"))
    assert family_of({"model_type": "gpt_bigcode"}, tokens).name == "StarChat"


def test_a_named_family_whose_tokens_are_absent_only_completes():
    tokens = byte_tokenizer(["<s>", "</s>"])
    found = family_of({"model_type": "llama"}, tokens, named="CodeLlama")
    assert (found.name, found.can_infill) == ("CodeLlama", False)
    assert "▁<MID>" in found.why_not
    with pytest.raises(ModelError, match="codellama"):
        fim_prompt(found, tokens, DOCUMENT, order="auto", room=ROOM)


def test_an_architecture_is_a_name_too_and_others_are_refused():
    tokens = byte_tokenizer([])
    assert family_of({"model_type": "llama"}, tokens, named="llama").name == "llama"
    with pytest.raises(ModelError, match=r"'Nonesuch'.*Qwen2\.5-Coder"):
        family_of({"model_type": "llama"}, tokens, named="Nonesuch")


def test_sentinels_without_embeddings_do_not_make_a_family():
    backend = byte_tokenizer(row("Qwen2.5-Coder").stop)._backend
    rows = backend.token_to_id(PRE)
    assert not family_of({"model_type": "qwen2"}, TextTokenizer(backend, rows)).can_infill


def test_answers_also_end_where_the_checkpoint_says():
    tokenizer = byte_tokenizer([*row("DeepSeek-Coder").sentinels(), "<｜begin▁of▁sentence｜>", "<|EOT|>", "<eos>"])
    unknown = family_of({"model_type": "mpt"}, tokenizer, ["<eos>"])
    assert stop_ids(unknown, tokenizer) == {tokenizer.sentinel("<eos>")}
    known = family_of({"model_type": "llama"}, tokenizer, ["<|EOT|>"])
    assert tokenizer.sentinel("<|EOT|>") in stop_ids(known, tokenizer)


def test_a_model_that_cannot_infill_says_what_can_be_done():
    tokens = byte_tokenizer(["</s>"])
    with pytest.raises(ModelError) as caught:
        fim_prompt(family_of({"model_type": "llama"}, tokens), tokens, DOCUMENT, order="auto", room=ROOM)
    assert "%%complete" in str(caught.value)
    assert "%fim use" in str(caught.value)


def test_a_sentinel_that_the_checkpoint_lacks_is_named():
    with pytest.raises(ModelError, match="no <fim_"):
        fim_prompt(row("StarCoder"), byte_tokenizer(["</s>"]), DOCUMENT, order="psm", room=ROOM)


def test_exactly_one_bos_where_the_tokenizer_puts_one_itself():
    family = row("Seed-Coder")
    bos = "<[begin▁of▁sentence]>"
    backend = byte_tokenizer([*family.sentinels(), *family.stop, bos])._backend
    at = backend.token_to_id(bos)
    backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, at)])
    tokens = TextTokenizer(backend)
    prompt = fim_prompt(family, tokens, Document(bos, bos), order="spm", room=ROOM)
    assert prompt.ids.count(at) == 1
    assert prompt.ids[0] == at


def test_every_row_names_its_source_and_what_ends_it():
    for family in FAMILIES:
        assert family.source
        assert family.stop
        assert family.can_infill != bool(family.why_not), family.name
        for template in (family.psm, family.spm):
            assert template is None or {Part.PREFIX, Part.SUFFIX} == {p for p in template if isinstance(p, Part)}
            assert template is None or all(isinstance(p, str | Text | Part) for p in template)
    assert len(family_names()) == len(set(family_names()))
