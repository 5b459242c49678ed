"""What is compared: the stages that an answer goes through, each an arm, and the requests that they need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fim_magic.engines import GREEDY, Engine
from fim_magic.errors import OptionError
from fim_magic.evaluate.answers.benchmarks import Benchmark, Task, known
from fim_magic.request import Request
from fim_magic.version import __version__

RAW, HEALED, TRIMMED, AUTO, MANY = "raw", "healed", "trimmed", "auto", "many"
CONTEXTS = ("cells", "names", "auto")

REQUESTS = (RAW, HEALED, TRIMMED, AUTO, MANY, *(f"context {mode}" for mode in CONTEXTS))
"""Every kind of request, in the order in which they are made. "many" is the one for several candidates."""

ARMS = ("raw", "healed", "trimmed", "auto", "chosen", "checked", "context")
"""What `--arms` takes."""

WHAT = {
    RAW: "one greedy answer to the vendor's prompt, as the model gave it",
    HEALED: "the same, and a word that the hole cuts in two is generated again; no trimming",
    TRIMMED: "fim-magic's one answer: greedy, healed, ended by its rules where the hole ends",
    AUTO: "as many answers as fim-magic finds right by itself: on a CPU one, and more if that one is doubtful",
    "random": "one of several candidates at random: the mean over them; in a notebook, several are asked for as one is "
    "with context auto",
    "chosen": "the candidate that fim-magic shows first, chosen without running anything",
    "checked": "the same candidates, put in order by checks, the docstring's examples among them",
    "any": "whether any of the same candidates passes: what a perfect choice would reach",
    "context cells": "as trimmed, and the model sees the notebook's other cells",
    "context names": "as trimmed, and the model sees what the kernel's names are",
    "context auto": "as trimmed, and the model sees what fim-magic would show it by itself",
}
"""Of each arm, for the report."""

_NEEDED = {
    "raw": (RAW,),
    "healed": (HEALED,),
    "trimmed": (TRIMMED,),
    "auto": (AUTO,),
    "chosen": (MANY,),
    "checked": (MANY,),
    "context": (TRIMMED, *(f"context {mode}" for mode in CONTEXTS)),
}


@dataclass(frozen=True)
class Pair:
    """Two arms whose difference on the same tasks is told."""

    first: str
    second: str


_PAIRS = (
    Pair(RAW, HEALED),
    Pair(HEALED, TRIMMED),
    Pair(RAW, TRIMMED),
    *(Pair(TRIMMED, f"context {mode}") for mode in CONTEXTS),
    *(Pair("one", several) for several in (AUTO, "chosen", "checked")),
    Pair("random", "chosen"),
    Pair("chosen", "checked"),
    Pair("checked", "any"),
)


def pairs(benchmark: Benchmark) -> list[Pair]:
    """Return what the report compares; in notebooks, one answer has as much context as several have."""
    one = TRIMMED if benchmark.context_of is None else "context auto"
    return [Pair(one, pair.second) if pair.first == "one" else pair for pair in _PAIRS]


def check(names: Sequence[str]) -> None:
    """Raise an OptionError if `names` are not some of `ARMS`."""
    unknown = [name for name in names if name not in ARMS]
    if unknown or not names:
        raise OptionError(f"--arms names some of {','.join(ARMS)}; {','.join(unknown)!r} is none of them.")


def requests_for(names: Iterable[str], benchmark: Benchmark) -> list[str]:
    """Return the requests that arms need of each task, in order; without notebooks there is no context to show."""
    possible = [name for name in names if name != "context" or benchmark.context_of is not None]
    needed = {kind for name in possible for kind in _NEEDED[name]}
    return [kind for kind in REQUESTS if kind in needed]


def request(kind: str, task: Task, benchmark: Benchmark, template: Request) -> Request:
    """Return what is asked; the sampling and the number of candidates of `template` are for several."""
    request = replace(template, document=task.document, known=known(task))
    if benchmark.context_of is not None and kind not in (RAW, HEALED, TRIMMED):
        mode = kind.removeprefix("context ") if kind.startswith("context ") else "auto"
        request = replace(request, context=benchmark.context_of(task, mode))
    if kind == MANY:
        return replace(request, sampling=replace(request.sampling, seed=seed_of(request.sampling.seed, task.task_id)))
    request = replace(request, candidates=0 if kind == AUTO else 1, sampling=GREEDY)
    if kind == RAW:
        return replace(request, trimming=False, healing=False)
    return replace(request, trimming=False) if kind == HEALED else request


def reads_canonical(kind: str, benchmark: Benchmark) -> bool:
    """Whether the model is asked how probable what stood in the hole is: in notebooks that tells arms apart soonest."""
    return benchmark.context_of is not None and kind in _NEEDED["context"]


def seed_of(seed: int, task_id: str) -> int:
    """Return a task's own seed: with one seed for all, a rare draw would be the same rare draw in every task."""
    return int.from_bytes(hashlib.sha256(f"{seed} {task_id}".encode()).digest()[:4], "big")


def key(kind: str, engine: Engine, template: Request, code: str) -> str:
    """Return all that an answer depends on beside its task and prompt, on one line; `code` is the code's hash."""
    parts = [
        f"fim-magic {__version__} {code}",
        kind,
        f"{engine.info.model}@{engine.info.revision}",
        engine.info.runs_on,
        *([f"method {template.method}"] if template.method != "fim" else []),
        f"order {template.order}",
        f"{template.max_new_tokens} tokens",
    ]
    if kind == MANY:
        sampling = template.sampling
        parts += [
            f"n {template.candidates}",
            f"temperature {sampling.temperature:g}",
            f"top-p {sampling.top_p:g}",
            f"seed {sampling.seed}",
        ]
    return ", ".join(parts)
