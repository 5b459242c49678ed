"""What a row of the table of families says: templates, layouts, and what tells one family from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Part(Enum):
    """A place in a template that a text takes."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    REPOSITORY = "repository"
    PATH = "path"
    CODE = "code"


@dataclass(frozen=True)
class Text:
    """Words that a template has as plain text, encoded like any other text."""

    text: str


Template = tuple["str | Part | Text", ...]
"""A prompt's pieces in order: sentinels as strings (one token each), texts as [`Part`][] and [`Text`][]."""


@dataclass(frozen=True)
class Layout:
    """How a family was trained to see other files beside the one with the hole.

    Attributes:
        repository: Before everything, if the repository has a name.
        file: One other file.
        own: Before the infilling prompt of the file with the hole.
        head: At the start of that file's prefix, after the prefix sentinel.
        in_prefix: The other files, too, go to the start of the prefix.
    """

    file: Template
    repository: Template = ()
    own: Template = ()
    head: Template = ()
    in_prefix: bool = False


_COMMENTED = Layout(
    file=(Text("# "), Part.PATH, Text("\n"), Part.CODE, Text("\n")),
    head=(Text("# "), Part.PATH, Text("\n")),
    in_prefix=True,
)
"""For families that were trained without any layout: plain code, each file under a comment with its path."""


@dataclass(frozen=True)
class Family:
    """How one family of models wants its prompts.

    Attributes:
        name: As the field calls it.
        model_types: The `model_type` that its checkpoints' config.json has.
        source: The vendor file or paper that the row comes from.
        stop: The tokens that end an answer.
        psm: Prefix, suffix, middle. None if the vendor did not train that order.
        spm: Suffix first, likewise.
        complete: Left to right.
        bos: What the prompt begins with: a token, "" for nothing, or None for what the checkpoint's tokenizer says.
        unspaced: The texts that are encoded without the space which SentencePiece puts before a text.
        layout: How other files are shown.
        context_length: Tokens, where config.json does not say.
        heals: The orders in which a prefix that ends inside a token is out of distribution, so that its last token is
            taken back (token healing). Not those whose training cut texts between any two characters.
        spm_for_lines: Whether suffix-first is better for holes that begin a line.
        config: Values in config.json that do so.
        by_name: Whether nothing in a checkpoint tells it, so that the user or the catalogue has to.
        why_not: Why it cannot infill, for the user, if it can't.
    """

    name: str
    model_types: tuple[str, ...]
    source: str
    stop: tuple[str, ...]
    psm: Template | None = None
    spm: Template | None = None
    complete: Template = (Part.PREFIX,)
    bos: str | None = ""
    unspaced: frozenset[Part] = frozenset()
    layout: Layout = _COMMENTED
    context_length: int = 2048
    heals: frozenset[str] = frozenset({"psm", "spm", ""})
    spm_for_lines: bool = False
    config: Mapping[str, object] = field(default_factory=dict)
    by_name: bool = False
    why_not: str = ""

    @property
    def can_infill(self) -> bool:
        return self.psm is not None or self.spm is not None

    def sentinels(self) -> list[str]:
        """The tokens that a checkpoint needs for this family's prompts."""
        pieces = [*(self.psm or ()), *(self.spm or ()), *self.complete]
        return sorted({piece for piece in pieces if isinstance(piece, str)})
