"""Which server runs a model, and with which options: each is decided here, with the reason in a few words."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fim_magic.engines.memory import gigabytes
from fim_magic.engines.server.address import is_loopback
from fim_magic.errors import ModelError, OptionError
from fim_magic.serve.machine import INSTALL_LLAMA_SERVER, INSTALL_VLLM, OWN_LLAMA_SERVER, ServingMachine
from fim_magic.serve.model import ServedCheckpoint

VLLM, LLAMA_SERVER = "vllm", "llama-server"
SERVERS = (VLLM, LLAMA_SERVER)
PORTS = {VLLM: 8000, LLAMA_SERVER: 8080}

USERS = 8
"""Who ask at the same moment, where nothing else is said: a class types more than it waits."""

CONTEXT = 8192
"""Tokens of prompt and answer together, where nothing else is said: more than notebooks need, as a rule."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The addresses that mean all of a machine's own, each with the one at which it reaches itself."""

_NAMES = {"--model", "-m", "--served-model-name", "--alias", "-a"}
_FIXED = _NAMES | {"--host", "--port", "--api-key", "--api-key-file"}
"""Options of servers on which the lines for users depend."""
_PIPELINE = {"--pipeline-parallel-size", "-pp"}
_LEAST_CONTEXT = 2048
_STEP = 256  # tokens that a context is rounded down to
_SHARE = 0.9  # of the memory, for weights and KV caches; vLLM's own default
_MOST_SEQUENCES = 256


@dataclass(frozen=True)
class ServeOptions:
    """What the user asks of a server.

    Attributes:
        server: "vllm" or "llama-server", or "" for the one that suits.
        users: How many ask at the same moment.
        context: Tokens of prompt and answer together; None for what people need and memory has room for.
        gpus: How many a model is spread over; None for those that are there.
        host: The address that it listens on.
        port: Of the host; None for the server's own.
        more: Further options of the server, in its own words.
    """

    server: str = ""
    users: int = USERS
    context: int | None = None
    gpus: int | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flag:
    """One option of a server.

    Attributes:
        name: As it is typed.
        value: What follows it; "" where nothing does.
        why: What it is good for, in a few words.
    """

    name: str
    value: str = ""
    why: str = ""


