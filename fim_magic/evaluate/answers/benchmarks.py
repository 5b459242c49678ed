"""What can be measured: sets of tasks, by their names or their files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fim_magic.context import Context
from fim_magic.document import Document
from fim_magic.errors import OptionError
from fim_magic.evaluate.answers import human_eval_infilling
from fim_magic.evaluate.answers.human_eval_infilling import SETS
from fim_magic.weights.cache import cache_dir

NOTEBOOKS = "notebooks"
"""The name of the set that is built in."""

FACETS = ("topic", "needs")
"""What a task may say of itself beside its hole, by which the report breaks a set down."""


class Task(Protocol):
    """A hole, and the program that tells whether it is filled right.

    A task may have more: `canonical`, what stood in the hole; `group` or `notebook`, whose tasks stand or fall
    together; `known`, the names that are defined around its document; and `FACETS`, each one word or several.
    """

    @property
    def task_id(self) -> str: ...

    @property
    def document(self) -> Document: ...

    def program(self, middle: str) -> str:
        """Return a program that runs without an error if `middle` is right."""
        ...


def canonical(task: Task) -> str | None:
    """Return what stood in the hole, or None where the task does not tell."""
    found: str | None = getattr(task, "canonical", None)
    return found


def group(task: Task) -> str:
    """Return the name that the task shares with those that stand or fall with it."""
    return str(getattr(task, "group", getattr(task, "notebook", task.task_id)))


def known(task: Task) -> frozenset[str]:
    """Return the names that what is around the task's document defines."""
    found: frozenset[str] = getattr(task, "known", frozenset())
    return found


def facets(task: Task) -> dict[str, tuple[str, ...]]:
    """Return what the task says of itself, such as `{"topic": ("plotting",)}`."""
    found = {}
    for name in FACETS:
        value: Any = getattr(task, name, ())
        words = (value,) if isinstance(value, str) else tuple(value)
        if words:
            found[name] = tuple(map(str, words))
    return found


@dataclass(frozen=True)
class Benchmark:
    """Tasks, and where they came from."""

    name: str  # such as "single-line"
    tasks: tuple[Task, ...]  # those that are asked
    whole: int  # how many the set has
    source: str  # the file, or "built in"
    sha256: str = ""  # of the file, or ""
    # what of a task's notebook a mode shows to the model; None where tasks have nothing around them
    context_of: Callable[[Any, str], Context] | None = None

    def subset(self, every: int, offset: int, limit: int | None) -> Benchmark:
        """Return the tasks whose index, from 0, leaves `offset` when divided by `every`; the first `limit` of them."""
        return replace(self, tasks=self.tasks[offset::every][:limit])


def load(names: Sequence[str], *, fetch: bool = False) -> list[Benchmark]:
    """Return the sets called `names`, each once; `fetch` says whether one that is not on this machine may be fetched.

    Raises:
        OptionError: There is no such set or file, or it cannot be read.
        FetchError: It could not be fetched.
    """
    found = {}
    for name in names:
        for benchmark in _load(name, fetch=fetch):
            if benchmark.name in found:
                raise OptionError(f"The set {benchmark.name} is asked for twice. Give it once: --set {name}")
            found[benchmark.name] = benchmark
    return list(found.values())


def is_own(name: str) -> bool:
    """Whether a set is a folder or file of notebooks and source files, and none of a benchmark."""
    path = Path(name).expanduser()
    if name == NOTEBOOKS or name in SETS or not path.exists():
        return False
    # Here, since its package brings what no other set has use for.
    from fim_magic.evaluate.own.sources import has_files, is_readable

    if not path.is_dir():
        return is_readable(path)
    if any(human_eval_infilling.find(path, chosen) is not None for chosen in SETS.values()):
        return False
    return has_files(path)


def _load(name: str, *, fetch: bool) -> list[Benchmark]:
    if name == NOTEBOOKS:
        return [_notebooks()]
    if name in SETS:
        return [_from_file(_file_of(name, fetch=fetch))]
    path = Path(name).expanduser()
    if path.is_dir():
        files = [file for chosen in SETS.values() if (file := human_eval_infilling.find(path, chosen)) is not None]
        if not files:
            raise OptionError(
                f"The folder {name!r} holds no file of HumanEval-Infilling, such as {SETS['single-line'].files[0]}, no "
                "notebook and no source file. To fetch one: fim-magic eval --fetch --set single-line"
            )
        return [_from_file(file) for file in files]
    if not path.exists():
        raise OptionError(
            f"There is no set and no file called {name!r}. The sets are {', '.join((NOTEBOOKS, *SETS))}; a file is a "
            ".jsonl or .jsonl.gz of HumanEval-Infilling, a notebook or a source file: fim-magic eval --set FILE"
        )
    return [_from_file(path)]


def _file_of(name: str, *, fetch: bool) -> Path:
    folder = cache_dir() / "human-eval-infilling"
    path = human_eval_infilling.find(folder, SETS[name])
    if path is not None:
        return path
    if not fetch:
        raise OptionError(
            f"The set {name} is not on this machine. To fetch it from GitHub: fim-magic eval --fetch --set {name}; if "
            f"you have its file: fim-magic eval --set {SETS[name].files[0]}"
        )
    return human_eval_infilling.fetch(SETS[name], folder)


def _from_file(path: Path) -> Benchmark:
    tasks = human_eval_infilling.read(path)
    stem = re.sub(r"\W+", "-", path.name.partition(".")[0]).strip("-") or "file"
    name = human_eval_infilling.name_of(tasks, otherwise=stem)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Benchmark(name, tuple(tasks), len(tasks), path.name, digest)


def _notebooks() -> Benchmark:
    # Here: a set from a file has no use for it.
    from fim_magic.evaluate import notebooks
    from fim_magic.evaluate.notebooks.live import Kernels

    tasks = notebooks.read()
    return Benchmark(NOTEBOOKS, tasks, len(tasks), "built in", context_of=Kernels().context_of)
