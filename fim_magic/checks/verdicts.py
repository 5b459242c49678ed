"""What a run in the sandbox says of each check: passed, failed, or not known, and why."""

from __future__ import annotations

import ast
import doctest
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from fim_magic.candidate import Check
from fim_magic.cell_text import UNREADABLE, compiled
from fim_magic.checks.claims import Claims
from fim_magic.checks.parsing import short
from fim_magic.quiet import without_warnings
from fim_magic.sandbox import Limits, RunReport, StepResult

# What these say may be the sandbox's fault, not the cell's: it has none of the user's files.
_OF_THE_SANDBOX = ("BlockingIOError", "FileNotFoundError", "ModuleNotFoundError", "PermissionError")
_REFUSED = tuple(  # in the text of other errors
    f"[Errno {number}] {text}"
    for number, text in ((1, "Operation not permitted"), (13, "Permission denied"), (30, "Read-only file system"))
)
_SHOWN = 60  # characters of an example or of what it gave
_DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
_CHANGES = "\nchanges"  # before the names that a step has changed; as child.py has it

Verdict = tuple[bool | None, str]
"""Whether a check has passed, None where that is not known, and what was found."""


@dataclass(frozen=True)
class Wanted:
    """One expression or test of a [`CheckSpec`][], or its doctests."""

    name: str
    kind: str  # of its step
    source: str


@dataclass(frozen=True)
class Run:
    """A run of the earlier cells, the parts of a cell, and its checks.

    Attributes:
        report: What came of it.
        before: How many steps ran before the cell.
        parts: How many steps the cell itself has.
        limits: What it could use.
        claims: Whose the names of the checks are, where that was looked at.
    """

    report: RunReport
    before: int
    parts: int
    limits: Limits
    claims: Claims | None

    @property
    def cell(self) -> tuple[StepResult, ...]:
        """What came of the parts of the cell."""
        return self.report.results[self.before : self.before + self.parts]

    @property
    def checks(self) -> tuple[StepResult, ...]:
        """What came of the steps behind the cell."""
        return self.report.results[self.before + self.parts :]

    @property
    def kept(self) -> tuple[str, ...]:
        """The user's names that the answer redefined, and that were put back."""
        if self.claims is None:
            return ()
        return tuple(dict.fromkeys(chain.from_iterable(part.texts for part in self.cell)))

    @property
    def remark(self) -> str:
        """What is to be known of a check that passes; "" where there is nothing."""
        if self.claims is None:
            return ""
        parts = [f"with {', '.join(self.claims.contested)} of the answer"] if self.claims.contested else []
        if self.claims.answers_itself:
            parts.append(f"mind {', '.join(self.claims.answers_itself)} in the answer")
        return "; ".join(parts)


def judge(run: Run, wanted: Sequence[Wanted], examples: Sequence[Sequence[doctest.Example]]) -> Iterator[Check]:
    """Yield a check for each of `wanted`, in this order, which `examples` are the last of, if there are any."""
    if len(run.cell) < run.parts or not all(part.ok for part in run.cell):
        whole = _judge_cell(run)
        yield from (Check(one.name, *whole) for one in wanted)
        return
    plain = [one for one in wanted if one.kind != "examples"]
    for index, one in enumerate(plain):
        yield Check(one.name, *_judged_by_claims(run, _judge_step(one, index, run)))
    if examples:
        passed, found, share = _judge_doctests(examples, run.checks[len(plain) :], run)
        yield Check("doctests", *_judged_by_claims(run, (passed, found)), share)


def _judge_cell(run: Run) -> Verdict:
    """Judge every check where the run did not get past the cell."""
    done, before = run.report.results, run.before
    error = " ".join(done[-1].texts) if done and not done[-1].ok else _how_it_ended(run)
    if not run.report.layers:
        return None, f"the sandbox did not start: {error}"
    if len(done) < before or (len(done) == before and done and not done[-1].ok):
        return None, short(f"an earlier cell does not run here: {error}")
    if _is_of_the_sandbox(error):
        return None, short(f"does not run in the sandbox: {error}")
    return False, short(error)


def _judged_by_claims(run: Run, verdict: Verdict) -> Verdict:
    """Say with a verdict what it depends on: names of the user's that the answer redefines."""
    passed, found = verdict
    if passed:
        return passed, short("; ".join(filter(None, (found, run.remark))))
    if passed is None or not run.kept or run.claims is None:
        return verdict
    # Where the hole stands between statements, these may be what the user wanted defined anew.
    remark = f"{', '.join(run.kept)} as you have it, not as the answer has it"
    return (False if run.claims.is_certain else None), short(f"{found}; with {remark}")


def _judge_step(wanted: Wanted, index: int, run: Run) -> Verdict:
    try:
        compiled(wanted.source.strip() if wanted.kind == "expression" else wanted.source)
    except UNREADABLE as error:
        return None, short(f"is no Python: {error}")
    if index > len(run.checks):
        return None, "not reached"
    if index == len(run.checks):
        return False, _how_it_ended(run)
    step = run.checks[index]
    if step.ok:
        return True, ""
    if step.texts[:1] == (_CHANGES,):
        return _judge_changes(step.texts[1:])
    message = " ".join(step.texts)
    if wanted.kind == "expression" and message.startswith("gave "):
        return False, short(f"{wanted.name} {message}")
    return (None if _is_of_the_sandbox(message) else False), short(message)


def _is_of_the_sandbox(error: str) -> bool:
    return error.startswith(_OF_THE_SANDBOX) or any(refused in error for refused in _REFUSED)


def _judge_changes(names: Sequence[str]) -> Verdict:
    """Judge a check that passed while what it reads was changed: what nobody changes by chance has failed."""
    certain = any("." in name for name in names)
    return (False if certain else None), short(f"changes {', '.join(names)} while it is checked")


def _how_it_ended(run: Run) -> str:
    why = run.report.outcome.why
    if why == "timed out":
        return f"took longer than {run.limits.seconds:g} s"
    return {"killed": "crashed", "ended early": "left before its end"}.get(why, why)


def _judge_doctests(
    examples: Sequence[Sequence[doctest.Example]], rest: Sequence[StepResult], run: Run
) -> tuple[bool | None, str, float]:
    total, right, wrong = sum(map(len, examples)), 0, ""
    for index, group in enumerate(examples):
        if index >= len(rest):
            wrong = wrong or _how_it_ended(run)
            break
        if not rest[index].ok:
            return (*_judge_changes(rest[index].texts[1:]), 0.0)
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
        with without_warnings():  # what a program prints may be close to Python
            return bool(want.strip()) and bool(ast.literal_eval(want.strip()) == ast.literal_eval(got.strip()))
    except (*UNREADABLE, TypeError):
        return False
