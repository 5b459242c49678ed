"""The report of a run against a server, as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from fim_magic.evaluate.printing import heading, warned, wrapped
from fim_magic.evaluate.serving.crowd import Crowd
from fim_magic.evaluate.serving.overhead import GOAL, OverheadTiming, ratio

_MEDIAN, _MOST = 0.5, 0.95


@dataclass
class ServingReport:
    """A run, with all that is needed to judge and to repeat it.

    Attributes:
        about: Command, date, model, server, the machine that asked.
        crowds: What came of each number of users.
        overhead: Infills beside plain requests.
        warnings: What makes the numbers doubtful.
    """

    about: dict[str, Any]
    crowds: list[Crowd] = field(default_factory=list)
    overhead: list[OverheadTiming] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """How many times as long an infill takes as the plain request, where that was measured."""
        return ratio(self.overhead) if self.overhead else None

    def to_json(self) -> str:
        """Return everything as JSON: what was measured, and what was reckoned from it."""
        crowds = [asdict(crowd) | _reckoned(crowd) for crowd in self.crowds]
        overhead = {"pairs": [asdict(pair) for pair in self.overhead], "ratio": self.ratio, "goal": GOAL}
        facts = {"about": self.about, "crowds": crowds, "overhead": overhead, "warnings": self.warnings}
        return json.dumps(facts, indent=1, ensure_ascii=False)


def _reckoned(crowd: Crowd) -> dict[str, Any]:
    shares = {"p50": _MEDIAN, "p95": _MOST}
    return {
        "tokens_per_second": crowd.tokens_per_second,
        "first_token_seconds": {name: crowd.first(share) for name, share in shares.items()},
        "answer_seconds": {name: crowd.whole(share) for name, share in shares.items()},
    }


def table(report: ServingReport) -> str:
    """Return the report as text."""
    lines = heading("fim-magic bench", report.about, ("server", "asked from", "command", "requests"))
    lines += [*warned(report.warnings), "", *_crowds(report), "", *_overhead(report)]
    return "\n".join(lines)


def _crowds(report: ServingReport) -> Iterator[str]:
    yield _line("users", "requests", "tokens/s in all", "first token p50", "p95", "answer p50", "p95")
    for crowd in report.crowds:
        yield _line(
            str(crowd.users),
            str(len(crowd.timings)),
            f"{crowd.tokens_per_second:.1f}",
            *(_milliseconds(reckon(share)) for reckon in (crowd.first, crowd.whole) for share in (_MEDIAN, _MOST)),
        )
    if not report.crowds:
        yield "  nothing was measured"


def _line(users: str, requests: str, rate: str, *times: str) -> str:
    first, most, whole, last = times
    return f"{users:>7} {requests:>9} {rate:>16}  {first:>16} {most:>11}  {whole:>12} {last:>11}"


def _overhead(report: ServingReport) -> Iterator[str]:
    measured = report.ratio
    if measured is None:
        yield "A whole infill beside a plain request: not measured"
        return
    ours, by_hand = (
        statistics.median(times)
        for times in ([pair.ours for pair in report.overhead], [pair.by_hand for pair in report.overhead])
    )
    ratios = [pair.ours / pair.by_hand for pair in report.overhead]
    verdict = "reached" if measured <= GOAL else "NOT REACHED"
    yield from wrapped(
        f"A whole infill takes {measured:.3f}x as long as a plain request with the same token ids and as many tokens "
        f"(median of {len(ratios)} pairs in turns, from {min(ratios):.3f}x to {max(ratios):.3f}x; "
        f"{_milliseconds(ours)} and {_milliseconds(by_hand)}): goal <= {GOAL:.2f}x, {verdict}"
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"
