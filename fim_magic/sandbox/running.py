"""The parent's side: start a child for one job, watch it, and collect what it reports."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from fim_magic.sandbox.environment import packages, readable_paths, variables
from fim_magic.sandbox.job import CONFINING, Limits, Outcome, Reserved, RunReport, Step, StepResult, are_confined
from fim_magic.sandbox.scratch import bytes_in, bytes_written, remove

_log = logging.getLogger(__name__)

KERNEL_LAYERS = ("tmpfs", "capabilities", "landlock", "seccomp")

_CHILD = Path(__file__).with_name("child.py")
_TOKEN = 32  # characters; as child.py has it
_TAIL = 4096  # bytes of output that are kept
_ANSWERS = 8 << 20  # bytes of reports that are read
_POLL_SECONDS = 0.02
_BLOCK = 4096  # bytes of disk for which one file or folder is allowed
_FULL = "OSError: [Errno 28]"  # no space left on device
_ONLY_HOOK = "only Python's audit hook, which ctypes gets around"
_NOT_CONFINED = (
    "not confined by this system, which is said beside each check; "
    '%config FimMagics.unconfined_checks = "refuse" runs none'
)
_LEAST_FILES = 64
_ABI_TRUNCATE = 3  # the first version of Landlock that knows of truncating


def run(program: str, *, limits: Limits = Limits()) -> Outcome:  # noqa: B008 - frozen
    """Run a Python program in a process of its own, confined as far as this machine can do it."""
    return run_steps((Step("cell", program, "<program>", vital=True),), limits=limits).outcome


def run_steps(
    steps: Sequence[Step],
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    layers: Sequence[str] = KERNEL_LAYERS,
    reserved: Reserved | None = None,
    confined_only: bool = False,
) -> RunReport:
    """Run several pieces of source in one process and one namespace.

    Args:
        steps: What to do, in this order. One that is vital and fails is the last.
        limits: What all of them together may use.
        layers: Which of the kernel's layers to use, where there are any.
        reserved: What steps may not redefine.
        confined_only: Run no step where the system cannot confine it.
    """
    try:
        scratch = Path(tempfile.mkdtemp(prefix="fim-magic-")).resolve()
    except OSError as error:
        return _not_started(error)
    try:
        for folder in ("home", "work"):
            (scratch / folder).mkdir()
        return _Run(steps, limits, layers, scratch, reserved, CONFINING if confined_only else ()).report()
    except OSError as error:
        return _not_started(error)
    finally:
        remove(scratch)


def _not_started(error: OSError) -> RunReport:
    _log.info("A process of the sandbox cannot be started.", exc_info=True)
    return RunReport(Outcome(False, error.strerror or "killed"), ())


def protections() -> tuple[str, ...]:
    """Say what confines a program on this machine, and what does not, a line each. Starts one process."""
    held = _layers()
    if not held:
        return ("no program can be started here, so none is run",)
    landlock = next((layer for layer in held if layer.startswith("landlock")), "")
    lines = [] if are_confined(held) else [_NOT_CONFINED]
    lines += [
        "files: " + (f"Landlock, ABI {landlock.split()[1]}" if landlock else _ONLY_HOOK),
        "processes, network and signals: " + ("seccomp" if "seccomp" in held else _ONLY_HOOK),
        "processor time, memory and file size: " + ("rlimits" if "limits" in held else "only the clock"),
        "disk: " + ("a file system of its own" if "tmpfs" in held else "what it writes is counted as it runs"),
    ]
    if landlock and int(landlock.split()[1]) < _ABI_TRUNCATE:
        lines += ["this kernel's Landlock cannot keep a program from truncating files (Linux 6.2 can)"]
    return tuple(lines)


@lru_cache(maxsize=1)
def _layers() -> tuple[str, ...]:
    return run_steps((), limits=Limits(seconds=30)).layers


@dataclass
class _Run:
    """One child, from its start to its end."""

    steps: Sequence[Step]
    limits: Limits
    layers: Sequence[str]
    scratch: Path
    reserved: Reserved | None
    required: Sequence[str]
    _tail: bytearray = field(default_factory=bytearray)
    _answers: bytearray = field(default_factory=bytearray)
    _printed: int = 0
    _tokens: list[str] = field(default_factory=list)

    def report(self) -> RunReport:
        """Run the child to its end, and say what came of it."""
        self._tokens = [secrets.token_hex(_TOKEN // 2) for _ in range(len(self.steps) + 1)]
        process = subprocess.Popen(  # this interpreter and our own file; the program comes by a pipe
            [sys.executable, "-I", "-X", "utf8", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.scratch / "work",
            env=variables(self.scratch / "home"),
            start_new_session=True,  # also out of reach of a terminal's Ctrl-C
        )
        threads = [
            threading.Thread(target=work, args=(pipe,), daemon=True)
            for work, pipe in (
                (self._feed, process.stdin),
                (self._collect, process.stdout),
                (self._drain, process.stderr),
            )
        ]
        stopped = ""
        try:
            for thread in threads:
                thread.start()
            stopped = self._watch(process)
        finally:
            _kill(process)
            for thread in filter(threading.Thread.is_alive, threads):  # an interrupt may have come before it began
                thread.join(1)  # a process that outlives the kill (without seccomp) may hold a pipe open
        return self._conclude(process.returncode, stopped)

    def _watch(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the end; return why it has to come, or "" where it came by itself."""
        deadline = time.monotonic() + 2 * self.limits.seconds
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
                return ""
            if time.monotonic() > deadline:
                return "timed out"
            if self._printed > self.limits.output:
                return "printed too much"
            if self._writes_too_much(process.pid):
                return "wrote too much"
            if _threads(process.pid) > self.limits.threads:
                return "too many threads"

    def _writes_too_much(self, pid: int) -> bool:
        """Whether a child is beyond its disk. Where it has a file system of its own, that is full before.

        With the powers that it takes to make one, it could leave it.
        """
        if {"tmpfs", "capabilities"} <= {*self._held()}:
            return False
        most, largest = self.limits.disk, self.limits.file_size
        return bytes_in(self.scratch, pid, most, largest) > most or bytes_written(pid) > most + self.limits.output

    def _held(self) -> tuple[str, ...]:
        """The layers that hold the child, as soon as it has said so."""
        return next((line.texts for line in self._lines(1)), ())

    def _feed(self, pipe: IO[bytes]) -> None:
        job: dict[str, Any] = {
            "steps": [vars(step) for step in self.steps],
            "limits": {
                "seconds": math.ceil(self.limits.seconds),
                "memory": self.limits.memory,
                "file_size": self.limits.file_size,
                "disk": max(_BLOCK, self.limits.disk),  # 0 would be no limit
                "files": max(_LEAST_FILES, self.limits.disk // _BLOCK),
            },
            "layers": list(self.layers),
            "required": list(self.required),
            "reserved": None if self.reserved is None else asdict(self.reserved),
            "scratch": str(self.scratch),
            "readable": readable_paths(),
            "paths": packages(),
        }
        text = json.dumps(job).encode()
        try:
            with pipe:
                pipe.write(b"%016d" % len(text) + text + "".join(self._tokens).encode())
        except (OSError, ValueError):
            _log.info("A process of the sandbox ended before it had its job.", exc_info=True)

    def _collect(self, pipe: IO[bytes]) -> None:
        for part in _parts(pipe):
            self._answers += part[: max(0, _ANSWERS - len(self._answers))]

    def _drain(self, pipe: IO[bytes]) -> None:
        for part in _parts(pipe):
            self._printed += len(part)
            self._tail += part
            del self._tail[:-_TAIL]

    def _conclude(self, code: int, stopped: str) -> RunReport:
        lines = self._lines()
        layers, results = lines[0].texts if lines else (), tuple(lines[1:])
        failed = next((result for result in results if not result.ok), None)
        passed = failed is None and bool(lines) and len(results) == len(self.steps)
        if failed is not None:
            why = _reason(" ".join(failed.texts))
        else:
            why = "passed" if passed else stopped or _ending(code)
        return RunReport(Outcome(passed, why, self._tail.decode("utf-8", "replace")), results, layers)

    def _lines(self, most: int = -1) -> list[StepResult]:
        """The child's lines, the greeting and one for each step, up to the first that does not bear its token."""
        found = []
        # What follows the last line end is not whole yet; more lines than tokens are not ours.
        *lines, _ = bytes(self._answers).split(b"\n", len(self._tokens) if most < 0 else most)
        for token, line in zip(self._tokens, lines, strict=False):
            if not line.startswith(token.encode()) or line[_TOKEN : _TOKEN + 1] not in (b"+", b"-"):
                break
            try:
                said = line[_TOKEN + 1 :].decode("ascii")
                texts = tuple(bytes.fromhex(part).decode("utf-8") for part in said.split(",")) if said else ()
            except ValueError:
                _log.info("A line that the sandbox reported cannot be read.", exc_info=True)
                break
            found.append(StepResult(line[_TOKEN : _TOKEN + 1] == b"+", texts))
        return found


def _parts(pipe: IO[bytes]) -> Iterator[bytes]:
    try:
        with pipe:
            while part := os.read(pipe.fileno(), 1 << 16):
                yield part
    except (OSError, ValueError):
        _log.info("What the sandbox writes cannot be read to its end.", exc_info=True)


def _reason(error: str) -> str:
    """Say in the words of an outcome why a step failed."""
    if error == "MemoryError":
        return "out of memory"
    return "wrote too much" if error.startswith(_FULL) else "failed"


def _ending(code: int) -> str:
    if code == -getattr(signal, "SIGXCPU", 0):
        return "timed out"
    return "killed" if code < 0 else "ended early"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child, and what it left behind in its process group.

    The group's number stays taken while a process is left in it, and numbers are given in turn, so no other has it yet.
    """
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _threads(pid: int) -> int:
    """How many threads a process has, where /proc says it."""
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - 2  # one link for each thread, and its own two
    except OSError:
        return 0
