"""Trying a rebuilt cell in the sandbox: the user's examples, tests and doctests."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import chain

from fim_magic.candidate import Check
from fim_magic.cell_text import LONGEST, tree_of, without_magics
from fim_magic.checks.claims import Claims, claims_on
from fim_magic.checks.names import bound_names, names_in_text
from fim_magic.checks.needed import needed_positions
from fim_magic.checks.ownership import Division, Written, divided, written_in
from fim_magic.checks.parsing import OTHER_LANGUAGE
from fim_magic.checks.verdicts import Run, Wanted, judge
from fim_magic.examples import examples_in
from fim_magic.sandbox import KERNEL_LAYERS, Limits, Step, run_steps

_NO_EXAMPLES = Check("doctests", None, "no example that you wrote stands in a docstring")
_TOO_DEEP = "nested too deep to be looked into"
_REFUSED = "not run, as this system cannot confine it"
_FINDS_TESTS = re.compile(
    r"\bunittest\.main\b|\bTestProgram\b|\bloadTestsFrom(Module|Name)|\btestmod\b|\bpytest\.main\b"
)
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_PRELUDE = "def display(*things, **options):\n    print(*things)\n\ndef get_ipython():\n    return None\n"


@dataclass(frozen=True)
class CheckSpec:
    """What the user wants tried.

    Attributes:
        expressions: Each has to be true; an `assert` is fine as well.
        tests: Cells that have to run without an error.
        doctests: Whether the examples in the cell's docstrings have to hold.
        setup: The cells that were run before, oldest first. Those that are needed run before the rebuilt cell.
        confined_only: Whether nothing is run where the system itself cannot confine it.
    """

    expressions: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    doctests: bool = False
    setup: tuple[str, ...] = ()
    confined_only: bool = False

    @property
    def anything(self) -> bool:
        """Whether something has to be run."""
        return bool(self.expressions or self.tests or self.doctests)


NO_CHECKS = CheckSpec()
"""Only what can be seen without running anything."""


def docstring_examples(text: str) -> int:
    """Return how many doctest examples the docstrings of a cell hold."""
    return sum(map(len, _docstrings(text)))


def tried(
    text: str,
    check_spec: CheckSpec,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    *,
    written: Sequence[tuple[int, int]] = (),
    layers: Sequence[str] = KERNEL_LAYERS,
) -> tuple[Check, ...]:
    """Run a cell in the sandbox, and then each expression, each test and the doctests, all within `limits`.

    Args:
        text: The cell.
        check_spec: What is to be run.
        limits: What all of it may use.
        written: From which character to which a model wrote it, for each hole. What the user wrote elsewhere cannot be
            redefined there, and examples that stand there do not count.
        layers: Which of the system's layers may confine it.

    Returns:
        A check for each expression and each test, and one for all doctests. Where the cells before it fail already, or
        the sandbox has not what the cell reads, `passed` is None.
    """
    cell = without_magics(text)
    answer = written_in(text, written, cell or "")
    examples = _docstrings(text, answer.rows) if check_spec.doctests else []
    check_spec = _with_own_tests(check_spec, cell or "")
    wanted = [*wanted_of(check_spec), *([Wanted("doctests", "examples", "")] if examples else [])]
    lost = () if examples or not (check_spec.doctests and _had_examples(text, written)) else (_NO_EXAMPLES,)
    if not wanted:
        return lost
    if cell is None:
        return tuple(Check(one.name, None, OTHER_LANGUAGE) for one in wanted)
    try:
        plan = _planned(cell, answer, wanted, examples, check_spec.setup)
    except RecursionError:
        return (*(Check(one.name, None, _TOO_DEEP) for one in wanted), *lost)
    reserved = None if plan.claims is None else plan.claims.reserved
    confined_only = check_spec.confined_only
    report = run_steps(plan.steps, limits=limits, layers=layers, reserved=reserved, confined_only=confined_only)
    if confined_only and report.layers and not report.confined:
        return (*(Check(one.name, None, _REFUSED) for one in wanted), *lost)
    found = judge(Run(report, plan.before, plan.parts, limits, plan.claims), wanted, examples)
    return (*(replace(check, confined=report.confined or not report.layers) for check in found), *lost)


@dataclass(frozen=True)
class _Plan:
    """What is run: `before` steps, the `parts` of the cell, and the checks."""

    steps: tuple[Step, ...]
    before: int
    parts: int
    claims: Claims | None


def _planned(
    cell: str,
    answer: Written,
    wanted: Sequence[Wanted],
    examples: Sequence[Sequence[doctest.Example]],
    earlier: Sequence[str],
) -> _Plan:
    """Say what is run, and whose its names are.

    Raises:
        RecursionError: The cell is nested too deep to be looked into, so that it is not known whose its names are.
    """
    division = divided(cell, answer)
    if answer.rows and division is None and tree_of(cell) is None:
        raise RecursionError
    checks = [one.source for one in wanted] + [example.source for group in examples for example in group]
    checks += _tests_found(checks, earlier)
    before = [Step("cell", _PRELUDE, "<cell 0>", vital=True), *_setup(cell, division, checks, earlier)]
    parts = (cell,) if division is None else division.parts
    steps = before + [Step("cell", part, "<cell>", vital=True, shown=cell) for part in parts]
    for index, one in enumerate(wanted):
        if one.kind != "examples":
            steps.append(Step(one.kind, one.source, f"<check {index}>"))
    for index, group in enumerate(examples):
        steps.append(Step("examples", "", f"<docstring {index}>", tuple(example.source for example in group)))
    claims = claims_on(division, checks, [step.source for step in before])
    return _Plan(tuple(steps), len(before), len(parts), claims)


def _had_examples(text: str, written: Sequence[tuple[int, int]]) -> bool:
    """Whether an answer has brought the only examples of a cell, or has taken the user's out of their docstring."""
    users, end = [], 0
    for start, stop in written:
        users.append(text[end:start])
        end = stop
    without = "".join([*users, text[end:]])
    return bool(written) and (docstring_examples(text) > 0 or docstring_examples(without + "\n    pass") > 0)


