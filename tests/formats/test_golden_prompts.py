"""Prompts in the vendors' own vocabularies, id for id.

What they are compared with is made without the code under test: ids that were published, Mistral's own code,
SentencePiece's own library put to use as Meta's code does, or the vendor's tokenizer reading the prompt of the vendor's
example as one string. `test_vocabularies.py` proves those tokenizers.
"""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import vocabularies
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from vocabularies import vocabulary

from fim_magic.context import EMPTY_CONTEXT, Context, File
from fim_magic.document import Document, parse
from fim_magic.formats import completion_prompt, family_of, fim_prompt
from fim_magic.tokenization import TextTokenizer

pytestmark = pytest.mark.vocabularies

ROOM = 100_000


@dataclass(frozen=True)
class Model:
    """What a checkpoint says of itself, and its tokenizer."""

    config: dict[str, Any]
    tokenizer: Callable[[], Tokenizer]
    processor: Callable[[], Any] | None = None  # SentencePiece's


LLAMA = {"model_type": "llama"}
GRANITE_CODE = {**LLAMA, "attention_bias": True, "mlp_bias": True}
MODELS = {
    "StarCoder": Model({"model_type": "gpt_bigcode"}, lambda: vocabulary("refact").tokenizer()),
    "StarCoder2": Model({"model_type": "starcoder2"}, lambda: vocabulary("starcoder").tokenizer()),
    "Granite Code": Model(GRANITE_CODE, lambda: vocabulary("refact").tokenizer()),
    "Refact": Model({"model_type": "gpt_refact"}, lambda: vocabulary("refact").tokenizer()),
    "CodeGen2.5": Model(LLAMA, vocabularies.codegen25_tokenizer),
    "DeepSeek-Coder": Model(LLAMA, lambda: vocabulary("deepseek-coder").tokenizer()),
    "Qwen2.5-Coder": Model({"model_type": "qwen2"}, lambda: vocabularies.qwen_coder().tokenizer()),
    "Qwen3-Coder": Model({"model_type": "qwen3_moe"}, lambda: vocabularies.qwen_coder().tokenizer()),
    "CodeLlama": Model(
        LLAMA, lambda: vocabularies.code_llama().tokenizer(), lambda: vocabularies.code_llama().processor()
    ),
    "Codestral": Model(
        {"model_type": "mistral"}, lambda: vocabularies.codestral().tokenizer(), vocabularies.codestral_processor
    ),
}
SENTENCEPIECE = ("CodeLlama", "Codestral")

# The places of the sentinels, by vendors' ids: before, between and after the two texts.
SENTINELS = {
    ("StarCoder", "psm"): ([1], [3], [2]),
    ("StarCoder", "spm"): ([1, 3], [2], []),
    ("StarCoder2", "psm"): ([1], [3], [2]),
    ("StarCoder2", "spm"): ([1, 3], [2], []),
    ("Granite Code", "psm"): ([1], [3], [2]),
    ("Granite Code", "spm"): ([1, 3], [2], []),
    ("Refact", "spm"): ([3], [1], [2]),
    ("CodeGen2.5", "psm"): ([], [51199], [50256, 50317, 51199]),
    ("DeepSeek-Coder", "psm"): ([32013, 32016], [32015], [32017]),
    ("Qwen2.5-Coder", "psm"): ([151659], [151661], [151660]),
    ("Qwen3-Coder", "psm"): ([151659], [151661], [151660]),
    ("CodeLlama", "psm"): ([1, 32007], [32008], [32009]),
    ("CodeLlama", "spm"): ([1, 32007, 32008], [32009], []),
    ("Codestral", "spm"): ([1, 13], [11], []),
}
ORDERS = pytest.mark.parametrize(("name", "order"), SENTINELS, ids=str)


@functools.cache
def raw(name):
    """The tokenizer as the vendor has it."""
    return MODELS[name].tokenizer()


@functools.cache
def processor(name):
    return MODELS[name].processor()


@functools.cache
def known(name):
    """The family that fim-magic finds in the checkpoint, and its tokenizer as fim-magic uses it."""
    tokens = TextTokenizer(MODELS[name].tokenizer())
    family = family_of(MODELS[name].config, tokens)
    assert family.name == name
    return family, tokens


def prompt_of(name, document, order="auto", *, context=EMPTY_CONTEXT, heals=True):
    family, tokens = known(name)
    if not heals:
        family = dataclasses.replace(family, heals=frozenset())
    return fim_prompt(family, tokens, document, order=order, room=ROOM, context=context)


