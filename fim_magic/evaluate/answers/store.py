"""The answers to one set of tasks, kept in files, so that nothing is asked twice."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from fim_magic.evaluate.answers.journal import Journal


class Storable(Protocol):
    """An answer that can be kept; `digest` is a sha256 of what was asked."""

    @property
    def task(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def to_json(self) -> dict[str, Any]: ...


_Answer = TypeVar("_Answer", bound=Storable)


class AnswerStore(Generic[_Answer]):
    """The answers to one set, those of each arm in the file `SET.ARM.jsonl`.

    An answer counts only under the key of its arm: all that it depends on beside its task and what was asked.

    Attributes:
        keys: By arm.
        answers: Of each arm, by the tasks' names.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        keys: Mapping[str, str],
        tasks: Container[str],
        read: Callable[[Mapping[str, Any]], _Answer],
    ) -> None:
        """Read what there is; an OptionError where a file cannot be used.

        Args:
            folder: Where the files are.
            name: Of the set.
            keys: By arm, in the order in which the arms are asked.
            tasks: The names of those whose answers count.
            read: Makes an answer of what its `to_json` returned.
        """
        self.keys = keys
        self.answers: dict[str, dict[str, _Answer]] = {}
        self._journals: dict[str, Journal] = {}
        for arm, key in keys.items():
            journal = self._journals[arm] = Journal(folder / f"{name}.{arm.replace(' ', '-')}.jsonl")
            self.answers[arm] = {}
            for row in journal.rows:
                facts = row.get("answer", row)
                if facts.get("key") == key and facts.get("task") in tasks:
                    self.answers[arm][facts["task"]] = read(row)

    def current(self, arm: str, task: str, digest: str) -> _Answer | None:
        """Return an arm's answer to what is asked now, or None. One to an earlier question is dropped."""
        answer = self.answers[arm].get(task)
        if answer is None or answer.digest == digest:
            return answer
        del self.answers[arm][task]
        return None

    def add(self, arm: str, answer: _Answer) -> None:
        self.answers[arm][answer.task] = answer
        self._journals[arm].add(answer.to_json())

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()
