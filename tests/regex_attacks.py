"""Every regular expression of fim_magic, and for each the texts that would make it slow if it goes back over them."""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

try:
    from re import _constants as sre
    from re import _parser
except ImportError:  # Python 3.10
    import sre_constants as sre
    import sre_parse as _parser

import fim_magic
from fim_magic.languages.grammars import GRAMMARS

ROOT = Path(fim_magic.__file__).parent
_METHODS = frozenset({"search", "match", "fullmatch", "sub", "subn", "finditer", "findall", "split"})
_TEXT = {"sub": 2, "subn": 2}  # which argument of a function of `re` is the text; the flags come behind it, or a count
_COMMON = " \t\r\n\"'()[]{}<>aA0_.,:;=-+*/\\#%@|&!?\u0301é"
_GOES_ON = [grammar.goes_on for grammar in GRAMMARS.values() if grammar.goes_on]

# What stands in the place of a function's own variables, where a pattern is put together of them.
_STAND_INS: dict[str, list[Any]] = {
    "name": ["total"],
    "shown": ["total"],
    "comments": [r"//[^\n]*|/\*.*?(?:\*/|\Z)", r"--[^\n]*"],
    "shard": [("", "model", "00003")],
    "words": ["print|puts"],
    "pattern": [r"<cursor>|<FILL_ME>|█", *_GOES_ON],
    "grammar": [SimpleNamespace(main="main", goes_on=goes_on) for goes_on in _GOES_ON],
    "self": [SimpleNamespace(grammar=SimpleNamespace(goes_on=goes_on)) for goes_on in _GOES_ON],
    "value": ["s3cr3t"],
    "probe": [SimpleNamespace(needs=r"\bGREETING\b")],
}


@dataclass(frozen=True)
class Found:
    """A pattern, where it stands, and how it is used."""

    place: str
    pattern: re.Pattern[str]
    methods: tuple[str, ...]

    def run(self, text: Any) -> None:
        if isinstance(self.pattern.pattern, bytes):
            text = text.encode("latin-1", "replace")
        for method in self.methods:
            if method == "finditer":
                for _ in self.pattern.finditer(text):
                    pass
            elif method in ("sub", "subn"):
                self.pattern.sub(text[:0], text)
            else:
                getattr(self.pattern, method)(text)


def patterns() -> list[Found]:
    """Return every pattern that a module of fim_magic gives to `re`, with the methods that are called on it."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(ROOT.rglob("*.py"))}
    shared: dict[str, set[str]] = {}
    for tree in trees.values():
        for name, methods in _methods_by_name(tree).items():
            shared.setdefault(name, set()).update(methods)
    return [
        found
        for path, tree in trees.items()
        for found in _in_module(path, tree, {**shared, **_private(_methods_by_name(tree))})
    ]


def _private(called: dict[str, set[str]]) -> dict[str, set[str]]:
    return {name: methods for name, methods in called.items() if name.startswith("_")}


def _methods_by_name(tree: ast.Module) -> dict[str, set[str]]:
    called: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _METHODS:
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            called.setdefault(name, set()).add(node.attr)
    return called


def _in_module(path: Path, tree: ast.Module, called: dict[str, set[str]]) -> Iterator[Found]:
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        function = node.func if isinstance(node, ast.Call) else None
        if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
            continue
        if function.value.id != "re" or function.attr not in _METHODS | {"compile"}:
            continue
        methods = {function.attr}
        if function.attr == "compile":
            target = parents[node].targets[0] if isinstance(parents[node], ast.Assign) else None
            methods = called.get(target.id, set()) if isinstance(target, ast.Name) else set()
        place = f"{path.relative_to(ROOT).with_suffix('').as_posix()}:{node.lineno}"
        for pattern in _values(node, path):
            yield Found(place, pattern, tuple(sorted(methods or {"finditer"})))


def _values(call: ast.Call, path: Path) -> Iterator[re.Pattern[str]]:
    """Yield what a call's pattern is, for each of the stand-ins of what only the function knows."""
    name = call.func.attr
    position = 1 if name == "compile" else _TEXT.get(name, 1) + 1
    flags = [word.value for word in call.keywords if word.arg == "flags"] or call.args[position : position + 1]
    if name in ("sub", "subn", "split"):
        flags = [word.value for word in call.keywords if word.arg == "flags"]
    try:
        value, flag = ast.literal_eval(call.args[0]), sum(map(_flag, flags))
        yield re.compile(value, flag)
        return
    except ValueError:
        pass
    module = vars(importlib.import_module(".".join(["fim_magic", *path.relative_to(ROOT).with_suffix("").parts])))
    names = {node.id for node in ast.walk(call.args[0]) if isinstance(node, ast.Name)} - set(module)
    used = [name for name in _STAND_INS if name in names]
    for number in range(max((len(_STAND_INS[name]) for name in used), default=1)):
        own = {name: _STAND_INS[name][number % len(_STAND_INS[name])] for name in used}
        code = compile(ast.Expression(call.args[0]), str(path), "eval")
        yield re.compile(eval(code, module, own), sum(map(_flag, flags)))


def _flag(node: ast.expr) -> int:
    if isinstance(node, ast.BinOp):
        return _flag(node.left) | _flag(node.right)
    assert isinstance(node, ast.Attribute), ast.dump(node)
    return int(getattr(re, node.attr))


