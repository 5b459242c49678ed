"""`fim-magic eval --set PATH` as a whole: punch holes into the user's files, ask, and compare with what stood there.

Whatever is known is in a folder: the answers in `SET.ARM.jsonl`, what was found out around the holes in
`surroundings.jsonl`. A run that was cut off goes on from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.errors import OptionError
from fim_magic.evaluate import printing
from fim_magic.evaluate.answers import folder
from fim_magic.evaluate.answers.arms import key as key_of
from fim_magic.evaluate.answers.asking import Asking
from fim_magic.evaluate.answers.run import AskingProgress, RunOptions, as_before, at_once, check_numbers, noted
from fim_magic.evaluate.answers.store import AnswerStore
from fim_magic.evaluate.own import PER_FILE, OwnTask, arms, bare_tasks, read_files, with_surroundings
from fim_magic.evaluate.own.answering import OwnAnswer, answered, digest_of, same_question
from fim_magic.evaluate.own.punching import KINDS
from fim_magic.evaluate.own.reckoning import reckon
from fim_magic.evaluate.own.remembered import Look, Surroundings
from fim_magic.evaluate.own.report import OwnReport, table
from fim_magic.evaluate.own.sources import OwnFile, Unread, files_of
from fim_magic.evaluate.own.surroundings import look as look_around
from fim_magic.progress import OnProgress, silent
from fim_magic.request import Request
from fim_magic.visible import say

if TYPE_CHECKING:
    from fim_magic.engines import Engine

Store = AnswerStore[OwnAnswer]

_NOTED = ("every", "offset", "limit", "per_file", "seed", "run_cells")


@dataclass(frozen=True)
class OwnOptions(RunOptions):
    """What a run on the user's own files is asked to do."""

    arms: tuple[str, ...] = arms.USUAL
    per_file: int = PER_FILE  # the most holes of a file
    kinds: tuple[str, ...] = KINDS  # of holes
    seed: int = 0  # of the holes
    run_cells: bool = False  # whether the cells above a hole are run


@dataclass(frozen=True)
class OwnSet:
    """The holes of a folder or a file."""

    name: str  # of its answers' files
    whole: int  # how many files it has
    files: tuple[tuple[OwnFile, tuple[OwnTask, ...]], ...]  # those that are used, each with its holes
    unread: tuple[Unread, ...]  # those that would be used and cannot be read

    @property
    def tasks(self) -> tuple[OwnTask, ...]:
        return tuple(task for _, tasks in self.files for task in tasks)

    def limited(self, most: int | None) -> OwnSet:
        left = len(self.tasks) if most is None else most
        files = []
        for file, tasks in self.files:
            if left:
                files.append((file, tasks[:left]))
                left -= len(tasks[:left])
        return replace(self, files=tuple(files))


def prepare(options: OwnOptions) -> tuple[OwnOptions, list[OwnSet]]:
    """Find out everything that can be found out without a model, and without running a cell.

    Returns:
        The options, for `only_report` those of the run that it reports; and the sets.

    Raises:
        OptionError: An option makes no sense, or there is nothing to ask.
    """
    if options.only_report:
        kinds = tuple(folder.settings(options.out)["about"]["kinds"])
        options = replace(as_before(options, *_NOTED), kinds=kinds)
    options = replace(options, arms=arms.check(options.arms))
    _check(options)
    found: list[OwnSet] = []
    for name in options.sets:
        own = _read(Path(name).expanduser(), options).limited(options.limit)
        if any(own.name == other.name for other in found):
            raise OptionError(f"Two sets are called {own.name}. Measure them one after the other, each with its --out.")
        if not own.tasks:
            unread = "".join(f" {file.name}: {file.why}." for file in own.unread)
            raise OptionError(
                f"There is no hole to punch in {name!r} with these --kinds, --every and --offset.{unread}"
            )
        found.append(own)
    if not options.only_report:
        folder.make(options.out)
    return options, found


def _check(options: OwnOptions) -> None:
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown or not options.kinds:
        raise OptionError(f"--kinds names some of {','.join(KINDS)}; {','.join(unknown)!r} is none of them.")
    check_numbers(options, "every", "per_file", "limit", "concurrency")
    if not 0 <= options.offset < options.every:
        raise OptionError(f"--offset is from 0 to {options.every - 1} with --every {options.every}.")


def _read(path: Path, options: OwnOptions) -> OwnSet:
    files, unread = [], []
    for file in read_files(path, options.every, options.offset):
        if isinstance(file, Unread):
            unread.append(file)
        else:
            tasks = bare_tasks(file, per_file=options.per_file, seed=options.seed, kinds=options.kinds)
            files.append((file, tuple(tasks)))
    name = re.sub(r"\W+", "-", path.resolve().name).strip("-") or "files"
    return OwnSet(name, len(files_of(path)), tuple(files), tuple(unread))


