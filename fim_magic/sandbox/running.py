"""The parent's side: start a child for one job, watch it, and collect what it reports."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

KERNEL_LAYERS = ("capabilities", "landlock", "seccomp")

_CHILD = Path(__file__).with_name("child.py")
_TOKEN = 32  # characters; as child.py has it
_TAIL = 4096  # bytes of output that are kept
_ANSWERS = 8 << 20  # bytes of reports that are read
_POLL_SECONDS = 0.02
_BLOCK = 4096  # bytes that the smallest file takes
# What the interpreter, its packages and system libraries read: nobody's own files.
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/fonts",
    "/etc/mime.types",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/System",
    "/Library/Fonts",
    "/dev/urandom",
    "/dev/random",
)
_OF_A_PREFIX = ("lib", "lib64", "share", "DLLs", "Library")  # not all of it: a project may be its own environment
_ONE_THREAD = (
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


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
    """

    kind: str
    source: str
    name: str
    examples: tuple[str, ...] = ()
    vital: bool = False


@dataclass(frozen=True)
class Done:
    """What came of a step.

    Attributes:
        ok: Whether it succeeded; "examples" always do.
        said: The error in one line, or what an expression gave; of "examples", for each what it printed after a "=",
            or its error after a "!".
    """

    ok: bool
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What came of a run of several steps: of those that ended, in their order.

    Attributes:
        outcome: How the process ended; not ok if a step failed.
        done: The steps that ended.
        layers: What held the process: "limits", "capabilities", "landlock N", "seccomp", "audit".
    """

    outcome: Outcome
    done: tuple[Done, ...]
    layers: tuple[str, ...] = ()


def run(program: str, *, limits: Limits = Limits()) -> Outcome:
    """Run a Python program in a process of its own, confined as far as this machine can do it.

    Args:
        program: Python source.
        limits: What it may use.
    """
    return run_steps((Step("cell", program, "<program>", vital=True),), limits=limits).outcome


def passes(program: str, seconds: float = 5) -> bool:
    """Run `program` and return whether it came to its end in time and without an error.

    Args:
        program: Python source.
        seconds: Of processor time; twice as much passes on the clock before it is killed.
    """
    return run(program, limits=Limits(seconds=seconds)).ok


def run_steps(
    steps: Sequence[Step],
    *,
    limits: Limits = Limits(),
    layers: Sequence[str] = KERNEL_LAYERS,
) -> Report:
    """Run several pieces of source in one process and one namespace.

    Args:
        steps: What to do, in this order. One that is vital and fails is the last.
        limits: What all of them together may use.
        layers: Which of the kernel's layers to use, where there are any.
    """
    with tempfile.TemporaryDirectory(prefix="fim-magic-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch, "home")
        home.mkdir()
        folder = Path(scratch, "work")
        folder.mkdir()
        return _Run(steps, limits, layers, Path(scratch).resolve()).report()


def protections() -> tuple[str, ...]:
    """Say what confines a program on this machine, and what does not, a line each. Starts one process."""
    held = _layers()
    landlock = next((layer for layer in held if layer.startswith("landlock")), "")
    lines = [
        "files: " + (f"Landlock, ABI {landlock.split()[1]}" if landlock else _ONLY_HOOK),
        "processes, network and signals: " + ("seccomp" if "seccomp" in held else _ONLY_HOOK),
    ]
    lines += ["processor time, memory and file size: " + ("rlimits" if "limits" in held else "only the clock")]
    if landlock and int(landlock.split()[1]) < _ABI_TRUNCATE:
        lines += ["this kernel's Landlock cannot keep a program from truncating files (Linux 6.2 can)"]
    if not held:
        lines = ["no program can be started here, so none is run"]
    return tuple(lines)


_ONLY_HOOK = "only Python's audit hook, which ctypes gets around"
_ABI_TRUNCATE = 3


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
    _tail: bytearray = field(default_factory=bytearray)
    _answers: bytearray = field(default_factory=bytearray)
    _printed: int = 0
    _tokens: list[str] = field(default_factory=list)

    def report(self) -> Report:
        """Run the child to its end, and say what came of it."""
        self._tokens = [secrets.token_hex(_TOKEN // 2) for _ in range(len(self.steps) + 1)]
        process = subprocess.Popen(  # this interpreter and our own file; the program comes by a pipe
            [sys.executable, "-I", "-X", "utf8", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.scratch / "work",
            env=_environment(self.scratch),
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
            for thread in threads:
                thread.join(1)  # who outlives the kill (without seccomp) may hold a pipe open
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
            if _on_disk(self.scratch, process.pid, self.limits.disk) > self.limits.disk:
                return "wrote too much"
            if _threads(process.pid) > self.limits.threads:
                return "too many threads"

    def _feed(self, pipe: IO[bytes]) -> None:
        job: dict[str, Any] = {
            "steps": [vars(step) for step in self.steps],
            "limits": {
                "seconds": math.ceil(self.limits.seconds),
                "memory": self.limits.memory,
                "file_size": self.limits.file_size,
            },
            "layers": list(self.layers),
            "scratch": str(self.scratch),
            "readable": _readable(),
            "paths": _packages(),
        }
        text = json.dumps(job).encode()
        # One that ends at once has closed the pipe.
        with contextlib.suppress(OSError, ValueError), pipe:
            pipe.write(b"%016d" % len(text) + text + "".join(self._tokens).encode())

    def _collect(self, pipe: IO[bytes]) -> None:
        for part in _parts(pipe):
            self._answers += part[: max(0, _ANSWERS - len(self._answers))]

    def _drain(self, pipe: IO[bytes]) -> None:
        for part in _parts(pipe):
            self._printed += len(part)
            self._tail += part
            del self._tail[:-_TAIL]

    def _conclude(self, code: int, stopped: str) -> Report:
        said = self._said()
        done = tuple(said[1:])
        output = self._tail.decode("utf-8", "replace")
        failed = next((step for step in done if not step.ok), None)
        if failed is not None:
            why = "out of memory" if failed.said[:1] == ("MemoryError",) else "failed"
        elif said and len(done) == len(self.steps):
            return Report(Outcome(ok=True, why="passed", output=output), done, said[0].said)
        else:
            why = stopped or _ending(code)
        return Report(Outcome(ok=False, why=why, output=output), done, said[0].said if said else ())

    def _said(self) -> list[Done]:
        """The child's lines, up to the first that does not bear its token."""
        found = []
        for token, line in zip(self._tokens, bytes(self._answers).split(b"\n"), strict=False):
            if not line.startswith(token.encode()) or line[_TOKEN : _TOKEN + 1] not in (b"+", b"-"):
                break
            try:
                text = bytes.fromhex(line[_TOKEN + 1 :].decode("ascii")).decode("utf-8")
            except ValueError:
                break
            found.append(Done(line[_TOKEN : _TOKEN + 1] == b"+", tuple(text.split("\0")) if text else ()))
        return found


