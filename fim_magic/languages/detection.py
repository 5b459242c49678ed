"""Which language a text is in: a cell by its magic, a file by the ending of its name."""

from __future__ import annotations

import re
from pathlib import PurePath

PYTHON = "python"

_MAGIC = re.compile(r"\s*%%(\S+)([^\n]*)\n?")
_SESSION = frozenset(
    "capture debug heat memit memray_flamegraph mypy prun scalene snakeviz time timeit".split()  # words
)
"""The magics of cells whose Python runs in the session."""

_ELSEWHERE = "pypy pypy3 python python2 python3 px"
PYTHON_MAGICS = _SESSION.union(_ELSEWHERE.split())
"""The magics of cells that are Python."""

_WRITES_FILE = frozenset({"file", "writefile"})
_RUNS_PROGRAM = "script"

_LANGUAGES: dict[str, tuple[str, str]] = {
    # language: (its magics and programs, the endings of its files)
    PYTHON: (_ELSEWHERE, "ipy py pyi pyw"),
    "bash": ("bash dash ksh sh sx system zsh", "bash ksh sh zsh"),
    "batch": ("cmd", "bat cmd"),
    "c": ("c cc gcc", "c h"),
    "cpp": ("c++ cling cpp cu cuda cxx nvcc", "cc cpp cu cuh cxx hh hpp hxx"),
    "csharp": ("c# cs csharp", "cs"),
    "css": ("css", "css"),
    "cython": ("cython", "pxd pyx"),
    "fortran": ("fortran", "f f90 f95"),
    "go": ("go", "go"),
    "haskell": ("haskell", "hs"),
    "html": ("html", "htm html xhtml"),
    "java": ("java jshell", "java"),
    "javascript": ("bun javascript js node", "cjs js jsx mjs"),
    "json": ("json", "json"),
    "julia": ("jl julia", "jl"),
    "kotlin": ("kotlin", "kt kts"),
    "latex": ("latex", "latex sty tex"),
    "lua": ("lua", "lua"),
    "markdown": ("markdown md", "markdown md qmd rmd"),
    "matlab": ("matlab", ""),
    "octave": ("octave", "m"),
    "perl": ("perl", "pl pm"),
    "php": ("php", "php"),
    "powershell": ("powershell pwsh", "ps1"),
    "r": ("r rscript", "r"),
    "ruby": ("ruby", "rb"),
    "rust": ("rs rust", "rs"),
    "scala": ("scala", "sc scala"),
    "sql": ("bigquery dsql duckdb redshift snowflake sparksql sql sqlite", "ddl sql"),
    "svg": ("svg", "svg"),
    "swift": ("swift", "swift"),
    "text": ("", "rst txt"),
    "tikz": ("tikz", ""),
    "toml": ("toml", "toml"),
    "tsx": ("tsx", "tsx"),
    "typescript": ("deno ts typescript", "cts mts ts"),
    "xml": ("xml", "xml"),
    "yaml": ("yaml yml", "yaml yml"),
}
_BY_MAGIC = {magic: language for language, (magics, _) in _LANGUAGES.items() for magic in magics.split()}
_BY_ENDING = {ending: language for language, (_, endings) in _LANGUAGES.items() for ending in endings.split()}
_TITLES = {
    "c": "C", "cpp": "C++", "csharp": "C#", "css": "CSS", "html": "HTML", "javascript": "JavaScript", "json": "JSON",
    "latex": "LaTeX", "php": "PHP", "powershell": "PowerShell", "r": "R", "sql": "SQL", "svg": "SVG", "tikz": "TikZ",
    "toml": "TOML", "tsx": "TSX", "typescript": "TypeScript", "xml": "XML", "yaml": "YAML", "bash": "bash",
}  # fmt: skip
MARKUP = frozenset({"html", "latex", "markdown", "svg", "text", "tikz", "xml"})
"""Languages of texts for readers, where a Markdown fence is part of the text."""

PERCENT_COMMENTS = frozenset({"latex", "matlab", "octave", "tikz"})
"""Languages where a comment begins with `%`."""

_QUERY = re.compile(r"\b(?:alter|create|delete|drop|insert|select|update|with)\b", re.IGNORECASE)


def of_cell(text: str) -> str:
    """Return the language of a cell, by its beginning: a name as in [`of_file`][], or an unknown magic in lower case.

    A cell without a magic is Python, and so is one that is only timed or the like.
    """
    magic, rest, _ = _first_magic(text)
    if not magic:
        return PYTHON
    if magic in _WRITES_FILE:
        return of_file(rest.strip(" \t\"'")) or "text"
    if magic == _RUNS_PROGRAM:
        words = [word for word in rest.split() if not word.startswith("-")]
        program = PurePath(words[0]).name if words else ""
        return _BY_MAGIC.get(program.lower(), program.lower() or "text")
    return _BY_MAGIC.get(magic.lower(), magic.lower())


def of_file(name: str) -> str:
    """Return the language of a file by the ending of its name: "javascript", "python"; "" where it is not known."""
    return _BY_ENDING.get(PurePath(name).suffix[1:].lower(), "")


def magic_of(text: str) -> str:
    """Return the magic that decides what becomes of a cell: of `%%time` above `%%bash` the second.

    Without one, "", a cell is Python that runs in the session, so that it has the session's names.
    """
    return _first_magic(text)[0]


def begins_at(text: str) -> int:
    """Return where a cell's own text begins, below its magics. A query may begin on the magic's line."""
    magic, rest, end = _first_magic(text)
    query = _QUERY.search(rest) if _BY_MAGIC.get(magic.lower()) == "sql" else None
    if query is None:
        return end
    line_end = end - 1 if text[:end].endswith("\n") else end
    return line_end - len(rest) + query.start()


def title(language: str) -> str:
    """Return a language's name as people write it: "JavaScript"."""
    return _TITLES.get(language, language.capitalize())


def _first_magic(text: str) -> tuple[str, str, int]:
    """The first magic that is not about Python in the session, the rest of its line, and where the next begins."""
    position = 0
    while match := _MAGIC.match(text, position):
        position = match.end()
        if match[1] not in _SESSION:
            return match[1], match[2], position
    return "", "", position
