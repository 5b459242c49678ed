"""What `fim-magic infill` reads and writes: a file as it is, or a notebook of which one cell is filled."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fim_magic.classroom import check, strictest
from fim_magic.context.beside import ContextCell
from fim_magic.context.cells import code_cell, language_of, text_cell
from fim_magic.context.redaction import redacted
from fim_magic.errors import MarkerError, OptionError
from fim_magic.languages import of_file
from fim_magic.markers import FILLING_MAGICS, asks_to_be_filled, holds_hole, no_marker, occurrences
from fim_magic.notebook_file import FileCell, NotebookFile, is_notebook, read_notebook
from fim_magic.regular_files import LARGEST_NOTEBOOK, MIB
from fim_magic.request import Request
from fim_magic.unicode_text import decoded

STANDARD_INPUT = "-"
_NOTEBOOK = ".ipynb"
_MOST_CELLS = 100  # nearest to the hole, on each side, that a model may be shown: a session has as many


@dataclass(frozen=True)
class TextSource:
    """A text with a hole, and where it comes from.

    Attributes:
        text: The file's, or the cell's without its magic.
        language: What it is in, as `languages.of_file` calls it; "" where nothing tells.
        completes: Whether the cell's magic asks for a completion.
        notebook: The notebook that it is a cell of, or None.
        number: Of the cell, from 1; 0 where it is none.
        is_ours: Whether it is fim-magic's own, and nobody's secret.
    """

    text: str
    language: str
    completes: bool = False
    notebook: NotebookFile | None = None
    number: int = 0
    is_ours: bool = False

    def whole(self, filled: str) -> str:
        """Return all of the file with `filled` in the place of the text."""
        return filled if self.notebook is None else self.notebook.with_source(self.number, filled)

    def check_allowed(self, filling: str) -> None:
        """Raise where the settings, or the notebook's metadata, allow no answers.

        Args:
            filling: What the settings allow, one of `classroom.FILLING`.

        Raises:
            FillingOffError: They allow hints only, or nothing.
        """
        check(strictest(filling, "on" if self.notebook is None else self.notebook.filling), hint=False)

    def in_notebook(self, request: Request, mode: str | None, markers: Sequence[str]) -> Request:
        """Return a request with what the notebook's other cells tell: context, names, and the cells that checks need.

        Args:
            request: What is asked about the text.
            mode: One of `fim_magic.context.MODES`; None for "auto".
            markers: What marks a hole.

        Raises:
            OptionError: The text is no cell, and so has no context; or there is no such context.
        """
        if self.notebook is None:
            if mode not in (None, "none"):
                raise OptionError(f"--context {mode} needs a notebook, and this is none. Omit it.")
            return request
        from fim_magic.checks import bound_names, in_cells
        from fim_magic.context import gather

        others = [cell for cell in self.notebook.cells if cell.number != self.number]
        above = [cell for cell in others if cell.number < self.number]
        below = [cell for cell in others if cell.number > self.number and cell.kind == "code"]
        magic = language_of(request.document.prefix)
        script = partial(_scripts, markers=markers, kernel=self.language, language=magic)
        in_python = [] if self.language else _scripts([cell for cell in others if cell.kind == "code"], markers=markers)
        return replace(
            request,
            context=gather(
                request.document,
                above=script(above[-_MOST_CELLS:]),
                below=script(below[:_MOST_CELLS]),
                mode=mode or "auto",
            ),
            known=frozenset[str]().union(*(bound_names(cell.source) for cell in in_python)),
            check_spec=in_cells(request.check_spec, tuple(cell.source for cell in above if cell.kind == "code")),
        )


def _scripts(
    cells: Sequence[FileCell], *, markers: Sequence[str], kernel: str = "", language: str = ""
) -> list[ContextCell]:
    """Return cells as parts of a script.

    Args:
        cells: In their order.
        markers: What marks a hole: a cell with one is left out.
        kernel: The language of the notebook's kernel; "" for Python.
        language: Of the cell with the hole, as `language_of` has it.
    """
    found = []
    for cell in cells:
        script: ContextCell | None = None
        if cell.kind == "code" and not kernel:
            script = code_cell(cell.source, markers=markers, language=language)
        elif cell.kind == "code" and cell.source.strip() and not holds_hole(cell.source, markers):
            script = ContextCell(redacted(cell.source.strip()))
        elif cell.kind == "markdown" and not kernel:  # as comments of Python
            script = text_cell(cell.source)
        found += [] if script is None else [script]
    return found


def read_source(file: str, markers: Sequence[str], *, named: bool = False) -> TextSource:
    """Read a file, or standard input, with a hole.

    Args:
        file: Its name, or "-".
        markers: What marks a hole.
        named: Whether the user has named them, so that each occurrence is a hole.

    Raises:
        OptionError: It cannot be read, or is a notebook without exactly one cell to fill.
        UnreadableTextError: It is no UTF-8 text.
    """
    name = "standard input" if file == STANDARD_INPUT else repr(file)
    text = decoded(_bytes_of(file), name[0].upper() + name[1:])
    if Path(file).suffix.lower() != _NOTEBOOK and not is_notebook(text):
        return TextSource(text, of_file(file))
    notebook = read_notebook(text, name)
    cell = _cell_to_fill(notebook, markers, named=named)
    first, _, body = cell.source.lstrip().partition("\n")
    magic = next((magic for magic in FILLING_MAGICS if first.split()[:1] == [magic]), "")
    return TextSource(
        body if magic else cell.source,
        notebook.language,  # of Python, its magic, if any, says more
        magic == FILLING_MAGICS[1],
        notebook,
        cell.number,
    )


@dataclass(frozen=True)
class InPlace:
    """A file that is filled in place, as it was before it was read.

    Attributes:
        file: As the user named it.
        path: Where it is, behind all links.
        state: What tells one version of it from another; None where it is not there.
    """

    file: str
    path: Path
    state: tuple[int, ...] | None

    @classmethod
    def of(cls, file: str) -> InPlace:
        """Look at a file.

        Raises:
            OSError: It cannot be looked at; links in a circle, too.
        """
        path = Path(os.path.realpath(file))
        try:
            found = path.stat()
        except FileNotFoundError:
            return cls(file, path, None)
        return cls(file, path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def check_writable(file: str) -> InPlace:
    """Return a file that can be filled in place, or raise: before an answer is made that would be lost.

    Raises:
        OptionError: It is no file, or its folder may not be written in.
    """
    if file == STANDARD_INPUT:
        raise OptionError("--in-place needs a file's name; standard input is none.")
    try:
        target = InPlace.of(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"{file!r} could not be read: {reason}. Give the name of a text file.") from error
    if target.state is not None and not target.path.is_file():
        raise OptionError(f"--in-place fills a file, and {file!r} is none. Omit it to have the text printed.")
    if target.state is not None and not os.access(target.path.parent, os.W_OK):
        raise OptionError(
            f"{file!r} could not be written: its folder is read-only. Omit --in-place to have it printed."
        )
    return target


def write_in_place(target: InPlace, text: str) -> None:
    """Put a text into a file: all of it or, where that fails, nothing. A link stays one, and so do the file's rights.

    Raises:
        OptionError: It cannot be written; or somebody has written to it since it was read, or put another in its place.
    """
    try:
        if InPlace.of(target.file) != target:
            raise OptionError(
                f"{target.file!r} has changed while the answer was made, and is as it is now: the text with the answer "
                "is printed in its place. Save it, and try again."
            )
        before = target.path.stat()
        descriptor, temporary = tempfile.mkstemp(prefix=".fim-magic-", dir=target.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(text.encode("utf-8"))
            _like(target.path, before, Path(temporary))
            Path(temporary).replace(target.path)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise OptionError(
            f"{target.file!r} could not be written: {error.strerror}. It is as it was, and the text with the answer is "
            "printed in its place."
        ) from error


def _like(path: Path, status: os.stat_result, temporary: Path) -> None:
    """Give a file the rights of another: its owner, its mode, and lists of who may what. Each is tried."""
    for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
        with suppress(OSError, AttributeError):  # only root may give a file away, and Windows has no such thing
            os.chown(temporary, owner, group)
    temporary.chmod(status.st_mode & 0o7777)  # behind that, which takes some of it away
    names: list[str] = []
    with suppress(OSError, AttributeError):  # Linux alone has them, and not on every disk
        names = os.listxattr(path)
    for name in names:
        with suppress(OSError):  # the system's own may be read by all, and set by few
            os.setxattr(temporary, name, os.getxattr(path, name))


def _bytes_of(file: str) -> bytes:
    if file == STANDARD_INPUT:
        stream = sys.stdin
        if stream is None:
            raise OptionError("Standard input is closed. Give a text file with a <cursor>, or text on standard input.")
        if not hasattr(stream, "buffer"):  # a program's own may be one of text alone, with line ends changed already
            return stream.read().encode("utf-8", "surrogatepass")
        return _bounded(stream.buffer, "standard input")
    try:
        with Path(file).open("rb") as opened:
            return _bounded(opened, repr(file))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(
            f"{file!r} could not be read: {reason}. Give a text file with a <cursor>, or - for standard input."
        ) from error


def _bounded(stream: BinaryIO, name: str) -> bytes:
    """Read a stream that may have no end, such as /dev/zero."""
    data = stream.read(LARGEST_NOTEBOOK + 1)
    if len(data) > LARGEST_NOTEBOOK:
        raise OptionError(f"{name} has more than {LARGEST_NOTEBOOK // MIB} MB, which is no text to fill by hand.")
    return data


def _cell_to_fill(notebook: NotebookFile, markers: Sequence[str], *, named: bool) -> FileCell:
    """Return the cell with the hole: the only one, where a marker in a string counts only if there is no other."""
    code = [cell for cell in notebook.cells if cell.kind == "code"]
    marked = [cell for cell in code if occurrences(cell.source, markers)]
    sure = [cell for cell in marked if holds_hole(cell.source, markers)]
    tagged = [cell for cell in marked if asks_to_be_filled(cell.source, markers)]
    found = marked if named else sure or tagged or marked
    if not found:
        raise MarkerError(no_marker(markers).replace("in the text", "in any of the notebook's code cells"))
    if len(found) > 1:
        numbers = ", ".join(str(cell.number) for cell in found)
        raise MarkerError(
            f"{len(found)} cells hold a cursor marker, and one cell is filled at a time: cells {numbers}, counted "
            'from 1 with the texts. Keep the marker of one, or name another one for the hole: --markers "@@".'
        )
    return found[0]