def texts_of(name, document):
    """The ids of prefix and suffix, as the vendor encodes them."""
    if name in SENTENCEPIECE:
        model = processor(name)
        # facebookresearch/codellama, encode_infilling; mistral-common, _encode_infilling: behind ☺, without its two ids
        return model.encode(document.prefix), model.encode("☺" + document.suffix)[2:]
    return tuple(raw(name).encode(text, add_special_tokens=False).ids for text in (document.prefix, document.suffix))


def by_the_vendor(name, order, document):
    prefix, suffix = texts_of(name, document)
    before, between, after = SENTINELS[name, order]
    first, second = (prefix, suffix) if order == "psm" else (suffix, prefix)
    return [*before, *first, *between, *second, *after]


def numbers(text):
    return list(map(int, text.split()))


# --- Code Llama ----------------------------------------------------------------------------------

# The vector in transformers' tests of Code Llama, which the vendor's code gave; ggml-org/llama.cpp issue 3503 has it too.
P = 'def remove_non_ascii(s: str) -> str:\n    """ '
S = "\n    return result\n"
P_IDS = "822 3349 29918 5464 29918 294 18869 29898 29879 29901 851 29897 1599 851 29901 13 1678 9995 29871"
S_IDS = "13 1678 736 1121 13"


def test_code_llamas_own_vector():
    prompt = prompt_of("CodeLlama", Document(P, S), "psm")
    assert list(prompt.ids) == numbers(f"1 32007 {P_IDS} 32008 {S_IDS} 32009")
    assert prompt.stop_ids >= {32010, 2}


def test_code_llamas_vector_with_the_suffix_first():
    # llama/generation.py, infilling_prompt_tokens with suffix_first=True
    prompt = prompt_of("CodeLlama", Document(P, S), "spm", heals=False)
    assert list(prompt.ids) == numbers(f"1 32007 32008 {S_IDS} 32009 {P_IDS}")


def test_with_the_suffix_first_code_llamas_last_token_is_taken_back():
    # The prefix ends with a space, with which others begin, and the middle follows it directly.
    prompt = prompt_of("CodeLlama", Document(P, S), "spm")
    assert list(prompt.ids) == numbers(f"1 32007 32008 {S_IDS} 32009 {P_IDS}")[:-1]
    assert prompt.healed == " "


# What a SentencePiece tokenizer can get wrong at the ends of the two texts.
DOCUMENTS = [
    pytest.param(Document("def f(", "return a + b"), id="mistral-common's test"),
    pytest.param(Document("def add(a, b):\n    return (", ""), id="no suffix"),
    pytest.param(Document("", "  return total"), id="no prefix"),
    pytest.param(Document("", ""), id="nothing"),
    pytest.param(Document(" x = [", " ]\n"), id="one space before each"),
    pytest.param(Document("    x = [", "    ]\n\n\n"), id="more spaces before each"),
    pytest.param(Document("\tx\t", "\t# y"), id="tabs"),
    pytest.param(Document("\n\n", "\n\n"), id="line ends"),
    pytest.param(Document("a\r\n", "\r\nb"), id="CR LF"),
    pytest.param(Document("# 平均\n平均 = sum(", ")\nprint('👩‍👩‍👧')\n"), id="Chinese and an emoji of several"),
    pytest.param(Document("# العربية e\u0301", "नमस्ते 𝔸\0\n"), id="other scripts"),
    pytest.param(Document("☺", "☺☺ x"), id="the guard itself"),
    pytest.param(Document("▁x", "▁y"), id="SentencePiece's space itself"),
    pytest.param(Document("[PREFIX]</s><s>", "[SUFFIX] </s>"), id="Codestral's controls"),
]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("order", ["psm", "spm"])
def test_code_llama_as_metas_code_makes_it(order, document):
    prompt = prompt_of("CodeLlama", document, order, heals=False)
    assert list(prompt.ids) == by_the_vendor("CodeLlama", order, document)


# --- Codestral -----------------------------------------------------------------------------------


@functools.cache
def by_mistral():
    documents = [parameters.values[0] for parameters in DOCUMENTS]
    found = vocabularies.mistral_fim([(document.prefix, document.suffix) for document in documents])
    return dict(zip(documents, found, strict=True))


@functools.cache
def codestral(metaspace):
    return TextTokenizer(vocabularies.codestral().tokenizer(metaspace=metaspace))


