"""The child's side: confine this process, run the steps of one job, and report each as it ends.

It is started as `python -I child.py`, knows nothing of the package, and speaks with `running.py` over its standard
input and output. In: 16 digits, so many bytes of JSON (the job), then a token for the greeting and for each step. Out:
for each a line: the token, `+` or `-`, and the parts of what is to be said in their hexadecimal form, between commas.

A step's token stays unread in the pipe until that step has ended, so it is nowhere in this process while a program
runs. What runs after a program's first line uses its own copy of the builtins, code that was compiled before, and
functions that were bound before. A program written against this very file can still read the pipe, or change our
frames: it runs in the same interpreter.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import sys
import types
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

# Functions take their builtins from their globals when they are made: a program that replaces `len` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

_TOKEN = 32  # characters
_HEADER = 16  # digits
_CHANGES = "\nchanges"  # before the names of what a step has changed; no error's line has a line end
_MESSAGE = 500  # characters of a message
_OUTPUT = 20_000  # characters of what an example printed
_OPEN_FILES = 128
_FRAMES = 12  # of a traceback
_ALLOW_TOP_LEVEL_AWAIT = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT; ast takes milliseconds to import
_COROUTINE = 0x80  # inspect.CO_COROUTINE
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_REFUSED_EVENTS = frozenset(
    (
        "os.exec os.fork os.forkpty os.killpg os.posix_spawn os.spawn os.startfile os.startfile/2 os.system pty.spawn"
        " resource.prlimit resource.setrlimit socket.bind socket.connect socket.getaddrinfo socket.gethostbyaddr"
        " socket.gethostbyname socket.getnameinfo socket.sendmsg socket.sendto socket.sethostname subprocess.Popen"
        " webbrowser.open _winapi.CreateNamedPipe _winapi.CreateProcess _winapi.OpenProcess _winapi.TerminateProcess"
    ).split()
)
_READING_EVENTS = frozenset({"os.listdir", "os.scandir"})
# How many of an event's first arguments are paths that it changes.
_CHANGING_EVENTS = {
    **dict.fromkeys("os.chflags os.chmod os.chown os.mkdir os.remove os.removexattr os.rmdir os.setxattr".split(), 1),
    **dict.fromkeys("os.truncate os.utime sqlite3.connect".split(), 1),
    **dict.fromkeys("os.link os.rename os.symlink".split(), 2),
}


def _read(source: int, size: int, read: Callable[[int, int], bytes] = os.read) -> bytes:
    found = b""
    while len(found) < size:
        more = read(source, size - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def _reporter(source: int, target: int) -> Callable[[bool, tuple[str, ...]], None]:
    read, write = _read, os.write

    def report(ok: bool, parts: tuple[str, ...]) -> None:
        texts = [part.encode("utf-8", "replace").hex().encode() for part in parts if type(part) is str]
        line = read(source, _TOKEN) + (b"+" if ok else b"-") + b",".join(texts) + b"\n"
        while line:
            line = line[write(target, line) :]

    return report


def _beside(name: str) -> types.ModuleType:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")  # slow
    spec = spec_from_file_location(name, path)
    assert spec is not None  # the file lies beside this one
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _limit(limits: dict[str, int]) -> bool:
    try:
        import resource
    except ImportError:  # not on Windows
        return False
    wanted = {
        "RLIMIT_CPU": limits["seconds"],
        "RLIMIT_AS": limits["memory"],
        "RLIMIT_FSIZE": limits["file_size"],
        "RLIMIT_NOFILE": _OPEN_FILES,
        "RLIMIT_CORE": 1,  # byte: unlike 0, it also keeps the kernel from starting a program that takes the core
    }
    if sys.platform == "darwin":
        wanted["RLIMIT_NPROC"] = 0  # Linux counts threads with it, and not root's
    for name, value in wanted.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # macOS refuses RLIMIT_AS
            number = getattr(resource, name)
            before = resource.getrlimit(number)[1]
            # Past the soft limit of processor time SIGXCPU says what happened; past the hard one comes SIGKILL.
            hard = value + 1 if name == "RLIMIT_CPU" else value
            hard = hard if before == resource.RLIM_INFINITY else min(before, hard)
            resource.setrlimit(number, (min(value, hard), hard))
    return True


def _confine(job: dict[str, Any]) -> tuple[str, ...]:
    """Put every layer of the job into force, and return those that hold."""
    wanted, limits = job["layers"], job["limits"]
    kernel, seccomp = _beside("kernel"), _beside("seccomp")  # neither can be read once files are restricted
    held, is_alone = [], False
    if "tmpfs" in wanted:
        found, is_alone = _beside("mounts").private_tmpfs(job["scratch"], limits["disk"], limits["files"])
        held += ["tmpfs"] if found else []
    if held:
        for folder in ("home", "work"):
            os.mkdir(folder, 0o700)
        os.chdir("work")
        nothing = os.open(os.devnull, os.O_RDWR)  # the other one is of a mount that may be changed
        os.dup2(nothing, 0)
        os.close(nothing)
    kernel.die_with_parent()
    held += ["limits"] if _limit(limits) else []
    given_up = ("capabilities" in wanted and kernel.drop_capabilities(), kernel.no_new_privileges())
    held += ["capabilities"] if all(given_up) else []
    writable = [job["scratch"], os.devnull, "/dev/zero", "/dev/full"]
    abi = kernel.restrict_files(job["readable"], writable) if "landlock" in wanted else 0
    held += [f"landlock {abi}"] if abi else []
    is_alone &= "capabilities" in held
    if "seccomp" in wanted and kernel.refuse_system_calls(seccomp.program, spares_attributes=is_alone):
        held += ["seccomp"]
    sys.addaudithook(_guard(job["readable"], writable, files=not abi))
    return (*held, "audit")


def _check_path(path: Any, allowed: list[str]) -> None:
    if type(path) is int:
        return  # it was opened before
    real = os.path.realpath(os.fsdecode("." if path is None else path))
    if not any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in allowed):
        raise PermissionError(f"not in the sandbox: {real}")


def _guard(readable: list[str], writable: list[str], *, files: bool) -> Callable[[str, tuple[Any, ...]], None]:
    """The portable layer: Python's own functions refuse. Where Landlock holds, files are its affair."""
    real, own = os.path.realpath, os.getpid()
    may_write = [real(path) for path in writable]
    may_read = [*may_write, *(real(path) for path in readable)]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        other_process = event == "os.kill" and arguments[0] != own
        if event in _REFUSED_EVENTS or other_process or event.startswith("winreg."):
            raise PermissionError(f"not in the sandbox: {event}")
        if files:
            check_files(event, arguments)

    check = _check_path

    def check_files(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            check(arguments[0], may_write if (arguments[2] or 0) & _WRITES else may_read)
        elif event in _READING_EVENTS:
            check(arguments[0], may_read)
        elif event in _CHANGING_EVENTS:
            for path in arguments[: _CHANGING_EVENTS[event]]:
                check(path, may_write)

    return hook


def _compiled(source: str, name: str, mode: str) -> types.CodeType | Exception:
    try:
        code: types.CodeType = compile(source, name, mode, flags=_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
        return error.with_traceback(None)
    return code


class _Runner:
    """Runs steps in one namespace, that of a module `__main__`."""

    def __init__(
        self, steps: list[dict[str, Any]], reserved: dict[str, Any] | None, kept_in: Callable[..., Any], truth: Any
    ) -> None:
        self._module = types.ModuleType("__main__")
        self._module.__dict__["__builtins__"] = builtins  # or it would get our copy
        self._reserved, self._truth = reserved, truth
        self._kept = kept_in(self._module.__dict__)
        self._checking: list[str] = []
        self._eval, self._repr, self._stream = eval, repr, io.StringIO
        self._display = sys.displayhook
        self._steps = steps
        self._names = [step["name"] for step in steps]
        self._codes = [self._compile(step) for step in steps]
        compiled = [code for codes in self._codes for code in codes if not isinstance(code, Exception)]
        is_async = any(code.co_flags & _COROUTINE for code in compiled)
        self._wait = self._event_loop() if is_async else None  # before a program can say what a loop is
        sys.modules["__main__"] = self._module
        sys.argv = [""]

    @staticmethod
    def _compile(step: dict[str, Any]) -> list[types.CodeType | Exception]:
        if step["kind"] == "examples":
            return [_compiled(source, step["name"], "single") for source in step["examples"]]
        if step["kind"] == "expression":
            code = _compiled(step["source"].strip(), step["name"], "eval")
            if not isinstance(code, Exception):
                return [code]
            step["kind"] = "cell"  # `assert …`
        return [_compiled(step["source"], step["name"], "exec")]

    def run(self, report: Callable[[bool, tuple[str, ...]], None]) -> None:
        """Run the steps in their order, up to one that fails and has to succeed."""
        for index, (step, codes) in enumerate(zip(self._steps, self._codes, strict=True)):
            self._show_source(step)
            self._note(index)
            ok, parts = self._examples(codes) if step["kind"] == "examples" else self._attempt(step["kind"], codes[0])
            if ok:
                ok, parts = self._put_back(index, parts)
            self._flush()
            report(ok, parts)
            if not ok and step["vital"]:
                return

    def _note(self, index: int) -> None:
        reserved = self._reserved
        if reserved is None:
            return
        for stretch in reserved["stretches"]:
            if index == stretch["first"]:
                self._checking = self._import(reserved["modules"], reserved["attributes"])
                self._kept.note(
                    stretch["only"],
                    released=stretch["released"],
                    data=stretch["data"],
                    wholly=stretch["wholly"],
                    modules=self._checking,
                )

    def _put_back(self, index: int, parts: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
        reserved = self._reserved
        if reserved is None:
            return True, parts
        changed = []
        if any(index == stretch["last"] for stretch in reserved["stretches"]):
            changed = self._kept.put_back()
        if index == reserved["settled"]:
            changed += self._kept.put_back(reserved["spared"], contents=False)
            self._kept.note(reserved["checked"], modules=self._checking)
        if index <= reserved["settled"]:
            return True, tuple(changed)
        changed = self._kept.put_back()
        return (False, (_CHANGES, *changed)) if changed else (True, parts)

    def _import(self, modules: list[str], attributes: list[str]) -> list[str]:
        """Import what checks will import, before a program can change it; return the names of these modules."""
        found = [*modules]
        for name in modules:
            with contextlib.suppress(BaseException):
                __import__(name)
        for chain in attributes:
            name, *rest = chain.split(".")
            value = self._module.__dict__.get(name)
            for name in rest:
                if not isinstance(value, types.ModuleType):
                    break
                found.append(value.__name__)
                with contextlib.suppress(BaseException):
                    value = getattr(value, name)
        return found

    def _attempt(self, kind: str, code: types.CodeType | Exception) -> tuple[bool, tuple[str, ...]]:
        try:
            value = self._value(code, self._module.__dict__)
            ok, remark = (True, "") if kind == "cell" else self._truth.holds(value)
            if ok:
                return True, ()
            return False, (", ".join(filter(None, (f"gave {_one_line(self._repr(value))}", remark))),)
        except MemoryError:
            return False, ("MemoryError",)
        except BaseException as error:  # SystemExit too is no success
            self._print(error)
            return False, (self._words(error),)

    def _value(self, code: types.CodeType | Exception, namespace: dict[str, Any]) -> object:
        if isinstance(code, Exception):
            raise code
        value = self._eval(code, namespace)
        return value if self._wait is None or not code.co_flags & _COROUTINE else self._wait(value)

    @staticmethod
    def _event_loop() -> Callable[[Any], object]:
        import asyncio

        wait: Callable[[Any], object] = asyncio.new_event_loop().run_until_complete
        return wait

    def _examples(self, codes: list[types.CodeType | Exception]) -> tuple[bool, tuple[str, ...]]:
        """Run a docstring's examples in a copy of the namespace; whether they are right is for the parent to judge."""
        namespace = dict(self._module.__dict__)
        got = []
        before = sys.stdout
        for code in codes:
            stream = self._stream()
            sys.stdout, sys.displayhook = stream, self._display
            try:
                self._value(code, namespace)
                shown = sys.displayhook is self._display
                got.append("=" + stream.getvalue()[:_OUTPUT] if shown else "!changes sys.displayhook")
            except BaseException as error:
                got.append("!" + self._words(error))
            finally:
                sys.stdout = before
        return True, tuple(got)

    def _words(self, error: BaseException) -> str:
        try:
            name, text = _one_line(type(error).__name__), _one_line(str(error))
            if not text and name == "AssertionError":
                text = self._line_of(error)
        except BaseException:  # its __str__ is the program's
            return "an error that cannot be shown"
        return f"{name}: {text}" if text else f"{name}"

    def _line_of(self, error: BaseException) -> str:
        import linecache

        trace, found = error.__traceback__, ""
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name in self._names:
                found = linecache.getline(name, trace.tb_lineno).strip()
            trace = trace.tb_next
        return _one_line(found)

    def _print(self, error: BaseException) -> None:
        with contextlib.suppress(BaseException):
            import traceback

            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
                trace = trace.tb_next
            traceback.print_exception(type(error), error, trace, limit=-_FRAMES)

    @staticmethod
    def _show_source(step: dict[str, Any]) -> None:
        """Let tracebacks and inspect.getsource find the lines."""
        with contextlib.suppress(BaseException):
            import linecache

            source = step["shown"] or step["source"]
            lines = [*io.StringIO(source, newline="")]  # splitlines() knows more line ends than Python
            linecache.cache[step["name"]] = (len(source), None, lines, step["name"])

    @staticmethod
    def _flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()


def _one_line(text: str) -> str:
    return " ".join(text[: 2 * _MESSAGE].split())[:_MESSAGE]


def main() -> None:
    """Read a job from standard input, do it, and end this process."""
    source, target, end = os.dup(0), os.dup(1), os._exit
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a real stream
    job = json.loads(_read(source, int(_read(source, _HEADER))))
    sys.path += job["paths"]
    report = _reporter(source, target)
    keeping, contents, definitions, truth = map(_beside, ("keeping", "contents", "definitions", "truth"))
    held = _confine(job)
    kept_in = partial(keeping.Kept, data=contents, code=definitions)
    runner = _Runner(job["steps"], job["reserved"], kept_in, truth)
    report(True, held)
    if all(any(layer.split()[0] == wanted for layer in held) for wanted in job["required"]):
        runner.run(report)
    end(0)


if __name__ == "__main__":
    main()
