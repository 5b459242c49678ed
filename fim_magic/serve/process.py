"""A server in the foreground: started, looked at until it answers, and ended when the user wants that."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import httpx2

from fim_magic.child_environment import SAFE_PATH, without_keys
from fim_magic.errors import OptionError, ServerError
from fim_magic.serve.commands import EVERYWHERE, ServerCommand

_LOOK_SECONDS = 0.5
_END_SECONDS = 30.0
"""For the requests that are under way, and for what the server's own processes hold."""


def require_free(host: str, port: int) -> None:
    """Raise an OptionError where a server could not listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as taken:
        if os.name == "posix":
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, after one that just ended
        try:
            taken.bind((host, port))
        except OSError as error:
            raise OptionError(
                f"Nothing can listen at {host}:{port} ({error.strerror or error}). Take another port, "
                f"--port {port + 1}, or end what listens there."
            ) from error


def run_server(
    command: ServerCommand,
    key: str,
    on_ready: Callable[[float], None],
    *,
    look_seconds: float = _LOOK_SECONDS,
) -> int:
    """Run a server until it ends or Ctrl-C ends it. Returns its exit status, 0 where the user has ended it.

    It has a session of its own, so that Ctrl-C reaches it once and through us.

    Args:
        command: What starts it.
        key: For its environment, where it reads it from there.
        on_ready: Called with the seconds until it answered.
        look_seconds: Between two looks whether it answers.

    Raises:
        ServerError: It cannot be started, or ended before it answered.
    """
    variables = {**without_keys(), **SAFE_PATH, **command.environment}
    if command.key_variable:
        variables[command.key_variable] = key
    with _ended_by_signals():
        try:
            process = subprocess.Popen(command.argv, env=variables, start_new_session=True)
        except OSError as error:
            raise ServerError(
                f"{command.program[0]} cannot be started ({error.strerror or error}). {command.missing}".strip()
            ) from error
        try:
            _wait_until_ready(process, command, on_ready, look_seconds)
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(process)


def answers(command: ServerCommand) -> bool:
    """Whether a server answers that it is ready; both kinds do so under /health, and ask for no key there."""
    url = command.url_at(EVERYWHERE.get(command.host, command.host)) + "/health"
    try:
        with httpx2.Client(trust_env=False, timeout=5.0) as client:
            return bool(client.get(url).status_code == httpx2.codes.OK)
    except httpx2.HTTPError:
        return False


def _wait_until_ready(
    process: subprocess.Popen[bytes], command: ServerCommand, on_ready: Callable[[float], None], look_seconds: float
) -> None:
    began = time.monotonic()
    while process.poll() is None:
        if answers(command):
            on_ready(time.monotonic() - began)
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(look_seconds)
    raise ServerError(
        f"{command.server} ended with status {process.returncode} before it answered; what it wrote above says why. "
        "Change what it complains of, such as --ctx, --users or the model, and run this again."
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server that runs still: as Ctrl-C does, and by force where that does not help, or where it comes again."""
    if process.poll() is not None:
        return
    try:
        process.send_signal(signal.SIGTERM if os.name != "posix" or _is_ignored(signal.SIGINT) else signal.SIGINT)
        process.wait(_END_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        with suppress(OSError):  # it has ended by itself
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)  # it leads its session, with its workers in it
            else:
                process.kill()
        process.wait()


def _is_ignored(number: int) -> bool:
    """Whether a signal is ignored here, as Ctrl-C in what a script starts with `&`: a server inherits that."""
    return signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """As long as the block lasts, end in an orderly way when this process is told to end, or its terminal closes.

    Where that is ignored, as by nohup, it stays so.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in numbers if not _is_ignored(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
