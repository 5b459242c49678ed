"""A notebook's file: its cells, and its text with another source in one of them.

Everything but that source stays as it was, to the byte: the file is not written anew, only the source's own characters
in it are replaced. So the layout of the JSON, the order of its keys and its numbers are those of whatever wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fim_magic.classroom import allowed_by
from fim_magic.errors import OptionError
from fim_magic.foreign_json import DEEPEST_NOTEBOOK, TooDeepError, parsed
from fim_magic.languages import PYTHON, of_cell, of_file
from fim_magic.unicode_text import HALF, without_mark

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class FileCell:
    """A cell of a notebook's file.

    Attributes:
        number: Counted from 1, among all cells.
        kind: "code", "markdown" or "raw".
        source: Its text.
    """

    number: int
    kind: str
    source: str


@dataclass(frozen=True)
class NotebookFile:
    """A notebook's file.

    Attributes:
        text: All of it.
        cells: Its cells, in order.
        language: Of its kernel, as `languages.of_file` calls it; "" for Python, or where it does not say.
        filling: Which of `classroom.FILLING` its metadata allow.
    """

    text: str
    cells: tuple[FileCell, ...]
    language: str
    filling: str = "on"

    def with_source(self, number: int, source: str) -> str:
        """Return the file's text with another source in a cell."""
        start, end = _source_span(self.text, number)
        return self.text[:start] + _like(self.text[start:end], source) + self.text[end:]


def read_notebook(text: str, name: str) -> NotebookFile:
    """Return what the text of a notebook's file holds.

    Args:
        text: All of it.
        name: What it is called, for people.

    Raises:
        OptionError: It is no notebook.
    """
    try:
        notebook = parsed(without_mark(text), DEEPEST_NOTEBOOK)
        cells = tuple(_cells(notebook))
        metadata = notebook.get("metadata", {})
        return NotebookFile(text, cells, _language(metadata), allowed_by(metadata))
    except TooDeepError as error:
        raise _no_notebook(name, f"it {error}") from error
    except ValueError as error:
        raise _no_notebook(name, "it is not JSON") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_notebook(name, "it has no cells as notebooks have them (nbformat 4)") from error


def is_notebook(text: str) -> bool:
    """Whether a text is a notebook's, by what it holds: on standard input nothing has a name."""
    if '"nbformat"' not in text or not without_mark(text).lstrip().startswith("{"):
        return False
    try:
        found = parsed(without_mark(text), DEEPEST_NOTEBOOK)
    except ValueError:
        return False
    return isinstance(found.get("cells"), list)


def _language(metadata: Any) -> str:
    info, kernel = metadata.get("language_info"), metadata.get("kernelspec")
    ending = info.get("file_extension") if isinstance(info, dict) else None
    name = kernel.get("language") if isinstance(kernel, dict) else None
    language = of_file(f"cell{ending}") if isinstance(ending, str) else ""
    if not language and isinstance(name, str) and name:
        language = of_cell(f"%%{name}")
    return "" if language == PYTHON else language


def _no_notebook(name: str, why: str) -> OptionError:
    return OptionError(
        f"{name} is no notebook: {why}. Save it again with Jupyter; a text file needs another ending than .ipynb."
    )


def _cells(notebook: Any) -> Iterator[FileCell]:
    for number, cell in enumerate(notebook["cells"], 1):
        source = cell["source"]
        if not isinstance(source, str | list):
            raise TypeError("a source is a text, or a list of its lines")
        yield FileCell(number, str(cell["cell_type"]), "".join(source))


def _like(written: str, source: str) -> str:
    """Return a source as JSON, laid out as the one was that it replaces: one text, or a list of its lines."""
    if not written.startswith("["):
        return _quoted(source, written)
    lines = re.findall(r"[^\n]*\n|[^\n]+", source)
    if not lines:
        return "[]"
    opening = _SPACE.match(written, 1)
    closing = written[len(written[:-1].rstrip(" \t\r\n")) :]
    assert opening is not None  # it is JSON
    between = re.search(r'",([ \t\r\n]*)"', written)
    space = between.group(1) if between is not None else opening.group()
    return "[" + opening.group() + f",{space}".join(_quoted(line, written) for line in lines) + closing


def _quoted(text: str, written: str) -> str:
    r"""Return a text as JSON. As `written`, it has other characters than ASCII as they are, or as `\u00e9`."""
    escapes = "\\u" in written and written.isascii()
    # Half a character stays the escape that it was.
    return HALF.sub(lambda half: f"\\u{ord(half.group()):04x}", json.dumps(text, ensure_ascii=escapes))


def _source_span(text: str, number: int) -> tuple[int, int]:
    """Return where in a notebook's JSON the source of a cell begins and ends."""
    start = len(text) - len(without_mark(text))
    cells = _values(text, start)["cells"]
    position = _after_space(text, cells[0] + 1)
    for _ in range(number - 1):
        _, position = _DECODER.raw_decode(text, position)
        position = _after_space(text, _after_space(text, position) + 1)  # behind the comma
    return _values(text, position)["source"]


def _values(text: str, position: int) -> dict[str, tuple[int, int]]:
    """Return where the values of the JSON object at a position begin and end. Of equal keys the last counts."""
    found: dict[str, tuple[int, int]] = {}
    position = _after_space(text, _after_space(text, position) + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        start = _after_space(text, _after_space(text, position) + 1)  # behind the colon
        _, end = _DECODER.raw_decode(text, start)
        found[key] = (start, end)
        position = _after_space(text, end)
        if text[position] == ",":
            position = _after_space(text, position + 1)
    return found


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None  # it may be empty
    return match.end()
