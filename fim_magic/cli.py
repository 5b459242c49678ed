"""`fim-magic`: the same infilling, on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fim_magic.cli_loading import load
from fim_magic.cli_process import INTERRUPTED, require_output, run
from fim_magic.errors import FimError, OptionError
from fim_magic.streams import is_terminal
from fim_magic.version import __version__
from fim_magic.visible import hand_over, notify, plain_text, say, say_in_colour
from fim_magic.working_folder import require_working_folder

if TYPE_CHECKING:
    from fim_magic.candidate import Result
    from fim_magic.cli_files import TextSource
    from fim_magic.loading.manager import ModelManager

DEMO = '''def count_words(path):
    """Return how often each word occurs in a text file."""
    counts = {}
    with open(path) as file:
        <cursor>
    return counts
'''


def main(arguments: Sequence[str] | None = None, models: ModelManager | None = None) -> int:
    """Run `fim-magic`. Returns the exit status.

    Args:
        arguments: What was typed; by default the process's arguments.
        models: Where models are loaded; by default the process's manager.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)

    def command() -> int:
        own, more = _split_off(typed)
        options = _parser(typed).parse_args(own, argparse.Namespace(typed=typed, models=models, more=more))
        require_working_folder()
        try:
            return int(options.run(options))
        except FimError as error:
            from fim_magic.options import origin_note
            from fim_magic.settings import Settings

            note = origin_note(Settings(), str(error), " ".join(typed))
            if not note:
                raise
            raise FimError(f"{error}{note}") from error

    return run(command)


def _split_off(typed: list[str]) -> tuple[list[str], list[str]]:
    """Return what is ours of what is typed, and what a server that is started gets as it is."""
    if "serve" not in typed[:1]:
        return typed, []
    from fim_magic.serve.command import split_off

    return split_off(typed)


class _Parser(argparse.ArgumentParser):
    """One whose errors are fit to be shown: they repeat what was typed."""

    def error(self, message: str) -> NoReturn:
        super().error(plain_text(message))