@dataclass(frozen=True)
class ServerCommand:
    """What starts a server.

    Attributes:
        server: "vllm" or "llama-server".
        why: Why that one.
        model: What requests call the model.
        program: The words before the options.
        flags: The options, each with its reason.
        host: The address that it listens on.
        port: Of the host.
        environment: Variables that it gets.
        key_variable: The variable that it reads its key from; "" where it reads a file.
        key_file: The file that has the key.
        missing: What to type so that the server is there; "" where it is.
        remarks: What else the user should know.
        more: What the user adds to the options; those of the same name are left out of `flags`.
    """

    server: str
    why: str
    model: str
    program: tuple[str, ...]
    flags: tuple[Flag, ...]
    host: str
    port: int
    key_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    key_variable: str = ""
    missing: str = ""
    remarks: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        """The words of the command. The key is none of them: every user of a machine sees those."""
        flags = (word for flag in self.flags for word in (flag.name, flag.value) if word)
        return [*self.program, *flags, *self.more]

    @property
    def shell_line(self) -> str:
        """The same for a shell, which reads the key out of its file."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        if self.key_variable:
            variables.append(f'{self.key_variable}="$(cat {shlex.quote(str(self.key_file))})"')
        return " ".join([*variables, shlex.join(self.argv)])

    def url_at(self, host: str) -> str:
        """Where it answers on a host."""
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def uses_our_module(self) -> bool:
        return OWN_LLAMA_SERVER in self.program


def choose_server(checkpoint: ServedCheckpoint, machine: ServingMachine, wanted: str = "") -> tuple[str, str]:
    """Return which server runs a checkpoint on a machine, and why.

    Raises:
        OptionError: `wanted` cannot run it.
        ModelError: Nothing here can.
    """
    name = checkpoint.name
    if wanted == VLLM and checkpoint.is_gguf:
        raise OptionError(f"--server vllm does not run .gguf files, and {name} is one. Omit it: llama-server does.")
    if wanted == LLAMA_SERVER and not checkpoint.is_gguf:
        raise OptionError(f"--server llama-server runs .gguf files, and {name} is none. Omit it, or name such a file.")
    if wanted:
        return wanted, "as asked for"
    if checkpoint.is_gguf:
        return LLAMA_SERVER, "it is a .gguf file"
    if machine.gpus:
        return VLLM, "there is a CUDA GPU"
    if machine.vllm:
        return VLLM, "there is no CUDA GPU, but vLLM is installed, and llama-server runs .gguf files only"
    raise ModelError(
        f"There is no CUDA GPU here, and {name} is no .gguf file, which llama-server would run on a CPU. Name one: "
        f"fim-magic serve qwen2.5-coder-0.5b, or PATH.gguf. For the command of another machine: fim-magic serve {name} "
        "--server vllm"
    )


def build_command(
    checkpoint: ServedCheckpoint, machine: ServingMachine, options: ServeOptions, key_file: Path
) -> ServerCommand:
    """Decide how a checkpoint is served.

    Args:
        checkpoint: What is served.
        machine: What it is served by.
        options: What the user asks.
        key_file: The file that has the key.

    Raises:
        OptionError: An option makes no sense.
        ModelError: It does not fit, or nothing here can run it.
    """
    if options.users < 1 or (options.gpus is not None and options.gpus < 1):
        raise OptionError("--users and --gpus are at least 1.")
    if options.context is not None and options.context < _STEP:
        raise OptionError(f"--ctx is at least {_STEP} tokens.")
    if checkpoint.context and options.context is not None and options.context > checkpoint.context:
        raise OptionError(f"{checkpoint.name} reads {checkpoint.context} tokens at most: --ctx {checkpoint.context}")
    if options.port is not None and not 0 < options.port < 1 << 16:
        raise OptionError(f"--port is from 1 to {(1 << 16) - 1}; {options.port} is not.")
    typed = {word.partition("=")[0].replace("_", "-") for word in options.more}  # vLLM takes either
    if typed & _FIXED:
        raise OptionError(
            f"{min(typed & _FIXED)} cannot stand behind --, as the lines for users depend on it. Before it, --host, "
            "--port and --key-file say where the server is and where its key."
        )
    server, why = choose_server(checkpoint, machine, options.server)
    build = _vllm_command if server == VLLM else _llama_server_command
    command = build(checkpoint, machine, options, key_file, why)
    return replace(command, flags=tuple(flag for flag in command.flags if flag.name not in typed), more=options.more)


# --- vLLM, as of 0.32: vllm/engine/arg_utils.py and vllm/entrypoints/launchers/cli_args.py --------


def _vllm_command(
    checkpoint: ServedCheckpoint, machine: ServingMachine, options: ServeOptions, key_file: Path, why: str
) -> ServerCommand:
    program = machine.vllm or ("vllm", "serve")
    model = (Flag("--model", checkpoint.location),) if "-m" in program else ()
    gpus = options.gpus or _usable_gpus(len(machine.gpus), checkpoint.heads)
    if checkpoint.heads and checkpoint.heads % gpus:
        raise OptionError(
            f"{checkpoint.name} has {checkpoint.heads} heads, which {gpus} GPUs cannot share evenly. Take --gpus "
            f"{_usable_gpus(gpus, checkpoint.heads)}"
        )
    context = options.context or min(checkpoint.context or CONTEXT, CONTEXT)
    if machine.gpus:
        _require_room(checkpoint, sum(sorted(machine.gpus)[-gpus:]) * _pipeline_stages(options.more), context)
    port = options.port or PORTS[VLLM]
    sequences = min(max(options.users, USERS), _MOST_SEQUENCES)
    flags = [
        *model,
        Flag("--served-model-name", checkpoint.name, "what requests call the model"),
        *_revision(checkpoint),
        Flag("--dtype", "auto", "in the precision, or quantised as, the checkpoint is"),
        Flag("--max-model-len", str(context), "tokens of prompt and answer together; --ctx sets it"),
        Flag("--max-num-seqs", str(sequences), "answers that are written at once, others wait; --users sets it"),
        Flag("--enable-prefix-caching", why="a cell that was read already is not read again"),
        Flag("--generation-config", "vllm", "the model's own defaults of sampling would change greedy answers"),
        Flag("--host", options.host, _why_host(options.host)),
        Flag("--port", str(port), "--port sets it"),
    ]
    if not machine.gpus:
        flags.append(
            Flag("--block-size", "32", "what is known of a prompt is kept in blocks; on a CPU vLLM's have 128 tokens")
        )
    if gpus > 1:
        flags.append(
            Flag("--tensor-parallel-size", str(gpus), "each layer is spread over so many GPUs; --gpus sets it")
        )
    if checkpoint.allow_code:
        flags.append(Flag("--trust-remote-code", why="runs the code of the repository, as --allow-code says"))
    return ServerCommand(
        server=VLLM,
        why=why,
        model=checkpoint.name,
        program=program if model else (*program, checkpoint.location),
        flags=tuple(flags),
        host=options.host,
        port=port,
        key_file=key_file,
        environment={"VLLM_NO_USAGE_STATS": "1"},  # else it tells its makers what it runs on
        key_variable="VLLM_API_KEY",
        missing="" if machine.vllm else f"{INSTALL_VLLM} && PATH=$PWD/vllm-env/bin:$PATH",
        remarks=_vllm_remarks(options.host),
    )


def _vllm_remarks(host: str) -> tuple[str, ...]:
    if is_loopback(host):
        return ()
    return (
        "vLLM asks for the key under /v1 alone: whoever reaches the port can also have texts cut into tokens and ask "
        "for its version and its counters.",
    )


def _revision(checkpoint: ServedCheckpoint) -> list[Flag]:
    if checkpoint.revision is None:
        return []
    names = ["--revision", "--tokenizer-revision", *["--code-revision"] * checkpoint.allow_code]
    return [Flag(name, checkpoint.revision, "as the model's name pins it") for name in names]


def _pipeline_stages(more: Sequence[str]) -> int:
    """Over how many machines, each with the GPUs of this one, the user's own options share out the layers."""
    for word, next_word in itertools.pairwise((*more, "")):
        name, is_joined, value = word.partition("=")
        number = value if is_joined else next_word
        if name.replace("_", "-") in _PIPELINE and number.isdecimal():
            return max(int(number), 1)
    return 1


