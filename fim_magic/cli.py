"""`fim-magic`: the same infilling, on the command line."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.cli_loading import load
from fim_magic.errors import FimError, OptionError
from fim_magic.version import __version__

if TYPE_CHECKING:
    from fim_magic.candidate import Result
    from fim_magic.loading.loaded import Loaded
    from fim_magic.loading.manager import ModelManager
    from fim_magic.proof import ProbeAnswer, PromptCheck, Proof

DEMO = '''def count_words(path):
    """Return how often each word occurs in a text file."""
    counts = {}
    with open(path) as file:
        <cursor>
    return counts
'''

_WHAT_IT_SHOWS = "A right prompt is answered from what its text says. A small model may err all the same."
_WIDTH = 100  # columns
_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None, models: ModelManager | None = None) -> int:
    """Run `fim-magic`. Returns the exit status.

    Args:
        arguments: What was typed; by default the process's arguments.
        models: Where models are loaded; by default the process's manager.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(typed).parse_args(typed, argparse.Namespace(typed=typed, models=models))
    try:
        return int(options.run(options))
    except FimError as error:
        print(f"fim-magic: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nfim-magic: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser(typed: Sequence[str] = ()) -> argparse.ArgumentParser:
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

    replay = commands.add_parser("replay", help="make the infills of a saved notebook again, and compare the answers")
    replay.add_argument("notebook", metavar="NOTEBOOK", type=Path, help="an .ipynb file whose diffs have their records")
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

    evaluate = commands.add_parser("eval", help="measure how many holes are filled right, stage by stage")
    if "eval" in typed[:1]:  # no other command needs any of it
        from fim_magic.evaluate import command

        command.add_options(evaluate)
        evaluate.set_defaults(run=command.run)

    bench = commands.add_parser("bench", help="measure how fast this machine is, beside plain generate() and llama.cpp")
    _add_bench_options(bench)
    bench.set_defaults(run=_bench)
    return parser


def _add_bench_options(parser: argparse.ArgumentParser) -> None:
    measured = parser.add_mutually_exclusive_group()
    measured.add_argument(
        "-m", "--model", metavar="MODEL", default="auto", help="a short name, a folder or a .gguf file"
    )
    measured.add_argument(
        "--random-weights", metavar="SIZE", default="", help="a model of this size, such as 1.3B, made in place"
    )
    parser.add_argument("--layout", default="llama", help="of random weights: llama, qwen2, starcoder2 or gpt_bigcode")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default 5)")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument(
        "--only",
        metavar="NAME,...",
        default="",
        help="only these of infill, edit, candidates, lengths, fresh (load time and memory), load_ext",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every single measurement")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw a picture, .png or .svg")


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    from fim_magic.settings import LOADING, Settings, options_of

    beside_the_text = ("context",)  # which only a notebook has
    _add_options(parser, [name for name in options_of(Settings) if name not in (*LOADING, *beside_the_text)])
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
    result = _answer(DEMO, options, live=True)
    _print_diff(result, all_of_them=options.candidates is not None)
    return _status(result)


def _infill(options: argparse.Namespace) -> int:
    from fim_magic.languages import of_file

    text = _read(options.file)
    result = _answer(text, options, complete=options.complete, live=options.diff, language=of_file(options.file))
    if options.json:
        print(json.dumps(_as_json(result), ensure_ascii=False, indent=2))
    elif options.diff:
        _print_diff(result, all_of_them=options.candidates is not None)
    else:
        sys.stdout.write(result.text)
        _say_imports(result)
    return _status(result)


def _say_imports(result: Result) -> None:
    """Say on standard error what stands in the text beside the answer."""
    from fim_magic.review.text import plain_text

    for each in result.candidates[0].imports:
        print(f"Added, since the answer needs it: {plain_text(each)}", file=sys.stderr)


