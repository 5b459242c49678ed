"""What a run is made of, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONFINING = ("landlock", "seccomp")
"""The layers without which a program can reach what is the user's."""


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes:
        seconds: Of processor time, over all its threads; twice as much passes on the clock before it is killed.
        memory: Bytes of address space. numpy and pandas need less than 1 GiB, torch about 4.
        file_size: Bytes of one file.
        disk: Bytes of all its files together.
        output: Bytes that it may print.
        threads: How many it may have. It cannot start processes.
    """

    seconds: float = 5
    memory: int = 1 << 30
    file_size: int = 16 << 20
    disk: int = 64 << 20
    output: int = 16 << 20
    threads: int = 64


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        ok: Whether the program came to its end without an error.
        why: "passed", "failed", "timed out", "out of memory", "wrote too much", "printed too much",
            "too many threads", "killed" (by a signal) or "ended early" (it left without coming to its end).
        output: The end of what it printed, errors included; a few KB.
    """

    ok: bool
    why: str
    output: str = ""


@dataclass(frozen=True)
class Step:
    """One thing to do in a run.

    Attributes:
        kind: "cell" (statements), "expression" (succeeds if its value is true) or "examples" (each in turn, in a copy
            of the namespace; what they print comes back).
        source: Python source; await is allowed at its top level.
        name: What tracebacks call it.
        examples: The sources of "examples".
        vital: Whether the steps after it make no sense if it fails.
        shown: What tracebacks show, where `source` is a part of it.
    """

    kind: str
    source: str
    name: str
    examples: tuple[str, ...] = ()
    vital: bool = False
    shown: str = ""


@dataclass(frozen=True)
class Reserved:
    """What is the user's in a run, while steps run that may redefine it. What they redefine is put back.

    Attributes:
        spans: The indices of a step before which it is noted how things are, and of the one after which they are put
            back, whose result tells the names of what had changed; one or several.
        settled: The index of the step from which on a step fails that changes what is noted after this one.
        released: Names that are not put back.
        only: Where not None, the only names that are.
        data: Names whose lists, dictionaries and sets get their contents back as well.
        checked: The names that may not change any more after `settled`.
    """

    spans: tuple[tuple[int, int], ...]
    settled: int
    released: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    data: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepResult:
    """What came of a step.

    Attributes:
        ok: Whether it succeeded; "examples" always do.
        texts: The error in one line, or what an expression gave; of "examples", for each what it printed after a "=",
            or its error after a "!".
    """

    ok: bool
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunReport:
    """What came of a run of several steps: of those that ended, in their order.

    Attributes:
        outcome: How the process ended; not ok if a step failed.
        results: Of the steps that ended.
        layers: What held the process: "tmpfs", "limits", "capabilities", "landlock N", "seccomp", "audit".
    """

    outcome: Outcome
    results: tuple[StepResult, ...]
    layers: tuple[str, ...] = ()

    @property
    def confined(self) -> bool:
        """Whether the system itself kept the program from the user's files, from processes and the network."""
        return are_confined(self.layers)


def are_confined(layers: Sequence[str]) -> bool:
    """Whether these layers keep a program from the user's files, from processes and the network."""
    return {*CONFINING} <= {layer.split()[0] for layer in layers}
