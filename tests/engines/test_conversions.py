"""What transformers cannot read as it is: each conversion beside an independent implementation, written here."""

from __future__ import annotations

import functools
import json
import math
import random

import pytest
import tiktoken
import torch
import vocabularies
from checkpoints import CORPUS, change_config, tokenizer
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    CodeGenConfig,
    CodeGenForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from fim_magic.engines.torch.checkpoint import load_checkpoint
from fim_magic.engines.torch.conversions import byte_level, codegen2, codegen25, santacoder
from fim_magic.engines.torch.placement import Placement
from fim_magic.errors import FetchError, ModelError


@functools.cache
def real_gpt2():
    table = vocabularies.vocabulary("gpt-2")
    return {token: at for at, token in enumerate(table.tokens)}, table.merges


IDS = torch.tensor([[5, 300, 17, 42, 8, 301, 99, 12, 77, 350, 3]])
SENTINELS = ("<|endoftext|>", "<sep>", "<eom>", "<mask_1>")


def placed(**arguments):
    return Placement(arguments=arguments, description="", weights=0, cache=0, free=0)


@torch.no_grad()
def logits_of(model, ids=IDS):
    return model(ids).logits


# --- CodeGen2 ------------------------------------------------------------------------------------


@torch.no_grad()
def codegen(weights, config, ids, cores):
    """The network of arXiv 2203.13474: GPT-J's (parallel attention and MLP, rotary positions), fused core by core."""

    def linear(name, x):
        return functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(name, x):
        return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)

    def rotate(x):
        size = config["rotary_dim"]
        pairs = x[..., :size].unflatten(-1, (-1, 2))
        angles = torch.arange(x.shape[-2])[:, None] / 10_000 ** (torch.arange(0, size, 2) / size)
        turned = torch.view_as_real(
            torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angles), angles)
        )
        return torch.cat([turned.flatten(-2), x[..., size:]], dim=-1)

    heads, width, length = config["n_head"], config["n_embd"], ids.shape[1]
    size = width // heads
    ahead = torch.full((length, length), float("-inf")).triu(1)
    x = functional.embedding(ids, weights["transformer.wte.weight"])
    for at in range(config["n_layer"]):
        block = f"transformer.h.{at}"
        seen = norm(f"{block}.ln_1", x)
        fused = linear(f"{block}.attn.qkv_proj", seen)
        queries, values, keys = [], [], []
        for core in fused.chunk(cores, dim=-1):
            query, value, key = (part.split(size, dim=-1) for part in core.chunk(3, dim=-1))
            queries, values, keys = [*queries, *query], [*values, *value], [*keys, *key]
        attended = []
        for query, key, value in zip(queries, keys, values, strict=True):
            scores = rotate(query) @ rotate(key).transpose(-1, -2) / math.sqrt(size) + ahead
            attended.append(scores.softmax(-1) @ value)
        attention = linear(f"{block}.attn.out_proj", torch.cat(attended, dim=-1))
        inner = functional.gelu(linear(f"{block}.mlp.fc_in", seen), approximate="tanh")
        x = x + attention + linear(f"{block}.mlp.fc_out", inner)
    return linear("lm_head", norm("transformer.ln_f", x))


@pytest.fixture(scope="session")
def codegen2_folder(tmp_path_factory):
    """A CodeGen2 1B in small: its config.json as the vendor's, code and all."""
    folder = tmp_path_factory.mktemp("codegen2")
    backend = tokenizer(SENTINELS)
    shape = {"n_embd": 64, "n_head": 16, "n_layer": 3, "n_positions": 128, "n_ctx": 128, "rotary_dim": 2}
    torch.manual_seed(0)
    config = CodeGenConfig(vocab_size=backend.get_vocab_size(), initializer_range=0.3, **shape)
    CodeGenForCausalLM(config).save_pretrained(folder)
    backend.save(str(folder / "tokenizer.json"))
    classes = {"AutoConfig": "configuration_codegen.C", "AutoModelForCausalLM": "modeling_codegen.M"}
    change_config(folder, head_dim=128, bos_token_id=1, eos_token_id=2, auto_map=classes)
    for name in ("configuration_codegen", "modeling_codegen"):
        (folder / f"{name}.py").write_text("raise SystemExit('this code was run')\n")
    return folder


