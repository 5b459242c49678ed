"""HumanEval-Infilling (arXiv 2207.14255): how many holes are filled right, with the raw model and with fim-magic.

    python -m fim_magic.evaluate.human_eval_infilling HumanEval-SingleLineInfilling.jsonl.gz --limit 100

The data is openai/human-eval-infilling's. One greedy answer is sampled for each task and counted twice: as the model
gave it, up to its own stop token or the token limit, and as fim-magic would have ended it. So the difference is what
the rules are worth, and what they cost.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fim_magic.candidate import Cut
from fim_magic.document import Document
from fim_magic.engines import Engine, Sampling, registry
from fim_magic.evaluate.sandbox import passes
from fim_magic.formats import fim_prompt
from fim_magic.healing import Continuation
from fim_magic.progress import TerminalProgress
from fim_magic.trimming import Hole, trim

_Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Task:
    """One hole of the benchmark."""

    task_id: str
    document: Document
    canonical: str
    test: str
    entry_point: str

    def program(self, middle: str) -> str:
        """Return the program that tells whether `middle` is right."""
        return f"{self.document.rebuild(middle)}\n{self.test}\ncheck({self.entry_point})\n"


@dataclass(frozen=True)
class Outcome:
    """What came of one task."""

    task_id: str
    raw: str
    middle: str
    rule: str | None
    ended_by_itself: bool
    tokens: int
    raw_passes: bool
    passes: bool
    exact: bool


def read(path: Path) -> list[Task]:
    """Read a benchmark file, gzipped JSON lines, in the file's order."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [_task(json.loads(line)) for line in stream]


def _task(row: dict[str, str]) -> Task:
    return Task(
        row["task_id"],
        Document(row["prompt"], row["suffix"]),
        row["canonical_solution"],
        row["test"],
        row["entry_point"],
    )


def answer(engine: Engine, task: Task, max_new_tokens: int) -> tuple[str, Cut | None, bool, int]:
    """Generate one greedy answer and end it as a request would, but let the model go on all the same.

    Returns:
        The raw text, where the first rule that fired would have cut it, whether the model ended it, and its tokens.
    """
    document = task.document.for_model()
    room = engine.context_length - max_new_tokens
    prompt = fim_prompt(engine.family, engine.tokenizer, document, order="auto", room=room)
    hole = Hole(document)
    generation = engine.start(prompt.ids, candidates=1, sampling=Sampling())
    for _ in generation.prefill():
        pass
    continuation = Continuation(engine.tokenizer, prompt.healed)
    cut = None
    tokens = 0
    ended = False
    while tokens < max_new_tokens and not ended:
        allowed = continuation.allowed()
        token = generation.step({} if allowed is None else {0: allowed})[0].id
        ended = token in prompt.stop_ids
        if not ended:
            tokens += 1
            text = continuation.push(token)
            cut = cut or trim(hole, text, final=False)
    return continuation.text, cut or trim(hole, continuation.text, final=True), ended, tokens


def evaluate(engine: Engine, tasks: Iterable[Task], max_new_tokens: int) -> Iterator[Outcome]:
    """Answer every task, and run every answer."""
    for task in tasks:
        raw, cut, ended, tokens = answer(engine, task, max_new_tokens)
        middle = raw if cut is None else raw[: cut.at]
        raw_passes = passes(task.program(raw))
        yield Outcome(
            task_id=task.task_id,
            raw=raw,
            middle=middle,
            rule=None if cut is None else cut.rule,
            ended_by_itself=ended,
            tokens=tokens,
            raw_passes=raw_passes,
            passes=raw_passes if middle == raw else passes(task.program(middle)),
            exact=middle == task.canonical,
        )


def interval(successes: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    share = successes / total
    centre = share + _Z**2 / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    scale = 1 + _Z**2 / total
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the counts as a table, and for each rule how often it fired, mended and broke an answer."""
    total = len(outcomes)
    lines = [f"{total} tasks, one greedy answer each"]
    for name, right in (
        ("raw model text", sum(outcome.raw_passes for outcome in outcomes)),
        ("ended by fim-magic", sum(outcome.passes for outcome in outcomes)),
        ("exact match", sum(outcome.exact for outcome in outcomes)),
    ):
        low, high = interval(right, total)
        share = right / total if total else 0.0
        lines.append(f"{name:<20}{right:>5}  {share:6.1%}  (95 %: {low:.1%} to {high:.1%})")
    fired = Counter(outcome.rule or "no rule" for outcome in outcomes)
    for rule, times in fired.most_common():
        of_rule = [outcome for outcome in outcomes if (outcome.rule or "no rule") == rule]
        mended = sum(outcome.passes and not outcome.raw_passes for outcome in of_rule)
        broke = sum(outcome.raw_passes and not outcome.passes for outcome in of_rule)
        lines.append(f"{rule:<20}{times:>5}  mended {mended}, broke {broke}")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="a HumanEval-Infilling .jsonl.gz file")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--limit", type=int, help="the first so many tasks only")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--out", type=Path, help="write every outcome here, as JSON lines")
    options = parser.parse_args()
    with TerminalProgress() as progress:
        engine = registry.use(options.model, progress).engine
    outcomes = []
    for outcome in evaluate(engine, read(options.data)[: options.limit], options.max_new_tokens):
        outcomes.append(outcome)
        print(f"{outcome.task_id}: raw {outcome.raw_passes}, trimmed {outcome.passes}", flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
    print(report(outcomes))


if __name__ == "__main__":
    main()
