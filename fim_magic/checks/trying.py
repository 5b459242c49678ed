"""Trying a rebuilt cell in the sandbox: the user's examples, tests and doctests."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fim_magic.candidate import Check
from fim_magic.cell_text import LONGEST, UNREADABLE, compiled, tree_of, without_magics
from fim_magic.checks.needed import needed_cells
from fim_magic.checks.parsing import OTHER_LANGUAGE, short
from fim_magic.examples import examples_in
from fim_magic.sandbox import Done, Limits, Report, Step, run_steps

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
    return sum(len(examples) for examples in _docstrings(text))


def tried(text: str, check_spec: CheckSpec, limits: Limits = Limits()) -> tuple[Check, ...]:  # noqa: B008 - frozen
    """Run a cell in the sandbox, and then what the user asked for: each expression, each test, the doctests.

    Args:
        text: The whole cell.
        check_spec: What is to be tried.
        limits: What all of it together may use.

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
        return tuple(Check(each.name, None, OTHER_LANGUAGE) for each in wanted)
    needs = "\n".join([cell, *check_spec.expressions, *(without_magics(test) or "" for test in check_spec.tests)])
    before = [_PRELUDE, *needed_cells(needs, check_spec.setup)]
    steps = [Step("cell", source, f"<cell {index}>", vital=True) for index, source in enumerate(before)]
    steps.append(Step("cell", cell, "<cell>", vital=True))
    for index, each in enumerate(wanted):
        if each.kind != "examples":
            steps.append(Step(each.kind, each.source, f"<check {index}>"))
    for index, found in enumerate(examples):
        steps.append(Step("examples", "", f"<docstring {index}>", tuple(example.source for example in found)))
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
    """One thing that the user asked for."""

    name: str
    kind: str  # of its step
    source: str


def wanted_of(check_spec: CheckSpec) -> Iterator[Wanted]:
    """Yield each expression and each test that the user asked for."""
    for expression in check_spec.expressions:
        yield Wanted(expression.strip(), "expression", expression)
    for test in check_spec.tests:
        yield Wanted("test", "cell", without_magics(test) or "")


def _judge(
    report: Report,
    before: int,
    wanted: Sequence[Wanted],
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
        return None, short(f"an earlier cell does not run here: {said}")
    if said.startswith(_OF_THE_SANDBOX):
        return None, short(f"does not run in the sandbox: {said}")
    return False, short(said)


def _of_a_step(
    wanted: Wanted, index: int, rest: Sequence[Done], report: Report, limits: Limits
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
    said = " ".join(step.said)
    if step.ok:
        return True, ""
    if wanted.kind == "expression" and said.startswith("gave "):
        return False, short(f"{wanted.name} {said}")
    return (None if said.startswith(_OF_THE_SANDBOX) else False), short(said)


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
    return right == total, short(" ".join((f"{counted}: {wrong}" if wrong else counted).split())), right / total


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
    except (*UNREADABLE, TypeError):
        return False