# How the file on the Hub puts the space there is not known here; both ways are in use.
@pytest.mark.parametrize("metaspace", [False, True], ids=["normalizer", "metaspace"])
@pytest.mark.parametrize("document", DOCUMENTS)
def test_codestral_as_mistrals_own_code_makes_it(document, metaspace):
    tokens = codestral(metaspace)
    family = dataclasses.replace(family_of({"model_type": "mistral"}, tokens), heals=frozenset())
    prompt = fim_prompt(family, tokens, document, order="auto", room=ROOM)
    assert list(prompt.ids) == by_mistral()[document]
    assert prompt.stop_ids >= {2, 11, 13}


def test_codestrals_vector():
    # mistral-common, tests/test_fim_tokenizer.py: <s>[SUFFIX]return▁a▁+▁b[PREFIX]▁def▁f(
    prompt = prompt_of("Codestral", Document("def f(", "return a + b"))
    assert list(prompt.ids) == numbers("1 13 1575 1032 1416 1055 11 1569 1053 29500")


# --- published ids -------------------------------------------------------------------------------

# Made by others from the vendors' own files: Qwen3-Coder-30B-A3B-Instruct's and Qwen2.5's tokenizer.json, read by the
# tokenizers library, and tokenization_codegen25.py.
PUBLISHED = [
    pytest.param(
        "Qwen3-Coder",
        Document("def add(a, b):\n    ", "\n\nprint(add(1, 2))\n"),
        EMPTY_CONTEXT,
        "151659 750 912 2877 11 293 982 257 151661 271 1350 25906 7 16 11 220 17 1171 151660",
        id="Qwen3-Coder",
    ),
    pytest.param(
        "Qwen3-Coder",
        Document("def add(a, b):\n    ", "\n\nprint(add(1, 2))\n"),
        Context("myproject", "filename", (File("util.py", "X = 1"),)),
        "151663 2408 4987 198 151664 1314 7197 198 55 284 220 16 198 151664 8404 198 "
        "151659 750 912 2877 11 293 982 257 151661 271 1350 25906 7 16 11 220 17 1171 151660",
        id="Qwen3-Coder with another file",
    ),
    pytest.param(
        "Qwen2.5-Coder",
        Document("def foo(x):", "    return x"),
        EMPTY_CONTEXT,
        "151659 750 15229 2075 1648 151661 262 470 856 151660",
        id="Qwen2.5",
    ),
    pytest.param(
        "Qwen2.5-Coder",
        Document("def foo(", "):\n    pass"),
        EMPTY_CONTEXT,
        "151659 750 15229 7 151661 982 262 1494 151660",
        id="Qwen2.5 within a line",
    ),
    pytest.param(
        "CodeGen2.5",
        Document("prefix", "suffix"),
        EMPTY_CONTEXT,
        "40290 51199 37333 844 50256 50317 51199",
        id="CodeGen2.5",
    ),
]


@pytest.mark.parametrize(("name", "document", "context", "ids"), PUBLISHED)
def test_ids_that_others_have_published(name, document, context, ids):
    assert list(prompt_of(name, document, context=context, heals=False).ids) == numbers(ids)


# --- the vendors' examples -----------------------------------------------------------------------

