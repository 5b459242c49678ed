"""Trying a rebuilt cell in the sandbox: the user's examples, tests and doctests."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat

from fim_magic.candidate import Check
from fim_magic.cell_text import LONGEST, UNREADABLE, compiled, tree_of, without_magics
from fim_magic.checks.needed import needed_cells
from fim_magic.checks.parsing import OTHER_LANGUAGE, short
from fim_magic.examples import examples_in
from fim_magic.sandbox import Limits, RunReport, Step, StepResult, run_steps

# What these say may be the sandbox's fault, not the cell's: it has none of the user's files.
_OF_THE_SANDBOX = ("BlockingIOError", "FileNotFoundError", "ModuleNotFoundError", "PermissionError")
_SHOWN = 60  # characters of an example or of what it gave
_DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
_PRELUDE = "def display(*things, **options):\n    print(*things)\n\ndef get_ipython():\n    return None\n"


@dataclass(frozen=True)
class CheckSpec:
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


NO_CHECKS = CheckSpec()
"""Only what can be seen without running anything."""


def docstring_examples(text: str) -> int:
    """Return how many doctest examples the docstrings of a cell hold."""
    return sum(map(len, _docstrings(text)))


def tried(text: str, check_spec: CheckSpec, limits: Limits = Limits()) -> tuple[Check, ...]:  # noqa: B008 - frozen
    """Run a cell in the sandbox, and then each expression, each test and the doctests, all within `limits`.

    Returns:
        A check for each expression and each test, and one for all doctests. Where the cells before it fail already, or
        the sandbox has not what the cell reads, `passed` is None.
    """
    examples = _docstrings(text) if check_spec.doctests else []
    wanted = [*wanted_of(check_spec), *([Wanted("doctests", "examples", "")] if examples else [])]
    if not wanted:
        return ()
    cell = without_magics(text)
    if cell is None:
        return tuple(Check(one.name, None, OTHER_LANGUAGE) for one in wanted)
    needs = "\n".join([cell, *check_spec.expressions, *(without_magics(test) or "" for test in check_spec.tests)])
    before = [_PRELUDE, *needed_cells(needs, check_spec.setup)]
    steps = [Step("cell", source, f"<cell {index}>", vital=True) for index, source in enumerate(before)]
    steps.append(Step("cell", cell, "<cell>", vital=True))
    for index, one in enumerate(wanted):
        if one.kind != "examples":
            steps.append(Step(one.kind, one.source, f"<check {index}>"))
    for index, group in enumerate(examples):
        steps.append(Step("examples", "", f"<docstring {index}>", tuple(example.source for example in group)))
    report = run_steps(steps, limits=limits)
    return tuple(_judge(report, len(before), wanted, examples, limits))


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


def _docstrings(text: str) -> list[list[doctest.Example]]:
    """The examples of each docstring that has any."""
    source = without_magics(text)
    tree = None if source is None or len(text) > LONGEST else tree_of(source)
    return [] if tree is None else examples_in(tree)


@dataclass(frozen=True)
class Wanted:
    """One expression or test of a [`CheckSpec`][], or its doctests."""

    name: str
    kind: str  # of its step
    source: str


def wanted_of(check_spec: CheckSpec) -> Iterator[Wanted]:
    """Yield each expression and each test."""
    for expression in check_spec.expressions:
        yield Wanted(expression.strip(), "expression", expression)
    for test in check_spec.tests:
        yield Wanted("test", "cell", without_magics(test) or "")


def _judge(
    report: RunReport,
    before: int,
    wanted: Sequence[Wanted],
    examples: Sequence[Sequence[doctest.Example]],
    limits: Limits,
) -> Iterator[Check]:
    done = report.results
    cell = done[before] if len(done) > before else None
    if cell is None or not cell.ok:
        whole = _judge_cell(report, before, limits)
        yield from (Check(one.name, *whole) for one in wanted)
        return
    rest = done[before + 1 :]
    plain = [one for one in wanted if one.kind != "examples"]
    for index, one in enumerate(plain):
        yield Check(one.name, *_judge_step(one, index, rest, report, limits))
    if examples:
        yield Check("doctests", *_judge_doctests(examples, rest[len(plain) :], report, limits))


def _judge_cell(report: RunReport, before: int, limits: Limits) -> tuple[bool | None, str]:
    """Judge every check where the run did not get past the cell."""
    done = report.results
    error = " ".join(done[-1].texts) if done and not done[-1].ok else _how_it_ended(report, limits)
    if not report.layers:
        return None, f"the sandbox did not start: {error}"
    if len(done) < before or (len(done) == before and done and not done[-1].ok):
        return None, short(f"an earlier cell does not run here: {error}")
    if error.startswith(_OF_THE_SANDBOX):
        return None, short(f"does not run in the sandbox: {error}")
    return False, short(error)


def _judge_step(
    wanted: Wanted, index: int, rest: Sequence[StepResult], report: RunReport, limits: Limits
) -> tuple[bool | None, str]:
    try:
        compiled(wanted.source.strip() if wanted.kind == "expression" else wanted.source)
    except UNREADABLE as error:
        return None, short(f"is no Python: {error}")
    if index > len(rest):
        return None, "not reached"
    if index == len(rest):
        return False, _how_it_ended(report, limits)
    step = rest[index]
    if step.ok:
        return True, ""
    message = " ".join(step.texts)
    if wanted.kind == "expression" and message.startswith("gave "):
        return False, short(f"{wanted.name} {message}")
    return (None if message.startswith(_OF_THE_SANDBOX) else False), short(message)


def _how_it_ended(report: RunReport, limits: Limits) -> str:
    if report.outcome.why == "timed out":
        return f"took longer than {limits.seconds:g} s"
    return {"killed": "crashed", "ended early": "left before its end"}.get(report.outcome.why, report.outcome.why)


def _judge_doctests(
    examples: Sequence[Sequence[doctest.Example]], rest: Sequence[StepResult], report: RunReport, limits: Limits
) -> tuple[bool, str, float]:
    total, right, wrong = sum(map(len, examples)), 0, ""
    for index, group in enumerate(examples):
        if index >= len(rest):
            wrong = wrong or _how_it_ended(report, limits)
            break
        for example, outcome in zip(group, chain(rest[index].texts, repeat("!nothing")), strict=False):
            if _is_as_wanted(example, outcome):
                right += 1
            else:
                shown = outcome[1:].strip() or "nothing"
                wrong = wrong or f"{example.source.strip()[:_SHOWN]} gave {shown[:_SHOWN]}"
    counted = f"{right} of {total} doctests"
    return right == total, short(" ".join((f"{counted}: {wrong}" if wrong else counted).split())), right / total


def _is_as_wanted(example: doctest.Example, outcome: str) -> bool:
    """Whether an outcome is the example's; it is "=" and what was printed, or "!" and an error."""
    options = _DOCTEST_OPTIONS
    for option, on in example.options.items():
        options = options | option if on else options & ~option
    checker = doctest.OutputChecker()
    got = outcome[1:]
    if outcome.startswith("!"):
        wanted = example.exc_msg
        return wanted is not None and got.partition(":")[0] == wanted.partition(":")[0].strip().split(".")[-1]
    if example.exc_msg is not None:
        return False
    return checker.check_output(example.want, got, options) or _same_value(example.want, got)


def _same_value(want: str, got: str) -> bool:
    """Whether both are the same literal: people write "a" where Python shows 'a'."""
    try:
        return bool(want.strip()) and bool(ast.literal_eval(want.strip()) == ast.literal_eval(got.strip()))
    except (*UNREADABLE, TypeError):
        return False
