"""The prompt formats of the model families: the table, which row fits a checkpoint, and the one builder."""

from fim_magic.formats.families import FAMILIES
from fim_magic.formats.family import Family, Layout, Part, Template, Text
from fim_magic.formats.joined import as_text
from fim_magic.formats.prompt import ORDERS, Piece, Prompt, completion_prompt, fim_prompt, stop_ids
from fim_magic.formats.recognition import family_names, family_of

__all__ = [
    "FAMILIES",
    "ORDERS",
    "Family",
    "Layout",
    "Part",
    "Piece",
    "Prompt",
    "Template",
    "Text",
    "as_text",
    "completion_prompt",
    "family_names",
    "family_of",
    "fim_prompt",
    "stop_ids",
]