def _setup(cell: str, division: Division | None, checks: Sequence[str], cells: Sequence[str]) -> Iterator[Step]:
    """Yield the earlier cells that the cell and its checks need.

    What the answer binds may hide what a check needs of them, so they are looked for without it as well. Should one of
    those fail, it is as if the answer's were all there is.
    """
    readable = [without_magics(check) or "" for check in checks]
    needed = dict(needed_positions("\n".join([cell, *readable]), cells))
    hidden = {} if division is None else dict(needed_positions("\n".join([division.without_answer, *readable]), cells))
    for index, source in sorted({**needed, **hidden}.items()):
        yield Step("cell", source, f"<cell {index + 1}>", vital=index in needed)


def _with_own_tests(check_spec: CheckSpec, cell: str) -> CheckSpec:
    """Return the checks with calls of tests that the cell itself defines: a function by itself would always be true."""
    tests = {name: _test_called(name.strip(), [cell]) for name in check_spec.expressions}
    calls = tuple(test for test in tests.values() if test is not None and test != cell)
    if not calls:
        return check_spec
    expressions = tuple(name for name in check_spec.expressions if tests[name] in (None, cell))
    return replace(check_spec, expressions=expressions, tests=(*check_spec.tests, *calls))


def in_cells(check_spec: CheckSpec, cells: Sequence[str]) -> CheckSpec:
    """Return the checks with the cells that they need, and with tests in the place of their names.

    Args:
        check_spec: An expression that is one name may name a test: a function of these cells whose name begins with
            `test`, or a cell whose first line is a comment with that name.
        cells: Those that ran, oldest first.
    """
    if not check_spec.anything:
        return check_spec
    expressions, tests = [], [*check_spec.tests]
    for expression in check_spec.expressions:
        test = _test_called(expression.strip(), cells)
        if test is None:
            expressions.append(expression)
        else:
            tests.append(test)
    return replace(check_spec, expressions=tuple(expressions), tests=tuple(tests), setup=tuple(cells))


def _test_called(name: str, cells: Sequence[str]) -> str | None:
    if not name.isidentifier():
        return None
    for cell in reversed(cells):
        if cell.lstrip().partition("\n")[0].lstrip("# ").rstrip() == name and cell.lstrip().startswith("#"):
            return cell
    defines = re.compile(rf"^(async +)?def {re.escape(name)}\(\s*\)", re.MULTILINE)
    found = [match for match in map(defines.search, cells) if match] if name.startswith("test") else []
    return f"{'await ' if found[-1][1] else ''}{name}()" if found else None


def _tests_found(checks: Sequence[str], cells: Sequence[str]) -> list[str]:
    """Return the names of the tests that checks find by themselves, as `unittest.main` and `doctest.testmod` do."""
    sources = [*filter(None, map(without_magics, cells))]
    read = frozenset(chain.from_iterable(map(names_in_text, checks)))
    called = [source for source in sources if not read.isdisjoint(bound_names(source))]
    if not _FINDS_TESTS.search("\n".join([*checks, *called])):
        return []
    trees = [tree for tree in map(tree_of, sources) if tree]
    return [node.name for tree in trees for node in tree.body if isinstance(node, _DEFINITIONS) and _is_test(node)]


def _is_test(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    bases = map(ast.unparse, node.bases) if isinstance(node, ast.ClassDef) else ()
    return any(base.endswith("TestCase") for base in bases) or ">>>" in ast.unparse(node)


def _docstrings(text: str, written_rows: AbstractSet[int] = frozenset()) -> list[list[doctest.Example]]:
    """The examples of each docstring that has any, without those in some rows."""
    source = without_magics(text)
    tree = None if source is None or len(text) > LONGEST else tree_of(source)
    return [] if tree is None else examples_in(tree, written_rows)


def wanted_of(check_spec: CheckSpec) -> Iterator[Wanted]:
    """Yield each expression and each test."""
    for expression in check_spec.expressions:
        yield Wanted(expression.strip(), "expression", expression)
    for test in check_spec.tests:
        yield Wanted("test", "cell", without_magics(test) or "")
