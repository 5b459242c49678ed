"""`fim-magic bench`: its options, and what it does with them."""

from __future__ import annotations

import argparse
from pathlib import Path

from fim_magic.cli_process import INTERRUPTED
from fim_magic.errors import OptionError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fim-magic bench` to its parser."""
    from fim_magic.settings import PRECISIONS, Settings, options_of

    measured = parser.add_mutually_exclusive_group()
    measured.add_argument(
        "-m",
        "--model",
        metavar="MODEL",
        default="auto",
        help="a short name, a folder, a .gguf file, or a server's address",
    )
    measured.add_argument(
        "--random-weights", metavar="SIZE", default="", help="a model of this size, such as 1.3B, made in place"
    )
    parser.add_argument("--layout", default="llama", help="of random weights: llama, qwen2, starcoder2 or gpt_bigcode")
    parser.add_argument(
        "--quantize", choices=("8bit", "4bit"), default="", help="random weights in so many bits each, on a CPU"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="of fim-magic's own engine, for a .gguf file on a CPU (default auto: as it is loaded)",
    )
    parser.add_argument(
        "--rounds", type=int, help="how often everything is measured, and each user of a server asks (default 5)"
    )
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument(
        "--only",
        metavar="NAME,...",
        default="",
        help="only these of infill, edit, candidates, lengths, fresh (load time and memory), load_ext; of a model that "
        "a server runs there is server alone",
    )
    parser.add_argument("--users", metavar="N,...", help="how many ask a server at once (default 1,8,64)")
    tokenizer = options_of(Settings)["tokenizer"]
    parser.add_argument(*tokenizer.flags, dest="tokenizer", type=tokenizer.type, **tokenizer.typed)
    parser.add_argument(
        "--llama-cpp",
        metavar="PATH",
        type=Path,
        help="compare with this build of llama.cpp instead of the installed one: its folder, or its llama-server",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every single measurement")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw a picture, .png or .svg")


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table. Returns 1 where real weights gave other greedy tokens than generate()."""
    from fim_magic.engines.server.address import is_address

    if is_address(options.model):
        from fim_magic.evaluate.serving import command

        return command.run(options)
    for name in ("users", "tokenizer"):
        if getattr(options, name) is not None:
            raise OptionError(f"--{name} is for models that a server runs: fim-magic bench --model vllm://HOST:PORT")
    from fim_magic.evaluate.speed import bench
    from fim_magic.evaluate.speed.workloads import MEASURES
    from fim_magic.progress import TerminalProgress

    names = tuple(filter(None, options.only.split(",")))
    rounds = options.rounds
    if rounds is None:
        rounds = bench.QUICK_ROUNDS if options.quick else bench.ROUNDS
    bench_options = bench.SpeedOptions(
        model=options.model,
        random_weights=options.random_weights,
        layout=options.layout,
        quantize=options.quantize,
        precision=options.precision,
        rounds=rounds,
        measures=names or MEASURES,
        threads=options.threads,
        llama_cpp=options.llama_cpp,
        json=options.json,
        plot=options.plot,
    )
    with TerminalProgress() as progress:
        report, whole = bench.run(bench_options, progress, ["fim-magic", *options.typed])
    bench.show(report, bench_options)
    if not whole:
        return INTERRUPTED
    # Random weights have no favourite token, so that the last bit of a logit decides.
    return 1 if report.failed_checks and not report.random_weights else 0