def _replay(options: argparse.Namespace) -> int:
    """Make a notebook's infills again. Returns 1 if one cannot be made, or has another answer."""
    from fim_magic.pipeline import follow
    from fim_magic.replay import compare, recorded, request_of
    from fim_magic.settings import Settings

    infills, markers, failed = recorded(options.notebook), Settings().markers, False
    if not infills:
        raise OptionError(f"{str(options.notebook)!r} holds no record of an infill.")
    for infill in infills:
        try:
            request = request_of(infill, markers)
            result = follow(request, load(infill.record["model"], options).engine)
            same, said = compare(infill.record, result)
        except FimError as error:
            same, said = False, str(error)
        print(f"Cell {infill.cell}: {said}")
        failed |= not same
    return 1 if failed else 0


def _fetch(options: argparse.Namespace) -> int:
    loaded = load(options.model, options)
    print(f"{loaded.engine.info.model} ({loaded.engine.info.revision}) is ready; that took {loaded.seconds:.1f} s.")
    return 0


def _models(options: argparse.Namespace) -> int:
    from fim_magic import reports

    print(reports.models(options.word))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from fim_magic import reports

    if options.prove:
        return _prove(options)
    print(reports.doctor() if options.model is None else reports.model(options.model))
    return 0


def _bench(options: argparse.Namespace) -> int:
    """Measure, and print the table. Returns 1 where real weights gave other greedy tokens than generate()."""
    from fim_magic.evaluate.speed import bench
    from fim_magic.evaluate.speed.workloads import MEASURES
    from fim_magic.progress import TerminalProgress

    names = tuple(filter(None, options.only.split(",")))
    rounds = options.rounds
    if rounds is None:
        rounds = bench.QUICK_ROUNDS if options.quick else bench.ROUNDS
    asked = bench.SpeedOptions(
        model=options.model,
        random_weights=options.random_weights,
        layout=options.layout,
        rounds=rounds,
        measures=names or MEASURES,
        threads=options.threads,
        json=options.json,
        plot=options.plot,
    )
    with TerminalProgress() as progress:
        report, whole = bench.run(asked, progress, ["fim-magic", *options.typed])
    bench.show(report, asked)
    if not whole:
        return _INTERRUPTED
    # Random weights have no favourite token, so that the last bit of a logit decides.
    return 1 if report.failed_checks and not report.random_weights else 0


def _prove(options: argparse.Namespace) -> int:
    """Load the model, ask it what shows whether its prompts are right, and say so. Returns the exit status."""
    from fim_magic.progress import TerminalProgress
    from fim_magic.proof import prove

    loaded = load(options.model or "auto", options)
    with TerminalProgress() as progress:
        proof = prove(loaded.engine, progress)
    _print_proof(loaded, proof)
    return 1 if proof.failed else 0


def _answer(
    text: str, options: argparse.Namespace, *, complete: bool = False, live: bool, language: str = ""
) -> Result:
    """Run one request, with progress on standard error and, if `live`, the growing diff on a terminal."""
    from fim_magic.pipeline import follow
    from fim_magic.review.terminal import LiveDiff
    from fim_magic.settings import Settings, options_of

    given = {name: getattr(options, name, None) for name in options_of(Settings)}
    model, request = Settings().request(text, complete=complete, language=language, **given)
    loaded = load(model, options)
    _say_model(loaded)
    view = LiveDiff(request.document, sys.stdout) if live else None
    result = follow(
        request,
        loaded.engine,
        None if view is None else lambda middle, _tokens, _seconds, kept: view.show(middle, kept),
    )
    if view is not None:
        view.clear()
    return result


def _status(result: Result) -> int:
    from fim_magic.candidate import Ending

    partial = any(candidate.ending is Ending.INTERRUPTED for candidate in result.candidates)
    return _INTERRUPTED if partial else 0


def _say_model(loaded: Loaded) -> None:
    why = f" ({loaded.why}; --model NAME takes another)" if loaded.why else ""
    print(
        f"{loaded.engine.info.model} on {loaded.engine.info.place}, loaded in {loaded.seconds:.1f} s{why}",
        file=sys.stderr,
    )