# --- texts ------------------------------------------------------------------------------------------


def attacks(pattern: re.Pattern[str]) -> list[Callable[[int], str]]:
    """Return functions that make a text of about so many characters out of what a pattern is made of.

    Runs of each of its characters; each of its repetitions, begun as the pattern begins it and never ended; its
    beginning again and again; what it matches, and what it nearly matches, again and again.
    """
    tree = _parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    pieces = {(before, pump) for before, pumps in _repetitions(tree, "") for pump in pumps}
    whole = _sample(tree)
    made: dict[tuple[str, str, str], None] = {}
    for char in dict.fromkeys([*_literals(tree), *_COMMON]):
        made["", char, ""] = None
    for before, pump in sorted(pieces):
        for end in ("", "\0", "\n"):
            made[before, pump, end] = None
        made["", before + pump, "\0"] = None
        made["", before, ""] = None
        made["", before + pump + "\n", ""] = None
    for text in (whole, whole[:-1], whole + "\n"):
        made["", text, ""] = None
    return [_maker(*parts) for parts in made if parts[1]]


def _maker(before: str, pump: str, end: str) -> Callable[[int], str]:
    def make(length: int) -> str:
        return before + pump * (length // len(pump)) + end

    return make


def _literals(tree: Any) -> Iterator[str]:
    for op, value in tree:
        if op in (sre.LITERAL, sre.NOT_LITERAL):
            yield chr(value)
        elif op is sre.IN:
            for kind, item in value:
                if kind is sre.LITERAL:
                    yield chr(item)
                elif kind is sre.RANGE:
                    yield from (chr(item[0]), chr(item[1]))
        else:
            for inner in _inner(op, value):
                yield from _literals(inner)


def _inner(op: Any, value: Any) -> list[Any]:
    """Return the patterns inside of one part of a pattern."""
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT) or str(op) == "POSSESSIVE_REPEAT":
        return [value[2]]
    if op is sre.SUBPATTERN:
        return [value[3]]
    if op is sre.BRANCH:
        return list(value[1])
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        return [value[1]]
    if str(op) == "ATOMIC_GROUP":
        return [value]
    if op is sre.GROUPREF_EXISTS:
        return [part for part in value[1:] if part is not None]
    return []


def _chars(op: Any, value: Any) -> list[str]:
    """Return some characters that one part of a pattern matches, if that is a single character."""
    if op is sre.LITERAL:
        return [chr(value)]
    if op is sre.ANY:
        return list('a ("')
    if op is sre.NOT_LITERAL:
        return [char for char in 'a ("' if ord(char) != value]
    if op is sre.CATEGORY:
        return [char for char in " \ta0_(" if _is_of(value, char)]
    if op is not sre.IN:
        return []
    negated = value[0][0] is sre.NEGATE
    named = [chr(item) for kind, item in value if kind is sre.LITERAL]
    named += [chr(item[0]) for kind, item in value if kind is sre.RANGE]
    candidates = " a0\t\n_('\"=." if negated else dict.fromkeys([*" \t\na0_", *named])
    return [char for char in candidates if _is_in(value, char) != negated]


def _is_in(items: Any, char: str) -> bool:
    for kind, item in items:
        if kind is sre.LITERAL and ord(char) == item:
            return True
        if kind is sre.RANGE and item[0] <= ord(char) <= item[1]:
            return True
        if kind is sre.CATEGORY and _is_of(item, char):
            return True
    return False


def _is_of(category: Any, char: str) -> bool:
    letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[str(category).rpartition("_")[2]]
    return (re.match(rf"\{letter}", char) is not None) != ("NOT" in str(category))


def _sample(tree: Any) -> str:
    """Return a text that a pattern matches, with each repetition once; nearly, where it looks around."""
    text = ""
    for op, value in tree:
        if chars := _chars(op, value):
            text += chars[0]
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT) or str(op) == "POSSESSIVE_REPEAT":
            text += _sample(value[2]) * min(max(value[0], 1), 50)
        elif op not in (sre.ASSERT, sre.ASSERT_NOT) and (inner := _inner(op, value)):
            text += _sample(inner[0])
    return text


def _repetitions(tree: Any, before: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what leads to each repetition of a pattern, and texts that it may repeat."""
    for op, value in tree:
        inner = _inner(op, value)
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and value[1] > 1:
            single = list(value[2])
            chars = _chars(*single[0])[:5] if len(single) == 1 else []
            pumps = chars or [_sample(value[2]), *map(_sample, _alternatives(value[2]))]
            if len(chars) > 1:
                pumps = [*chars, chars[0] + chars[-1]]
            yield before, [pump for pump in pumps[:8] if pump]
        for part in inner:
            yield from _repetitions(part, before)
        before += _sample([(op, value)])


def _alternatives(tree: Any) -> Iterator[Any]:
    for op, value in tree:
        if op is sre.BRANCH:
            yield from value[1]
        elif op is sre.SUBPATTERN:
            yield from _alternatives(value[3])


# --- time -------------------------------------------------------------------------------------------


def seconds(run: Callable[[str], object], text: str, times: int = 1) -> float:
    """Return how long something takes this thread with a text, the best of so many times."""
    best = float("inf")
    for _ in range(times):
        began = time.thread_time()
        run(text)
        best = min(best, time.thread_time() - began)
    return best