def _parser(typed: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = _Parser(prog="fim-magic", description="Fill in the middle of code with a model on this machine.")
    parser.add_argument("--version", action="version", version=f"fim-magic {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="fill a hole in a small function, and show the diff")
    _add_request_options(demo)
    demo.set_defaults(run=_demo)

    infill = commands.add_parser("infill", help="fill the hole at the cursor marker in a file")
    infill.add_argument(
        "file", metavar="FILE", help="a file or notebook (.ipynb) with a <cursor>, or - for standard input"
    )
    infill.add_argument("--complete", action="store_true", help="left to right: keep what follows from the model")
    shown = infill.add_mutually_exclusive_group()
    shown.add_argument("--diff", action="store_true", help="print a diff, not the rebuilt text")
    shown.add_argument("--json", action="store_true", help="print everything there is to say")
    shown.add_argument("--in-place", action="store_true", help="print nothing: put the rebuilt text into the file")
    _add_request_options(infill)
    _add_options(infill, ["context"])
    infill.set_defaults(run=_infill)

    replay = commands.add_parser("replay", help="make the infills of a saved notebook again, and compare the answers")
    replay.add_argument("notebook", metavar="NOTEBOOK", type=Path, help="an .ipynb file whose diffs have their records")
    replay.add_argument(
        "-m", "--model", metavar="MODEL", help="load this model, and none that the notebook names without being asked"
    )
    _add_loading_options(replay)
    replay.set_defaults(run=_replay)

    fetch = commands.add_parser("fetch", help="bring a model to this machine, ready to load")
    fetch.add_argument("model", metavar="MODEL", nargs="?", default="auto")
    _add_loading_options(fetch)
    fetch.set_defaults(run=_fetch)

    models = commands.add_parser("models", help="list the models that have a short name, and what fits this machine")
    models.add_argument("word", metavar="WORD", nargs="?", default="", help="only those with this in their name")
    models.set_defaults(run=_models)

    doctor = commands.add_parser("doctor", help="look at what can stand in the way")
    doctor.add_argument("-m", "--model", metavar="MODEL", help="look at this model, without loading it")
    doctor.add_argument(
        "--prove",
        action="store_true",
        help="load the model, and show by its answers that its prompts are those that it was trained on",
    )
    _add_loading_options(doctor)
    doctor.set_defaults(run=_doctor)

    serve = commands.add_parser("serve", help="print or start the server that runs a model for several users")
    if "serve" in typed[:1]:
        from fim_magic.serve import command as serving

        serving.add_options(serve)
        serve.set_defaults(run=serving.run)

    evaluate = commands.add_parser("eval", help="measure how many holes are filled right, stage by stage")
    if "eval" in typed[:1]:  # no other command needs any of it
        from fim_magic.evaluate import command

        command.add_options(evaluate)
        evaluate.set_defaults(run=command.run)

    bench = commands.add_parser("bench", help="measure how fast this machine is, beside plain generate() and llama.cpp")
    if "bench" in typed[:1]:
        from fim_magic.evaluate.speed import command as speed

        speed.add_options(bench)
        bench.set_defaults(run=speed.run)

    exactness = commands.add_parser("exactness", help="measure how far one way of computing a model is from another")
    if "exactness" in typed[:1]:
        from fim_magic.evaluate.exactness import command as comparing

        comparing.add_options(exactness)
        exactness.set_defaults(run=comparing.run)
    return parser


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    from fim_magic.settings import LOADING, Settings, options_of

    others = (*LOADING, "context")  # context is what else a notebook has
    _add_options(parser, [name for name in options_of(Settings) if name not in others])
    _add_loading_options(parser)


def _add_loading_options(parser: argparse.ArgumentParser) -> None:
    from fim_magic.settings import LOADING

    _add_options(parser, LOADING)
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="run the code that the model brings, if MODEL is owner/name@COMMIT with all of the commit: read it first",
    )


def _add_options(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    from fim_magic.settings import Settings, options_of

    options = options_of(Settings)
    for name in names:
        parser.add_argument(*options[name].flags, dest=name, type=options[name].type, **options[name].typed)


def _demo(options: argparse.Namespace) -> int:
    from fim_magic.cli_files import TextSource

    result = _answer(TextSource(DEMO, "", is_ours=True), options, live=True)
    _print_diff(result, all_of_them=options.candidates is not None)
    return _status(result)


def _infill(options: argparse.Namespace) -> int:
    from fim_magic.cli_files import check_writable, read_source, write_in_place
    from fim_magic.outcomes import Outcome, Subject
    from fim_magic.provenance import full_record
    from fim_magic.settings import Settings

    require_output()
    target = check_writable(options.file) if options.in_place else None
    settings = Settings()
    markers, named = settings.markers_for(markers=options.markers)
    source = read_source(options.file, markers, named=named)
    source.check_allowed(settings.filling)
    result = _answer(source, options, complete=options.complete or source.completes, live=options.diff)
    outcome = Outcome(Subject.today(result, result.method, "command line") if settings.stats else None)
    lines = result.candidates[0].imports
    if options.json:
        cell = {"cell": source.number} if source.number else {}
        told = {"text": source.whole(result.text), **cell, "middle": result.middle, "imports": list(lines)}
        hand_over(json.dumps({**told, **full_record(result)}, indent=2) + "\n")
    elif options.diff:
        _print_diff(result, all_of_them=options.candidates is not None)
    elif target is not None and _status(result):
        notify(f"{options.file!r} is as it was, since the answer is partial.")
    else:
        whole = source.whole(result.text)
        if target is None:
            hand_over(whole)
        else:
            try:
                write_in_place(target, whole)
            except OptionError:
                hand_over(whole)  # so that the answer is not lost
                raise
            outcome.decided("accept")
        for line in lines:
            notify(f"Added, since the answer needs it: {line}")
    return _status(result)


def _replay(options: argparse.Namespace) -> int:
    from fim_magic.cli_replay import replay

    return replay(options)


def _fetch(options: argparse.Namespace) -> int:
    loaded = load(options.model, options)
    ready = f"{loaded.engine.info.model} ({loaded.engine.info.revision}) is ready; that took {loaded.seconds:.1f} s."
    say(plain_text(ready))
    return 0


def _models(options: argparse.Namespace) -> int:
    from fim_magic import reports

    say(reports.models(options.word))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from fim_magic import reports
    from fim_magic.settings import Settings

    if options.prove:
        return _prove(options)
    settings = Settings()
    permission = settings.permission()
    if options.model is None:
        say(reports.doctor(model_name=settings.model, permission=permission))
    else:
        say(reports.model(options.model, permission=permission))
    return 0


def _prove(options: argparse.Namespace) -> int:
    """Load the model, ask it what shows whether its prompts are right, and print that. Returns the exit status."""
    from fim_magic.cli_proof import print_proof
    from fim_magic.progress import TerminalProgress
    from fim_magic.proof import prove

    loaded = load(options.model or "auto", options)
    with TerminalProgress() as progress:
        proof = prove(loaded.engine, progress)
    print_proof(loaded, proof)
    return 1 if proof.failed else 0


def _answer(source: TextSource, options: argparse.Namespace, *, complete: bool = False, live: bool) -> Result:
    """Run one request, with progress on standard error and, if `live`, the growing diff on a terminal."""
    from dataclasses import replace

    from fim_magic.cli_consent import permission_for
    from fim_magic.pipeline import follow
    from fim_magic.review.terminal import LiveDiff
    from fim_magic.settings import Settings, options_of

    given = {name: getattr(options, name, None) for name in options_of(Settings)}
    settings = Settings()
    model, request = settings.request(source.text, complete=complete, language=source.language, **given)
    request = source.in_notebook(request, getattr(options, "context", None), settings.markers)
    loaded = load(model, options)
    permission = permission_for(loaded.engine.info, request.permission, is_public=source.is_ours)
    request = replace(request, permission=permission)
    info, why = loaded.engine.info, f" ({loaded.why}; --model NAME takes another)" if loaded.why else ""
    notify(plain_text(f"{info.model} on {info.runs_on}, loaded in {loaded.seconds:.1f} s{why}"))
    view = LiveDiff(request.document, sys.stdout)
    grow = (lambda middle, _tokens, _seconds, kept: view.show(middle, kept)) if live else None
    result = follow(request, loaded.engine, grow, on_wait=view.wait)
    view.clear()
    return result


def _status(result: Result) -> int:
    from fim_magic.candidate import Ending

    if any(candidate.ending is Ending.INTERRUPTED for candidate in result.candidates):
        return INTERRUPTED
    if result.broken_off:
        notify(f"fim-magic: {result.broken_off}")
    return 1 if result.is_partial else 0


def _print_diff(result: Result, *, all_of_them: bool) -> None:
    """Print the first candidate, and the others if the user has asked for several."""
    from fim_magic.review.caption import facts, line
    from fim_magic.review.details import details_text
    from fim_magic.review.diff import diff
    from fim_magic.review.render import to_ansi, to_text
    from fim_magic.review.text import counted
    from fim_magic.settings import Settings

    draw = to_ansi if is_terminal(sys.stdout) else to_text
    full = Settings().details == "full"
    shown = result.candidates if all_of_them else result.candidates[:1]
    for candidate in shown:
        details = details_text(facts(result, candidate), candidate) if full else ""
        rows = diff(result.document, candidate.middle, candidate.kept, candidate.imports)
        say_in_colour(draw(rows, line(result, candidate, whole=full), details))
    if full and len(shown) < len(result.candidates):
        others = counted(len(result.candidates) - 1, "other candidate")
        notify(f"{others}: -n {result.answers} prints them all.")


if __name__ == "__main__":
    sys.exit(main())