@pytest.fixture
def codegen2_expected(codegen2_folder):
    config = json.loads((codegen2_folder / "config.json").read_text())
    stored = load_file(codegen2_folder / "model.safetensors")
    return lambda cores, ids=IDS: codegen(stored, config, ids, cores)


def close(found, expected):
    return torch.allclose(found, expected, atol=2e-4, rtol=1e-4)


def test_the_reference_is_transformers_own_codegen_for_four_cores(codegen2_folder, codegen2_expected):
    native = AutoModelForCausalLM.from_pretrained(codegen2_folder, trust_remote_code=False)
    assert close(logits_of(native), codegen2_expected(4))


def test_codegen2_computes_as_trained_for_eight_cores(codegen2_folder, codegen2_expected):
    model, _ = load_checkpoint(codegen2_folder, "codegen2-1b")
    assert close(logits_of(model), codegen2_expected(8))


def test_without_the_conversion_codegen2_answers_noise(codegen2_folder, codegen2_expected):
    native = AutoModelForCausalLM.from_pretrained(codegen2_folder, trust_remote_code=False)
    found, expected = logits_of(native), codegen2_expected(8)
    assert not close(found, expected)
    assert (found.argmax(-1) != expected.argmax(-1)).float().mean() > 0.5


def test_codegen2_computes_the_same_one_token_at_a_time(codegen2_folder, codegen2_expected):
    model, _ = load_checkpoint(codegen2_folder, "codegen2-1b")
    cache, steps = None, []
    for at in range(IDS.shape[1]):
        with torch.no_grad():
            output = model(IDS[:, at : at + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        steps.append(output.logits)
    assert close(torch.cat(steps, dim=1), codegen2_expected(8))


def test_codegen2_with_layers_on_the_disk_computes_the_same(codegen2_folder, codegen2_expected, tmp_path):
    where = {"transformer.wte": "cpu", "transformer.h.0": "disk", "transformer.h.1": "cpu", "transformer.h.2": "disk"}
    where |= {"transformer.ln_f": "cpu", "lm_head": "cpu"}
    placement = placed(dtype=torch.float32, device_map=where, offload_folder=str(tmp_path))
    model, _ = load_checkpoint(codegen2_folder, "codegen2-1b", placement)
    assert model.transformer.h[0].attn.qkv_proj.weight.is_meta
    assert close(logits_of(model), codegen2_expected(8))


@pytest.mark.parametrize("changes", [{"head_dim": None}, {"head_dim": 4}], ids=["CodeGen 1, CodeGen2 7B", "another"])
def test_what_is_laid_out_for_four_cores_is_left_alone(codegen2_folder, codegen2_expected, tmp_path, changes):
    for path in codegen2_folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_bytes((codegen2_folder / "config.json").read_bytes())
    change_config(tmp_path, **changes)
    model, _ = load_checkpoint(tmp_path, "codegen")
    assert close(logits_of(model), codegen2_expected(4))


def test_eight_cores_become_four_in_the_order_of_the_heads():
    width, heads = 48, 16
    labels = [(core, part, row) for core in range(8) for part in "qvk" for row in range(width // 8)]
    fused = torch.arange(3 * width)
    grouped = [labels[at] for at in codegen2.regrouped(fused[None, None])[0, 0]]
    for core, group in enumerate([grouped[at : at + 36] for at in range(0, 144, 36)]):
        assert [part for _, part, _ in group] == ["q"] * 12 + ["v"] * 12 + ["k"] * 12
        assert [from_core for from_core, _, _ in group[:12]] == [2 * core] * 6 + [2 * core + 1] * 6
        assert [row for _, _, row in group[:12]] == [*range(6), *range(6)]
    assert heads % 8 == 0
    assert len(set(grouped)) == 3 * width


def test_an_end_that_is_ordinary_text_is_forgotten(codegen2_folder):
    model, text = load_checkpoint(codegen2_folder, "codegen2-1b")
    assert text.token_bytes(2)
    assert model.config.eos_token_id is None
    assert model.generation_config.eos_token_id is None


# --- CodeGen2.5 ----------------------------------------------------------------------------------

GPT2_REGEX = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
CONTROLS = [
    *("fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "filename", "gh_stars", "issue_start", "issue_comment"),
    *("issue_closed", "jupyter_start", "jupyter_text", "jupyter_code", "jupyter_output", "empty_output"),
    *("commit_before", "commit_msg", "commit_after", "reponame"),
    *("dummy_0", "dummy_1", "dummy_2", "dummy_3", "sep", "eom"),
]


def as_the_vendor(vocabulary):
    """What the vendor's code builds: every run of white space is a rank of tiktoken's, the controls are apart."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    byte = {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(rest)}
    end = "<|endoftext|>"
    ranks = {bytes(byte[character] for character in piece): at for piece, at in vocabulary.items() if piece != end}
    at = len(vocabulary)
    for run in [*(b" " * n for n in range(31, 1, -1)), *(b"\t" * n for n in range(9, 1, -1))]:
        ranks[run], at = at, at + 1
    special = {end: vocabulary[end]}
    for name in [*CONTROLS, *(f"mask_{n}" for n in range(881, 0, -1))]:
        special[f"<{name}>"], at = at, at + 1
    return tiktoken.Encoding("codegen25", pat_str=GPT2_REGEX, mergeable_ranks=ranks, special_tokens=special)


@pytest.fixture(scope="session")
def small_gpt2():
    """A vocabulary that was made as GPT-2's was, and like it has no runs of spaces or tabs."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    lines = [*CORPUS, "la tête, les années, 中文字符 и кириллица\n\nλόγος\n\n", "it's we're they'll 2023 10 100"]
    backend.train_from_iterator([line.replace("  ", "") for line in lines] * 4, trainer)
    model = json.loads(backend.to_str())["model"]
    return model["vocab"] | {"<|endoftext|>": len(model["vocab"])}, [tuple(pair) for pair in model["merges"]]


@pytest.fixture(scope="session", params=["small", "real"])
def gpt2(request, small_gpt2):
    return small_gpt2 if request.param == "small" else real_gpt2()


@pytest.fixture(scope="session")
def codegen25_pair(gpt2):
    vocabulary, merges = gpt2
    return codegen25.tokenizer(vocabulary, merges), as_the_vendor(vocabulary)


def same(pair, text):
    ours, theirs = pair
    ids = ours.encode(text, add_special_tokens=False).ids
    assert ids == theirs.encode(text, allowed_special="all"), repr(text)
    assert ours.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("before", ["", "x", "if x:\n", "\t", "\n\n", "# 中"])
@pytest.mark.parametrize("after", ["", "x", "\n", "\n\n    y", "\t", " 1", "\u00a0"])
def test_indentation_of_every_width(codegen25_pair, before, after):
    for width in range(71):
        same(codegen25_pair, before + " " * width + after)
        same(codegen25_pair, before + "\t" * width + after)


WHITE = [*(" " * n for n in (1, 2, 3, 4, 8, 16, 31, 32, 33, 62, 63)), *("\t" * n for n in (1, 2, 9, 10, 19))]
WHITE += ["\n", "\n\n", "\r\n", "\x0b", "\x0c", "\u00a0", "\u2003", "\u3000", "\u2028"]
SCRIPTS = "aéßñØ中文字かな한글Кирαβγאבجदहिதท😀👩‍💻𝔸e\u0301\u200b_.,;:'\"(){}[]<>#/\\0123456789٣४½"


@given(st.lists(st.one_of(st.sampled_from(WHITE), st.text(SCRIPTS, max_size=6), st.text(max_size=4)), max_size=12))
def test_any_text(codegen25_pair, parts):
    same(codegen25_pair, "".join(parts))


def test_ten_thousand_mixtures(codegen25_pair):
    draw = random.Random(0)
    for _ in range(10_000):
        same(
            codegen25_pair, "".join(draw.choice([*WHITE, *SCRIPTS, "def", "return ", "'s", "x = 1"]) for _ in range(9))
        )


def test_controls_have_their_places(codegen25_pair, gpt2):
    ours, _ = codegen25_pair
    behind = len(gpt2[0]) - 50257  # 0 for the real vocabulary
    expected = {"<fim_prefix>": 50295, "<fim_middle>": 50296, "<fim_suffix>": 50297, "<fim_pad>": 50298}
    expected |= {"<filename>": 50299, "<reponame>": 50312, "<dummy_0>": 50313, "<sep>": 50317, "<eom>": 50318}
    expected |= {"<mask_881>": 50319, "<mask_2>": 51198, "<mask_1>": 51199, "<|endoftext|>": 50256}
    assert {token: ours.token_to_id(token) for token in expected} == {t: at + behind for t, at in expected.items()}
    assert ours.get_vocab_size() == 51200 + behind
    assert all(token.special for token in ours.get_added_tokens_decoder().values())


def test_runs_of_white_space_are_vocabulary(codegen25_pair):
    ours, _ = codegen25_pair
    assert all(token.content.strip() for token in ours.get_added_tokens_decoder().values())
    # An added token would be matched before the regex, which leaves the last space to the word.
    assert ours.encode("\n     return", add_special_tokens=False).tokens[:2] == ["Ċ", "ĠĠĠĠ"]


def test_vectors_of_the_vendors_own_tokenizer():
    """Ids that tokenization_codegen25.py gives, run with tiktoken 0.4.0."""
    ours = codegen25.tokenizer(*real_gpt2())
    vectors = {
        "int add(int a, int b) { return a + b; }\nπ": [
            *(600, 751, 7, 600, 257, 11, 493, 275, 8, 1391, 1441, 257, 1343, 275, 26, 1782, 198, 46582),
        ],
        "<fim_prefix>abc<fim_suffix>xyz<fim_middle>": [50295, 39305, 50297, 5431, 89, 50296],
        "prefix<mask_1>suffix<|endoftext|><sep><mask_1>": [40290, 51199, 37333, 844, 50256, 50317, 51199],
    }
    assert {text: ours.encode(text, add_special_tokens=False).ids for text in vectors} == vectors


def write_gpt2(folder, gpt2):
    vocabulary, merges = gpt2
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), "utf-8", newline="\n")


@pytest.fixture
def codegen25_folder(tmp_path, small_gpt2, monkeypatch):
    """A CodeGen2.5 in small, as it is on the Hub: Llama's network, no tokenizer file, code for one."""
    monkeypatch.setattr(codegen25, "_GPT2_SHA256", codegen25._sha256(*small_gpt2))
    folder = tmp_path / "codegen25"
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    rows = codegen25.tokenizer(*small_gpt2).get_vocab_size()
    LlamaForCausalLM(LlamaConfig(vocab_size=rows, **shape)).save_pretrained(folder)
    code = {"AutoTokenizer": ["tokenization_codegen25.CodeGen25Tokenizer", None]}
    config = {"tokenizer_class": "CodeGen25Tokenizer", "auto_map": code, "add_special_tokens": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The cache of the Hugging Face Hub, with nothing in it. The Hub itself is away."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def check_codegen25(folder, small_gpt2):
    _, text = load_checkpoint(folder, "codegen25-7b-multi")
    end = len(small_gpt2[0]) - 1
    assert [text.sentinel(token) for token in ("<|endoftext|>", "<sep>", "<mask_1>")] == [end, end + 61, end + 943]
    code = "def f():\n        return '中文'\n"
    assert text.encode(code) == as_the_vendor(small_gpt2[0]).encode(code)
    assert text.decode(text.encode(code)) == code
    assert text.encode("<mask_1>") != [text.sentinel("<mask_1>")]
    assert not (folder / "tokenizer.json").exists()


def test_codegen25_with_the_vocabulary_beside_its_weights(codegen25_folder, small_gpt2, hub_cache):
    write_gpt2(codegen25_folder, small_gpt2)
    check_codegen25(codegen25_folder, small_gpt2)


@pytest.mark.parametrize("joined", [False, True], ids=["newer files", "older files"])
def test_codegen25_with_the_vocabulary_from_the_hub(codegen25_folder, small_gpt2, hub_cache, joined):
    vocabulary, merges = small_gpt2
    model = {"type": "BPE", "vocab": vocabulary, "merges": [" ".join(pair) if joined else pair for pair in merges]}
    repository = hub_cache / "models--openai-community--gpt2"
    for path, text in {
        f"snapshots/{'0' * 40}/tokenizer.json": json.dumps({"model": model}),
        "refs/main": "0" * 40,
    }.items():
        (repository / path).parent.mkdir(parents=True)
        (repository / path).write_text(text)
    check_codegen25(codegen25_folder, small_gpt2)


def test_codegen25_without_the_vocabulary_says_what_to_type(codegen25_folder, hub_cache):
    with pytest.raises(FetchError, match=r"hf download openai-community/gpt2 tokenizer\.json") as caught:
        load_checkpoint(codegen25_folder, "codegen25-7b-multi")
    assert "the Hugging Face Hub was not asked" in str(caught.value)
    assert str(codegen25_folder) in str(caught.value)


def test_codegen25_with_another_vocabulary_is_refused(codegen25_folder, small_gpt2):
    vocabulary, merges = small_gpt2
    write_gpt2(codegen25_folder, (vocabulary, merges[:-1]))
    with pytest.raises(ModelError, match="another one"):
        load_checkpoint(codegen25_folder, "codegen25-7b-multi")


def test_the_real_vocabulary_is_known(tmp_path):
    write_gpt2(tmp_path, real_gpt2())
    assert codegen25.from_folder(tmp_path).token_to_id("<mask_1>") == 51199


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: (folder / "tokenizer_config.json").write_text("{}"), False),
        (lambda folder: (folder / "tokenizer_config.json").unlink(), False),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), False),
        (lambda folder: change_config(folder, model_type="qwen2"), False),
        (lambda folder: None, True),
        (lambda folder: (folder / "tokenization_codegen25.py").write_text(""), True),
    ],
)
def test_codegen25_is_told_by_its_files(codegen25_folder, change, expected):
    change(codegen25_folder)
    config = json.loads((codegen25_folder / "config.json").read_text())
    assert codegen25.is_codegen25(codegen25_folder, config) == expected


