"""`fim-magic exactness`: its options, and what it does with them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fim_magic.cli_loading import spec_of
from fim_magic.cli_process import INTERRUPTED
from fim_magic.errors import FimError, OptionError
from fim_magic.visible import notify, plain_text, say

if TYPE_CHECKING:
    from fim_magic.evaluate.exactness.comparison import LocalModel
    from fim_magic.evaluate.exactness.report import ExactnessReport
    from fim_magic.loading.loaded import Loaded
    from fim_magic.loading.spec import ModelSpec
    from fim_magic.progress import OnProgress

    Load = Callable[[ModelSpec], Loaded]

LIMIT = 20
AGAINST = "engine=gguf"
REFERENCE = {"engine": "torch", "precision": "exact"}
"""How the reference is loaded, where the user does not say."""

_LIBRARIES = ("torch", "transformers", "xllamacpp")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fim-magic exactness` to its parser."""
    from fim_magic.settings import LOADING, Settings, options_of

    parser.add_argument(
        "--against",
        action="append",
        metavar="NAME=VALUE,...",
        help="what is compared with the reference, as often as you like: options of loading, such as "
        "engine=gguf,model=PATH (default engine=gguf, which is llama.cpp). Those that it does not name are the "
        "reference's, which are typed as ever",
    )
    parser.add_argument(
        "--set",
        metavar="NAME_OR_FILE",
        help="where prompts and answers are from: single-line, multi-line, random-span, random-span-light, or a file "
        "of HumanEval-Infilling (default Python's own library)",
    )
    parser.add_argument(
        "--limit", type=int, default=LIMIT, metavar="N", help=f"how many prompts, spread over all (default {LIMIT})"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures of every single place")
    options = options_of(Settings)
    for name in ("model", *LOADING):
        parser.add_argument(*options[name].flags, dest=name, type=options[name].type, **options[name].typed)
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="run the code that the model brings, if MODEL is owner/name@COMMIT with all of the commit: read it first",
    )


def run(options: argparse.Namespace) -> int:
    """Compare, and print the table. Returns 130 where Ctrl-C ended it early."""
    from fim_magic.evaluate.exactness.report import table
    from fim_magic.evaluate.printing import write
    from fim_magic.progress import TerminalProgress

    if options.limit < 1:
        raise OptionError(f"--limit is at least 1; {options.limit} is not.")
    if options.json is not None and not options.json.parent.is_dir():
        raise OptionError(f"There is no folder {str(options.json.parent)!r} to write to. Make it first.")
    others = [(text, _read(text)) for text in dict.fromkeys(options.against or [AGAINST])]
    with TerminalProgress() as progress:
        report, whole = _measured(options, others, progress)
    say(table(report))
    if options.json is not None:
        write(options.json, report.to_json(), "file after --json")
        notify(f"Every single place is in {options.json}.")
    return 0 if whole else INTERRUPTED


def _read(text: str) -> dict[str, str]:
    """Return the options that are typed as NAME=VALUE,... after --against."""
    from fim_magic.settings import LOADING

    names = ("model", *LOADING)
    found = {}
    for part in filter(None, text.split(",")):
        name, separator, value = part.partition("=")
        if name not in names or not separator or not value:
            raise OptionError(
                f"--against takes NAME=VALUE with one of {', '.join(names)}; {part!r} is not. Type: fim-magic "
                f"exactness --against {AGAINST}"
            )
        found[name] = value
    if not found:
        raise OptionError(f"--against names what is compared: fim-magic exactness --against {AGAINST}")
    return found


def _measured(
    options: argparse.Namespace, others: Sequence[tuple[str, dict[str, str]]], on_progress: OnProgress
) -> tuple[ExactnessReport, bool]:
    """Load all, compare, and return the report and whether it is whole: Ctrl-C ends a run early with what is there."""
    from fim_magic.evaluate.exactness import comparison
    from fim_magic.evaluate.exactness.prompts import excerpts
    from fim_magic.evaluate.exactness.report import ExactnessReport

    typed = _typed(options)
    reference = _load(options, {**REFERENCE, **typed, "model": options.model or "auto"}, on_progress)
    engine = reference.engine
    report = ExactnessReport(_about(options, reference))
    if "float32" not in engine.info.precision:
        report.warnings.append(f"The reference is not computed in float32, but in {engine.info.precision}.")
    # "auto" may be another model when there is less memory.
    common = {
        "engine": REFERENCE["engine"],
        **typed,
        "model": engine.info.model if reference.spec.name == "auto" else reference.spec.name,
    }
    models = {}
    for name, own in others:
        loaded = _load(options, {**common, **own}, on_progress)
        models[name] = cast("LocalModel", loaded.engine)
        report.others[name] = f"{loaded.engine.info.model}, {loaded.engine.info.runs_on}"
    source, found = excerpts(options.set, options.limit, engine)
    report.about["prompts"] = f"{len(found)} of {source}"
    try:
        comparison.compare(cast("LocalModel", engine), models, found, report.prompts, on_progress)
    except KeyboardInterrupt:
        report.warnings.append(f"It was interrupted: this is of {len(report.prompts)} prompts.")
        return report, False
    except FimError as error:
        if not report.prompts:
            raise
        report.warnings.append(f"It ended early, with {len(report.prompts)} prompts. {error}")
        return report, False
    return report, True


def _typed(options: argparse.Namespace) -> dict[str, str]:
    from fim_magic.settings import LOADING

    return {name: value for name in LOADING if (value := getattr(options, name)) is not None}


def _load(options: argparse.Namespace, how: dict[str, str], on_progress: OnProgress) -> Loaded:
    """Load one more model beside those that are loaded."""
    from fim_magic.evaluate.exactness.comparison import require_local
    from fim_magic.loading.manager import ModelManager
    from fim_magic.settings import LOADING

    typed = argparse.Namespace(**{**dict.fromkeys(LOADING), **how}, allow_code=options.allow_code)
    spec = spec_of(how["model"], typed)
    # Not the process's manager: it has one model at a time.
    loaded = ModelManager().use(spec, on_progress)
    require_local(loaded.engine)
    for notice in loaded.notices:
        notify(plain_text(notice))
    return loaded


def _about(options: argparse.Namespace, reference: Loaded) -> dict[str, object]:
    import torch

    from fim_magic.evaluate.speed import machine

    return {
        "model": reference.engine.info.model,
        "revision": reference.engine.info.revision,
        "reference": reference.engine.info.runs_on,
        "command": " ".join(["fim-magic", *options.typed]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **machine.report(torch.device("cpu"), _LIBRARIES),
    }
