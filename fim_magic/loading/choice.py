"""Which engine runs a model: torch, or llama.cpp for a GGUF file."""

from __future__ import annotations

from fim_magic.errors import OptionError
from fim_magic.loading.gpus import gpus
from fim_magic.loading.loaders import ENGINES

FASTER_ON_A_CPU = "torch"
"""Which engine runs a GGUF file on a CPU where nobody has measured it: `.github/DECISIONS.md` has the figures.

llama.cpp makes tokens faster and reads prompts slower; on processors with less than AVX2, and for long answers, it may
be the faster one.
"""


def engine_for(model: str, *, is_gguf: bool, asked: str | None, quantize: str | None) -> tuple[str, str]:
    """Decide which engine runs a model.

    Args:
        model: Its name, as the engine will have it.
        is_gguf: Whether it is a GGUF file. Only such a file can be run by llama.cpp.
        asked: "torch", "gguf", or None to decide.
        quantize: As of `registry.use`; only torch can do it.

    Returns:
        "torch" or "gguf", and why: half a sentence, or "" where there was nothing to decide.

    Raises:
        OptionError: What was asked for cannot be. The message says what to type.
    """
    if asked is not None and asked not in ENGINES:
        raise OptionError(f"--engine is one of auto, {', '.join(ENGINES)}; {asked!r} is not.")
    if asked == "gguf":
        _require_gguf(model, is_gguf=is_gguf, quantize=quantize)
    if asked is not None:
        return asked, "as asked for"
    if not is_gguf or quantize is not None:
        return "torch", ""
    if gpus():
        return "torch", "it computes on the GPU"
    if not _has_binding():
        return "torch", "llama.cpp is not installed; `%pip install fim-magic[gguf]` brings it"
    from fim_magic.loading.fastest import fastest

    found = fastest(model)
    if found is not None:
        return found, "fim-magic bench found it to be the faster one here"
    return FASTER_ON_A_CPU, f"it usually is the faster one on a CPU; fim-magic bench --model {model} measures it here"


def _require_gguf(model: str, *, is_gguf: bool, quantize: str | None) -> None:
    if not is_gguf:
        raise OptionError(
            f"--engine gguf runs .gguf files, and {model} is none. Leave it away (%fim use {model}), or name such a "
            "file: %fim use PATH.gguf --engine gguf"
        )
    if quantize is not None:
        raise OptionError(
            f"--quantize {quantize} is for --engine torch: a .gguf file is run in the bits that it is stored in. Leave "
            "one of them away."
        )
    if not _has_binding():
        raise OptionError(
            "--engine gguf needs llama.cpp, which is not installed here. Type `%pip install fim-magic[gguf]` and try "
            "again, or leave it away."
        )


def _has_binding() -> bool:
    from fim_magic.engines.llama_cpp import gguf

    return gguf.available()