# --- vocab.json and merges.txt -------------------------------------------------------------------


@pytest.fixture
def spelled_out(tmp_path):
    """`spelled_out(backend)` is a folder with that BPE tokenizer as vocab.json and merges.txt."""

    def write(backend):
        model = json.loads(backend.to_str())["model"]
        write_gpt2(tmp_path, (model["vocab"], model["merges"]))
        return tmp_path

    return write


CODE = [
    "def f(x):\n    return x + 1\n",
    "    1",
    "2023 12",
    "<|endoftext|>",
    "  \t\n中文 é 😀",
    "it's",
    "",
    "# #",
    "x  ",
]


@pytest.mark.parametrize("model_type", ["gpt2", "codegen"])
def test_a_spelled_out_tokenizer_is_gpt2s(spelled_out, model_type):
    backend = tokenizer(())
    found = byte_level.from_folder(spelled_out(backend), {"model_type": model_type})
    for text in CODE:
        ids = found.encode(text).ids
        assert ids == backend.encode(text).ids
        assert found.decode(ids) == text


@pytest.mark.parametrize("model_type", ["gpt_bigcode", "starcoder2"])
def test_bigcodes_tokenizers_set_digits_apart(spelled_out, model_type):
    backend = tokenizer(())
    apart = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(apart)
    found = byte_level.from_folder(spelled_out(backend), {"model_type": model_type})
    for text in CODE:
        assert found.encode(text).ids == backend.encode(text).ids
    together = byte_level.from_folder(spelled_out(backend), {"model_type": "gpt2"})
    assert found.encode("    1").tokens != together.encode("    1").tokens


