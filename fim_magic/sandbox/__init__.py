"""A sandbox for Python that a model wrote: a process of its own, out of which it cannot reach the user's things.

On Linux (x86_64, aarch64) the kernel holds it, whatever it calls: Landlock lets it read the interpreter, its packages
and system libraries and write its scratch folder, no more; seccomp refuses other processes, sockets, signals to others
and what changes the machine; the scratch folder is a small file system of its own, where the system gives one; rlimits,
and the parent that watches, bound time, memory, disk, output and threads; root's powers are dropped. Above that lies an
audit hook, the only layer on other systems: there Python's own functions refuse, and code that means harm gets around
them (ctypes), while code that is merely wrong does not. macOS has rlimits as well, but hardly one for memory; on
Windows time is bounded by the clock alone, and memory is not. `protections()` says what holds on this machine.

What it does not hide: whether a file exists whose path a program knows, and its size and dates. And a verdict is only
as honest as the interpreter that it is reached in: a program cannot pass by printing, by leaving early, by breaking
Python's functions or by redefining what is `Reserved`, but one that was written against this package could forge a
report from within, and one that defines an `__eq__` that is always true needs no forgery.
"""

from __future__ import annotations

from fim_magic.sandbox.job import Limits, Outcome, Reserved, RunReport, Step, StepResult
from fim_magic.sandbox.running import KERNEL_LAYERS, protections, run, run_steps

__all__ = [
    "KERNEL_LAYERS",
    "Limits",
    "Outcome",
    "Reserved",
    "RunReport",
    "Step",
    "StepResult",
    "protections",
    "run",
    "run_steps",
]
