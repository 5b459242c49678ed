"""`fim-magic eval` on benchmarks: ask the model for every task and arm, run what it answers, and say what came of it.

Every request goes through the product's own pipeline, [`fim_magic.pipeline.run`][]. An engine answers several
candidates of one prompt in a batch; different prompts are answered one after another, and by a server several at once.

Whatever is known is in a folder: for each set and request `SET.REQUEST.jsonl`, what the programs came to in
`verdicts.jsonl`, and what was chosen in `choices.jsonl`. A run that was cut off goes on from there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.document import Document
from fim_magic.engines import Sampling
from fim_magic.errors import OptionError
from fim_magic.evaluate import picture, printing
from fim_magic.evaluate.answers import arms, benchmarks, folder, plot
from fim_magic.evaluate.answers.answer import StoredAnswer, answer_of
from fim_magic.evaluate.answers.asking import Asking
from fim_magic.evaluate.answers.benchmarks import NOTEBOOKS, Benchmark, Task
from fim_magic.evaluate.answers.human_eval_infilling import SETS
from fim_magic.evaluate.answers.reckoning import reckon
from fim_magic.evaluate.answers.report import BenchmarkReport, table
from fim_magic.evaluate.answers.run import (
    CANDIDATES,
    AskingProgress,
    RunOptions,
    as_before,
    at_once,
    check_numbers,
    noted,
)
from fim_magic.evaluate.answers.scoring import Choose, Judge, Passes, by_product, in_sandbox
from fim_magic.evaluate.answers.store import AnswerStore
from fim_magic.generation import prompt_for
from fim_magic.progress import OnProgress, silent
from fim_magic.request import Request
from fim_magic.visible import notify

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.formats import Prompt

Store = AnswerStore[StoredAnswer]
Requests = Mapping[str, Request]

_SAME_PROMPT = {arms.HEALED: arms.RAW, **{f"context {mode}": arms.TRIMMED for mode in arms.CONTEXTS}}
_NOTED = ("every", "offset", "limit")
_TEMPLATE = Request(Document("", ""), candidates=CANDIDATES, sampling=Sampling(top_p=0.95))


@dataclass(frozen=True)
class BenchmarkOptions(RunOptions):
    """What a run on benchmarks is asked to do."""

    sets: tuple[str, ...] = (NOTEBOOKS,)
    arms: tuple[str, ...] = arms.ARMS
    template: Request = _TEMPLATE
    fetch: bool = False  # whether a set may be fetched
    plot: Path | None = None  # where the picture is written, or None
    # how many programs run at once; by default half the processors, for the model has work as well
    workers: int = field(default_factory=lambda: max(1, (os.cpu_count() or 1) // 2))


def prepare(options: BenchmarkOptions) -> tuple[BenchmarkOptions, list[Benchmark]]:
    """Find out everything that can be found out without a model.

    Returns:
        The options, for `only_report` those of the run that it reports; and the tasks to ask.

    Raises:
        OptionError: An option makes no sense, or a set cannot be read.
        FetchError: A set could not be fetched.
    """
    if options.plot is not None:
        picture.require(options.plot)
    if options.only_report:
        candidates = folder.settings(options.out)["about"]["candidates"]
        options = as_before(options, *_NOTED)
        options = replace(options, template=replace(options.template, candidates=candidates))
    arms.check(options.arms)
    _check(options)
    found = [
        benchmark.subset(options.every, options.offset, options.limit)
        for benchmark in benchmarks.load(options.sets, fetch=options.fetch)
    ]
    for benchmark in found:
        if not benchmark.tasks:
            raise OptionError(
                f"--offset {options.offset} leaves none of the {benchmark.whole} tasks of {benchmark.name}."
            )
        if not arms.requests_for(options.arms, benchmark):
            raise OptionError(
                f"--arms context needs tasks in notebooks, and {benchmark.name} has none: --set {NOTEBOOKS}"
            )
    if not options.only_report:
        folder.make(options.out)
    return options, found


def _check(options: BenchmarkOptions) -> None:
    check_numbers(options, "every", "limit", "workers", "concurrency")
    if not 0 <= options.offset < options.every and options.every > 1:
        raise OptionError(f"--offset is from 0 to {options.every - 1} with --every {options.every}.")
    if options.offset < 0:
        raise OptionError(f"--offset is at least 0; {options.offset} is not.")


def run(
    options: BenchmarkOptions,
    found: Sequence[Benchmark],
    engine: Engine | None,
    on_progress: OnProgress = silent,
    command: Sequence[str] = (),
    *,
    passes: Passes = in_sandbox,
    choose: Choose = by_product,
) -> tuple[BenchmarkReport, bool]:
    """Ask, and return the report and whether it is whole: Ctrl-C ends a run early, and keeps everything.

    `options` and `found` are as `prepare` returned them. Without an engine, a run that the folder holds is reported.
    `command` is what the user typed, for the report.

    Raises:
        BusyError: Another run uses the folder.
        ModelError: The model cannot infill.
        OptionError: An option makes no sense for this model, or the folder holds something else.
    """
    with ExitStack() as stack:
        stack.enter_context(folder.locked(options.out))
        settings = folder.settings(options.out) if engine is None else _begun(options, engine, command)
        judge = Judge(options.out, options.code, passes=passes, choose=choose, workers=options.workers)
        stack.enter_context(closing(judge))
        stores = {
            benchmark.name: stack.enter_context(closing(_store(options, benchmark, settings["keys"])))
            for benchmark in found
        }
        report, whole = BenchmarkReport(settings["about"]), True
        try:
            if engine is None:
                _judge_all(found, stores, judge)
            else:
                _ask_all(options, found, Asking(engine, options.concurrency), stores, judge, on_progress)
            judge.finish(on_progress)
        except KeyboardInterrupt:
            whole = False
            report.warnings.append(folder.INTERRUPTED)
        for benchmark in found:
            _reckon(report, benchmark, stores[benchmark.name], judge, settings["began"])
    printing.write(options.out / folder.REPORT, report.to_json(), "folder after --out")
    return report, whole


def _store(options: BenchmarkOptions, benchmark: Benchmark, keys: Mapping[str, str]) -> Store:
    own = {kind: keys[kind] for kind in arms.requests_for(options.arms, benchmark)}
    names = {task.task_id for task in benchmark.tasks}
    return AnswerStore(options.out, benchmark.name, own, names, StoredAnswer.from_json)


def _judge_all(found: Sequence[Benchmark], stores: Mapping[str, Store], judge: Judge) -> None:
    for benchmark in found:
        tasks = {task.task_id: task for task in benchmark.tasks}
        for kind, answers in stores[benchmark.name].answers.items():
            for name, answer in answers.items():
                judge.look_at(tasks[name], kind, answer)


def _reckon(report: BenchmarkReport, benchmark: Benchmark, store: Store, judge: Judge, began: str) -> None:
    result = reckon(
        benchmark,
        store.answers,
        judge.passed,
        judge.first,
        model=report.about["model"],
        sampled=report.about["sampled"],
    )
    report.sets.append(result)
    counts = {kind: len(answers) for kind, answers in store.answers.items()}
    report.warnings += folder.unanswered("tasks", benchmark.name, len(benchmark.tasks), counts)
    report.remarks += _earlier(benchmark, store.answers, began)


# --- asking --------------------------------------------------------------------------------------


def _ask_all(
    options: BenchmarkOptions,
    found: Sequence[Benchmark],
    asking: Asking,
    stores: Mapping[str, Store],
    judge: Judge,
    on_progress: OnProgress,
) -> None:
    """Ask task by task, so that a run that is cut off has every arm of the tasks that it came to."""
    total = sum(len(benchmark.tasks) * len(stores[benchmark.name].answers) for benchmark in found)
    progress = AskingProgress(on_progress, total)
    for benchmark in found:
        _ask_one_set(benchmark, options.template, asking, stores[benchmark.name], judge, progress)
    progress.show()


def _ask_one_set(
    benchmark: Benchmark, template: Request, asking: Asking, store: Store, judge: Judge, progress: AskingProgress
) -> None:
    def asked() -> Iterator[tuple[Task, Requests]]:
        # Here and not where they are answered: what a notebook's context is made of runs in one kernel, in its order.
        for task in benchmark.tasks:
            yield task, {kind: arms.request(kind, task, benchmark, template) for kind in store.answers}

    def answer(item: tuple[Task, Requests]) -> None:
        task, requests = item
        for kind in requests:
            progress.show(f"Asking {benchmark.name}")
            was_asked = _answer(kind, task, requests, asking, store, scored=arms.reads_canonical(kind, benchmark))
            judge.look_at(task, kind, store.answers[kind][task.task_id])
            progress.add(1, was_asked)

    asking.each(asked(), answer)


def _answer(kind: str, task: Task, requests: Requests, asking: Asking, store: Store, *, scored: bool) -> bool:
    """Make sure that there is an answer to what is asked now. Returns whether the model had to be asked.

    `scored` says whether it is also asked how probable what stood in the hole is.
    """
    engine, request = asking.engine, requests[kind]
    prompt = prompt_for(request, engine)
    if store.current(kind, task.task_id, prompt.sha256) is not None:
        return False
    key = store.keys[kind]
    # The same greedy request may have been made under another name.
    other = _SAME_PROMPT.get(kind, "")
    answer = store.answers.get(other, {}).get(task.task_id)
    if answer is not None and _same(prompt, prompt_for(requests[other], engine)):
        answer = replace(answer, key=key, same_as=other)
    else:
        answer = answer_of(task.task_id, key, asking.ask(request)[-1][1])
        if scored:
            answer = replace(answer, canonical_logprob=_canonical_logprob(task, prompt, engine))
    store.add(kind, answer)
    return True


def _same(one: Prompt, other: Prompt) -> bool:
    return (one.ids, one.healed) == (other.ids, other.healed)


def _canonical_logprob(task: Task, prompt: Prompt, engine: Engine) -> float | None:
    """How probable what stood in the hole is after a prompt, with the end of the prefix that is generated again."""
    middle = benchmarks.canonical(task)
    if middle is None:
        return None
    text = prompt.healed + middle.replace("\r\n", "\n")
    ids = engine.tokenizer.encode(text, unspaced=True, apart=prompt.stop_ids)
    return math.fsum(engine.score(prompt.ids, ids))


# --- the folder and the report -------------------------------------------------------------------


def _begun(options: BenchmarkOptions, engine: Engine, command: Sequence[str]) -> dict[str, Any]:
    """Note what is asked, for a report of it without the model."""
    template = options.template
    built_in = (NOTEBOOKS, *SETS)
    settings = {
        "about": {"sampled": bool(template.sampling.temperature), **noted(options, *_NOTED)},
        "keys": {kind: arms.key(kind, engine, template, options.code) for kind in arms.REQUESTS},
        "sets": [name if name in built_in else str(Path(name).expanduser().absolute()) for name in options.sets],
        "arms": list(options.arms),
    }
    return folder.begin(
        options.out, engine, template, command, settings, options=f"; {_several(template)}{at_once(options)}"
    )


def _several(template: Request) -> str:
    sampling = template.sampling
    if not sampling.temperature:
        return f"several: n = {template.candidates}, the greedy one and those that leave it in one place each"
    return (
        f"several: n = {template.candidates}, temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed "
        f"{sampling.seed} made into one for each task"
    )


def _earlier(benchmark: Benchmark, answers: Mapping[str, Mapping[str, StoredAnswer]], began: str) -> list[str]:
    times = [answer.at for own in answers.values() for answer in own.values()]
    earlier = [time for time in times if time < began]
    if not earlier:
        return []
    return [
        f"{benchmark.name}: {len(earlier)} of {len(times)} answers are of earlier runs with the same code, model and "
        f"options, the first of {min(earlier)}; their times are of the machine as it was then."
    ]


def show(report: BenchmarkReport, options: BenchmarkOptions, write: Callable[[str], None] = print) -> None:
    """Print the report, and draw the picture that was asked for."""
    write(table(report))
    folder.say_where(options.out)
    if options.plot is not None:
        plot.draw(report, options.plot)
        notify(f"The picture is {options.plot}.")
