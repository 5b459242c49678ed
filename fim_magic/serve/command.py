"""`fim-magic serve`: its options, and what it does with them."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.errors import OptionError
from fim_magic.serve.commands import CONTEXT, PORTS, SERVERS, USERS, ServeOptions, build_command, choose_server
from fim_magic.serve.keys import ready_key, usual_key_file
from fim_magic.serve.machine import ServingMachine, look_at_machine
from fim_magic.serve.model import checkpoint_for
from fim_magic.serve.shown import explained, for_users
from fim_magic.visible import notify, plain_text, say

if TYPE_CHECKING:
    from fim_magic.serve.commands import ServerCommand
    from fim_magic.serve.model import ServedCheckpoint


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fim-magic serve` to its parser."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default="auto", help="a short name, a folder, a .gguf file or owner/name"
    )
    parser.add_argument("--run", action="store_true", dest="start", help="start it, in the foreground, until Ctrl-C")
    parser.add_argument("--server", choices=SERVERS, default="", help="instead of the one that suits")
    parser.add_argument(
        "--users", type=int, default=USERS, metavar="N", help=f"how many ask at the same moment (default {USERS})"
    )
    parser.add_argument(
        "--ctx", type=int, metavar="TOKENS", help=f"of prompt and answer together (default {CONTEXT}, if they fit)"
    )
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="spread the model over so many (default: those there are)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1: no others)")
    ports = ", ".join(f"{port} for {server}" for server, port in PORTS.items())
    parser.add_argument("--port", type=int, help=f"the port to listen on (default {ports})")
    parser.add_argument("--key-file", metavar="FILE", type=Path, help="where the key is, or is put (default: a cache)")
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="run the code that the model brings, if MODEL is owner/name@COMMIT with all of the commit: read it first",
    )
    parser.epilog = "What stands behind -- goes to the server as it is, such as -- --gpu-memory-utilization 0.5"


def split_off(typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what is typed for us, and the server's own options, which stand behind `--`."""
    own = list(itertools.takewhile(lambda word: word != "--", typed))
    return own, list(typed[len(own) + 1 :])


def run(options: argparse.Namespace, machine: ServingMachine | None = None) -> int:
    """Print what serves the model, and start it where that is asked for. Returns the exit status.

    Args:
        options: What was typed.
        machine: What there is to serve with; by default it is looked at.

    Raises:
        FimError: It cannot work. The message says what to type.
    """
    machine = machine or look_at_machine()
    checkpoint = _checkpoint(options)
    command = _command(checkpoint, machine, options)
    key = ready_key(command.key_file, is_ours=options.key_file is None)
    say(explained(command))
    if not options.start:
        say("\n" + for_users(command))
        return 0
    return _start(command, key)


def _start(command: ServerCommand, key: str) -> int:
    from fim_magic.serve.process import require_free, run_server

    if command.missing:
        raise OptionError(f"{command.server} is not installed here. Type this, and run this again: {command.missing}")
    require_free(command.host, command.port)
    notify("\nStarting it. Ctrl-C ends it.\n")

    def on_ready(seconds: float) -> None:
        notify(f"\nReady after {seconds:.0f} s.\n\n{for_users(command)}\n")

    status = run_server(command, key, on_ready)
    notify(f"\n{command.server} has ended." if status == 0 else f"\n{command.server} has ended with status {status}.")
    return status


def _checkpoint(options: argparse.Namespace) -> ServedCheckpoint:
    from fim_magic.loading.memory import THIS_MACHINE
    from fim_magic.loading.resolve import find_source
    from fim_magic.loading.spec import ModelSpec
    from fim_magic.progress import TerminalProgress

    spec = ModelSpec.of(options.model, allow_code=options.allow_code)
    source, why = find_source(spec.name, THIS_MACHINE)
    if why:
        notify(plain_text(f"{source.name}: {why}."))
    if not options.start:
        return checkpoint_for(source, spec)
    with TerminalProgress() as progress:
        return checkpoint_for(source, spec, progress)


def _command(checkpoint: ServedCheckpoint, machine: ServingMachine, options: argparse.Namespace) -> ServerCommand:
    server, _ = choose_server(checkpoint, machine, options.server)
    port = options.port or PORTS[server]
    key_file = options.key_file or usual_key_file(options.host, port)
    wanted = ServeOptions(
        options.server, options.users, options.ctx, options.gpus, options.host, options.port, tuple(options.more)
    )
    return build_command(checkpoint, machine, wanted, key_file.expanduser().absolute())
