"""What `fim-magic serve` writes: the command with the reason for each option, and what users of the server type."""

from __future__ import annotations

import shlex
import socket
from dataclasses import replace
from urllib.parse import quote

from fim_magic.engines.server.address import ServerAddress, is_loopback
from fim_magic.engines.server.keys import VARIABLE
from fim_magic.serve.commands import EVERYWHERE, VLLM, ServerCommand
from fim_magic.visible import plain_text


def explained(command: ServerCommand) -> str:
    """Return what is decided, and why."""
    what = "vLLM" if command.server == VLLM else "llama-server"
    if command.uses_our_module:
        what += ", out of the package xllamacpp: there is no llama-server on the PATH"
    lines = [f"{command.model} is served by {what} ({command.why}).", ""]
    options = [(f"{flag.name} {flag.value}".strip(), flag.why) for flag in command.flags]
    if command.more:
        options.append((shlex.join(command.more), "as you say"))
    width = min(max(len(option) for option, _ in options), 44)
    lines += [f"  {option:<{width}}  {why}".rstrip() for option, why in options]
    lines += ["", "The command:", "", f"  {command.shell_line}"]
    if command.missing:
        lines += ["", f"{what} is not installed here. This installs it: {command.missing}"]
    return "\n".join(map(plain_text, lines))


def for_users(command: ServerCommand, hostname: str = "") -> str:
    """Return what each user needs: two lines for the notebook, and the variables of the environment.

    Args:
        command: What starts the server.
        hostname: What others call this machine; "" asks the system.
    """
    address = address_of(command, hostname)
    name = f"{replace(address, model='').name}/{quote(command.model)}"
    key = f'"{address.host}=$(cat {shlex.quote(str(command.key_file))})"'
    allowed = [] if address.is_loopback else [f"  export FIM_MAGIC_ALLOWED_HOSTS={address.host}   # or: %fim allow it"]
    lines = [
        "In the notebook:",
        "",
        "  %load_ext fim_magic",
        f"  %fim use {name}",
        "",
        "Before the kernel starts, in its environment:",
        "",
        f"  export {VARIABLE}={key}",
        f"  export FIM_MAGIC_MODEL={shlex.quote(name)}   # in the place of %fim use",
        *allowed,
        "",
        f"The key is in {command.key_file}, which only you can read. Users on other machines get it from you.",
    ]
    if not is_loopback(command.host):
        https = f"{command.server}+https://HOST"
        lines += ["", f"What goes over the network is not encrypted. Put a proxy with TLS before it, and name {https}"]
    return "\n".join([*map(plain_text, lines), *(f"\n{plain_text(remark)}" for remark in command.remarks)])


def address_of(command: ServerCommand, hostname: str = "") -> ServerAddress:
    """Return where users find the server."""
    host = (hostname or socket.gethostname()) if command.host in EVERYWHERE else command.host
    return ServerAddress(command.server, command.url_at(host), command.model)
