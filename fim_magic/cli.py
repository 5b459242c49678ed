"""`fim-magic`: the same infilling, on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic import __version__
from fim_magic.errors import FimError, OptionError

if TYPE_CHECKING:
    from fim_magic.candidate import Result

DEMO = '''def count_words(path):
    """Return how often each word occurs in a text file."""
    counts = {}
    with open(path) as file:
        <cursor>
    return counts
'''

_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `fim-magic` with `arguments`, by default those of the process. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except FimError as error:
        print(f"fim-magic: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nfim-magic: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fim-magic", description="Fill in the middle of code with a model on this machine."
    )
    parser.add_argument("--version", action="version", version=f"fim-magic {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="fill a hole in a small function, and show the diff")
    _add_request_options(demo)
    demo.set_defaults(run=_demo)

    infill = commands.add_parser("infill", help="fill the hole at the cursor marker in a file")
    infill.add_argument("file", metavar="FILE", help="a file with a <cursor>, or - for standard input")
    infill.add_argument("--complete", action="store_true", help="left to right: keep what follows from the model")
    shown = infill.add_mutually_exclusive_group()
    shown.add_argument("--diff", action="store_true", help="print a diff, not the rebuilt text")
    shown.add_argument("--json", action="store_true", help="print everything there is to say")
    _add_request_options(infill)
    infill.set_defaults(run=_infill)

    fetch = commands.add_parser("fetch", help="bring a model to this machine, ready to load")
    fetch.add_argument("model", metavar="MODEL", nargs="?", default="auto")
    fetch.set_defaults(run=_fetch)

    commands.add_parser("models", help="list the models that have a short name").set_defaults(run=_models)
    commands.add_parser("doctor", help="look at what can stand in the way").set_defaults(run=_doctor)
    return parser


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    from fim_magic.settings import Settings, options_of

    for name, option in options_of(Settings).items():
        parser.add_argument(*option.flags, dest=name, type=option.type, help=option.help)


def _demo(options: argparse.Namespace) -> int:
    result = _answer(DEMO, "fim", options, live=True)
    _print_diff(result)
    return _status(result)


def _infill(options: argparse.Namespace) -> int:
    text = _read(options.file)
    method = "complete" if options.complete else "fim"
    result = _answer(text, method, options, live=options.diff)
    if options.json:
        print(json.dumps(_as_json(result), ensure_ascii=False, indent=2))
    elif options.diff:
        _print_diff(result)
    else:
        sys.stdout.write(result.text)
    return _status(result)


def _fetch(options: argparse.Namespace) -> int:
    from fim_magic.engines import registry
    from fim_magic.progress import TerminalProgress

    with TerminalProgress() as progress:
        loaded = registry.use(options.model, progress)
    print(f"{loaded.engine.model} ({loaded.engine.revision}) is ready; that took {loaded.seconds:.1f} s.")
    return 0


def _models(_options: argparse.Namespace) -> int:
    from fim_magic import reports

    print(reports.models())
    return 0


def _doctor(_options: argparse.Namespace) -> int:
    from fim_magic import reports

    print(reports.doctor())
    return 0


def _answer(text: str, method: str, options: argparse.Namespace, *, live: bool) -> Result:
    """Run one request, with progress on standard error and, if `live`, the growing diff on a terminal."""
    from fim_magic.engines import registry
    from fim_magic.progress import TerminalProgress
    from fim_magic.request import Finished, Grew, interruptible, run
    from fim_magic.review.terminal import LiveDiff
    from fim_magic.settings import Settings, options_of

    given = {name: getattr(options, name) for name in options_of(Settings)}
    model, request = Settings().request(text, method=method, **given)
    with TerminalProgress() as progress:
        loaded = registry.use(model, progress)
    _say_model(loaded)
    view = LiveDiff(request.document, sys.stdout) if live else None
    with interruptible() as stop:
        for event in run(request, loaded.engine, stop):
            if isinstance(event, Grew) and event.candidate == 0 and view is not None:
                view.show(event.middle)
            if isinstance(event, Finished):
                result = event.result
    if view is not None:
        view.clear()
    return result


def _status(result: Result) -> int:
    from fim_magic.candidate import Ending

    partial = any(candidate.ending is Ending.INTERRUPTED for candidate in result.candidates)
    return _INTERRUPTED if partial else 0


def _say_model(loaded: Any) -> None:
    why = f" ({loaded.why}; --model NAME takes another)" if loaded.why else ""
    print(
        f"{loaded.engine.model} on {loaded.engine.place}, loaded in {loaded.seconds:.1f} s{why}",
        file=sys.stderr,
    )


def _print_diff(result: Result) -> None:
    from fim_magic.review.diff import diff
    from fim_magic.review.render import caption, to_ansi, to_text

    draw = to_ansi if sys.stdout.isatty() else to_text
    for candidate in result.candidates:
        print(draw(diff(result.document, candidate.middle), caption(result, candidate)))


def _as_json(result: Result) -> dict[str, Any]:
    from fim_magic.provenance import record

    return {"text": result.text, "middle": result.middle, **record(result)}


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        # newline="": a file's CR LF line ends must come out as they went in.
        with Path(file).open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise OptionError(
            f"{file!r} could not be read: {reason}. Give a text file with a <cursor>, or - for standard input."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
