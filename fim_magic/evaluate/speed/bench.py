"""`fim-magic bench` as a whole: find the model, load every arm, ask them in turns, and say what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fim_magic.engines.memory import freeing_memory, give_back
from fim_magic.engines.torch.devices import dtype_for
from fim_magic.errors import FimError, ModelError, OptionError
from fim_magic.evaluate import picture
from fim_magic.evaluate.speed import fresh, machine, measure, plot, subject
from fim_magic.evaluate.speed.arms import (
    GENERATE,
    GGUF,
    OURS,
    PLAIN,
    Arm,
    EngineArm,
    GenerateArm,
    LlamaCppArm,
)
from fim_magic.evaluate.speed.report import Report, rows, table
from fim_magic.evaluate.speed.workloads import INFILL_TOKENS, LENGTHS, MEASURES, NEW_TOKENS, Workload, workloads
from fim_magic.loading import fastest
from fim_magic.progress import OnProgress, Progress, silent

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.evaluate.speed.subject import Subject

ROUNDS = 5
QUICK_ROUNDS = 2
_FRESH_ROUNDS = 3  # each starts a process that imports torch and loads the model
_FOR_LESS = "Measure a smaller model, or less of it: fim-magic bench --only infill"
_LLAMA_CPP_ROOM = max(LENGTHS) + 2 * NEW_TOKENS


@dataclass(frozen=True)
class Options:
    """What a run is asked to do.

    Attributes:
        model: A short name, a folder, a .gguf file, or "auto".
        random_weights: A size instead of a model, or "".
        layout: Of random weights.
        rounds: How often everything is measured, warm-ups not counted.
        measures: Which of `MEASURES`.
        threads: Of the CPU; None leaves torch's choice.
        json: Where everything is written, or None.
        plot: Where the picture is written, or None.
        new_tokens: Of an infill.
    """

    model: str = "auto"
    random_weights: str = ""
    layout: str = "llama"
    rounds: int = ROUNDS
    measures: tuple[str, ...] = MEASURES
    threads: int | None = None
    json: Path | None = None
    plot: Path | None = None
    new_tokens: int = NEW_TOKENS


def run(options: Options, on_progress: OnProgress = silent, command: Sequence[str] = ()) -> tuple[Report, bool]:
    """Measure, and return the report and whether it is whole: Ctrl-C ends a run early with what is there.

    So does what goes wrong after something has been measured.

    Args:
        options: What to do.
        on_progress: Told what is measured.
        command: What the user typed, for the report.

    Raises:
        OptionError: An option makes no sense.
        ModelError: The model is unknown or cannot be loaded.
        FetchError: It could not be brought to this machine.
    """
    _check(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    report = Report({"command": " ".join(command), "rounds": options.rounds})
    load = machine.load_average()
    whole = True
    try:
        with freeing_memory("the bench", advice=_FOR_LESS):
            _measure_all(options, report, on_progress)
    except KeyboardInterrupt:
        whole = False
        report.warnings.append("It was interrupted. What follows is what was measured until then.")
    except FimError as error:
        if not report.record.timings:
            raise
        whole = False
        report.warnings.append(f"It ended early. {error}")
    report.warnings += machine.disturbances(report.record.bandwidth, load)
    if whole:
        report.remarks += _remember(report)
    return report, whole


def _check(options: Options) -> None:
    unknown = [name for name in options.measures if name not in MEASURES]
    if unknown:
        raise OptionError(f"--only names some of {','.join(MEASURES)}; {unknown[0]!r} is none of them.")
    if options.rounds < 1:
        raise OptionError(f"--rounds is at least 1; {options.rounds} is not.")
    if options.threads is not None and options.threads < 1:
        raise OptionError(f"--threads is at least 1; {options.threads} is not.")
    if options.plot is not None:
        picture.require(options.plot)
    for path in (options.json, options.plot):
        if path is not None and not path.parent.is_dir():
            raise OptionError(f"There is no folder {str(path.parent)!r} to write {path.name} to. Make it first.")


def _measure_all(options: Options, report: Report, on_progress: OnProgress) -> None:
    """Measure into `report`, in an order that leaves the memory free for the processes that need it."""
    record = report.record

    def on_step(what: str, done: int, total: int) -> None:
        on_progress(Progress(what, done, total, "steps"))

    only_load_ext = set(options.measures) == {"load_ext"}
    found = None if only_load_ext else _find(options, on_progress)
    if "load_ext" in options.measures:
        with _noted(report):
            fresh.measure_load_ext(options.rounds, record, on_step)
    if found is None:
        report.about |= {"date": _now(), **_machine(torch.device("cpu"))}
        return
    device = subject.device_for(found)
    report.on_gpu = device.type == "cuda"
    report.random_weights = found.is_random
    precision = f"{str(dtype_for(device)).removeprefix('torch.')} for {GENERATE}"
    report.about |= {"model": found.name, "revision": found.revision, "date": _now(), "precision": precision}
    report.about |= _machine(device)
    record.bandwidth.append(machine.bandwidth(device))
    engine = subject.load_engine(found, device)
    report.about["precision"] = f"{precision}; {engine.info.place} for {OURS}"
    asked = _asked(engine, options, found)
    if "fresh" in options.measures:
        workload = _asked_fresh(engine, options, found)
        del engine
        give_back()  # its memory is theirs now
        rounds = min(options.rounds, _FRESH_ROUNDS)
        with _noted(report):
            fresh.measure_fresh(found, _fresh_arms(found), workload, rounds=rounds, record=record, on_step=on_step)
        engine = subject.load_engine(found, device)
    if asked:
        arms, left_out = _load_arms(found, engine, device)
        report.remarks += left_out
        _note_limits(arms, asked, record)
        if any(measure.rounds_of(each, arms, options.rounds) < options.rounds for each in asked):
            report.remarks.append(f"Prompts of {max(LENGTHS)} tokens were measured {measure.LONG_ROUNDS} times only.")
        measure.measure(arms, asked, options.rounds, record, on_step, read_bandwidth=lambda: machine.bandwidth(device))
    record.bandwidth.append(machine.bandwidth(device))


@contextmanager
def _noted(report: Report) -> Iterator[None]:
    """Go on where a process of its own failed, such as for lack of IPython, and say so in the report."""
    try:
        yield
    except ModelError as error:
        report.remarks.append(str(error))


def _find(options: Options, on_progress: OnProgress) -> Subject:
    if options.random_weights:
        return subject.made_in_place(options.random_weights, options.layout)
    return subject.find(options.model, on_progress)


def _asked(engine: Engine, options: Options, found: Subject) -> list[Workload]:
    vocabulary = subject.vocabulary_of(found)
    return workloads(engine, options.measures, new_tokens=options.new_tokens, vocabulary=vocabulary)


def _asked_fresh(engine: Engine, options: Options, found: Subject) -> Workload:
    vocabulary = subject.vocabulary_of(found)
    infills = workloads(engine, ["infill"], new_tokens=options.new_tokens, vocabulary=vocabulary)
    if not infills:
        raise ModelError(
            f"{found.name} reads {engine.context_length} tokens, too few for the bench's prompts of {INFILL_TOKENS}. "
            "Measure another: fim-magic bench --model auto"
        )
    return infills[0]


def _load_arms(found: Subject, engine: Engine, device: torch.device) -> tuple[list[Arm], list[str]]:
    """Return who takes part, and why others do not."""
    arms: list[Arm] = [
        GenerateArm(subject.load_plain(found, device)),
        EngineArm(OURS, engine, device),
        EngineArm(PLAIN, engine, device, speculate=False),
    ]
    gguf = subject.load_gguf(found)
    if gguf is not None:
        arms.append(EngineArm(GGUF, gguf, torch.device("cpu")))
        context = min(engine.context_length, _LLAMA_CPP_ROOM)
        arms.append(LlamaCppArm(Path(found.gguf), context=context, threads=torch.get_num_threads()))
        return arms, []
    why = "this model is no GGUF file" if not found.gguf else "its binding is missing: pip install 'fim-magic[gguf]'"
    return arms, [f"llama.cpp was left out: {why}."]


def _fresh_arms(found: Subject) -> list[str]:
    return [GENERATE, OURS, GGUF] if subject.has_gguf_engine(found) else [GENERATE, OURS]


def _note_limits(arms: Sequence[Arm], asked: Sequence[Workload], record: measure.Record) -> None:
    """Reckon what a decode step reads in the middle of an infill."""
    infills = [workload for workload in asked if workload.measure == "infill"]
    if infills:
        context = len(infills[0].prompt) + infills[0].new_tokens // 2
        sizes = {arm.name: arm.bytes_per_token(context) for arm in arms}
        record.bytes_per_token |= {name: size for name, size in sizes.items() if size}


def _remember(report: Report) -> list[str]:
    """Keep which engine is faster here, for `model="auto"`, and say so."""
    seconds = {row.arm: row.median for row in rows(report) if row.what.startswith("whole infill")}
    if OURS not in seconds or GGUF not in seconds:
        return []
    faster = "gguf" if seconds[GGUF] < seconds[OURS] else "torch"
    model = report.about["model"]
    fastest.remember(model, faster)
    ratio = max(seconds[GGUF], seconds[OURS]) / min(seconds[GGUF], seconds[OURS])
    return [f"--engine auto takes {faster} for {model} on this machine from now on: {ratio:.2f}x as fast here."]


def _machine(device: torch.device) -> dict[str, object]:
    about = machine.describe(device)
    where = about["processor"] if device.type == "cpu" else about["device"]
    versions = ", ".join(
        f"{name} {about['versions'][name]}" for name in ("torch", "transformers") if name in about["versions"]
    )
    line = f"{where}, {about['cores']} cores, {about['threads']} threads; {versions}"
    return {"machine": line, "details": about}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def show(report: Report, options: Options) -> None:
    """Print the table, and write the files that were asked for.

    Raises:
        OptionError: One of them cannot be written.
    """
    print(table(report))
    if options.json is not None:
        try:
            options.json.write_text(report.to_json() + "\n", "utf-8")
        except OSError as error:
            raise OptionError(
                f"{str(options.json)!r} could not be written: {error.strerror}. Name another file after --json."
            ) from error
        print(f"Everything that was measured is in {options.json}.", file=sys.stderr)
    if options.plot is not None:
        plot.draw(report, options.plot)
        print(f"The picture is {options.plot}.", file=sys.stderr)