def _print_diff(result: Result, *, all_of_them: bool) -> None:
    """Print the first candidate, and the others if the user has asked for several."""
    from fim_magic.review.caption import facts, line
    from fim_magic.review.details import details_text
    from fim_magic.review.diff import diff
    from fim_magic.review.render import to_ansi, to_text
    from fim_magic.review.text import counted
    from fim_magic.settings import Settings

    draw = to_ansi if sys.stdout.isatty() else to_text
    full = Settings().details == "full"
    shown = result.candidates if all_of_them else result.candidates[:1]
    for candidate in shown:
        details = details_text(facts(result, candidate), candidate) if full else ""
        rows = diff(result.document, candidate.middle, candidate.kept, candidate.imports)
        print(draw(rows, line(result, candidate, whole=full), details))
    if full and len(shown) < len(result.candidates):
        others = counted(len(result.candidates) - 1, "other candidate")
        print(f"{others}: -n {result.answers} prints them all.", file=sys.stderr)


def _print_proof(loaded: Loaded, proof: Proof) -> None:
    from fim_magic import catalog
    from fim_magic.proof import recognised

    engine = loaded.engine
    entry = catalog.find(engine.info.model) or catalog.by_repo(engine.info.model)
    stated_by = "--family" if loaded.spec.family else "the catalogue" if entry is not None else ""
    _print_field("Model", f"{engine.info.model} ({engine.info.revision}), {engine.info.place}")
    _print_field("Family", f"{engine.family.name}: {recognised(engine.family, stated_by)}")
    _print_field("Source", engine.family.source)
    print("\nIts tokenizer and its prompts:")
    for check in proof.checks:
        _print_check(check)
    if proof.answers:
        print(f"\nThe ten lines:\n\n{textwrap.indent(proof.answers[0].probe.text, '    ')}\n")
        _print_prompt(loaded, proof)
        print("\nIts answers:")
    for answer in proof.answers:
        _print_answer(answer)
    failed = len(proof.failed)
    judged = f"{failed} of {len(proof.all_checks)} checks FAILED" if failed else "Nothing failed"
    print(f"\n{judged}. {_WHAT_IT_SHOWS}")


def _print_prompt(loaded: Loaded, proof: Proof) -> None:
    """Print the example's prompt token by token, and below it the same in the family's other order."""
    from fim_magic.review.prompt import WIDTH, lay_out, to_ansi, to_text

    engine = loaded.engine
    first = proof.answers[0]
    others = (a.prompt for a in proof.answers[1:] if a.probe is first.probe and a.prompt.order)
    sheet = lay_out(first.prompt, next(others, None), engine.tokenizer, f"{engine.info.model}, {engine.family.name}")
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((WIDTH, 0)).columns if terminal else WIDTH
    print((to_ansi if terminal else to_text)(sheet, width=width))


def _print_answer(answer: ProbeAnswer) -> None:
    from fim_magic.review.text import plain_text

    _print_check(answer.check)
    ended = "ended by a stop token" if answer.stopped else "went on until it was stopped"
    rest = answer.text.removeprefix(answer.middle)
    cut = f", and {len(rest)} more characters that %%fim cuts off" if rest else ""
    print(f"{'':<13}{plain_text(answer.middle)}")
    print(f"{'':<13}({ended}{cut})")


def _print_check(check: PromptCheck) -> None:
    _print_field(f"{check.verdict.value:<11}", f"{check.name}: {check.detail}", margin=13)


def _print_field(label: str, text: str, *, margin: int = 9) -> None:
    from fim_magic.review.text import plain_text

    whole = f"{label:<{margin}}{plain_text(text)}"
    print(textwrap.fill(whole, _WIDTH, subsequent_indent=" " * margin, break_long_words=False, break_on_hyphens=False))


def _as_json(result: Result) -> dict[str, Any]:
    from fim_magic.provenance import record

    return {
        "text": result.text,
        "middle": result.middle,
        "imports": list(result.candidates[0].imports),
        **record(result),
    }


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