def _usable_gpus(count: int, heads: int) -> int:
    """The largest power of two of the GPUs that are there, which also shares out the heads."""
    usable = 1
    while usable * 2 <= count and not (heads and heads % (usable * 2)):
        usable *= 2
    return usable


# --- llama-server: tools/server/README.md in ggml-org/llama.cpp ------------------------------------


def _llama_server_command(
    checkpoint: ServedCheckpoint, machine: ServingMachine, options: ServeOptions, key_file: Path, why: str
) -> ServerCommand:
    room = max(machine.ram, sum(machine.gpus))
    context = options.context or min(checkpoint.context or CONTEXT, CONTEXT)
    fitting, slots = _fit(checkpoint, room, context, options.users, keep_context=options.context is not None)
    _require_room(checkpoint, room, fitting)
    port = options.port or PORTS[LLAMA_SERVER]
    at_once = "answers that are written at once, others wait"
    flags = (
        Flag("-m", str(checkpoint.path)),
        Flag("--alias", checkpoint.name, "what requests call the model"),
        Flag(
            "-c", str(fitting * slots), f"tokens in all: {fitting} of prompt and answer for each of them; --ctx sets it"
        ),
        Flag("-np", str(slots), at_once + ("" if slots == options.users else ": memory has no room for more")),
        Flag("--host", options.host, _why_host(options.host)),
        Flag("--port", str(port), "--port sets it"),
        Flag("--api-key-file", str(key_file), "the key, which no list of processes shows"),
        Flag("--no-slots", why="who has the key does not see what others ask"),
        Flag("--metrics", why="counts requests and tokens under /metrics"),
    )
    return ServerCommand(
        server=LLAMA_SERVER,
        why=why,
        model=checkpoint.name,
        program=machine.llama_server or ("llama-server",),
        flags=flags,
        host=options.host,
        port=port,
        key_file=key_file,
        missing="" if machine.llama_server else INSTALL_LLAMA_SERVER,
    )


def _fit(checkpoint: ServedCheckpoint, room: int, context: int, slots: int, *, keep_context: bool) -> tuple[int, int]:
    """Return the context, and how many answers at once, that memory has room for: fewer answers before less context."""
    if not checkpoint.token_bytes or not room:
        return context, slots
    tokens = max(int(room * _SHARE) - checkpoint.weight_bytes, 0) // checkpoint.token_bytes
    slots = max(min(slots, tokens // context), 1)
    if not keep_context and slots == 1 and tokens < context:
        context = max(min(context, tokens) // _STEP * _STEP, min(context, _LEAST_CONTEXT))
    return context, slots


# --- both ----------------------------------------------------------------------------------------


def _require_room(checkpoint: ServedCheckpoint, room: int, context: int) -> None:
    needed = checkpoint.weight_bytes + context * checkpoint.token_bytes
    if not room or needed <= room * _SHARE:
        return
    takes, less = f"with {context} tokens of context it takes", ", or with less context (--ctx N)"
    if not checkpoint.token_bytes:  # without its files, nobody knows what a token takes
        takes, less = "its weights alone take", ""
    more = "" if checkpoint.is_gguf else ", or take more GPUs (--gpus N)"
    raise ModelError(
        f"{checkpoint.name} does not fit: {takes} {gigabytes(needed)}, and {gigabytes(room * _SHARE)} can be had. "
        f"Serve a smaller model{less}{more}."
    )


def _why_host(host: str) -> str:
    return "this machine only; --host opens it" if is_loopback(host) else "others reach it, as --host says"
