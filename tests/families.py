"""A tiny checkpoint of every family, with the files that its vendor has on the Hub.

What belongs to the family is its own: architecture and `model_type`, the keys of config.json, the tokenizer's
normalizer, pre-tokenizer, decoder and template, the control tokens with their flags and their places, the names and
the format of the weights. Sizes, vocabulary and weights are small and random.

Ids stand in the rows as numbers, so that a prompt is compared with what its vendor wrote and not with what the code
under test looked up. Tokens that vendors have at the start of the vocabulary have their real ids; those at its end
have the real ones less a constant (Qwen's <|fim_prefix|>, 151659, is the 17th added token: 400 + 16).

Sources: the vendors' repositories, the vocabularies that llama.cpp tests with (StarCoder2, Refact, DeepSeek-Coder,
Qwen2, Llama) and its list of pre-tokenizers, mistral-common's vocabularies. What no source says is marked "unverified".
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from checkpoints import CORPUS, as_float16_holds_them
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

P, S = "prefix", "suffix"
"""The places of the user's text in a row's prompts."""

BYTE_LEVEL_SIZE = 400
SENTENCEPIECE_SIZE = 512
_MORE = (
    "from pathlib import Path\n\nimport numpy as np\n\nDEFAULT_TIMEOUT = 30\n",
    "def read_lines(path: str, encoding: str = 'utf-8') -> list[str]:\n    with open(path, encoding=encoding) as file:\n",
    "        return [line.rstrip() for line in file]\n\n\n@property\n",
    "while queue and not finished.is_set():\n    task = queue.pop(0)\n    try:\n        results.append(task.run(60))\n",
    "    except TimeoutError as error:\n        logger.warning('task %s took too long: %r', task.name, error)\n",
    "    elif isinstance(key, tuple) and len(key) == 2:\n        row, column = key\n        self.cells[row][column] += 1\n",
    "@property\ndef shape(self):\n    height, width = self._array.shape[:2]\n    return width, height\n",
    'parser.add_argument("--verbose", action="store_true", help="print what is done")\n',
)


# --- tokenizer pipelines -------------------------------------------------------------------------


@dataclass(frozen=True)
class Pipeline:
    """What a tokenizer.json has beside its vocabulary."""

    normalizer: Any
    pre_tokenizer: Any
    decoder: Any
    sentencepiece: bool = False


def _byte_level(*before: Any, regex: bool = True, normalizer: Any = None) -> Pipeline:
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    whole = pre_tokenizers.Sequence([*before, last]) if before else last
    return Pipeline(normalizer, whole, decoders.ByteLevel())


def _split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def _sentencepiece(normalizer: Any, pre_tokenizer: Any, *, strips: bool) -> Pipeline:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [decoders.Strip(content=" ", left=1, right=0)] if strips else []
    return Pipeline(normalizer, pre_tokenizer, decoders.Sequence([*steps, *strip]), sentencepiece=True)


def _words(numbers: str, punctuation: str = r" ?[^\s\p{L}\p{N}]+[\r\n]*") -> str:
    contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    return rf"{contractions}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}|{punctuation}|\s*[\r\n]+|\s+(?!\S)|\s+"


_DIGITS = pre_tokenizers.Digits(individual_digits=True)
_CHINESE = "[一-龥ࠀ-一가-퟿]+"
_LATIN_AND_OTHERS = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+"  # the vendor's goes on

GPT2 = _byte_level()
GPT2_WITH_END = _byte_level()
DIGITS = _byte_level(_DIGITS)
QWEN = _byte_level(_split(_words(r"\p{N}")), regex=False, normalizer=normalizers.NFC())
LLAMA3 = _byte_level(_split(_words(r"\p{N}{1,3}")), regex=False)
SEED = _byte_level(_split(_words(r"\p{N}{1}", r" ?[^\s\p{L}\p{N}\r\n]+")), regex=False)
NEOX = _byte_level(normalizer=normalizers.NFC())
LINES = _byte_level(_split("\n"), regex=False)  # InCoder's tokens may span words, but not lines
DEEPSEEK = _byte_level(
    *(_split(pattern) for pattern in ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CHINESE)), _DIGITS, regex=False
)
DEEPSEEK_V2 = _byte_level(
    *(_split(p) for p in ("[\r\n]", _LATIN_AND_OTHERS, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _CHINESE)),
    _DIGITS,
    regex=False,
)
_SPACES = normalizers.Replace(" ", "▁")
LLAMA = _sentencepiece(normalizers.Sequence([normalizers.Prepend("▁"), _SPACES]), None, strips=True)
METASPACE = _sentencepiece(
    None, pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False), strips=True
)
GEMMA = _sentencepiece(_SPACES, pre_tokenizers.Split(" ", behavior="merged_with_previous"), strips=False)


def control(*names: str) -> tuple[AddedToken, ...]:
    """Added tokens that tokenizer.json marks as special."""
    return tuple(AddedToken(name, normalized=False, special=True) for name in names)


def plain(*names: str, normalized: bool = False) -> tuple[AddedToken, ...]:
    """Added tokens that it doesn't mark: Qwen's and DeepSeek's sentinels, and pieces of text."""
    return tuple(AddedToken(name, normalized=normalized, special=False) for name in names)


def _runs(character: str, longest: int) -> tuple[str, ...]:
    return tuple(character * length for length in range(longest, 1, -1))


# --- the rows ------------------------------------------------------------------------------------


Weights = dict[str, torch.Tensor]


def _for_eight_cores(weights: Weights) -> Weights:
    """Lay out CodeGen's fused projections for 8 TPU cores: each core's queries, values and keys. transformers has 4."""

    def regrouped(fused: torch.Tensor) -> torch.Tensor:
        by_core = fused.reshape(4, 3, -1, fused.shape[-1])
        queries, values, keys = (by_core[:, which].flatten(0, 1).chunk(8) for which in range(3))
        return torch.cat([part for core in zip(queries, values, keys, strict=True) for part in core])

    return {name: regrouped(weight) if "qkv_proj" in name else weight for name, weight in weights.items()}


