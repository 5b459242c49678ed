"""llama.cpp's HTTP server out of the package xllamacpp, with the options of `llama-server` that we use.

    python -m fim_magic.serve.llama -m FILE.gguf --port 8080 --api-key-file FILE

It ends as `llama-server` does: at Ctrl-C, or when it is told to end.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fim_magic.visible import notify

_ERRORS = 1  # of llama.cpp's levels of messages: what goes wrong


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fim_magic.serve.llama", description="llama.cpp's HTTP server")
    parser.add_argument("-m", dest="model", metavar="FILE", required=True)
    parser.add_argument("--alias", metavar="NAME", required=True)
    parser.add_argument("-c", dest="context", type=int, metavar="TOKENS", required=True, help="of all slots together")
    parser.add_argument("-np", dest="slots", type=int, metavar="N", default=1, help="answers at once")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", required=True)
    parser.add_argument("--no-slots", action="store_true")
    parser.add_argument("--metrics", action="store_true")
    return parser


def parameters(options: argparse.Namespace) -> Any:
    """Return xllamacpp's parameters for what was typed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.n_ctx = options.context
    params.n_parallel = options.slots
    params.hostnames = [options.host]
    params.port = options.port
    params.api_keys = options.api_key_file.read_text("ascii").split()
    params.endpoint_slots = not options.no_slots
    params.endpoint_metrics = options.metrics
    params.verbosity = _ERRORS
    return params


def main(arguments: Sequence[str] | None = None) -> int:
    import xllamacpp

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: ended.set())
    server = xllamacpp.Server(parameters(parser().parse_args(arguments)))
    notify(f"llama.cpp listens at {server.listening_address}")
    while not ended.wait(1.0):  # with an end, so that signals are seen on every system
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
