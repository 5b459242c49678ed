"""Which files a model was made of, so that a change of them is noticed: a name stays when a folder is written anew.

Only what `stat` says is compared. It costs microseconds, and is asked before each request.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PARTS = re.compile(
    r"(?:config|generation_config|adapter_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json"
    r"|(?:merges|vocab)\.txt|tokenizer\.model|.*\.safetensors|(?:pytorch|adapter)_model.*\.bin"
    r"|(?:model\.safetensors|pytorch_model\.bin)\.index\.json|.*\.py"
)
"""Files of a folder that a model is made of. A training run also writes its state and its logs there."""

_SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf")


@dataclass(frozen=True)
class FileState:
    """A file as it was when it was looked at."""

    path: str
    size: int
    changed_ns: int
    inode: int


@dataclass(frozen=True)
class ModelFiles:
    """The files that a model was made of.

    Attributes:
        paths: The folder or .gguf file as it was named, and what else belongs to the model.
        states: Its files, as they were before they were read; none for what the user has not named as a path.
    """

    paths: tuple[Path, ...] = ()
    states: tuple[FileState, ...] = ()

    @classmethod
    def of(cls, *paths: Path) -> ModelFiles:
        return cls(paths, tuple(state for path in paths for state in _states(path)))

    @property
    def now(self) -> ModelFiles:
        """The same files as they are now. A relative path is looked for where this process is now."""
        return ModelFiles.of(*self.paths)

    @property
    def are_gone(self) -> bool:
        """Whether nothing is left of them, so that nothing else can be loaded in their place."""
        return bool(self.states) and not self.now.states

    @property
    def have_changed(self) -> bool:
        """Whether others are in their place now."""
        if not self.states:
            return False
        now = self.now.states
        return bool(now) and now != self.states

    @property
    def changed_at(self) -> str:
        """When the last of them was written, as a clock has it."""
        newest = max((state.changed_ns for state in self.states), default=0)
        return time.strftime("%H:%M:%S", time.localtime(newest / 1e9))


NO_FILES = ModelFiles()
"""Of a model that was not named as a path: what is fetched stays as it is."""


def file_key(name: str) -> str:
    """Return what a measurement of a model is kept under: a file's path and state, or else the name."""
    path = Path(name)
    try:
        states = tuple(_states(path.expanduser()))
    except (RuntimeError, ValueError):  # of no user's home directory, with characters of no path
        states = ()
    if not states:
        return name
    state = states[0]
    return f"{state.path} ({state.size} bytes, {state.changed_ns})"


def _states(path: Path) -> Iterator[FileState]:
    """Yield the states of a file, or of those of a folder that a model is made of, in their order."""
    for file in _files(path):
        try:
            found = os.stat(file)
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(found.st_mode):
            yield FileState(os.path.abspath(file), found.st_size, found.st_mtime_ns, found.st_ino)


def _files(path: Path) -> list[str]:
    shard = _SHARD.fullmatch(path.name)
    folder = path.parent if shard else path
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except (OSError, ValueError):  # a file, or nothing
        return [str(path)]
    if shard:
        same = re.compile(rf"{re.escape(shard[1])}-\d{{5}}-of-{shard[2]}\.gguf")
        return [str(folder / name) for name in names if same.fullmatch(name)]
    return [str(folder / name) for name in names if _PARTS.fullmatch(name)]
