"""`fim-magic eval` as a whole: ask the model for every task and arm, run what it answers, and say what came of it.

Every request goes through the product's own pipeline, [`fim_magic.pipeline.run`][]. An engine answers several
candidates of one prompt in a batch; different prompts are answered one after another.

Whatever is known is in a folder: for each set and request `SET.REQUEST.jsonl`, what the programs came to in
`verdicts.jsonl`, and what was chosen in `choices.jsonl`. A run that was cut off goes on from there.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.candidate import Result
from fim_magic.document import Document
from fim_magic.engines import Sampling
from fim_magic.errors import OptionError
from fim_magic.evaluate import arms, benchmarks, folder, picture, plot
from fim_magic.evaluate.answers import Answer, answer_of
from fim_magic.evaluate.benchmarks import NOTEBOOKS, Benchmark, Task
from fim_magic.evaluate.human_eval_infilling import SETS
from fim_magic.evaluate.journal import Journal
from fim_magic.evaluate.reckoning import reckon
from fim_magic.evaluate.report import Report, table
from fim_magic.evaluate.scoring import Choose, Judge, Passes, by_product, in_sandbox
from fim_magic.events import Finished
from fim_magic.generation import prompt_for
from fim_magic.interruption import interruptible
from fim_magic.pipeline import run as ask
from fim_magic.progress import OnProgress, Progress, silent
from fim_magic.request import Request

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.formats import Prompt

CANDIDATES = 8
_TOP_P = 0.95  # as of a request
_SAME_PROMPT = {arms.HEALED: arms.RAW, **{f"context {mode}": arms.TRIMMED for mode in arms.CONTEXTS}}


_TEMPLATE = Request(Document("", ""), candidates=CANDIDATES, sampling=Sampling(top_p=_TOP_P))


@dataclass(frozen=True)
class Options:
    """What a run is asked to do.

    Attributes:
        sets: Names or paths.
        fetch: Whether a set may be fetched.
        every: Only every so many tasks.
        offset: The index of the first of them.
        limit: The most tasks of each set.
        arms: Which of `arms.ARMS`.
        template: The order, token limit, sampling and number of candidates of every request.
        out: The folder for everything.
        plot: Where the picture is written, or None.
        only_report: Whether to ask nothing: report what the folder holds.
        workers: How many programs run at once.
    """

    sets: tuple[str, ...] = (NOTEBOOKS,)
    fetch: bool = False
    every: int = 1
    offset: int = 0
    limit: int | None = None
    arms: tuple[str, ...] = arms.ARMS
    template: Request = _TEMPLATE
    out: Path = folder.OUT
    plot: Path | None = None
    only_report: bool = False
    workers: int = 1


def default_workers() -> int:
    """Return how many programs run at once: half the processors, for the model has work as well."""
    return max(1, (os.cpu_count() or 1) // 2)


def prepare(options: Options) -> tuple[Options, list[Benchmark]]:
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
        options = _as_before(options)
    arms.check(options.arms)
    _check_numbers(options)
    found = [
        each.subset(options.every, options.offset, options.limit)
        for each in benchmarks.load(options.sets, fetch=options.fetch)
    ]
    for each in found:
        if not each.tasks:
            raise OptionError(f"--offset {options.offset} leaves none of the {each.whole} tasks of {each.name}.")
        if not arms.requests_for(options.arms, each):
            raise OptionError(f"--arms context needs tasks in notebooks, and {each.name} has none: --set {NOTEBOOKS}")
    if not options.only_report:
        folder.make(options.out)
    return options, found


def _check_numbers(options: Options) -> None:
    if options.every < 1:
        raise OptionError(f"--every is at least 1; {options.every} is not.")
    if not 0 <= options.offset < options.every and options.every > 1:
        raise OptionError(f"--offset is from 0 to {options.every - 1} with --every {options.every}.")
    if options.offset < 0:
        raise OptionError(f"--offset is at least 0; {options.offset} is not.")
    if options.limit is not None and options.limit < 1:
        raise OptionError(f"--limit is at least 1; {options.limit} is not.")
    if options.workers < 1:
        raise OptionError(f"--workers is at least 1; {options.workers} is not.")


def run(
    options: Options,
    found: Sequence[Benchmark],
    engine: Engine | None,
    on_progress: OnProgress = silent,
    command: Sequence[str] = (),
    *,
    passes: Passes = in_sandbox,
    choose: Choose = by_product,
) -> tuple[Report, bool]:
    """Ask, run, and return the report and whether it is whole: Ctrl-C ends a run early, and keeps everything.

    Args:
        options: As `prepare` returned them.
        found: As `prepare` returned them.
        engine: The loaded model; None for `only_report`.
        on_progress: Told how far it is.
        command: What the user typed, for the report.
        passes: Runs a program.
        choose: Puts candidates in order.

    Raises:
        BusyError: Another run uses the folder.
        ModelError: The model cannot infill.
        OptionError: An option makes no sense for this model, or the folder holds something else.
    """
    with ExitStack() as stack:
        stack.enter_context(folder.locked(options.out))
        settings = folder.settings(options.out) if engine is None else _begun(options, engine, command)
        judge = stack.enter_context(closing(Judge(options.out, passes=passes, choose=choose, workers=options.workers)))
        books = {
            each.name: stack.enter_context(closing(_Book(options, each, settings["keys"], judge))) for each in found
        }
        report, whole = Report(settings["about"]), True
        try:
            if engine is not None:
                _ask_all(options, found, engine, books, on_progress)
            judge.finish(on_progress)
        except KeyboardInterrupt:
            whole = False
            report.warnings.append(folder.INTERRUPTED)
        for each in found:
            answers = books[each.name].answers
            known = reckon(
                each,
                answers,
                judge.passed,
                lambda a, c: judge.first(a, checked=c),
                model=settings["about"]["model"],
                sampled=settings["about"]["sampled"],
            )
            report.sets.append(known)
            kinds = arms.requests_for(options.arms, each)
            counts = {kind: len(answers[kind]) for kind in kinds}
            report.warnings += folder.unanswered("tasks", each.name, len(each.tasks), counts)
            report.remarks += _earlier(each, answers, settings["began"])
    folder.write(options.out / folder.REPORT, report.to_json())
    return report, whole


def _ask_all(
    options: Options,
    found: Sequence[Benchmark],
    engine: Engine,
    books: Mapping[str, _Book],
    on_progress: OnProgress,
) -> None:
    """Ask task by task, so that a run that is cut off has every arm of the tasks that it came to."""
    total = sum(len(each.tasks) * len(arms.requests_for(options.arms, each)) for each in found)
    began, done, resumed = time.monotonic(), 0, 0
    for each in found:
        for task in each.tasks:
            for kind in arms.requests_for(options.arms, each):
                on_progress(Progress(f"Asking {each.name}", done, total, "requests", time.monotonic() - began, resumed))
                asked = books[each.name].answer(kind, task, engine)
                done += 1
                resumed += not asked
    on_progress(Progress("Asking", total, total, "requests", time.monotonic() - began, resumed))


class _Book:
    """The answers to one set, and the files that they are kept in."""

    def __init__(self, options: Options, benchmark: Benchmark, keys: Mapping[str, str], judge: Judge) -> None:
        self._template = options.template
        self._benchmark = benchmark
        self._keys = keys
        self._judge = judge
        self._journals: dict[str, Journal] = {}
        self.answers: dict[str, dict[str, Answer]] = {}
        tasks = benchmarks.by_id(benchmark.tasks)
        for kind in arms.requests_for(options.arms, benchmark):
            path = options.out / f"{benchmark.name}.{kind.replace(' ', '-')}.jsonl"
            journal = self._journals[kind] = Journal(path)
            told = (row for row in journal.rows if row.get("key") == keys[kind] and row.get("task") in tasks)
            own = self.answers[kind] = {row["task"]: Answer.from_json(row) for row in told}
            for name, answer in own.items():
                if options.only_report:
                    judge.look_at(tasks[name], kind, answer)

    def answer(self, kind: str, task: Task, engine: Engine) -> bool:
        """Make sure that there is an answer to what is asked now. Returns whether the model had to be asked."""
        asked = arms.request(kind, task, self._benchmark, self._template)
        prompt = prompt_for(asked, engine)
        own = self.answers[kind]
        known = own.get(task.task_id)
        needed = known is None or known.prompt != prompt.sha256
        if needed:
            own.pop(task.task_id, None)
            answer = self._twin(kind, task, prompt, engine)
            if answer is None:
                answer = answer_of(task.task_id, self._keys[kind], _ask(asked, engine))
                if arms.reads_canonical(kind, self._benchmark):
                    answer = replace(answer, canonical_logprob=_canonical_logprob(task, prompt, engine))
            own[task.task_id] = answer
            self._journals[kind].add(answer.to_json())
        self._judge.look_at(task, kind, own[task.task_id])
        return needed

    def _twin(self, kind: str, task: Task, prompt: Prompt, engine: Engine) -> Answer | None:
        """Return the answer to the same greedy request under another name, if there is one."""
        other = _SAME_PROMPT.get(kind, "")
        there = self.answers.get(other, {}).get(task.task_id)
        if there is None:
            return None
        twin = prompt_for(arms.request(other, task, self._benchmark, self._template), engine)
        if (twin.ids, twin.healed) != (prompt.ids, prompt.healed):
            return None
        return replace(there, key=self._keys[kind], same_as=other)

    def close(self) -> None:
        """Close the files."""
        for journal in self._journals.values():
            journal.close()


def _ask(asked: Request, engine: Engine) -> Result:
    with interruptible() as stop:
        for event in ask(asked, engine, stop):
            if isinstance(event, Finished):
                result = event.result
    if stop.is_set():
        raise KeyboardInterrupt  # half an answer must not count as one
    return result


def _canonical_logprob(task: Task, prompt: Prompt, engine: Engine) -> float | None:
    """How probable what stood in the hole is after a prompt, with the end of the prefix that is generated again."""
    middle = benchmarks.canonical(task)
    if middle is None:
        return None
    text = prompt.healed + middle.replace("\r\n", "\n")
    ids = engine.tokenizer.encode(text, unspaced=True, apart=prompt.stop_ids)
    return math.fsum(engine.score(prompt.ids, ids))


# --- the folder ----------------------------------------------------------------------------------


def _begun(options: Options, engine: Engine, command: Sequence[str]) -> dict[str, Any]:
    """Note what is asked, for a report of it without the model."""
    template = options.template
    asked = {name: getattr(options, name) for name in ("every", "offset", "limit")}
    built_in = (NOTEBOOKS, *SETS)
    told = {
        "about": {"sampled": bool(template.sampling.temperature), **asked},
        "keys": {kind: arms.key(kind, engine, template) for kind in arms.REQUESTS},
        "sets": [name if name in built_in else str(Path(name).expanduser().absolute()) for name in options.sets],
        "arms": list(options.arms),
    }
    return folder.begin(options.out, engine, template, command, told, options=f"; {_several(template)}")


def _several(template: Request) -> str:
    sampling = template.sampling
    if not sampling.temperature:
        return f"several: n = {template.candidates}, the greedy one and those that leave it in one place each"
    return (
        f"several: n = {template.candidates}, temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed "
        f"{sampling.seed} made into one for each task"
    )


def _as_before(options: Options) -> Options:
    settings = folder.settings(options.out)
    about = settings["about"]
    return replace(
        options,
        sets=tuple(settings["sets"]),
        arms=tuple(settings["arms"]),
        every=about["every"],
        offset=about["offset"],
        limit=about["limit"],
        template=replace(options.template, candidates=about["candidates"]),
    )


def _earlier(benchmark: Benchmark, answers: Mapping[str, Mapping[str, Answer]], began: str) -> list[str]:
    every = [answer.at for own in answers.values() for answer in own.values()]
    earlier = [at for at in every if at < began]
    if not earlier:
        return []
    told = f"{benchmark.name}: {len(earlier)} of {len(every)} answers are of earlier runs with the same code, model and"
    return [f"{told} options, the first of {min(earlier)}; their times are of the machine as it was then."]


def show(report: Report, options: Options, write: Callable[[str], None] = print) -> None:
    """Print the report, and draw the picture that was asked for.

    Raises:
        OptionError: It cannot be drawn.
    """
    write(table(report))
    print(f"Everything is in {options.out}; the report as JSON is {options.out / folder.REPORT}.", file=sys.stderr)
    if options.plot is not None:
        plot.draw(report, options.plot)
        print(f"The picture is {options.plot}.", file=sys.stderr)
