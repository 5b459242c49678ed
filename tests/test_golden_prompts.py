"""Prompts in the vendors' own vocabularies, id for id."""

from __future__ import annotations

import functools
import unicodedata

import pytest
import vocabularies
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fim_magic.context import Context, File
from fim_magic.document import Document, parse
from fim_magic.engines import gguf_conversion
from fim_magic.formats import family_of, fim_prompt
from fim_magic.progress import silent
from fim_magic.tokenization import TextTokenizer

pytestmark = pytest.mark.vocabularies

ROOM = 4000
LLAMA_CPP = ("deepseek-coder", "starcoder", "refact", "llama-spm", "gpt-2", "qwen2")
# Family -> its vocabulary, the tokens that this table lacks, and what config.json says.
MODELS = {
    "StarCoder": ("refact", {}, {"model_type": "gpt_bigcode"}),
    "StarCoder2": ("starcoder", {}, {"model_type": "starcoder2"}),
    "Refact": ("refact", {}, {"model_type": "gpt_refact"}),
    "DeepSeek-Coder": ("deepseek-coder", {}, {"model_type": "llama"}),
    "Qwen2.5-Coder": ("qwen2", vocabularies.QWEN_CODER, {"model_type": "qwen2"}),
    "CodeLlama": ("llama-spm", vocabularies.CODE_LLAMA | {32015: "<unnamed>"}, {"model_type": "llama"}),
    "Codestral": ("codestral", {}, {"model_type": "mistral"}),
}


@functools.cache
def table(name):
    return vocabularies.codestral() if name == "codestral" else vocabularies.vocabulary(name)


@functools.cache
def raw(name):
    """The tokenizer as the vendor has it."""
    vocabulary, named, _ = MODELS[name]
    return table(vocabulary).tokenizer(named)


@functools.cache
def known(name):
    """The same tokenizer as fim-magic uses it, and the family that it finds."""
    vocabulary, named, config = MODELS[name]
    tokens = TextTokenizer(table(vocabulary).tokenizer(named))
    family = family_of(config, tokens)
    assert family.name == name
    return family, tokens


def prompt_of(name, document, order="auto", context=None):
    return fim_prompt(*known(name), document, order=order, room=ROOM, context=context or Context())


def encoded(name, text):
    return raw(name).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", LLAMA_CPP)
def test_the_vocabulary_gives_the_vendors_ids(name):
    tokenizer = table(name).tokenizer()
    found = vocabularies.vectors(name)
    assert len(found) > 40
    for vector in found:
        assert tokenizer.encode(vector.text, add_special_tokens=False).ids == vector.ids, vector.text


@pytest.mark.parametrize("name", ["deepseek-coder", "starcoder", "llama-spm", "gpt-2", "qwen2"])
def test_a_gguf_files_tokenizer_gives_the_vendors_ids(name, tmp_path):
    """transformers alone splits DeepSeek-Coder's and StarCoder2's text as GPT-2 does."""
    file = vocabularies.file(name)
    gguf_conversion._save_tokenizer(file, gguf_conversion._Header(file), tmp_path, silent)
    tokens = TextTokenizer.from_folder(tmp_path)
    for vector in vocabularies.vectors(name):
        assert tokens.encode(vector.text) == vector.ids, vector.text


# --- CodeLlama -----------------------------------------------------------------------------------

# The vendor's vector: huggingface/transformers, tests of CodeLlama's tokenizer; ggml-org/llama.cpp issue 3503.
P = 'def remove_non_ascii(s: str) -> str:\n    """ '
S = "\n    return result\n"
P_IDS = [822, 3349, 29918, 5464, 29918, 294, 18869, 29898, 29879, 29901, 851, 29897, 1599, 851, 29901, 13]
P_IDS += [1678, 9995, 29871]
S_IDS = [13, 1678, 736, 1121, 13]


def test_code_llamas_own_vector():
    prompt = prompt_of("CodeLlama", Document(P, S), "psm")
    assert list(prompt.ids) == [1, 32007, *P_IDS, 32008, *S_IDS, 32009]
    assert prompt.stop_ids == {32010, 2, 32007, 32008, 32009}


def test_code_llamas_vector_with_the_suffix_first():
    # llama/generation.py, infilling_prompt_tokens with suffix_first=True. The prefix ends with a space, which is a token
    # that others begin with: where the middle follows it directly, it is taken back.
    prompt = prompt_of("CodeLlama", Document(P, S), "spm")
    assert list(prompt.ids) == [1, 32007, 32008, *S_IDS, 32009, *P_IDS[:-1]]
    assert prompt.healed == " "


