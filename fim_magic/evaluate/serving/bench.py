"""`fim-magic bench --model vllm://…` as a whole: load the engine, have users ask, compare, and say what came of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from fim_magic.engines.cores import processor
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.dialects import identify
from fim_magic.engines.server.engine import ServerEngine
from fim_magic.engines.server.time_limits import OF_A_CROWD
from fim_magic.errors import FimError, ModelError, OptionError
from fim_magic.evaluate.printing import write
from fim_magic.evaluate.serving.crowd import ask_as_crowd
from fim_magic.evaluate.serving.overhead import ByHand, measure_overhead
from fim_magic.evaluate.serving.report import ServingReport, table
from fim_magic.evaluate.speed.workloads import INFILL_TOKENS, NEW_TOKENS, documents_of, spread_prompts
from fim_magic.interruption import interruptible
from fim_magic.loading.served import connection_to
from fim_magic.progress import OnProgress, Progress, silent
from fim_magic.visible import notify, say

MEASURE = "server"
"""The name that `--only` takes."""

USERS = (1, 8, 64)
_INFILLS = 3
_LEAST_PROMPT = 64  # tokens


@dataclass(frozen=True)
class ServingOptions:
    """What a run is asked to do.

    Attributes:
        rounds: How many requests each user makes, and how often infills are compared.
        users: How many at once, one number after another.
        new_tokens: The most tokens of an answer.
        json: Where everything is written, or None.
    """

    rounds: int
    users: tuple[int, ...] = USERS
    new_tokens: int = NEW_TOKENS
    json: Path | None = None


def check(options: ServingOptions) -> None:
    """Raise an OptionError where an option makes no sense."""
    if options.rounds < 1:
        raise OptionError(f"--rounds is at least 1; {options.rounds} is not.")
    if not options.users or min(options.users) < 1:
        raise OptionError("--users is one number or several, each at least 1: --users 1,8,64")
    if options.json is not None and not options.json.parent.is_dir():
        raise OptionError(f"There is no folder {str(options.json.parent)!r} to write to. Make it first.")


def run(
    options: ServingOptions, engine: ServerEngine, on_progress: OnProgress = silent, command: Sequence[str] = ()
) -> tuple[ServingReport, bool]:
    """Measure, and return the report and whether it is whole: Ctrl-C ends a run early with what is there.

    Args:
        options: As `check` has found them right.
        engine: A model that a server runs.
        on_progress: Called after each request.
        command: What the user typed, for the report.

    Raises:
        ModelError: The server's context is too short for the bench's prompts.
        ServerError: It could not be asked.
    """
    address = ServerAddress.of(engine.info.model)
    connection = connection_to(address)
    report = ServingReport(_about(options, engine, command))
    whole = True
    try:
        by_hand = ByHand(address, *identify(connection))
        with interruptible() as stop:
            _measure(options, engine, by_hand, report, _Steps(on_progress, _steps(options)).add, stop)
    except KeyboardInterrupt:
        whole = False
        report.warnings.append("It was interrupted. What follows is what was measured until then.")
    except FimError as error:
        if not report.crowds:
            raise
        whole = False
        report.warnings.append(f"It ended early. {error}")
    finally:
        connection.close()
    return report, whole


def _measure(
    options: ServingOptions,
    engine: ServerEngine,
    by_hand: ByHand,
    report: ServingReport,
    on_done: Callable[[], None],
    stop: threading.Event,
) -> None:
    length = min(INFILL_TOKENS, engine.context_length - options.new_tokens - 1)
    if length < _LEAST_PROMPT:
        raise ModelError(
            f"{engine.info.model} has a context of {engine.context_length} tokens, too few for the bench's prompts. "
            "Start the server with more (--max-model-len of vLLM, -c of llama-server)."
        )
    # Every request has a prompt of its own, so that none is answered out of what another has left behind.
    prompts = spread_prompts(engine, length, 1 + options.rounds * sum(options.users))
    engine.wait(OF_A_CROWD)
    # The first request of all pays for what a server makes ready.
    ask_as_crowd(engine, [prompts.pop()], 1, options.new_tokens, on_done, stop=stop)
    for users in options.users:
        own = [prompts.pop() for _ in range(users * options.rounds)]
        report.crowds.append(ask_as_crowd(engine, own, users, options.new_tokens, on_done, stop=stop))
    # By hand, a prompt is sent as ids: where the server takes none, there is nothing to compare with.
    if engine.family.can_infill and engine.capabilities.takes_ids and by_hand.dialect.capabilities.takes_ids:
        documents = documents_of(engine, length, _INFILLS)
        pairs = measure_overhead(engine, by_hand, documents, options.rounds, options.new_tokens, on_done, stop=stop)
        for pair in pairs:  # one by one: an interrupt leaves those that are there
            report.overhead.append(pair)


def _steps(options: ServingOptions) -> int:
    return 1 + options.rounds * sum(options.users) + (options.rounds + 1) * _INFILLS


class _Steps:
    """Counts what has been asked, on any thread."""

    def __init__(self, on_progress: OnProgress, total: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self._done += 1
            self._on_progress(Progress("Asking the server", self._done, self._total, "requests"))


def _about(options: ServingOptions, engine: ServerEngine, command: Sequence[str]) -> dict[str, str]:
    return {
        "model": engine.info.model,
        "server": engine.info.runs_on,
        "asked from": f"{processor()}, {os.cpu_count()} processors",
        "command": " ".join(command),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "requests": f"{options.rounds} of each user, prompts of some {INFILL_TOKENS} tokens that begin differently, "
        f"at most {options.new_tokens} new tokens, greedy",
    }


def show(report: ServingReport, options: ServingOptions) -> None:
    """Print the table, and write the file that was asked for; an OptionError where it cannot be written."""
    say(table(report))
    if options.json is not None:
        write(options.json, report.to_json(), "file after --json")
        notify(f"Everything that was measured is in {options.json}.")
