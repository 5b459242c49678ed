"""What in a rebuilt cell is the user's and what the answer's, so that an answer cannot redefine its own check.

An answer inside a function or a class has that to define, and nothing else of the user's: the cell is divided, and what
the answer binds or changes besides is put back before the user's own code goes on. Where the hole stands between
statements, an answer may define anything. Then a check that also reads a name which only this cell makes gets the
other names of earlier cells as the user left them; a check that reads none but names of both is passed with a word
about it, since those may be just what was to be filled in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

from fim_magic.cell_text import RUN_LATER, tree_of
from fim_magic.checks.binding import alias_name, root_of
from fim_magic.line_ends import lines_with_ends

Place = tuple[int, int]
"""A row, from 1, and a column in bytes of UTF-8, as `ast` counts them."""

_DEFINES = re.compile(rb"(?:async\s+)?(?:def|class)\s+")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPARES = "__bool__ __class__ __contains__ __eq__ __ge__ __gt__ __instancecheck__ __le__ __lt__ __ne__"
# `abs(value - wanted) < tolerance`, `value / wanted == 1`, `not value ^ wanted`, `np.allclose(value, wanted)`
_COMPUTES = """
    __abs__ __array_function__ __array_ufunc__ __mod__ __round__ __rmod__ __rsub__ __rtruediv__ __rxor__ __sub__
    __subclasscheck__ __subclasshook__ __truediv__ __xor__
"""
_SHOWS = ("__format__", "__repr__", "__str__")  # doctests compare what is shown
# unittest.mock.ANY equals everything, and pytest.approx as much as one likes; an iterator that stops early leaves a
# loop's assertions out; a test that skips itself has not failed, nor has one of hypothesis that assumes too much;
# unittest asks a module which tests are to be run.
_ANY = """
    ANY SkipTest StopAsyncIteration StopIteration approx assume hypothesis load_tests mock setUpModule skipTest
"""
# What changes a check from beneath while it runs.
_REACHES_IN = """
    __array_interface__ __array_struct__ _ctypes _current_frames _getframe addaudithook ag_frame cffi cr_frame ctypes
    currentframe displayhook f_back f_builtins f_code f_globals f_lineno f_locals f_trace get_objects get_referents
    get_referrers getinnerframes getouterframes gi_frame monitoring setprofile settrace tb_frame walk_stack walk_tb
