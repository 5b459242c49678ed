"""The prompt formats of the model families, as a table, and the one builder from text to token ids.

Prompts are assembled from ids, never by pasting sentinel text around the user's text. Each row names its source. A row
is used only for a checkpoint whose architecture and sentinels both fit: spelling alone does not tell (Mellum has
StarCoder's tokens and the opposite order), and a wrong prompt gives noise that looks like an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fim_magic.context import fit
from fim_magic.document import Document
from fim_magic.errors import ModelError, OptionError
from fim_magic.tokenization import TextTokenizer


class Part(Enum):
    """A place in a template that the user's text takes."""

    PREFIX = "prefix"
    SUFFIX = "suffix"


Template = tuple["str | Part", ...]
"""A prompt's pieces in order: sentinels as strings, the user's text as [`Part`][]."""

ORDERS = ("auto", "psm", "spm")


@dataclass(frozen=True)
class Family:
    """How one family of models wants its prompts.

    Attributes:
        name: As the field calls it.
        model_types: The `model_type` that its checkpoints' config.json has.
        psm: Prefix, suffix, middle. None if the family cannot infill.
        spm: Suffix first, literally as the vendor trained it (two incompatible layouts exist), or None if it did not.
        stop: The tokens that end a middle.
        leading: Whether the prompt begins with what the tokenizer puts before every text (BOS).
        source: The vendor file or paper that the row comes from.
    """

    name: str
    model_types: tuple[str, ...]
    psm: Template | None
    spm: Template | None
    stop: tuple[str, ...]
    leading: bool
    source: str

    @property
    def can_infill(self) -> bool:
        """Whether the family was trained to fill in the middle."""
        return self.psm is not None

    def sentinels(self) -> list[str]:
        """The tokens that a checkpoint needs for this family's infilling prompts."""
        pieces = [*(self.psm or ()), *(self.spm or ())]
        return sorted({piece for piece in pieces if isinstance(piece, str)})


_STARCODER_PSM: Template = (
    "<fim_prefix>",
    Part.PREFIX,
    "<fim_suffix>",
    Part.SUFFIX,
    "<fim_middle>",
)
# "Variant 2" of the FIM paper (arXiv 2207.14255, section 3): the prefix comes last, after the middle sentinel.
_STARCODER_SPM: Template = (
    "<fim_prefix>",
    "<fim_suffix>",
    Part.SUFFIX,
    "<fim_middle>",
    Part.PREFIX,
)

FAMILIES: tuple[Family, ...] = (
    Family(
        name="Qwen2.5-Coder",
        model_types=("qwen2",),
        psm=("<|fim_prefix|>", Part.PREFIX, "<|fim_suffix|>", Part.SUFFIX, "<|fim_middle|>"),
        spm=None,
        # The vendor's examples disagree with each other; without <|fim_pad|> and <|file_sep|> it runs on.
        stop=(
            "<|endoftext|>",
            "<|im_start|>",
            "<|im_end|>",
            "<|fim_prefix|>",
            "<|fim_middle|>",
            "<|fim_suffix|>",
            "<|fim_pad|>",
            "<|repo_name|>",
            "<|file_sep|>",
        ),
        leading=False,
        source="QwenLM/Qwen2.5-Coder: README.md, examples/Qwen2.5-Coder-fim.py",
    ),
    Family(
        name="StarCoder",
        model_types=("gpt_bigcode",),
        psm=_STARCODER_PSM,
        spm=_STARCODER_SPM,
        stop=("<|endoftext|>", "<file_sep>", "<filename>"),
        leading=False,
        source="bigcode-project/Megatron-LM: megatron/tokenizer/tokenizer.py, megatron/data/gpt_dataset.py",
    ),
    Family(
        name="SantaCoder",
        model_types=("gpt_bigcode",),
        psm=("<fim-prefix>", Part.PREFIX, "<fim-suffix>", Part.SUFFIX, "<fim-middle>"),
        spm=("<fim-prefix>", "<fim-suffix>", Part.SUFFIX, "<fim-middle>", Part.PREFIX),
        stop=("<|endoftext|>", "<|filename|>"),
        leading=False,
        source="bigcode-project/bigcode-evaluation-harness: bigcode_eval/tasks/santacoder_fim.py",
    ),
    Family(
        name="StarCoder2",
        model_types=("starcoder2",),
        psm=_STARCODER_PSM,
        spm=_STARCODER_SPM,
        stop=("<|endoftext|>", "<file_sep>"),
        leading=False,
        source="arXiv 2402.19173, table 5; bigcode-project/starcoder2 issue 10 for <file_sep>",
    ),
    Family(
        name="DeepSeek-Coder",
        model_types=("llama",),
        # The names mislead: "hole" begins the suffix, "end" begins the middle.
        psm=("<｜fim▁begin｜>", Part.PREFIX, "<｜fim▁hole｜>", Part.SUFFIX, "<｜fim▁end｜>"),
        spm=None,
        stop=("<｜end▁of▁sentence｜>",),
        leading=True,
        source="deepseek-ai/DeepSeek-Coder: README.md",
    ),
)


def family_of(model_type: str, tokenizer: TextTokenizer, ends: Sequence[str] = ()) -> Family:
    """Return the family whose architecture and sentinels the checkpoint has, or one that only completes.

    Args:
        model_type: From the checkpoint's config.json.
        tokenizer: The checkpoint's own.
        ends: The tokens that end a text by the checkpoint's own account, for a family that is not known.
    """
    for family in FAMILIES:
        known = model_type in family.model_types
        if known and all(tokenizer.sentinel(token) is not None for token in family.sentinels()):
            return family
    return Family(
        name=model_type,
        model_types=(model_type,),
        psm=None,
        spm=None,
        stop=(*ends, "<|endoftext|>", "<|im_end|>", "</s>"),
        leading=True,
        source="no row: left to right only",
    )


