"""The tokenizers of `vocabularies.py` are the vendors': told by ids that the vendors' own tokenizers gave.

The golden prompts stand on this.
"""

from __future__ import annotations

import functools

import pytest
import vocabularies
from hypothesis import example, given
from hypothesis import strategies as st

from fim_magic.engines.torch import gguf_conversion
from fim_magic.engines.torch.gguf_source import by_itself
from fim_magic.loading.manager import MODELS
from fim_magic.loading.spec import ModelSpec
from fim_magic.progress import silent
from fim_magic.tokenization import TextTokenizer

pytestmark = pytest.mark.vocabularies

NAMES = vocabularies.LLAMA_CPP_NAMES
SENTENCEPIECE = {
    "Llama 2": lambda: vocabularies.vocabulary("llama-spm"),
    "Code Llama": vocabularies.code_llama,
    "Codestral": vocabularies.codestral,
}
LAYOUTS = pytest.mark.parametrize("metaspace", [False, True], ids=["normalizer", "metaspace"])
CODE = "aeinorstdfplmu_=()[]{}:.,\"'#-+*/<>\\0123456789 \n\t"
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(CODE, max_size=60),  # where most merges are
)


@pytest.mark.parametrize("name", NAMES)
def test_the_vendors_ids(name):
    tokenizer = vocabularies.vocabulary(name).tokenizer()
    vectors = vocabularies.vectors(name)
    assert len(vectors) == 46
    for vector in vectors:
        assert tokenizer.encode(vector.text, add_special_tokens=False).ids == vector.ids, vector.text


@pytest.mark.parametrize("name", NAMES)
def test_the_vendors_ids_by_way_of_fim_magic(name):
    tokens = TextTokenizer(vocabularies.vocabulary(name).tokenizer())
    for vector in vocabularies.vectors(name):
        assert tokens.encode(vector.text) == vector.ids, vector.text
        assert tokens.decode(vector.ids) == vector.text


@pytest.mark.parametrize("name", ["deepseek-coder", "starcoder", "llama-spm", "gpt-2", "qwen2"])
def test_a_gguf_files_tokenizer_gives_the_vendors_ids(name, tmp_path):
    """transformers alone splits DeepSeek-Coder's and StarCoder2's text as GPT-2 does."""
    file = vocabularies.file(name)
    with by_itself(file, tmp_path) as source:
        gguf_conversion.save_tokenizer(source, gguf_conversion.read_header(source, silent), tmp_path, silent)
    tokens = TextTokenizer.from_folder(tmp_path)
    for vector in vocabularies.vectors(name):
        assert tokens.encode(vector.text) == vector.ids, vector.text


def test_llamas_sentencepiece_model_is_rebuilt_from_its_table():
    model = vocabularies.vocabulary("llama-spm").processor()
    for vector in vocabularies.vectors("llama-spm"):
        assert model.encode(vector.text) == vector.ids, vector.text


@given(text=TEXT)
@example("    return x\r\n\n\n\t# 中文 👩‍👩‍👧 e\u0301 ½")
def test_a_rebuilt_model_is_the_vendors_where_the_vendors_is_at_hand(text):
    rebuilt, vendors = codestrals()
    assert rebuilt.encode(text) == vendors.encode(text)


@functools.cache
def codestrals():
    return vocabularies.codestral().processor(), vocabularies.codestral_processor()


@functools.cache
def sentencepiece(name, metaspace):
    """A tokenizer with merges as in tokenizer.json, the same one in fim-magic, and SentencePiece's own."""
    table = SENTENCEPIECE[name]()
    ours = TextTokenizer(table.tokenizer(metaspace=metaspace))
    return table.tokenizer(metaspace=metaspace), ours, table.processor()


CONTROL = ("<s>", "</s>", "<unk>")  # SentencePiece takes them for text, as our encoding does; a backend alone does not


@LAYOUTS
@pytest.mark.parametrize("name", SENTENCEPIECE)
@given(text=TEXT.filter(lambda text: not any(token in text for token in CONTROL)))
@example("x = '<PRE>' <PRE><EOT> <EOT> ")
@example("2023 👩‍👩‍👧 e\u0301 العربية ½\r\n\n\n\t")
def test_merges_give_what_sentencepiece_gives(name, metaspace, text):
    tokenizer, _, model = sentencepiece(name, metaspace)
    if metaspace:
        text = text.lstrip(" ▁")  # Metaspace puts no space before a space; SentencePiece does
    assert tokenizer.encode(text, add_special_tokens=False).ids == model.encode(text)


@LAYOUTS
@pytest.mark.parametrize("name", SENTENCEPIECE)
@given(text=TEXT.filter(lambda text: "<" not in text))  # sentinels that are spelled out have tests of their own
@example("    return x\n")
@example("  👩‍👩‍👧")
@example(" ")
@example("")
def test_fim_magic_gives_what_sentencepiece_gives(name, metaspace, text):
    _, ours, model = sentencepiece(name, metaspace)
    assert ours.encode(text) == model.encode(text)
    # facebookresearch/codellama, encode_infilling; mistral-common, _encode_infilling
    assert ours.encode(text, unspaced=True) == model.encode("☺" + text)[2:]


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_the_guard_joins_with_nothing(name):
    assert [token for token in SENTENCEPIECE[name]().tokens if "☺" in token] == ["☺"]


def test_code_llamas_pieces_have_their_ids():
    tokenizer = vocabularies.code_llama().tokenizer()
    ids = {"<s>": 1, "</s>": 2, "▁<PRE>": 32007, "▁<SUF>": 32008, "▁<MID>": 32009, "▁<EOT>": 32010}
    assert {token: tokenizer.token_to_id(token) for token in ids} == ids
    assert tokenizer.get_vocab_size() == 32016


def test_qwen_coders_tokens_have_their_ids():
    tokenizer = vocabularies.qwen_coder().tokenizer()
    ids = {"<|endoftext|>": 151643, "<|im_end|>": 151645, "<|fim_prefix|>": 151659, "<|fim_middle|>": 151660}
    ids |= {"<|fim_suffix|>": 151661, "<|fim_pad|>": 151662, "<|repo_name|>": 151663, "<|file_sep|>": 151664}
    assert {token: tokenizer.token_to_id(token) for token in ids} == ids
    assert tokenizer.get_vocab_size() == 151665


@pytest.mark.real_model
def test_the_default_models_own_tokenizer_is_the_one_that_is_built_here():
    built = TextTokenizer(vocabularies.qwen_coder().tokenizer())
    own = MODELS.use(ModelSpec.of("qwen2.5-coder-0.5b")).engine.tokenizer
    MODELS.unload()
    for vector in vocabularies.vectors("qwen2"):
        assert own.encode(vector.text) == vector.ids, vector.text
    assert {t: own.sentinel(t) for t in vocabularies.QWEN_CODER} == {
        t: built.sentinel(t) for t in vocabularies.QWEN_CODER
    }
