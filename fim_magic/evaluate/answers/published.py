"""Numbers that others have published for HumanEval-Infilling: pass@1 in percent, each with its source.

They are for whole sets. Prompts, token limits and the ends of answers differ between their authors, so that they tell
where a number should lie, and not by how much one system is better than another.
"""

from __future__ import annotations

from dataclasses import dataclass

_FIM = "arXiv 2207.14255, table 4"
_CODE_LLAMA = "arXiv 2308.12950, table 14, greedy"
_MELLUM = "JetBrains' model card"
_GEMMA = "CodeGemma's report"


@dataclass(frozen=True)
class Published:
    """One number."""

    model: str  # the catalogue's short name, or what the source calls a model that is not in it
    order: str  # "psm", "spm", or "" where the source does not say
    set: str  # the set's name
    percent: float  # pass@1
    source: str  # where it stands


def _row(
    model: str, order: str, shares: tuple[float | None, float | None, float | None], source: str
) -> list[Published]:
    sets = ("single-line", "multi-line", "random-span")
    return [
        Published(model, order, name, share, source)
        for name, share in zip(sets, shares, strict=True)
        if share is not None
    ]


PUBLISHED: tuple[Published, ...] = (
    *_row("incoder-6b", "psm", (69.0, 38.6, None), f"InCoder's, as in {_FIM}"),
    *_row("FIM50 6.9B", "spm", (73.0, 40.6, 52.1), _FIM),
    *_row("FIM90 6.9B", "spm", (75.1, 44.1, 55.1), _FIM),
    *_row("code-davinci-002", "spm", (91.6, 69.9, 74.2), _FIM),
    *_row("codellama-7b", "psm", (74.1, 48.2, 59.7), _CODE_LLAMA),
    *_row("codellama-7b", "spm", (83.3, 50.8, 39.0), _CODE_LLAMA),
    *_row("codellama-13b", "psm", (75.9, 51.0, 63.6), _CODE_LLAMA),
    *_row("codellama-13b", "spm", (85.6, 56.1, 41.9), _CODE_LLAMA),
    *_row("codegemma-2b", "", (78.4, 51.4, None), _GEMMA),
    *_row("mellum-4b", "spm", (66.2, 38.5, 29.7), _MELLUM),
    *_row("mellum-4b-python", "spm", (80.5, 48.2, 37.7), _MELLUM),
)
"""Those of whole sets that their models' authors, or the benchmark's, have published."""


def published(model: str, set_name: str) -> list[Published]:
    """Return what is known of a model on a set; for the light random spans, what is known of the whole ten times."""
    wanted = "random-span" if set_name == "random-span-light" else set_name
    return [number for number in PUBLISHED if number.model == model and number.set == wanted]
