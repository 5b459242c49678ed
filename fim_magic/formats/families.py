"""The prompt formats of the model families, as a table.

Every row says where it comes from. Where a client of a model disagrees with the model's vendor, the vendor is followed.
Templates are stored literally: there are two suffix-first layouts in use, and neither follows from the other.
"""

from __future__ import annotations

from fim_magic.formats.family import Family, Layout, Part, Template, Text


def _psm(prefix: str, suffix: str, middle: str) -> Template:
    return (prefix, Part.PREFIX, suffix, Part.SUFFIX, middle)


def _spm_prefix_last(prefix: str, suffix: str, middle: str) -> Template:
    """Suffix first, "variant 2" of the FIM paper (arXiv 2207.14255, section 3): the prefix runs into the middle."""
    return (prefix, suffix, Part.SUFFIX, middle, Part.PREFIX)


def _spm_middle_last(prefix: str, suffix: str, middle: str) -> Template:
    """Suffix first, the other layout: each text behind its own sentinel, and the middle sentinel last."""
    return (suffix, Part.SUFFIX, prefix, Part.PREFIX, middle)


_STARCODER = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
_PIPES = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_DEEPSEEK = ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")  # the names mislead: "hole" begins the suffix
_SEED = ("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>")
_GLM = ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>")

_COMPLETING = frozenset({""})

_QWEN_LAYOUT = Layout(
    repository=("<|repo_name|>", Part.REPOSITORY, Text("\n")),
    file=("<|file_sep|>", Part.PATH, Text("\n"), Part.CODE, Text("\n")),
    own=("<|file_sep|>", Part.PATH, Text("\n")),
)
# The vendor's examples disagree with each other; without <|fim_pad|> and <|file_sep|> it runs on.
_QWEN_STOP = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *_PIPES, "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")

_MELLUM_LAYOUT = Layout(
    file=("<filename>", Part.PATH, Text("\n"), Part.CODE, Text("\n")),
    own=("<filename>", Part.PATH, Text("\n")),
)