def _with_conv1d(weights: Weights) -> Weights:
    """Store GPTBigCode's weights as SantaCoder's first form has them: as GPT-2's, keys and values apart."""
    found: Weights = {}
    for name, weight in weights.items():
        if ".attn.c_attn." in name:
            queries, others = weight.split([32, weight.shape[0] - 32])  # the width is 32 here
            found[name.replace("c_attn", "q_attn")] = queries.t().contiguous()
            found[name.replace("c_attn", "kv_attn")] = others.t().contiguous()
        else:
            is_projection = name.endswith(("c_proj.weight", "c_fc.weight"))
            found[name] = weight.t().contiguous() if is_projection else weight
    return found


@dataclass(frozen=True)
class Row:
    """One family.

    Attributes:
        repo: Where its vendor has it on the Hub.
        family: Its name in fim-magic.
        alone: The name where only the checkpoint is known and not where it comes from, if that is another.
        config: config.json, without the size of the vocabulary.
        pipeline: Of its tokenizer.
        first: The tokens at the start of its vocabulary.
        added: Those behind the trained vocabulary.
        pieces: SentencePiece pieces behind the trained vocabulary; each merges from two others.
        tokenizer_class: As in its tokenizer_config.json.
        bos: The token that its tokenizer puts before every text.
        eos: The ids in generation_config.json.
        psm: The infilling prompt: ids, `P` and `S` for the user's texts, and any other string for itself.
        spm: The same with the suffix first.
        complete: The prompt for left to right.
        unspaced: Whether the suffix is encoded without SentencePiece's leading space.
        pickles: How many files of pickled weights the vendor has, where there are no safetensors.
        code: Whether only code of the vendor's could read it.
        weight: A weight's name in the vendor's files.
        stored: Makes the vendor's weights of transformers' where the two differ.
        twin: The config.json of the same network for transformers, where the vendor's own says something else.
        tokenizer_file: Whether there is a tokenizer.json.
        seed: Of the weights.
        tokenizer_config: Further values in tokenizer_config.json.
    """

    repo: str
    family: str
    config: Mapping[str, Any]
    pipeline: Pipeline
    first: tuple[AddedToken, ...] = ()
    added: tuple[AddedToken, ...] = ()
    pieces: tuple[str, ...] = ()
    tokenizer_class: str = "PreTrainedTokenizerFast"
    bos: str = ""
    eos: tuple[int, ...] = ()
    psm: tuple[str | int, ...] = ()
    spm: tuple[str | int, ...] = ()
    complete: tuple[str | int, ...] = (P,)
    unspaced: bool = False
    pickles: int = 0
    code: bool = False
    weight: str = ""
    stored: Callable[[Weights], Weights] = dict
    twin: Mapping[str, Any] | None = None
    tokenizer_file: bool = True
    alone: str = ""
    seed: int = 0
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)


_WIDE = 0.4  # of the weights, so that greedy decoding does not just repeat one token


def _llama(architecture: str = "LlamaForCausalLM", model_type: str = "llama", **changes: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 16384,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "initializer_range": _WIDE,
        "torch_dtype": "bfloat16",
    } | changes


def _gpt(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "n_embd": 32,
        "n_inner": 48,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 2048,
        "layer_norm_epsilon": 1e-5,
        "initializer_range": _WIDE,
        "torch_dtype": "float32",
    } | changes


