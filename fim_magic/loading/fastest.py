"""Which engine was found to be the faster one for a model on this machine, by `fim-magic bench`.

A measurement counts for the machine and the versions that it was made with, and for the file as it was then. It is
forgotten when they change.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from fim_magic import weights
from fim_magic.engines.cores import processor, usable_cores
from fim_magic.loading.files import file_key
from fim_magic.loading.loaders import ENGINES
from fim_magic.progress import silent
from fim_magic.regular_files import read_optional_object

_log = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "xllamacpp")
"""What computes: a new version of one may turn the order around."""


def remember(model: str, engine: str, machine: str | None = None) -> None:
    """Note which engine is the faster one for a model. Where the cache cannot be written, nothing is noted.

    Args:
        model: The engine's name for it: a short name or a path.
        engine: "torch" or "gguf".
        machine: As of [`describe_machine`][]; None is this one.
    """
    if engine not in ENGINES:
        raise ValueError(engine)
    try:
        with weights.locked("fastest", silent, ""):
            records = _records()
            here = records.setdefault(machine or describe_machine(), {})
            here[file_key(model)] = engine
            _write(records)
    except OSError:
        _log.info("Which engine is the faster one cannot be noted.", exc_info=True)


def fastest(model: str, machine: str | None = None) -> str | None:
    """Return which engine is the faster one for a model, "torch" or "gguf"; None where that was not measured.

    The arguments are those of [`remember`][].
    """
    engine = _records().get(machine or describe_machine(), {}).get(file_key(model))
    return engine if engine in ENGINES else None


def installed_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def describe_machine(
    processor: Callable[[], str] = processor,
    cores: Callable[[], int] = usable_cores,
    version: Callable[[str], str] = installed_version,
) -> str:
    """Return what a measurement counts for: the processor, its cores, and the versions of what computes."""
    versions = (f"{package} {version(package)}" for package in _PACKAGES)
    return ", ".join((processor(), f"{cores()} cores", *versions))


def _path() -> Path:
    return weights.cache_dir() / "fastest.json"


def _records() -> dict[str, dict[str, Any]]:
    """What was noted, by machine and then by model. A damaged file says nothing, and nor does a damaged part."""
    read = read_optional_object(_path())
    return {machine: models for machine, models in read.items() if isinstance(models, dict)}


def _write(records: dict[str, dict[str, Any]]) -> None:
    weights.write_whole(_path(), json.dumps(records, indent=2, ensure_ascii=False).encode())
