"""`fim-magic bench --model vllm://…`: its options, and what it does with them."""

from __future__ import annotations

import argparse
from typing import cast

from fim_magic.cli_loading import models_of
from fim_magic.cli_process import INTERRUPTED
from fim_magic.engines.server.engine import ServerEngine
from fim_magic.errors import OptionError
from fim_magic.evaluate.serving import bench
from fim_magic.loading.spec import ModelSpec
from fim_magic.visible import notify, plain_text

_ROUNDS, _QUICK_ROUNDS = 5, 2
_OF_OTHERS = ("random_weights", "quantize", "threads", "llama_cpp", "plot")


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table. Returns 130 where it ended early."""
    from fim_magic.progress import TerminalProgress

    asked = _options(options)
    with TerminalProgress() as progress:
        loaded = models_of(options).use(ModelSpec.of(options.model, tokenizer=options.tokenizer), progress)
    for notice in loaded.notices:
        notify(plain_text(notice))
    engine = cast(ServerEngine, loaded.engine)  # the model has an address
    with TerminalProgress() as progress:
        report, whole = bench.run(asked, engine, progress, ["fim-magic", *options.typed])
    bench.show(report, asked)
    return 0 if whole else INTERRUPTED


def _options(options: argparse.Namespace) -> bench.ServingOptions:
    for name in _OF_OTHERS:
        if getattr(options, name):
            flag = name.replace("_", "-")
            raise OptionError(
                f"--{flag} is for models that are loaded here; {options.model} runs on a server. Omit it."
            )
    if options.only and set(filter(None, options.only.split(","))) != {bench.MEASURE}:
        raise OptionError(f"Of a model that a server runs, --only names {bench.MEASURE} alone. Omit it.")
    rounds = options.rounds
    if rounds is None:
        rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    asked = bench.ServingOptions(rounds, _users(options.users), json=options.json)
    bench.check(asked)
    return asked


def _users(typed: str | None) -> tuple[int, ...]:
    if typed is None:
        return bench.USERS
    try:
        return tuple(int(number) for number in typed.split(","))
    except ValueError:
        raise OptionError(f"--users is one number or several, such as 1,8,64; {typed!r} is not.") from None