"""
_ANSWERS_ITSELF = frozenset([*_COMPARES.split(), *_COMPUTES.split(), *_SHOWS, *_ANY.split(), *_REACHES_IN.split()])


@dataclass(frozen=True)
class Written:
    """Where in a text an answer stands.

    Attributes:
        spans: The places from which to which it goes, once for each hole.
        rows: The rows that hold any of it beside white space.
    """

    spans: tuple[tuple[Place, Place], ...]
    rows: frozenset[int]

    def covers(self, place: Place) -> bool:
        return any(start <= place < end for start, end in self.spans)


def written_in(text: str, spans: Iterable[tuple[int, int]], source: str) -> Written:
    """Return where an answer stands.

    Args:
        text: The cell.
        spans: From which character of it to which the answer goes, for each hole.
        source: The same without magics, whose places are meant: it has the same rows, some of them without a `%time`.
    """
    lines = lines_with_ends(text)
    starts = [0, *accumulate(map(len, lines))]
    pairs = enumerate(zip(lines, lines_with_ends(source), strict=False), 1)
    shifts = {row: len(line) - len(read) for row, (line, read) in pairs if line.endswith(read.lstrip())}
    found, rows = [], set()
    for start, end in spans:
        found.append((_place(text, starts, shifts, start), _place(text, starts, shifts, end)))
        for row, (begins, ends) in enumerate(pairwise(starts), 1):
            if text[max(start, begins) : min(end, ends)].strip():
                rows.add(row)
    return Written(tuple(found), frozenset(rows))


def _place(text: str, starts: Sequence[int], shifts: Mapping[int, int], position: int) -> Place:
    row = sum(start <= position for start in starts)
    before = text[starts[row - 1] : position].encode("utf-8", "surrogatepass")
    return row, max(0, len(before) - shifts.get(row, 0))


@dataclass(frozen=True)
class Division:
    """A cell, divided by whose it is.

    Attributes:
        parts: Its sources, to be run in this order. Each keeps its rows.
        answers: The indices of the parts that hold the answer: several, where it stands in several functions, or
            goes on behind one.
        beside: Those of them that are the answer's alone, behind what it was to fill in.
        is_scoped: Whether the answer stands inside a function or a class.
        users: Names that the user's own text binds beside the answer, or says to change: these are not put back.
        spared: Those of the answer's parts and of what follows them.
        bound: Names that the answer binds.
        used: Names that the answer reads.
        shared: Names that functions of the user's may set.
        made: Names that this cell makes, whoever wrote it.
        answers_itself: What the answer defines that decides comparisons, if anything.
        without_answer: The cell without the statements that only the answer has.
    """

    parts: tuple[str, ...]
    answers: tuple[int, ...]
    beside: tuple[int, ...]
    is_scoped: bool
    users: frozenset[str]
    spared: frozenset[str]
    bound: frozenset[str]
    used: frozenset[str]
    shared: frozenset[str]
    made: frozenset[str]
    answers_itself: tuple[str, ...]
    without_answer: str


def divided(source: str, written: Written) -> Division | None:
    """Divide a cell without magics; None where it cannot be read, or holds nothing of an answer."""
    tree = tree_of(source)
    if tree is None or not written.rows:
        return None
    rows = lines_with_ends(source)
    theirs = [statement for statement in tree.body if _touches(statement, written)]
    if not theirs:
        return None
    own = [statement for statement in theirs if written.covers(_begin(statement))]
    around = [statement for statement in theirs if statement not in own]
    is_scoped = all(_is_scoped(span, around) for span in written.spans if span[0] != span[1])
    is_whole = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    blocks = [(1, len(rows))] if is_whole else _blocks(tree, theirs, own if is_scoped else None)
    parts, answers = _parts(rows, blocks)
    following = [node for node in tree.body if node.lineno >= blocks[0][0]]
    at_answer = [node for node in following if any(first <= node.lineno <= last for first, last in blocks)]
    return Division(
        parts=parts,
        answers=answers,
        beside=tuple(
            index
            for index, (first, last) in zip(answers, blocks, strict=True)
            if is_scoped and all(node in own for node in tree.body if first <= _begin(node)[0] <= last)
        ),
        is_scoped=is_scoped,
        users=frozenset(_names(at_answer if is_scoped else following, rows, written, by_answer=False)),
        spared=frozenset(_names(following, rows, written, by_answer=False)),
        bound=frozenset(_names(theirs, rows, written, by_answer=True)),
        used=frozenset(
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and written.covers((node.lineno, node.col_offset))
        ),
        shared=frozenset(_global_names(tree, written)),
        made=frozenset(name for name, _ in chain.from_iterable(_bindings(node, rows) for node in following)),
        answers_itself=tuple(sorted({*_answers_itself(tree, written)})),
        without_answer="".join(row for number, row in enumerate(rows, 1) if not _is_in(number, own)),
    )


def _begin(statement: ast.stmt) -> Place:
    decorators = getattr(statement, "decorator_list", ())
    return min((node.lineno, node.col_offset) for node in (statement, *decorators))


def _end(node: ast.AST) -> Place:
    return getattr(node, "end_lineno", None) or 0, getattr(node, "end_col_offset", None) or 0


def _touches(statement: ast.stmt, written: Written) -> bool:
    return any(_begin(statement) < end and start <= _end(statement) for start, end in written.spans if start != end)


def _is_in(row: int, statements: Iterable[ast.stmt]) -> bool:
    return any(_begin(statement)[0] <= row <= _end(statement)[0] for statement in statements)


def _blocks(tree: ast.Module, statements: Sequence[ast.stmt], own: Sequence[ast.stmt] | None) -> list[tuple[int, int]]:
    """Return the first and the last row of statements that an answer has part in.

    Statements that share a row with them belong to them.

    Args:
        tree: The cell.
        statements: Those.
        own: Those of them that are the answer's alone, and stand apart; None to have all in one block.
    """
    found: list[tuple[int, int]] = []
    apart = own is not None
    last_end, was_own = 0, False
    for statement in tree.body:
        first, last = _begin(statement)[0], _end(statement)[0]
        follows = bool(found) and found[-1][1] == last_end and (statement in (own or ())) is was_own
        if found and (first <= found[-1][1] or (statement in statements and (follows or not apart))):
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        elif statement in statements:
            found.append((first, last))
        last_end, was_own = last, statement in (own or ())
    return [(_first_of_row(tree, first), last) for first, last in found]


def _first_of_row(tree: ast.Module, row: int) -> int:
    """The row where the first of the statements begins that share one, whatever it is they share."""
    for statement in reversed(tree.body):
        if _begin(statement)[0] < row <= _end(statement)[0]:
            row = _begin(statement)[0]
    return row


def _parts(rows: Sequence[str], blocks: Sequence[tuple[int, int]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the parts of a cell, and which of them are the blocks."""
    parts: list[str] = []
    answers = []
    row = 1
    for first, last in blocks:
        before = _only_rows(rows, row, first - 1)
        parts += [before] if before else []
        answers.append(len(parts))
        parts.append(_only_rows(rows, first, last))
        row = last + 1
    after = _only_rows(rows, row, len(rows))
    return (*parts, *([after] if after else [])), tuple(answers)