HELLO = Document("def print_hello_world():\n    ", "\n    print('Hello world!')")
ONE_TWO_THREE = Document("def print_one_two_three():\n    print('one')\n    ", "\n    print('three')")
QUICK_SORT = Document(
    "def quick_sort(arr):\n    if len(arr) <= 1:\n        return arr\n    pivot = arr[0]\n"
    "    left = []\n    right = []\n",
    "\n        if arr[i] < pivot:\n            left.append(arr[i])\n        else:\n"
    "            right.append(arr[i])\n    return quick_sort(left) + [pivot] + quick_sort(right)",
)
QUICKSORT = Document(
    "def quicksort(arr):\n    if len(arr) <= 1:\n        return arr\n    pivot = arr[len(arr) // 2]\n    ",
    "\n    middle = [x for x in arr if x == pivot]\n    right = [x for x in arr if x > pivot]\n"
    "    return quicksort(left) + middle + quicksort(right)",
)
# How the vendor's example spells the prompt, for a tokenizer that finds the sentinels in it, and its ids.
EXAMPLES = [
    pytest.param(
        "StarCoder",
        ONE_TWO_THREE,
        "<fim_prefix>{}<fim_suffix>{}<fim_middle>",
        "1 589 1459 81 658 81 8268 81 12192 2262 284 1459 463 658 683 275 3 284 1459 463 12192 683 2",
        id="the model card of bigcode/starcoder",
    ),
    pytest.param(
        "StarCoder",
        HELLO,
        "<fim_prefix>{}<fim_suffix>{}<fim_middle>",
        "1 589 1459 81 7656 81 5860 2262 275 3 284 1459 463 8279 5788 22735 2",
        id="bigcode-project/starcoder README.md",
    ),
    pytest.param(
        "StarCoder2",
        HELLO,
        "<fim_prefix>{}<fim_suffix>{}<fim_middle>",
        "1 610 1489 100 7670 100 5879 2284 294 3 303 1489 482 8302 5810 22754 2",
        id="the same with StarCoder2",
    ),
    pytest.param(
        "DeepSeek-Coder",
        QUICK_SORT,
        "<｜begin▁of▁sentence｜><｜fim▁begin｜>{}<｜fim▁hole｜>{}<｜fim▁end｜>",
        "32013 32016 1551 3383 62 14355 7 3046 1772 185 315 562 10405 7 3046 8 22322 16 25 185 436 967 5369 185 315 "
        "265 27104 405 5369 58 15 60 185 315 2104 405 9635 185 315 1327 405 9635 185 32015 185 436 562 5369 58 72 60 "
        "1013 265 27104 25 185 655 2104 13 6880 7 3046 58 72 5589 185 436 1969 25 185 655 1327 13 6880 7 3046 58 72 "
        "5589 185 315 967 3383 62 14355 7 1349 8 945 821 79 27104 60 945 3383 62 14355 7 1031 8 32017",
        id="deepseek-ai/DeepSeek-Coder README.md",
    ),
    pytest.param(
        "Qwen2.5-Coder",
        QUICKSORT,
        "<|fim_prefix|>{}<|fim_suffix|>{}<|fim_middle|>",
        "151659 750 3974 6860 10939 982 262 421 2422 10939 8 2651 220 16 510 286 470 2890 198 262 26045 284 2890 24693 "
        "10939 8 442 220 17 921 257 151661 198 262 6149 284 508 87 369 856 304 2890 421 856 621 26045 921 262 1290 284 "
        "508 87 369 856 304 2890 421 856 861 26045 921 262 470 3974 6860 17671 8 488 6149 488 3974 6860 27704 8 151660",
        id="QwenLM/Qwen2.5-Coder README.md",
    ),
]


@pytest.mark.parametrize(("name", "document", "spelled", "ids"), EXAMPLES)
def test_the_vendors_examples(name, document, spelled, ids):
    assert list(prompt_of(name, document, heals=False).ids) == numbers(ids)
    whole = spelled.format(document.prefix, document.suffix)
    assert raw(name).encode(whole, add_special_tokens=False).ids == numbers(ids)


# Each file is encoded with its path as one text, as the vendors' tokenizers read such a prompt.
OTHER_FILES = Context("tools", "a.py", (File("b.py", "B = 1\n"), File("c.py", "C = 2\n")))
COMMENTED = "# b.py\nB = 1\n\n# c.py\nC = 2\n\n# a.py\n"
WITH_FILES = {
    # arXiv 2402.19173, section 5.1: the file's path after <fim_prefix>, and no line end before <file_sep>
    "StarCoder2": (
        "<repo_name>tools<file_sep>b.py\nB = 1\n<file_sep>c.py\nC = 2\n"
        "<file_sep><fim_prefix>a.py\nx = (<fim_suffix>)\n<fim_middle>"
    ),
    # QwenLM/Qwen2.5-Coder, examples/Qwen2.5-Coder.md: the file's path before <|fim_prefix|>
    "Qwen2.5-Coder": (
        "<|repo_name|>tools\n<|file_sep|>b.py\nB = 1\n\n<|file_sep|>c.py\nC = 2\n\n"
        "<|file_sep|>a.py\n<|fim_prefix|>x = (<|fim_suffix|>)\n<|fim_middle|>"
    ),
    # deepseek-ai/DeepSeek-Coder, README.md, section 4: no tokens of their own, but comments with the paths
    "DeepSeek-Coder": (
        "<｜begin▁of▁sentence｜><｜fim▁begin｜>#b.py\nB = 1\n\n#c.py\nC = 2\n\n"
        "#a.py\nx = (<｜fim▁hole｜>)\n<｜fim▁end｜>"
    ),
    # No vendor's layout: plain code.
    "StarCoder": f"<fim_prefix>{COMMENTED}x = (<fim_suffix>)\n<fim_middle>",
}