def run(
    options: OwnOptions,
    found: Sequence[OwnSet],
    engine: Engine | None,
    on_progress: OnProgress = silent,
    command: Sequence[str] = (),
    *,
    look: Look = look_around,
) -> tuple[OwnReport, bool]:
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
        stores = {own.name: stack.enter_context(closing(_store(options, own, settings["keys"]))) for own in found}
        report, whole = OwnReport(settings["about"]), True
        try:
            if engine is not None:
                around = stack.enter_context(closing(Surroundings(options.out / "surroundings.jsonl", look)))
                _ask_all(options, found, Asking(engine, options.concurrency), stores, around, on_progress)
        except KeyboardInterrupt:
            whole = False
            report.warnings.append(folder.INTERRUPTED)
        for own in found:
            _reckon(report, own, stores[own.name].answers)
    printing.write(options.out / folder.REPORT, report.to_json(), "folder after --out")
    return report, whole


def _store(options: OwnOptions, own: OwnSet, keys: Mapping[str, str]) -> Store:
    names = {task.task_id for task in own.tasks}
    return AnswerStore(options.out, own.name, {arm: keys[arm] for arm in options.arms}, names, OwnAnswer.from_json)


def _reckon(report: OwnReport, own: OwnSet, answers: Mapping[str, Mapping[str, OwnAnswer]]) -> None:
    used = sum(bool(tasks) for _, tasks in own.files)
    report.sets.append(reckon(own.name, own.tasks, answers, files=used, whole=own.whole))
    counts = {arm: len(of_arm) for arm, of_arm in answers.items()}
    report.warnings += folder.unanswered("holes", own.name, len(own.tasks), counts)
    report.warnings += [f"{own.name}: {file.name} is left out: {file.why}." for file in own.unread]
    report.examples[own.name] = (own.tasks, answers)


# --- asking --------------------------------------------------------------------------------------


def _ask_all(
    options: OwnOptions,
    found: Sequence[OwnSet],
    asking: Asking,
    stores: Mapping[str, Store],
    around: Surroundings,
    on_progress: OnProgress,
) -> None:
    """Ask hole by hole, so that a run that is cut off has every arm of the holes that it came to."""
    progress = AskingProgress(on_progress, sum(len(own.tasks) for own in found) * len(options.arms))

    def tasks(own: OwnSet) -> Iterator[tuple[Store, str, OwnTask]]:
        for file, bare in own.files:
            progress.show(f"Reading {file.name}")
            for task in with_surroundings(file, bare, around, run_cells=options.run_cells):
                yield stores[own.name], file.name, task

    def answer(asked: tuple[Store, str, OwnTask]) -> None:
        store, name, task = asked
        progress.show(f"Asking {name}")
        progress.add(len(options.arms), _answer(task, options.template, asking, store))

    asking.each((task for own in found for task in tasks(own)), answer)
    progress.show()


def _answer(task: OwnTask, template: Request, asking: Asking, store: Store) -> int:
    """Make sure that every arm has an answer to what is asked now. Returns how often the model had to be asked."""
    others: dict[str, tuple[Request, OwnAnswer]] = {}
    asked = 0
    for arm, key in store.keys.items():
        request = arms.request(arm, task, template)
        digest = digest_of(request, asking.engine)
        answer = store.current(arm, task.task_id, digest)
        if answer is None:
            twin = same_question(request, others)
            if twin:
                answer = others[twin][1].under(key, digest, twin)
            else:
                answer = answered(task.task_id, key, request, asking)
                asked += 1
            store.add(arm, answer)
        others[arm] = (request, answer)
    return asked


# --- the folder and the report -------------------------------------------------------------------


def _begun(options: OwnOptions, engine: Engine, command: Sequence[str]) -> dict[str, Any]:
    """Note what is asked, for a report of it without the model."""
    template = options.template
    settings = {
        folder.OWN: True,
        "about": {**noted(options, *_NOTED), "kinds": list(options.kinds)},
        "keys": {arm: key_of(arm, engine, template, options.code) for arm in arms.ARMS},
        "sets": [str(Path(name).expanduser().absolute()) for name in options.sets],
        "arms": list(options.arms),
    }
    return folder.begin(options.out, engine, template, command, settings, options=at_once(options))


def show(report: OwnReport, options: OwnOptions, examples: int = 0) -> None:
    say(table(report, examples))
    folder.say_where(options.out)