def _only_rows(rows: Sequence[str], first: int, last: int) -> str:
    """Some rows of a source, with empty ones before them, so that errors name the right ones."""
    part = "".join(rows[first - 1 : last]) if last >= first else ""
    return "\n" * (first - 1) + part if part.strip() else ""


def _is_scoped(span: tuple[Place, Place], around: Iterable[ast.stmt]) -> bool:
    """Whether an answer begins inside a function or a class that the user has begun."""
    nodes = chain.from_iterable(map(ast.walk, around))
    scopes = (node for node in nodes if isinstance(node, _SCOPES))
    return any(_begin(node) < span[0] <= _end(node) for node in scopes)


def _bindings(node: ast.AST, rows: Sequence[str]) -> Iterator[tuple[str, Place]]:
    """Yield the names that a statement binds or changes where it stands, and where it says so."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id, (node.lineno, node.col_offset)
    elif isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
        root = root_of(node)
        if isinstance(root, ast.Name):
            yield root.id, (root.lineno, root.col_offset)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias_name(alias), (alias.lineno, alias.col_offset)) for alias in node.names)
    elif isinstance(node, _SCOPES):
        row = rows[node.lineno - 1].encode("utf-8", "surrogatepass")
        defines = _DEFINES.match(row, node.col_offset)
        yield node.name, (node.lineno, defines.end() if defines else node.col_offset)
        return
    elif isinstance(node, RUN_LATER):
        return
    for field in ("name", "rest"):  # of handlers and of patterns
        if isinstance(name := getattr(node, field, None), str):
            yield name, (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
    for child in ast.iter_child_nodes(node):
        yield from _bindings(child, rows)


def _names(nodes: Iterable[ast.stmt], rows: Sequence[str], written: Written, *, by_answer: bool) -> Iterator[str]:
    for node in nodes:
        yield from (name for name, place in _bindings(node, rows) if written.covers(place) is by_answer)


def _global_names(tree: ast.AST, written: Written | None = None) -> Iterator[str]:
    """The names that functions of the user's say to set."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global) and not (written and written.covers((node.lineno, node.col_offset))):
            yield from node.names


def _answers_itself(tree: ast.AST, written: Written) -> Iterator[str]:
    for node in ast.walk(tree):
        if not written.covers((getattr(node, "lineno", 0), getattr(node, "col_offset", 0))):
            continue
        names = [getattr(node, field, None) for field in ("name", "attr", "id", "value", "arg", "module")]
        texts = [name for name in names if isinstance(name, str)]
        if isinstance(node, (ast.alias, ast.ImportFrom)):
            texts = [part for text in texts for part in text.split(".")]
        yield from (name for name in texts if name in _ANSWERS_ITSELF)


def shared_names(trees: Iterable[ast.Module]) -> frozenset[str]:
    """Return the names that functions in these cells say to set."""
    return frozenset(chain.from_iterable(map(_global_names, trees)))


def names_read(checks: Iterable[ast.Module], cells: Iterable[ast.Module]) -> frozenset[str]:
    """Return the names that checks read, also by way of the functions and classes of some cells."""
    definitions: dict[str, set[str]] = {}
    for node in chain.from_iterable(tree.body for tree in cells):
        if isinstance(node, _SCOPES):
            definitions.setdefault(node.name, set()).update(_loaded(node))
    waiting = [*chain.from_iterable(map(_loaded, checks))]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += definitions.get(name, ())
    return frozenset(found)


def imported(trees: Iterable[ast.Module]) -> frozenset[str]:
    """Return the modules that some cells import, anywhere in them."""
    nodes = chain.from_iterable(map(ast.walk, trees))
    return frozenset(
        chain.from_iterable(
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for node in nodes
            if isinstance(node, (ast.Import, ast.ImportFrom))
        )
    )


def attribute_chains(trees: Iterable[ast.Module]) -> frozenset[str]:
    """Return what some cells read of names by way of attributes: `np.testing.assert_allclose`."""
    nodes = chain.from_iterable(map(ast.walk, trees))
    return frozenset(ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute) and _is_chain(node))


def _is_chain(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _loaded(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