@pytest.mark.parametrize("name", WITH_FILES)
def test_other_files_as_the_family_was_trained_to_see_them(name):
    prompt = prompt_of(name, Document("x = (", ")\n"), "psm", context=OTHER_FILES)
    assert list(prompt.ids) == raw(name).encode(WITH_FILES[name], add_special_tokens=False).ids


@pytest.mark.parametrize("path", ["a.py", ""], ids=["named", "unnamed"])
@pytest.mark.parametrize(("name", "order"), [("CodeLlama", "psm"), ("CodeLlama", "spm"), ("Codestral", "spm")])
def test_other_files_are_a_part_of_the_prefix_for_sentencepiece(name, order, path):
    context = dataclasses.replace(OTHER_FILES, path=path)
    before = COMMENTED if path else COMMENTED.removesuffix("# a.py\n")
    prompt = prompt_of(name, Document("x = (", ")\n"), order, context=context)
    assert list(prompt.ids) == by_the_vendor(name, order, Document(f"{before}x = (", ")\n"))


# --- every family --------------------------------------------------------------------------------

GREETINGS = '''GREETING = "世界，你好"

def hello(name):
    """Greet somebody."""
    print(<游標在這>)

def goodbye(name):
    """Take leave of somebody."""
    print("再見", name)
    return GREETING
'''


@ORDERS
def test_ten_lines_with_chinese_text_and_a_chinese_marker(name, order):
    document = parse(GREETINGS)
    assert document.prefix.endswith("print(")
    assert document.suffix.startswith(")\n\ndef goodbye")
    prompt = prompt_of(name, document, order)
    assert prompt.healed == ""
    assert list(prompt.ids) == by_the_vendor(name, order, document)
    shown = {piece.kind: piece for piece in prompt.pieces}
    assert (shown["prefix"].text, shown["suffix"].text) == (document.prefix, document.suffix)
    assert decoded(name, shown["prefix"].ids) == document.prefix
    guard = processor(name).encode("☺") if name in SENTENCEPIECE else []
    assert decoded(name, [*guard, *shown["suffix"].ids]) == ("☺" if guard else "") + document.suffix


def decoded(name, ids):
    """The text that the vendor's own decoder makes of them."""
    ids = list(ids)
    return processor(name).decode(ids) if name in SENTENCEPIECE else raw(name).decode(ids, skip_special_tokens=False)


BEGINNINGS = {"CodeLlama": [1], "Codestral": [1], "DeepSeek-Coder": [32013]}


@pytest.mark.parametrize("name", MODELS)
def test_left_to_right_there_is_the_text_and_what_a_document_begins_with(name):
    document = parse(GREETINGS)
    family, tokens = known(name)
    prompt = completion_prompt(family, tokens, document, room=ROOM)
    assert list(prompt.ids) == [*BEGINNINGS.get(name, []), *texts_of(name, document)[0]]


CUTS_ANYWHERE = {
    ("CodeLlama", "psm"),
    *((name, o) for name in ("StarCoder", "StarCoder2", "Granite Code") for o in ("psm", "spm")),
}


@ORDERS
def test_a_word_that_the_hole_cuts_is_taken_back_unless_training_cut_words_as_well(name, order):
    prompt = prompt_of(name, Document("x = pri", ")\n"), order)
    taken_back = "" if (name, order) in CUTS_ANYWHERE else " pri"
    assert prompt.healed == taken_back
    assert list(prompt.ids) == by_the_vendor(name, order, Document("x =" if taken_back else "x = pri", ")\n"))
    # The model can then say the word as it has learnt it.
    assert texts_of(name, Document("x = print", ""))[0][-1] in known(name)[1].openings(b" pri")


def test_every_vocabulary_at_hand_has_its_orders_here():
    trained = {(name, order) for name in MODELS for order in ("psm", "spm") if getattr(known(name)[0], order)}
    assert trained == set(SENTINELS)