@dataclass(frozen=True)
class Piece:
    """A part of a prompt, for showing it.

    Attributes:
        kind: "sentinel", "prefix" or "suffix".
        text: What it says.
        tokens: How many ids it took.
    """

    kind: str
    text: str
    tokens: int


@dataclass(frozen=True)
class Prompt:
    """What a model is given.

    Attributes:
        ids: The token ids, ready for the model.
        stop_ids: The ids that end the answer.
        order: "psm", "spm", or "" for left to right.
        pieces: The same prompt as a reader would want to see it.
        dropped_prefix_tokens: Tokens cut from the start of the prefix so that it fits.
        dropped_suffix_tokens: Tokens cut from the end of the suffix, likewise.
    """

    ids: tuple[int, ...]
    stop_ids: frozenset[int]
    order: str
    pieces: tuple[Piece, ...]
    dropped_prefix_tokens: int
    dropped_suffix_tokens: int


def fim_prompt(family: Family, tokenizer: TextTokenizer, document: Document, *, order: str, room: int) -> Prompt:
    """Build the infilling prompt for the hole in `document`.

    Args:
        family: A row whose sentinels `tokenizer` has.
        tokenizer: The checkpoint's own.
        document: The text, as models know it.
        order: "psm", "spm" or "auto", which is PSM: every vendor here recommends it.
        room: How many tokens the prompt may have.

    Raises:
        ModelError: The family cannot infill.
        OptionError: It was not trained in that order.
    """
    template, order = _template(family, order)
    sentinel_count = sum(isinstance(piece, str) for piece in template)
    lead = tokenizer.leading_ids if family.leading else []
    fitted = fit(
        tokenizer.encode(document.prefix),
        tokenizer.encode(document.suffix),
        room - sentinel_count - len(lead),
    )
    parts = {Part.PREFIX: fitted.prefix, Part.SUFFIX: fitted.suffix}
    ids: list[int] = []
    pieces: list[Piece] = []
    for token in lead:
        ids.append(token)
        pieces.append(Piece("sentinel", tokenizer.decode([token]), 1))
    for item in template:
        if isinstance(item, Part):
            ids += parts[item]
            pieces.append(Piece(item.value, tokenizer.decode(parts[item]), len(parts[item])))
        else:
            ids.append(_required(tokenizer, item))
            pieces.append(Piece("sentinel", item, 1))
    return Prompt(
        tuple(ids),
        stop_ids(family, tokenizer),
        order,
        tuple(pieces),
        fitted.dropped_prefix,
        fitted.dropped_suffix,
    )


def completion_prompt(family: Family, tokenizer: TextTokenizer, document: Document, *, room: int) -> Prompt:
    """Build the left-to-right prompt: only what stands before the hole.

    Args:
        family: Any row; models that cannot infill can be continued.
        tokenizer: The checkpoint's own.
        document: The text, as models know it.
        room: How many tokens the prompt may have.

    Raises:
        OptionError: There is nothing to continue.
    """
    lead = tokenizer.leading_ids if family.leading else []
    fitted = fit(tokenizer.encode(document.prefix), [], room - len(lead))
    ids = [*lead, *fitted.prefix]
    if not ids:
        # A model needs something to continue: an end-of-text token is what stands between documents in training.
        ids = sorted(stop_ids(family, tokenizer))[:1]
    if not ids:
        raise OptionError("There is nothing to continue: the text is empty. Write the beginning of what you want.")
    pieces = [Piece("sentinel", tokenizer.decode([token]), 1) for token in lead]
    pieces.append(Piece("prefix", tokenizer.decode(fitted.prefix), len(fitted.prefix)))
    return Prompt(tuple(ids), stop_ids(family, tokenizer), "", tuple(pieces), fitted.dropped_prefix, 0)


def stop_ids(family: Family, tokenizer: TextTokenizer) -> frozenset[int]:
    """Return the ids that end an answer: those of the family's stop tokens that the checkpoint has."""
    found = (tokenizer.sentinel(token) for token in family.stop)
    return frozenset(token for token in found if token is not None)


def _template(family: Family, order: str) -> tuple[Template, str]:
    if order not in ORDERS:
        raise OptionError(f"--order is one of {', '.join(ORDERS)}; {order!r} is none of them.")
    if family.psm is None:
        raise ModelError(
            f"This model ({family.name}) has no fill-in-the-middle tokens, so it cannot see what stands after the "
            "hole. Use %%complete, which continues from what stands before it, or choose a model that infills: "
            "%fim use qwen2.5-coder-0.5b"
        )
    if order == "spm":
        if family.spm is None:
            raise OptionError(
                f"{family.name} was not trained with the suffix first, so --order spm would give noise. "
                "Leave --order out, or use --order psm."
            )
        return family.spm, "spm"
    return family.psm, "psm"


def _required(tokenizer: TextTokenizer, token: str) -> int:
    found = tokenizer.sentinel(token)
    if found is None:
        raise ModelError(
            f"This checkpoint's vocabulary has no {token}, which its family's prompts need. Choose another model "
            "with %fim use NAME; %fim models lists them."
        )
    return found


def describe(pieces: Sequence[Piece]) -> str:
    """Return a prompt as text for `--show-prompt`: one piece a paragraph, with its kind and its number of tokens."""
    return "\n".join(f"[{piece.kind}, {piece.tokens} tokens] {piece.text!r}" for piece in pieces)
