"""`fim-magic eval --set PATH` as a whole: punch holes into somebody's files, ask, and compare with what stood there.

Whatever is known is in a folder: the answers in `SET.ARM.jsonl`, what was found out around the holes in
`surroundings.jsonl`. A run that was cut off goes on from there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.document import Document
from fim_magic.errors import OptionError
from fim_magic.evaluate import folder
from fim_magic.evaluate.arms import key as key_of
from fim_magic.evaluate.command import OWN
from fim_magic.evaluate.journal import Journal
from fim_magic.evaluate.own import PER_FILE, OwnTask, arms, bare_tasks, sheets_of, with_surroundings
from fim_magic.evaluate.own.answering import OwnAnswer, answered, digest_of, same_question
from fim_magic.evaluate.own.punching import KINDS
from fim_magic.evaluate.own.reckoning import SetReport, reckon
from fim_magic.evaluate.own.remembered import Surroundings
from fim_magic.evaluate.own.report import Report
from fim_magic.evaluate.own.sources import Sheet, Unread, files_of
from fim_magic.progress import OnProgress, Progress, silent
from fim_magic.request import Request

if TYPE_CHECKING:
    from fim_magic.engines import Engine

_SURROUNDINGS = "surroundings.jsonl"
_NOTED = ("every", "offset", "limit", "per_file", "seed", "run_cells")  # of the options, for a report later on
_TEMPLATE = Request(Document("", ""), candidates=8)


@dataclass(frozen=True)
class Options:
    """What a run is asked to do.

    Attributes:
        sets: Folders or files.
        every: Only every so many files of a set, by name.
        offset: The index of the first of them.
        limit: The most holes of each set.
        per_file: The most holes of a file.
        kinds: Of holes.
        seed: Of the holes.
        run_cells: Whether the cells above a hole are run.
        arms: Which of `arms.ARMS`.
        template: The order, token limit, sampling and number of candidates of every request.
        out: The folder for everything.
        only_report: Whether to ask nothing: report what the folder holds.
    """

    sets: tuple[str, ...]
    every: int = 1
    offset: int = 0
    limit: int | None = None
    per_file: int = PER_FILE
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    run_cells: bool = False
    arms: tuple[str, ...] = arms.USUAL
    template: Request = _TEMPLATE
    out: Path = folder.OUT
    only_report: bool = False


@dataclass(frozen=True)
class OwnSet:
    """The holes of a folder or a file.

    Attributes:
        name: Of its answers' files.
        path: As it was given.
        files: How many files it has.
        sheets: Those that are used, each with its holes.
        unread: Those that would be used and cannot be read.
    """

    name: str
    path: str
    files: int
    sheets: tuple[tuple[Sheet, tuple[OwnTask, ...]], ...]
    unread: tuple[Unread, ...]

    @property
    def tasks(self) -> tuple[OwnTask, ...]:
        """All holes, in order."""
        return tuple(task for _, tasks in self.sheets for task in tasks)

    def limited(self, most: int | None) -> OwnSet:
        """Return the set with its first `most` holes."""
        left = len(self.tasks) if most is None else most
        sheets = []
        for sheet, tasks in self.sheets:
            if left:
                sheets.append((sheet, tasks[:left]))
                left -= len(tasks[:left])
        return replace(self, sheets=tuple(sheets))


def prepare(options: Options) -> tuple[Options, list[OwnSet]]:
    """Find out everything that can be found out without a model, and without running a cell.

    Returns:
        The options, for `only_report` those of the run that it reports; and the sets.

    Raises:
        OptionError: An option makes no sense, or there is nothing to ask.
    """
    if options.only_report:
        options = _as_before(options)
    options = replace(options, arms=arms.check(options.arms))
    _check(options)
    found: list[OwnSet] = []
    for name in options.sets:
        each = _read(Path(name).expanduser(), options).limited(options.limit)
        if any(each.name == other.name for other in found):
            raise OptionError(
                f"Two sets are called {each.name}. Measure them one after the other, each with its --out."
            )
        if not each.tasks:
            unread = "".join(f" {one.name}: {one.why}." for one in each.unread)
            raise OptionError(
                f"There is no hole to punch in {name!r} with these --kinds, --every and --offset.{unread}"
            )
        found.append(each)
    if not options.only_report:
        folder.make(options.out)
    return options, found


def _check(options: Options) -> None:
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown or not options.kinds:
        raise OptionError(f"--kinds names some of {','.join(KINDS)}; {','.join(unknown)!r} is none of them.")
    for name, value, least in (
        ("every", options.every, 1),
        ("per-file", options.per_file, 1),
        ("limit", options.limit, 1),
    ):
        if value is not None and value < least:
            raise OptionError(f"--{name} is at least {least}; {value} is not.")
    if not 0 <= options.offset < max(options.every, 1):
        raise OptionError(f"--offset is from 0 to {options.every - 1} with --every {options.every}.")


def _read(path: Path, options: Options) -> OwnSet:
    sheets, unread = [], []
    for sheet in sheets_of(path, options.every, options.offset):
        if isinstance(sheet, Unread):
            unread.append(sheet)
        else:
            tasks = bare_tasks(sheet, per_file=options.per_file, seed=options.seed, kinds=options.kinds)
            sheets.append((sheet, tuple(tasks)))
    name = re.sub(r"\W+", "-", path.resolve().name).strip("-") or "files"
    return OwnSet(name, str(path), len(files_of(path)), tuple(sheets), tuple(unread))


def run(
    options: Options,
    found: Sequence[OwnSet],
    engine: Engine | None,
    on_progress: OnProgress = silent,
    command: Sequence[str] = (),
) -> tuple[Report, bool]:
    """Ask, and return the report and whether it is whole: Ctrl-C ends a run early, and keeps everything.

    Args:
        options: As `prepare` returned them.
        found: As `prepare` returned them.
        engine: The loaded model; None for `only_report`.
        on_progress: Told how far it is.
        command: What the user typed, for the report.

    Raises:
        BusyError: Another run uses the folder.
        ModelError: The model cannot infill.
        OptionError: An option makes no sense for this model, or the folder holds something else.
    """
    with ExitStack() as stack:
        stack.enter_context(folder.locked(options.out))
        settings = folder.settings(options.out) if engine is None else _begun(options, engine, command)
        books = {each.name: stack.enter_context(closing(_Book(options, each, settings["keys"]))) for each in found}
        report, whole = Report(settings["about"]), True
        try:
            if engine is not None:
                around = stack.enter_context(closing(Surroundings(options.out / _SURROUNDINGS)))
                _ask_all(options, [(each, books[each.name]) for each in found], engine, around, on_progress)
        except KeyboardInterrupt:
            whole = False
            report.warnings.append(folder.INTERRUPTED)
        for each in found:
            answers = books[each.name].answers
            report.sets.append(_reckoned(each, answers))
            report.warnings += _warnings(each, answers)
        report.examples = {each.name: (each.tasks, books[each.name].answers) for each in found}
    folder.write(options.out / folder.REPORT, report.to_json())
    return report, whole


def _reckoned(own: OwnSet, answers: Mapping[str, Mapping[str, OwnAnswer]]) -> SetReport:
    used = sum(bool(tasks) for _, tasks in own.sheets)
    return reckon(own.name, own.tasks, answers, files=used, whole=own.files)


def _warnings(own: OwnSet, answers: Mapping[str, Mapping[str, OwnAnswer]]) -> list[str]:
    counts = {arm: len(told) for arm, told in answers.items()}
    found = folder.unanswered("holes", own.name, len(own.tasks), counts)
    return found + [f"{own.name}: {each.name} is left out: {each.why}." for each in own.unread]


def _ask_all(
    options: Options,
    found: Sequence[tuple[OwnSet, _Book]],
    engine: Engine,
    around: Surroundings,
    on_progress: OnProgress,
) -> None:
    """Ask hole by hole, so that a run that is cut off has every arm of the holes that it came to."""
    total = sum(len(each.tasks) for each, _ in found) * len(options.arms)
    began, done, resumed = time.monotonic(), 0, 0
    for each, book in found:
        for sheet, bare in each.sheets:
            on_progress(Progress(f"Reading {sheet.name}", done, total, "requests", time.monotonic() - began, resumed))
            for task in with_surroundings(sheet, bare, around, run_cells=options.run_cells):
                told = f"Asking {sheet.name}"
                on_progress(Progress(told, done, total, "requests", time.monotonic() - began, resumed))
                asked = book.answer(task, engine)
                done += len(options.arms)
                resumed += len(options.arms) - asked
    on_progress(Progress("Asking", total, total, "requests", time.monotonic() - began, resumed))


class _Book:
    """The answers to one set, and the files that they are kept in."""

    def __init__(self, options: Options, own: OwnSet, keys: Mapping[str, str]) -> None:
        self._template = options.template
        self._keys = keys
        self._journals: dict[str, Journal] = {}
        self.answers: dict[str, dict[str, OwnAnswer]] = {}
        tasks = {task.task_id for task in own.tasks}
        for arm in options.arms:
            journal = self._journals[arm] = Journal(options.out / f"{own.name}.{arm}.jsonl")
            told = [OwnAnswer.from_json(row) for row in journal.rows if row["answer"]["key"] == keys[arm]]
            self.answers[arm] = {each.answer.task: each for each in told if each.answer.task in tasks}

    def answer(self, task: OwnTask, engine: Engine) -> int:
        """Make sure that every arm has an answer to what is asked now. Returns how often the model had to be asked."""
        there: dict[str, tuple[Request, OwnAnswer]] = {}
        count = 0
        for arm, own in self.answers.items():
            asked = arms.request(arm, task, self._template)
            digest = digest_of(asked, engine)
            known = own.get(task.task_id)
            if known is None or known.asked != digest:
                own.pop(task.task_id, None)
                twin = same_question(asked, there)
                if twin:
                    known = there[twin][1].under(self._keys[arm], digest, twin)
                else:
                    known = answered(task.task_id, self._keys[arm], asked, engine)
                    count += 1
                own[task.task_id] = known
                self._journals[arm].add(known.to_json())
            there[arm] = (asked, known)
        return count

    def close(self) -> None:
        """Close the files."""
        for journal in self._journals.values():
            journal.close()


def _begun(options: Options, engine: Engine, command: Sequence[str]) -> dict[str, Any]:
    """Note what is asked, for a report of it without the model."""
    template = options.template
    asked = {name: getattr(options, name) for name in _NOTED}
    told = {
        OWN: True,
        "about": {**asked, "kinds": list(options.kinds)},
        "keys": {arm: key_of(arm, engine, template) for arm in arms.ARMS},
        "sets": [str(Path(name).expanduser().absolute()) for name in options.sets],
        "arms": list(options.arms),
    }
    return folder.begin(options.out, engine, template, command, told)


def _as_before(options: Options) -> Options:
    settings = folder.settings(options.out)
    about = settings["about"]
    told = {name: about[name] for name in _NOTED}
    return replace(
        options, sets=tuple(settings["sets"]), arms=tuple(settings["arms"]), kinds=tuple(about["kinds"]), **told
    )