@ORDERS
def test_the_familys_own_sentinels_in_a_text_stay_text(name, order):
    family, _ = known(name)
    controls = [*family.sentinels(), *family.stop, *([family.bos] if family.bos else [])]
    controls += [token.content for token in raw(name).get_added_tokens_decoder().values() if len(token.content) > 3]
    controls = sorted(set(controls))
    # Code Llama's are also words after a space, to which the vendor's own merges lead.
    words = [token.replace("▁", " ") for token in controls]
    text = "".join(
        f"'{control}' {control} {control}{control}{word}\n" for control, word in zip(controls, words, strict=True)
    )
    text = f"{words[0]}\n{text}{words[-1]}"
    prompt = prompt_of(name, Document(text, text), order, heals=False)
    ids = {raw(name).token_to_id(control) for control in controls}
    for piece in prompt.pieces:
        if piece.kind != "sentinel":
            assert not ids & set(piece.ids)
            # To SentencePiece, U+2581 is how a space is written.
            assert piece.text == (text.replace("▁", " ") if name in SENTENCEPIECE else text)


def test_a_text_of_nothing_but_code_llamas_sentinels():
    _, tokens = known("CodeLlama")
    text = "".join(f" {word}" for word in ("<PRE>", "<SUF>", "<MID>", "<EOT>")) * 1000
    ids = tokens.encode(text)
    assert not set(ids) & {32007, 32008, 32009, 32010}
    assert tokens.decode(ids) == text


def test_code_llamas_sentinels_stay_text_where_the_file_does_not_mark_them():
    """Conversions from the vendor's own tokenizer.model, GGUF files among them, have them as pieces like any other."""
    bare = TextTokenizer(dataclasses.replace(vocabularies.code_llama(), controls=()).tokenizer())
    family = family_of(LLAMA, bare)
    prompt = fim_prompt(family, bare, Document("# <PRE> <EOT>\n", " <MID>"), order="psm", room=ROOM)
    assert [token for token in prompt.ids if token in (32007, 32008, 32009, 32010)] == [32007, 32008, 32009]


# --- any text ------------------------------------------------------------------------------------

FRAGMENTS = [
    *(
        "    ",
        "\t",
        "\r\n",
        "\n\n",
        " ",
        "  x",
        "def f():",
        "2023",
        "=",
        "<",
        "\0",
        "\u00a0",
        "\u3000",
        "\u200b",
        "½",
        "𝔸",
    ),
    *("👩‍👩‍👧", "🏳️‍🌈", "e\u0301", "õ÷Áü", "中文", "한국어", "العربية", "עברית", "हिन्दी", "ไทย", "Ελληνικά", "☺"),
]
# StarCoder's vocabularies lack the byte that characters of planes 4 to 7 begin with, which have none so far.
CHARACTERS = st.characters(exclude_categories=["Cs"]).filter(lambda c: not 0x40000 <= ord(c) < 0x80000)
TEXT = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(CHARACTERS, max_size=8)), max_size=10).map("".join)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=150)
@given(text=TEXT)
@example("    return 1\r\n\tx")
@example("  👩‍👩‍👧 中文 العربية e\u0301")
def test_text_comes_back_whole_and_token_by_token(name, text):
    _, tokens = known(name)
    text = as_it_comes_back(name, text)
    for unspaced in (False, True):
        assert tokens.decode(tokens.encode(text, unspaced=unspaced), unspaced=unspaced) == text
    stream, so_far = tokens.stream(), ""
    for token in tokens.encode(text, unspaced=True):
        grown = stream.push(token)
        assert grown.startswith(so_far)
        assert "\ufffd" not in grown[len(so_far) :] or "\ufffd" in text
        so_far = grown
    assert so_far == text


def as_it_comes_back(name, text):
    if name.startswith("Qwen"):  # its tokenizer composes characters
        return unicodedata.normalize("NFC", text)
    return text.replace("▁", " ") if name in SENTENCEPIECE else text


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
def test_any_tokens_that_a_model_may_say_can_be_shown(name, data):
    _, tokens = known(name)
    ids = data.draw(st.lists(st.integers(0, raw(name).get_vocab_size() - 1), max_size=12))
    stream, so_far = tokens.stream(), ""
    for token in ids:
        grown = stream.push(token)
        assert grown.startswith(so_far)
        so_far = grown
    assert tokens.decode(ids, unspaced=True).startswith(so_far)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in SENTENCEPIECE])
@settings(max_examples=150)
@given(text=TEXT)
@example("    1")
@example("2023")
@example("a b")
def test_text_gets_the_vendors_ids(name, text):
    # What SentencePiece gives, test_vocabularies.py compares.
    assert known(name)[1].encode(text) == raw(name).encode(text, add_special_tokens=False).ids