def test_an_unknown_way_of_cutting_text_is_not_guessed(spelled_out):
    assert byte_level.from_folder(spelled_out(tokenizer(())), {"model_type": "qwen2"}) is None


def test_added_tokens_have_the_ids_that_are_stated(spelled_out):
    folder = spelled_out(tokenizer(()))
    size = tokenizer(()).get_vocab_size()
    (folder / "added_tokens.json").write_text(json.dumps({"<eom>": size + 5, "   ": size, "def": size + 2, "de": 3}))
    entry = {"content": "<|user|>", "special": True, "normalized": False, "lstrip": False, "rstrip": False}
    known = {"content": "or", "special": False}
    decoder = {str(size + 9): entry, str(tokenizer(()).token_to_id("or")): known}
    config = {"added_tokens_decoder": decoder, "eos_token": {"content": "<eom>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    found = byte_level.from_folder(folder, {"model_type": "codegen"})
    ids = found.encode("x<eom>   <|user|>").ids
    assert ids[1:] == [size + 5, size, size + 9]
    for known in ("def", "de"):  # by another id, or one that is taken
        assert found.token_to_id(known) == tokenizer(()).token_to_id(known) is not None
    special = {token.content: token.special for token in found.get_added_tokens_decoder().values()}
    assert special == {"<eom>": True, "   ": False, "<|user|>": True, "or": False}


@pytest.mark.parametrize("line", ["a", "a b c"])
def test_damaged_merges_are_refused(spelled_out, line):
    folder = spelled_out(tokenizer(()))
    (folder / "merges.txt").write_text(f"#version: 0.2\n{line}\n")
    with pytest.raises(ValueError, match="no pair"):
        byte_level.from_folder(folder, {"model_type": "gpt2"})


def test_a_merge_of_number_signs_is_no_comment(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"#": 0, "##": 1}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n# #\n", newline="\r\n")
    assert byte_level.read(tmp_path) == ({"#": 0, "##": 1}, [("#", "#")])


# --- SantaCoder ----------------------------------------------------------------------------------


def santacoder_weights(weights, config):
    """Store a GPTBigCode's weights as SantaCoder's own code does: Conv1D, keys and values apart, masks along."""
    found = {}
    for name, tensor in weights.items():
        stored = tensor.t() if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else tensor
        if ".c_attn." in name:
            sizes = [config["n_embd"], 2 * config["n_embd"] // config["n_head"]]
            queries, keys_and_values = stored.split(sizes, dim=-1)
            found[name.replace("c_attn", "q_attn")] = queries.contiguous()
            found[name.replace("c_attn", "kv_attn")] = keys_and_values.contiguous()
        else:
            found[name] = stored.contiguous()
    for at in range(config["n_layer"]):
        ones = torch.ones(config["n_positions"], config["n_positions"], dtype=torch.bool)
        found[f"transformer.h.{at}.attn.bias"] = ones.tril()[None, None]
        found[f"transformer.h.{at}.attn.masked_bias"] = torch.tensor(-1e4)
    return found


@torch.no_grad()
def multi_query_gpt2(weights, config, ids):
    """GPT-2 with one head of keys and values (arXiv 2301.03988, section 4.1), from SantaCoder's own weights."""

    def conv(name, x):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def norm(name, x):
        return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)

    size, length = config["n_embd"] // config["n_head"], ids.shape[1]
    ahead = torch.full((length, length), float("-inf")).triu(1)
    x = weights["transformer.wte.weight"][ids] + weights["transformer.wpe.weight"][:length]
    for at in range(config["n_layer"]):
        block = f"transformer.h.{at}"
        seen = norm(f"{block}.ln_1", x)
        key, value = conv(f"{block}.attn.kv_attn", seen).chunk(2, dim=-1)
        queries = conv(f"{block}.attn.q_attn", seen).split(size, dim=-1)
        scores = [query @ key.transpose(-1, -2) / math.sqrt(size) + ahead for query in queries]
        x = x + conv(f"{block}.attn.c_proj", torch.cat([score.softmax(-1) @ value for score in scores], dim=-1))
        inner = functional.gelu(conv(f"{block}.mlp.c_fc", norm(f"{block}.ln_2", x)), approximate="tanh")
        x = x + conv(f"{block}.mlp.c_proj", inner)
    return norm("transformer.ln_f", x) @ weights["transformer.wte.weight"].t()


@pytest.fixture
def santacoder_folder(tmp_path):
    """`bigcode/santacoder` in small: the vendor's architecture, code, and names of the weights."""
    backend = tokenizer(("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"))
    shape = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "vocab_size": backend.get_vocab_size()}
    torch.manual_seed(0)
    model = GPTBigCodeForCausalLM(GPTBigCodeConfig(**shape, n_inner=96, initializer_range=0.3))
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    classes = {"AutoConfig": "configuration_gpt2_mq.C", "AutoModelForCausalLM": "modeling_gpt2_mq.M"}
    config = shape | {"model_type": "gpt2", "architectures": ["GPT2LMHeadCustomModel"], "auto_map": classes}
    config |= {"attention_head_type": "multiquery", "n_inner": 96, "bos_token_id": 49152, "eos_token_id": 49152}
    folder = tmp_path / "santacoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    stored = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(santacoder_weights(stored, config), folder / "model.safetensors", metadata={"format": "pt"})
    backend.save(str(folder / "tokenizer.json"))
    (folder / "modeling_gpt2_mq.py").write_text("raise SystemExit('this code was run')\n")
    return folder


@pytest.mark.parametrize("format_", ["safetensors", "pickle"])
def test_santacoder_computes_what_its_own_code_does(santacoder_folder, format_):
    stored = load_file(santacoder_folder / "model.safetensors")
    if format_ == "pickle":
        (santacoder_folder / "model.safetensors").unlink()
        torch.save(stored, santacoder_folder / "pytorch_model.bin")
    model, text = load_checkpoint(santacoder_folder, "bigcode/santacoder")
    config = json.loads((santacoder_folder / "config.json").read_text())
    expected = multi_query_gpt2(stored, config, IDS)
    assert close(logits_of(model), expected)
    assert model.config.model_type == "gpt_bigcode"
    assert model.config.eos_token_id is None  # 49152 is beyond this vocabulary
    assert text.sentinel("<fim-prefix>") is not None
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_santacoder_goes_where_it_is_placed(santacoder_folder):
    whole, _ = load_checkpoint(santacoder_folder, "bigcode/santacoder")
    placement = placed(dtype=torch.float16, device_map={"": "cpu"})
    model, _ = load_checkpoint(santacoder_folder, "bigcode/santacoder", placement)
    assert model.device.type == "cpu"
    assert model.dtype is torch.float16
    assert torch.allclose(logits_of(model).float(), logits_of(whole), atol=0.1)


def test_the_reference_for_santacoder_is_gpt2_with_as_many_keys_as_queries():
    """With one head, multi-query attention is GPT-2's own, which transformers has."""
    shape = {"n_embd": 16, "n_head": 1, "n_layer": 2, "n_positions": 32, "vocab_size": 400}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3)).eval()
    stored = {}
    for name, tensor in model.state_dict().items():
        if ".c_attn." in name:
            queries, keys_and_values = tensor.split([16, 32], dim=-1)
            stored[name.replace("c_attn", "q_attn")] = queries
            stored[name.replace("c_attn", "kv_attn")] = keys_and_values
        else:
            stored[name] = tensor
    assert close(multi_query_gpt2(stored, shape, IDS), logits_of(model))


def test_a_santacoder_with_a_weight_less_is_refused(santacoder_folder):
    stored = load_file(santacoder_folder / "model.safetensors")
    del stored["transformer.h.1.mlp.c_fc.bias"]
    save_file(stored, santacoder_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"transformer\.h\.1\.mlp\.c_fc\.bias"):
        load_checkpoint(santacoder_folder, "bigcode/santacoder")


@pytest.mark.parametrize("changes", [{"attention_head_type": "multihead"}, {"scale_attn_by_inverse_layer_idx": True}])
def test_other_custom_gpt2s_are_not_taken_for_santacoder(santacoder_folder, changes):
    change_config(santacoder_folder, **changes)
    assert not santacoder.is_santacoder(json.loads((santacoder_folder / "config.json").read_text()))
    with pytest.raises(ModelError, match="code of its own"):
        load_checkpoint(santacoder_folder, "bigcode/santacoder")
