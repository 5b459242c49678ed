"""The checks of a candidate in its place, and the imports that its own names lack."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import accumulate

from fim_magic.candidate import Candidate, Check
from fim_magic.cell_text import tree_of, without_magics
from fim_magic.checks import NO_CHECKS, NO_FRAMES, CheckSpec, Frames, look
from fim_magic.document import Document
from fim_magic.holes import written
from fim_magic.imports import import_lines, missing_imports
from fim_magic.line_ends import with_lf
from fim_magic.placing import import_place, with_imports
from fim_magic.request import Request
from fim_magic.sandbox import Limits
from fim_magic.trimming import Hole, copied_from, says_nothing

_PLACES = {"prefix": "from above the hole", "suffix": "from below the hole", "context": "of the context"}


def judged(request: Request, candidates: Sequence[Candidate], *, stopped: bool = False) -> tuple[Candidate, ...]:
    """Return candidates with the checks of each in its place, and the imports that are offered.

    Where the user has `stopped` the request, they are to be shown at once, and nothing is run.
    """
    document, hole, context = request.document, request.hole, request.gathered
    look_in_place = partial(
        in_place,
        document,
        known=request.known,
        frames=context.frames,
        check_spec=NO_CHECKS if stopped else request.check_spec,
        sources=context.sources,
    )

    def look_at(candidate: Candidate) -> Candidate:
        found = look_in_place(candidate)
        return replace(found, checks=(*found.checks, *_original(hole, with_lf(candidate.middle))))

    if len(candidates) == 1:
        return (look_at(candidates[0]),)
    # The checks run in processes of their own, so that threads are enough to wait for several.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return tuple(pool.map(look_at, candidates))


def _original(hole: Hole, middle: str) -> Iterator[Check]:
    """Yield a check that failed where a middle has no code, or only copies what stands elsewhere."""
    if says_nothing(hole, middle):
        yield Check("original", False, "adds no code")
        return
    place = copied_from(hole, middle)
    if place:
        yield Check("original", place != "suffix" and None, f"copies a line {_PLACES[place]}")


def in_place(
    document: Document,
    candidate: Candidate,
    *,
    known: AbstractSet[str] = frozenset(),
    frames: Frames = NO_FRAMES,
    check_spec: CheckSpec = NO_CHECKS,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    sources: Sequence[str] = (),
) -> Candidate:
    """Return a candidate with its checks in its place, and with the imports that are offered.

    An import is offered for a name that the answer itself uses. Where that leaves no name undefined, the check of names
    has passed. What the user wants tried is tried with the imports.

    Args:
        document: The text with the hole.
        candidate: The answer.
        known: The names in the notebook's namespace.
        frames: The columns of its DataFrames.
        check_spec: What is to be tried in the sandbox.
        limits: What that may use.
        sources: The notebook's other cells, oldest first.
    """
    document = document.for_model()
    middle = with_lf(candidate.middle)
    text = document.rebuild(middle)
    found = look(text, known=known, frames=frames, document=document)
    lacking = next((check.names for check in found if check.name == "names"), ())
    own = _names_between(text, len(document.prefix), len(document.prefix) + len(middle))
    imports = missing_imports(text, [name for name in lacking if name in own], sources)
    lines = import_lines(imports)
    mended = tuple(_with_imports(check, [one.name for one in imports], lines) for check in found)
    if not check_spec.anything:
        return replace(candidate, checks=mended, imports=lines)
    whole = with_imports(text, lines)
    spans = _spans(document, candidate, text, whole)
    again = look(
        whole,
        known=known,
        frames=frames,
        check_spec=check_spec,
        limits=limits,
        document=document,
        written=spans,
    )
    return replace(candidate, checks=(*mended, *again[len(found) :]), imports=lines)


def _spans(document: Document, candidate: Candidate, text: str, whole: str) -> list[tuple[int, int]]:
    """Where in a text with imports the model's own text stands, once for each hole.

    Args:
        document: The text with the hole.
        candidate: The answer.
        text: The text with the answer.
        whole: The same with more imports, all in one place.
    """
    start, end = len(document.prefix), len(text) - len(document.suffix)
    spans = [(start + first, start + last) for first, last in written(candidate.kept, end - start)]
    added = len(whole) - len(text)
    place = import_place(text) if added else 0
    return [(first + added * (place <= first), last + added * (place < last)) for first, last in spans]


def _names_between(text: str, start: int, end: int) -> set[str]:
    """The names of a cell that have a character between two places."""
    tree = tree_of(without_magics(text) or "")  # its rows are those of the cell
    if tree is None:
        return set()
    rows = text.split("\n")
    begins = [0, *accumulate(len(row) + 1 for row in rows)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            row = node.lineno - 1
            position = begins[row] + len(rows[row].encode()[: node.col_offset].decode(errors="ignore"))
            if position < end and position + len(node.id) > start:
                found.add(node.id)
    return found


def _with_imports(check: Check, names: Sequence[str], lines: Sequence[str]) -> Check:
    if check.name != "names" or not lines:
        return check
    left = tuple(name for name in check.names if name not in names)
    adds = f"adds {', '.join(lines)}"
    if left:
        return replace(check, detail=f"undefined: {', '.join(left)}; {adds}", names=left)
    return replace(check, passed=True, detail=adds, names=())
