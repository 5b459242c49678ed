"""Notebooks and source files, as they lie in the user's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fim_magic.context.cells import LARGEST_FILE, NotebookCell
from fim_magic.errors import OptionError
from fim_magic.foreign_json import DEEPEST_NOTEBOOK, TooDeepError, parsed
from fim_magic.languages import PYTHON, of_file
from fim_magic.regular_files import UnfitFileError, read_text, require_regular

NOTEBOOK = ".ipynb"
_LANGUAGES = """
    bash c cpp csharp css go haskell html java javascript julia kotlin lua perl php powershell python r ruby rust scala
    sql swift tsx typescript yaml
"""
LANGUAGES = frozenset(_LANGUAGES.split())
"""Of source files that are used; others are texts or data."""

_NOT_LOOKED_INTO = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "build", "dist"})
_LARGEST_SOURCE = 2**20  # bytes: a longer one was written by a program


@dataclass(frozen=True)
class OwnFile:
    """A file."""

    name: str  # its path below the folder that was asked for, with slashes
    path: Path  # where it is
    language: str  # of its code, as `languages.of_file` calls it
    cells: tuple[NotebookCell, ...]  # a notebook's cells; of a source file its text, as the only one
    is_notebook: bool  # whether it is one


@dataclass(frozen=True)
class Unread:
    """A file that cannot be used, and why."""

    name: str
    why: str


def is_readable(path: Path) -> bool:
    """Whether a file's name says that it is a notebook or code in one of `LANGUAGES`."""
    return path.suffix.lower() == NOTEBOOK or of_file(path.name) in LANGUAGES


def has_files(folder: Path) -> bool:
    return next(_below(folder), None) is not None


def files_of(path: Path) -> list[Path]:
    """Return the notebooks and source files in a folder and below it, by name; or the file itself.

    Folders whose name begins with a dot, and those of installed or generated files, are left out. An OptionError says
    that there are none.
    """
    if path.is_dir():
        found = sorted(_below(path), key=lambda file: file.relative_to(path).as_posix())
    else:
        found = [path] if path.is_file() and is_readable(path) else []
    if not found:
        raise OptionError(
            f"{str(path)!r} holds no notebook and no source file. Name a folder, or a file such as shop.ipynb, shop.py "
            "or shop.js: fim-magic eval --set PATH"
        )
    return found


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _NOT_LOOKED_INTO]
        yield from (path for name in names if not name.startswith(".") and is_readable(path := Path(root, name)))


def read(path: Path, name: str) -> OwnFile | Unread:
    """Read a file as `files_of` gives it, under a name."""
    is_notebook = path.suffix.lower() == NOTEBOOK
    try:
        largest = LARGEST_FILE if is_notebook else _LARGEST_SOURCE
        if require_regular(path).st_size > largest:
            return Unread(name, "it is too large")
        text = read_text(path, largest)  # line ends become LF
        if not is_notebook:
            return OwnFile(name, path, of_file(path.name), (NotebookCell(text, markdown=False),), is_notebook=False)
        notebook = parsed(text, DEEPEST_NOTEBOOK)
        return OwnFile(name, path, _language(notebook), tuple(_cells(notebook)), is_notebook=True)
    except UnfitFileError as error:
        return Unread(name, str(error))
    except TooDeepError as error:
        return Unread(name, f"it {error}")
    except OSError as error:
        return Unread(name, str(error.strerror))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Unread(name, "it is no notebook of format 4" if is_notebook else "it is not UTF-8 text")


def _language(notebook: dict[str, Any]) -> str:
    about = notebook.get("metadata")
    found = [about.get(key) for key in ("language_info", "kernelspec")] if isinstance(about, dict) else [None, None]
    info, kernel = (part if isinstance(part, dict) else {} for part in found)
    named = info.get("name") or kernel.get("language")
    return named.lower() if isinstance(named, str) else PYTHON


def _cells(notebook: dict[str, Any]) -> Iterator[NotebookCell]:
    for cell in notebook["cells"]:
        if cell["cell_type"] in ("code", "markdown"):
            yield NotebookCell("".join(cell["source"]), cell["cell_type"] == "markdown")