def _big_code(**changes: Any) -> dict[str, Any]:
    fixed = {
        "activation_function": "gelu_pytorch_tanh",
        "attention_softmax_in_fp32": True,
        "multi_query": True,
        "scale_attention_softmax_in_fp32": True,
        "scale_attn_weights": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return _gpt("GPTBigCodeForCausalLM", "gpt_bigcode", **(fixed | changes))


_BIG_CODE_WEIGHT = "transformer.h.0.attn.c_attn.weight"
_EXPERT = "model.layers.1.mlp.experts.3.gate_proj.weight"

_SANTACODER_TOKENS = control("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>")
_SANTACODER_PSM = (401, P, 403, S, 402)
_SANTACODER_SPM = (401, 403, S, 402, P)
_STARCODER_TOKENS = control(
    *("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>", "<gh_stars>"),
    *("<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>"),
    *("<jupyter_output>", "<empty_output>", "<commit_before>", "<commit_msg>", "<commit_after>", "<reponame>"),
)
_STARCODER2_TOKENS = control(
    *("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<repo_name>", "<file_sep>"),
    *("<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>"),
    *("<jupyter_output>", "<jupyter_script>", "<empty_output>", "<code_to_intermediate>", "<intermediate_to_code>"),
    *("<pr>", "<pr_status>", "<pr_is_merged>", "<pr_base>", "<pr_file>", "<pr_base_code>", "<pr_diff>"),
    *("<pr_diff_hunk>", "<pr_comment>", "<pr_event_id>", "<pr_review>", "<pr_review_state>", "<pr_review_comment>"),
    *("<pr_in_reply_to_review_id>", "<pr_in_reply_to_comment_id>", "<pr_diff_hunk_comment_line>"),
    *("<NAME>", "<EMAIL>", "<KEY>", "<PASSWORD>"),
)
_STARCODER_PSM = (1, P, 3, S, 2)
_STARCODER_SPM = (1, 3, S, 2, P)
_SUFFIX_FIRST = (3, S, 1, P, 2)  # the other layout: Mellum's and Refact's

_QWEN_CONTROL = control("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN_VISION = control(
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
_QWEN_TOKENS = (
    *_QWEN_CONTROL,
    *_QWEN_VISION,
    *plain("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *plain("<|repo_name|>", "<|file_sep|>"),
)
_QWEN_PSM = (416, P, 418, S, 417)

# Byte-level BPE writes these letters for the thirteen bytes that UTF-8 never has. DeepSeek's vocabulary had left them
# out and got them back as added tokens, so that the letters themselves, ü among them, are tokens in its texts.
_NO_BYTES = "õ÷ÁýÀÿøúþüùöû"
_DEEPSEEK_TOKENS = (
    *plain(*_NO_BYTES, normalized=True),
    *control("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    *plain("<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<pad>", "<|User|>", "<|Assistant|>"),
    *control("<|EOT|>"),
)
_DEEPSEEK_V2_TOKENS = (
    *control("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    *plain("<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜completion｜>", "<｜User｜>", "<｜Assistant｜>"),
    *control("<|EOT|>"),
)
_DEEPSEEK_V4 = _llama("DeepseekV4ForCausalLM", "deepseek_v4", max_position_embeddings=1048576) | {
    "num_key_value_heads": 1,
    "head_dim": 8,
    "qk_rope_head_dim": 4,
    "q_lora_rank": 16,
    "o_groups": 2,
    "o_lora_rank": 8,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "layer_types": ["sliding_attention", "compressed_sparse_attention"],
    "num_hash_layers": 1,
    "sliding_window": 64,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 8,
    "hc_mult": 2,
}
_LLAMA_TOKENS = control("<unk>", "<s>", "</s>")
_CODELLAMA_PIECES = (
    *("▁<SU", "▁<SUF", "▁<PRE", "▁<M", "▁<MID", "▁<E", "▁<EOT"),
    *("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),
)
_CODELLAMA = _llama(max_position_embeddings=16384, rope_theta=1e6, bos_token_id=1, eos_token_id=2)
_GEMMA_TOKENS = (
    *control("<pad>", "<eos>", "<bos>", "<unk>"),
    *plain("<mask>", "<2mass>", "[@BOS@]", *(f"<unused{n}>" for n in range(60))),
    *plain("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_separator|>"),
    *plain(*(f"<unused{n}>" for n in range(64, 99))),
    *control("<start_of_turn>", "<end_of_turn>"),
)
_GRANITE4_TOKENS = control(
    *("<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|filename|>"),
    *("<|reponame|>", "<|start_of_role|>", "<|end_of_role|>", "<|unk|>", "<|pad|>"),
)
_CODEGEN_TOKENS = (
    *control("<|endoftext|>"),
    *plain(*_runs(" ", 31), *_runs("\t", 9), normalized=True),
)
_CODEGEN = _gpt("CodeGenForCausalLM", "codegen", activation_function="gelu_new", rotary_dim=4, bos_token_id=1)
_CODEGEN |= {"eos_token_id": 400, "tokenizer_class": "GPT2Tokenizer"}
_CODEGEN_WEIGHT = "transformer.h.0.attn.qkv_proj.weight"
_CODEGEN2_TOKENS = (*_CODEGEN_TOKENS, *control("<sep>", "<eom>", "<mask_3>", "<mask_2>", "<mask_1>"))
_CODEGEN2_PSM = (P, 443, S, 400, 439, 443)
_CODEGEN2_CODE = {
    "AutoConfig": "configuration_codegen.CodeGenConfig",
    "AutoModelForCausalLM": "modeling_codegen.CodeGenForCausalLM",
}
_MELLUM2 = _llama("MellumForCausalLM", "mellum", max_position_embeddings=131072) | {
    "head_dim": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 1024,
    "mlp_layer_types": ["sparse", "sparse"],
    "moe_intermediate_size": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 500000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    },
}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_n_groups": 1}
_CODEGEEX = "configuration_chatglm.ChatGLMConfig"
_SANTACODER = {"bos_token_id": 400, "eos_token_id": 400, "activation_function": "gelu_fast", "n_positions": 2048}

FAMILIES: dict[str, Row] = {
    "santacoder": Row(
        repo="bigcode/gpt_bigcode-santacoder",
        family="SantaCoder",
        config=_big_code(bos_token_id=400, eos_token_id=400),
        pipeline=DIGITS,
        added=_SANTACODER_TOKENS,
        eos=(400,),
        psm=_SANTACODER_PSM,
        spm=_SANTACODER_SPM,
        weight=_BIG_CODE_WEIGHT,
    ),
    "santacoder_first": Row(
        repo="bigcode/santacoder",
        family="SantaCoder",
        config=_gpt("GPT2LMHeadCustomModel", "gpt2", attention_head_type="multiquery", **_SANTACODER)
        | {
            "auto_map": {
                "AutoConfig": "configuration_gpt2_mq.GPT2CustomConfig",
                "AutoModelForCausalLM": "modeling_gpt2_mq.GPT2LMHeadCustomModel",
            }
        },
        pipeline=DIGITS,
        added=_SANTACODER_TOKENS,
        eos=(400,),
        psm=_SANTACODER_PSM,
        spm=_SANTACODER_SPM,
        pickles=1,
        weight="transformer.h.0.attn.kv_attn.weight",
        stored=_with_conv1d,
        twin=_big_code(**_SANTACODER),
    ),
    "starcoder": Row(
        repo="bigcode/starcoderbase-1b",
        family="StarCoder",
        config=_big_code(n_positions=8192),
        pipeline=DIGITS,
        first=_STARCODER_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        psm=_STARCODER_PSM,
        spm=_STARCODER_SPM,
        weight=_BIG_CODE_WEIGHT,
    ),
    "tiny_starcoder": Row(
        repo="bigcode/tiny_starcoder_py",
        family="StarCoder",
        config=_big_code(n_positions=8192),
        pipeline=DIGITS,
        first=_STARCODER_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        psm=_STARCODER_PSM,
        spm=_STARCODER_SPM,
        pickles=1,
        weight=_BIG_CODE_WEIGHT,
    ),
    "starchat": Row(
        repo="HuggingFaceH4/starchat-beta",
        family="StarChat",
        config=_big_code(n_positions=8192),
        pipeline=DIGITS,
        first=_STARCODER_TOKENS,
        added=control("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        complete=(400, "\n", 403, "\n", 401, "\nContinue this code.", 403, "\n", 402, "\n```python\n", P),
        weight=_BIG_CODE_WEIGHT,
    ),
    "starcoder2": Row(
        repo="bigcode/starcoder2-3b",
        family="StarCoder2",
        # A window shorter than the longest prompt here, as the real one, 4096, is shorter than the context.
        config=_llama("Starcoder2ForCausalLM", "starcoder2", hidden_act="gelu_pytorch_tanh", sliding_window=64)
        | {"norm_epsilon": 1e-5, "use_bias": True, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True},
        pipeline=DIGITS,
        first=_STARCODER2_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        psm=_STARCODER_PSM,
        spm=_STARCODER_SPM,
        weight="model.layers.0.mlp.c_fc.weight",
    ),
    "codegen": Row(
        repo="Salesforce/codegen-350M-mono",
        family="CodeGen",
        config=_CODEGEN,
        pipeline=GPT2,
        added=_CODEGEN_TOKENS,
        tokenizer_class="CodeGenTokenizer",
        eos=(400,),
        pickles=1,
        weight=_CODEGEN_WEIGHT,
    ),
    "codegen2": Row(
        repo="Salesforce/codegen2-7B_P",
        family="CodeGen2",
        config=_CODEGEN | {"auto_map": _CODEGEN2_CODE},
        pipeline=GPT2,
        # unverified: which of the tokens come in which order
        added=_CODEGEN2_TOKENS,
        tokenizer_class="CodeGenTokenizer",
        eos=(400,),
        psm=_CODEGEN2_PSM,
        pickles=1,
        weight=_CODEGEN_WEIGHT,
    ),
    "codegen2_1b": Row(
        repo="Salesforce/codegen2-1B_P",
        family="CodeGen2",
        # As wide as a head of the 1B's is, because that is what tells its layout.
        config=_CODEGEN
        | {"auto_map": _CODEGEN2_CODE, "head_dim": 128, "n_head": 8, "n_embd": 1024, "n_layer": 1, "rotary_dim": 64}
        | {"initializer_range": 0.05},
        pipeline=GPT2,
        added=_CODEGEN2_TOKENS,
        tokenizer_class="CodeGenTokenizer",
        eos=(400,),
        psm=_CODEGEN2_PSM,
        pickles=1,
        weight=_CODEGEN_WEIGHT,
        stored=_for_eight_cores,
    ),
    "codegen25": Row(
        repo="Salesforce/codegen25-7b-multi_P",
        family="CodeGen2.5",
        config=_llama(max_position_embeddings=2048, bos_token_id=399, eos_token_id=399, torch_dtype="float32"),
        # As its code builds it from GPT-2's: `<|endoftext|>` is GPT-2's last, 50256, and runs of spaces come behind.
        pipeline=GPT2_WITH_END,
        pieces=(*_runs("Ġ", 31), *_runs("ĉ", 9)),
        added=control(
            *("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>", "<gh_stars>"),
            *("<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>"),
            *("<jupyter_code>", "<jupyter_output>", "<empty_output>", "<commit_before>", "<commit_msg>"),
            *("<commit_after>", "<reponame>", *(f"<dummy_{n}>" for n in range(4)), "<sep>", "<eom>"),
            *(f"<mask_{n}>" for n in range(881, 0, -1)),
        ),
        tokenizer_class="CodeGen25Tokenizer",
        eos=(399,),
        psm=(P, 1342, S, 399, 460, 1342),
        pickles=2,
        weight="model.layers.0.mlp.gate_proj.weight",
        tokenizer_config={"auto_map": {"AutoTokenizer": ["tokenization_codegen25.CodeGen25Tokenizer", None]}},
        tokenizer_file=False,
    ),
    "codellama": Row(
        repo="codellama/CodeLlama-7b-hf",
        family="CodeLlama",
        config=_CODELLAMA,
        pipeline=LLAMA,
        first=_LLAMA_TOKENS,
        pieces=_CODELLAMA_PIECES,
        tokenizer_class="CodeLlamaTokenizer",
        bos="<s>",
        eos=(2,),
        psm=(1, 519, P, 520, S, 521),
        spm=(1, 519, 520, S, 521, P),
        complete=(1, P),
        unspaced=True,
        weight="model.layers.0.self_attn.q_proj.weight",
        tokenizer_config={
            "prefix_token": "▁<PRE>",
            "middle_token": "▁<MID>",
            "suffix_token": "▁<SUF>",
            "eot_token": "▁<EOT>",
            "fill_token": "<FILL_ME>",
            "suffix_first": False,
        },
    ),
    "codellama_python": Row(
        repo="codellama/CodeLlama-7b-Python-hf",
        family="CodeLlama",
        alone="llama",
        config=_CODELLAMA,
        pipeline=LLAMA,
        first=_LLAMA_TOKENS,
        tokenizer_class="CodeLlamaTokenizer",
        bos="<s>",
        eos=(2,),
        complete=(1, P),
        weight="model.layers.0.self_attn.q_proj.weight",
    ),
    "deepseek": Row(
        repo="deepseek-ai/deepseek-coder-1.3b-base",
        family="DeepSeek-Coder",
        config=_llama(rope_theta=100000, rope_scaling={"type": "linear", "factor": 4.0})
        | {"bos_token_id": 413, "eos_token_id": 414},
        pipeline=DEEPSEEK,
        added=_DEEPSEEK_TOKENS,
        tokenizer_class="LlamaTokenizerFast",
        bos="<｜begin▁of▁sentence｜>",
        eos=(414,),
        psm=(413, 416, P, 415, S, 417),
        complete=(413, P),
        weight="model.layers.0.mlp.gate_proj.weight",
    ),
    "deepseek_v2": Row(
        repo="deepseek-ai/DeepSeek-Coder-V2-Lite-Base",
        family="DeepSeek-Coder-V2",
        config=_llama("DeepseekV2ForCausalLM", "deepseek_v2", max_position_embeddings=163840, num_key_value_heads=4)
        | {"kv_lora_rank": 16, "q_lora_rank": None, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
        | {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
        | {"first_k_dense_replace": 1, "topk_method": "greedy", "n_group": 1, "topk_group": 1}
        | {"bos_token_id": 400, "eos_token_id": 401}
        | {
            "auto_map": {
                "AutoConfig": "configuration_deepseek.DeepseekV2Config",
                "AutoModelForCausalLM": "modeling_deepseek.DeepseekV2ForCausalLM",
            }
        },
        pipeline=DEEPSEEK_V2,
        # unverified: the places of the tokens
        added=_DEEPSEEK_V2_TOKENS,
        tokenizer_class="LlamaTokenizerFast",
        bos="<｜begin▁of▁sentence｜>",
        eos=(401,),
        psm=(400, 403, P, 402, S, 404),
        complete=(400, P),
        weight=_EXPERT,
    ),
    "deepseek_v4": Row(
        repo="deepseek-ai/DeepSeek-V4-Flash",
        family="DeepSeek-V4",
        config=_DEEPSEEK_V4 | {"bos_token_id": 0, "eos_token_id": 1},
        # unverified: the pre-tokenizer is DeepSeek-V2's, and that the tokenizer puts a token before a text
        pipeline=DEEPSEEK_V2,
        first=control("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"),
        added=plain("<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>"),
        bos="<｜begin▁of▁sentence｜>",
        eos=(1,),
        psm=(0, 401, P, 400, S, 402),
        complete=(0, P),
        weight="head.weight",
    ),
    "codeqwen": Row(
        repo="Qwen/CodeQwen1.5-7B",
        family="CodeQwen1.5",
        config=_llama("Qwen2ForCausalLM", "qwen2", max_position_embeddings=65536, use_sliding_window=False)
        | {"bos_token_id": 2, "eos_token_id": 2},
        # unverified: the vendor's is SentencePiece, but whether it puts a space before a text, and the places of its tokens
        pipeline=GEMMA,
        first=control("<unk>", "<s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        added=control("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<reponame>", "<file_sep>"),
        eos=(2,),
        psm=(512, P, 514, S, 513),
        weight="model.layers.0.self_attn.q_proj.bias",
        seed=1,
    ),
    "qwen": Row(
        repo="Qwen/Qwen2.5-Coder-1.5B",
        family="Qwen2.5-Coder",
        config=_llama("Qwen2ForCausalLM", "qwen2", max_position_embeddings=32768, rope_theta=1e6)
        | {"bos_token_id": 400, "eos_token_id": 400, "use_sliding_window": False, "max_window_layers": 28}
        | {"sliding_window": 131072, "tie_word_embeddings": True},
        pipeline=QWEN,
        added=_QWEN_TOKENS,
        tokenizer_class="Qwen2Tokenizer",
        eos=(400,),
        psm=_QWEN_PSM,
        weight="model.layers.0.self_attn.q_proj.bias",
    ),
    "qwen3": Row(
        repo="Qwen/Qwen3-Coder-30B-A3B-Instruct",
        family="Qwen3-Coder",
        config=_llama("Qwen3MoeForCausalLM", "qwen3_moe", max_position_embeddings=262144, rope_theta=1e7)
        | {"head_dim": 8, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
        | {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "eos_token_id": 402},
        pipeline=QWEN,
        added=(*_QWEN_TOKENS, *plain("<tool_response>", "</tool_response>", "<think>", "</think>")),
        tokenizer_class="Qwen2Tokenizer",
        eos=(402, 400),
        psm=_QWEN_PSM,
        weight=_EXPERT,
    ),
    "qwen3_next": Row(
        repo="Qwen/Qwen3-Coder-Next",
        family="Qwen3-Coder",
        config=_llama("Qwen3NextForCausalLM", "qwen3_next", max_position_embeddings=262144, rope_theta=5e6)
        | {"head_dim": 8, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
        | {"shared_expert_intermediate_size": 16, "norm_topk_prob": True, "decoder_sparse_step": 1}
        | {"mlp_only_layers": [], "full_attention_interval": 2, "partial_rotary_factor": 0.5}
        | {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
        | {"linear_value_head_dim": 8, "linear_conv_kernel_dim": 4, "eos_token_id": 402},
        pipeline=QWEN,
        # unverified: that its tokens are at the places of Qwen3-Coder-30B's
        added=(*_QWEN_TOKENS, *plain("<tool_response>", "</tool_response>", "<think>", "</think>")),
        tokenizer_class="Qwen2Tokenizer",
        eos=(402, 400),
        psm=_QWEN_PSM,
        weight="model.layers.0.linear_attn.in_proj_qkvz.weight",
    ),
    "codegemma": Row(
        repo="google/codegemma-2b",
        family="CodeGemma",
        config=_llama("GemmaForCausalLM", "gemma", max_position_embeddings=8192, num_key_value_heads=1)
        | {"hidden_act": "gelu", "hidden_activation": None, "head_dim": 8, "tie_word_embeddings": True}
        | {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0},
        pipeline=GEMMA,
        first=_GEMMA_TOKENS,
        tokenizer_class="GemmaTokenizer",
        bos="<bos>",
        eos=(1,),
        psm=(2, 67, P, 69, S, 68),
        complete=(2, P),
        weight="model.layers.0.mlp.gate_proj.weight",
        seed=1,
    ),
    "codestral": Row(
        repo="mistralai/Codestral-22B-v0.1",
        family="Codestral",
        config=_llama("MistralForCausalLM", "mistral", max_position_embeddings=32768, rope_theta=1e6, head_dim=8)
        | {"sliding_window": None, "bos_token_id": 1, "eos_token_id": 2},
        pipeline=METASPACE,
        first=control(
            *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
            *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[IMG]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"),
        ),
        tokenizer_class="LlamaTokenizer",
        bos="<s>",
        eos=(2,),
        spm=(1, 13, S, 11, P),
        complete=(1, P),
        unspaced=True,
        weight="model.layers.0.mlp.gate_proj.weight",
    ),
    "granite_code": Row(
        repo="ibm-granite/granite-3b-code-base-2k",
        family="Granite Code",
        config=_llama(attention_bias=True, mlp_bias=True, max_position_embeddings=2048, tie_word_embeddings=True)
        | {"bos_token_id": 0, "eos_token_id": 0},
        pipeline=DIGITS,
        first=_STARCODER_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        psm=_STARCODER_PSM,
        spm=_STARCODER_SPM,
        weight="model.layers.0.mlp.gate_proj.bias",
    ),
    "granite_code_20b": Row(
        repo="ibm-granite/granite-20b-code-base-8k",
        family="Granite Code",
        alone="StarCoder",  # whose architecture and prompts it has
        config=_big_code(n_positions=8192),
        pipeline=DIGITS,
        first=_STARCODER_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        psm=_STARCODER_PSM,
        spm=_STARCODER_SPM,
        weight=_BIG_CODE_WEIGHT,
    ),
    "granite33": Row(
        repo="ibm-granite/granite-3.3-2b-base",
        family="Granite 3.3",
        config=_llama("GraniteForCausalLM", "granite", max_position_embeddings=131072, tie_word_embeddings=True)
        | {"attention_multiplier": 0.35, "embedding_multiplier": 1.5, "logits_scaling": 3, "residual_multiplier": 2.0}
        | {"bos_token_id": 0, "eos_token_id": 0},
        pipeline=DIGITS,
        first=(*control("<|end_of_text|>"), *_STARCODER_TOKENS[1:]),
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        psm=_STARCODER_PSM,
        weight="model.layers.0.mlp.gate_proj.weight",
    ),
    "granite4": Row(
        repo="ibm-granite/granite-4.0-h-350m-base",
        family="Granite 4",
        config=_llama("GraniteMoeHybridForCausalLM", "granitemoehybrid", max_position_embeddings=32768)
        | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 48, "num_local_experts": 0}
        | {"num_experts_per_tok": 0, "position_embedding_type": "nope", "tie_word_embeddings": True}
        | {"attention_multiplier": 0.35, "embedding_multiplier": 1.5, "logits_scaling": 3, "residual_multiplier": 2.0}
        | {"bos_token_id": 400, "eos_token_id": 400}
        | _MAMBA,
        pipeline=LLAMA3,
        # unverified: the places of the tokens
        added=_GRANITE4_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(400,),
        psm=(401, P, 403, S, 402),
        weight="model.layers.0.mamba.in_proj.weight",
    ),
    "granite4_dense": Row(
        repo="ibm-granite/granite-4.0-350m-base",
        family="Granite 4",
        config=_llama("GraniteForCausalLM", "granite", max_position_embeddings=32768, tie_word_embeddings=True)
        | {"attention_multiplier": 0.35, "embedding_multiplier": 1.5, "logits_scaling": 3, "residual_multiplier": 2.0}
        | {"bos_token_id": 400, "eos_token_id": 400},
        pipeline=LLAMA3,
        # unverified: the places of the tokens
        added=_GRANITE4_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(400,),
        psm=(401, P, 403, S, 402),
        weight="model.layers.0.mlp.gate_proj.weight",
    ),
    "stable_code": Row(
        repo="stabilityai/stable-code-3b",
        family="Stable Code",
        config=_llama("StableLmForCausalLM", "stablelm", partial_rotary_factor=0.25, num_key_value_heads=4)
        | {"layer_norm_eps": 1e-5, "use_qkv_bias": False, "hidden_size": 64, "bos_token_id": 0, "eos_token_id": 0},
        pipeline=NEOX,
        # unverified: the places of the tokens
        first=control("<|endoftext|>", "<|padding|>"),
        added=(
            *plain(*_runs(" ", 24), normalized=True),
            *control("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>", "<reponame>"),
        ),
        tokenizer_class="GPTNeoXTokenizer",
        eos=(0,),
        psm=(423, P, 425, S, 424),
        weight="model.layers.0.input_layernorm.bias",
    ),
    "incoder": Row(
        repo="facebook/incoder-1B",
        family="InCoder",
        config={
            "architectures": ["XGLMForCausalLM"],
            "model_type": "xglm",
            "d_model": 32,
            "ffn_dim": 48,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 2048,
            "init_std": _WIDE,
            "scale_embedding": False,  # the vendor scales, but tied embeddings as wide as these would repeat a token
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "float32",
        },
        # unverified: the pre-tokenizer is the paper's description, and the places of the masks
        pipeline=LINES,
        first=control("<|x|>", "<pad>", "<|endoftext|>", "<|unk|>"),
        added=(*control("<|endofmask|>"), *control(*(f"<|mask:{n}|>" for n in range(4)))),
        bos="<|endoftext|>",
        eos=(2,),
        psm=(2, P, 401, S, 402, 401),
        complete=(2, P),
        pickles=1,
        weight="model.layers.0.self_attn.q_proj.weight",
    ),
    "aixcoder": Row(
        repo="aiXcoder/aixcoder-7b-base",
        family="aiXcoder",
        config=_llama(max_position_embeddings=32768, rope_theta=256000, bos_token_id=1, eos_token_id=2),
        # unverified: the places of the tokens, and that there is a tokenizer.json beside tokenizer.model
        pipeline=LLAMA,
        first=_LLAMA_TOKENS,
        added=control("▁<AIX-SPAN-PRE>", "▁<AIX-SPAN-MIDDLE>", "▁<AIX-SPAN-POST>"),
        tokenizer_class="LlamaTokenizer",
        bos="<s>",
        eos=(2,),
        spm=(1, 512, 514, S, 513, P),
        complete=(1, P),
        unspaced=True,
        weight="model.layers.0.mlp.gate_proj.weight",
    ),
    "seed_coder": Row(
        repo="ByteDance-Seed/Seed-Coder-8B-Base",
        family="Seed-Coder",
        config=_llama(max_position_embeddings=32768, rope_theta=500000.0, bos_token_id=0, eos_token_id=2),
        pipeline=SEED,
        first=control(
            *("<[begin▁of▁sentence]>", "<[PAD▁TOKEN]>", "<[end▁of▁sentence]>", "<[fim-prefix]>", "<[fim-suffix]>"),
            "<[fim-middle]>",
        ),
        bos="<[begin▁of▁sentence]>",
        eos=(2,),
        spm=(0, 4, S, 3, P, 5),
        complete=(0, P),
        weight="model.layers.0.mlp.gate_proj.weight",
    ),
    "mellum": Row(
        repo="JetBrains/Mellum-4b-base",
        family="Mellum",
        config=_llama(max_position_embeddings=8192, bos_token_id=0, eos_token_id=0),
        pipeline=GPT2,
        first=_STARCODER_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        spm=_SUFFIX_FIRST,
        weight="model.layers.0.mlp.gate_proj.weight",
    ),
    "mellum2": Row(
        repo="JetBrains/Mellum2-12B-A2.5B-Base",
        family="Mellum",
        config=_MELLUM2 | {"bos_token_id": 0, "eos_token_id": 0},
        pipeline=DIGITS,
        # unverified: the places of the tokens
        first=_STARCODER_TOKENS,
        eos=(0,),
        spm=_SUFFIX_FIRST,
        weight=_EXPERT,
    ),
    "glm45": Row(
        repo="zai-org/GLM-4.5-Base",
        family="GLM-4.5",
        config=_llama("Glm4MoeForCausalLM", "glm4_moe", max_position_embeddings=131072, rope_theta=1e6)
        | {"head_dim": 8, "partial_rotary_factor": 0.5, "attention_bias": True, "use_qk_norm": True}
        | {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
        | {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "norm_topk_prob": True}
        | {"routed_scaling_factor": 2.5, "eos_token_id": [400, 407, 409]},
        # unverified: the pre-tokenizer, and that the tokenizer puts nothing before a text
        pipeline=LLAMA3,
        added=control(
            *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>"),
            *("<|assistant|>", "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>"),
            *("<|end_of_video|>", "<|begin_of_audio|>", "<|end_of_audio|>", "<|begin_of_transcription|>"),
            *("<|end_of_transcription|>", "<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>"),
        ),
        eos=(400, 407, 409),
        psm=(418, P, 420, S, 419),
        weight=_EXPERT,
    ),
    "falcon_h1": Row(
        repo="tiiuae/Falcon-H1-Tiny-Coder-90M",
        family="Falcon-H1-Tiny-Coder",
        config=_llama("FalconH1ForCausalLM", "falcon_h1", max_position_embeddings=8192, head_dim=8)
        | {"mamba_d_ssm": 64, "mamba_expand": 2, "mamba_chunk_size": 16, "mlp_multipliers": [1.0, 1.0]}
        | {"ssm_multipliers": [1.0, 1.0, 1.0, 1.0, 1.0], "bos_token_id": 1, "eos_token_id": 11, "pad_token_id": 0}
        | _MAMBA,
        pipeline=LLAMA3,
        # unverified: the places of the tokens, and that none stands before a text
        first=control("<|pad|>", ">>TITLE<<", *(f">>UNUSED_{n}<<" for n in range(9)), "<|end_of_text|>"),
        added=control("<|prefix|>", "<|suffix|>", "<|middle|>"),
        eos=(11,),
        psm=(400, P, 401, S, 402),
        weight="model.layers.0.mamba.in_proj.weight",
    ),
    "smollm2": Row(
        repo="HuggingFaceTB/SmolLM2-135M",
        family="llama",
        config=_llama(max_position_embeddings=8192, rope_theta=100000, tie_word_embeddings=True)
        | {"bos_token_id": 0, "eos_token_id": 0, "is_llama_config": True, "rope_interleaved": False},
        pipeline=DIGITS,
        first=control(
            *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>"),
            *("<gh_stars>", "<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>"),
            *("<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<jupyter_script>", "<empty_output>"),
        ),
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        weight="model.layers.0.mlp.gate_proj.weight",
    ),
    "refact": Row(
        repo="smallcloudai/Refact-1_6B-fim",
        family="Refact",
        config=_gpt("GPTRefactForCausalLM", "gpt_refact", n_positions=4096, eos_token_id=0, multi_query=True)
        | {
            "auto_map": {
                "AutoConfig": "configuration_gpt_refact.GPTRefactConfig",
                "AutoModelForCausalLM": "modeling_gpt_refact.GPTRefactForCausalLM",
            }
        },
        pipeline=DIGITS,
        first=_STARCODER_TOKENS,
        tokenizer_class="GPT2Tokenizer",
        eos=(0,),
        code=True,
    ),
    "codegeex4": Row(
        repo="THUDM/codegeex4-all-9b",
        family="CodeGeeX4",
        config={
            "architectures": ["ChatGLMForConditionalGeneration"],
            "model_type": "chatglm",
            "auto_map": {"AutoConfig": _CODEGEEX, "AutoModelForCausalLM": "modeling_chatglm.ChatGLMForCausalLM"},
            "hidden_size": 32,
            "num_layers": 2,
            "seq_length": 131072,
        },
        pipeline=LLAMA3,
        added=control("<|endoftext|>", "<|user|>", "<|assistant|>", "<|code_prefix|>", "<|code_suffix|>"),
        eos=(400,),
        code=True,
    ),
}
NATIVE = tuple(name for name, row in FAMILIES.items() if not row.code)
INFILLING = tuple(name for name in NATIVE if FAMILIES[name].psm or FAMILIES[name].spm)
SPELLING_CANNOT_TELL = ("mellum", "granite33")
"""Those of which nothing in the checkpoint tells the family."""


# --- writing them --------------------------------------------------------------------------------


@functools.cache
def _trained(name: str, size: int) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Pieces and merges of `size` in all, trained with the pipeline called `name` on a little Python."""
    pipeline: Pipeline = globals()[name]
    backend = Tokenizer(models.BPE())
    corpus = [*CORPUS, *_MORE]
    if pipeline.sentencepiece:
        # Pieces begin with the space before a word, and newlines are bytes, as in Llama's vocabulary.
        backend.normalizer = _SPACES
        backend.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
        alphabet = [*(chr(code) for code in range(33, 127)), "▁", "☺"]
        corpus = [line for text in corpus for line in text.splitlines()]
    else:
        backend.normalizer, backend.pre_tokenizer = pipeline.normalizer, pipeline.pre_tokenizer
        letters = pre_tokenizers.ByteLevel.alphabet()
        alphabet = [letter for letter in letters if pipeline is not DEEPSEEK or letter not in _NO_BYTES]
    if name.startswith("GPT2"):
        corpus = [re.sub(" +", " ", text) for text in corpus]  # GPT-2 knows no runs of spaces
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(corpus * 4, trainer)
    model = json.loads(backend.to_str())["model"]
    assert len(model["vocab"]) == size
    return tuple(model["vocab"]), tuple((left, right) for left, right in model["merges"])


def _name_of(pipeline: Pipeline) -> str:
    return next(name for name, value in globals().items() if value is pipeline)


def _vocabulary(row: Row) -> tuple[list[str], list[tuple[str, str]]]:
    """The family's pieces in the order of their ids, and its merges, without the tokens that are added behind."""
    first = [token.content for token in row.first]
    if row.pipeline.sentencepiece:
        bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
        more = ["▁▁", "▁▁▁▁", *(("▁<", "SU", "PR", "PRE", "ID", "OT") if row.pieces else ())]
        pieces, merges = _trained(_name_of(row.pipeline), SENTENCEPIECE_SIZE - len(first) - len(bytes_) - len(more))
        vocabulary, more = [*first, *bytes_, *pieces], [*more, *row.pieces]
    else:
        end = ["<|endoftext|>"] if row.pipeline is GPT2_WITH_END else []
        pieces, merges = _trained(_name_of(row.pipeline), BYTE_LEVEL_SIZE - len(first) - len(end))
        vocabulary, more = [*first, *pieces, *end], list(row.pieces)
    known = {*vocabulary, *more}
    halves = [next((p[:at], p[at:]) for at in range(len(p) - 1, 0, -1) if {p[:at], p[at:]} <= known) for p in more]
    return [*vocabulary, *more], [*merges, *halves]


def tokenizer_json(row: Row) -> str:
    """Return the text of the family's tokenizer.json."""
    vocabulary, merges = _vocabulary(row)
    ids = {piece: at for at, piece in enumerate(vocabulary)}
    assert len(ids) == len(vocabulary)
    sentencepiece = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    backend = Tokenizer(models.BPE(ids, merges, **(sentencepiece if row.pipeline.sentencepiece else {})))
    for step in ("normalizer", "pre_tokenizer", "decoder"):
        setattr(backend, step, getattr(row.pipeline, step))
    written = json.loads(backend.to_str())
    infix = [token for token in control(*row.pieces) if token.content.endswith(">")]
    end = control("<|endoftext|>") if row.pipeline is GPT2_WITH_END else ()
    added = [*row.first, *end, *infix, *row.added]
    for at, token in enumerate(row.added):
        ids[token.content] = len(vocabulary) + at
    written["added_tokens"] = [
        {
            "id": ids[token.content],
            "content": token.content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": token.normalized,
            "special": token.special,
        }
        for token in sorted(added, key=lambda token: ids[token.content])
    ]
    if row.bos:
        bos = {"SpecialToken": {"id": row.bos, "type_id": 0}}
        written["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {row.bos: {"id": row.bos, "ids": [ids[row.bos]], "tokens": [row.bos]}},
        }
    return json.dumps(written, ensure_ascii=False)


def raw(row: Row) -> Tokenizer:
    """Return the library's own reading of the family's tokenizer.json."""
    return Tokenizer.from_str(tokenizer_json(row))


def write(row: Row, folder: Path) -> Path:
    """Write the family's checkpoint to `folder`, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = raw(row)
    end = tokens.id_to_token(row.eos[0])
    texts: dict[str, Any] = {
        "config.json": _config(row, row.config),
        "generation_config.json": {"eos_token_id": list(row.eos) if len(row.eos) > 1 else row.eos[0]},
        "special_tokens_map.json": {"bos_token": row.bos or None, "eos_token": end},
        "tokenizer_config.json": {
            "tokenizer_class": row.tokenizer_class,
            "add_bos_token": bool(row.bos),
            "bos_token": row.bos or None,
            "eos_token": end,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1000000000000000019884624838656,
            **row.tokenizer_config,
        },
    }
    _write_weights(row, folder)
    for name, value in texts.items():
        (folder / name).write_text(json.dumps(value, ensure_ascii=False), "utf-8")
    if row.tokenizer_file:
        (folder / "tokenizer.json").write_text(tokenizer_json(row), "utf-8")
    modules = [*row.config.get("auto_map", {}).values(), *row.tokenizer_config.get("auto_map", {}).values()]
    for module in modules:
        target = module if isinstance(module, str) else module[0]
        # Would tell if it ran.
        (folder / f"{target.partition('.')[0]}.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\n")
    return folder


def _config(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    rows = -(-raw(row).get_vocab_size() // 16) * 16  # more than there are tokens, as most vendors have it
    return {**values, "vocab_size": rows, "transformers_version": "4.36.0"}


def model_of(row: Row) -> Any:
    """Return the model whose weights are in the family's checkpoint: transformers' own class, and read from no file."""
    torch.manual_seed(row.seed)
    values = _config(row, row.twin or row.config)
    values.pop("auto_map", None)
    config = AutoConfig.for_model(**values)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    as_float16_holds_them(model)
    return model


def _write_weights(row: Row, folder: Path) -> None:
    if row.code:
        (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")  # nothing here could read them
        return
    model_of(row).save_pretrained(folder)
    if not row.pickles:
        return
    weights = row.stored(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    if row.pickles == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return
    names = [f"pytorch_model-{n:05}-of-{row.pickles:05}.bin" for n in range(1, row.pickles + 1)]
    where = {weight: names[at % row.pickles] for at, weight in enumerate(weights)}
    for name in names:
        torch.save({weight: weights[weight] for weight in weights if where[weight] == name}, folder / name)
    size = sum(weight.nbytes for weight in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def write_gpt2(folder: Path) -> Path:
    """Write the tokenizer that CodeGen2.5's is made from, as small as it is here, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    row = replace(FAMILIES["codegen25"], pieces=(), added=())
    (folder / "tokenizer.json").write_text(tokenizer_json(row), "utf-8")
    return folder


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def in_hub_cache(repo: str, cache: Path) -> Path:
    """Return the folder that the Hugging Face cache at `cache` has for `repo`, with its main branch at `COMMIT`."""
    repository = cache / f"models--{repo.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT
