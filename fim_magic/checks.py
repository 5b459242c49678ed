"""What can be said about a rebuilt cell: does it parse, are its names defined, do the user's examples and tests pass?

Nothing here knows models or IPython's shell. `parses`, `names_defined` and `needed_cells` only read; `tried` runs the
cell in `sandbox`.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from fim_magic.candidate import Check
from fim_magic.document import Document
from fim_magic.examples import examples_in
from fim_magic.languages import PYTHON, PYTHON_MAGICS, of_cell, verdict
from fim_magic.sandbox import Done, Limits, Report, Step, run_steps

_OTHER_LANGUAGE = "not Python"  # so it is said of a cell that cannot be judged
_LONGEST = 1_000_000  # characters
_TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_CELL_MAGIC = re.compile(r"\s*%%(\w+)([^\n]*)\n?")
_DEFINING_MAGIC = re.compile(r"^[ \t]*%(?:run|pylab|store|load)\b", re.MULTILINE)
_TIMED = re.compile(r"^([ \t]*)%time[ \t]+(?=\S)")
_MAGIC_LINE = re.compile(r"^([ \t]*)(?:[%!?].*|[^\n#'\"]*=[ \t]*[%!](?!=).*|[\w.%* \t]+\?{1,2}[ \t]*)$")
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_EVERYWHERE = """
    __file__ __name__ __doc__ __builtins__ __builtin__ __spec__ __loader__ __package__ __annotations__ __class__
    __conditional_annotations__ __classdict__ __static_attributes__
    In Out _ __ ___ _i _ii _iii _ih _oh _dh exit quit get_ipython display open
"""
_IN_A_NOTEBOOK = frozenset(_EVERYWHERE.split())
_HISTORY = re.compile(r"_i?\d+")
_ONLY_SHOWS = frozenset({"describe", "head", "hist", "info", "plot", "sample", "show", "tail"})
# What these say may be the sandbox's fault, not the cell's: it has none of the user's files.
_OF_THE_SANDBOX = ("BlockingIOError", "FileNotFoundError", "ModuleNotFoundError", "PermissionError")
_SHOWN = 60  # characters of an example or of what it gave
_DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
_PRELUDE = "def display(*things, **options):\n    print(*things)\n\ndef get_ipython():\n    return None\n"
_NO_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


@dataclass(frozen=True)
class Asked:
    """What the user wants tried.

    Attributes:
        expressions: Each has to be true; an `assert` is fine as well.
        tests: Cells that have to run without an error.
        doctests: Whether the examples in the cell's docstrings have to hold.
        setup: The cells that were run before, oldest first. Those that are needed run before the rebuilt cell.
    """

    expressions: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    doctests: bool = False
    setup: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether something has to be run."""
        return bool(self.expressions or self.tests or self.doctests)


NOTHING_ASKED = Asked()
"""Only what can be seen without running anything."""


def parses(text: str, document: Document | None = None) -> Check:
    """Tell whether a cell is Python, or what IPython makes into Python; or what its language's parser knows.

    Nothing is run.

    Args:
        text: The whole cell.
        document: What it was made of: what is wrong in another language whatever is in the hole, is not the answer's.
    """
    if language := _elsewhere(text, document):
        return _parses_elsewhere(text, document, language)
    return _parses_as_python(text)


def _parses_as_python(text: str) -> Check:
    check = partial(Check, "parses")
    if len(text) > _LONGEST:
        return check(None, "too long to look at")
    source = _python(text)
    if source is None:
        return check(None, _OTHER_LANGUAGE)
    try:
        _compiled(source)
    except SyntaxError as error:
        line = f" in line {error.lineno}" if error.lineno else ""
        return check(False, _short(f"{type(error).__name__}: {error.msg}{line}"))
    except (RecursionError, MemoryError):
        return check(None, "nested too deep to look at")
    except (ValueError, OverflowError) as error:  # null bytes, a lone surrogate
        return check(False, _short(f"not Python source: {error}"))
    return check(True)


def names_defined(text: str, known: AbstractSet[str]) -> Check:
    """Tell whether every global name that a cell loads is defined in it, known, or Python's own.

    Args:
        text: The whole cell.
        known: The names in the notebook's namespace.
    """
    check = partial(Check, "names")
    names = _names(text)
    if names is None:
        return check(None, "cannot be read")
    missing = [name for name in names.undefined() if name not in known]
    if not missing:
        return check(True)
    if names.open:
        return check(None, _short(f"cannot tell where {', '.join(missing)} may come from"))
    return check(False, _short(f"undefined: {', '.join(missing)}"))


def bound_names(text: str) -> frozenset[str]:
    """Return the global names that a cell defines or imports; none where it cannot be read."""
    names = _names(text)
    return frozenset() if names is None else frozenset(names.bound)


def needed_cells(text: str, cells: Sequence[str]) -> tuple[str, ...]:
    """Return the cells that define, or change, what a text needs, and what they need in turn.

    That is told from their text alone: a name counts as changed where it is assigned, where something is stored in it
    (`df["x"] = …`), and by a statement that calls a method of it (`xs.append(…)`). What a call does to its arguments is
    not seen.

    Args:
        text: What is to be run after them.
        cells: What was run before, oldest first.

    Returns:
        Those that are needed, in their order, without their magics.
    """
    sources = [source for source in map(_without_magics, cells) if source is not None]
    read = [(source, flow) for source in sources if (flow := _flow(source)) is not None]
    modules = frozenset(chain.from_iterable(flow.modules for _, flow in read))
    own = _flow(_without_magics(text) or "")
    wanted = own.needs | own.later if own else _tokens(text)
    chosen: set[int] = set()
    while True:
        # A function's body may need what a cell below it defines: look again with what is known by then.
        need = set(wanted).union(*(read[index][1].later for index in chosen))
        found = set(chosen)
        for index in reversed(range(len(read))):
            flow = read[index][1]
            if index in chosen or need & (flow.binds | (flow.changes - modules)):
                found.add(index)
                need = (need - flow.surely) | flow.needs | flow.later
        if found == chosen:
            return tuple(read[index][0] for index in sorted(chosen))
        chosen = found


def docstring_examples(text: str) -> int:
    """Return how many doctest examples the docstrings of a cell hold."""
    return sum(len(examples) for examples in _docstrings(text))


def tried(text: str, asked: Asked, limits: Limits = Limits()) -> tuple[Check, ...]:  # noqa: B008 - frozen
    """Run a cell in the sandbox, and then what the user asked for: each expression, each test, the doctests.

    Args:
        text: The whole cell.
        asked: What is to be tried.
        limits: What all of it together may use.

    Returns:
        A check for each expression and each test, and one for all doctests. Where the cells before it fail already, or
        the sandbox has not what the cell reads, `passed` is None.
    """
    examples = _docstrings(text) if asked.doctests else []
    wanted = [*_wanted(asked), *([_Wanted("doctests", "examples", "")] if examples else [])]
    if not wanted:
        return ()
    cell = _without_magics(text)
    if cell is None:
        return tuple(Check(each.name, None, _OTHER_LANGUAGE) for each in wanted)
    needs = "\n".join([cell, *asked.expressions, *(_without_magics(test) or "" for test in asked.tests)])
    before = [_PRELUDE, *needed_cells(needs, asked.setup)]
    steps = [Step("cell", source, f"<cell {index}>", vital=True) for index, source in enumerate(before)]
    steps.append(Step("cell", cell, "<cell>", vital=True))
    for index, each in enumerate(wanted):
        if each.kind != "examples":
            steps.append(Step(each.kind, each.source, f"<check {index}>"))
    for index, found in enumerate(examples):
        steps.append(Step("examples", "", f"<docstring {index}>", tuple(example.source for example in found)))
    report = run_steps(steps, limits=limits)
    return tuple(_judge(report, len(before), wanted, examples, limits))


def look(
    text: str,
    *,
    known: AbstractSet[str] = frozenset(),
    asked: Asked = Asked(),
    limits: Limits = Limits(),  # noqa: B008 - frozen
    document: Document | None = None,
) -> tuple[Check, ...]:
    """Check a rebuilt cell: that it parses, then its names, then what was asked for. Nothing is run if nothing was.

    Args:
        text: The whole cell. Of one in another language, what was asked for is said to be unknown.
        known: The names in the notebook's namespace.
        asked: What is to be tried in the sandbox.
        limits: What that may use.
        document: As for `parses`.
    """
    first = parses(text, document)
    if _elsewhere(text, document) or first.said == _OTHER_LANGUAGE:
        unknown = tuple(Check(each.name, None, _OTHER_LANGUAGE) for each in _wanted(asked))
        return unknown if first.said == _OTHER_LANGUAGE else (first, *unknown)
    if not first.passed:
        return (first,)
    return (first, names_defined(text, known), *tried(text, asked, limits))


def in_cells(asked: Asked, cells: Sequence[str]) -> Asked:
    """Return what is asked with the cells that it needs, and with tests in the place of their names.

    Args:
        asked: An expression that is one name may name a test: a function of these cells whose name begins with `test`,
            or a cell whose first line is a comment with that name.
        cells: Those that ran, oldest first.
    """
    if not asked.anything:
        return asked
    expressions, tests = [], [*asked.tests]
    for expression in asked.expressions:
        test = _test_called(expression.strip(), cells)
        if test is None:
            expressions.append(expression)
        else:
            tests.append(test)
    return replace(asked, expressions=tuple(expressions), tests=tuple(tests), setup=tuple(cells))


def _test_called(name: str, cells: Sequence[str]) -> str | None:
    if not name.isidentifier():
        return None
    for cell in reversed(cells):
        if cell.lstrip().partition("\n")[0].lstrip("# ").rstrip() == name and cell.lstrip().startswith("#"):
            return cell
    defines = re.compile(rf"^def {re.escape(name)}\(\s*\)", re.MULTILINE)
    is_test = name.startswith("test") and any(map(defines.search, cells))
    return f"{name}()" if is_test else None


def _short(text: str) -> str:
    return text if len(text) <= 2 * _SHOWN else text[: 2 * _SHOWN - 1] + "…"


def _compiled(source: str, mode: str = "exec") -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(source, "<cell>", mode, flags=_TOP_LEVEL_AWAIT, dont_inherit=True)


def _tree(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except _NO_ERRORS:
        return None


def _without_cell_magics(text: str) -> str | None:
    """The text with comments for its cell magics, or None if one of them is not about Python."""
    dropped = 0
    while match := _CELL_MAGIC.match(text):
        if match.group(1) not in PYTHON_MAGICS:
            return None
        dropped += match.group().count("\n")
        text = text[match.end() :]
    return "#\n" * dropped + text  # IPython would take empty lines away, and errors name lines


def _parses_elsewhere(text: str, document: Document | None, language: str) -> Check:
    hole = Document("", "") if document is None else document.for_model()
    if hole is not document:
        text = text.replace("\r\n", "\n")
    middle = text[len(hole.prefix) : len(text) - len(hole.suffix)]
    passed, said = verdict(language, hole.prefix, middle, hole.suffix)
    return Check("parses", passed, "" if passed else _short(said or _OTHER_LANGUAGE))


def _elsewhere(text: str, document: Document | None) -> str:
    """The language of a text that is not Python, or ""."""
    language = of_cell(text) if document is None or not document.language else document.language
    return "" if language == PYTHON else language


def _python(text: str) -> str | None:
    """What IPython would compile, or None for a cell in another language."""
    source = _without_cell_magics(text)
    if source is None or _tree(source) is not None:
        return source
    source = _timed_lines(source)
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return str(TransformerManager().transform_cell(source))
    except Exception:  # noqa: BLE001 - a cell that IPython cannot transform is one that does not parse
        return source


def _without_magics(text: str) -> str | None:
    """The cell as plain Python: `%time x = 1` is `x = 1`, other lines of IPython's are left out."""
    source = _without_cell_magics(text)
    if source is None or _tree(source) is not None:
        return source
    return "\n".join(_MAGIC_LINE.sub(r"\1pass", line) for line in _timed_lines(source).split("\n"))


def _timed_lines(source: str) -> str:
    """`%time x = 1` binds a name of the notebook: it stands for its statement."""
    return "\n".join(_TIMED.sub(r"\1", line) for line in source.split("\n"))


@dataclass
class _Names:
    """The global names of a cell."""

    loaded: dict[str, None] = field(default_factory=dict)  # in the order of the scopes
    bound: set[str] = field(default_factory=set)
    open: bool = False  # whether something may define names that the text does not show

    def undefined(self) -> Iterator[str]:
        """The names that nothing in the cell, nor Python, nor IPython defines."""
        for name in self.loaded:
            ours = name in self.bound or name in _IN_A_NOTEBOOK or _HISTORY.fullmatch(name) or name.startswith(".")
            if not ours and not hasattr(builtins, name):
                yield name


def _names(text: str) -> _Names | None:
    if len(text) > _LONGEST:
        return None
    source = _python(text)
    tree = None if source is None else _tree(source)
    if source is None or tree is None:
        return None
    names = _Names()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _collect(symtable.symtable(source, "<cell>", "exec"), names, top=True)
        nodes = [*ast.walk(tree)]
    except _NO_ERRORS:
        return None
    for match in _CELL_MAGIC.finditer(text):
        names.bound.update(_NAME.findall(match.group(2)) if match.group(1) == "capture" else ())
    only_changed = _only_changed(nodes) & names.bound
    names.bound -= only_changed
    names.loaded.update(dict.fromkeys(only_changed))
    names.open = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in nodes)
    names.open = names.open or bool(_DEFINING_MAGIC.search(text))
    place = {node.id: (node.lineno, node.col_offset) for node in reversed(nodes) if isinstance(node, ast.Name)}
    names.loaded = dict.fromkeys(sorted(names.loaded, key=lambda name: place.get(name, (0, 0))))
    return names


def _collect(table: symtable.SymbolTable, names: _Names, *, top: bool) -> None:
    for symbol in table.get_symbols():
        binds = symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
        is_global = top or symbol.is_global()
        if is_global and binds and (top or symbol.is_declared_global()):
            names.bound.add(symbol.get_name())
        if is_global and symbol.is_referenced():
            names.loaded[symbol.get_name()] = None
    for child in table.get_children():
        _collect(child, names, top=False)


def _only_changed(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that are only ever changed (`total += 1`), which does not define them."""
    nodes = [*nodes]
    changed = {id(node.target): node.target.id for node in nodes if _changes_name(node)}  # type: ignore[attr-defined]
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and _stores(node) and id(node) not in changed}
    for node in nodes:
        if isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        bound.update(value for key in ("name", "rest") if isinstance(value := getattr(node, key, None), str))
    return set(changed.values()) - bound


def _changes_name(node: ast.AST) -> bool:
    return isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)


def _stores(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _tokens(text: str) -> set[str]:
    return set(_NAME.findall(text))


@dataclass(frozen=True)
class _Flow:
    """What a cell does to the notebook's names."""

    needs: frozenset[str]  # when it runs
    later: frozenset[str]  # when its functions run
    binds: frozenset[str]
    surely: frozenset[str]  # binds, whatever happens
    changes: frozenset[str]
    modules: frozenset[str]


def _flow(source: str) -> _Flow | None:
    tree, names = _tree(source), _names(source)
    if tree is None or names is None:
        return None
    needs: set[str] = set()
    later: set[str] = set()
    surely: set[str] = set()
    changes: set[str] = set()
    modules: set[str] = set()
    for statement in tree.body:
        deferred = isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
        changed = _changed(statement) & (names.loaded.keys() | names.bound)
        loaded = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and not _stores(node)}
        loaded = (loaded | changed) & (names.loaded.keys() | changed)
        (later if deferred else needs).update(loaded - surely)
        changes |= changed
        modules |= _imported(statement)
        surely |= _binds_surely(statement)
    found = (needs, later - surely, names.bound, surely, changes, modules)
    return _Flow(*(frozenset(part) for part in found))


def _imported(statement: ast.stmt) -> set[str]:
    if not isinstance(statement, ast.Import):
        return set()
    return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}


def _binds_surely(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        # `import a.b` adds to what `import a` gave.
        return {alias.asname or alias.name for alias in statement.names if alias.asname or "." not in alias.name}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    nodes = chain.from_iterable(ast.walk(target) for target in targets)
    return {node.id for node in nodes if isinstance(node, ast.Name) and _stores(node)}


def _changed(statement: ast.stmt) -> set[str]:
    """The names whose objects a statement changes, anywhere in it."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(_root(node))
        elif isinstance(node, ast.AugAssign):
            found.add(_root(node.target))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Attribute) and called.attr not in _ONLY_SHOWS:
                found.add(_root(called.value))
    return found - {""}


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _docstrings(text: str) -> list[list[doctest.Example]]:
    """The examples of each docstring that has any."""
    source = _without_magics(text)
    tree = None if source is None or len(text) > _LONGEST else _tree(source)
    return [] if tree is None else examples_in(tree)


@dataclass(frozen=True)
class _Wanted:
    """One thing that the user asked for."""

    name: str
    kind: str  # of its step
    source: str


def _wanted(asked: Asked) -> Iterator[_Wanted]:
    for expression in asked.expressions:
        yield _Wanted(expression.strip(), "expression", expression)
    for test in asked.tests:
        yield _Wanted("test", "cell", _without_magics(test) or "")


def _judge(
    report: Report,
    before: int,
    wanted: Sequence[_Wanted],
    examples: Sequence[Sequence[doctest.Example]],
    limits: Limits,
) -> Iterator[Check]:
    done = report.done
    cell = done[before] if len(done) > before else None
    if cell is None or not cell.ok:
        whole = _of_the_cell(report, before, limits)
        yield from (Check(each.name, *whole) for each in wanted)
        return
    rest = done[before + 1 :]
    plain = [each for each in wanted if each.kind != "examples"]
    for index, each in enumerate(plain):
        yield Check(each.name, *_of_a_step(each, index, rest, report, limits))
    if examples:
        yield Check("doctests", *_of_doctests(examples, rest[len(plain) :], report, limits))


def _of_the_cell(report: Report, before: int, limits: Limits) -> tuple[bool | None, str]:
    """What to say of every check where the run did not get past the cell."""
    done = report.done
    said = " ".join(done[-1].said) if done and not done[-1].ok else _how_it_ended(report, limits)
    if not report.layers:
        return None, f"the sandbox did not start: {said}"
    if len(done) < before or (len(done) == before and done and not done[-1].ok):
        return None, _short(f"an earlier cell does not run here: {said}")
    if said.startswith(_OF_THE_SANDBOX):
        return None, _short(f"does not run in the sandbox: {said}")
    return False, _short(said)


def _of_a_step(
    wanted: _Wanted, index: int, rest: Sequence[Done], report: Report, limits: Limits
) -> tuple[bool | None, str]:
    try:
        _compiled(wanted.source.strip() if wanted.kind == "expression" else wanted.source)
    except _NO_ERRORS as error:
        return None, _short(f"is no Python: {error}")
    if index > len(rest):
        return None, "not reached"
    if index == len(rest):
        return False, _how_it_ended(report, limits)
    step = rest[index]
    said = " ".join(step.said)
    if step.ok:
        return True, ""
    if wanted.kind == "expression" and said.startswith("gave "):
        return False, _short(f"{wanted.name} {said}")
    return (None if said.startswith(_OF_THE_SANDBOX) else False), _short(said)


def _how_it_ended(report: Report, limits: Limits) -> str:
    if report.outcome.why == "timed out":
        return f"took longer than {limits.seconds:g} s"
    return {"killed": "crashed", "ended early": "left before its end"}.get(report.outcome.why, report.outcome.why)


def _of_doctests(
    examples: Sequence[Sequence[doctest.Example]], rest: Sequence[Done], report: Report, limits: Limits
) -> tuple[bool, str, float]:
    total, right, wrong = sum(map(len, examples)), 0, ""
    for index, group in enumerate(examples):
        if index >= len(rest):
            wrong = wrong or _how_it_ended(report, limits)
            break
        got = rest[index].said
        for at, example in enumerate(group):
            said = got[at] if at < len(got) else "!nothing"
            if _as_wanted(example, said):
                right += 1
            else:
                shown = said[1:].strip() or "nothing"
                wrong = wrong or f"{example.source.strip()[:_SHOWN]} gave {shown[:_SHOWN]}"
    counted = f"{right} of {total} doctests"
    return right == total, _short(" ".join((f"{counted}: {wrong}" if wrong else counted).split())), right / total


def _as_wanted(example: doctest.Example, said: str) -> bool:
    options = _DOCTEST_OPTIONS
    for option, on in example.options.items():
        options = options | option if on else options & ~option
    checker = doctest.OutputChecker()
    if said.startswith("!"):
        raised = example.exc_msg is not None
        return raised and said[1:].partition(":")[0] == str(example.exc_msg).partition(":")[0].strip().split(".")[-1]
    if example.exc_msg is not None:
        return False
    got = said[1:]
    return checker.check_output(example.want, got, options) or _same_value(example.want, got)


def _same_value(want: str, got: str) -> bool:
    """Whether both are the same literal: people write "a" where Python shows 'a'."""
    try:
        return bool(want.strip()) and bool(ast.literal_eval(want.strip()) == ast.literal_eval(got.strip()))
    except (*_NO_ERRORS, TypeError):
        return False