def test_code_llamas_suffix_keeps_its_first_space():
    (suffix,) = [p.ids for p in prompt_of("CodeLlama", Document("x", " y")).pieces if p.kind == "suffix"]
    assert list(suffix) == encoded("CodeLlama", "y")  # SentencePiece's own space is what makes it ` y`
    (suffix,) = [p.ids for p in prompt_of("CodeLlama", Document("x", "y")).pieces if p.kind == "suffix"]
    assert list(suffix) != encoded("CodeLlama", "y")


# --- Codestral -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [
        ("def f(", "return a + b"),  # the one in mistral-common's tests
        ("def add(a, b):\n    return (", ""),
        ("  x = [", "]\n\n\n"),
        ("", "  return total"),
        ("# 平均\n平均 = sum(", ")\nprint('👩‍👩‍👧')\n"),
        ("a\tb(", "\t# [PREFIX]</s>"),
    ],
)
def test_codestral_as_mistrals_own_code_makes_it(prefix, suffix):
    prompt = prompt_of("Codestral", Document(prefix, suffix))
    assert prompt.healed == ""
    assert list(prompt.ids) == vocabularies.mistral_fim(prefix, suffix)


# --- the vendors' examples -----------------------------------------------------------------------


def test_starcoders_example():
    # bigcode-project/starcoder, README.md, "Fill-in-the-middle"
    document = Document("def print_hello_world():\n    ", "\n    print('Hello world!')")
    ids = [1, 589, 1459, 81, 7656, 81, 5860, 2262, 275, 3, 284, 1459, 463, 8279, 5788, 22735, 2]
    assert spelled("StarCoder", prompt_of("StarCoder", document)) == (
        "<fim_prefix>def print_hello_world():\n    <fim_suffix>\n    print('Hello world!')<fim_middle>"
    )
    assert list(prompt_of("StarCoder", document).ids) == ids
    first = prompt_of("StarCoder", document, "spm")
    assert list(first.ids) == [1, 3, *ids[10:-1], 2, *ids[1:9]]


def test_deepseek_coders_example():
    # deepseek-ai/DeepSeek-Coder, README.md, section 2: a newline before the hole and one after it
    prefix = "def quick_sort(arr):\n    if len(arr) <= 1:\n        return arr\n    pivot = arr[0]\n    left = []\n    right = []\n"
    suffix = "\n        if arr[i] < pivot:\n            left.append(arr[i])\n        else:\n            right.append(arr[i])\n"
    suffix += "    return quick_sort(left) + [pivot] + quick_sort(right)"
    prompt = prompt_of("DeepSeek-Coder", Document(prefix, suffix))
    p, s = encoded("DeepSeek-Coder", prefix), encoded("DeepSeek-Coder", suffix)
    assert list(prompt.ids) == [32013, 32016, *p, 32015, *s, 32017]
    assert prompt.stop_ids == {32014, 32015, 32016, 32017}
    assert p[:8] == [1551, 3383, 62, 14355, 7, 3046, 1772, 185]


def test_qwens_example():
    # QwenLM/Qwen2.5-Coder, README.md, "Fill in the middle"
    prefix = "def quicksort(arr):\n    if len(arr) <= 1:\n        return arr\n    pivot = arr[len(arr) // 2]\n    "
    suffix = "\n    middle = [x for x in arr if x == pivot]\n    right = [x for x in arr if x > pivot]\n"
    suffix += "    return quicksort(left) + middle + quicksort(right)"
    prompt = prompt_of("Qwen2.5-Coder", Document(prefix, suffix))
    p, s = encoded("Qwen2.5-Coder", prefix), encoded("Qwen2.5-Coder", suffix)
    assert list(prompt.ids) == [151659, *p, 151661, *s, 151660]
    assert p[:5] == [750, 3974, 6860, 10939, 982]
    assert prompt.stop_ids == {151643, 151644, 151645, *range(151659, 151665)}


def test_refact_has_starcoders_tokens_and_the_other_order():
    prompt = prompt_of("Refact", Document("a(", ")b"))
    assert list(prompt.ids) == [3, *encoded("Refact", ")b"), 1, *encoded("Refact", "a("), 2]


def test_starcoder2s_other_files():
    # arXiv 2402.19173, section 5.1
    context = Context("tools", "a.py", (File("b.py", "B = 1\n"),))
    prompt = prompt_of("StarCoder2", Document("x = (", ")\n"), "psm", context)
    text = functools.partial(encoded, "StarCoder2")
    expected = [5, *text("tools"), 6, *text("b.py"), *text("\n"), *text("B = 1\n"), 6]
    assert list(prompt.ids) == [*expected, 1, *text("a.py"), *text("\n"), *text("x = ("), 3, *text(")\n"), 2]
    assert prompt.stop_ids == {0, 6, 1, 2, 3, 4}


