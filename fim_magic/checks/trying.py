"""Trying a rebuilt cell in the sandbox: the user's examples, tests and doctests."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from fim_magic.candidate import Check
from fim_magic.cell_text import LONGEST, tree_of, without_magics
from fim_magic.checks.claims import claims_on, reserved_by
from fim_magic.checks.needed import needed_positions
from fim_magic.checks.ownership import Division, divided, written_in
from fim_magic.checks.parsing import OTHER_LANGUAGE
from fim_magic.checks.verdicts import Run, Wanted, judge
from fim_magic.examples import examples_in
from fim_magic.sandbox import KERNEL_LAYERS, Limits, Step, run_steps

_REFUSED = "not run, as this system cannot confine it"
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
    answer = written_in(text, written)
    examples = _docstrings(text, answer.rows) if check_spec.doctests else []
    cell = without_magics(text)
    check_spec = _with_own_tests(check_spec, cell or "")
    wanted = [*wanted_of(check_spec), *([Wanted("doctests", "examples", "")] if examples else [])]
    if not wanted:
        return ()
    if cell is None:
        return tuple(Check(one.name, None, OTHER_LANGUAGE) for one in wanted)
    division = divided(cell, answer)
    checks = [one.source for one in wanted] + [example.source for group in examples for example in group]
    before = [Step("cell", _PRELUDE, "<cell 0>", vital=True), *_setup(cell, division, checks, check_spec.setup)]
    parts = (cell,) if division is None else division.parts
    steps = before + [Step("cell", part, "<cell>", vital=True, shown=cell) for part in parts]
    for index, one in enumerate(wanted):
        if one.kind != "examples":
            steps.append(Step(one.kind, one.source, f"<check {index}>"))
    for index, group in enumerate(examples):
        steps.append(Step("examples", "", f"<docstring {index}>", tuple(example.source for example in group)))
    claims = claims_on(division, checks, [step.source for step in before])
    reserved = None if claims is None else reserved_by(claims, division, len(before))
    report = run_steps(steps, limits=limits, layers=layers, reserved=reserved, confined_only=check_spec.confined_only)
    if check_spec.confined_only and report.layers and not report.confined:
        return tuple(Check(one.name, None, _REFUSED) for one in wanted)
    found = judge(Run(report, len(before), len(parts), limits, claims, reserved), wanted, examples)
    return tuple(replace(check, confined=report.confined or not report.layers) for check in found)


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
    defines = re.compile(rf"^def {re.escape(name)}\(\s*\)", re.MULTILINE)
    is_test = name.startswith("test") and any(map(defines.search, cells))
    return f"{name}()" if is_test else None


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
