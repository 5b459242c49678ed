"""What every model is given: infilling prompts, and what stood in their holes. The same on every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fim_magic.document import Document
from fim_magic.engines import Engine
from fim_magic.errors import OptionError
from fim_magic.evaluate.answers import benchmarks, human_eval_infilling
from fim_magic.evaluate.answers.human_eval_infilling import SETS, HumanEvalTask
from fim_magic.evaluate.speed.workloads import excerpts_of
from fim_magic.formats import fim_prompt

PYTHON = "Python's own library"
"""Where prompts are from if nothing else is named."""

PROMPT_TOKENS = 500
"""The most that a prompt has."""

ANSWER_TOKENS = 64
"""The most that is read of what stood in a hole."""


@dataclass(frozen=True)
class Excerpt:
    """Code with a hole, and what stood there.

    Attributes:
        name: Tells it from the others.
        group: What others are of as well, such as the same function: they are no independent samples.
        document: What stands around the hole.
        middle: What stood in it.
    """

    name: str
    group: str
    document: Document
    middle: str


@dataclass(frozen=True)
class Prompt:
    """An excerpt in tokens.

    Attributes:
        name: The excerpt's.
        group: The excerpt's.
        ids: The prompt's token ids, at most `PROMPT_TOKENS`.
        answer: The ids of what stood in the hole, at most `ANSWER_TOKENS`.
    """

    name: str
    group: str
    ids: tuple[int, ...]
    answer: tuple[int, ...]


def excerpts(chosen: str | None, limit: int, engine: Engine) -> tuple[str, list[Excerpt]]:
    """Return what the excerpts are from, for the report, and so many of them, spread evenly over all that there are.

    Args:
        chosen: A set's name or the path of a file of HumanEval-Infilling; None takes Python's own library.
        limit: How many, at most.
        engine: For its tokenizer, by which Python's library is cut.

    Raises:
        OptionError: There is no such set or file on this machine.
    """
    if chosen is None:
        found = excerpts_of(engine, PROMPT_TOKENS, limit)
        return PYTHON, [
            Excerpt(f"excerpt {number}", f"excerpt {number}", document, middle)
            for number, (document, middle) in enumerate(found, 1)
        ]
    name, tasks = _tasks(chosen)
    count = min(limit, len(tasks))
    spread = [tasks[number * len(tasks) // count] for number in range(count)]
    return name, [Excerpt(task.task_id, task.group, task.document, task.canonical) for task in spread]


def _tasks(chosen: str) -> tuple[str, list[HumanEvalTask]]:
    if chosen not in SETS:
        path = Path(chosen).expanduser()
        tasks = human_eval_infilling.read(path)
        return human_eval_infilling.name_of(tasks, otherwise=path.name), tasks
    (benchmark,) = benchmarks.load([chosen])
    return benchmark.name, [task for task in benchmark.tasks if isinstance(task, HumanEvalTask)]


def prompts_of(engine: Engine, found: Sequence[Excerpt]) -> list[Prompt]:
    """Return excerpts in the tokens of an engine's model.

    Raises:
        OptionError: The model cannot infill.
    """
    family, tokenizer = engine.family, engine.tokenizer
    if not family.can_infill:
        raise OptionError(
            f"{engine.info.model} cannot infill, and these are infilling prompts. Name another: fim-magic exactness "
            "--model qwen2.5-coder-0.5b"
        )
    room = min(PROMPT_TOKENS, engine.context_length - ANSWER_TOKENS)
    return [
        Prompt(
            excerpt.name,
            excerpt.group,
            fim_prompt(family, tokenizer, excerpt.document, order="auto", room=room, healing=False).ids,
            tuple(tokenizer.encode(excerpt.middle)[:ANSWER_TOKENS]),
        )
        for excerpt in found
    ]