def _parts(pipe: IO[bytes]) -> Iterator[bytes]:
    with contextlib.suppress(OSError, ValueError), pipe:
        while part := os.read(pipe.fileno(), 1 << 16):
            yield part


def _ending(code: int) -> str:
    if code == -getattr(signal, "SIGXCPU", 0):
        return "timed out"
    return "killed" if code < 0 else "ended early"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child, and whoever it left behind in its process group.

    The group's number stays taken while anybody is left in it, and numbers are given in turn: it is nobody else's yet.
    """
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _environment(scratch: Path) -> dict[str, str]:
    home = str(scratch / "home")
    environment = {
        "HOME": home,
        "TMPDIR": home,
        "MPLCONFIGDIR": home,
        "MPLBACKEND": "Agg",
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "",
        "MALLOC_ARENA_MAX": "2",  # each takes 64 MiB of address space
        **dict.fromkeys(_ONE_THREAD, "1"),
    }
    # Without these some interpreters do not start.
    for name in ("LD_LIBRARY_PATH", "SYSTEMROOT"):
        if name in os.environ:
            environment[name] = os.environ[name]
    if os.name == "nt":
        environment |= {"TEMP": home, "TMP": home, "USERPROFILE": home}
    return environment


def _packages() -> list[str]:
    """Where this process finds packages, and an isolated interpreter would not: the user's own site-packages."""
    of_user = {site.getusersitepackages()}
    return [path for path in sys.path if path in of_user]


def _readable() -> list[str]:
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    found = [str(Path(prefix, part)) for prefix in sorted(prefixes) for part in _OF_A_PREFIX]
    paths = sysconfig.get_paths()
    found += [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    if os.name == "nt":
        found += [os.environ.get("SYSTEMROOT", r"C:\Windows")]
    return [*_SYSTEM, *found, *_packages()]


def _on_disk(folder: Path, pid: int, enough: int) -> int:
    """The bytes that a child's files take, up to about `enough`; files that it deleted and keeps open count."""
    total = 0
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                total += max(_BLOCK, _allocated(os.lstat(os.path.join(root, name))))  # fast
            if total > enough:
                return total
    with contextlib.suppress(OSError):
        for opened in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{opened}")
                total += 0 if status.st_nlink else _allocated(status)
    return total


def _allocated(status: os.stat_result) -> int:
    blocks: int = getattr(status, "st_blocks", 0)
    return blocks * 512 or status.st_size


def _threads(pid: int) -> int:
    """How many threads a process has, where /proc says it."""
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - 2  # one link for each thread, and its own two
    except OSError:
        return 0