def test_qwens_other_files():
    # QwenLM/Qwen2.5-Coder, examples/Qwen2.5-Coder.md
    context = Context("tools", "a.py", (File("b.py", "B = 1\n"),))
    prompt = prompt_of("Qwen2.5-Coder", Document("x = (", ")\n"), "psm", context)
    text = functools.partial(encoded, "Qwen2.5-Coder")
    before = [151663, *text("tools"), *text("\n"), 151664, *text("b.py"), *text("\n"), *text("B = 1\n"), *text("\n")]
    own = [151664, *text("a.py"), *text("\n"), 151659, *text("x = ("), 151661, *text(")\n"), 151660]
    assert list(prompt.ids) == [*before, *own]


def spelled(name, prompt):
    return raw(name).decode(list(prompt.ids), skip_special_tokens=False)


# --- ten lines with Chinese text and a Chinese marker --------------------------------------------

GREETINGS = '''GREETING = "世界，你好"

def hello(name):
    """Greet somebody."""
    print(<游標在這>)

def goodbye(name):
    """Take leave of somebody."""
    print("再見", name)
    return GREETING
'''
SENTINELS = {
    ("StarCoder", "psm"): ([1], [3], [2]),
    ("StarCoder2", "psm"): ([1], [3], [2]),
    ("DeepSeek-Coder", "psm"): ([32013, 32016], [32015], [32017]),
    ("Qwen2.5-Coder", "psm"): ([151659], [151661], [151660]),
    ("CodeLlama", "psm"): ([1, 32007], [32008], [32009]),
    ("StarCoder", "spm"): ([1, 3], [2], []),
    ("StarCoder2", "spm"): ([1, 3], [2], []),
    ("CodeLlama", "spm"): ([1, 32007, 32008], [32009], []),
    ("Codestral", "spm"): ([1, 13], [11], []),
    ("Refact", "spm"): ([3], [1], [2]),
}


@pytest.mark.parametrize(("name", "order"), SENTINELS, ids=str)
def test_ten_lines_with_chinese_text_and_a_chinese_marker(name, order):
    document = parse(GREETINGS)
    assert document.prefix.endswith("print(")
    prompt = prompt_of(name, document, order)
    first, second, last = SENTINELS[name, order]
    p = encoded(name, document.prefix)
    # `☺` is a token of its own, behind which there is no space before a text.
    unspaced = name in ("CodeLlama", "Codestral")
    guard = len(encoded(name, "☺")) if unspaced else 0
    s = encoded(name, ("☺" if unspaced else "") + document.suffix)[guard:]
    texts = (p, s) if order == "psm" else (s, p)
    assert list(prompt.ids) == [*first, *texts[0], *second, *texts[1], *last]
    shown = {piece.kind: piece.text for piece in prompt.pieces}
    assert (shown["prefix"], shown["suffix"]) == (document.prefix, document.suffix)


# --- any text ------------------------------------------------------------------------------------

# StarCoder's vocabulary lacks the bytes of planes without characters; and without `<` there are no sentinels.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="▁<"), max_size=40)


@pytest.mark.parametrize("name", MODELS)
def test_the_familys_own_sentinels_in_a_text_stay_text(name):
    family, tokens = known(name)
    spelled_out = [*family.sentinels(), *family.stop]
    text = "x = '" + "' + '".join(spelled_out) + "'"
    ids = tokens.encode(text)
    assert not set(ids) & {tokens.sentinel(token) for token in spelled_out}
    # U+2581 is how SentencePiece writes a space.
    assert tokens.decode(ids) == (text.replace("▁", " ") if name in ("CodeLlama", "Codestral") else text)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=60, deadline=None)
@given(text=TEXT)
@example("    return 1\r\n\tx")
@example("  👩‍👩‍👧 中文 العربية e\u0301")
@example("    1 2023 a b")
def test_text_comes_back_whole_and_streamed(name, text):
    _, tokens = known(name)
    if name == "Qwen2.5-Coder":  # its tokenizer normalises
        text = unicodedata.normalize("NFC", text)
    for unspaced in (False, True):
        assert tokens.decode(tokens.encode(text, unspaced=unspaced), unspaced=unspaced) == text
    stream = tokens.stream()
    for token in tokens.encode(text, unspaced=True):
        assert "\ufffd" not in stream.push(token) or "\ufffd" in text
    assert stream.text == text


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("CodeLlama", "Codestral")])
@settings(max_examples=60, deadline=None)
@given(text=TEXT)
@example("    1")
@example("2023")
@example("a b")
def test_text_gets_the_vendors_ids(name, text):
    _, tokens = known(name)
    assert tokens.encode(text) == encoded(name, text)
