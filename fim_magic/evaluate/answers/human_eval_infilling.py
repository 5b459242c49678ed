"""HumanEval-Infilling (arXiv 2207.14255): its tasks, from a file or from where its authors keep them.

The data is openai/human-eval-infilling's (MIT): HumanEval's solutions with a hole, and HumanEval's own tests to tell
whether the rebuilt function is right. All four sets have the same fields.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fim_magic.document import Document
from fim_magic.errors import FetchError, OptionError
from fim_magic.foreign_json import TooDeepError, parsed

_COMMIT = "88062ff9859c875d04db115b698ed4b0f0395170"
_URL = f"https://raw.githubusercontent.com/openai/human-eval-infilling/{_COMMIT}/data"
_FIELDS = ("task_id", "entry_point", "prompt", "suffix", "canonical_solution", "test")
_FOUND = 200
_FETCH_SECONDS = 60.0


@dataclass(frozen=True)
class HumanEvalSet:
    """One of the four sets."""

    name: str  # as the user types it
    title: str  # what its tasks' ids begin with
    # what the file is called: the repository's own reader and its data disagree about two of them
    files: tuple[str, ...]
    tasks: int  # how many there are


SETS = {
    chosen.name: chosen
    for chosen in (
        HumanEvalSet("single-line", "SingleLineInfilling", ("HumanEval-SingleLineInfilling.jsonl.gz",), 1033),
        HumanEvalSet("multi-line", "MultiLineInfilling", ("HumanEval-MultiLineInfilling.jsonl.gz",), 5815),
        HumanEvalSet(
            "random-span",
            "RandomSpanInfilling",
            ("HumanEval-RandomSpanInfilling.jsonl.gz", "HumanEval-RandomSpan.jsonl.gz"),
            1640,
        ),
        HumanEvalSet(
            "random-span-light",
            "RandomSpanInfillingLight",
            ("HumanEval-RandomSpanInfillingLight.jsonl.gz", "HumanEval-RandomSpanLight.jsonl.gz"),
            164,
        ),
    )
}
"""By the names that the repository gives them."""


@dataclass(frozen=True)
class HumanEvalTask:
    """One hole of the benchmark."""

    task_id: str  # such as "SingleLineInfilling/HumanEval/0/L0"
    document: Document  # the function with its hole
    canonical: str  # what stood in the hole
    test: str  # source that defines `check(candidate)`
    entry_point: str  # the function's name

    @property
    def group(self) -> str:
        """The function that the hole is in: "HumanEval/0". Its other holes stand or fall with the same tests."""
        parts = self.task_id.split("/")
        return "/".join(parts[1:3]) if len(parts) > 3 else self.task_id  # set, HumanEval, 0, L0

    def program(self, middle: str) -> str:
        return f"{self.document.rebuild(middle)}\n{self.test}\ncheck({self.entry_point})\n"


def read(path: Path) -> list[HumanEvalTask]:
    """Read a file of the benchmark in its order, JSON lines, gzipped if the name ends in .gz.

    Raises:
        OptionError: It is not there, or not such a file.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise OptionError(
            f"{str(path)!r} cannot be read ({_reason(error)}). Give a .jsonl or .jsonl.gz file of HumanEval-Infilling, "
            "or one of its sets' names to fetch it: fim-magic eval --fetch --set single-line"
        ) from error
    lines = enumerate(text.split("\n"), 1)  # not splitlines(): the texts may hold other line ends
    tasks = [_task(path, number, line) for number, line in lines if line.strip()]
    if not tasks:
        raise OptionError(f"{str(path)!r} holds no task. Give another file after --set.")
    twice = len(tasks) - len({task.task_id for task in tasks})
    if twice:
        raise OptionError(f"{str(path)!r} has {twice} task_id more than once. Give another file after --set.")
    return tasks


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _task(path: Path, number: int, line: str) -> HumanEvalTask:
    wrong = ""
    row: Any = None
    try:
        row = parsed(line)
    except TooDeepError as error:
        wrong = str(error)
    except ValueError:
        wrong = "is not JSON"
    else:
        texts = isinstance(row, dict) and all(isinstance(row.get(name), str) for name in _FIELDS)
        wrong = "" if texts else f"lacks one of the texts {', '.join(_FIELDS)}"
    if wrong:
        raise OptionError(
            f"Line {number} of {str(path)!r} {wrong}, so this is no file of HumanEval-Infilling. Give another one "
            "after --set, or fetch it anew: fim-magic eval --fetch --set single-line"
        )
    return HumanEvalTask(
        task_id=row["task_id"],
        document=Document(row["prompt"], row["suffix"]),
        canonical=row["canonical_solution"],
        test=row["test"],
        entry_point=row["entry_point"],
    )


def name_of(tasks: list[HumanEvalTask], otherwise: str) -> str:
    """Return which set tasks are of, by their ids, whatever their file is called; else `otherwise`."""
    titles = {task.task_id.partition("/")[0] for task in tasks}
    return next((chosen.name for chosen in SETS.values() if titles == {chosen.title}), otherwise)


def find(folder: Path, chosen: HumanEvalSet) -> Path | None:
    """Return where a set's file is in `folder`, packed or unpacked, or None."""
    names = [name for file in chosen.files for name in (file, file.removesuffix(".gz"))]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def fetch(chosen: HumanEvalSet, folder: Path) -> Path:
    """Bring a set's file from its authors' repository on GitHub into `folder`, at one commit. Returns where it is.

    Raises:
        FetchError: It could not be brought, or is not what it should be. Nothing half-made is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content, answered = None, ""
    for name in chosen.files:
        content, answered = _get(f"{_URL}/{name}")
        if content is not None:
            break
    if content is None:
        raise FetchError(
            f"The set {chosen.name} could not be fetched from {_URL} ({answered}). Download it by hand, and give its "
            f"path: fim-magic eval --set {chosen.files[0]}"
        )
    path = folder / chosen.files[0]
    part = path.with_name("part-" + path.name)
    part.write_bytes(content)
    try:
        found = len(read(part))
    except OptionError:
        found = 0
    if found != chosen.tasks:
        part.unlink()
        raise FetchError(
            f"What {_URL} gave for {chosen.name} has {found} tasks, and the set has {chosen.tasks}. Try again, or "
            f"download it by hand and give its path: fim-magic eval --set {chosen.files[0]}"
        )
    part.replace(path)
    return path


def _get(url: str) -> tuple[bytes | None, str]:
    """Return what is there, or None and why it is not."""
    # With the Hub's client, which knows the user's proxies and certificates.
    from huggingface_hub import get_session

    try:
        answer = get_session().get(url, timeout=_FETCH_SECONDS, follow_redirects=True)
    except Exception as error:  # whichever HTTP library it is, the answer is that it did not come
        return None, type(error).__name__
    if answer.status_code != _FOUND:
        return None, f"it answered {answer.status_code}"
    return bytes(answer.content), ""
