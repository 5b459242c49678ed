"""Which language a cell or a file is in, and what that language's parser finds in it.

The parsers are tree-sitter's, from packages that have them compiled (`pip install fim-magic[languages]`); nothing is
fetched when a text is parsed. Without them, `parse_hole` returns None, and other rules go by the layout of lines.
Python is not parsed here: `ast` and `fim_magic.lexing` know it better. Nothing of the product is imported here.
"""

from fim_magic.languages.detection import (
    MARKUP,
    PERCENT_COMMENTS,
    PYTHON,
    PYTHON_MAGICS,
    magic_of,
    of_cell,
    of_file,
    title,
)
from fim_magic.languages.grammars import GRAMMARS, Grammar
from fim_magic.languages.parsed_hole import FilledHole, ParsedHole, parse_hole, verdict
from fim_magic.languages.parsing import SlowTextError, available, to_install
from fim_magic.languages.structure import children_between, defined_name

__all__ = [
    "GRAMMARS",
    "MARKUP",
    "PERCENT_COMMENTS",
    "PYTHON",
    "PYTHON_MAGICS",
    "FilledHole",
    "Grammar",
    "ParsedHole",
    "SlowTextError",
    "available",
    "children_between",
    "defined_name",
    "magic_of",
    "of_cell",
    "of_file",
    "parse_hole",
    "title",
    "to_install",
    "verdict",
]
