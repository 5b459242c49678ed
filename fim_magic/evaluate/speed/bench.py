"""`fim-magic bench` as a whole: find the model, load every arm, ask them in turns, and say what came of it."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from fim_magic import weights
from fim_magic.engines.memory import give_back
from fim_magic.engines.out_of_memory import freeing_memory
from fim_magic.engines.torch.devices import dtype_for
from fim_magic.errors import FetchError, FimError, ModelError, OptionError
from fim_magic.evaluate import picture
from fim_magic.evaluate.printing import write
from fim_magic.evaluate.speed import fresh, llama_cpp_build, machine, measure, plot, subject
from fim_magic.evaluate.speed.arms import (
    GENERATE,
    GGUF,
    LLAMA_CPP,
    OURS,
    PLAIN,
    Arm,
    EngineArm,
    GenerateArm,
    LlamaCppArm,
)
from fim_magic.evaluate.speed.llama_cpp_build import LlamaCppBuild
from fim_magic.evaluate.speed.measure import OnStep, Record
from fim_magic.evaluate.speed.report import SpeedReport, table
from fim_magic.evaluate.speed.subject import Subject
from fim_magic.evaluate.speed.workloads import INFILL_TOKENS, LENGTHS, MEASURES, NEW_TOKENS, Workload, workloads
from fim_magic.loading import fastest
from fim_magic.progress import OnProgress, Progress, silent
from fim_magic.visible import notify, say

if TYPE_CHECKING:
    from fim_magic.engines import Engine

ROUNDS = 5
QUICK_ROUNDS = 2
_FRESH_ROUNDS = 3  # each starts a process that imports torch and loads the model
_FOR_LESS = "Measure a smaller model, or less of it: fim-magic bench --only infill"
_SHOWN_VERSIONS = ("torch", "transformers")
_LLAMA_CPP_ROOM = max(LENGTHS) + 2 * NEW_TOKENS


@dataclass(frozen=True)
class SpeedOptions:
    """What a run is asked to do."""

    model: str = "auto"  # a short name, a folder, a .gguf file, or "auto"
    random_weights: str = ""  # a size instead of a model, or ""
    layout: str = "llama"  # of random weights
    quantize: str = ""  # in how many bits random weights are, "8bit" or "4bit", or ""
    precision: str = "auto"  # of fim-magic's own engine, on a CPU: "exact", "packed", or "auto" as it is loaded
    rounds: int = ROUNDS  # how often everything is measured, warm-ups not counted
    measures: tuple[str, ...] = MEASURES  # which of `MEASURES`
    threads: int | None = None  # of the CPU; None leaves torch's choice
    llama_cpp: Path | None = None  # where another build of llama.cpp is than the installed one, or None
    json: Path | None = None  # where everything is written, or None
    plot: Path | None = None  # where the picture is written, or None
    new_tokens: int = NEW_TOKENS  # of an infill


@dataclass(frozen=True)
class Instruments:
    """What finds the model, measures, and remembers what came of it."""

    find: Callable[[str, OnProgress, str], Subject] = subject.find
    bandwidth: Callable[[torch.device], float] = machine.bandwidth
    requests: Callable[..., None] = measure.measure
    processes: Callable[..., None] = fresh.measure_fresh
    load_ext: Callable[[int, Record, OnStep], None] = fresh.measure_load_ext
    remember: Callable[[str, str], None] = fastest.remember


_INSTRUMENTS = Instruments()


def run(
    options: SpeedOptions,
    on_progress: OnProgress = silent,
    command: Sequence[str] = (),
    instruments: Instruments = _INSTRUMENTS,
) -> tuple[SpeedReport, bool]:
    """Measure, and return the report and whether it is whole: Ctrl-C ends a run early with what is there.

    So does what goes wrong after something has been measured. `command` is what the user typed, for the report.

    Raises:
        OptionError: An option makes no sense.
        ModelError: The model is unknown or cannot be loaded.
        FetchError: It could not be brought to this machine.
    """
    _check(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    report = SpeedReport({"command": " ".join(command), "rounds": options.rounds})
    load = machine.load_average()
    whole = True
    try:
        with freeing_memory("the bench", advice=_FOR_LESS), _folder_for(options) as folder:
            _measure_all(options, report, on_progress, instruments, folder)
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
        report.remarks += _remember(report, instruments, options)
    return report, whole


def _check(options: SpeedOptions) -> None:
    unknown = [name for name in options.measures if name not in MEASURES]
    if unknown:
        raise OptionError(f"--only names some of {','.join(MEASURES)}; {unknown[0]!r} is none of them.")
    if options.rounds < 1:
        raise OptionError(f"--rounds is at least 1; {options.rounds} is not.")
    if options.threads is not None and options.threads < 1:
        raise OptionError(f"--threads is at least 1; {options.threads} is not.")
    if options.plot is not None:
        picture.require(options.plot)
    if options.llama_cpp is not None and options.random_weights:
        raise OptionError("--llama-cpp compares with a .gguf file, and random weights are none. Omit one of the two.")
    if options.quantize and (not options.random_weights or torch.cuda.is_available()):
        raise OptionError(
            f"--quantize {options.quantize} is for random weights on a CPU: fim-magic bench --random-weights 7B "
            f"--quantize {options.quantize}"
        )
    if options.precision == "packed" and (options.random_weights or torch.cuda.is_available()):
        raise OptionError(
            "--precision packed is for .gguf files on a CPU: fim-magic bench --precision packed --model "
            "qwen2.5-coder-0.5b"
        )
    for path in (options.json, options.plot):
        if path is not None and not path.parent.is_dir():
            raise OptionError(f"There is no folder {str(path.parent)!r} to write {path.name} to. Make it first.")


@contextmanager
def _folder_for(options: SpeedOptions) -> Iterator[Path]:
    """Yield a folder for quantised weights: in the cache, where there is room for models, and removed at the end."""
    if not options.quantize:
        yield Path()
        return
    cache = weights.cache_dir()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for left_over in cache.glob("bench-*-*"):  # of a process that was killed
            process = left_over.name.split("-")[1]
            if process.isdecimal() and not psutil.pid_exists(int(process)):
                shutil.rmtree(left_over, ignore_errors=True)
        folder = tempfile.TemporaryDirectory(dir=cache, prefix=f"bench-{os.getpid()}-", ignore_cleanup_errors=True)
    except OSError as error:
        raise FetchError(weights.cannot_write(error)) from error
    with folder as name:
        yield Path(name)


def _measure_all(
    options: SpeedOptions, report: SpeedReport, on_progress: OnProgress, instruments: Instruments, folder: Path
) -> None:
    """Measure into `report`, in an order that leaves the memory free for the processes that need it."""
    record = report.record

    def on_step(what: str, done: int, total: int) -> None:
        on_progress(Progress(what, done, total, "steps"))

    if set(options.measures) == {"load_ext"}:
        found = None
    elif options.random_weights:
        found = subject.made_in_place(options.random_weights, options.layout, options.quantize, folder, on_progress)
    else:
        found = instruments.find(options.model, on_progress, options.precision)
    if "load_ext" in options.measures:
        with _noted(report):
            instruments.load_ext(options.rounds, record, on_step)
    if found is None:
        report.about |= {"date": _now(), **machine.report(torch.device("cpu"), _SHOWN_VERSIONS)}
        return
    device = subject.device_for(found)
    report.on_gpu = device.type == "cuda"
    report.random_weights = found.is_random
    report.is_packed = bool(found.packed)
    precisions = [] if found.quantize else [f"{str(dtype_for(device)).removeprefix('torch.')} for {GENERATE}"]
    precision = "; ".join(precisions)
    report.about |= {"model": found.name, "revision": found.revision, "date": _now(), "precision": precision}
    report.about |= machine.report(device, _SHOWN_VERSIONS)
    build = _note_build(options, found, report)
    record.bandwidth.append(instruments.bandwidth(device))
    engine = subject.load_engine(found, device)
    report.about["precision"] = "; ".join([*precisions, f"{engine.info.runs_on} for {OURS}"])
    asked = _workloads(engine, options.measures, options, found)
    if "fresh" in options.measures:
        infills = _workloads(engine, ["infill"], options, found)
        if not infills:
            raise ModelError(
                f"{found.name} reads {engine.context_length} tokens, too few for the bench's prompts of "
                f"{INFILL_TOKENS}. Measure another: fim-magic bench --model auto"
            )
        del engine
        give_back()  # its memory is theirs now
        arms = [*([] if found.quantize else [GENERATE]), OURS, *([GGUF] if subject.has_gguf_engine(found) else [])]
        its = {} if build is None or build.program is None else {"program": build.program}
        arms += [LLAMA_CPP] if its else []
        rounds = min(options.rounds, _FRESH_ROUNDS)
        with _noted(report):
            instruments.processes(found, arms, infills[0], rounds=rounds, record=record, on_step=on_step, **its)
        engine = subject.load_engine(found, device)
    if asked:
        asking, left_out = _load_arms(found, engine, device, build)
        report.remarks += left_out
        _measure_requests(asked, asking, device, options.rounds, report, on_step, instruments)
    record.bandwidth.append(instruments.bandwidth(device))


def _measure_requests(
    asked: Sequence[Workload],
    arms: Sequence[Arm],
    device: torch.device,
    rounds: int,
    report: SpeedReport,
    on_step: OnStep,
    instruments: Instruments,
) -> None:
    _note_limits(arms, asked, report.record)
    if any(measure.rounds_of(workload, arms, rounds) < rounds for workload in asked):
        report.remarks.append(f"Prompts of {max(LENGTHS)} tokens were measured {measure.LONG_ROUNDS} times only.")

    def read_bandwidth() -> float:
        return instruments.bandwidth(device)

    try:
        instruments.requests(arms, asked, rounds, report.record, on_step, read_bandwidth=read_bandwidth)
    finally:
        report.remarks += _beside(arms)


def _note_build(options: SpeedOptions, found: Subject, report: SpeedReport) -> LlamaCppBuild | None:
    """Return the build of llama.cpp that takes part, and say in the report which one it is; None where there is none.

    Raises:
        OptionError: One is asked for that is none, or that cannot run this model.
    """
    build = None
    if options.llama_cpp is not None:
        if not found.gguf:
            raise OptionError(
                f"{found.name} is no .gguf file, and llama.cpp runs no other: fim-magic bench --llama-cpp "
                f"{options.llama_cpp} --model qwen2.5-coder-0.5b"
            )
        build = llama_cpp_build.build_at(options.llama_cpp)
    elif subject.has_gguf_engine(found):
        build = llama_cpp_build.installed_build()
    if build is None:
        return None
    processor = machine.instructions()
    report.about[LLAMA_CPP] = build.describe(processor)
    if build.program is None and build.lacking(processor):
        report.remarks.append(
            "The llama.cpp that is installed was compiled for older processors, too. To compare with one that uses all "
            "of this one: fim-magic bench --llama-cpp PATH, with a build of your own."
        )
    return build


def _beside(arms: Sequence[Arm]) -> list[str]:
    """Say what HTTP adds to the times of a llama-server."""
    seconds = [value for arm in arms if isinstance(arm, LlamaCppArm) for value in arm.beside]
    if not seconds:
        return []
    return [
        f"llama.cpp is asked over HTTP here. By its own clock, {statistics.median(seconds) * 1e3:.1f} ms of a request "
        f"(median of {len(seconds)}) are neither reading nor writing; its times above hold them."
    ]


@contextmanager
def _noted(report: SpeedReport) -> Iterator[None]:
    """Go on where a process of its own failed, such as for lack of IPython, and say so in the report."""
    try:
        yield
    except ModelError as error:
        report.remarks.append(str(error))


def _workloads(engine: Engine, measures: Sequence[str], options: SpeedOptions, found: Subject) -> list[Workload]:
    vocabulary = subject.vocabulary_of(found)
    return workloads(engine, measures, new_tokens=options.new_tokens, vocabulary=vocabulary)


def _load_arms(
    found: Subject, engine: Engine, device: torch.device, build: LlamaCppBuild | None
) -> tuple[list[Arm], list[str]]:
    """Return who takes part, and why others do not."""
    arms: list[Arm] = [
        *([] if found.quantize else [GenerateArm(subject.load_plain(found, device))]),
        EngineArm(OURS, engine, device),
        EngineArm(PLAIN, engine, device, speculate=False),
    ]
    gguf = subject.load_gguf(found)
    if gguf is not None:
        arms.append(EngineArm(GGUF, gguf, torch.device("cpu")))
    if build is not None:
        context, threads = min(engine.context_length, _LLAMA_CPP_ROOM), torch.get_num_threads()
        arms.append(LlamaCppArm(Path(found.gguf), context=context, threads=threads, program=build.program))
    if gguf is not None:
        return arms, []
    why = "this model is no GGUF file" if not found.gguf else "its binding is missing: pip install 'fim-magic[gguf]'"
    who = LLAMA_CPP if build is None else f"{GGUF}, our engine on llama.cpp,"
    return arms, [f"{who} was left out: {why}."]


def _note_limits(arms: Sequence[Arm], asked: Sequence[Workload], record: Record) -> None:
    """Reckon what a decode step reads in the middle of an infill."""
    infills = [workload for workload in asked if workload.measure == "infill"]
    if infills:
        context = len(infills[0].prompt) + infills[0].new_tokens // 2
        sizes = {arm.name: arm.bytes_per_token(context) for arm in arms}
        record.bytes_per_token |= {name: size for name, size in sizes.items() if size}


def _remember(report: SpeedReport, instruments: Instruments, options: SpeedOptions) -> list[str]:
    """Keep which engine is faster here, for `model="auto"`, and say so."""
    if options.precision != "auto":  # another form than the one that is loaded
        return []
    seconds = {row.arm: row.median for row in report.rows if row.what.startswith("whole infill")}
    if OURS not in seconds or GGUF not in seconds:
        return []
    faster = "gguf" if seconds[GGUF] < seconds[OURS] else "torch"
    model = report.about["model"]
    instruments.remember(model, faster)
    ratio = max(seconds[GGUF], seconds[OURS]) / min(seconds[GGUF], seconds[OURS])
    return [f"--engine auto takes {faster} for {model} on this machine from now on: {ratio:.2f}x as fast here."]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def show(report: SpeedReport, options: SpeedOptions) -> None:
    """Print the table, and write the files that were asked for; an OptionError where one cannot be written."""
    say(table(report))
    if options.json is not None:
        write(options.json, report.to_json(), "file after --json")
        notify(f"Everything that was measured is in {options.json}.")
    if options.plot is not None:
        plot.draw(report, options.plot)
        notify(f"The picture is {options.plot}.")
