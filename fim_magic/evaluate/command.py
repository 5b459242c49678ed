"""`fim-magic eval`: its options, and what it does with them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fim_magic.cli_loading import load
from fim_magic.cli_process import INTERRUPTED
from fim_magic.errors import OptionError

if TYPE_CHECKING:
    from fim_magic.allowed_hosts import Permission
    from fim_magic.engines import EngineInfo
    from fim_magic.evaluate.answers.run import RunOptions
    from fim_magic.loading.loaded import Loaded

_Report = TypeVar("_Report")

_ASKED = ("max_new_tokens", "temperature", "top_p", "order", "method")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fim-magic eval` to its parser."""
    from fim_magic.settings import LOADING, Settings, options_of

    parser.add_argument(
        "--set",
        action="append",
        metavar="NAME_OR_PATH",
        help="what to measure, as often as you like: notebooks (built in, the default), single-line, multi-line, "
        "random-span, random-span-light, a file or folder of HumanEval-Infilling; or a folder or file of your own, "
        "notebooks (.ipynb) and source files: holes are punched into them, and answers compared with what stood there",
    )
    parser.add_argument("--fetch", action="store_true", help="fetch a set of that name that is not on this machine")
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="K",
        help="only the tasks whose index leaves I; of your own files, only the files whose index by name does",
    )
    parser.add_argument("--offset", type=int, default=0, metavar="I", help="when divided by K (default 0)")
    parser.add_argument("--limit", type=int, help="at most so many tasks of each set")
    parser.add_argument(
        "--arms",
        metavar="NAME,...",
        default="",
        help="only these of raw, healed, trimmed, auto, chosen, checked, context; of your own files, of default, one, "
        "none (these are the usual ones), cells, names, all, many, raw",
    )
    parser.add_argument(
        "-n", "--candidates", type=int, default=8, help="how many answers the arms of several have (default 8)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of sampled answers, with --temperature, and of the holes in your own files (default 0)",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="for answers and report (default fim-magic-eval)")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw a picture, .png, .svg or .pdf")
    parser.add_argument("--only-report", action="store_true", help="ask nothing: report what FOLDER holds")
    parser.add_argument(
        "--concurrency",
        type=int,
        default=1,
        metavar="N",
        help="how many requests are under way at once, where a server answers them (default 1)",
    )
    parser.add_argument("--workers", type=int, help="how many answers are run at once (default half the processors)")
    _add_options_of_own_files(parser)
    options = options_of(Settings)
    for name in ("model", *_ASKED, *LOADING):
        parser.add_argument(*options[name].flags, dest=name, type=options[name].type, help=options[name].help)
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="run the code that the model brings, if MODEL is owner/name@COMMIT with all of the commit: read it first",
    )


def _add_options_of_own_files(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument_group("your own files", "where --set is a folder or file of notebooks or source files")
    own.add_argument(
        "--run-cells",
        action="store_true",
        help="run the cells above a hole, so that the model is told of the kernel's names: in a process of its own, in "
        "a copy of the notebook's folder, without network. Only for notebooks that you would run",
    )
    own.add_argument("--per-file", type=int, metavar="N", help="at most so many holes in a file (default 8)")
    own.add_argument(
        "--kinds", metavar="NAME,...", default="", help="only these of rest, line, arguments, block, lines"
    )
    own.add_argument("--show", type=int, default=0, metavar="N", help="print N answers, drawn at random")


def run(options: argparse.Namespace) -> int:
    """Measure, and print the report. Returns 130 where Ctrl-C ended it early."""
    whole = (_run_on_own_files if _is_of_own_files(options) else _run_on_benchmarks)(options)
    return 0 if whole else INTERRUPTED


def _is_of_own_files(options: argparse.Namespace) -> bool:
    from fim_magic.evaluate.answers import folder
    from fim_magic.evaluate.answers.benchmarks import is_own

    if options.only_report:
        return bool(folder.settings(options.out or folder.OUT).get(folder.OWN))
    sets = options.set or ()
    own = [name for name in sets if is_own(name)]
    if own and len(own) < len(sets):
        raise OptionError(
            f"{own[0]!r} is compared with what its author wrote, other sets are run. Measure one after the other, each "
            "with its --out."
        )
    return bool(own)


def _run_on_benchmarks(options: argparse.Namespace) -> bool:
    from fim_magic.evaluate.answers import evaluation

    model, common = _common(options)
    more = _given(options, "plot", "workers")
    asked, found = evaluation.prepare(evaluation.BenchmarkOptions(**common, **more, fetch=options.fetch))
    report, whole = _measured(evaluation.run, asked, found, partial(load, model, options), options, is_public=True)
    evaluation.show(report, asked)
    return whole


def _run_on_own_files(options: argparse.Namespace) -> bool:
    from fim_magic.evaluate.own import evaluation

    if options.plot is not None:
        raise OptionError("--plot draws what is run and passes or not; of your own files there is a table.")
    model, common = _common(options)
    more = _given(options, "per_file") | {"seed": options.seed, "run_cells": options.run_cells}
    if kinds := _words(options.kinds):
        more["kinds"] = kinds
    asked, found = evaluation.prepare(evaluation.OwnOptions(**common, **more))
    report, whole = _measured(evaluation.run, asked, found, partial(load, model, options), options)
    evaluation.show(report, asked, options.show)
    return whole


def _common(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Return the model's name, and what both evaluations are asked, as far as the user says it."""
    from fim_magic.markers import MARKERS
    from fim_magic.settings import Settings

    # Checked as a request does; the text stands for any.
    given = {name: getattr(options, name) for name in ("model", "candidates", "seed", *_ASKED)}
    model, template = Settings().request(MARKERS[0], **given, markers=list(MARKERS))
    common = {name: getattr(options, name) for name in ("every", "offset", "limit", "concurrency", "only_report")}
    common |= {"template": template, **_given(options, "out")}
    if options.set:
        common["sets"] = tuple(options.set)
    if arms := _words(options.arms):
        common["arms"] = arms
    return model, common


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _permission_for(info: EngineInfo, permission: Permission, *, is_public: bool) -> Permission:
    """As `permission_for`, for every context: the arms compare them."""
    from fim_magic.cli_consent import permission_for

    return permission_for(info, replace(permission, context="all"), is_public=is_public)


def _measured(
    run: Callable[..., tuple[_Report, bool]],
    asked: RunOptions,
    found: Any,
    load: Callable[[], Loaded],
    options: argparse.Namespace,
    *,
    is_public: bool = False,
) -> tuple[_Report, bool]:
    """Load, and run. What is not public may go to another host only if the user says so."""
    from fim_magic.progress import TerminalProgress

    engine = None if asked.only_report else load().engine
    if engine is not None:
        permission = _permission_for(engine.info, asked.template.permission, is_public=is_public)
        asked = replace(asked, template=replace(asked.template, permission=permission))
    with TerminalProgress() as progress:
        return run(asked, found, engine, progress, ["fim-magic", *getattr(options, "typed", [])])
