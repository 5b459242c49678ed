"""Which engine was found to be the faster one for a model on this machine, by `fim-magic bench`.

A measurement counts for the machine and the versions that it was made with, and is forgotten when they change.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from fim_magic import weights
from fim_magic.engines.cores import processor as _processor
from fim_magic.engines.cores import usable_cores as _cores
from fim_magic.loading.loaders import ENGINES
from fim_magic.progress import silent

_PACKAGES = ("torch", "transformers", "xllamacpp")
"""What computes: a new version of one may turn the order around."""


def remember(model: str, engine: str) -> None:
    """Note which engine is the faster one for a model here. Where the cache cannot be written, nothing is noted.

    Args:
        model: The engine's name for it: a short name or a path.
        engine: "torch" or "gguf".
    """
    if engine not in ENGINES:
        raise ValueError(engine)
    with suppress(OSError), weights.locked("fastest", silent, ""):
        records = _records()
        here = records.setdefault(_machine(), {})
        here[model] = engine
        _write(records)


def fastest(model: str) -> str | None:
    """Return which engine is the faster one for a model here, "torch" or "gguf"; None where that was not measured.

    Args:
        model: As of [`remember`][].
    """
    engine = _records().get(_machine(), {}).get(model)
    return engine if engine in ENGINES else None


def _path() -> Path:
    return weights.cache_dir() / "fastest.json"


def _records() -> dict[str, dict[str, Any]]:
    """What was noted, by machine and then by model. A damaged file says nothing, and nor does a damaged part."""
    try:
        read = json.loads(_path().read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(read, dict):
        return {}
    return {machine: models for machine, models in read.items() if isinstance(models, dict)}


def _write(records: dict[str, dict[str, Any]]) -> None:
    unfinished = _path().with_name(f".fastest-{os.getpid()}.json")
    try:
        unfinished.write_text(json.dumps(records, indent=2, ensure_ascii=False), "utf-8")
        unfinished.replace(_path())
    finally:
        unfinished.unlink(missing_ok=True)


def _machine() -> str:
    versions = (f"{package} {_version(package)}" for package in _PACKAGES)
    return ", ".join((_processor(), f"{_cores()} cores", *versions))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
