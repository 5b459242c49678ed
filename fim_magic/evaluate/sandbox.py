"""Running a program that a model wrote, in a process of its own with limits.

The limits keep a wrong program from hanging or filling this machine: processor and wall-clock time, memory, file size,
no sockets, a scratch folder as working directory, none of this process's environment. They are no defence against a
program that means harm.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

_MEMORY = 1 << 30
_FILE_SIZE = 1 << 20

_LIMITS = f"""
import socket
try:
    import resource
except ImportError:  # not on Windows
    pass
else:
    resource.setrlimit(resource.RLIMIT_CPU, ({{seconds}}, {{seconds}}))
    resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
    resource.setrlimit(resource.RLIMIT_FSIZE, ({_FILE_SIZE}, {_FILE_SIZE}))
def _refuse(*_, **__):
    raise OSError("no network here")
socket.socket = socket.create_connection = _refuse
import sys
exec(compile(sys.stdin.read(), "<candidate>", "exec"), {{{{"__name__": "__main__"}}}})
"""


def passes(program: str, seconds: int = 5) -> bool:
    """Run `program` and return whether it ended in time and without an error.

    Args:
        program: Python source.
        seconds: Of processor time; twice as much passes on the clock before it is killed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, and the program comes on its standard input
                [sys.executable, "-I", "-c", _LIMITS.format(seconds=seconds)],
                input=program,
                text=True,
                encoding="utf-8",
                cwd=scratch,
                env={},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=2 * seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0
