"""A GGUF file where transformers sees nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class GgufSource:
    """A file to convert.

    Attributes:
        path: As the user names it.
        alone: The same in a folder of its own.
    """

    path: Path
    alone: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def arguments(self) -> dict[str, Any]:
        """For transformers' `from_pretrained`."""
        return {
            "pretrained_model_name_or_path": str(self.alone.parent),
            "gguf_file": self.alone.name,
            "local_files_only": True,
        }


@contextmanager
def by_itself(gguf: Path, folder: Path) -> Iterator[GgufSource]:
    """Yield a file in a folder with nothing else in it.

    transformers looks beside the file as well: for adapters, for what to begin and end a text with, for more
    configurations. A folder of downloads holds whatever it holds.
    """
    place = folder.with_name(f".{folder.name}-{os.getpid()}-source")
    place.mkdir()
    try:
        alone = place / "model.gguf"
        try:
            alone.symlink_to(gguf.absolute())
        except OSError:  # on Windows, links are for administrators
            alone = gguf
        yield GgufSource(gguf, alone)
    finally:
        shutil.rmtree(place, ignore_errors=True)