FAMILIES: tuple[Family, ...] = (
    Family(
        name="SantaCoder",
        model_types=("gpt_bigcode",),
        psm=_psm("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
        spm=_spm_prefix_last("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
        stop=("<|endoftext|>", "<fim-pad>", "<|filename|>"),
        heals=_COMPLETING,
        source="bigcode-project/bigcode-evaluation-harness: bigcode_eval/tasks/santacoder_fim.py; "
        "loubnabnl/santacoder-finetuning: fim.py",
    ),
    Family(
        # Before StarCoder, whose sentinels it keeps: a chat model, and no vendor claims that it still infills.
        name="StarChat",
        model_types=("gpt_bigcode",),
        complete=(
            "<|system|>",
            Text("\n"),
            "<|end|>",
            Text("\n"),
            "<|user|>",
            Text("\nContinue this code."),
            "<|end|>",
            Text("\n"),
            "<|assistant|>",
            # The assistant's answer has already begun with the user's code, so what follows is what continues it.
            Text("\n```python\n"),
            Part.PREFIX,
        ),
        stop=("<|end|>", "<|endoftext|>"),
        context_length=8192,
        source="bigcode-project/starcoder: chat/dialogues.py, chat/generate.py",
        why_not="it is a chat model, and was not trained to see what stands after the hole",
    ),
    Family(
        name="StarCoder",
        model_types=("gpt_bigcode",),
        psm=_psm(*_STARCODER),
        spm=_spm_prefix_last(*_STARCODER),
        stop=("<|endoftext|>", "<fim_pad>", "<file_sep>", "<filename>", "<reponame>"),
        context_length=8192,
        heals=_COMPLETING,
        source="bigcode-project/Megatron-LM: megatron/tokenizer/tokenizer.py, megatron/data/gpt_dataset.py",
    ),
    Family(
        name="StarCoder2",
        model_types=("starcoder2",),
        psm=_psm(*_STARCODER),
        spm=_spm_prefix_last(*_STARCODER),
        stop=("<|endoftext|>", "<fim_pad>", "<file_sep>"),
        # The path of the file with the hole stands inside its prefix, and no line end before <file_sep>.
        layout=Layout(
            repository=("<repo_name>", Part.REPOSITORY),
            file=("<file_sep>", Part.PATH, Text("\n"), Part.CODE),
            own=("<file_sep>",),
            head=(Part.PATH, Text("\n")),
        ),
        context_length=16384,
        heals=_COMPLETING,
        source="arXiv 2402.19173, sections 5.1 and 5.3, table 5; bigcode-project/starcoder2 issue 10 for <file_sep>",
    ),
    Family(
        name="CodeGen2",
        model_types=("codegen",),
        # Its prompt holds the token that ends a document, before anything is generated.
        psm=(Part.PREFIX, "<mask_1>", Part.SUFFIX, "<|endoftext|>", "<sep>", "<mask_1>"),
        stop=("<eom>", "<|endoftext|>"),
        source="arXiv 2305.02309, section 3; the model card of Salesforce/codegen2-7B",
    ),
    Family(
        name="CodeGen2.5",
        model_types=("llama",),
        psm=(Part.PREFIX, "<mask_1>", Part.SUFFIX, "<|endoftext|>", "<sep>", "<mask_1>"),
        stop=("<eom>", "<|endoftext|>", "<fim_pad>"),
        source="salesforce/CodeGen: codegen25/README.md; the model card follows CodeGen2's format",
    ),
    Family(
        name="CodeGen",
        model_types=("codegen",),
        stop=("<|endoftext|>",),
        source="salesforce/CodeGen: codegen1/README.md",
        why_not="CodeGen 1 was trained left to right only",
    ),
    Family(
        name="CodeLlama",
        model_types=("llama",),
        # U+2581 belongs to the names of the sentinels: it is not a space.
        psm=_psm("▁<PRE>", "▁<SUF>", "▁<MID>"),
        spm=_spm_prefix_last("▁<PRE>", "▁<SUF>", "▁<MID>"),
        stop=("▁<EOT>", "</s>"),
        bos="<s>",
        unspaced=frozenset({Part.SUFFIX}),
        context_length=16384,
        # Prefix and middle were encoded together for suffix-first (section 3.2 of the paper), so that order alone needs
        # token healing. Table 14: single lines 83.3 % against 74.1, random spans 39.0 % against 59.7.
        heals=frozenset({"spm", ""}),
        spm_for_lines=True,
        source="facebookresearch/codellama: llama/generation.py, infilling_prompt_tokens; arXiv 2308.12950",
    ),
    Family(
        name="DeepSeek-Coder",
        model_types=("llama",),
        psm=_psm(*_DEEPSEEK),
        stop=("<｜end▁of▁sentence｜>",),
        bos="<｜begin▁of▁sentence｜>",
        layout=Layout(
            file=(Text("#"), Part.PATH, Text("\n"), Part.CODE, Text("\n")),
            head=(Text("#"), Part.PATH, Text("\n")),
            in_prefix=True,
        ),
        context_length=16384,
        source="deepseek-ai/DeepSeek-Coder: README.md, sections 2 and 4",
    ),
    Family(
        name="DeepSeek-Coder-V2",
        model_types=("deepseek_v2",),
        psm=_psm(*_DEEPSEEK),
        stop=("<｜end▁of▁sentence｜>",),
        bos="<｜begin▁of▁sentence｜>",
        context_length=131072,
        source="deepseek-ai/DeepSeek-Coder-V2: README.md",
    ),
    Family(
        name="DeepSeek-V4",
        model_types=("deepseek_v4",),
        psm=_psm(*_DEEPSEEK),
        stop=("<｜end▁of▁sentence｜>",),
        # The source writes no token before the prompt, and leaves it to the tokenizer.
        bos=None,
        context_length=1048576,
        source="vllm-project/vllm issue 44228, with the ids of DeepSeek-V4-Flash, and pull request 44229: "
        "DeepseekV4Renderer.render_completion_suffix",
    ),
    Family(
        name="CodeQwen1.5",
        model_types=("qwen2",),
        psm=_psm(*_STARCODER),
        stop=("<|endoftext|>", "<fim_pad>", "<file_sep>"),
        context_length=65536,
        source="QwenLM/Qwen2.5-Coder: qwencoder-eval/base/benchmarks/fim-bench/utils.py; QwenLM/Qwen3-Coder issue 32",
    ),
    Family(
        name="Qwen2.5-Coder",
        model_types=("qwen2",),
        psm=_psm(*_PIPES),
        stop=_QWEN_STOP,
        layout=_QWEN_LAYOUT,
        context_length=32768,
        source="QwenLM/Qwen2.5-Coder: README.md, examples/Qwen2.5-Coder-fim.py, examples/Qwen2.5-Coder.md",
    ),
    Family(
        name="Qwen3-Coder",
        model_types=("qwen3_moe", "qwen3_next"),
        psm=_psm(*_PIPES),
        stop=_QWEN_STOP,
        layout=_QWEN_LAYOUT,
        context_length=262144,
        source="QwenLM/Qwen3-Coder: README.md, for every version and with Qwen3-Coder-Next as the example (which also "
        "shows the same prompt as a chat turn)",
    ),
    Family(
        name="CodeGemma Instruct",
        model_types=("gemma",),
        stop=("<eos>", "<end_of_turn>"),
        bos="<bos>",
        context_length=8192,
        by_name=True,
        source="google-gemini/gemma-cookbook: CodeGemma",
        why_not="only CodeGemma's base models were trained to infill",
    ),
    Family(
        name="CodeGemma",
        model_types=("gemma",),
        psm=_psm(*_PIPES),
        stop=("<|file_separator|>", *_PIPES, "<eos>"),
        bos="<bos>",
        context_length=8192,
        source="google-gemini/gemma-cookbook: CodeGemma; docs/codegemma",
    ),
    Family(
        name="Codestral",
        model_types=("mistral",),
        # Suffix first, and nothing between the prefix and the middle, although the vocabulary has [MIDDLE].
        spm=("[SUFFIX]", Part.SUFFIX, "[PREFIX]", Part.PREFIX),
        stop=("</s>", "[PREFIX]", "[SUFFIX]"),
        bos="<s>",
        unspaced=frozenset({Part.SUFFIX}),
        context_length=32768,
        source="mistralai/mistral-common: tokens/tokenizers/instruct.py, encode_fim",
    ),
    Family(
        name="Granite Code",
        model_types=("llama",),
        psm=_psm(*_STARCODER),
        spm=_spm_prefix_last(*_STARCODER),
        stop=("<|endoftext|>", "<fim_pad>", "<reponame>", "<filename>"),
        heals=_COMPLETING,
        # Mellum is a llama with StarCoder's sentinels as well, but has no biases. The 20B and 34B are gpt_bigcode, and
        # so found as StarCoder, whose prompts are the same.
        config={"attention_bias": True, "mlp_bias": True},
        source="ibm-granite/dolomite-engine: data/megatron/gpt_dataset.py",
    ),
    Family(
        name="Granite 3.3",
        model_types=("granite",),
        psm=_psm(*_STARCODER),
        stop=("<|end_of_text|>", "<fim_pad>", "<reponame>", "<filename>"),
        context_length=131072,
        # By the model card, 3.1 could not infill yet, and nothing is known in a checkpoint that tells: others of IBM's
        # have this architecture and these tokens as well (granite-4.0-1b-speech, in llama.cpp pull request 22101).
        by_name=True,
        source="the model card of ibm-granite/granite-3.3-8b-base; ggml-org/llama.cpp pull request 12988 for the "
        "tokens, and its /infill, with which they were tried, for the order",
    ),
    Family(
        name="Granite 4",
        model_types=("granitemoehybrid", "granite"),
        psm=_psm(*_PIPES),
        stop=("<|end_of_text|>", "<|end_of_role|>", *_PIPES, "<|fim_pad|>"),
        context_length=131072,
        # The vendor's example puts each text on lines of its own, which could not say a hole inside a line.
        source="ibm-granite/granite-4.0-language-models: prompt engineering guide v2",
    ),
    Family(
        name="Stable Code",
        model_types=("stablelm",),
        psm=_psm(*_STARCODER),
        stop=("<|endoftext|>", "<fim_pad>"),
        context_length=16384,
        source="the model card of stabilityai/stable-code-3b",
    ),
    Family(
        name="Refact",
        model_types=("gpt_refact",),
        spm=_spm_middle_last(*_STARCODER),
        stop=("<|endoftext|>", "<fim_pad>"),
        context_length=4096,
        source="smallcloudai/refact: known_models.json, code_completion_fim.rs",
    ),
    Family(
        name="InCoder",
        model_types=("xglm",),
        # The second mask after the suffix is the vendor's advice: without it, answers do not end.
        psm=(Part.PREFIX, "<|mask:0|>", Part.SUFFIX, "<|mask:1|>", "<|mask:0|>"),
        stop=("<|endofmask|>",),
        bos="<|endoftext|>",
        source="dpfried/incoder: example_usage.py, with extra_sentinel=True",
    ),
    Family(
        name="aiXcoder",
        model_types=("llama",),
        spm=_spm_prefix_last("▁<AIX-SPAN-PRE>", "▁<AIX-SPAN-POST>", "▁<AIX-SPAN-MIDDLE>"),
        stop=("</s>",),
        bos="<s>",
        unspaced=frozenset({Part.SUFFIX}),
        layout=Layout(
            file=(Text("# the file path is: "), Part.PATH, Text("\n"), Part.CODE, Text("\n")),
            head=(Text("# the file path is: "), Part.PATH, Text("\n")),
            in_prefix=True,
        ),
        context_length=32768,
        source="aixcoder-plugin/aiXcoder-7B: hf_mini/utils.py",
    ),
    Family(
        name="Seed-Coder",
        model_types=("llama",),
        spm=_spm_middle_last(*_SEED),
        stop=("<[end▁of▁sentence]>", *_SEED),
        bos=None,
        context_length=32768,
        heals=_COMPLETING,
        source="arXiv 2506.03524, section 2",
    ),
    Family(
        name="Mellum",
        model_types=("mellum",),
        spm=_spm_middle_last(*_STARCODER),
        stop=("<|endoftext|>", "<fim_pad>", "<filename>"),
        layout=_MELLUM_LAYOUT,
        context_length=8192,
        source="arXiv 2510.05788; the model card of JetBrains/Mellum-4b-base",
    ),
    Family(
        # Mellum 4B: architecture and spelling are also those of other models, with the opposite order.
        name="Mellum",
        model_types=("llama",),
        spm=_spm_middle_last(*_STARCODER),
        stop=("<|endoftext|>", "<fim_pad>", "<filename>"),
        layout=_MELLUM_LAYOUT,
        context_length=8192,
        by_name=True,
        source="arXiv 2510.05788; the model cards of JetBrains/Mellum-4b-base and Mellum-4b-dpo-all-gguf",
    ),
    Family(
        name="CodeGeeX4",
        model_types=("chatglm",),
        spm=(
            "<|user|>",
            Text("\n###PATH:\n###LANGUAGE:Python\n###MODE:BLOCK\n"),
            "<|code_suffix|>",
            Part.SUFFIX,
            "<|code_prefix|>",
            Part.PREFIX,
            "<|code_middle|>",
            "<|assistant|>",
            Text("\n"),
        ),
        stop=("<|user|>", "<|endoftext|>", "<|observation|>"),
        bos=None,
        context_length=131072,
        source="THUDM/CodeGeeX4: guides/Infilling_guideline.md",
    ),
    Family(
        name="GLM-4.5",
        model_types=("glm4_moe",),
        psm=_psm(*_GLM),
        stop=("<|endoftext|>", "<|user|>", "<|observation|>", *_GLM),
        bos=None,
        context_length=131072,
        # The report says that all source code was trained with holes in it, and not in which order.
        source="arXiv 2508.06471, section 2.2; ggml-org/llama.cpp: src/llama-vocab.cpp for the tokens; "
        "zed-industries/zed: crates/edit_prediction/src/fim.rs, a client, for the order",
    ),
    Family(
        name="Falcon-H1-Tiny-Coder",
        model_types=("falcon_h1",),
        psm=_psm("<|prefix|>", "<|suffix|>", "<|middle|>"),
        stop=("<|end_of_text|>", "<|endoftext|>", "<|prefix|>", "<|suffix|>", "<|middle|>"),
        bos=None,
        source="ggml-org/llama.cpp pull request 19249",
    ),
)
