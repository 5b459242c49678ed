"""Which answers are right: their programs run in a sandbox, on threads of their own while the model goes on."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fim_magic.candidate import Candidate
from fim_magic.checks import CheckSpec, look
from fim_magic.evaluate.answers.answer import StoredAnswer
from fim_magic.evaluate.answers.arms import MANY
from fim_magic.evaluate.answers.benchmarks import Task, known
from fim_magic.evaluate.answers.journal import Memory
from fim_magic.progress import OnProgress, Progress, silent
from fim_magic.sandbox import Limits, run
from fim_magic.selection.choosing import merged, ranked
from fim_magic.version import __version__

_LIMITS = Limits(seconds=5, memory=8 << 30)  # libraries such as torch reserve more address space than they use

Passes = Callable[[str], bool]
"""Runs a program, and says whether it ended in time and without an error."""

Choose = Callable[[Task, Sequence[Candidate], bool], list[Candidate]]
"""`choose(task, candidates, checked)`: the candidates in the order in which they should be offered."""


def in_sandbox(program: str) -> bool:
    """Run a program where it can do no harm by mistake. Whatever runs programs, it is called here only."""
    return run(program, limits=_LIMITS).ok


def by_product(task: Task, candidates: Sequence[Candidate], checked: bool) -> list[Candidate]:
    """Put candidates in the order in which a request would, without and with the docstring's examples as a check."""
    document = task.document
    check = partial(look, known=known(task), check_spec=CheckSpec(doctests=checked))

    def checked_in_place(candidate: Candidate) -> Candidate:
        text = document.rebuild(candidate.middle)
        written = (len(document.prefix), len(text) - len(document.suffix))
        return replace(candidate, checks=check(text, written=[written]))

    return list(ranked([*map(checked_in_place, merged(candidates, document.rebuild))]))


class Judge:
    """Runs candidates, and puts them in order, and remembers both in files.

    What it found out is in `verdicts.jsonl`, by the program's sha256, and in `choices.jsonl`, also by fim-magic's code.
    """

    def __init__(
        self, folder: Path, code: str, *, passes: Passes = in_sandbox, choose: Choose = by_product, workers: int = 1
    ) -> None:
        self._code = code
        self._passes = passes
        self._choose = choose
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="fim-magic-eval")
        self._verdicts = Memory(folder / "verdicts.jsonl", self._executor)
        self._choices = Memory(folder / "choices.jsonl", self._executor)
        self._many: list[tuple[Task, StoredAnswer]] = []

    def look_at(self, task: Task, kind: str, answer: StoredAnswer) -> None:
        """Have an answer's candidates run, and put in order where there are several."""
        for candidate in answer.candidates:
            self._run(task, candidate.middle)
        if kind == MANY:
            self._many.append((task, answer))
            for checked in (False, True):
                self._choices.want(self._choice_key(answer, checked), partial(self._first, task, answer, checked))

    def _run(self, task: Task, middle: str) -> None:
        program = task.program(middle)
        self._verdicts.want(_program_key(program), partial(self._passes, program))

    def _first(self, task: Task, answer: StoredAnswer, checked: bool) -> dict[str, Any]:
        first = self._choose(task, answer.candidates, checked)[0]
        return {"task": task.task_id, "checked": checked, "middle": first.middle, "reason": first.reason}

    def passed(self, task: Task, middle: str) -> bool | None:
        """Return whether the task is solved with `middle` in its hole, or None where that is not known."""
        verdict: bool | None = self._verdicts.get(_program_key(task.program(middle)))
        return verdict

    def first(self, answer: StoredAnswer, checked: bool) -> str | None:
        """Return the middle of the candidate that would be offered first, or None where that is not known."""
        choice = self._choices.get(self._choice_key(answer, checked))
        return None if choice is None else str(choice["middle"])

    def _choice_key(self, answer: StoredAnswer, checked: bool) -> str:
        texts = "\0".join(candidate.raw for candidate in answer.candidates)
        digest = hashlib.sha256(f"{answer.task}\0{answer.key}\0{texts}".encode("utf-8", "surrogatepass")).hexdigest()
        return f"fim-magic {__version__} {self._code}, {'checked' if checked else 'chosen'}, {digest}"

    def finish(self, on_progress: OnProgress = silent) -> None:
        """Wait until everything has been run."""
        _wait(self._choices, "Choosing among candidates", "choices", on_progress)
        # Choosing may make candidates anew, such as one of several that say the same.
        for task, answer in self._many:
            for checked in (False, True):
                middle = self.first(answer, checked)
                if middle is not None:
                    self._run(task, middle)
        _wait(self._verdicts, "Running the candidates", "programs", on_progress)

    def close(self) -> None:
        """Let the programs that run end, and drop those that have not begun."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._verdicts.close()
        self._choices.close()


def _wait(memory: Memory, activity: str, unit: str, on_progress: OnProgress) -> None:
    began = time.monotonic()
    memory.wait(lambda done, total: on_progress(Progress(activity, done, total, unit, time.monotonic() - began)))


def _program_key(program: str) -> str:
    digest = hashlib.sha256(program.encode("utf-8", "surrogatepass")).hexdigest()
    return f"python {platform.python_version()}, {_LIMITS.seconds} s, {digest}"
