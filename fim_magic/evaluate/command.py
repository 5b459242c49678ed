"""`fim-magic eval`: its options, and what it does with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fim_magic.evaluate.evaluation import Options
    from fim_magic.request import Request

_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
_ASKED = ("max_new_tokens", "temperature", "top_p", "order", "method")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fim-magic eval` to its parser."""
    from fim_magic.settings import LOADING, Settings, options_of

    parser.add_argument(
        "--set",
        action="append",
        metavar="NAME_OR_PATH",
        help="what to measure, as often as you like: notebooks (built in, the default), single-line, multi-line, "
        "random-span, random-span-light, or a file or folder of HumanEval-Infilling",
    )
    parser.add_argument("--fetch", action="store_true", help="fetch a set of that name that is not on this machine")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only the tasks whose index leaves I")
    parser.add_argument("--offset", type=int, default=0, metavar="I", help="when divided by K (default 0)")
    parser.add_argument("--limit", type=int, help="at most so many tasks of each set")
    parser.add_argument(
        "--arms",
        metavar="NAME,...",
        default="",
        help="only these of raw, healed, trimmed, auto, chosen, checked, context",
    )
    parser.add_argument(
        "-n", "--candidates", type=int, default=8, help="how many answers the arms of several have (default 8)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of sampled answers, with --temperature (default 0)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="for answers and report (default fim-magic-eval)")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw a picture, .png, .svg or .pdf")
    parser.add_argument("--only-report", action="store_true", help="ask nothing: report what FOLDER holds")
    parser.add_argument("--workers", type=int, help="how many answers are run at once (default half the processors)")
    options = options_of(Settings)
    for name in ("model", *_ASKED, *LOADING):
        parser.add_argument(*options[name].flags, dest=name, type=options[name].type, help=options[name].help)
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="run the code that the model brings, if MODEL is owner/name@COMMIT with all of the commit: read it first",
    )


def run(options: argparse.Namespace) -> int:
    """Measure, and print the report. Returns 130 where Ctrl-C ended it early.

    Raises:
        FimError: As `evaluation.prepare` and `evaluation.run` say, or the model cannot be loaded.
    """
    from fim_magic.cli import load
    from fim_magic.evaluate import evaluation
    from fim_magic.progress import TerminalProgress

    model, template = _template(options)
    asked, found = evaluation.prepare(_asked(options, template))
    engine = None if asked.only_report else load(model, options).engine
    with TerminalProgress() as progress:
        command = ["fim-magic", *getattr(options, "typed", [])]
        report, whole = evaluation.run(asked, found, engine, progress, command)
    evaluation.show(report, asked)
    return 0 if whole else _INTERRUPTED


def _template(options: argparse.Namespace) -> tuple[str, Request]:
    """Check the options of a request as a request does; the text stands for any."""
    from fim_magic.document import MARKERS
    from fim_magic.settings import Settings

    given = {name: getattr(options, name) for name in ("model", "candidates", "seed", *_ASKED)}
    return Settings().request(MARKERS[0], **given, markers=list(MARKERS))


def _asked(options: argparse.Namespace, template: Request) -> Options:
    from fim_magic.evaluate import evaluation, folder
    from fim_magic.evaluate.arms import ARMS
    from fim_magic.evaluate.benchmarks import NOTEBOOKS

    return evaluation.Options(
        sets=tuple(options.set or (NOTEBOOKS,)),
        fetch=options.fetch,
        every=options.every,
        offset=options.offset,
        limit=options.limit,
        arms=tuple(filter(None, options.arms.split(","))) if options.arms else ARMS,
        template=template,
        out=options.out or folder.OUT,
        plot=options.plot,
        only_report=options.only_report,
        workers=evaluation.default_workers() if options.workers is None else options.workers,
    )
