"""The files that hold a checkpoint's weights: one, or those that its index names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from fim_magic.regular_files import LARGEST_VOCABULARY, read_json

SAFETENSORS, PICKLED = WEIGHTS = "model.safetensors", "pytorch_model.bin"
"""Weights in one file, the preferred one first; in several, `.index.json` behind the name says which."""

MOST_SHARDS = 4096
"""Of one checkpoint. DeepSeek-V3, with 671 billion parameters, has 163."""


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers would load: safetensors before pickles, one file before shards.

    Shards are those that the index names, whether they are there or not.

    Raises:
        ValueError: The index is damaged, or names a file elsewhere.
        OSError: It cannot be read.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return shards_of(index)
    return []


def shards_of(index: Path) -> list[Path]:
    """Return the files that an index names, whether they are there or not: all lie in its own folder.

    Args:
        index: `model.safetensors.index.json`, or `pytorch_model.bin.index.json`.

    Raises:
        ValueError: It is damaged, or names a file elsewhere: an index comes from somebody else, and could name any.
        OSError: It cannot be read.
    """
    kind = Path(index.name.removesuffix(".index.json")).suffix
    try:
        names = set(read_json(index, LARGEST_VOCABULARY)["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index.name} is damaged ({error})") from error
    if len(names) > MOST_SHARDS:
        raise ValueError(f"{index.name} names {len(names)} files, and {MOST_SHARDS} are the most that are loaded")
    for name in names:
        if not isinstance(name, str) or not _is_plain(name) or Path(name).suffix != kind:
            raise ValueError(
                f"{index.name} names {name!r}, which is no file with weights in the folder of the checkpoint"
            )
    return sorted(index.parent / name for name in names)


def _is_plain(name: str) -> bool:
    """Whether a name is a file's alone, by the rules of every system."""
    return name.isprintable() and name == PurePosixPath(name).name == PureWindowsPath(name).name and name != ".."
